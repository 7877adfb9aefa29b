//! docs/migrate.md, whose commands are run as they stand there.

use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use ferrolb_tests::lab::progress::Progress;
use ferrolb_tests::lab::{Lab, LabError, helm, metallb, process, programs};
use ferrolb_tests::plane::project;
use serde_json::Value;

use crate::support::guide::{commands, put_program};

/// docs/migrate.md, and where its commands run.
pub(crate) struct Guide {
    text: String,
    folder: tempfile::TempDir,
    /// What the variables are that the text speaks of.
    variables: [(&'static str, PathBuf); 2],
}

impl Guide {
    /// The text, and a folder like a clone of this project with kubectl for this lab in it, our plugin, and Helm if it is asked for.
    pub(crate) fn new(lab: &Lab, with_helm: bool) -> Result<Self, LabError> {
        let file = project("docs/migrate.md");
        let text = std::fs::read_to_string(&file).map_err(LabError::at(&file))?;
        let folder = tempfile::tempdir().map_err(LabError::at("a folder"))?;
        let at = folder.path();
        let mut programs = vec![("kubectl", lab.kubectl())];
        if with_helm {
            programs.push(("helm", helm::helm(lab, &Progress::default())?));
        }
        for (name, command) in programs {
            put_program(&command, &at.join(name))?;
        }
        for name in ["crds", "config", "charts"] {
            symlink(project(name), at.join(name)).map_err(LabError::at(name))?;
        }
        process::run(
            Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
                .current_dir(project("."))
                .args(["build", "--quiet", "--locked", "--package", "ferrolb-plugin"]),
        )?;
        let plugin = "kubectl-ferrolb";
        symlink(programs::target().join("debug").join(plugin), at.join(plugin))
            .map_err(LabError::at(plugin))?;
        Ok(Guide {
            text,
            folder,
            variables: [("METALLB", metallb::manifest()?), ("CHART", metallb::chart()?)],
        })
    }

    /// Runs the commands under the heading that begins so.
    pub(crate) fn follow(&self, heading: &str) -> Result<(), LabError> {
        self.run(&commands(&self.text, heading)).map(drop)
    }

    /// `kubectl ferrolb migrate plan` says the same commands for this cluster as these headings have.
    pub(crate) fn is_the_plan(&self, headings: &[String]) -> Result<(), LabError> {
        let said = self.run("kubectl ferrolb migrate plan -o json")?;
        let plan: Value =
            serde_json::from_str(&said).map_err(|error| LabError::State(format!("{error}: {said}")))?;
        for (n, heading) in headings.iter().enumerate() {
            let planned = plan["steps"][n + 1]["commands"].as_array().into_iter().flatten();
            let planned: Vec<&str> = planned.filter_map(Value::as_str).flat_map(str::lines).collect();
            let written = commands(&self.text, heading);
            if planned != written.lines().filter(|line| !line.is_empty()).collect::<Vec<_>>() {
                return Err(LabError::State(format!("{heading:?} is not what the plan says: {plan:#}")));
            }
        }
        Ok(())
    }

    /// Addresses and owners are what they were when the plan was made, as the API tells.
    pub(crate) fn compares(&self) -> Result<(), String> {
        let said = self.run("kubectl ferrolb migrate compare before.json || { echo \"exit code $?\"; }");
        let said = said.map_err(|error| error.to_string())?;
        if said.starts_with("no difference since ") { Ok(()) } else { Err(said) }
    }

    fn run(&self, commands: &str) -> Result<String, LabError> {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell.args(["-euo", "pipefail", "-c", commands]).current_dir(self.folder.path());
        shell.env("PATH", format!("{}:{path}", self.folder.path().display()));
        shell.envs(self.variables.iter().map(|(name, value)| (name, value)));
        process::run(&mut shell)
    }
}
