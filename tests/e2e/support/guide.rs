//! The commands in a document, and the programs for whoever follows it.

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::Command;

use ferrolb_tests::lab::LabError;

/// The commands under the heading of `text` that begins so.
pub(crate) fn commands(text: &str, heading: &str) -> String {
    let start = text.find(heading).unwrap_or_else(|| panic!("no heading {heading:?}"));
    let section = &text[start + heading.len()..];
    let section = &section[..section.find("\n##").unwrap_or(section.len())];
    let blocks: Vec<&str> =
        section.split("```sh\n").skip(1).filter_map(|rest| rest.split("```").next()).collect();
    assert!(!blocks.is_empty(), "no commands under {heading:?}");
    blocks.join("\n")
}

/// Makes `file` a program that runs `command` with whatever it is given.
///
/// # Errors
/// When it cannot be written.
pub(crate) fn put_program(command: &Command, file: &Path) -> Result<(), LabError> {
    std::fs::write(file, script(command)).map_err(LabError::at(file))?;
    std::fs::set_permissions(file, std::fs::Permissions::from_mode(0o755)).map_err(LabError::at(file))
}

/// A shell script that runs `command`, with its environment and whatever else it is given.
fn script(command: &Command) -> String {
    let quoted = |text: &OsStr| format!("'{}'", text.to_string_lossy());
    let words = [command.get_program()].into_iter().chain(command.get_args()).map(quoted);
    let words: Vec<String> = words.collect();
    let variables = command.get_envs().filter_map(|(name, value)| Some((name, value?)));
    let variables: String = variables
        .map(|(name, value)| format!("export {}={}\n", name.to_string_lossy(), quoted(value)))
        .collect();
    format!("#!/bin/sh\n{variables}exec {} \"$@\"\n", words.join(" "))
}
