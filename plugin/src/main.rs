//! `kubectl-ferrolb`: see the library.

use std::process::ExitCode;

use clap::Parser;
use ferrolb_plugin::Args;

fn main() -> ExitCode {
    ferrolb_plugin::run(Args::parse())
}
