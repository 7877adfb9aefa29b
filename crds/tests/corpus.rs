//! Inputs that fuzzing found worth keeping, `fuzz/corpus`, through the bodies of their targets.

#[path = "../../fuzz/bodies.rs"]
mod bodies;
#[path = "../../fuzz/wire.rs"]
#[allow(dead_code, reason = "the other test builds frames with it")]
mod wire;

use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;

/// The name of a target, and what it does with an input.
type Target = (&'static str, fn(&[u8]));

const TARGETS: [Target; 7] = [
    ("arp", wire::arp),
    ("hello", wire::hello),
    ("ndp", wire::ndp),
    ("pool", bodies::pool),
    ("range", bodies::range),
    ("receive", wire::receive),
    ("service_annotations", bodies::service_annotations),
];

/// The bytes of a line of hexadecimal digits.
fn bytes(line: &str) -> Vec<u8> {
    let digits = line.as_bytes().chunks(2).map(|two| std::str::from_utf8(two).expect("digits"));
    digits.map(|two| u8::from_str_radix(two, 16).unwrap_or_else(|error| panic!("{two:?}: {error}"))).collect()
}

#[test]
fn what_fuzzing_kept_holds() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz");
    let entries = std::fs::read_dir(fuzz.join("fuzz_targets")).expect("the targets");
    let there = entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned());
    let targets: BTreeSet<String> = TARGETS.iter().map(|(name, _)| format!("{name}.rs")).collect();
    assert_eq!(targets, there.collect());
    for (name, body) in TARGETS {
        let file = fuzz.join(format!("corpus/{name}.hex"));
        let text =
            std::fs::read_to_string(&file).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        assert!(text.lines().count() > 10, "only {} inputs in {}", text.lines().count(), file.display());
        for (line, number) in text.lines().zip(1..) {
            if let Err(panic) = catch_unwind(AssertUnwindSafe(|| body(&bytes(line)))) {
                eprintln!("line {number} of {}: {:?}", file.display(), String::from_utf8_lossy(&bytes(line)));
                std::panic::resume_unwind(panic);
            }
        }
    }
}
