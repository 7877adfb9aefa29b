//! Keeps one `ServiceL2Status` for each Service that this node announces, or would if no other host had its address; and tells
//! on the Service when it begins.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::service::ServiceKey;
use ferrolb_crds::{NODE_LABEL, ServiceL2Status};
use ferrolb_runtime::{How, Note, Seen, TRACES, now, watch_as};
use k8s_openapi::api::core::v1::ObjectReference;
use kube::runtime::watcher::Config;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tracing::Instrument;

use super::board::{Board, Change};
use super::complaint::Complaint;
use super::objects::{Objects, Reader, Stored, Touched};
use super::plan::{self, News, Object, Said, Saying, Write};
use super::queue::{Fault, Queue};
use super::writer::{Done, Failed, Writer};
use super::{Parts, WATCH_SECONDS};

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
    let mut board = parts.board.listen();
    let mut keeper = Keeper::new(parts.board.clone());
    let mut writes = JoinSet::new();
    loop {
        keeper.take(&writer.me.node, now(), |note| parts.tell(note));
        keeper.look(&mut writes, &writer);
        let wait = keeper.wakes(now()).map(|at| at.saturating_sub(now()));
        tokio::select! {
            () = parts.context.shutdown.cancelled() => break,
            Some(seen) = seen.recv() => keeper.see(seen, now()),
            // What changed is taken at the top of the loop.
            Ok(()) = board.changed() => {}
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
#[derive(Debug)]
struct Keeper {
    board: Arc<Board>,
    objects: Objects,
    /// Whether what is announced was looked through since enough is known.
    began: bool,
    queue: Queue,
    complaint: Complaint,
}

type Outcome = (Arc<ServiceKey>, Result<Done, Failed>);

impl Keeper {
    fn new(board: Arc<Board>) -> Self {
        Keeper {
            board,
            objects: Objects::default(),
            began: false,
            queue: Queue::default(),
            complaint: Complaint::default(),
        }
    }

    /// Whether enough is known to write anything: what this node announces, and what the API server has of it.
    fn knows(&self) -> bool {
        self.objects.listed && self.board.is_complete()
    }

    /// Takes what changed in what is announced, and tells what is new, each once.
    fn take(&mut self, node: &str, now: Duration, mut tell: impl FnMut(Note)) {
        if !self.knows() {
            return;
        }
        let first = !std::mem::replace(&mut self.began, true);
        if first {
            self.objects.share(|service| self.board.shared(service));
            self.review(now);
        }
        for change in self.board.take() {
            let told = |object: &Object| !matches!(&object.said, Said::This(said) if said.may_be_silent());
            let known = first && self.objects.of(&change.service).iter().any(told);
            if let Some(news) = plan::news(&change, known) {
                tell(note(node, &change, &news));
            }
            if !first {
                self.queue.touch(change.service, now);
            }
        }
    }

    /// Starts what is to be written now.
    fn look(&mut self, writes: &mut JoinSet<Outcome>, writer: &Writer) {
        while let Some((service, write)) = self.next(now()) {
            let writer = writer.clone();
            let span = tracing::info_span!(target: TRACES, "report Service", service = %service);
            let written = async move {
                let outcome = writer.write(&service, write).await;
                (service, outcome)
            };
            writes.spawn(written.instrument(span));
        }
    }

    /// The next write, which counts as under way from now on.
    fn next(&mut self, now: Duration) -> Option<(Arc<ServiceKey>, Write)> {
        if !self.knows() {
            return None;
        }
        while let Some(service) = self.queue.next(now) {
            let wanted = self.board.wanted(&service);
            match plan::next(wanted.as_ref(), self.objects.of(&service)) {
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

    fn touch(&mut self, services: Vec<Arc<ServiceKey>>, now: Duration) {
        services.into_iter().for_each(|service| self.queue.touch(service, now));
    }

    /// Looks through all that is announced and stored: at first, and after a list. Only what is to be written is queued, as ten
    /// thousand names of Services are much.
    fn review(&mut self, now: Duration) {
        if !self.knows() {
            return;
        }
        let differs = |service: &Arc<ServiceKey>, wanted: &Saying| {
            plan::next(Some(wanted), self.objects.of(service)).is_some()
        };
        let mut due = self.board.wanted_where(differs);
        let stored = self.objects.services();
        due.extend(stored.filter(|service| self.board.wanted(service).is_none()).cloned());
        self.touch(due, now);
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

    fn wrote(&mut self, service: Arc<ServiceKey>, outcome: Result<Done, Failed>, now: Duration) {
        match outcome {
            Ok(done) => {
                match done {
                    Done::Stored(stored) => self.objects.written(of(&service, stored), now),
                    Done::Deleted(name) => self.objects.deleted(&service, &name),
                }
                self.complaint.recovered("writing servicel2statuses");
                self.queue.succeeded(service);
            }
            Err(failed) => {
                if let Some(made) = failed.made {
                    self.objects.written(of(&service, *made), now);
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
        let queue = if self.knows() { self.queue.wakes(now) } else { None };
        [queue, self.objects.settles()].into_iter().flatten().min()
    }
}

/// The same with the name that is kept already.
fn of(service: &Arc<ServiceKey>, stored: Stored) -> Stored {
    if stored.service == *service { Stored { service: service.clone(), ..stored } } else { stored }
}

/// The event.
fn note(node: &str, change: &Change, news: &News<'_>) -> Note {
    let (warning, reason, note) = match news {
        News::Announces => {
            (false, ANNOUNCES, format!("announcing from node {node:?} with protocol \"layer2\""))
        }
        News::Lacks(interfaces) => (true, LACKS, lacks(node, interfaces)),
    };
    let Change { service, uid, .. } = change;
    Note {
        about: ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Service".to_owned()),
            namespace: Some(service.namespace().to_owned()),
            name: Some(service.name().to_owned()),
            // Without it `kubectl describe` does not show the event.
            uid: Some(uid.to_string()).filter(|uid| !uid.is_empty()),
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
    use super::super::Interfaces;
    use super::super::queue::Fault;
    use super::*;
    use crate::report::Announced;

    const NOW: Duration = Duration::from_secs(50);

    fn web() -> Arc<ServiceKey> {
        Arc::new(ServiceKey::new("shop", "web"))
    }

    fn stored(version: &str, said: Said) -> Stored {
        let object = Object { name: "l2-a".into(), said, marked: false, ours: true, ending: false };
        Stored { service: web(), version: version.to_owned(), object }
    }

    fn on(interfaces: &Interfaces) -> Saying {
        Saying { on: interfaces.clone(), conflict: None }
    }

    /// What is told now: reason, Service and its uid.
    fn news(keeper: &mut Keeper) -> Vec<String> {
        let mut told = Vec::new();
        keeper.take("n1", NOW, |note| {
            let (name, uid) = (note.about.name.unwrap_or_default(), note.about.uid.unwrap_or_default());
            told.push(format!("{} {name} uid {uid}", note.reason));
        });
        told
    }

    fn announcing() -> Keeper {
        let board = Arc::new(Board::default());
        let mut keeper = Keeper::new(board.clone());
        board.set(web(), "u1".into(), Some(Announced::On(Arc::default())));
        board.complete();
        assert_eq!(news(&mut keeper), [""; 0]);
        assert_eq!(keeper.next(NOW), None, "what is stored is not known yet");
        keeper.see(Seen::Listed(Vec::new()), NOW);
        assert_eq!(news(&mut keeper), ["nodeAssigned web uid u1"]);
        assert_eq!(keeper.next(NOW), Some((web(), Write::Create(Saying::default()))));
        keeper
    }

    /// Each change of one Service among many is looked at by itself.
    #[test]
    fn what_changes_is_looked_at_and_nothing_else() {
        let mut keeper = announcing();
        keeper.wrote(web(), Ok(Done::Stored(stored("8", Said::This(Saying::default())))), NOW);
        assert_eq!((news(&mut keeper), keeper.next(NOW)), (vec![], None));
        let dsl: Interfaces = Arc::new(["dsl".to_owned()].into());
        keeper.board.set(web(), "u1".into(), Some(Announced::On(dsl.clone())));
        assert_eq!(news(&mut keeper), [""; 0], "on other interfaces: that is no news");
        assert_eq!(keeper.queue.len(), 1);
        assert_eq!(keeper.next(NOW), Some((web(), Write::Say("l2-a".into(), on(&dsl)))));
        keeper.wrote(web(), Ok(Done::Stored(stored("9", Said::This(on(&dsl))))), NOW);
        assert_eq!(keeper.next(NOW), None);
        keeper.board.set(web(), "u1".into(), Some(Announced::Lacks(Arc::default())));
        assert_eq!(news(&mut keeper), ["announceFailed web uid u1"]);
        assert_eq!(keeper.next(NOW), Some((web(), Write::Delete("l2-a".into()))));
    }

    /// The object is made, the answer to its status is lost, and the watch shows later that it was written.
    #[test]
    fn what_the_watch_shows_tells_whether_a_write_was_done() {
        let mut keeper = announcing();
        let made = Some(Box::new(stored("7", Said::Incomplete)));
        let lost = Failed { why: "lost".to_owned(), fault: Fault::All, made };
        keeper.wrote(web(), Err(lost), NOW);
        keeper.see(Seen::Applied(stored("8", Said::This(Saying::default()))), NOW);
        let later = keeper.wakes(NOW).expect("it is to be tried again");
        assert_eq!(keeper.next(later), None, "it is written already");
    }

    #[test]
    fn nothing_is_told_before_it_is_known_what_is_stored() {
        let board = Arc::new(Board::default());
        let mut keeper = Keeper::new(board.clone());
        for name in ["web", "db"] {
            let key = Arc::new(ServiceKey::new("shop", name));
            board.set(key, "u1".into(), Some(Announced::On(Arc::default())));
        }
        board.complete();
        assert_eq!(news(&mut keeper), [""; 0]);
        keeper.see(Seen::Listed(vec![stored("7", Said::This(Saying::default()))]), NOW);
        assert_eq!(news(&mut keeper), ["nodeAssigned db uid u1"], "the other was told before the restart");
        let (next, _) = keeper.next(NOW).expect("one is to be written");
        assert_eq!(next.name(), "db");
        assert_eq!(keeper.next(NOW), None);
    }

    #[test]
    fn not_all_of_many_interfaces_are_named() {
        let words = lacks("n1", &(0..12).map(|number| format!("eth{number:02}")).collect());
        assert!(words.contains("\"eth09\" and 2 more)") && !words.contains("eth10"), "{words}");
    }
}
