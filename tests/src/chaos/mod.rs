//! Faults in a cluster, by name, and whether the address bears them.
//!
//! - [`Balancer`]: who announces. - [`Stage`]: an address in a cluster, and the way back to a good state. - [`Watch`]:
//!   eyes on the address.

pub mod balancer;
pub mod stage;
pub mod watch;

pub use balancer::Balancer;
pub use stage::{Pods, Stage};
pub use watch::{Watch, Watched};
