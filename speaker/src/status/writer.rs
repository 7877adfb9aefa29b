//! The requests to the API server.

use std::sync::Arc;
use std::time::Duration;

use ferrolb_core::service::ServiceKey;
use ferrolb_crds::{
    ADDRESS_CONFLICT, CONFLICT_LABEL, ConfigurationState, ConfigurationStateStatus, HELD_BACK, IN_USE,
    NODE_LABEL, SERVICE_NAME_LABEL, SERVICE_NAMESPACE_LABEL, ServiceL2Status,
};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use kube::api::{ApiResource, DeleteParams, DynamicObject, ObjectMeta, Patch, PatchParams, PostParams};
use kube::{Api, Client, Resource};
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use tokio::sync::Semaphore;

use super::names;
use super::objects::{Me, Reader, Stored};
use super::plan::{Object, Said, Saying, Write};
use super::queue::{Fault, WRITERS};
use crate::report::Conflict;

/// The name under which the API server records what we set.
const FIELD_MANAGER: &str = "ferrolb-speaker";

/// Under this name MetalLB's speaker, and so the tools that look for it, knows the state's conditions.
const STATE_MANAGER: &str = "configReconciler";

/// The value of the label by which conflicts are looked for.
const MARKED: &str = "true";

/// How long one request may take. kube itself sets no limit.
const REQUEST: Duration = Duration::from_secs(5);

/// What became of a write that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Done {
    /// The object is this now.
    Stored(Stored),
    /// The object was deleted.
    Deleted(Box<str>),
}

/// Why a write was not done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Failed {
    /// In words.
    pub(crate) why: String,
    pub(crate) fault: Fault,
    /// What was made nevertheless.
    pub(crate) made: Option<Box<Stored>>,
}

/// Sends requests, at most [`WRITERS`] at a time.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) me: Arc<Me>,
    client: Client,
    namespace: String,
    permits: Arc<Semaphore>,
}

impl Writer {
    pub(crate) fn new(client: Client, namespace: String, me: Arc<Me>) -> Self {
        Writer { me, client, namespace, permits: Arc::new(Semaphore::new(WRITERS)) }
    }

