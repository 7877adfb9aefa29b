//! `docs/metrics.md` is what the programs have, and what alerts and the dashboard ask for is among it.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;

use ferrolb_runtime::Context;
use ferrolb_tests::plane::project;
use serde_json::Value;

/// After this line `docs/metrics.md` is made of the code.
const MARK: &str = "<!-- From here on made of the code, by `make metrics`. -->\n";

/// If it is set, the file is written anew.
const WRITE: &str = "FERROLB_WRITE_DOCS";

/// One metric, as `/metrics` shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Metric {
    kind: String,
    labels: Vec<String>,
    meaning: String,
}

type Metrics = BTreeMap<String, Metric>;

/// Reads the text format of OpenMetrics: names as they are asked for.
fn read(text: &str) -> Metrics {
    let mut metrics = Metrics::new();
    let (mut meaning, mut current) = (String::new(), String::new());
    for line in text.lines() {
        if let Some(rest) = line.strip_prefix("# HELP ") {
            meaning = rest
                .split_once(' ')
                .map(|(_, words)| words.trim_end_matches('.').to_owned())
                .unwrap_or_default();
        } else if let Some((name, kind)) = line.strip_prefix("# TYPE ").and_then(|rest| rest.split_once(' '))
        {
            current = match kind {
                "counter" => format!("{name}_total"),
                "info" => format!("{name}_info"),
                _ => name.to_owned(),
            };
            let metric = Metric { kind: kind.to_owned(), labels: Vec::new(), meaning: meaning.clone() };
            assert!(metrics.insert(current.clone(), metric).is_none(), "{current} is there twice");
        } else if let Some((_, rest)) = line.split_once('{').filter(|_| !line.starts_with('#')) {
            let labels = rest.split_once('}').map_or("", |(labels, _)| labels);
            let names = labels.split("\",").filter_map(|pair| pair.split_once('=')).map(|(name, _)| name);
            let names: Vec<String> = names.filter(|name| *name != "le").map(str::to_owned).collect();
            metrics.entry(current.clone()).and_modify(|metric| metric.labels = names);
        }
    }
    metrics
}

fn controller() -> Metrics {
    let context = Context::exemplary();
    ferrolb_controller::metrics::Metrics::new(&context).exemplify();
    read(&context.exposition().expect("the metrics"))
}

fn speaker() -> Metrics {
    let context = Context::exemplary();
    let metrics = ferrolb_speaker::metrics::Metrics::new("node1");
    context.register(|registry| metrics.register(registry));
    metrics.exemplify("10.0.0.1".parse().expect("an address"));
    read(&context.exposition().expect("the metrics"))
}

fn table(title: &str, metrics: &Metrics) -> String {
    let mut text = format!("\n## {title}\n\n| name | type | labels | meaning |\n|---|---|---|---|\n");
    for (name, Metric { kind, labels, meaning }) in metrics {
        let labels: Vec<String> = labels.iter().map(|label| format!("`{label}`")).collect();
        // Writing to a String cannot fail.
        let _ = writeln!(text, "| `{name}` | {kind} | {} | {meaning} |", labels.join(", "));
    }
    text
}

fn generated() -> String {
    let (controller, speaker) = (controller(), speaker());
    let both: Metrics = controller
        .iter()
        .filter(|(name, _)| speaker.contains_key(*name))
        .map(|(n, m)| (n.clone(), m.clone()))
        .collect();
    let without =
        |metrics: Metrics| metrics.into_iter().filter(|(name, _)| !both.contains_key(name)).collect();
    table("Of both programs", &both)
        + &table("Of the controller", &without(controller))
        + &table("Of the speaker", &without(speaker))
}

#[test]
fn the_table_is_that_of_the_code() {
    let path = project("docs/metrics.md");
    let text = std::fs::read_to_string(&path).expect("docs/metrics.md");
    let (words, table) = text.split_once(MARK).expect("the mark in docs/metrics.md");
    let generated = generated();
    if std::env::var_os(WRITE).is_some() {
        std::fs::write(&path, format!("{words}{MARK}{generated}")).expect("docs/metrics.md");
        return;
    }
    assert_eq!(table, generated, "docs/metrics.md is not of this code: run `make metrics`");
}

