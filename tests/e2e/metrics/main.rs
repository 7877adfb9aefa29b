//! Metrics: that the documents, alerts and the dashboard are about metrics that there are; that alerts fire when they should;
//! and all of it with a real Prometheus in a cluster.

#[path = "../support/mod.rs"]
mod support;

mod alerts;
mod cluster;
mod collector;
mod documents;
mod server;