    pub(crate) fn api<K>(&self) -> Api<K>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        Api::namespaced(self.client.clone(), &self.namespace)
    }

    /// Does one write about a Service.
    pub(crate) async fn write(&self, service: &Arc<ServiceKey>, write: Write) -> Result<Done, Failed> {
        let _permit = self.permits.acquire().await;
        match write {
            Write::Create(saying) => self.create(service, &saying).await,
            Write::Say(name, saying) => self.say(service, name, &saying).await,
            Write::Mark(name, marked) => {
                let value = if marked { json!(MARKED) } else { Value::Null };
                let patch = json!({"metadata": {"labels": {(CONFLICT_LABEL): value}}});
                let object = self.patch::<ServiceL2Status>(&name, "", &patch, FIELD_MANAGER).await?;
                self.as_wanted(self.read(object), |object| object.marked == marked)
            }
            Write::Adopt(name) => {
                let patch = json!({"metadata": {"ownerReferences": self.me.owners()}});
                let object = self.patch::<ServiceL2Status>(&name, "", &patch, FIELD_MANAGER).await?;
                self.as_wanted(self.read(object), |object| object.ours)
            }
            Write::Delete(name) => self.remove(&name).await.map(|()| Done::Deleted(name)),
        }
    }

    async fn create(&self, service: &Arc<ServiceKey>, saying: &Saying) -> Result<Done, Failed> {
        let labels = [
            (NODE_LABEL, self.me.label.as_str()),
            (SERVICE_NAME_LABEL, service.name()),
            (SERVICE_NAMESPACE_LABEL, service.namespace()),
        ];
        let mark = saying.conflict.as_ref().map(|_| (CONFLICT_LABEL.to_owned(), MARKED.to_owned()));
        let labels = labels.map(|(name, value)| (name.to_owned(), value.to_owned())).into_iter().chain(mark);
        let metadata = ObjectMeta {
            generate_name: Some("l2-".to_owned()),
            labels: Some(labels.collect()),
            owner_references: self.me.owners(),
            ..ObjectMeta::default()
        };
        let made = self.make::<ServiceL2Status>(metadata, FIELD_MANAGER).await?;
        let name: Box<str> = made.name.unwrap_or_default().into();
        let made = Stored {
            service: service.clone(),
            version: made.resource_version.unwrap_or_default(),
            object: Object {
                name: name.clone(),
                said: Said::Incomplete,
                marked: saying.conflict.is_some(),
                ours: self.me.owned(made.owner_references.as_deref()),
                ending: false,
            },
        };
        // The status of a new object is not taken: that is a second request.
        let said = self.say(service, name, saying).await;
        said.map_err(|failed| Failed { made: failed.made.or(Some(Box::new(made))), ..failed })
    }

    async fn say(&self, service: &Arc<ServiceKey>, name: Box<str>, saying: &Saying) -> Result<Done, Failed> {
        let interfaces: Vec<Value> = saying.on.iter().map(|name| json!({ "name": name })).collect();
        let patch = json!({"status": {
            "node": self.me.node,
            "serviceName": service.name(),
            "serviceNamespace": service.namespace(),
            // Absent means all.
            "interfaces": if interfaces.is_empty() { Value::Null } else { interfaces.into() },
            "conditions": saying.conflict.as_deref().map(|conflict| [condition(conflict)]),
        }});
        let object = self.patch::<ServiceL2Status>(&name, "status", &patch, FIELD_MANAGER).await?;
        let mut stored = self.read(object);
        let right = stored.object.said == Said::This(saying.clone());
        if right {
            // The same set, kept once.
            stored.object.said = Said::This(saying.clone());
        }
        self.as_wanted(stored, |_| right)
    }

    /// Deletes a `ServiceL2Status`; one that is not there is deleted already.
    pub(crate) async fn delete(&self, name: &str) -> Result<(), Failed> {
        let _permit = self.permits.acquire().await;
        match self.remove(name).await {
            Err(failed) if failed.fault == Fault::NotThere => Ok(()),
            done => done,
        }
    }

    async fn remove(&self, name: &str) -> Result<(), Failed> {
        let api = self.api::<ServiceL2Status>();
        let params = DeleteParams::default();
        let what = Request { verb: "delete", resource: "servicel2statuses" };
        answered(what, api.delete(name, &params)).await.map(drop)
    }

    fn read(&self, object: ServiceL2Status) -> Stored {
        Reader::new(self.me.clone()).read(object)
    }

    /// A server that stores something else than what was sent would be sent it for ever.
    fn as_wanted(&self, stored: Stored, right: impl Fn(&Object) -> bool) -> Result<Done, Failed> {
        if right(&stored.object) {
            return Ok(Done::Stored(stored));
        }
        Err(Failed {
            why: format!(
                "the API server made something else of servicel2statuses {:?}: apply the CustomResourceDefinitions of \
                 this version (kubectl apply -f crds/), and look for whoever else writes it",
                stored.object.name
            ),
            fault: Fault::ThisOne,
            made: Some(Box::new(stored)),
        })
    }

    /// Makes our `ConfigurationState`; that somebody made it meanwhile is no failure.
    pub(crate) async fn make_state(&self) -> Result<(), Failed> {
        let _permit = self.permits.acquire().await;
        let metadata = ObjectMeta {
            name: Some(names::state(&self.me.node)),
            labels: Some(self.state_labels().into()),
            owner_references: self.me.owners(),
            ..ObjectMeta::default()
        };
        match self.make::<ConfigurationState>(metadata, STATE_MANAGER).await {
            Err(failed) if failed.fault == Fault::Conflict => Ok(()),
            made => made.map(drop),
        }
    }

    /// The labels of our `ConfigurationState`.
    pub(crate) fn state_labels(&self) -> [(String, String); 2] {
        [("metallb.io/component-type", "speaker"), ("metallb.io/node-name", &self.me.label)]
            .map(|(name, value)| (name.to_owned(), value.to_owned()))
    }

    /// Writes labels and owner of our `ConfigurationState`.
    pub(crate) async fn mark_state(&self) -> Result<ConfigurationState, Failed> {
        let _permit = self.permits.acquire().await;
        let labels: std::collections::BTreeMap<_, _> = self.state_labels().into();
        let mut patch = json!({"metadata": {"labels": labels}});
        if let Some(owners) = self.me.owners() {
            patch["metadata"]["ownerReferences"] = json!(owners);
        }
        self.patch(&names::state(&self.me.node), "", &patch, STATE_MANAGER).await
    }

    /// Writes the status of our `ConfigurationState`, all of it.
    pub(crate) async fn write_state(
        &self,
        status: &ConfigurationStateStatus,
    ) -> Result<ConfigurationState, Failed> {
        let _permit = self.permits.acquire().await;
        let mut patch = json!({ "status": status });
        if status.error_summary.is_empty() {
            // What a merge does not name stays.
            patch["status"]["errorSummary"] = Value::Null;
        }
        self.patch(&names::state(&self.me.node), "status", &patch, STATE_MANAGER).await
    }

    async fn make<K>(&self, metadata: ObjectMeta, manager: &str) -> Result<ObjectMeta, Failed>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>,
    {
        // Not as a `K`: that has a field `spec`, which the definition does not know.
        let resource = ApiResource::erase::<K>(&());
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), &self.namespace, &resource);
        let object = DynamicObject { types: None, metadata, data: json!({}) };
        let object = DynamicObject {
            types: Some(kube::api::TypeMeta {
                api_version: resource.api_version.clone(),
                kind: resource.kind.clone(),
            }),
            ..object
        };
        let params = PostParams { field_manager: Some(manager.to_owned()), ..PostParams::default() };
        let plural = K::plural(&());
        let made =
            answered(Request { verb: "create", resource: &plural }, api.create(&params, &object)).await;
        // What is not there is the kind.
        made.map(|object| object.metadata).map_err(|failed| match failed.fault {
            Fault::NotThere => Failed {
                why: format!("{}: if the API server does not know them, kubectl apply -f crds/", failed.why),
                fault: Fault::All,
                ..failed
            },
            _ => failed,
        })
    }

    async fn patch<K>(&self, name: &str, sub: &str, patch: &Value, manager: &str) -> Result<K, Failed>
    where
        K: Resource<DynamicType = (), Scope = kube::core::NamespaceResourceScope>
            + DeserializeOwned
            + Clone
            + std::fmt::Debug,
    {
        let api = self.api::<K>();
        let params = PatchParams { field_manager: Some(manager.to_owned()), ..PatchParams::default() };
        let what = Request { verb: "patch", resource: &K::plural(&()) };
        let patch = Patch::Merge(patch);
        match sub {
            "status" => answered(what, api.patch_status(name, &params, &patch)).await,
            _ => answered(what, api.patch(name, &params, &patch)).await,
        }
    }
}

