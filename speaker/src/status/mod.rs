//! What this speaker writes to the API server about itself. Nothing that it does depends on it.
//!
//! ```text
//!  announcing ──► Board ────────┬──► announced ──► ServiceL2Status (ours), events on Services
//!  cluster ─────► live nodes ───┴──► leftovers ──► ServiceL2Status of nodes that are gone: deleted
//!  cluster ─────► Configuration ───► configuration ──► ConfigurationState
//! ```
//!
//! Three tasks in one, each with its own pauses. They are told by a board and by watch channels, so a slow API server never
//! holds up whoever tells: what was not written yet is forgotten for what is so by then. What to write is decided by `plan` from what is
//! so and what is stored, so a restart, a lost answer or an edit by hand all come to the same end, and a steady state
//! writes nothing.
//!
//! The modules, from the bottom up: `names`, `pause`, `settling`, `complaint`, `board` (what is announced), `plan`
//! (decisions on one Service), `queue` (which Service next), `objects` (what the API server has), `writer` (requests), and the three tasks.

use std::collections::BTreeSet;
use std::sync::Arc;

use ferrolb_runtime::{Context, Events, Note};
use kube::Client;
use tokio::sync::watch;

mod announced;
mod board;
mod complaint;
mod configuration;
mod leftovers;
mod names;
pub(crate) mod objects;
mod pause;
mod plan;
mod queue;
mod settling;
#[cfg(test)]
mod tests;
mod writer;

pub use board::Board;

/// The server ends each watch after so many seconds; a watch that is stuck in silence is noticed 5 s later.
const WATCH_SECONDS: u32 = 120;

/// Names of interfaces. Shared, since ten thousand Services have the same few sets.
pub type Interfaces = Arc<BTreeSet<String>>;

/// Names of nodes.
pub type Nodes = BTreeSet<String>;

/// What this speaker made of its configuration, and what else is wrong on its node.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Configuration {
    /// One line for each object that is not used: which, why, and what to change.
    pub problems: BTreeSet<String>,
    /// Whether the node's service proxy works.
    pub proxy: Proxy,
    /// Whether this speaker has no key for hellos yet.
    pub keyless: bool,
}

/// Whether the service proxy of this node (kube-proxy, mostly) works.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Proxy {
    /// It never answered, so there is nothing to be said.
    #[default]
    Unknown,
    /// It answers.
    Healthy,
    /// It does not: why, and what to do.
    Unhealthy(String),
}

/// The Pod to which belongs what is written: it is deleted with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodRef {
    /// `metadata.name`.
    pub name: String,
    /// `metadata.uid`.
    pub uid: String,
}

/// What the task works with.
#[derive(Clone)]
pub struct Parts {
    /// The API server.
    pub client: Client,
    /// Sends events; in the name of `ferrolb-speaker`.
    pub events: Events,
    /// Our namespace, in which the objects lie.
    pub namespace: String,
    /// This node's name.
    pub node: String,
    /// This speaker's Pod. Without it, objects have no owner and stay when the speaker is gone.
    pub pod: Option<PodRef>,
    /// What this node announces. Until it is complete, nothing is written or deleted: it is to be so when the election has
    /// been held and its outcome is announced, not before, or what is right would be deleted.
    pub board: Arc<Board>,
    /// What this speaker made of its configuration. Until it is told, nothing is written.
    pub configuration: watch::Receiver<Option<Arc<Configuration>>>,
    /// The nodes that are there and Ready. What another node says of a Service of ours is deleted once that node is not
    /// among them.
    pub live: watch::Receiver<Option<Arc<Nodes>>>,
    /// The program.
    pub context: Context,
}

impl Parts {
    fn tell(&self, note: Note) {
        // Who announces is in the log already, with more to it.
        if note.warning { self.events.tell(note) } else { self.events.send(note) }
    }
}

/// Keeps what is stored equal to what is told, until the context's shutdown.
pub async fn run(parts: Parts) {
    let me = Arc::new(objects::Me::new(parts.node.clone(), parts.pod.clone()));
    let writer = writer::Writer::new(parts.client.clone(), parts.namespace.clone(), me);
    futures::join!(
        announced::keep(&parts, writer.clone()),
        leftovers::clear(&parts, writer.clone()),
        configuration::keep(&parts, writer),
    );
}
