//! The lab, a real Kubernetes cluster on one Linux machine, and what the tests need to speak of it.
//!
//! - [`lab`] starts, changes and ends clusters.
//! - [`image`] packs container images from static programs, without a container engine.
//! - [`host`] is a machine of the lab: it asks, listens and captures on the wire.
//! - [`judge`] captures at the switch and says who answered for an address, and whether two did, or nobody.
//! - [`mod@bench`] measures.
//! - [`chaos`] does to a cluster what must not take its addresses away.
//! - [`documents`] reads what is written for people, so that it can be held to what there is.
//! - [`previous`] is an earlier version of FerroLB, from the history of this repository.
//! - [`plane`] is a control plane without nodes, and [`program`] one of our programs against it.
//! - [`history`] says whether what Services showed was ever wrong; [`recorder`] records it.
//! - [`release`] makes what is released: the same bytes from the same source.
//! - [`scene`] is a cluster with FerroLB in it, in sentences.
//! - [`soak`] lets it work for an hour under faults, and reports.

pub mod bench;
pub mod chaos;
pub mod documents;
pub mod history;
pub mod host;
pub mod image;
pub mod judge;
pub mod lab;
pub mod plane;
pub mod previous;
pub mod program;
pub mod recorder;
pub mod release;
pub mod scene;
pub mod soak;
