use std::collections::BTreeMap;
use std::path::Path;

use clap::Parser;
use clap::error::ErrorKind;

use super::*;

/// What stands in a file, and is no longer so.
fn told(document: &Document, line: usize, what: &str) -> String {
    format!("{}:{line}: {what}", document.path.display())
}

fn nothing(wrong: &[String]) {
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// `path` as seen from the folder of `document`.
fn resolved(document: &Document, path: &str) -> PathBuf {
    let mut resolved = document.path.parent().unwrap_or(Path::new("")).to_owned();
    for part in path.split('/') {
        match part {
            ".." => drop(resolved.pop()),
            "." | "" => {}
            part => resolved.push(part),
        }
    }
    resolved
}

#[test]
fn every_link_leads_somewhere() {
    let documents = all().unwrap();
    assert!(documents.len() > 20, "only {} documents were found", documents.len());
    let anchors: BTreeMap<&Path, BTreeSet<String>> =
        documents.iter().map(|document| (&*document.path, document.anchors())).collect();
    let (mut wrong, mut links) = (Vec::new(), 0);
    for document in &documents {
        for link in document.links() {
            links += 1;
            let path =
                if link.path.is_empty() { document.path.clone() } else { resolved(document, link.path) };
            if !project("").join(&path).exists() {
                wrong.push(told(document, link.line, &format!("there is no {}", path.display())));
            } else if let Some(anchor) = link.anchor
                && !anchors.get(&*path).is_some_and(|anchors| anchors.contains(anchor))
            {
                wrong.push(told(
                    document,
                    link.line,
                    &format!("{} has no heading #{anchor}", path.display()),
                ));
            }
        }
    }
    assert!(links > 100, "only {links} links were found");
    nothing(&wrong);
}

#[test]
fn every_document_is_found_from_the_index() {
    let documents = all().unwrap();
    let index = documents.iter().find(|document| document.path == Path::new("docs/README.md")).unwrap();
    let linked: BTreeSet<PathBuf> = index.links().map(|link| resolved(index, link.path)).collect();
    let missing = documents.iter().map(|document| &document.path).filter(|path| path.starts_with("docs"));
    let missing: Vec<_> = missing.filter(|path| **path != index.path && !linked.contains(*path)).collect();
    assert!(missing.is_empty(), "docs/README.md does not link {missing:?}");
}

#[test]
fn make_has_the_targets_that_are_named() {
    let makefile = std::fs::read_to_string(project("Makefile")).unwrap();
    let rules = makefile.lines().filter(|line| !line.starts_with(['\t', ' ', '.', '#']));
    let targets: BTreeSet<&str> = rules.filter_map(|line| Some(line.split_once(':')?.0)).collect();
    assert!(targets.contains("test"), "{targets:?}");
    let mut wrong = Vec::new();
    for document in all().unwrap() {
        for command in document.commands() {
            let arguments = command.arguments_of("make").unwrap_or_default();
            for target in arguments.iter().filter(|word| !word.contains('=') && !word.starts_with('-')) {
                if !targets.contains(&**target) {
                    wrong.push(told(&document, command.line, &format!("make has no target {target}")));
                }
            }
        }
    }
    nothing(&wrong);
}

#[test]
fn every_path_that_is_named_is_there() {
    let (mut wrong, mut paths) = (Vec::new(), 0);
    for document in all().unwrap() {
        for command in document.commands() {
            for word in &command.words {
                let word = word.trim_end_matches([',', ';', ':', '.', ')']);
                let Some((first, rest)) = word.split_once('/') else { continue };
                let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '.' | '_' | '-');
                let folder =
                    [".github", "charts", "config", "controller", "core", "crds", "docs", "fuzz", "plugin"]
                        .into_iter()
                        .chain(["runtime", "speaker", "tests"])
                        .any(|folder| folder == first);
                if !folder
                    || !word.chars().all(plain)
                    || word.contains('…')
                    || rest.split('/').any(left_to_the_reader)
                {
                    continue;
                }
                paths += 1;
                let beside = project("").join(document.path.parent().unwrap_or(Path::new(""))).join(word);
                if !project(word).exists() && !beside.exists() {
                    wrong.push(told(&document, command.line, &format!("there is no {word}")));
                }
            }
        }
    }
    assert!(paths > 100, "only {paths} paths were found");
    nothing(&wrong);
}

/// Whether this part of a path is the reader's to put in, and no name like `README.md`.
fn left_to_the_reader(part: &str) -> bool {
    !part.contains('.') && part.len() > 1 && Command::is_placeholder(part)
}

