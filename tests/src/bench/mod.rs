//! What FerroLB costs and how fast it is, measured against a real API server.
//!
//! ```text
//!   allocation: a control plane without nodes, the real controller ──► Report (table, JSON lines)
//!      ├─ one_by_one   create to EXTERNAL-IP, beside the floor: the least that any controller could do
//!      ├─ bulk         many Services by many writers, and their deletion
//!      └─ rest         memory, a restart, and what is written while nothing happens
//!   layer2: the same, the real speaker on a client, and a generator of frames on another ──► Report
//!   peers: the same speaker, and a generator of other speakers ──► Report
//!   scale: ten speakers at one API server, and a node that dies ──► Report
//!   failover: a whole cluster; what happens to the owner of an address ──► Report
//!   install: a whole cluster; from helm install to an address that answers ──► Report
//!   first_answer: a whole cluster; from a Service's creation to the first answer, beside kube-proxy's own sync ──► Report
//!   resources: a control plane; starts, memory, processor, what is heard and written at rest, of each program ──► Report
//!   size: files ──► Report
//!   suite: all of them in rounds, and what all rounds come to: tables, plots, comparisons
//!   cluster, running, speaker   nodes without kubelets, Services, a program on a host, the speaker
//!   lean               requests and a watch that cost this process as little as can be
//!   counters           what the API server says that it was asked
//! ```
//!
//! The harness runs on the machine that it measures, so it is to be built with optimisation, and is lean.

pub mod allocation;
pub mod bulk;
mod cluster;
pub mod counters;
pub mod failover;
pub mod first_answer;
pub mod install;
pub mod layer2;
pub mod lean;
pub mod one_by_one;
pub mod peers;
pub mod report;
pub mod resources;
pub mod rest;
mod running;
pub mod scale;
pub mod size;
mod speaker;
pub mod suite;
mod wire;

pub use allocation::{Options, allocation};
pub use failover::failover;
pub use first_answer::first_answer;
pub use install::install;
pub use layer2::layer2;
pub use peers::peers;
pub use resources::resources;
pub use scale::scale;
pub use size::size;
pub use suite::suite;
pub(crate) use suite::{Machine, Versions};
