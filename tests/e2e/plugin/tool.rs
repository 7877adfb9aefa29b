//! The plugin, run against a lab.

use std::io::Read;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::lab::{Lab, LabError, process, programs};
use ferrolb_tests::plane::project;
use serde_json::Value;

/// How long a check may take to see what is wrong, or that it is mended, in seconds.
const PATIENCE: u64 = 90;

/// `kubectl-ferrolb`, with the rights of the lab's administrator.
pub(crate) struct Tool {
    program: PathBuf,
    kubeconfig: PathBuf,
}

impl Tool {
    /// Built for this lab.
    pub(crate) fn of(lab: &Lab) -> Result<Self, LabError> {
        process::run(
            Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .current_dir(project("."))
                .args(["build", "--quiet", "--locked", "--package", "ferrolb-plugin"]),
        )?;
        let program = programs::target().join("debug/kubectl-ferrolb");
        Ok(Tool { program, kubeconfig: lab.paths.kubeconfig() })
    }

    /// The same for whoever this kubeconfig is of.
    pub(crate) fn with(&self, kubeconfig: PathBuf) -> Self {
        Tool { program: self.program.clone(), kubeconfig }
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(&self.program);
        command.args(arguments).env("KUBECONFIG", &self.kubeconfig).stdin(Stdio::null());
        command
    }

    /// Exit code, standard output and standard error.
    pub(crate) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        match self.command(arguments).output() {
            Ok(output) => (
                output.status.code().unwrap_or(-1),
                String::from_utf8_lossy(&output.stdout).into_owned(),
                String::from_utf8_lossy(&output.stderr).into_owned(),
            ),
            Err(error) => (-1, String::new(), error.to_string()),
        }
    }

    /// The most memory that it had, in KiB, and what it said.
    pub(crate) fn measured(&self, arguments: &[&str]) -> std::io::Result<(u64, String)> {
        let mut child = self.command(arguments).stdout(Stdio::piped()).spawn()?;
        let status = format!("/proc/{}/status", child.id());
        let mut out = child.stdout.take().ok_or_else(|| std::io::Error::other("no output"))?;
        let reading = std::thread::spawn(move || {
            let mut said = String::new();
            out.read_to_string(&mut said).map(|_| said)
        });
        let mut most = 0;
        while child.try_wait()?.is_none() {
            let text = std::fs::read_to_string(&status).unwrap_or_default();
            let line = text.lines().find_map(|line| line.strip_prefix("VmHWM:"));
            let peak = line.and_then(|line| line.trim().trim_end_matches(" kB").trim().parse().ok());
            most = most.max(peak.unwrap_or(0));
            std::thread::sleep(std::time::Duration::from_millis(5));
        }
        let said = reading.join().map_err(|_| std::io::Error::other("reading failed"))??;
        Ok((most, said))
    }

    /// What one check of the doctor comes to: level, and all that it says.
    pub(crate) fn finding(&self, check: &str, more: &[&str]) -> Result<(String, String), String> {
        let arguments: Vec<&str> =
            ["doctor", "-o", "json", "--only", check].iter().chain(more).copied().collect();
        let (_, said, err) = self.run(&arguments);
        let report: Value = serde_json::from_str(&said).map_err(|error| format!("{error}: {said}{err}"))?;
        let finding = &report["findings"][0];
        let says = finding["says"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let says = says.collect::<Vec<_>>().join("\n");
        Ok((finding["level"].as_str().unwrap_or_default().to_owned(), says))
    }

    /// Waits until a check comes to this level and says this.
    pub(crate) async fn comes_to(
        &self,
        check: &str,
        level: &str,
        says: &str,
        more: &[&str],
    ) -> Result<(), LabError> {
        wait(&format!("{check} to be {level}"), PATIENCE, async || {
            let (found, said) = self.finding(check, more)?;
            let fine = found == level && said.contains(says);
            if fine { Ok(()) } else { Err(format!("{check} is {found}: {said}")) }
        })
        .await
    }
}