/// The condition that tells of a conflict.
fn condition(conflict: &Conflict) -> Condition {
    Condition {
        type_: ADDRESS_CONFLICT.to_owned(),
        status: "True".to_owned(),
        reason: if conflict.held_back { HELD_BACK } else { IN_USE }.to_owned(),
        message: conflict.words.clone(),
        last_transition_time: Time(Timestamp::from_second(conflict.since).unwrap_or(Timestamp::UNIX_EPOCH)),
        observed_generation: None,
    }
}

/// What was asked, for words about it.
#[derive(Clone, Copy)]
struct Request<'a> {
    verb: &'a str,
    resource: &'a str,
}

async fn answered<T>(
    what: Request<'_>,
    request: impl Future<Output = Result<T, kube::Error>>,
) -> Result<T, Failed> {
    let Request { verb, resource } = what;
    let (why, fault) = match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(object)) => return Ok(object),
        Ok(Err(kube::Error::Api(status))) => {
            let fault = match status.code {
                404 => Fault::NotThere,
                409 => Fault::Conflict,
                // No right, too many requests, or a token that has just expired: true of any request.
                401 | 403 | 408 | 429 => Fault::All,
                400..=499 => Fault::ThisOne,
                _ => Fault::All,
            };
            let todo = if status.code == 403 { "; apply config/rbac" } else { "" };
            (format!("{}{todo}", status.message), fault)
        }
        Ok(Err(error)) => (error.to_string(), Fault::All),
        Err(_) => (format!("no answer from the API server within {} s", REQUEST.as_secs()), Fault::All),
    };
    Err(Failed { why: format!("cannot {verb} {resource}: {why}"), fault, made: None })
}
