//! Which Service has which addresses, and which nodes answer for them: what must not change on the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};
use std::net::IpAddr;
use std::path::Path;

use ferrolb_core::service::ServiceKey;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use serde::{Deserialize, Serialize};

use super::cluster::{OWNERS_BY_EVENTS, Service};
use crate::Error;

/// The form of the file. A file of another one is refused.
const FORMAT: &str = "ferrolb-migrate/1";

/// A cluster's Services of type LoadBalancer at one time.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    format: String,
    /// When it was taken.
    pub taken: Time,
    /// What to know of it; usually nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
    /// Each by `namespace/name`.
    pub services: BTreeMap<String, Shown>,
}

/// What the API shows of a Service.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Shown {
    /// Its addresses.
    pub addresses: BTreeSet<IpAddr>,
    /// The nodes that announce them on the local network; both families usually from one.
    pub owners: BTreeSet<String>,
}

/// Who announces which Service.
#[derive(Clone, Debug, Default)]
pub struct Owners {
    nodes: BTreeMap<ServiceKey, BTreeSet<String>>,
    by_events: bool,
}

impl Owners {
    /// From pairs of Service and node; whether those are what events say.
    pub fn of(pairs: Vec<(ServiceKey, String)>, by_events: bool) -> Self {
        let mut nodes: BTreeMap<ServiceKey, BTreeSet<String>> = BTreeMap::new();
        for (key, node) in pairs {
            nodes.entry(key).or_default().insert(node);
        }
        Owners { nodes, by_events }
    }
}

impl Snapshot {
    /// Of these, now.
    pub fn of(services: &[Service], mut owners: Owners) -> Self {
        let shown = services.iter().map(|service| {
            let shown = Shown {
                addresses: service.addresses.iter().copied().collect(),
                owners: owners.nodes.remove(&service.key).unwrap_or_default(),
            };
            (service.key.to_string(), shown)
        });
        let services = shown.collect();
        let notes = if owners.by_events { vec![OWNERS_BY_EVENTS.to_owned()] } else { Vec::new() };
        Snapshot { format: FORMAT.to_owned(), taken: Time(Timestamp::now()), notes, services }
    }

    /// How many addresses there are.
    pub fn addresses(&self) -> usize {
        self.services.values().map(|shown| shown.addresses.len()).sum()
    }

    /// Writes a new file. One that is there already is left alone: it may be what the cluster was like before.
    ///
    /// # Errors
    /// When the file is there or cannot be written.
    pub fn save(&self, file: &Path) -> Result<(), Error> {
        let failed = |why: std::io::Error| Error::File {
            file: file.display().to_string(),
            why: match why.kind() {
                ErrorKind::AlreadyExists => {
                    "is there already, and is not written over; name another one".into()
                }
                _ => why.to_string(),
            },
        };
        let mut text = serde_json::to_vec_pretty(self).map_err(|error| failed(error.into()))?;
        text.push(b'\n');
        let mut open = OpenOptions::new().write(true).create_new(true).open(file).map_err(failed)?;
        open.write_all(&text).and_then(|()| open.sync_all()).map_err(failed)
    }

    /// Reads a file that [`Snapshot::save`] wrote.
    ///
    /// # Errors
    /// When it is not there, or none of those.
    pub fn load(file: &Path) -> Result<Self, Error> {
        let failed = |why: String| Error::File { file: file.display().to_string(), why };
        let text = std::fs::read(file).map_err(|error| failed(error.to_string()))?;
        let read: Self = serde_json::from_slice(&text)
            .map_err(|error| failed(format!("is no file of migrate plan --save: {error}")))?;
        if read.format == FORMAT {
            return Ok(read);
        }
        Err(failed(format!("is of the form {:?}; this program reads {FORMAT:?}", read.format)))
    }
}
