//! Keeps one `ServiceL2Status` for each Service that this node announces, and tells on the Service when it begins.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::service::ServiceKey;
use ferrolb_crds::{NODE_LABEL, ServiceL2Status};
use ferrolb_runtime::{How, Note, Seen, now, watch_as};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::watcher::Config;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

use super::complaint::Complaint;
use super::objects::{Objects, Reader, Stored, Touched};
use super::plan::{self, News, Write};
use super::queue::{Fault, Queue};
use super::writer::{Done, Failed, Writer};
use super::{Parts, Shown, WATCH_SECONDS};

/// Runs until the context's shutdown.
pub(crate) async fn keep(parts: &Parts, writer: Writer) {
    let (sender, mut seen) = mpsc::unbounded_channel();
    let how = How {
        select: Config::default().labels(&format!("{NODE_LABEL}={}", writer.me.label)),
        seconds: WATCH_SECONDS,
        gates_readiness: false,
    };
    let mut reader = Reader::new(writer.me.clone());
    let keep = move |object: ServiceL2Status| reader.read(object);
    let _watch = watch_as(&parts.context, writer.api(), how, keep, move |seen| {
        // The receiver ends with the program.
        let _ = sender.send(seen);
    });
    let mut shown = parts.shown.clone();
    let mut keeper = Keeper::default();
    let mut writes = JoinSet::new();
    keeper.show(shown.borrow_and_update().clone(), now());
    loop {
        keeper.look(&mut writes, &writer);
        for note in keeper.take_news(&writer.me.node, &parts.uid) {
            parts.tell(note);
        }
        let wait = keeper.wakes(now()).map(|at| at.saturating_sub(now()));
        tokio::select! {
            () = parts.context.shutdown.cancelled() => break,
            Some(seen) = seen.recv() => keeper.see(seen, now()),
            // The loop that tells may end before us: then nothing new comes.
            Ok(()) = shown.changed() => keeper.show(shown.borrow_and_update().clone(), now()),
            Some(done) = writes.join_next() => match done {
                Ok((service, outcome)) => keeper.wrote(service, outcome, now()),
                Err(error) => tracing::error!(%error, "a write of a ServiceL2Status ended in the middle"),
            },
            () = sleep(wait) => keeper.settle(now()),
        }
    }
}

/// Sleeps so long; without a time for ever.
pub(crate) async fn sleep(wait: Option<Duration>) {
    match wait {
        // Timers have milliseconds: one more, not to come too early.
        Some(wait) => tokio::time::sleep(wait + Duration::from_millis(1)).await,
        None => std::future::pending().await,
    }
}

/// What is known, and what is to be done.
#[derive(Debug, Default)]
struct Keeper {
    objects: Objects,
    shown: Option<Arc<Shown>>,
    /// What was there when news were told last.
    told: Option<Arc<Shown>>,
    queue: Queue,
    complaint: Complaint,
}

type Outcome = (ServiceKey, Result<Done, Failed>);

impl Keeper {
    /// Whether enough is known to write anything: what this node announces, and what the API server has of it.
    fn knows(&self) -> Option<&Arc<Shown>> {
        self.shown.as_ref().filter(|_| self.objects.listed)
    }

    /// Starts what is to be written now.
    fn look(&mut self, writes: &mut JoinSet<Outcome>, writer: &Writer) {
        while let Some((service, write)) = self.next(now()) {
            let writer = writer.clone();
            writes.spawn(async move {
                let outcome = writer.write(&service, write).await;
                (service, outcome)
            });
        }
    }

    /// The next write, which counts as under way from now on.
    fn next(&mut self, now: Duration) -> Option<(ServiceKey, Write)> {
        let shown = self.knows()?.clone();
        while let Some(service) = self.queue.next(now) {
            match plan::next(shown.announced.get(&service), &self.objects.of(&service)) {
                Some(write) => {
                    self.objects.writing(&service);
                    self.queue.begins(service.clone());
                    return Some((service, write));
                }
                None => self.queue.settled(&service),
            }
        }
        None
    }

    fn touch(&mut self, services: Vec<ServiceKey>, now: Duration) {
        services.into_iter().for_each(|service| self.queue.touch(service, now));
    }

    /// Looks through all that is announced and stored: at first, and after a list. Only what is to be written is queued, as ten
    /// thousand names of Services are much.
    fn review(&mut self, now: Duration) {
        let Some(shown) = self.knows().cloned() else { return };
        for (service, interfaces) in &shown.announced {
            if plan::next(Some(interfaces), &self.objects.of(service)).is_some() {
                self.queue.touch((**service).clone(), now);
            }
        }
        for service in self.objects.services().filter(|service| !shown.announced.contains_key(*service)) {
            self.queue.touch(service.clone(), now);
        }
    }

    fn see(&mut self, seen: Seen<Stored>, now: Duration) {
        match self.objects.see(seen, now) {
            Touched::Any => self.review(now),
            Touched::These(services) => self.touch(services, now),
        }
    }

    fn settle(&mut self, now: Duration) {
        let touched = self.objects.settle(now);
        self.touch(touched, now);
    }

    fn show(&mut self, shown: Option<Arc<Shown>>, now: Duration) {
        let Some(shown) = shown else { return };
        match self.shown.replace(shown.clone()) {
            Some(before) if self.objects.listed => {
                plan::differing(&before, &shown)
                    .for_each(|service| self.queue.touch((**service).clone(), now));
            }
            _ => self.review(now),
        }
    }