#[test]
fn cargo_has_the_packages_and_programs_that_are_named() {
    let manifests =
        ["core", "crds", "runtime", "controller", "speaker", "plugin", "tests", "tests/api", "tests/pods"];
    let packages: BTreeMap<String, (PathBuf, String)> = manifests
        .iter()
        .map(|folder| {
            let text = std::fs::read_to_string(project(folder).join("Cargo.toml")).unwrap();
            let name =
                text.split("name = \"").nth(1).and_then(|rest| rest.split('"').next()).unwrap().to_owned();
            (name, (project(folder), text))
        })
        .collect();
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for document in all().unwrap() {
        for command in document.commands() {
            let Some(arguments) = command.arguments_of("cargo") else { continue };
            let ours: Vec<&String> = arguments.iter().take_while(|word| *word != "--").collect();
            let value = |names: &[&str]| {
                let at = ours.iter().position(|word| names.contains(&word.as_str()))?;
                ours.get(at + 1).map(|word| word.as_str()).filter(|word| !Command::is_placeholder(word))
            };
            let Some(package) = value(&["-p", "--package"]) else { continue };
            seen += 1;
            let Some((folder, manifest)) = packages.get(package) else {
                wrong.push(told(&document, command.line, &format!("there is no package {package}")));
                continue;
            };
            for (flag, section, places) in
                [("--test", "test", "tests"), ("--bench", "bench", "benches"), ("--bin", "bin", "src/bin")]
            {
                let Some(name) = value(&[flag]) else { continue };
                let declared = manifest.contains(&format!("[[{section}]]\nname = \"{name}\""));
                let by_place = [format!("{places}/{name}.rs"), format!("{places}/{name}/main.rs")];
                if !declared && !by_place.iter().any(|place| folder.join(place).exists()) {
                    wrong.push(told(&document, command.line, &format!("{package} has no {section} {name}")));
                }
            }
        }
    }
    assert!(seen > 5, "only {seen} commands of cargo were found");
    nothing(&wrong);
}

#[test]
fn the_plugin_has_the_commands_that_are_named() {
    let (mut wrong, mut seen) = (Vec::new(), 0);
    for document in all().unwrap() {
        for command in document.commands() {
            let arguments = command.arguments_of("kubectl").unwrap_or_default();
            let Some((_, arguments)) = arguments.split_first().filter(|(first, _)| *first == "ferrolb")
            else {
                continue;
            };
            seen += 1;
            if let Some(error) = refused::<ferrolb_plugin::Args>("kubectl-ferrolb", arguments, command.whole)
            {
                wrong.push(told(&document, command.line, &error));
            }
        }
    }
    assert!(seen > 3, "only {seen} commands of the plugin were found");
    nothing(&wrong);
}

#[test]
fn the_picture_of_the_demo_is_its_transcript() {
    let drawn = std::process::Command::new(project("tests/tools/transcript-svg"))
        .arg(project("docs/images/demo.txt"))
        .output()
        .unwrap();
    assert!(drawn.status.success(), "{}", String::from_utf8_lossy(&drawn.stderr));
    let stored = std::fs::read(project("docs/images/demo.svg")).unwrap();
    assert!(
        stored == drawn.stdout,
        "draw it anew: tests/tools/transcript-svg docs/images/demo.txt > docs/images/demo.svg"
    );
}

#[test]
fn what_is_refused_is_told() {
    #[derive(Debug, Parser)]
    #[allow(dead_code, reason = "parsed, and not read")]
    struct Args {
        #[arg(long)]
        count: Option<u8>,
        #[command(subcommand)]
        what: What,
    }
    #[derive(Debug, clap::Subcommand)]
    #[allow(dead_code, reason = "parsed, and not read")]
    enum What {
        Up { node: String },
    }
    let ask = |line: &str, whole| {
        let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
        refused::<Args>("x", &words, whole)
    };
    assert_eq!(ask("up n1", true), None);
    assert_eq!(ask("--count N up n1", false), None, "N is for the reader");
    assert_eq!(ask("up", false), None, "among words it may lack something");
    for (line, whole) in [("up", true), ("down", false), ("up n1 --hard", false), ("--count x up n1", false)]
    {
        assert!(ask(line, whole).is_some(), "{line}");
    }
    assert!(ask("--count N up n1 --hard", false).is_some(), "behind the reader's own");
    let error = Args::try_parse_from(["x"]).unwrap_err().kind();
    assert_eq!(error, ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand);
}

#[test]
fn a_text_falls_into_its_pieces() {
    let text = "# A `b` [c](d.md) -- e?\nwords `co\nde` and [x](y.md#z \"title\"), [w](https://w.example)\n\n\
                ```sh\nrun it # now\nA=1 lab up \\\n  --nodes 2 && lab 'a b' | tee\n```\n`lab node kill|start [N]`\n## A b c -- e\n";
    let document = Document::of("docs/a.md", text);
    let links: Vec<_> = document.links().map(|link| (link.line, link.path, link.anchor)).collect();
    assert_eq!(links, [(1, "d.md", None), (2, "y.md", Some("z"))]);
    assert_eq!(document.anchors(), ["a-b-c----e".to_owned(), "a-b-c----e-1".to_owned()].into());
    let commands: Vec<_> = document.commands();
    let words: Vec<String> = commands.iter().map(|command| command.words.join("+")).collect();
    assert_eq!(words, ["b", "co+de", "run+it", "lab+up+--nodes+2", "lab+a b", "tee", "lab+node+kill+N"]);
    assert_eq!(commands[3].line, 7, "where it begins");
    assert!(commands[3].whole && !commands[6].whole);
    assert_eq!(commands[6].arguments_of("lab").unwrap().len(), 3);
}

#[test]
fn anchors_are_those_of_github() {
    for (heading, name) in [
        ("By UDP", "by-udp"),
        ("Nobody answers: step by step", "nobody-answers-step-by-step"),
        ("Helm 4, by our chart", "helm-4-by-our-chart"),
        ("What's new? (1.0_a)", "whats-new-10_a"),
    ] {
        assert_eq!(anchor(heading), name);
    }
}
