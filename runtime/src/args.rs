//! The flags that both programs have.

use std::net::IpAddr;
use std::path::PathBuf;

use crate::traces::Collector;

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

    /// The address on which /healthz, /readyz and /metrics are served; the last only if it is loopback, or if there is no
    /// --metrics-address
    #[arg(long, env = "FERROLB_ADMIN_ADDRESS", default_value = "127.0.0.1")]
    pub admin_address: IpAddr,

    /// Another address on which /metrics alone is served
    #[arg(long, env = "FERROLB_METRICS_ADDRESS")]
    pub metrics_address: Option<IpAddr>,

    /// Serve by HTTPS, but not at an --admin-address of loopback alone; and /metrics only for those whom the API server
    /// lets get this path
    #[arg(long, env = "FERROLB_METRICS_HTTPS")]
    pub metrics_https: bool,

    /// The folder with tls.crt and tls.key for that; without it a certificate is made at start
    #[arg(long, env = "FERROLB_METRICS_CERT_DIR", value_name = "FOLDER")]
    pub metrics_cert_dir: Option<PathBuf>,

    /// The port of all that is served
    #[arg(long, env = "FERROLB_ADMIN_PORT", default_value_t = 17480)]
    pub admin_port: u16,

    /// An OpenTelemetry collector to which traces are sent by OTLP over HTTP, such as http://10.96.0.7:4318; without it
    /// none are made
    #[arg(long, env = "FERROLB_TRACES_ENDPOINT", value_name = "URL")]
    pub traces_endpoint: Option<Collector>,

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
}
