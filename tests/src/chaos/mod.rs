//! Faults in a cluster, by name, and whether an address bears them.
//!
//! ```text
//!   Stage: all is well ──► Fault begins ──► within its bound the address works ──► it ends ──► and works ──► all is well
//!                              └──────────── Watch: the wire judge, connections ─────────────────┘
//! ```
//!
//! - [`Balancer`]: who announces. - [`Stage`]: an address in a cluster, and the way back to a good state. - [`Watch`]:
//!   eyes on the address. - [`Fault`]: what goes wrong, and [`plan`], lists of it by seed. - [`run()`]: does a list and
//!   judges. - [`bounds`]: how soon the address must work.

pub mod balancer;
pub mod bounds;
pub mod fault;
pub mod run;
pub mod stage;
pub mod watch;

pub use balancer::Balancer;
pub use fault::{Fault, Faults, Step, plan};
pub use run::{Outcome, run};
pub use stage::{Pods, Stage};
pub use watch::{Watch, Watched};
