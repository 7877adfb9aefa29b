//! The controller: gives every Service of type LoadBalancer an address from the IPAddressPools.
//!
//! ```text
//!  watch Service, IPAddressPool, Namespace, Node, Lease
//!      │                                             ┌──────────── answers ────────────┐
//!      ▼                                             ▼                                 │
//!   run: one loop ──► brain: what is known, ──► core: plan ──► what differs ──► writer, lease, events
//! ```
//!
//! [`brain`] decides and does nothing; everything else here does and decides nothing. So a simulation can drive two
//! controllers through every order of answers and failures in one thread.

mod args;
pub mod brain;
pub mod hello_key;
pub mod lease;
pub mod metrics;
pub mod run;
pub mod unsupported;
pub mod writer;

pub use args::Args;
pub use run::{Settings, run};
