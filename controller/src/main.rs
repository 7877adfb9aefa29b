//! `ferrolb-controller`: see the library.

use std::process::ExitCode;

use clap::Parser;
use ferrolb_controller::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    let settings = args.settings(&host());
    ferrolb_runtime::run("controller", &args.common, |context| {
        ferrolb_controller::run(&args.common, settings, context)
    })
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
