//! Writing to the API: each write ends with an outcome that is known, or is known to be unknown.

use std::sync::Arc;
use std::time::Duration;

use ferrolb_crds::view::Service;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};

use crate::writes::Write;

/// The name under which the API server records what we set.
const FIELD_MANAGER: &str = "ferrolb-controller";

/// How long one request may take. kube itself sets no limit.
const REQUEST: Duration = Duration::from_secs(5);

/// How often one write is sent before its outcome counts as unknown for now.
const TRIES: u32 = 4;

/// What became of a write.
#[derive(Clone, Debug)]
pub enum Outcome {
    /// It was done; the object as it is now.
    Done(Arc<Service>),
    /// The object had changed before; it is now this.
    Superseded(Arc<Service>),
    /// The object is gone.
    Gone,
    /// The server will not do it; the text says why.
    Refused(String),
    /// The server gave no clear answer; the text says what it gave.
    Unknown(String),
}

/// Does one write.
///
/// A request that got no clear answer (a time-out, a server error) may have been done, or may yet be.
/// It is sent again, the same: as it carries the version that it is based on, it cannot be done twice, and
/// the answer tells which it was.
pub async fn write(client: &Client, write: &Write) -> Outcome {
    let api: Api<Service> = Api::namespaced(client.clone(), &write.key.namespace);
    let params = PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
    let patch = Patch::Strategic(write.patch());
    let mut unclear = String::new();
    for attempt in 0..TRIES {
        if attempt > 0 {
            tokio::time::sleep(Duration::from_millis(100 << attempt)).await;
        }
        let request = api.patch_status(&write.key.name, &params, &patch);
        match clear(tokio::time::timeout(REQUEST, request).await) {
            Clear::Yes(object) => return Outcome::Done(object),
            Clear::Conflict => break,
            Clear::Gone => return Outcome::Gone,
            Clear::Refused(why) => return Outcome::Refused(why),
            Clear::No(why) => unclear = why,
        }
    }
    // Somebody else wrote, or an earlier try of ours did. Either way the version that later
    // copies of the request would need is gone, so what the object is now is the truth.
    match clear(tokio::time::timeout(REQUEST, api.get(&write.key.name)).await) {
        Clear::Yes(object) if object.metadata.resource_version.as_ref() == Some(&write.based_on) => {
            Outcome::Unknown(unclear)
        }
        Clear::Yes(object) => Outcome::Superseded(object),
        Clear::Gone => Outcome::Gone,
        Clear::Refused(why) | Clear::No(why) => Outcome::Unknown(why),
        Clear::Conflict => Outcome::Unknown(unclear),
    }
}

/// How clear an answer is.
enum Clear {
    Yes(Arc<Service>),
    Conflict,
    Gone,
    Refused(String),
    No(String),
}

fn clear(answer: Result<Result<Service, kube::Error>, tokio::time::error::Elapsed>) -> Clear {
    match answer {
        Ok(Ok(object)) => Clear::Yes(Arc::new(object)),
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 => Clear::Gone,
            409 => Clear::Conflict,
            403 => Clear::Refused(format!("{}: apply config/rbac", status.message)),
            // Too many requests: not done, and worth another try.
            429 => Clear::No(status.message.clone()),
            400..=499 => Clear::Refused(status.message.clone()),
            _ => Clear::No(status.message.clone()),
        },
        Ok(Err(error)) => Clear::No(error.to_string()),
        Err(_) => Clear::No(format!("no answer from the API server within {} s", REQUEST.as_secs())),
    }
}
