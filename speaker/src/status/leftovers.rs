//! Deletes the `ServiceL2Status` objects of nodes that are gone, for the Services that this node announces now.
//!
//! Such an object belongs to the Pod of its speaker and goes with it; but while its node does not answer, its Pod stays for
//! minutes, and the object would name a node that announces nothing. Nobody watches the objects of other nodes: ten
//! thousand would not fit. They are looked for when there is a reason to, and only those of nodes that are gone.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::service::ServiceKey;
use ferrolb_crds::{NODE_LABEL, SERVICE_NAME_LABEL, SERVICE_NAMESPACE_LABEL, ServiceL2Status};
use ferrolb_runtime::{explain, now};
use futures::StreamExt;
use kube::api::ListParams;
use kube::core::PartialObjectMeta;

use super::announced::sleep;
use super::board::Board;
use super::complaint::Complaint;
use super::pause::Pause;
use super::queue::WRITERS;
use super::writer::{Failed, Writer};
use super::{Nodes, Parts, names};

/// So many objects are read at once.
const PAGE: u32 = 500;

/// The longest selector that is sent. An address of a request may be longer, but not without end; with more nodes all
/// objects are read.
const SELECTOR: usize = 16 * 1024;

/// Between two looks at least this long: changes come in groups.
const APART: Duration = Duration::from_secs(1);

/// Runs until the context's shutdown.
pub(crate) async fn clear(parts: &Parts, writer: Writer) {
    let (mut shown, mut live) = (parts.board.listen(), parts.live.clone());
    let (mut reasons, mut pause) = (Reasons::default(), Pause::default());
    let mut complaint = Complaint::default();
    let mut looked: Option<Duration> = None;
    let work = async {
        loop {
            let begun = parts.board.is_complete().then(|| parts.board.begun());
            reasons.told(&writer.me.node, begun, live.borrow_and_update().clone());
            let at = reasons.due.then(|| {
                let after = looked.map_or(Duration::ZERO, |looked| looked + APART);
                after.max(pause.lasts(now()).unwrap_or_default())
            });
            if at.is_some_and(|at| at <= now()) {
                looked = Some(now());
                match look(parts, &writer).await {
                    Ok(others) => {
                        pause.succeeded();
                        complaint.recovered("looking for servicel2statuses of nodes that are gone");
                        reasons.looked(others);
                    }
                    Err(why) => {
                        complaint.failed(&why, now());
                        pause.failed(now());
                    }
                }
                continue;
            }
            let wait = at.map(|at| at.saturating_sub(now()));
            tokio::select! {
                Ok(()) = shown.changed() => {}
                Ok(()) = live.changed() => {}
                () = sleep(wait) => {}
            }
        }
    };
    parts.context.shutdown.run_until_cancelled(work).await;
}

/// Whether there is a reason to look.
#[derive(Debug, Default)]
struct Reasons {
    /// How often a Service began to be announced.
    begun: Option<u64>,
    live: Option<Arc<Nodes>>,
    due: bool,
    /// The last look found objects of nodes that are gone, for Services that are not ours.
    others: bool,
}

impl Reasons {
    /// 1. At the start.
    /// 2. A node is gone.
    /// 3. This node announces more, and there are objects of nodes that are gone.
    fn told(&mut self, node: &str, begun: Option<u64>, live: Option<Arc<Nodes>>) {
        let (Some(begun), Some(live)) = (begun, live) else { return };
        self.due |= match (self.begun, &self.live) {
            (Some(before), Some(lived)) => {
                let gone = lived.iter().any(|lived| lived != node && !live.contains(lived));
                gone || (self.others && begun != before)
            }
            _ => true,
        };
        (self.begun, self.live) = (Some(begun), Some(live));
    }

    fn looked(&mut self, others: bool) {
        (self.due, self.others) = (false, others);
    }
}

/// Looks once; returns whether objects of nodes that are gone were left, because their Services are not ours.
async fn look(parts: &Parts, writer: &Writer) -> Result<bool, String> {
    let api = writer.api::<ServiceL2Status>();
    let Some(live) = parts.live.borrow().clone() else { return Ok(false) };
    let mut params = ListParams::default().limit(PAGE).labels(&selector(&writer.me.label, &live));
    let mut others = false;
    loop {
        let page = tokio::time::timeout(LIST, api.list_metadata(&params)).await;
        let page = page
            .map_err(|_| format!("cannot read servicel2statuses: no answer within {} s", LIST.as_secs()))?
            .map_err(|error| explain::<ServiceL2Status>(&error))?;
        // As they are now: a node may have come back.
        let Some(live) = parts.live.borrow().clone() else { return Ok(false) };
        let live = Labels::of(&writer.me.label, &live);
        let mut names = Vec::new();
        for object in &page.items {
            match verdict(object, &live, &parts.board) {
                Verdict::Keep => {}
                Verdict::OthersMay => others = true,
                Verdict::Delete(name) => names.push(name.to_owned()),
            }
        }
        let deletions: Vec<_> = names.into_iter().map(|name| delete(writer.clone(), name)).collect();
        let mut deletions = futures::stream::iter(deletions).buffered(WRITERS);
        while let Some(deleted) = deletions.next().await {
            deleted.map_err(|failed| failed.why)?;
        }
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(others),
        }
    }
}

