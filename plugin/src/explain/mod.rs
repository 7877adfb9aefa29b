//! `kubectl ferrolb explain SERVICE`: the path of a packet, as far as it comes; or why there is no address to send one to.

mod address;
mod owner;
mod path;
mod text;
mod traffic;

use std::io::IsTerminal;
use std::process::ExitCode;

use clap::ValueEnum;
use ferrolb_core::election::Endpoints;
use ferrolb_core::service::ServiceKey;
use k8s_openapi::api::discovery::v1::EndpointSlice;
use kube::api::ListParams;
use kube::{Api, Client};

pub use path::{Explanation, Step, Verdict};
pub use traffic::Backend;

use crate::Error;
use crate::look::{self, Want, look};
use crate::output::{Style, print, serialized};
use crate::read::{list, or_note};
use crate::status::Ask;

/// Where the packets to a Service go, where they end, and what to change
#[derive(Debug, clap::Args)]
pub struct Args {
    /// The Service, with its namespace before a slash where --namespace does not say it
    #[arg(value_name = "[NAMESPACE/]SERVICE")]
    service: String,

    /// The Service's namespace; without it, that of the context
    #[arg(short, long, value_name = "NAME")]
    namespace: Option<String>,

    /// The form of the answer
    #[arg(short, long, value_enum)]
    output: Option<Form>,

    /// FerroLB's namespace; without it, that of its DaemonSet
    #[arg(long, value_name = "NAME")]
    system: Option<String>,

    /// Whether speakers are asked who hears whom: auto is yes for up to 50 of them
    #[arg(long, value_enum, default_value_t = Ask::Auto, value_name = "yes|no|auto")]
    speakers: Ask,
}

/// How it is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Form {
    /// For programs.
    Json,
    /// The same.
    Yaml,
}

/// Answers: 0 if packets reach the endpoints, 1 if they end before, 2 if it is not known.
///
/// # Errors
/// When the cluster cannot be read, or there is no such Service.
pub async fn run(client: &Client, args: Args) -> Result<ExitCode, Error> {
    let (namespace, name) = match (args.service.split_once('/'), &args.namespace) {
        (Some((namespace, name)), _) => (namespace.to_owned(), name.to_owned()),
        (None, Some(namespace)) => (namespace.clone(), args.service.clone()),
        (None, None) => (client.default_namespace().to_owned(), args.service.clone()),
    };
    let key = ServiceKey::new(&namespace, &name);
    let want = Want { namespace: args.system.as_deref(), allocation: true, endpoints: false };
    let mut seen = look(client, want).await?;
    if !seen.services.contains_key(&key) {
        return Err(Error::Usage(format!("there is no Service {key}")));
    }
    let select = ListParams::default().labels(&format!("{}={name}", ferrolb_crds::names::SERVICE_NAME));
    let slices: Api<EndpointSlice> = Api::namespaced(client.clone(), &namespace);
    let before = seen.unread.len();
    let read = list(&slices, "EndpointSlices", select, |slice| Some(traffic::backends(slice))).await;
    let backends: Vec<Backend> = or_note(read, &mut seen.unread)?.into_iter().flatten().collect();
    if seen.unread.len() == before {
        let mut endpoints = Endpoints::default();
        let serving = backends.iter().filter(|backend| backend.serves);
        serving.for_each(|backend| endpoints.add(backend.node.as_deref().map(Into::into)));
        seen.endpoints = Some([(key.clone(), endpoints)].into());
    }
    if args.speakers.asks(&seen) {
        look::ask_speakers(client, &mut seen).await;
    }
    let explanation = Explanation::of(&seen, &key, backends);
    print(&match args.output {
        Some(Form::Json) => serialized(&explanation, false)?,
        Some(Form::Yaml) => serialized(&explanation, true)?,
        None => text::whole(&explanation, Style::of(std::io::stdout().is_terminal())),
    })?;
    Ok(if explanation.arrives() { ExitCode::SUCCESS } else { ExitCode::from(1) })
}
