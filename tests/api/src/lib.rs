//! A Kubernetes API server in memory, for tests, and bad weather in front of it or of a real one.
//!
//! ```text
//!   kube::Client ─► Weather (rules, faults) ─► ApiServer (objects, history, watches)
//!                                        └───► or the client of a real API server
//! ```
//!
//! [`ApiServer`] speaks the API's protocol to an unmodified [`kube::Client`]: resource versions, conflicts, the
//! patches, watches with bookmarks and their expiry. It is deterministic: names, uids and versions are counted,
//! and its clock is tokio's, which a test can stop.
//!
//! [`Weather`] is a [`tower::Layer`]. A rule says [which requests](On) meet [which fault](Fault); rules come
//! and go while requests run, and each counts its hits.
//!
//! What the server does not do: it checks no schema, fills in few defaults, runs no admission and no
//! controllers (a deleted namespace keeps its objects), and does not ask who is calling. What it does is held
//! against a real API server by `tests/e2e/api.rs` of `ferrolb-tests`.
//!
//! The modules, from the bottom up: [`kind`], [`call`] (a request, taken apart), `answer` (errors as the API
//! server words them), `selector`, `schema` and `patch` (the merges), `owners` (server-side apply), `store`
//! (objects and history), `write`, `read`, `watching`, [`server`]; beside them [`weather`], and [`recorded`]: what earlier versions wrote.

mod answer;
pub mod call;
pub mod kind;
mod owners;
mod patch;
mod read;
pub mod recorded;
mod schema;
mod selector;
pub mod server;
mod store;
mod watching;
pub mod weather;
mod write;

pub use call::{Call, Verb};
pub use kind::Kind;
pub use recorded::Recorded;
pub use server::{ApiServer, Writes};
pub use store::{Change, Commit};
pub use weather::{Fault, Lost, On, Rule, Weather};

/// The body of an answer; watches stream in it.
pub type AnswerBody = http_body_util::combinators::UnsyncBoxBody<bytes::Bytes, tower::BoxError>;

/// An answer.
pub type Answer = http::Response<AnswerBody>;
