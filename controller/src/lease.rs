//! The Lease in the API: looked at and written as core's candidate asks.

use std::time::Duration;

use ferrolb_core::lease::{Answer, Claim, Record};
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::MicroTime;
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use kube::{Api, Client};
use serde_json::json;

use crate::writer::{FIELD_MANAGER, REQUEST};

/// The name of the Lease in our namespace.
pub const NAME: &str = "ferrolb-controller";

/// The Lease as core sees it.
pub fn record(lease: &Lease) -> Record {
    let spec = lease.spec.clone().unwrap_or_default();
    let seconds = u64::try_from(spec.lease_duration_seconds.unwrap_or(0)).unwrap_or(0);
    Record {
        holder: spec.holder_identity.unwrap_or_default(),
        duration: Duration::from_secs(seconds),
        transitions: spec.lease_transitions.unwrap_or(0),
        version: lease.metadata.resource_version.clone().unwrap_or_default(),
    }
}

/// Asks what the Lease is; `Ok(None)` if there is none.
///
/// # Errors
/// In words, when the API server does not say.
pub async fn look(client: &Client, namespace: &str) -> Result<Option<Record>, String> {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    match tokio::time::timeout(REQUEST, api.get_opt(NAME)).await {
        Ok(Ok(lease)) => Ok(lease.as_ref().map(record)),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            Err(format!("not allowed to read the Lease {NAME}: apply config/rbac ({})", status.message))
        }
        Ok(Err(error)) => Err(format!("cannot read the Lease {NAME}: {error}")),
        Err(_) => Err(format!("cannot read the Lease {NAME}: no answer within {} s", REQUEST.as_secs())),
    }
}

/// Writes the Lease: a merge patch that names the version which it replaces, or, where there is none yet, a
/// create. That alone fails if another replica was faster: a server-side apply would take over what that one made.
///
/// Returns the answer, and words for the log where it was no clear one.
pub async fn claim(client: &Client, namespace: &str, claim: &Claim) -> (Answer, Option<String>) {
    let api: Api<Lease> = Api::namespaced(client.clone(), namespace);
    let now = MicroTime(Timestamp::now());
    let mut spec = json!({
        "holderIdentity": claim.holder,
        "leaseDurationSeconds": claim.duration.as_secs().max(1),
        "leaseTransitions": claim.transitions,
        "renewTime": now,
    });
    if !claim.renewal && !claim.holder.is_empty() {
        spec["acquireTime"] = json!(now);
    }
    let request = async {
        match &claim.replaces {
            Some(version) => {
                let patch = json!({ "metadata": { "resourceVersion": version }, "spec": spec });
                let params =
                    PatchParams { field_manager: Some(FIELD_MANAGER.into()), ..PatchParams::default() };
                api.patch(NAME, &params, &Patch::Merge(patch)).await
            }
            None => {
                let object = json!({
                    "metadata": { "name": NAME, "labels": { "app.kubernetes.io/name": "ferrolb" } },
                    "spec": spec,
                });
                let object = serde_json::from_value(object).map_err(kube::Error::SerdeError)?;
                let params =
                    PostParams { field_manager: Some(FIELD_MANAGER.into()), ..PostParams::default() };
                api.create(&params, &object).await
            }
        }
    };
    match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(lease)) => (Answer::Done(record(&lease)), None),
        Ok(Err(kube::Error::Api(status))) if matches!(status.code, 404 | 409) => (Answer::Lost, None),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            let words =
                format!("not allowed to write the Lease {NAME}: apply config/rbac ({})", status.message);
            (Answer::Lost, Some(words))
        }
        Ok(Err(error)) => {
            (Answer::Unknown, Some(format!("cannot tell whether the Lease was written: {error}")))
        }
        Err(_) => {
            (Answer::Unknown, Some(format!("no answer about the Lease within {} s", REQUEST.as_secs())))
        }
    }
}