async fn delete(writer: Writer, name: String) -> Result<(), Failed> {
    writer.delete(&name).await?;
    tracing::info!(object = name, "deleted the ServiceL2Status of a node that is gone");
    Ok(())
}

/// How long a list may take.
const LIST: Duration = Duration::from_secs(10);

/// Selects the objects of nodes that are gone; with very many nodes, those of all others.
fn selector(own: &str, live: &Nodes) -> String {
    let not = |label: &str| format!("{NODE_LABEL}!={label}");
    let mut selector = not(own);
    for node in live {
        let label = names::label(node);
        if label != own {
            selector.push(',');
            selector.push_str(&not(&label));
        }
        if selector.len() > SELECTOR {
            return not(own);
        }
    }
    selector
}

/// The nodes that live, as labels name them.
struct Labels<'a>(BTreeSet<Cow<'a, str>>);

impl<'a> Labels<'a> {
    fn of(own: &'a str, live: &'a Nodes) -> Self {
        // Whatever the API server thinks of our node: we are here.
        Labels(live.iter().map(|node| names::label(node)).chain([Cow::Borrowed(own)]).collect())
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Verdict<'a> {
    /// Its node lives.
    Keep,
    /// Its node is gone; who announces its Service may delete it.
    OthersMay,
    Delete(&'a str),
}

fn verdict<'a>(
    object: &'a PartialObjectMeta<ServiceL2Status>,
    live: &Labels<'_>,
    board: &Board,
) -> Verdict<'a> {
    let labels = object.metadata.labels.as_ref();
    let label = |name: &str| labels.and_then(|labels| labels.get(name)).map_or("", String::as_str);
    if live.0.contains(label(NODE_LABEL)) || object.metadata.deletion_timestamp.is_some() {
        return Verdict::Keep;
    }
    let service = ServiceKey::new(label(SERVICE_NAMESPACE_LABEL), label(SERVICE_NAME_LABEL));
    match &object.metadata.name {
        Some(name) if board.wanted(&service).is_some() => Verdict::Delete(name),
        _ => Verdict::OthersMay,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::report::Announced;

    fn nodes(names: &[&str]) -> Arc<Nodes> {
        Arc::new(names.iter().map(|name| (*name).to_owned()).collect())
    }

    fn board(names: &[&str]) -> Board {
        let board = Board::default();
        for name in names {
            let key = Arc::new(ServiceKey::new("shop", *name));
            board.set(key, "".into(), Some(Announced::On(Arc::default())));
        }
        board
    }

    #[test]
    fn reasons_to_look() {
        let mut reasons = Reasons::default();
        let mut due = |begun: Option<u64>, live: Option<&[&str]>, others: Option<bool>| {
            reasons.told("n1", begun, live.map(nodes));
            let due = reasons.due;
            if let Some(others) = others {
                reasons.looked(others);
            }
            due
        };
        assert!(!due(None, Some(&["n1", "n2"]), None), "nothing is known yet");
        assert!(!due(Some(1), None, None));
        assert!(due(Some(1), Some(&["n1", "n2", "n3"]), None), "the start");
        assert!(due(Some(1), Some(&["n1", "n2", "n3"]), Some(false)), "until a look succeeded");
        assert!(!due(Some(2), Some(&["n1", "n2", "n3"]), None), "a new Service");
        assert!(due(Some(2), Some(&["n1", "n2"]), Some(true)), "a node is gone");
        assert!(!due(Some(2), Some(&["n1", "n2", "n3"]), None), "a node came");
        assert!(due(Some(3), Some(&["n1", "n2", "n3"]), Some(false)), "a Service of one that was gone");
        assert!(!due(Some(4), Some(&["n2", "n3"]), None), "our own node is never gone");
    }

    #[test]
    fn the_selector_leaves_out_who_lives() {
        let key = NODE_LABEL;
        assert_eq!(selector("n1", &nodes(&["n1", "n2"])), format!("{key}!=n1,{key}!=n2"));
        let many: Vec<String> = (0..1000).map(|number| format!("node-{number:04}.example.com")).collect();
        let many: Nodes = many.into_iter().collect();
        assert_eq!(selector("n1", &many), format!("{key}!=n1"));
    }

    #[test]
    fn only_what_nobody_else_shows_is_deleted() {
        let live = nodes(&["n2"]);
        let (live, board) = (Labels::of("n1", &live), board(&["web"]));
        let said = |node: &str, service: &str| {
            let object: PartialObjectMeta<ServiceL2Status> = serde_json::from_value(json!({
                "apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
                "metadata": {"name": "l2-a", "labels": {
                    (NODE_LABEL): node, (SERVICE_NAMESPACE_LABEL): "shop", (SERVICE_NAME_LABEL): service,
                }},
            }))
            .unwrap();
            format!("{:?}", verdict(&object, &live, &board))
        };
        assert_eq!(said("n1", "web"), "Keep");
        assert_eq!(said("n2", "web"), "Keep");
        assert_eq!(said("n3", "web"), "Delete(\"l2-a\")");
        assert_eq!(said("n3", "other"), "OthersMay");
    }
}
