//! The shell around the brain: watches, requests, the one loop.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use ferrolb_crds::view::{Namespace, Node, Service, Trim};
use ferrolb_crds::{CONFLICT_LABEL, ConfigurationState, IPAddressPool, L2Advertisement};
use ferrolb_runtime::{
    ClientError, CommonArgs, Context, Events, How, Seen, TRACES, Watch, client, now, watch_as, watch_each,
};
use k8s_openapi::api::coordination::v1::Lease;
use kube::runtime::watcher::Config;
use kube::{Api, Client, ResourceExt};
use tokio::sync::{Semaphore, mpsc};
use tracing::field::Empty;
use tracing::{Instrument, info_span};

use crate::brain::{Brain, Effect, Input, Now, Outcome, Reign, Report, advertised};
use crate::metrics::Metrics;
use crate::{hello_key, lease, unsupported, writer};

/// So many writes are under way at once.
const WRITERS: usize = 16;

/// The server ends each watch after so many seconds; a watch that is stuck in silence is noticed 5 s later. There are
/// one or two controllers, so a few requests more a minute cost nothing.
const WATCH_SECONDS: u32 = 20;

/// Before the end writes under way may take so long. The rest of the program's end stays within one second.
const END: Duration = Duration::from_millis(500);

/// What the controller is told beside the flags of all programs.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Its name among the replicas, unique: that of its Pod.
    pub pod_name: String,
    /// How long the Lease lasts after each renewal.
    pub lease_duration: Duration,
}

/// Runs the controller until `context.shutdown`.
///
/// # Errors
/// When there is no client to be had: nothing to watch, so nothing to retry.
pub async fn run(args: &CommonArgs, settings: Settings, context: Context) -> Result<(), ClientError> {
    let client = client(args, &context).await?;
    run_with(client, args.namespace.clone(), args.lb_class().map(str::to_owned), settings, context).await;
    Ok(())
}

/// The same with a client that is there already.
pub async fn run_with(
    client: Client,
    namespace: String,
    lb_class: Option<String>,
    settings: Settings,
    context: Context,
) {
    let (inputs, mut queue) = mpsc::unbounded_channel();
    let mut shell = Shell {
        events: Events::start(client.clone(), "ferrolb-controller", context.shutdown.clone()),
        metrics: Metrics::new(&context),
        writers: Arc::new(Semaphore::new(WRITERS)),
        leads_until: Arc::default(),
        services: None,
        services_listed: false,
        said: String::new(),
        client,
        namespace,
        inputs,
        context: context.clone(),
    };
    shell.services = Some(shell.watch_services(0));
    let _watches = shell.watch_the_rest();
    shell.keep_hello_key();
    shell.tell_unsupported();
    context.readiness.started();
    let mut brain = Brain::new(&settings.pod_name, settings.lease_duration, lb_class);
    let mut reign = Reign::Follower;
    loop {
        let started = std::time::Instant::now();
        let (effects, wait) = brain.decide(time());
        shell.metrics.show(&brain, started.elapsed());
        shell.leads_until.store(nanos(brain.leads_until().unwrap_or_default()), Ordering::SeqCst);
        shell.say_reign(&mut reign, &brain);
        for effect in effects {
            shell.perform(effect);
        }
        let mut told = 0;
        tokio::select! {
            () = context.shutdown.cancelled() => break,
            () = tokio::time::sleep(wait) => {}
            input = queue.recv() => {
                let Some(input) = input else { break };
                told = 1;
                shell.handle(&mut brain, input);
            }
        }
        // What is there already is taken together; nothing waits for more to come.
        while let Ok(input) = queue.try_recv() {
            shell.handle(&mut brain, input);
            told += 1;
        }
        shell.metrics.told(told);
    }
    shell.end(&mut brain, &mut queue).await;
}

struct Shell {
    client: Client,
    namespace: String,
    context: Context,
    events: Events,
    metrics: Metrics,
    inputs: mpsc::UnboundedSender<Input>,
    writers: Arc<Semaphore>,
    /// Until when writes may be sent, in nanoseconds of the boot clock.
    leads_until: Arc<AtomicU64>,
    services: Option<Watch>,
    /// Whether Services were listed once. A list that a take-over ends before it was whole leaves that to the next.
    services_listed: bool,
    /// The last words about the Lease, so that the same are not said again and again.
    said: String,
}

impl Shell {
    fn watch_services(&self, list: u64) -> Watch {
        let (api, inputs) = (Api::<Service>::all(self.client.clone()), self.inputs.clone());
        let how = How { seconds: WATCH_SECONDS, gates_readiness: !self.services_listed, ..How::default() };
        let trim = |service: &mut Service| service.trim_unshared();
        watch_each(&self.context, api, how, trim, move |seen| {
            let _ = inputs.send(Input::Services(list, seen));
        })
    }