#[test]
fn each_has_a_meaning_and_few_labels() {
    for (name, metric) in controller().into_iter().chain(speaker()) {
        assert!(metric.meaning.len() > 10, "{name}: {:?}", metric.meaning);
        assert!(metric.labels.len() <= 4, "{name}: {:?}", metric.labels);
    }
}

/// The names of metrics in a text.
fn asked_for(text: &str) -> BTreeSet<String> {
    let words = text.split(|c: char| !(c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_'));
    let ours =
        words.filter(|word| ["metallb_", "ferrolb_", "process_"].iter().any(|start| word.starts_with(start)));
    ours.filter(|word| !word.ends_with('_')).map(str::to_owned).collect()
}

/// The expressions of all rules and panels, by where they are.
pub(crate) fn expressions() -> BTreeMap<String, Vec<String>> {
    let mut found = BTreeMap::new();
    for rule in rules() {
        let name = rule["alert"].as_str().unwrap_or_default().to_owned();
        found.insert(name, vec![rule["expr"].as_str().unwrap_or_default().to_owned()]);
    }
    for panel in dashboard()["panels"].as_array().into_iter().flatten().filter(|panel| panel["type"] != "row")
    {
        let targets = panel["targets"].as_array().into_iter().flatten();
        let all = targets.map(|target| target["expr"].as_str().unwrap_or_default().to_owned()).collect();
        let name = format!("panel {:?}", panel["title"].as_str().unwrap_or_default());
        assert!(found.insert(name, all).is_none(), "two panels are called {}", panel["title"]);
    }
    found
}

/// The dashboard.
pub(crate) fn dashboard() -> Value {
    let text = std::fs::read_to_string(project("config/components/prometheus/dashboard.json"));
    serde_json::from_str(&text.expect("dashboard.json")).expect("JSON")
}

/// The object with the rules.
pub(crate) fn rule_object() -> Value {
    let text = std::fs::read_to_string(project("config/components/prometheus/rules.yaml"));
    serde_saphyr::from_str(&text.expect("rules.yaml")).expect("YAML")
}

/// All alerts.
pub(crate) fn rules() -> Vec<Value> {
    let object = rule_object();
    let groups = object["spec"]["groups"].as_array().cloned().unwrap_or_default();
    groups.iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default()).collect()
}

#[test]
fn alerts_and_dashboard_ask_for_metrics_that_there_are() {
    let all: Metrics = controller().into_iter().chain(speaker()).collect();
    let there = |name: &str| {
        let histogram = ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end));
        all.contains_key(name)
            || histogram.is_some_and(|name| all.get(name).is_some_and(|it| it.kind == "histogram"))
    };
    let mut asked = 0;
    for (place, expressions) in expressions() {
        for expression in &expressions {
            let names = asked_for(expression);
            asked += names.len();
            let missing: Vec<_> = names.iter().filter(|name| !there(name)).collect();
            assert!(missing.is_empty(), "{place} asks for {missing:?}, which no program has");
        }
    }
    assert!(asked > 50, "only {asked}");
}

#[test]
fn each_alert_says_what_is_so_and_what_to_do_and_has_a_section() {
    let text = std::fs::read_to_string(project("docs/alerts.md")).expect("docs/alerts.md");
    let sections: BTreeSet<String> =
        text.lines().filter_map(|line| line.strip_prefix("## ")).map(str::to_lowercase).collect();
    let rules = rules();
    assert!(rules.len() > 10, "only {} alerts", rules.len());
    for rule in &rules {
        let name = rule["alert"].as_str().expect("a name");
        let said = |key: &str| rule["annotations"][key].as_str().unwrap_or_default();
        assert!(said("summary").ends_with('.') && said("description").ends_with('.'), "{name}: no sentences");
        assert!(said("summary").len() < 100, "{name}: a summary is short");
        let section = said("runbook_url").strip_prefix("docs/alerts.md#");
        assert!(section.is_some_and(|section| sections.contains(section)), "{name}: {}", said("runbook_url"));
        let severity = rule["labels"]["severity"].as_str().unwrap_or_default();
        assert!(["critical", "warning", "info"].contains(&severity), "{name}: {severity}");
        let after = rule["for"].as_str().unwrap_or("at once");
        let row = format!(
            "| [{name}]({}) | {severity} | {after} |",
            &said("runbook_url")["docs/alerts.md".len()..]
        );
        assert!(text.contains(&row), "docs/alerts.md has no line {row}");
    }
}
