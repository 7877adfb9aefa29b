//! What a message says, as JSON. What is not said is left out, so that a field that is new changes no older record.

use std::net::IpAddr;

use ferrolb_core::hello_key::Keys;
use ferrolb_core::wire::hello::{
    Body, Claims, ClaimsKind, Digest, Flags, Heard, Hello, Message, Received, Refusal, Sender, parse_frame,
    parse_payload,
};
use serde_json::{Map, Value, json};

/// How a message came.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum By {
    /// As an Ethernet frame: the bytes begin with its header.
    Frame,
    /// As a datagram: the bytes are its payload.
    Datagram,
}

impl By {
    /// Its word in the file.
    pub(crate) fn word(self) -> &'static str {
        match self {
            By::Frame => "frame",
            By::Datagram => "datagram",
        }
    }

    /// The one of this word.
    pub(crate) fn of(word: &str) -> Option<Self> {
        [By::Frame, By::Datagram].into_iter().find(|by| by.word() == word)
    }
}

/// What the parser makes of these bytes, whole.
pub(crate) fn of(by: By, bytes: &[u8], keys: &Keys) -> Result<Value, Refusal> {
    match by {
        By::Frame => {
            let Received { source, destination, message } = parse_frame(bytes, keys)?;
            let mut meaning = told(&message);
            meaning["from"] = json!(source.to_string());
            meaning["to"] = json!(destination.to_string());
            Ok(meaning)
        }
        By::Datagram => parse_payload(bytes, keys).map(|message| told(&message)),
    }
}

fn told(message: &Message) -> Value {
    let Message { sender, body } = message;
    let Sender { node, interface, mac, epoch, sequence } = sender;
    let sender = json!({
        "node": node, "interface": interface, "mac": mac.to_string(), "epoch": epoch, "sequence": sequence,
    });
    let (kind, body) = match body {
        Body::Hello(hello) => ("hello", self::hello(hello)),
        Body::Ask { nonce } => ("ask", json!({"nonce": nonce})),
        Body::Claims(claims) => ("claims", self::claims(claims)),
        Body::Want { of_epoch } => ("want", json!({"ofEpoch": of_epoch})),
        Body::Unknown(code) => ("unknown", json!(code)),
    };
    json!({"sender": sender, kind: body})
}

fn hello(hello: &Hello) -> Value {
    let Hello {
        interval,
        misses,
        state,
        flags: Flags { unfit, stale, paused },
        answers,
        addresses,
        loaded,
        claims,
        slice,
        slices,
        peers,
        routine,
    } = hello;
    let heard = |heard: &Heard| {
        let Heard { station, epoch, mutual } = heard;
        said([("station", json!(station.to_string())), ("epoch", json!(epoch)), ("mutual", json!(mutual))])
    };
    said([
        ("interval", json!(interval.as_millis())),
        ("misses", json!(misses)),
        ("state", json!(format!("{state:?}"))),
        ("unfit", json!(unfit)),
        ("stale", json!(stale)),
        ("paused", json!(paused)),
        ("routine", json!(routine)),
        ("answers", json!(answers)),
        ("addresses", json!(addresses.iter().map(IpAddr::to_string).collect::<Vec<_>>())),
        ("loaded", json!(loaded.iter().map(ToString::to_string).collect::<Vec<_>>())),
        ("claims", digest(*claims)),
        ("slice", json!(slice)),
        ("slices", json!(slices)),
        ("peers", peers.iter().map(heard).collect()),
    ])
}

fn claims(claims: &Claims) -> Value {
    let Claims { kind, after, entries } = claims;
    let entries: Vec<Value> = entries
        .iter()
        .map(|claim| json!({"address": claim.address.to_string(), "voice": format!("{:?}", claim.voice)}))
        .collect();
    let kind = match kind {
        ClaimsKind::Whole { part, parts } => ("whole", json!({"part": part, "parts": parts})),
        ClaimsKind::Change { before } => ("before", digest(*before)),
    };
    said([kind, ("after", digest(*after)), ("entries", json!(entries))])
}

fn digest(digest: Digest) -> Value {
    let Digest { count, sum } = digest;
    json!({"count": count, "sum": sum})
}

/// An object without what is nothing, no, or an empty list.
fn said<const N: usize>(fields: [(&str, Value); N]) -> Value {
    let nothing = |value: &Value| match value {
        Value::Null | Value::Bool(false) => true,
        Value::Array(items) => items.is_empty(),
        _ => false,
    };
    let fields = fields.into_iter().filter(|(_, value)| !nothing(value));
    Value::Object(fields.map(|(name, value)| (name.to_owned(), value)).collect::<Map<_, _>>())
}