    fn watch_the_rest(&self) -> [Watch; 7] {
        let (client, namespace) = (&self.client, self.namespace.as_str());
        let how = || How { seconds: WATCH_SECONDS, gates_readiness: true, ..How::default() };
        let one = |name: &str| How {
            select: Config::default().fields(&format!("metadata.name={name}")),
            gates_readiness: false,
            ..how()
        };
        let send = || self.inputs.clone();
        let (pools, namespaces, nodes, states, leases) = (send(), send(), send(), send(), send());
        let (advertisements, conflicts) = (send(), send());
        // Of ten thousand reports those alone that tell of another host: hardly any.
        let told = How { select: Config::default().labels(CONFLICT_LABEL), gates_readiness: false, ..how() };
        [
            watch_each(
                &self.context,
                Api::namespaced(client.clone(), namespace),
                How { gates_readiness: false, ..how() },
                L2Advertisement::trim,
                move |seen| {
                    let _ = advertisements.send(Input::Advertisements(seen));
                },
            ),
            watch_as(
                &self.context,
                Api::namespaced(client.clone(), namespace),
                told,
                Report::of,
                move |seen| {
                    let _ = conflicts.send(Input::Conflicts(seen));
                },
            ),
            watch_each(
                &self.context,
                Api::namespaced(client.clone(), namespace),
                how(),
                IPAddressPool::trim,
                move |seen| {
                    let _ = pools.send(Input::Pools(seen));
                },
            ),
            watch_each(&self.context, Api::all(client.clone()), how(), Namespace::trim, move |seen| {
                let _ = namespaces.send(Input::Namespaces(seen));
            }),
            watch_each(&self.context, Api::all(client.clone()), how(), Node::trim, move |seen| {
                let _ = nodes.send(Input::Nodes(seen));
            }),
            watch_each(
                &self.context,
                Api::namespaced(client.clone(), namespace),
                one(writer::STATE),
                ConfigurationState::trim,
                move |seen| {
                    let _ = states.send(Input::States(seen));
                },
            ),
            watch_each(
                &self.context,
                Api::<Lease>::namespaced(client.clone(), namespace),
                one(lease::NAME),
                Lease::trim,
                move |seen| {
                    let record = match seen {
                        Seen::Listed(all) => all.first().map(lease::record),
                        Seen::Applied(one) => Some(lease::record(&one)),
                        Seen::Deleted(_) => None,
                        Seen::Failing => return,
                    };
                    let _ = leases.send(Input::Lease(record));
                },
            ),
        ]
    }

