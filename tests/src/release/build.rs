//! Static programs that are the same bytes wherever their source, cargo's home and the target folder lie.
//!
//! Panic messages and logs name source files. With `--remap-path-prefix` the places of this machine stand in no program;
//! cargo leaves flags out of what it derives the names of symbols from. What still counts is the compiler and the C
//! library that is linked in: `docs/release.md` says which.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::lab::progress::Progress;
use crate::lab::{LabError, process, programs};

/// Where is built, and for which machine.
#[derive(Clone, Debug)]
pub struct Place {
    /// The source.
    pub workspace: PathBuf,
    /// Cargo's own folder, with the sources of all crates.
    pub home: PathBuf,
    /// Where the programs come to lie.
    pub target: PathBuf,
    /// For which machine, in rustc's words.
    pub triple: String,
}

impl Place {
    /// This workspace, for this machine.
    ///
    /// # Errors
    /// When rustc cannot be run.
    pub fn here() -> Result<Self, LabError> {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap_or(Path::new("."));
        let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
        Ok(Place {
            workspace: workspace.to_owned(),
            home: home
                .unwrap_or_else(|| Path::new(&std::env::var_os("HOME").unwrap_or_default()).join(".cargo")),
            target: programs::target().join("static"),
            triple: host_triple()?,
        })
    }

    /// Builds `binaries` of `packages` as static programs and returns their folder.
    ///
    /// # Errors
    /// When cargo fails.
    pub fn build(
        &self,
        packages: &[&str],
        binaries: &[&str],
        progress: &Progress,
    ) -> Result<PathBuf, LabError> {
        // The sources have to be there before their places are asked for.
        let mut fetch = self.cargo(&["fetch", "--locked", "--target", &self.triple]);
        programs::watched("fetching sources", &mut fetch, progress)?;
        let mut build = self.cargo(&["build", "--release", "--locked"]);
        for package in packages {
            build.args(["--package", package]);
        }
        for binary in binaries {
            build.args(["--bin", binary]);
        }
        // A target of its own keeps the flags away from procedural macros, which cannot be static.
        build.args(["--target", &self.triple, "--target-dir"]).arg(&self.target);
        build.env("CARGO_ENCODED_RUSTFLAGS", self.flags().join("\x1f"));
        if self.triple != host_triple()? {
            let (variable, linker) = linker(&self.triple);
            if std::env::var_os(&variable).is_none() {
                build.env(variable, linker);
            }
        }
        programs::watched(&format!("building {}", binaries.join(" and ")), &mut build, progress)?;
        Ok(self.target.join(&self.triple).join("release"))
    }

    /// Cargo in this workspace.
    pub(super) fn cargo(&self, args: &[&str]) -> Command {
        let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
        cargo.current_dir(&self.workspace).env("CARGO_HOME", &self.home).args(args);
        // What an outer cargo says of the test that it runs would make build scripts run anew.
        let outer = ["CARGO_PKG_", "CARGO_MANIFEST_", "CARGO_BIN_", "CARGO_CRATE_", "CARGO_PRIMARY_"];
        for (name, _) in std::env::vars_os() {
            if name.to_str().is_some_and(|name| outer.iter().any(|prefix| name.starts_with(prefix))) {
                cargo.env_remove(name);
            }
        }
        cargo
    }

    fn flags(&self) -> Vec<String> {
        // Relative relocations are packed: unpacked, 400 kB of them are read at each start of a program and stay in memory.
        let packed = "-Clink-arg=-Wl,-z,pack-relative-relocs";
        let mut flags = vec!["-Ctarget-feature=+crt-static".to_owned(), packed.to_owned()];
        let remap = |(from, to): (PathBuf, &str)| format!("--remap-path-prefix={}={to}", from.display());
        flags.extend(self.replaced().into_iter().map(remap));
        flags
    }

    /// The folders of this machine, and what stands for each; the last one that fits counts.
    fn replaced(&self) -> Vec<(PathBuf, &'static str)> {
        let mut folders = vec![
            (self.workspace.clone(), "/ferrolb"),
            (self.target.clone(), "/target"),
            (self.home.clone(), "/cargo"),
        ];
        // Whoever has a mirror has the crates in a folder of its name.
        let registries = std::fs::read_dir(self.home.join("registry/src"));
        let mut registries: Vec<PathBuf> =
            registries.into_iter().flatten().flatten().map(|entry| entry.path()).collect();
        registries.sort();
        folders.extend(registries.into_iter().map(|folder| (folder, "/cargo/registry")));
        folders
    }
}

/// The machine in rustc's words.
///
/// # Errors
/// When rustc cannot be run.
pub fn host_triple() -> Result<String, LabError> {
    let said = process::run(Command::new("rustc").arg("-vV"))?;
    let host = said.lines().find_map(|line| line.strip_prefix("host: "));
    host.map(str::to_owned).ok_or_else(|| LabError::program("rustc -vV", "it names no host"))
}

/// The linker for another machine as Debian names it, and the variable by which cargo is told.
fn linker(triple: &str) -> (String, String) {
    let variable = format!("CARGO_TARGET_{}_LINKER", triple.to_uppercase().replace('-', "_"));
    (variable, format!("{}-gcc", triple.replace("-unknown", "")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_folder_of_this_machine_is_replaced_the_inner_ones_last() {
        let here = Place::here().unwrap();
        let folders = here.replaced();
        assert_eq!(folders[0], (here.workspace.clone(), "/ferrolb"));
        assert!(folders.contains(&(here.target.clone(), "/target")));
        let (registry, to) = folders.last().unwrap();
        assert_eq!(*to, "/cargo/registry");
        assert!(registry.starts_with(&here.home) && registry.is_dir(), "{registry:?}");
        let flags = here.flags();
        let replaced = flags.iter().filter(|flag| flag.starts_with("--remap-path-prefix="));
        assert_eq!(replaced.count(), folders.len());
        assert!(flags.last().unwrap().ends_with("=/cargo/registry"), "{flags:?}");
    }

    #[test]
    fn another_machine_s_linker_has_debian_s_name() {
        let (variable, linker) = linker("aarch64-unknown-linux-gnu");
        assert_eq!(variable, "CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER");
        assert_eq!(linker, "aarch64-linux-gnu-gcc");
    }
}
