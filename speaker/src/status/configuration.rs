//! Keeps the `ConfigurationState` of this speaker: whether it could use its configuration, whether the node's service
//! proxy works, and whether it has a key for hellos.

use ferrolb_crds::{ConfigurationResult, ConfigurationState, ConfigurationStateStatus};
use ferrolb_runtime::{How, Seen, now, watch_each};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::runtime::watcher::Config;
use tokio::sync::mpsc;

use super::announced::sleep;
use super::complaint::Complaint;
use super::objects::Me;
use super::pause::Pause;
use super::queue::Fault;
use super::settling::{Held, Settling};
use super::writer::{Failed, Writer};
use super::{Configuration, Parts, Proxy, WATCH_SECONDS, names};

/// The condition that says whether the configuration can be used; MetalLB's name for it.
const CONFIGURATION: &str = "configReconcilerValid";
/// The condition that says whether the node's service proxy works.
const PROXY: &str = ferrolb_crds::names::SERVICE_PROXY_HEALTHY;
/// The condition that says, while it is so, that the speaker has no key for hellos, and so cannot be heard.
const KEY: &str = ferrolb_crds::names::HELLO_KEY_LOADED;

/// So many problems are named.
const NAMED: usize = 50;

/// Runs until the context's shutdown.
pub(crate) async fn keep(parts: &Parts, writer: Writer) {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let how = How {
        select: Config::default().fields(&format!("metadata.name={}", names::state(&writer.me.node))),
        seconds: WATCH_SECONDS,
        gates_readiness: false,
    };
    let trim = |state: &mut ConfigurationState| state.metadata.managed_fields = None;
    let _watch = watch_each(&parts.context, writer.api(), how, trim, move |seen| {
        // The receiver ends with the program.
        let _ = sender.send(seen);
    });
    let mut configuration = parts.configuration.clone();
    let (mut present, mut pause) = (Present::default(), Pause::default());
    let mut complaint = Complaint::default();
    let work = async {
        loop {
            let configuration_now = configuration.borrow_and_update().clone();
            let next = configuration_now.and_then(|it| present.next(&writer, &it, Timestamp::now()));
            let paused = pause.lasts(now());
            if let (Some(next), None) = (&next, paused) {
                match present.make_so(&writer, next).await {
                    Ok(()) => {
                        pause.succeeded();
                        complaint.recovered("writing the ConfigurationState");
                    }
                    Err(failed) => {
                        if failed.fault != Fault::NotThere {
                            complaint.failed(&failed.why, now());
                        }
                        pause.failed(now());
                    }
                }
                continue;
            }
            let again = paused.filter(|_| next.is_some());
            let settles = present.settling.as_ref().map(Settling::until);
            let wait = [again, settles].into_iter().flatten().min().map(|at| at.saturating_sub(now()));
            tokio::select! {
                Some(seen) = seen.recv() => present.see(seen),
                Ok(()) = configuration.changed() => {}
                () = sleep(wait) => present.settle(),
            }
        }
    };
    parts.context.shutdown.run_until_cancelled(work).await;
}

/// What is to be written.
#[derive(Clone, Debug, PartialEq)]
enum Next {
    Make,
    Mark,
    Say(Box<ConfigurationStateStatus>),
}

/// The object as far as it is known.
#[derive(Default)]
struct Present {
    listed: bool,
    state: Option<ConfigurationState>,
    settling: Option<Settling<ConfigurationState>>,
}

impl Present {
    fn see(&mut self, seen: Seen<ConfigurationState>) {
        match seen {
            Seen::Failing => {}
            Seen::Listed(all) => {
                self.listed = true;
                match all.into_iter().next() {
                    Some(state) => self.shows(state),
                    None if self.settling.as_mut().is_none_or(|settling| settling.miss(now())) => self.gone(),
                    None => {}
                }
            }
            Seen::Applied(state) => self.shows(state),
            Seen::Deleted(_) => self.gone(),
        }
    }

    fn shows(&mut self, state: ConfigurationState) {
        let state = match &mut self.settling {
            None => Some(state),
            Some(settling) => {
                let version = state.metadata.resource_version.clone().unwrap_or_default();
                settling.see(&version, state, now())
            }
        };
        if let Some(state) = state {
            (self.state, self.settling) = (Some(state), None);
        }
    }

