//! Bytes of a frame and what they mean.
//!
//! Each protocol has one module with a *meaning* type, parsed from a whole Ethernet frame and built into
//! one. The field layouts are `pnet_packet`'s; only this module sees its views on the bytes.
//!
//! The contract of every parser: it takes any bytes at all and never panics; lengths are checked once, at
//! the door; a frame may be longer than what it carries (Ethernet pads to 60 bytes without checksum, and
//! some drivers leave the checksum on). What is refused is refused with a reason that a test and a counter
//! can name.

pub mod arp;
mod ethernet;
pub mod hello;
pub mod ndp;

pub use ethernet::{Mac, is_hello, is_ndp};
