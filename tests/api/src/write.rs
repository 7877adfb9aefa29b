//! Writes: create, update, patch, apply, delete.

use std::sync::Arc;

use http::StatusCode;
use serde_json::{Map, Value, json};

use crate::Call;
use crate::answer::{Failure, Result};
use crate::kind::Kind;
use crate::owners::{Manager, Owners};
use crate::patch;
use crate::schema;
use crate::store::{Store, place};

/// A write with what it needs of its request.
pub(crate) struct Write<'a> {
    pub(crate) kind: &'a Kind,
    pub(crate) call: &'a Call,
    pub(crate) content_type: &'a str,
    /// Who writes when no `fieldManager` is given.
    pub(crate) agent: &'a str,
    pub(crate) body: &'a [u8],
}

/// The answer's code and object.
pub(crate) type Done = (u16, Arc<Value>);

/// What of the metadata server-side apply sets.
const OWNABLE: [&str; 4] = ["labels", "annotations", "finalizers", "ownerReferences"];

const CREATED: u16 = StatusCode::CREATED.as_u16();
const OK: u16 = StatusCode::OK.as_u16();

impl Write<'_> {
    fn name(&self) -> &str {
        self.call.name.as_deref().unwrap_or_default()
    }

    fn namespace(&self) -> &str {
        self.call.namespace.as_deref().unwrap_or_default()
    }

    fn is_status(&self) -> bool {
        self.call.subresource == "status"
    }

    /// Only a trial: nothing is to be stored.
    fn dry(&self) -> bool {
        self.call.parameter("dryRun").is_some()
    }

    fn manager(&self, applies: bool) -> Manager {
        let agent = || self.agent.split('/').next().unwrap_or_default();
        let name = self.call.parameter("fieldManager").unwrap_or_else(agent);
        Manager { name: name.to_owned(), applies, subresource: self.call.subresource.clone() }
    }

    fn json(&self) -> Result<Value> {
        let value: Value = serde_json::from_slice(self.body)
            .map_err(|error| Failure::bad_request(format!("the body is not JSON: {error}")))?;
        if value.is_object() { Ok(value) } else { Err(Failure::bad_request("the body is no JSON object")) }
    }

    fn current(&self, store: &Store) -> Option<Arc<Value>> {
        store.object(&self.kind.resource, &place(self.namespace(), self.name()))
    }

    fn invalid(&self, field: &str, why: &str) -> Failure {
        Failure::invalid(&qualified_kind(self.kind), self.name(), field, why)
    }

    /// Stores the object, or says what would be stored.
    fn commit(&self, store: &mut Store, object: Value, owners: Owners, deleted: bool) -> Arc<Value> {
        if self.dry() { Arc::new(object) } else { store.commit(self.kind, object, owners, deleted) }
    }
}

/// `Service`, `IPAddressPool.metallb.io`: as validation names a kind.
fn qualified_kind(kind: &Kind) -> String {
    let group = &kind.resource.group;
    if group.is_empty() { kind.kind.clone() } else { format!("{}.{group}", kind.kind) }
}

/// A write of any kind, except deletions.
pub(crate) fn write(store: &mut Store, write: &Write<'_>, verb: crate::Verb) -> Result<Done> {
    if !matches!(write.call.subresource.as_str(), "" | "status") || (write.is_status() && !write.kind.status)
    {
        return Err(Failure::no_such_path());
    }
    match verb {
        crate::Verb::Create if write.name().is_empty() => create(store, write, write.json()?),
        crate::Verb::Update => update(store, write),
        crate::Verb::Patch => patch_any(store, write),
        _ => Err(Failure::method_not_allowed()),
    }
}

fn create(store: &mut Store, write: &Write<'_>, mut object: Value) -> Result<Done> {
    let kind = write.kind;
    let text = |object: &Value, name: &str| object["metadata"][name].as_str().unwrap_or_default().to_owned();
    if !text(&object, "resourceVersion").is_empty() {
        return Err(Failure::bad_request("resourceVersion should not be set on objects to be created"));
    }
    check_names(write, &object)?;
    if text(&object, "name").is_empty() {
        let prefix = text(&object, "generateName");
        if prefix.is_empty() {
            let why = "Required value: name or generateName is required";
            return Err(write.invalid("metadata.name", why));
        }
        object["metadata"]["name"] = format!("{prefix}{:05}", store.count()).into();
    }
    let name = text(&object, "name");
    if store.object(&kind.resource, &place(write.namespace(), &name)).is_some() {
        return Err(Failure::exists(&kind.resource, &name));
    }
    if kind.status {
        remove(&mut object, "status");
    }
    let object = newborn(store, kind, write.namespace(), object);
    let mut owners = Owners::default();
    owners.written(kind, &write.manager(false), &json!({}), &object);
    Ok((CREATED, write.commit(store, object, owners, false)))
}

