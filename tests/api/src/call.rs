//! A request to the API, taken apart: who is asked for what.

use std::collections::BTreeMap;
use std::fmt;

use http::{Method, Uri};

use crate::kind::Resource;

/// What a request wants done, in the words of RBAC.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Verb {
    /// One object.
    Get,
    /// All objects of a kind.
    List,
    /// Changes as they come.
    Watch,
    /// POST.
    Create,
    /// PUT.
    Update,
    /// PATCH of any type, server-side apply too.
    Patch,
    /// One object goes.
    Delete,
    /// All objects go.
    DeleteCollection,
    /// Not about objects: discovery, versions, health.
    Other,
}

impl Verb {
    /// Those that change objects.
    pub const WRITES: [Verb; 5] =
        [Verb::Create, Verb::Update, Verb::Patch, Verb::Delete, Verb::DeleteCollection];

    /// It changes objects.
    pub fn writes(self) -> bool {
        Self::WRITES.contains(&self)
    }
}

impl fmt::Display for Verb {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Verb::Get => "get",
            Verb::List => "list",
            Verb::Watch => "watch",
            Verb::Create => "create",
            Verb::Update => "update",
            Verb::Patch => "patch",
            Verb::Delete => "delete",
            Verb::DeleteCollection => "deletecollection",
            Verb::Other => "other",
        })
    }
}

/// A request without its body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Call {
    /// What is to be done.
    pub verb: Verb,
    /// Of which kind; `None` for [`Verb::Other`].
    pub resource: Option<Resource>,
    /// `status`, say; empty for the object itself.
    pub subresource: String,
    /// Of which namespace; `None` for all of them and for kinds that lie in none.
    pub namespace: Option<String>,
    /// Of which name; `None` where the path names none.
    pub name: Option<String>,
    /// The path, as it came.
    pub path: String,
    /// The parameters; the first of each name.
    pub query: BTreeMap<String, String>,
}

impl Call {
    /// Takes a request apart.
    pub fn of(method: &Method, uri: &Uri) -> Self {
        let mut query = BTreeMap::new();
        for (name, value) in form_urlencoded::parse(uri.query().unwrap_or_default().as_bytes()) {
            query.entry(name.into_owned()).or_insert_with(|| value.into_owned());
        }
        let other = Call {
            verb: Verb::Other,
            resource: None,
            subresource: String::new(),
            namespace: None,
            name: None,
            path: uri.path().to_owned(),
            query,
        };
        let parts: Vec<&str> = uri.path().split('/').filter(|part| !part.is_empty()).collect();
        let (group, version, rest) = match parts.as_slice() {
            ["api", version, rest @ ..] => ("", *version, rest),
            ["apis", group, version, rest @ ..] => (*group, *version, rest),
            _ => return other,
        };
        // `namespaces/x/status` is a namespace's own status; `namespaces/x/services` are Services in it.
        let (namespace, rest) = match rest {
            ["namespaces", _] | ["namespaces", _, "status" | "finalize"] => (None, rest),
            ["namespaces", namespace, rest @ ..] => (Some((*namespace).to_owned()), rest),
            _ => (None, rest),
        };
        let (plural, name, subresource) = match rest {
            [] => return other,
            [plural] => (*plural, None, String::new()),
            [plural, name] => (*plural, Some((*name).to_owned()), String::new()),
            [plural, name, sub @ ..] => (*plural, Some((*name).to_owned()), sub.join("/")),
        };
        let watch = other.query.get("watch").is_some_and(|value| value == "true" || value == "1");
        let verb = match (method, &name) {
            (&Method::GET, None) if watch => Verb::Watch,
            (&Method::GET, None) => Verb::List,
            (&Method::GET, Some(_)) => Verb::Get,
            (&Method::POST, _) => Verb::Create,
            (&Method::PUT, Some(_)) => Verb::Update,
            (&Method::PATCH, Some(_)) => Verb::Patch,
            (&Method::DELETE, Some(_)) => Verb::Delete,
            (&Method::DELETE, None) => Verb::DeleteCollection,
            _ => return other,
        };
        let resource = Resource { group: group.into(), version: version.into(), plural: plural.into() };
        Call { verb, resource: Some(resource), subresource, namespace, name, ..other }
    }

    /// The plural with the subresource, such as `services/status`; empty for [`Verb::Other`].
    pub fn target(&self) -> String {
        let plural = self.resource.as_ref().map_or("", |resource| resource.plural.as_str());
        if self.subresource.is_empty() { plural.to_owned() } else { format!("{plural}/{}", self.subresource) }
    }

    /// A parameter that is set and not empty.
    pub(crate) fn parameter(&self, name: &str) -> Option<&str> {
        self.query.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }
}

impl fmt::Display for Call {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.path)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(method: Method, uri: &str) -> (Verb, String, Option<String>, Option<String>) {
        let call = Call::of(&method, &uri.parse().unwrap());
        (call.verb, call.target(), call.namespace, call.name)
    }

    #[test]
    fn paths_tell_verb_and_object() {
        let some = |text: &str| Some(text.to_owned());
        let services = "services".to_owned();
        assert_eq!(call(Method::GET, "/api/v1/services?"), (Verb::List, services.clone(), None, None));
        let watch = call(Method::GET, "/api/v1/namespaces/a/services?watch=true&resourceVersion=3");
        assert_eq!(watch, (Verb::Watch, services, some("a"), None));
        let patch = call(Method::PATCH, "/api/v1/namespaces/a/services/b/status");
        assert_eq!(patch, (Verb::Patch, "services/status".into(), some("a"), some("b")));
        let pool = call(Method::PUT, "/apis/metallb.io/v1beta1/namespaces/m/ipaddresspools/p");
        assert_eq!(pool, (Verb::Update, "ipaddresspools".into(), some("m"), some("p")));
        assert_eq!(
            call(Method::GET, "/api/v1/namespaces/a"),
            (Verb::Get, "namespaces".into(), None, some("a"))
        );
        let status = call(Method::PUT, "/api/v1/namespaces/a/status");
        assert_eq!(status, (Verb::Update, "namespaces/status".into(), None, some("a")));
        assert_eq!(call(Method::GET, "/version").0, Verb::Other);
        assert_eq!(call(Method::GET, "/apis/metallb.io/v1beta1").0, Verb::Other);
    }
}
