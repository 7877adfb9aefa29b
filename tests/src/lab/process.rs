//! Starting programs inside a lab, and finding what runs there.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::LabError;

/// A command inside the network namespace `netns`. nsenter becomes the program, so it has its process id.
pub fn in_netns(netns: &Path, program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("nsenter");
    command.arg(format!("--net={}", netns.display())).arg("--").arg(program);
    command
}

/// Starts `command` in the background with its output in `log`, apart from the terminal's signals.
///
/// # Errors
/// When it cannot be started.
pub fn spawn(mut command: Command, log: &Path) -> Result<Child, LabError> {
    let output = File::options().create(true).append(true).open(log).map_err(LabError::at(log))?;
    let errors = output.try_clone().map_err(LabError::at(log))?;
    let name = format!("{:?}", command.get_program());
    command.stdin(Stdio::null()).stdout(output).stderr(errors).process_group(0);
    command.spawn().map_err(|error| LabError::program(&name, error))
}

/// Runs `command` to its end and returns what it printed.
///
/// # Errors
/// When it cannot be started or ends with an error; the error has what it said.
pub fn run(command: &mut Command) -> Result<String, LabError> {
    let name = format!("{command:?}");
    let output = command.output().map_err(|error| LabError::program(&name, error))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        return Err(LabError::program(&name, format!("{} ({})", said.trim(), output.status)));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The processes whose network namespace is one of `namespaces` (inode numbers).
pub fn in_namespaces(namespaces: &BTreeSet<u64>) -> Vec<i32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let pids = entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    pids.filter(|pid| {
        std::fs::metadata(format!("/proc/{pid}/ns/net")).is_ok_and(|file| namespaces.contains(&file.ino()))
    })
    .collect()
}

/// The last lines of a log, at most `count`; nothing if it cannot be read.
pub fn last_lines(log: &Path, count: usize) -> String {
    let bytes = std::fs::read(log).unwrap_or_default();
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// The name and arguments of a process; empty if it is gone.
pub fn command_line(pid: i32) -> String {
    let bytes = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
    let words: Vec<_> = bytes.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
    words.join(" ").trim().to_owned()
}

/// Returns when this process is asked to end, by SIGTERM or SIGINT.
pub async fn interrupted() {
    use tokio::signal::unix::{SignalKind, signal};
    match (signal(SignalKind::terminate()), signal(SignalKind::interrupt())) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! { _ = terminate.recv() => {}, _ = interrupt.recv() => {} }
        }
        _ => std::future::pending().await,
    }
}