/// Gives an object what the server gives to each that is new.
pub(crate) fn newborn(store: &mut Store, kind: &Kind, namespace: &str, mut object: Value) -> Value {
    let number = store.count();
    object["apiVersion"] = kind.resource.api_version().into();
    object["kind"] = kind.kind.clone().into();
    let now = store.now();
    let metadata = &mut object["metadata"];
    for name in ["managedFields", "selfLink", "deletionTimestamp", "deletionGracePeriodSeconds", "generation"]
    {
        remove(metadata, name);
    }
    if kind.namespaced {
        metadata["namespace"] = namespace.into();
    } else {
        remove(metadata, "namespace");
    }
    metadata["uid"] = format!("00000000-0000-4000-8000-{number:012x}").into();
    metadata["creationTimestamp"] = now.into();
    if kind.generation {
        metadata["generation"] = 1.into();
    }
    tidy(kind, &mut object);
    object
}

/// Defaults, and no nulls.
fn tidy(kind: &Kind, object: &mut Value) {
    patch::without_nulls(object);
    if let Some(metadata) = object["metadata"].as_object_mut() {
        metadata.retain(|_, value| !patch::is_empty(value));
    }
    schema::defaults(kind, object);
}

fn check_names(write: &Write<'_>, object: &Value) -> Result<()> {
    let given = |name: &str| object["metadata"][name].as_str().filter(|text| !text.is_empty());
    if given("namespace").is_some_and(|namespace| write.kind.namespaced && namespace != write.namespace()) {
        let why = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(Failure::bad_request(why));
    }
    if let Some(name) = given("name").filter(|name| !write.name().is_empty() && *name != write.name()) {
        return Err(Failure::bad_request(format!(
            "the name of the object ({name}) does not match the name on the URL ({})",
            write.name()
        )));
    }
    let text = |name: &str| object[name].as_str().filter(|text| !text.is_empty());
    let api_version = write.kind.resource.api_version();
    if text("kind").is_some_and(|kind| kind != write.kind.kind)
        || text("apiVersion").is_some_and(|version| version != api_version)
    {
        let why = format!(
            "the object ({}, {}) is not what the URL names ({api_version}, {})",
            text("apiVersion").unwrap_or_default(),
            text("kind").unwrap_or_default(),
            write.kind.kind
        );
        return Err(Failure::bad_request(why));
    }
    Ok(())
}

fn update(store: &mut Store, write: &Write<'_>) -> Result<Done> {
    let (kind, new) = (write.kind, write.json()?);
    check_names(write, &new)?;
    let old = write.current(store).ok_or_else(|| Failure::not_found(&kind.resource, write.name()))?;
    let given = |name: &str| new["metadata"][name].as_str().filter(|text| !text.is_empty());
    if let Some(uid) = given("uid").filter(|uid| old["metadata"]["uid"] != *uid) {
        let has = old["metadata"]["uid"].as_str().unwrap_or_default();
        let why = format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {has}");
        return Err(Failure::conflict(&kind.resource, write.name(), &why));
    }
    if given("resourceVersion").is_none() && !kind.unconditional() {
        let (name, why) = (kind.resource.qualified(), "Invalid value: 0: must be specified for an update");
        return Err(Failure::invalid(&name, write.name(), "metadata.resourceVersion", why));
    }
    replace(store, write, &old, new, None)
}

fn patch_any(store: &mut Store, write: &Write<'_>) -> Result<Done> {
    let kind = write.kind;
    let media = write.content_type.split(';').next().unwrap_or_default().trim();
    if media == "application/apply-patch+yaml" {
        return apply(store, write);
    }
    let old = write.current(store).ok_or_else(|| Failure::not_found(&kind.resource, write.name()))?;
    let change = write.json()?;
    let mut new = old.as_ref().clone();
    match media {
        "application/merge-patch+json" => patch::merge(&mut new, &change),
        "application/strategic-merge-patch+json" if !kind.custom => {
            patch::strategic(kind, &mut new, &change)?;
        }
        _ if kind.custom => {
            return Err(Failure::media_type("application/merge-patch+json, application/apply-patch+yaml"));
        }
        _ => {
            return Err(Failure::media_type(
                "application/merge-patch+json, application/strategic-merge-patch+json, application/apply-patch+yaml",
            ));
        }
    }
    check_names(write, &new)?;
    replace(store, write, &old, new, None)
}

