//! Writing to the API: each write ends with an outcome that is known, or is known to be unknown.

use std::fmt::Debug;
use std::sync::Arc;
use std::time::Duration;

use ferrolb_crds::view::Service;
use ferrolb_crds::{ConfigurationState, ConfigurationStateStatus, IPAddressPool};
use k8s_openapi::serde::Serialize;
use k8s_openapi::serde::de::DeserializeOwned;
use kube::api::{ListParams, Patch, PatchParams};
use kube::core::NamespaceResourceScope;
use kube::{Api, Client, Resource, ResourceExt};
use serde_json::json;

use crate::brain::{Outcome, Write};

/// The name under which the API server records what we set.
pub(crate) const FIELD_MANAGER: &str = "ferrolb-controller";

/// How long one request may take. kube itself sets no limit.
pub(crate) const REQUEST: Duration = Duration::from_secs(5);

/// The name of our `ConfigurationState`.
pub const STATE: &str = "controller";

/// Under this name MetalLB's controller, and so the tools that look for it, knows the state's conditions.
const STATE_MANAGER: &str = "poolReconciler";

fn merge() -> PatchParams {
    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() }
}

/// Does one write to a Service.
///
/// A request that got no clear answer (a time-out, a server error) may have been done, or may yet be. As it carries the
/// version that it is based on, it cannot be done twice, and what the Service is now tells which it was: if it still
/// has that version, the write may still come, and the outcome is unknown.
pub async fn write(client: &Client, write: &Write) -> Outcome {
    let api: Api<Service> = Api::namespaced(client.clone(), write.key.namespace());
    let patch = Patch::Strategic(write.patch());
    let params = merge();
    let unclear =
        match clear(tokio::time::timeout(REQUEST, api.patch_status(write.key.name(), &params, &patch)).await)
        {
            Clear::Yes(object) => return Outcome::Done(object),
            Clear::Gone => return Outcome::Gone,
            Clear::Refused(why) => return Outcome::Refused(why),
            Clear::Conflict => None,
            Clear::No(why) => Some(why),
        };
    // Somebody else wrote, or the request was done after all. Either way the version that late copies of it
    // would need is gone.
    match clear(tokio::time::timeout(REQUEST, api.get(write.key.name())).await) {
        Clear::Yes(object) if object.metadata.uid.as_ref() != Some(&write.uid) => Outcome::Gone,
        Clear::Yes(object) if object.metadata.resource_version.as_ref() == Some(&write.based_on) => {
            Outcome::Unknown(unclear.unwrap_or_else(|| "a conflict with the version that it has".to_owned()))
        }
        Clear::Yes(_) => Outcome::Superseded,
        Clear::Gone => Outcome::Gone,
        Clear::Refused(why) | Clear::No(why) => Outcome::Unknown(unclear.unwrap_or(why)),
        Clear::Conflict => Outcome::Unknown(unclear.unwrap_or_default()),
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
        Ok(Ok(mut object)) => {
            object.trim_unshared();
            Clear::Yes(Arc::new(object))
        }
        Ok(Err(kube::Error::Api(status))) => match status.code {
            404 => Clear::Gone,
            409 => Clear::Conflict,
            403 => Clear::Refused(format!("{}: apply config/rbac", status.message)),
            // Too many requests, or a token that has just expired: not done, and worth another try.
            401 | 408 | 429 => Clear::No(status.message.clone()),
            400..=499 => Clear::Refused(status.message.clone()),
            _ => Clear::No(status.message.clone()),
        },
        Ok(Err(error)) => Clear::No(error.to_string()),
        Err(_) => Clear::No(format!("no answer from the API server within {} s", REQUEST.as_secs())),
    }
}

/// Writes the status of a pool or an advertisement: all of it is ours.
///
/// # Errors
/// In words.
pub async fn write_status<K>(client: &Client, object: &K, status: &impl Serialize) -> Result<K, String>
where
    K: Resource<DynamicType = (), Scope = NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api: Api<K> = Api::namespaced(client.clone(), &object.namespace().unwrap_or_default());
    let patch = Patch::Merge(json!({ "metadata": { "uid": object.meta().uid }, "status": status }));
    let (name, params) = (object.name_any(), merge());
    let request = api.patch_status(&name, &params, &patch);
    answered(tokio::time::timeout(REQUEST, request).await)
}

/// Writes our `ConfigurationState`, and makes it if it is not there.
///
/// # Errors
/// In words.
pub async fn write_state(
    client: &Client,
    namespace: &str,
    status: &ConfigurationStateStatus,
) -> Result<ConfigurationState, String> {
    let api: Api<ConfigurationState> = Api::namespaced(client.clone(), namespace);
    let mut object = json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "ConfigurationState",
        "metadata": { "name": STATE, "labels": { "metallb.io/component-type": "controller" } },
    });
    let params = PatchParams::apply(STATE_MANAGER).force();
    let patch = Patch::Apply(object.clone());
    answered(tokio::time::timeout(REQUEST, api.patch(STATE, &params, &patch)).await)?;
    object["status"] = json!(status);
    let patch = Patch::Apply(object);
    answered(tokio::time::timeout(REQUEST, api.patch_status(STATE, &params, &patch)).await)
}

fn answered<K>(answer: Result<Result<K, kube::Error>, tokio::time::error::Elapsed>) -> Result<K, String> {
    match answer {
        Ok(Ok(object)) => Ok(object),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no answer from the API server within {} s", REQUEST.as_secs())),
    }
}

/// Whether there are no pools, by a quorum read; `None` if the API server does not say, or has no such kind.
pub async fn no_pools(client: &Client, namespace: &str) -> Option<bool> {
    let api: Api<IPAddressPool> = Api::namespaced(client.clone(), namespace);
    let params = ListParams::default().limit(1);
    let listed = tokio::time::timeout(REQUEST, api.list(&params)).await.ok()?.ok()?;
    Some(listed.items.is_empty())
}