    fn gone(&mut self) {
        (self.state, self.settling) = (None, None);
    }

    fn settle(&mut self) {
        let Some(settling) = self.settling.take_if(|settling| settling.until() <= now()) else { return };
        match settling.ended() {
            Held::Nothing => {}
            Held::Shows(state) => self.state = Some(state),
            Held::Absent => self.state = None,
        }
    }

    fn next(&self, writer: &Writer, configuration: &Configuration, wall: Timestamp) -> Option<Next> {
        if !self.listed {
            return None;
        }
        let Some(state) = &self.state else { return Some(Next::Make) };
        let labels = state.metadata.labels.as_ref();
        let labelled = |(name, value): &(String, String)| labels.and_then(|all| all.get(name)) == Some(value);
        if !writer.state_labels().iter().all(labelled) || !marked(&writer.me, state) {
            return Some(Next::Mark);
        }
        let wanted = wanted(configuration, state.status.as_ref(), wall);
        (state.status.as_ref() != Some(&wanted)).then(|| Next::Say(Box::new(wanted)))
    }

    async fn make_so(&mut self, writer: &Writer, next: &Next) -> Result<(), Failed> {
        let written = match next {
            Next::Make => {
                writer.make_state().await?;
                // What is there now, made by us or by somebody else, this tells.
                writer.mark_state().await
            }
            Next::Mark => writer.mark_state().await,
            Next::Say(status) => writer.write_state(status).await,
        };
        let state = match written {
            Ok(state) => state,
            Err(failed) => {
                // It may have been done or not: whatever the watch shows counts again.
                if let Some(shown) = self.settling.as_mut().and_then(Settling::unsure) {
                    self.shows(shown);
                }
                if failed.fault == Fault::NotThere {
                    self.gone();
                }
                return Err(failed);
            }
        };
        let right = match next {
            Next::Say(status) => state.status.as_ref() == Some(&**status),
            Next::Make | Next::Mark => marked(&writer.me, &state),
        };
        let before = self.state.as_ref().and_then(|state| state.metadata.resource_version.as_ref());
        // A write that changed nothing made no version that could be shown.
        if before != state.metadata.resource_version.as_ref() {
            let version = state.metadata.resource_version.clone().unwrap_or_default();
            self.settling = Some(Settling::new(version, now()));
        }
        self.state = Some(state);
        if right {
            return Ok(());
        }
        Err(Failed {
            why: "the API server made something else of our ConfigurationState: apply the CustomResourceDefinitions of \
                  this version (kubectl apply -f crds/), and look for whoever else writes it"
                .to_owned(),
            fault: Fault::ThisOne,
            made: None,
        })
    }
}

fn marked(me: &Me, state: &ConfigurationState) -> bool {
    me.owned(state.metadata.owner_references.as_deref())
}

/// The status that `configuration` asks for. `before` is the present one: a condition that stays as it is keeps its time.
fn wanted(
    configuration: &Configuration,
    before: Option<&ConfigurationStateStatus>,
    wall: Timestamp,
) -> ConfigurationStateStatus {
    let summary = summary(configuration);
    let before = before.map(|status| status.conditions.as_slice()).unwrap_or_default();
    let said = |kind: &str, reason: &str, message: String, fine: bool| {
        let status = if fine { "True" } else { "False" };
        let same = before.iter().find(|condition| condition.type_ == kind && condition.status == status);
        // The API has no parts of seconds.
        let wall = Timestamp::from_second(wall.as_second()).unwrap_or(Timestamp::UNIX_EPOCH);
        let since = same.map_or(Time(wall), |condition| condition.last_transition_time.clone());
        Condition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: reason.to_owned(),
            message,
            last_transition_time: since,
            observed_generation: None,
        }
    };
    let valid = configuration.problems.is_empty();
    let mut conditions = vec![if valid {
        said(CONFIGURATION, "Reconciled", "all of the configuration can be used".to_owned(), true)
    } else {
        said(CONFIGURATION, "ConfigurationError", summary.clone(), false)
    }];
    conditions.extend(match &configuration.proxy {
        Proxy::Unknown => None,
        Proxy::Healthy => Some(said(PROXY, "Healthy", "the service proxy answers".to_owned(), true)),
        Proxy::Unhealthy(why) => Some(said(PROXY, "Unhealthy", why.clone(), false)),
    });
    conditions.extend(configuration.keyless.then(|| {
        let why = "no key for hellos: the kubelet brings the Secret ferrolb-hello within two minutes of its making; until then this \
                   node's place in the API's order decides what it announces";
        said(KEY, "Waiting", why.to_owned(), false)
    }));
    ConfigurationStateStatus {
        // As with MetalLB it is about mistakes in the configuration; a proxy that fails is none.
        result: Some(if valid { ConfigurationResult::Valid } else { ConfigurationResult::Invalid }),
        error_summary: summary,
        conditions,
    }
}