fn apply(store: &mut Store, write: &Write<'_>) -> Result<Done> {
    let (kind, wanted) = (write.kind, write.json()?);
    if write.call.parameter("fieldManager").is_none() {
        let why = "Required value: is required for apply patch";
        return Err(Failure::invalid("PatchOptions.meta.k8s.io", "", "fieldManager", why));
    }
    if !patch::is_empty(&wanted["metadata"]["managedFields"]) {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    check_names(write, &wanted)?;
    let force = write.call.parameter("force") == Some("true");
    let manager = write.manager(true);
    let mut fields = wanted.clone();
    patch::without_nulls(&mut fields);
    if write.is_status() {
        let taken = |(name, _): &(String, Value)| name == "status" || (name == "metadata" && !kind.custom);
        fields = Value::Object(
            fields.as_object().cloned().unwrap_or_default().into_iter().filter(taken).collect(),
        );
    } else if kind.status {
        remove(&mut fields, "status");
    }
    if let Some(metadata) = fields["metadata"].as_object_mut() {
        metadata.retain(|name, _| OWNABLE.contains(&name.as_str()));
    }
    let version = wanted["metadata"]["resourceVersion"].clone();
    let Some(old) = write.current(store) else {
        if write.is_status() {
            return Err(Failure::not_found(&kind.resource, write.name()));
        }
        for (name, value) in [("uid", &wanted["metadata"]["uid"]), ("resourceVersion", &version)] {
            if !patch::is_empty(value) {
                let why = format!(
                    "{name} mismatch: the provided object specified {name} {value}, and no existing object was found"
                );
                return Err(Failure::conflict(&kind.resource, write.name(), &why));
            }
        }
        let (mut object, mut owners) = (json!({"metadata": {"name": write.name()}}), Owners::default());
        owners.apply(kind, &manager, &mut object, &fields, force)?;
        let object = newborn(store, kind, write.namespace(), object);
        return Ok((CREATED, write.commit(store, object, owners, false)));
    };
    let mut owners = store.owners(&kind.resource, &place(write.namespace(), write.name()));
    let mut new = old.as_ref().clone();
    owners.apply(kind, &manager, &mut new, &fields, force)?;
    for (name, value) in [("uid", wanted["metadata"]["uid"].clone()), ("resourceVersion", version)] {
        if !patch::is_empty(&value) {
            new["metadata"][name] = value;
        }
    }
    replace(store, write, &old, new, Some(owners))
}

/// Makes `new` of `old`, as far as the write may; nothing is stored when nothing changes.
fn replace(
    store: &mut Store,
    write: &Write<'_>,
    old: &Value,
    new: Value,
    owners: Option<Owners>,
) -> Result<Done> {
    let kind = write.kind;
    let given = new["metadata"]["resourceVersion"].as_str().filter(|text| !text.is_empty());
    if given.is_some_and(|version| old["metadata"]["resourceVersion"] != version) {
        return Err(Failure::modified(&kind.resource, write.name()));
    }
    let uid = &new["metadata"]["uid"];
    if !patch::is_empty(uid) && uid != "" && *uid != old["metadata"]["uid"] {
        let why = format!("Invalid value: {uid}: field is immutable");
        return Err(write.invalid("metadata.uid", &why));
    }
    let mut object = allowed(write, old, new);
    if write.is_status() {
        schema::check_status(kind, &object).map_err(|(field, why)| write.invalid(field, why))?;
    }
    tidy(kind, &mut object);
    if kind.generation && asked_for(kind, old) != asked_for(kind, &object) {
        object["metadata"]["generation"] = (old["metadata"]["generation"].as_u64().unwrap_or(0) + 1).into();
    }
    let owners = owners.unwrap_or_else(|| {
        let mut owners = store.owners(&kind.resource, &place(write.namespace(), write.name()));
        owners.written(kind, &write.manager(false), old, &object);
        owners
    });
    object["metadata"]["resourceVersion"] = old["metadata"]["resourceVersion"].clone();
    let leaves = |object: &Value| object["metadata"]["finalizers"].as_array().is_none_or(Vec::is_empty);
    if !object["metadata"]["deletionTimestamp"].is_null() && leaves(&object) {
        return Ok((OK, write.commit(store, object, owners, true)));
    }
    let same = if kind.custom { object == *old } else { patch::pruned(&object) == patch::pruned(old) };
    if same {
        if !write.dry() {
            store.own(&kind.resource, &place(write.namespace(), write.name()), owners);
        }
        return Ok((OK, Arc::new(old.clone())));
    }
    Ok((OK, write.commit(store, object, owners, false)))
}

/// What of `new` this write may set: all but the server's own fields, and either the status or the rest.
fn allowed(write: &Write<'_>, old: &Value, mut new: Value) -> Value {
    let kind = write.kind;
    for name in [
        "namespace",
        "name",
        "uid",
        "creationTimestamp",
        "deletionTimestamp",
        "deletionGracePeriodSeconds",
        "generation",
    ] {
        set(&mut new["metadata"], name, &old["metadata"][name]);
    }
    for name in ["managedFields", "selfLink"] {
        remove(&mut new["metadata"], name);
    }
    set(&mut new, "apiVersion", &old["apiVersion"]);
    set(&mut new, "kind", &old["kind"]);
    if write.is_status() {
        let mut object = old.clone();
        set(&mut object, "status", &new["status"]);
        if !kind.custom {
            object["metadata"] = new["metadata"].take();
        }
        object
    } else {
        if kind.status {
            set(&mut new, "status", &old["status"]);
        }
        new
    }
}

/// What `generation` counts the changes of.
fn asked_for(kind: &Kind, object: &Value) -> Value {
    let mut fields = object.as_object().cloned().unwrap_or_default();
    fields.remove("metadata");
    if kind.status {
        fields.remove("status");
    }
    if kind.custom { Value::Object(fields) } else { patch::pruned(&Value::Object(fields)) }
}

fn set(object: &mut Value, name: &str, value: &Value) {
    if value.is_null() {
        remove(object, name);
    } else {
        object[name] = value.clone();
    }
}

fn remove(object: &mut Value, name: &str) {
    if let Some(fields) = object.as_object_mut() {
        fields.remove(name);
    }
}

/// Deletes one object.
pub(crate) fn delete(store: &mut Store, write: &Write<'_>) -> Result<(u16, Value)> {
    let kind = write.kind;
    if !write.call.subresource.is_empty() {
        return Err(Failure::method_not_allowed());
    }
    let old = write.current(store).ok_or_else(|| Failure::not_found(&kind.resource, write.name()))?;
    let options = if write.body.is_empty() { Value::Object(Map::new()) } else { write.json()? };
    for (field, called) in [("uid", "UID"), ("resourceVersion", "ResourceVersion")] {
        let Some(wanted) = options["preconditions"][field].as_str() else { continue };
        let has = old["metadata"][field].as_str().unwrap_or_default();
        if wanted != has {
            let why = format!(
                "Precondition failed: {called} in precondition: {wanted}, {called} in object meta: {has}"
            );
            return Err(Failure::conflict(&kind.resource, write.name(), &why));
        }
    }
    let uid = old["metadata"]["uid"].clone();
    match end(store, write, &old) {
        Some(object) => Ok((OK, object.as_ref().clone())),
        None => {
            let mut details = json!({"name": write.name(), "kind": kind.resource.plural, "uid": uid});
            if !kind.resource.group.is_empty() {
                details["group"] = kind.resource.group.clone().into();
            }
            Ok((
                OK,
                json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details}),
            ))
        }
    }
}

