//! Plays the cases in `cases/*.yaml`; `cases/README.md` says how they are written.
//!
//! `FERROLB_CASE=words cargo test -p ferrolb-controller --test cases` plays those with the words in their name, id or
//! file.

#[path = "cases/cluster.rs"]
mod cluster;
#[path = "cases/compare.rs"]
mod compare;
#[path = "cases/format.rs"]
mod format;
#[path = "cases/play.rs"]
mod play;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use format::Case;

/// The cases of each file, by the name of the file; or why they cannot be read.
fn files() -> Vec<(String, Result<Vec<Case>, String>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cases");
    let entries = std::fs::read_dir(&folder).expect("the folder of the cases is part of the repository");
    let mut paths: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
    paths.retain(|path| path.extension().is_some_and(|ending| ending == "yaml"));
    paths.sort();
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let text = |path: &Path| std::fs::read_to_string(path).map_err(|error| error.to_string());
    paths.iter().map(|path| (name(path), text(path).and_then(|text| format::read(&text)))).collect()
}

/// What is wrong with a case, if anything: one that is marked as a known bug has to fail.
fn verdict(case: &Case) -> Vec<String> {
    let wrong = play::play(case);
    match (&case.known_bug, wrong.is_empty()) {
        (None, _) => wrong,
        (Some(bug), false) => {
            println!("known bug: {}: {bug}\n    {}", case.name, wrong.join("\n    "));
            Vec::new()
        }
        (Some(bug), true) => vec![format!("holds now: remove the mark known_bug {bug:?}")],
    }
}

#[test]
fn every_case_holds() {
    let filter = std::env::var("FERROLB_CASE").unwrap_or_default();
    let (mut failures, mut played, mut bugs) = (Vec::new(), 0, 0);
    let mut names = BTreeSet::new();
    for (file, cases) in files() {
        let cases = match cases {
            Ok(cases) => cases,
            Err(words) => {
                failures.push(format!("{file}: {words}"));
                continue;
            }
        };
        for case in &cases {
            if !names.insert(case.name.clone()) {
                failures.push(format!("{file}: two cases have the name {:?}", case.name));
            }
            let id = case.id.as_deref().unwrap_or_default();
            if ![case.name.as_str(), id, &file].iter().any(|text| text.contains(&filter)) {
                continue;
            }
            played += 1;
            bugs += usize::from(case.known_bug.is_some());
            let wrong = verdict(case);
            if !wrong.is_empty() {
                failures.push(format!("{file}: {id} {}\n    {}", case.name, wrong.join("\n    ")));
            }
        }
    }
    println!("{played} cases, {bugs} of them known bugs");
    assert!(played > 0, "no case has {filter:?} in its name, id or file");
    assert!(failures.is_empty(), "{} of {played} cases:\n{}", failures.len(), failures.join("\n"));
}

/// Lines of MetalLB's acceptance that are about allocation.
#[test]
fn every_acceptance_line_has_a_case() {
    let cases = files().into_iter().filter_map(|(_, cases)| cases.ok()).flatten();
    let have: BTreeSet<String> = cases.filter_map(|case| case.id).collect();
    let layer2 = (13..=16).map(|number| format!("L2-{number}"));
    let assignment = (1..=20).map(|number| format!("AS-{number:02}"));
    let others = ["LC-01", "WH-01"].map(str::to_owned);
    let missing: Vec<String> =
        layer2.chain(assignment).chain(others).filter(|id| !have.contains(id)).collect();
    assert!(missing.is_empty(), "no case for {missing:?}");
}

/// What the runner says of one case, written as in a file.
fn said(text: &str) -> String {
    match format::read(text) {
        Err(words) => words,
        Ok(cases) => cases.iter().flat_map(verdict).collect::<Vec<_>>().join("\n"),
    }
}

