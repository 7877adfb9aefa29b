//! The alerts, checked and played by promtool.

use std::process::Command;

use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{process, prometheus};
use ferrolb_tests::plane::project;

use crate::documents::rule_object;

#[test]
#[ignore = "builds promtool, which takes minutes: make test-full"]
fn each_fires_where_it_should_and_none_where_all_is_well() {
    let promtool = prometheus::program(prometheus::PROMTOOL, &Progress::default()).expect("promtool");
    let folder = tempfile::tempdir().expect("a temporary folder");
    let rules = folder.path().join("rules.yaml");
    // JSON is YAML.
    std::fs::write(&rules, rule_object()["spec"].to_string()).expect("a file");
    let played = folder.path().join("alerts.yaml");
    std::fs::copy(project("tests/alerts/alerts.yaml"), &played).expect("a copy");
    let run = |arguments: &[&str]| {
        process::run(Command::new(&promtool).current_dir(folder.path()).args(arguments))
            .unwrap_or_else(|error| panic!("{error}"))
    };
    let said = run(&["check", "rules", "--lint=all", "--lint-fatal", "rules.yaml"]);
    assert!(said.contains("SUCCESS"), "{said}");
    run(&["test", "rules", "alerts.yaml"]);
}
