//! `ferrolb-speaker`: one on each node.

use std::process::ExitCode;

use clap::Parser;
use ferrolb_speaker::Args;

fn main() -> ExitCode {
    let args = Args::parse();
    let common = args.common.clone();
    ferrolb_runtime::run("speaker", &common, |context| ferrolb_speaker::run(context, args))
}