/// Deletes an object, or marks it when finalizers hold it; then the object as it is now.
fn end(store: &mut Store, write: &Write<'_>, old: &Value) -> Option<Arc<Value>> {
    let mut object = old.clone();
    let owners = {
        let name = old["metadata"]["name"].as_str().unwrap_or_default();
        let namespace = old["metadata"]["namespace"].as_str().unwrap_or_default();
        store.owners(&write.kind.resource, &place(namespace, name))
    };
    let held = old["metadata"]["finalizers"].as_array().is_some_and(|list| !list.is_empty());
    if !held {
        write.commit(store, object, owners, true);
        return None;
    }
    if !old["metadata"]["deletionTimestamp"].is_null() {
        return Some(Arc::new(object));
    }
    object["metadata"]["deletionTimestamp"] = store.now().into();
    object["metadata"]["deletionGracePeriodSeconds"] = 0.into();
    if write.kind.generation {
        let generation = object["metadata"]["generation"].as_u64().unwrap_or(0);
        object["metadata"]["generation"] = (generation + 1).into();
    }
    Some(write.commit(store, object, owners, false))
}

/// Deletes what the selectors of the call match.
pub(crate) fn delete_all(store: &mut Store, write: &Write<'_>) -> Result<()> {
    let filter = crate::selector::Filter::of(write.call)?;
    for (_, object) in store.all(&write.kind.resource) {
        if filter.matches(&object) {
            end(store, write, &object);
        }
    }
    Ok(())
}
