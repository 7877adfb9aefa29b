//! The controller's flags.

use std::time::Duration;

use ferrolb_runtime::CommonArgs;

use crate::Settings;

/// Gives every Service of type LoadBalancer an address from the IPAddressPools
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "ferrolb-controller", version)]
pub struct Args {
    /// What both programs have
    #[command(flatten)]
    pub common: CommonArgs,

    /// The name of this replica in the Lease, unique among all; without it one is made from host and process
    #[arg(long, env = "FERROLB_POD_NAME", default_value = "", hide_default_value = true)]
    pub pod_name: String,

    /// How many seconds the Lease lasts after each renewal: so long it takes at most until another replica replaces
    /// one that died
    #[arg(long, env = "FERROLB_LEASE_DURATION", default_value_t = 15, value_name = "SECONDS",
        value_parser = clap::value_parser!(u64).range(1..=600))]
    pub lease_duration: u64,
}

impl Args {
    /// What the controller is told; `host` names it where nobody gave it a name.
    pub fn settings(&self, host: &str) -> Settings {
        let pod_name = match self.pod_name.as_str() {
            "" => format!("{host}-{}", std::process::id()),
            name => name.to_owned(),
        };
        Settings { pod_name, lease_duration: Duration::from_secs(self.lease_duration) }
    }
}
