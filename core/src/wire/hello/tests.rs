//! Golden bytes, made by another program from docs/hello.md, checked four ways: parse, build, round trip, refuse.

mod golden;
mod properties;
mod refusals;

use super::*;
use crate::hello_key::{Key, Keys};

const NODE: Mac = Mac([0x02, 0, 0, 0, 0, 0x01]);

fn key(first: u8) -> Key {
    Key::new(std::array::from_fn(|at| first.wrapping_add(u8::try_from(at).unwrap())))
}

fn keys() -> Keys {
    Keys::new(key(0), []).unwrap()
}

fn sender() -> Sender {
    let (node, interface) = ("n1".to_owned(), "eth0".to_owned());
    Sender { node, interface, mac: NODE, epoch: 0x0102_0304_0506_0708, sequence: 9 }
}

/// The payload with its length and tag made right.
fn sign(mut bytes: Vec<u8>) -> Vec<u8> {
    let length = u16::try_from(bytes.len() + TAG_LEN).unwrap();
    bytes[4..6].copy_from_slice(&length.to_be_bytes());
    let tag = key(0).tag(&bytes);
    bytes.extend(tag);
    bytes
}
