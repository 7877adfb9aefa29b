//! The speaker's flags.

use std::path::PathBuf;
use std::time::Duration;

use ferrolb_core::peers::Timing;
use ferrolb_core::speaker::Transports;
use ferrolb_runtime::CommonArgs;

use crate::links::{DEFAULT_EXCLUDED, Excluded};
use crate::status::PodRef;

/// Makes the network send a Service's address to this node when it is the one to answer for it.
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "ferrolb-speaker", version, about)]
pub struct Args {
    /// This node's name in the cluster
    #[arg(long, env = "FERROLB_NODE_NAME", value_name = "NAME", value_parser = clap::builder::NonEmptyStringValueParser::new())]
    pub node_name: String,

    /// Interfaces never announced on: regular expressions, separated by blanks
    #[arg(long, env = "FERROLB_EXCLUDE_INTERFACES", value_name = "PATTERNS", default_value = DEFAULT_EXCLUDED)]
    pub exclude_interfaces: Excluded,

    /// Announce also from nodes with the label node.kubernetes.io/exclude-from-external-load-balancers
    #[arg(long, env = "FERROLB_IGNORE_EXCLUDE_LB")]
    pub ignore_exclude_lb: bool,

    /// Announce each address again every so many seconds, for switches that forget; 0: never
    #[arg(long, env = "FERROLB_REFRESH_INTERVAL", value_name = "SECONDS", default_value_t = 0)]
    pub refresh_interval: u64,

    /// The folder with the keys that hellos are signed with, as the Secret ferrolb-hello is mounted
    #[arg(long, env = "FERROLB_HELLO_KEY_DIR", value_name = "FOLDER", default_value = "/etc/ferrolb/hello")]
    pub hello_key_dir: PathBuf,

    /// The time between two hellos, in milliseconds
    #[arg(long, env = "FERROLB_HELLO_INTERVAL", value_name = "MILLISECONDS", default_value_t = 100,
          value_parser = clap::value_parser!(u64).range(10..=10_000))]
    pub hello_interval: u64,

    /// So many intervals without a hello of a node are too many
    #[arg(long, env = "FERROLB_HELLO_MISSES", value_name = "NUMBER", default_value_t = 3,
          value_parser = clap::value_parser!(u32).range(2..=20))]
    pub hello_misses: u32,

    /// How speakers hear each other: by Ethernet frames, by UDP to the nodes' addresses, or by UDP only where frames are not heard
    #[arg(long, env = "FERROLB_HELLO_TRANSPORT", value_name = "auto|ethernet|udp", default_value = "auto")]
    pub hello_transport: HelloTransport,

    /// The UDP port of hellos, the same on all nodes
    #[arg(long, env = "FERROLB_HELLO_PORT", value_name = "PORT", default_value_t = 17482,
          value_parser = clap::value_parser!(u16).range(1..))]
    pub hello_port: u16,

    /// A node whose speaker is away keeps its addresses for so many seconds, if the node itself lives
    #[arg(long, env = "FERROLB_STAND_IN_LIMIT", value_name = "SECONDS", default_value_t = 60)]
    pub stand_in_limit: u64,

    /// Whether an address is probed before it is announced for the first time, and other hosts that use it are reported
    #[arg(long, env = "FERROLB_CONFLICT_DETECTION", value_name = "on|off", default_value = "on")]
    pub conflict_detection: Switch,

    /// This pod's name; what the speaker writes belongs to its pod
    #[arg(long, env = "FERROLB_POD_NAME", value_name = "NAME", default_value = "")]
    pub pod_name: String,

    /// This pod's uid
    #[arg(long, env = "FERROLB_POD_UID", value_name = "UID", default_value = "")]
    pub pod_uid: String,

    /// What both programs have
    #[command(flatten)]
    pub common: CommonArgs,
}

/// On or off.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// It is done.
    On,
    /// It is not.
    Off,
}

/// How speakers hear each other.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum HelloTransport {
    /// By Ethernet, and by UDP where no frames are heard.
    Auto,
    /// By Ethernet alone.
    Ethernet,
    /// By UDP alone.
    Udp,
}

impl From<HelloTransport> for Transports {
    fn from(transport: HelloTransport) -> Self {
        match transport {
            HelloTransport::Auto => Transports::Auto,
            HelloTransport::Ethernet => Transports::Ethernet,
            HelloTransport::Udp => Transports::Udp,
        }
    }
}

impl Args {
    /// The UDP port of hellos; `None` where they go by Ethernet alone.
    pub fn hello_port(&self) -> Option<u16> {
        (self.hello_transport != HelloTransport::Ethernet).then_some(self.hello_port)
    }

    /// How often hellos are said and how many may be missed.
    pub fn timing(&self) -> Timing {
        Timing { interval: Duration::from_millis(self.hello_interval), misses: self.hello_misses }
    }

    /// The pod to which belongs what the speaker writes; `None` outside of a pod.
    pub fn pod(&self) -> Option<PodRef> {
        let known = !self.pod_name.is_empty() && !self.pod_uid.is_empty();
        known.then(|| PodRef { name: self.pod_name.clone(), uid: self.pod_uid.clone() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::{CommandFactory, Parser};

    #[test]
    fn the_flags_are_well_formed_and_each_has_an_environment_variable() {
        let command = Args::command();
        command.clone().debug_assert();
        for argument in command.get_arguments().filter(|argument| argument.get_long().is_some()) {
            let name = argument.get_long().unwrap();
            if ["help", "version"].contains(&name) {
                continue;
            }
            let expected = format!("FERROLB_{}", name.to_uppercase().replace('-', "_"));
            let variable = argument.get_env().map(|variable| variable.to_string_lossy().into_owned());
            assert_eq!(variable, Some(expected), "--{name}");
        }
    }

    #[test]
    fn a_pattern_that_cannot_be_read_is_refused_in_words() {
        let parse =
            |patterns| Args::try_parse_from(["speaker", "--node-name=n1", "--exclude-interfaces", patterns]);
        assert!(parse("^lo$ ^wan.*").is_ok());
        let error = parse("^(").unwrap_err().to_string();
        assert!(error.contains("regular expression"), "{error}");
    }
}
