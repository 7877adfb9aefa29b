//! The controller: gives every Service of type LoadBalancer an address from the IPAddressPools.
//!
//! ```text
//!  watch Service, IPAddressPool, Namespace ──► stores
//!      │  any change                              │
//!      ▼                                          ▼
//!   one loop ──► cluster: Snapshot ──► core: plan ──► writes: what differs, in a safe order
//!      ▲                 ▲                                    │
//!      │                 └── pending: written, not yet seen ◄─┤
//!      └───────────────────────────────────────────── writer: patch of services/status
//! ```
//!
//! The loop is level-triggered: it looks at the stores as they are, never at single events, and what
//! it decides depends on nothing that it remembers. The one thing kept between rounds is what was written and
//! has not come back by the watch yet ([`unseen`]), so that no round plans on a picture older than its own
//! writes.

pub mod cluster;
pub mod events;
pub mod metrics;
pub mod run;
pub mod unseen;
pub mod writer;
pub mod writes;

pub use run::run;