    fn wrote(&mut self, service: ServiceKey, outcome: Result<Done, Failed>, now: Duration) {
        match outcome {
            Ok(done) => {
                match done {
                    Done::Stored(stored) => self.objects.written(stored, now),
                    Done::Deleted(name) => self.objects.deleted(&service, &name),
                }
                self.complaint.recovered("writing servicel2statuses");
                self.queue.succeeded(service);
            }
            Err(failed) => {
                if let Some(made) = failed.made {
                    self.objects.written(*made, now);
                }
                self.objects.unsure(&service, now);
                if failed.fault != Fault::NotThere {
                    self.complaint.failed(&failed.why, now);
                }
                tracing::debug!(%service, waiting = self.queue.len(), "not written: {}", failed.why);
                self.queue.failed(service, failed.fault, now);
            }
        }
    }

    fn wakes(&self, now: Duration) -> Option<Duration> {
        let queue = self.knows().and_then(|_| self.queue.wakes(now));
        [queue, self.objects.settles()].into_iter().flatten().min()
    }

    /// What is to be told now, each once.
    fn take_news(&mut self, node: &str, uid: &super::UidOf) -> Vec<Note> {
        let Some(shown) = self.knows().cloned() else { return Vec::new() };
        if self.told.as_ref().is_some_and(|told| Arc::ptr_eq(told, &shown)) {
            return Vec::new();
        }
        let known = |service: &ServiceKey| !self.objects.of(service).is_empty();
        let news = plan::news(self.told.as_deref(), &shown, known);
        let notes = news.into_iter().map(|news| note(node, &news, uid)).collect();
        self.told = Some(shown);
        notes
    }
}

/// The event.
fn note(node: &str, news: &News<'_>, uid: &super::UidOf) -> Note {
    let (service, warning, reason, note) = match news {
        News::Announces(service) => {
            (service, false, ANNOUNCES, format!("announcing from node {node:?} with protocol \"layer2\""))
        }
        News::Lacks(service, interfaces) => (service, true, LACKS, lacks(node, interfaces)),
    };
    Note {
        about: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(service.namespace.clone()),
            name: Some(service.name.clone()),
            uid: uid(service),
            ..ObjectReference::default()
        },
        warning,
        for_operators: warning,
        reason,
        action: "Announcing",
        note,
    }
}

/// The reason of the event that tells who announces: users and tools of MetalLB look for it.
const ANNOUNCES: &str = "nodeAssigned";
/// The reason of the event that tells why nobody announces.
const LACKS: &str = "announceFailed";

/// So many names are in the words.
const NAMED: usize = 10;

fn lacks(node: &str, interfaces: &BTreeSet<String>) -> String {
    let named: Vec<String> = interfaces.iter().take(NAMED).map(|name| format!("{name:?}")).collect();
    let more = match interfaces.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    format!(
        "nobody announces it: node {node:?} is to, and can use none of the interfaces that its L2Advertisements name \
         ({}{more}); name interfaces in spec.interfaces that this node has and that are up, or leave the node out \
         with spec.nodeSelectors",
        named.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::super::plan::{Object, Said};
    use super::super::queue::Fault;
    use super::*;

    const NOW: Duration = Duration::from_secs(50);

    fn web() -> ServiceKey {
        ServiceKey::new("shop", "web")
    }

    fn stored(version: &str, said: Said) -> Stored {
        let object = Object { name: "l2-a".into(), said, ours: true, ending: false };
        Stored { service: web(), version: version.to_owned(), object }
    }

    fn announcing() -> Keeper {
        let mut keeper = Keeper::default();
        let shown = Shown { announced: [(Arc::new(web()), Arc::default())].into(), ..Shown::default() };
        keeper.show(Some(Arc::new(shown)), NOW);
        assert_eq!(keeper.next(NOW), None, "what is stored is not known yet");
        keeper.see(Seen::Listed(Vec::new()), NOW);
        assert_eq!(keeper.next(NOW), Some((web(), Write::Create(Arc::default()))));
        keeper
    }

    /// The object is made, the answer to its status is lost, and the watch shows later that it was written.
    #[test]
    fn what_the_watch_shows_tells_whether_a_write_was_done() {
        let mut keeper = announcing();
        let made = Some(Box::new(stored("7", Said::Incomplete)));
        let lost = Failed { why: "lost".to_owned(), fault: Fault::All, made };
        keeper.wrote(web(), Err(lost), NOW);
        keeper.see(Seen::Applied(stored("8", Said::On(Arc::default()))), NOW);
        let later = keeper.wakes(NOW).expect("it is to be tried again");
        assert_eq!(keeper.next(later), None, "it is written already");
    }

    #[test]
    fn nothing_is_told_before_it_is_known_what_is_stored() {
        let uid: super::super::UidOf = Arc::new(|_| None);
        let mut keeper = Keeper::default();
        let shown = Shown { announced: [(Arc::new(web()), Arc::default())].into(), ..Shown::default() };
        keeper.show(Some(Arc::new(shown)), NOW);
        assert_eq!(keeper.take_news("n1", &uid), []);
        keeper.see(Seen::Listed(vec![stored("7", Said::On(Arc::default()))]), NOW);
        assert_eq!(keeper.take_news("n1", &uid), [], "it was told before the restart");
        assert_eq!(keeper.next(NOW), None);
    }

    #[test]
    fn not_all_of_many_interfaces_are_named() {
        let words = lacks("n1", &(0..12).map(|number| format!("eth{number:02}")).collect());
        assert!(words.contains("\"eth09\" and 2 more)") && !words.contains("eth10"), "{words}");
    }
}