fn summary(configuration: &Configuration) -> String {
    let mut lines: Vec<&str> = configuration.problems.iter().take(NAMED).map(String::as_str).collect();
    let more = format!("and {} more", configuration.problems.len().saturating_sub(NAMED));
    if configuration.problems.len() > NAMED {
        lines.push(&more);
    }
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn configuration(problems: &[&str], proxy: Proxy) -> Configuration {
        let problems = problems.iter().map(|line| (*line).to_owned()).collect();
        Configuration { problems, proxy, keyless: false }
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    #[test]
    fn mistakes_are_named_and_a_sick_proxy_is_none() {
        let status = wanted(&configuration(&["b", "a"], Proxy::Unknown), None, at(7));
        assert_eq!(status.result, Some(ConfigurationResult::Invalid));
        assert_eq!(status.error_summary, "a\nb");
        let [condition] = status.conditions.as_slice() else { panic!("{status:?}") };
        assert_eq!((condition.type_.as_str(), condition.status.as_str()), ("configReconcilerValid", "False"));
        assert_eq!((condition.reason.as_str(), condition.message.as_str()), ("ConfigurationError", "a\nb"));

        let status = wanted(&configuration(&[], Proxy::Unhealthy("no answer".to_owned())), None, at(7));
        assert_eq!((status.result, status.error_summary.as_str()), (Some(ConfigurationResult::Valid), ""));
        let said: Vec<(&str, &str, &str)> = status
            .conditions
            .iter()
            .map(|it| (it.type_.as_str(), it.status.as_str(), it.reason.as_str()))
            .collect();
        let expected = [("configReconcilerValid", "True", "Reconciled"), (PROXY, "False", "Unhealthy")];
        assert_eq!(said, expected);
    }

    #[test]
    fn a_missing_key_is_said_while_it_is_missing() {
        let with = configuration(&[], Proxy::Unknown);
        let without = Configuration { keyless: true, ..with.clone() };
        let said = |status: &ConfigurationStateStatus| {
            let key = status.conditions.iter().find(|condition| condition.type_ == KEY);
            key.map(|key| (key.status.clone(), key.reason.clone()))
        };
        let status = wanted(&without, None, at(7));
        assert_eq!(said(&status), Some(("False".to_owned(), "Waiting".to_owned())));
        assert_eq!(said(&wanted(&with, Some(&status), at(8))), None);
    }

    #[test]
    fn the_time_is_that_of_the_last_change() {
        let since =
            |status: &ConfigurationStateStatus| status.conditions[0].last_transition_time.0.as_second();
        let first = wanted(&configuration(&[], Proxy::Unknown), None, at(7));
        let second = wanted(&configuration(&[], Proxy::Unknown), Some(&first), at(8));
        assert_eq!(first, second, "a steady state asks for nothing new");
        let third = wanted(&configuration(&["a"], Proxy::Unknown), Some(&second), at(9));
        let fourth = wanted(&configuration(&["a", "b"], Proxy::Unknown), Some(&third), at(10));
        assert_eq!([since(&second), since(&third), since(&fourth)], [7, 9, 9]);
    }

    #[test]
    fn not_all_of_very_many_are_named() {
        let problems = (0..60).map(|number| format!("problem {number:02}")).collect();
        let summary = summary(&Configuration { problems, proxy: Proxy::Unknown, keyless: false });
        assert_eq!(summary.lines().count(), 51);
        assert!(summary.ends_with("problem 49\nand 10 more"), "{summary}");
    }
}
