//! What FerroLB costs and how fast it is, measured against a real API server.
//!
//! ```text
//!   allocation: a control plane without nodes, the real controller ──► Report (table, JSON lines)
//!      ├─ one_by_one   create to EXTERNAL-IP, beside the floor: the least that any controller could do
//!      ├─ bulk         many Services by many writers, and their deletion
//!      └─ rest         memory, a restart, and what is written while nothing happens
//!   layer2: the same, the real speaker on a client, and a generator of frames on another ──► Report
//!   peers: the same speaker, and a generator of other speakers ──► Report
//!   failover: a whole cluster; what happens to the owner of an address ──► Report
//!   install: a whole cluster; from helm install to an address that answers ──► Report
//!   cluster, speaker   nodes without kubelets, Services, the speaker as a process
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
pub mod install;
pub mod layer2;
pub mod lean;
pub mod one_by_one;
pub mod peers;
pub mod report;
pub mod rest;
mod speaker;
mod wire;

pub use allocation::{Options, allocation};
pub use failover::failover;
pub use install::install;
pub use layer2::layer2;
pub use peers::peers;
