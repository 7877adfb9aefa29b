//! Reads: one object, lists with pages, and what kinds there are.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::Call;
use crate::answer::{Failure, Result};
use crate::kind::{Kind, Resource};
use crate::selector::Filter;
use crate::store::{Store, place};

/// How an object is shown.
#[derive(Clone, Debug)]
pub(crate) struct View {
    kind: Kind,
    /// Its metadata alone was asked for.
    metadata_only: bool,
}

impl View {
    pub(crate) fn new(kind: &Kind, accept: &str) -> Self {
        View { kind: kind.clone(), metadata_only: accept.contains("as=PartialObjectMetadata") }
    }

    pub(crate) fn api_version(&self) -> String {
        if self.metadata_only { "meta.k8s.io/v1".into() } else { self.kind.resource.api_version() }
    }

    pub(crate) fn kind(&self) -> &str {
        if self.metadata_only { "PartialObjectMetadata" } else { &self.kind.kind }
    }

    pub(crate) fn show(&self, object: &Value) -> Value {
        if !self.metadata_only {
            return object.clone();
        }
        json!({"kind": self.kind(), "apiVersion": self.api_version(), "metadata": object["metadata"]})
    }

    /// The items of lists do not say of which kind they are, except custom ones.
    fn item(&self, object: &Value) -> Value {
        let mut item = self.show(object);
        if let Some(fields) = item.as_object_mut().filter(|_| !self.kind.custom && !self.metadata_only) {
            fields.remove("kind");
            fields.remove("apiVersion");
        }
        item
    }
}

pub(crate) fn get(store: &Store, kind: &Kind, call: &Call, view: &View) -> Result<Value> {
    let name = call.name.as_deref().unwrap_or_default();
    let place = place(call.namespace.as_deref().unwrap_or_default(), name);
    let object =
        store.object(&kind.resource, &place).ok_or_else(|| Failure::not_found(&kind.resource, name))?;
    Ok(view.show(&object))
}

/// The version that a parameter asks for; `None` for the most recent and for any.
pub(crate) fn asked_version(store: &Store, call: &Call) -> Result<Option<u64>> {
    let Some(text) = call.parameter("resourceVersion").filter(|text| *text != "0") else { return Ok(None) };
    let version =
        text.parse().map_err(|_| Failure::bad_request(format!("invalid resource version: {text}")))?;
    if version > store.revision() {
        return Err(Failure::too_large_version(version, store.revision()));
    }
    Ok(Some(version))
}

pub(crate) fn list(store: &Store, kind: &Kind, call: &Call, view: &View) -> Result<Value> {
    let filter = Filter::of(call)?;
    let limit = match call.parameter("limit") {
        Some(text) => text.parse().map_err(|_| Failure::bad_request(format!("invalid limit: {text}")))?,
        None => 0_usize,
    };
    let asked = asked_version(store, call)?;
    let exact = match call.parameter("resourceVersionMatch") {
        Some("Exact") => true,
        Some(_) => false,
        // The older way: a limit pins the version that it comes with.
        None => limit > 0,
    };
    let (version, start) = match call.parameter("continue") {
        Some(token) => {
            let (version, start) = next_page(token)?;
            if version < store.oldest() {
                return Err(Failure::expired(
                    "The provided continue parameter is too old to display a consistent list result. You must start a new list without the continue parameter.",
                ));
            }
            (version, Some(start))
        }
        None => (asked.filter(|_| exact).unwrap_or_else(|| store.revision()), None),
    };
    if version < store.oldest() {
        return Err(Failure::expired("The resourceVersion for the provided list is too old."));
    }
    let mut found: Vec<(String, Arc<Value>)> = store
        .all_at(&kind.resource, version)
        .into_iter()
        .filter(|(place, object)| {
            start.as_ref().is_none_or(|start| place.as_str() >= start.as_str()) && filter.matches(object)
        })
        .collect();
    let mut metadata = json!({"resourceVersion": version.to_string()});
    if limit > 0 && found.len() > limit {
        metadata["continue"] = format!("{version}:{}", found[limit].0).into();
        if !filter.selects() {
            metadata["remainingItemCount"] = (found.len() - limit).into();
        }
        found.truncate(limit);
    }
    let items: Vec<Value> = found.iter().map(|(_, object)| view.item(object)).collect();
    Ok(json!({
        "kind": format!("{}List", view.kind()),
        "apiVersion": view.api_version(),
        "metadata": metadata,
        "items": items,
    }))
}

fn next_page(token: &str) -> Result<(u64, String)> {
    let parts =
        token.split_once(':').and_then(|(version, start)| Some((version.parse().ok()?, start.to_owned())));
    parts.ok_or_else(|| Failure::bad_request("continue key is not valid"))
}

/// Discovery, version and health.
pub(crate) fn other(store: &Store, call: &Call) -> Result<Value> {
    let parts: Vec<&str> = call.path.split('/').filter(|part| !part.is_empty()).collect();
    let kinds: Vec<&Kind> = store.kinds().collect();
    match parts.as_slice() {
        ["version"] => Ok(json!({
            "major": "1", "minor": "36", "gitVersion": "v1.36.0", "gitCommit": "", "gitTreeState": "clean",
            "buildDate": "", "goVersion": "", "compiler": "", "platform": "",
        })),
        ["healthz" | "livez" | "readyz"] => Ok("ok".into()),
        ["api"] => Ok(json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []})),
        ["apis"] => {
            let mut groups: Vec<Value> = Vec::new();
            let mut seen: Vec<&str> = Vec::new();
            for kind in kinds.iter().filter(|kind| !kind.resource.group.is_empty()) {
                let resource = &kind.resource;
                if seen.contains(&resource.group.as_str()) {
                    continue;
                }
                seen.push(&resource.group);
                let version = json!({"groupVersion": resource.api_version(), "version": resource.version});
                groups.push(
                    json!({"name": resource.group, "versions": [version.clone()], "preferredVersion": version}),
                );
            }
            Ok(json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
        }
        ["api", version] => resources(&kinds, "", version),
        ["apis", group, version] => resources(&kinds, group, version),
        _ => Err(Failure::no_such_path()),
    }
}

fn resources(kinds: &[&Kind], group: &str, version: &str) -> Result<Value> {
    let of = |resource: &Resource| resource.group == group && resource.version == version;
    let kinds: Vec<&&Kind> = kinds.iter().filter(|kind| of(&kind.resource)).collect();
    let Some(first) = kinds.first() else { return Err(Failure::no_such_path()) };
    let verbs = ["create", "delete", "deletecollection", "get", "list", "patch", "update", "watch"];
    let mut resources = Vec::new();
    for kind in &kinds {
        let plural = &kind.resource.plural;
        let entry = json!({"name": plural, "singularName": kind.kind.to_lowercase(), "namespaced": kind.namespaced, "kind": kind.kind, "verbs": verbs});
        resources.push(entry);
        if kind.status {
            resources.push(json!({"name": format!("{plural}/status"), "singularName": "", "namespaced": kind.namespaced, "kind": kind.kind, "verbs": ["get", "patch", "update"]}));
        }
    }
    let group_version = first.resource.api_version();
    Ok(
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources}),
    )
}