    /// Whether this replica leads, asked at any time.
    fn leads(&self) -> impl Fn() -> bool + Clone + Send + Sync + 'static {
        let leads_until = self.leads_until.clone();
        move || nanos(now()) < leads_until.load(Ordering::SeqCst)
    }

    /// Beside the brain: nothing that it decides depends on objects that are not acted on.
    fn tell_unsupported(&self) {
        unsupported::start(&self.client, &self.namespace, WATCH_SECONDS, self.leads(), &self.context);
    }

    /// Beside the brain: nothing that it decides depends on the Secret.
    fn keep_hello_key(&self) {
        let leads = self.leads();
        let (client, events) = (self.client.clone(), self.events.clone());
        let shutdown = self.context.shutdown.clone();
        tokio::spawn(hello_key::keep(client, self.namespace.clone(), leads, events, shutdown));
    }

    /// Starts what the brain asks for; each answer comes back as an input.
    fn perform(&mut self, effect: Effect) {
        let (client, inputs, namespace) = (self.client.clone(), self.inputs.clone(), self.namespace.clone());
        let send = move |input| {
            let _ = inputs.send(input);
        };
        match effect {
            Effect::Write(write) => {
                let (writers, leads_until) = (self.writers.clone(), self.leads_until.clone());
                let turn = self.metrics.write_begins();
                let span =
                    info_span!(target: TRACES, "update Service", service = %write.key, outcome = Empty);
                let wait = info_span!(target: TRACES, parent: &span, "wait for a turn");
                let of_outcome = span.clone();
                let written = async move {
                    let _permit = writers.acquire_owned().instrument(wait).await;
                    turn.came();
                    let leads = nanos(now()) < leads_until.load(Ordering::SeqCst);
                    let outcome = if leads { writer::write(&client, &write).await } else { Outcome::NotSent };
                    of_outcome.record("outcome", outcome.name());
                    send(Input::Written(write, outcome));
                };
                tokio::spawn(written.instrument(span));
            }
            Effect::WritePool(pool, status) => {
                tokio::spawn(async move {
                    let done = writer::write_status(&client, &*pool, &*status).await;
                    send(Input::PoolWritten(pool, done.map(Box::new)));
                });
                self.metrics.pool_updates.inc();
            }
            Effect::WriteAdvertisement(object, status) => {
                tokio::spawn(async move {
                    let done = writer::write_status(&client, &*object, &*status).await;
                    send(Input::AdvertisementWritten(object, done.map(Box::new)));
                });
            }
            Effect::WriteState(status) => {
                tokio::spawn(async move {
                    let done = writer::write_state(&client, &namespace, &status).await;
                    send(Input::StateWritten(done.map(Box::new)));
                });
            }
            Effect::Claim(claim) => {
                tokio::spawn(async move {
                    let (answer, words) = lease::claim(&client, &namespace, &claim).await;
                    if let Some(words) = words {
                        tracing::warn!("{words}");
                    }
                    send(Input::Claimed(answer));
                });
            }
            Effect::LookAtLease => {
                tokio::spawn(async move {
                    let looked = lease::look(&client, &namespace).await;
                    if let Err(words) = &looked {
                        tracing::warn!("{words}; no address is given before that");
                    }
                    send(Input::LookedAtLease(looked.map_err(|_| ())));
                });
            }
            Effect::Relist(list) => {
                self.services = None;
                self.services = Some(self.watch_services(list));
            }
            Effect::ConfirmPools => {
                tokio::spawn(async move {
                    send(Input::PoolsConfirmed(writer::no_pools(&client, &namespace).await));
                });
            }
            Effect::Tell(note) => self.events.tell(note),
        }
    }

    /// Counts and tells what the input means for an operator, and hands it on.
    fn handle(&mut self, brain: &mut Brain, input: Input) {
        match &input {
            Input::Services(_, Seen::Listed(_)) => self.services_listed = true,
            Input::Written(write, outcome) => {
                let service = write.key.to_string();
                self.metrics.written(outcome);
                match outcome {
                    Outcome::Done(_) => {
                        write.notes.iter().for_each(|note| self.events.tell(note.clone()));
                    }
                    Outcome::Refused(why) => {
                        tracing::warn!(
                            service,
                            "the API server refuses to write its status: {why}; trying again"
                        );
                    }
                    Outcome::Unknown(why) => {
                        tracing::warn!(
                            service,
                            "cannot tell whether its status was written: {why}; trying again"
                        );
                    }
                    Outcome::Superseded | Outcome::Gone | Outcome::NotSent => {
                        tracing::debug!(service, ?outcome, "not written");
                    }
                }
            }
            // What is news is told by what the write changed: the watch may have shown its result before the answer came.
            Input::PoolWritten(before, done) => match done {
                Ok(pool) => {
                    let note = pool.status.as_ref().and_then(|status| Brain::pool_note(before, status));
                    note.into_iter().for_each(|note| self.events.tell(note));
                }
                Err(why) => {
                    tracing::warn!(pool = before.name_any(), "cannot write its status: {why}; trying again");
                }
            },
            Input::AdvertisementWritten(before, done) => match done {
                Ok(object) => {
                    let note = object.status.as_ref().and_then(|status| advertised::note(before, status));
                    note.into_iter().for_each(|note| self.events.tell(note));
                }
                Err(why) => {
                    let advertisement = before.name_any();
                    tracing::warn!(advertisement, "cannot write its status: {why}; trying again");
                }
            },
            Input::StateWritten(Err(why)) => {
                tracing::warn!(
                    "cannot write the ConfigurationState {:?}: {why}; trying again",
                    writer::STATE
                );
            }
            _ => {}
        }
        brain.handle(input, time());
    }

    fn say_reign(&mut self, last: &mut Reign, brain: &Brain) {
        let words = match brain.reign() {
            Reign::Follower => match brain.leader() {
                Some(leader) if leader != brain.name() => format!("another controller leads: {leader}"),
                _ => String::new(),
            },
            Reign::Relisting { .. } => "took the lead; listing Services anew".to_owned(),
            Reign::Fencing { .. } => "making sure that late writes of a controller before fail".to_owned(),
            Reign::Leading => "leading".to_owned(),
        };
        if words != self.said && !words.is_empty() {
            tracing::info!("{words}");
            self.said = words;
        }
        last.clone_from(brain.reign());
    }

    /// Waits for the writes under way, then gives the Lease back: the next one then need not wait, nor take care.
    async fn end(&mut self, brain: &mut Brain, queue: &mut mpsc::UnboundedReceiver<Input>) {
        let ended = tokio::time::timeout(END, async {
            while brain.is_waiting() {
                match queue.recv().await {
                    Some(input) => self.handle(brain, input),
                    None => break,
                }
            }
            if let Some(claim) = brain.give_back() {
                lease::claim(&self.client, &self.namespace, &claim).await;
                tracing::info!("gave the lead back");
            }
        });
        if ended.await.is_err() {
            tracing::warn!("writes were still under way; the Lease runs out by itself");
        }
    }
}

fn time() -> Now {
    let wall = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Now { boot: now(), wall: i64::try_from(wall.as_secs()).unwrap_or(i64::MAX) }
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}
