//! `ferrolb-controller`: see the library.

use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ferrolb_controller::Settings;
use ferrolb_runtime::CommonArgs;

/// Gives every Service of type LoadBalancer an address from the IPAddressPools
#[derive(Parser)]
#[command(name = "ferrolb-controller", version)]
struct Args {
    #[command(flatten)]
    common: CommonArgs,

    /// The name of this replica in the Lease, unique among all; without it one is made from host and process
    #[arg(long, env = "FERROLB_POD_NAME", default_value = "", hide_default_value = true)]
    pod_name: String,

    /// How many seconds the Lease lasts after each renewal: so long it takes at most until another replica replaces
    /// one that died
    #[arg(long, env = "FERROLB_LEASE_DURATION", default_value_t = 15, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=600))]
    lease_duration: u64,
}

fn main() -> ExitCode {
    let args = Args::parse();
    let pod_name = match args.pod_name.as_str() {
        "" => format!("{}-{}", host(), std::process::id()),
        name => name.to_owned(),
    };
    let settings = Settings { pod_name, lease_duration: Duration::from_secs(args.lease_duration) };
    ferrolb_runtime::run("controller", &args.common, |context| {
        ferrolb_controller::run(&args.common, settings, context)
    })
}

fn host() -> String {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname").unwrap_or_default();
    name.trim().to_owned()
}