#[test]
fn the_runner_notices_what_is_wrong() {
    let base =
        "[{name: n, pools: [{name: a, addresses: [10.0.0.1/32]}], services: [web, db], expect: EXPECT}]";
    let with = |expect: &str| said(&base.replace("EXPECT", expect));
    let db = "db: {pending: PoolExhausted}";
    assert_eq!(with(&format!("{{web: 10.0.0.1, {db}}}")), "");
    for (expect, words) in [
        (format!("{{web: 10.0.0.2, {db}}}"), "default/web: wanted Has"),
        (format!("{{web: [10.0.0.1, fd00::1], {db}}}"), "default/web: wanted Has"),
        (format!("{{web: {{has: 10.0.0.1, pool: b}}, {db}}}"), "default/web: wanted Has"),
        (format!("{{web: {{has: 10.0.0.1, says: other}}, {db}}}"), "default/web: wanted Has"),
        (format!("{{web: untouched, {db}}}"), "default/web: wanted Untouched"),
        (format!("{{web: released, {db}}}"), "default/web: wanted Released"),
        (format!("{{web: {{pending: PoolExhausted}}, {db}}}"), "default/web: wanted Pending"),
        ("{web: 10.0.0.1, db: {pending: NoPool}}".into(), "default/db: wanted Pending"),
        ("{web: 10.0.0.1, db: {pending: PoolExhausted, says: x}}".into(), "default/db: wanted Pending"),
        ("{web: 10.0.0.1, db: []}".into(), "default/db: wanted Has"),
        ("{web: 10.0.0.1}".into(), "what is expected of default/db is missing"),
        (format!("{{web: 10.0.0.1, {db}, x: 10.0.0.1}}"), "no such Service"),
        (format!("{{web: {{assigned: 1}}, {db}}}"), "default/web is not repeated"),
        (format!("{{web: {{has: 10.0.0.1, pending: NoPool}}, {db}}}"), "does not go with"),
    ] {
        let got = with(&expect);
        assert!(got.contains(words), "{expect} got {got:?}");
    }
    let pool = |wanted: &str| {
        said(&format!(
            "[{{name: n, pools: [{{name: a, addresses: [10.0.0.1/32]}}], expect_pools: {{a: {wanted}}}}}]"
        ))
    };
    assert_eq!(pool("{v4: [0, 1], v6: [0, 0]}"), "");
    for wanted in ["{v4: [1, 1]}", "{v6: [0, 1]}", "{invalid: x}", "{overlaps: x}", "{masked: x}"] {
        assert!(pool(wanted).contains("pool \"a\": wanted"), "{wanted}");
    }
    let broken = "[{name: n, pools: [{name: a, addresses: [x]}]}]";
    assert!(said(broken).contains("wanted Valid None"), "a pool that is not used has to be expected");
}

#[test]
fn the_runner_takes_no_unknown_words() {
    for (text, words) in [
        ("[{name: n, service: []}]", "unknown field `service`"),
        ("[{name: n, services: [{name: a, polcy: x}]}]", "unknown field `polcy`"),
        ("[{name: n, pools: [{name: a, adresses: []}]}]", "no field \"adresses\""),
        ("[{name: n, expect: {a: {pending: x, sais: y}}}]", "\"sais\" does not go with"),
        ("[{name: n, expect_pools: {a: {v5: [0, 0]}}}]", "unknown field `v5`"),
        ("[{name: n, steps: [{then: 1}]}]", "step 2: unknown field `then`"),
        ("[{services: []}]", "no name"),
        ("[{name: n, services: [{name: a, families: [v5]}], expect: {a: untouched}}]", "neither v4 nor v6"),
        ("[{name: n, name: m}]", "not a list of cases"),
        ("[{name: n, gone: {pools: [a]}}]", "no pool \"a\""),
    ] {
        let got = said(text);
        assert!(got.contains(words), "{text} got {got:?}");
    }
}

#[test]
fn a_known_bug_has_to_fail() {
    let case = |known_bug: &str, reason: &str| {
        said(&format!("[{{name: n, {known_bug} services: [a], expect: {{a: {{pending: {reason}}}}}}}]"))
    };
    assert_eq!(case("", "NoPool"), "");
    assert_eq!(case("known_bug: words,", "Other"), "");
    assert!(case("known_bug: words,", "NoPool").contains("remove the mark"));
}
