//! `ferrolb-controller`: see the library.

use std::process::ExitCode;

use clap::Parser;
use ferrolb_runtime::CommonArgs;

/// Gives every Service of type LoadBalancer an address from the IPAddressPools
#[derive(Parser)]
#[command(name = "ferrolb-controller", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,
}

fn main() -> ExitCode {
    let args = Args::parse().common;
    ferrolb_runtime::run("controller", &args, |context| ferrolb_controller::run(&args, context))
}
