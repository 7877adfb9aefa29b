//! The flags that both programs have.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

/// Flags of both programs. Each has an environment variable of its own, which the manifests use.
#[derive(Clone, Debug, clap::Args)]
pub struct CommonArgs {
    /// A kubeconfig file; without it KUBECONFIG or the Pod's service account is used
    #[arg(long, env = "FERROLB_KUBECONFIG", value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,

    /// The namespace whose IPAddressPools and L2Advertisements are read
    #[arg(long, env = "FERROLB_NAMESPACE", default_value = "metallb-system")]
    pub namespace: String,

    /// Serve only Services of this spec.loadBalancerClass; empty: only those without one
    #[arg(long, env = "FERROLB_LB_CLASS", default_value = "", hide_default_value = true)]
    pub lb_class: String,

    /// The address on which /healthz, /readyz and /metrics are served
    #[arg(long, env = "FERROLB_ADMIN_ADDRESS", default_value = "127.0.0.1")]
    pub admin_address: IpAddr,

    /// The port on which /healthz, /readyz and /metrics are served
    #[arg(long, env = "FERROLB_ADMIN_PORT", default_value_t = 17480)]
    pub admin_port: u16,

    /// What is logged: error, warn, info, debug, trace, or a filter such as info,ferrolb_speaker=debug
    #[arg(long, env = "FERROLB_LOG_LEVEL", default_value = "info")]
    pub log_level: String,

    /// How it is logged
    #[arg(long, env = "FERROLB_LOG_FORMAT", value_enum, default_value_t = LogFormat::Text)]
    pub log_format: LogFormat,
}

/// The form of the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum LogFormat {
    /// One line for people.
    Text,
    /// One JSON object a line.
    Json,
}

impl CommonArgs {
    /// The `loadBalancerClass` served; `None` means Services without a class.
    pub fn lb_class(&self) -> Option<&str> {
        (!self.lb_class.is_empty()).then_some(self.lb_class.as_str())
    }

    /// Where the admin endpoint listens: at the address asked for, and always on the loopback too. Who is to read metrics may
    /// come by the network; `kubectl port-forward` comes by the loopback.
    pub(crate) fn admin(&self) -> Vec<SocketAddr> {
        let at = |address| SocketAddr::new(address, self.admin_port);
        let asked = self.admin_address;
        if asked.is_loopback() || asked.is_unspecified() {
            vec![at(asked)]
        } else {
            vec![at(asked), at(Ipv4Addr::LOCALHOST.into())]
        }
    }
}
