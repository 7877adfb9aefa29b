//! What speakers of each version said, kept in `tests/fixtures/VERSION/hellos.json`, and what it means.
//!
//! `cargo test -p ferrolb-core --test simulation -- --ignored recorded::record` writes the file of this version: speakers
//! of the simulation live through what makes them say everything that there is to say.

mod meaning;
mod script;

use std::fmt::Write as _;
use std::path::PathBuf;

use ferrolb_core::hello_key::{Key, Keys};
use serde_json::{Value, json};

use meaning::By;

/// Where the records of all versions lie.
fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../tests/fixtures")
}

/// The records of all versions, each with its version, in order.
fn records() -> Vec<(String, Value)> {
    let found =
        std::fs::read_dir(folder()).expect("tests/fixtures").map(|entry| entry.expect("an entry").path());
    let mut records: Vec<(String, Value)> = found
        .filter(|path| path.is_dir())
        .map(|path| {
            let version = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            let file = path.join("hellos.json");
            let text = std::fs::read(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
            (
                version,
                serde_json::from_slice(&text).unwrap_or_else(|error| panic!("{}: {error}", file.display())),
            )
        })
        .collect();
    records.sort_by(|(one, _), (other, _)| one.cmp(other));
    records
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

fn unhex(text: &str) -> Vec<u8> {
    let digits: Vec<u8> =
        text.chars().map(|digit| digit.to_digit(16).expect("a hexadecimal digit") as u8).collect();
    digits.chunks(2).map(|two| two[0] << 4 | two[1]).collect()
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap_or_else(|| panic!("{value} is no text"))
}

/// The keys with which a record is read.
fn keys(record: &Value) -> Keys {
    let keys = record["keys"].as_array().expect("keys").iter();
    let mut keys = keys.map(|key| Key::new(unhex(text(key)).try_into().expect("32 bytes")));
    let first = keys.next().expect("a key");
    Keys::new(first, keys).expect("a set of keys")
}

/// Fails where a message of a record says something else than what was recorded, and names it.
fn differences(record: &Value) -> Vec<String> {
    let keys = keys(record);
    let messages = record["messages"].as_array().expect("messages");
    assert!(!messages.is_empty(), "a record without messages shows nothing");
    let different = messages.iter().filter_map(|message| {
        let (name, by) =
            (text(&message["name"]), By::of(text(&message["by"])).expect("by frame or datagram"));
        let expected = &message["means"];
        match meaning::of(by, &unhex(text(&message["bytes"])), &keys) {
            Ok(found) if found == *expected => None,
            Ok(found) => Some(format!("{name}: {found}, not {expected}")),
            Err(refusal) => Some(format!("{name}: {refusal}")),
        }
    });
    different.collect()
}

#[test]
fn what_speakers_of_each_version_said_is_understood() {
    let records = records();
    assert!(!records.is_empty(), "there is no version in {}", folder().display());
    for (version, record) in records {
        let different = differences(&record);
        assert!(different.is_empty(), "{version}:\n{}", different.join("\n"));
    }
}

#[test]
fn a_message_that_means_something_else_is_named() {
    let (_, mut record) = records().remove(0);
    let name = text(&record["messages"][0]["name"]).to_owned();
    record["messages"][0]["means"]["sender"]["sequence"] = json!(1);
    let different = differences(&record);
    assert!(different.len() == 1 && different[0].starts_with(&name), "{different:?}");

    let bytes = text(&record["messages"][1]["bytes"]).to_owned();
    let last = if bytes.ends_with('0') { "1" } else { "0" };
    record["messages"][1]["bytes"] = json!(format!("{}{last}", &bytes[..bytes.len() - 1]));
    let name = text(&record["messages"][1]["name"]).to_owned();
    let different = differences(&record);
    assert!(different.len() == 2 && different[1].starts_with(&format!("{name}: ")), "{different:?}");
}

#[test]
#[ignore = "writes tests/fixtures/VERSION/hellos.json of this version"]
fn record() {
    let keys = script::keys().map(|(bytes, _)| hex(&bytes));
    let mut record = json!({"keys": keys, "messages": []});
    let loaded = self::keys(&record);
    let message = |(name, by, bytes): (String, By, Vec<u8>)| {
        let means = meaning::of(by, &bytes, &loaded).expect(&name);
        json!({"name": name, "by": by.word(), "bytes": hex(&bytes), "means": means})
    };
    record["messages"] = script::said().into_iter().map(message).collect();
    let folder = folder().join(env!("CARGO_PKG_VERSION"));
    std::fs::create_dir_all(&folder).unwrap();
    let text = serde_json::to_string_pretty(&record).unwrap();
    std::fs::write(folder.join("hellos.json"), text + "\n").unwrap();
}
