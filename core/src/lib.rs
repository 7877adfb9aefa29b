//! Every decision of FerroLB, and nothing else.
//!
//! The functions here take what is known and return what should be: which Service gets which address
//! ([`allocate`]), which node answers for it ([`election`]), which frames go out and when
//! ([`announce`], [`wire`]). They open no socket, read no clock or environment and start no task: `now`
//! is an argument, effects are values, maps are ordered. So every speaker computes the same owner from
//! the same input, and a simulation can drive a whole cluster in one thread.
//!
//! ```text
//!  IPAddressPool ──► pool ─┐
//!  Service ───────► service┴─► allocate::plan ─► Plan (one verdict for each Service)
//!
//!  L2Advertisement ─► advertisement ─┐
//!  Node, endpoints ─────────────────┴─► election::elect ─► owner of each address
//!                                             │
//!              links, frames, now ──► announce::Announcer ─► effects (frames to send), next deadline
//!                                             │
//!                                            wire (bytes of a frame ⇄ its meaning)
//! ```
//!
//! What this crate must never know: Kubernetes' API types, sockets, time sources, logging. Its manifest
//! proves it and `tests/purity.rs` guards the manifest.

pub mod address_map;
pub mod advertisement;
pub mod allocate;
pub mod announce;
pub mod askers;
pub mod conflict;
pub mod dense;
pub mod election;
pub mod few;
pub mod hello_key;
pub mod lease;
pub mod net;
pub mod outline;
pub mod ownership;
pub mod peers;
pub mod pool;
pub mod quote;
pub mod ranges;
pub mod selector;
pub mod service;
pub mod speaker;
pub mod wire;
