//! `docs/flags.md` is held to the programs.

use clap::{Arg, Command, CommandFactory};

use crate::plane::project;

/// The line of a flag in the table.
fn row(argument: &Arg) -> Option<String> {
    let name = argument.get_long().filter(|name| !["help", "version"].contains(name))?;
    let variable = argument.get_env().map(|variable| variable.to_string_lossy().into_owned())?;
    let defaults = argument.get_default_values().iter().map(|value| value.to_string_lossy().into_owned());
    let default = defaults.collect::<Vec<_>>().join(" ");
    let default =
        if default.is_empty() { String::new() } else { format!("`{}`", default.replace('|', "\\|")) };
    let help = argument.get_help().map(ToString::to_string).unwrap_or_default();
    let help = help.split_whitespace().collect::<Vec<_>>().join(" ").replace('|', "\\|");
    Some(format!("| `--{name}` | `{variable}` | {default} | {help} |"))
}

fn rows(command: &Command) -> Vec<String> {
    command.get_arguments().filter_map(row).collect()
}

#[test]
fn every_flag_is_in_the_table_as_the_program_has_it() {
    let text = std::fs::read_to_string(project("docs/flags.md")).unwrap();
    let (controller, speaker) =
        (rows(&ferrolb_controller::Args::command()), rows(&ferrolb_speaker::Args::command()));
    assert!(controller.len() > 6 && speaker.len() > 12, "too few flags were found");
    let (both, own): (Vec<String>, Vec<String>) =
        controller.into_iter().partition(|row| speaker.contains(row));
    let speakers: Vec<String> = speaker.iter().filter(|row| !both.contains(*row)).cloned().collect();
    for (heading, expected) in
        [("## Both programs", both), ("## The controller", own), ("## The speaker", speakers)]
    {
        let section = text.split(heading).nth(1).unwrap_or_else(|| panic!("no heading {heading}"));
        let section = section.split("\n## ").next().unwrap_or_default();
        let found: Vec<&str> = section.lines().filter(|line| line.starts_with("| `--")).collect();
        assert_eq!(
            found,
            expected,
            "docs/flags.md is stale under {heading}; it should have\n{}",
            expected.join("\n")
        );
    }
}
