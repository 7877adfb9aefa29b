//! A cluster in one thread and one seed: speakers, their kernels, a client, and a network that loses, delays and cuts.

#![allow(clippy::unwrap_used, reason = "a test fails by it")]

mod clock;
mod cluster;
mod datagrams;
mod first_key;
mod network;
mod recorded;
mod scenes;
mod service_proxy;
mod weather;
