//! What the controller and the speaker start with: flags, logging, the API client, watches into stores,
//! the admin endpoint (`/healthz`, `/readyz`, `/metrics`) and an orderly end.
//!
//! ```text
//!  CommonArgs ──► run ──► logging, TLS provider, tokio
//!                  │
//!                  ├─ SIGTERM, SIGINT ──► Context::shutdown
//!                  ├─ admin endpoint  ◄── Context::readiness, Context::registry
//!                  └─ the program's body(Context)
//!                         └─ watch ──► what the API server has, and each change of it
//! ```
//!
//! Nothing here knows what a pool or an address is.

mod admin;
mod args;
mod client;
mod clock;
mod events;
mod logging;
mod measured;
mod metrics;
mod readiness;
mod run;
mod traces;
mod watch;

pub use args::{CommonArgs, LogFormat};
pub use client::{ClientError, client};
pub use events::{Events, Note};
pub use readiness::{Readiness, Token};
pub use run::{Context, run};
pub use traces::{Collector, TRACES};
pub use watch::{How, Seen, WATCH_SECONDS, Watch, explain, watch_as, watch_each};

pub use clock::now;
