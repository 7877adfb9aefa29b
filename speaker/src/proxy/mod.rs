//! The service proxy of this node: kube-proxy, or what a CNI has in its place.
//!
//! Whoever answers for an address gets its packets, and it is the proxy that delivers them. So the speaker
//! keeps an eye on it in three ways, and changes nothing of it:
//!
//! - [`health`]: a proxy that once told its health and is silent or sick now makes this node a poor choice.
//! - [`endpoints`]: an address moves to this node for a new endpoint here once the proxy has that one.
//! - [`strict_arp`]: a proxy in IPVS mode makes every node's kernel answer for every address, unless told not to.

pub mod endpoints;
pub mod health;
pub mod strict_arp;
