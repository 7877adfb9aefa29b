//! What FerroLB's ServiceAccounts need, as `config/rbac` gives it, and whether they have it: the API server itself is asked, so
//! whatever authorizes there counts.

use k8s_openapi::api::authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec};
use k8s_openapi::api::rbac::v1::PolicyRule;
use kube::Client;
use kube::api::{Api, PostParams};
use serde::Deserialize;
use tokio::task::JoinSet;

use crate::look::Look;
use crate::read::ReadError;

/// The manifests, of which the rules are read: so the two cannot differ.
const MANIFESTS: [(&str, &str); 2] = [
    ("controller", include_str!("../../../config/rbac/controller.yaml")),
    ("speaker", include_str!("../../../config/rbac/speaker.yaml")),
];

/// So many questions are under way at once.
const AT_ONCE: usize = 16;

/// Something that a program of ours does.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Right {
    /// `controller` or `speaker`.
    pub program: &'static str,
    /// The verb.
    pub verb: String,
    /// The group; empty for the core one.
    pub group: String,
    /// The resource, with its subresource behind a slash.
    pub resource: String,
    /// The one object that it is about, if it is one.
    pub name: String,
    /// Whether in FerroLB's namespace alone, or everywhere.
    pub here: bool,
    /// What the API server says.
    pub allowed: bool,
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Right { verb, resource, group, name, .. } = self;
        let dot = if group.is_empty() { "" } else { "." };
        let of = if name.is_empty() { String::new() } else { format!(" {name}") };
        let place = if self.here { "in its namespace" } else { "everywhere" };
        write!(f, "the {} may not {verb} {resource}{dot}{group}{of} {place}", self.program)
    }
}

/// A Role or ClusterRole; the other documents of a manifest have no rules.
#[derive(Deserialize)]
struct Document {
    kind: String,
    #[serde(default)]
    rules: Vec<PolicyRule>,
}

/// All that the two programs need.
pub(super) fn needed() -> Vec<Right> {
    let mut needed = Vec::new();
    for (program, manifest) in MANIFESTS {
        let documents: Vec<Document> = serde_saphyr::from_multiple(manifest).unwrap_or_default();
        for document in documents {
            let here = document.kind == "Role";
            needed.extend(document.rules.iter().flat_map(|rule| expand(program, here, rule)));
        }
    }
    needed
}

fn expand(program: &'static str, here: bool, rule: &PolicyRule) -> Vec<Right> {
    let mut rights = Vec::new();
    let names = rule.resource_names.clone().filter(|names| !names.is_empty());
    for group in rule.api_groups.iter().flatten() {
        for resource in rule.resources.iter().flatten() {
            for name in names.clone().unwrap_or_else(|| vec![String::new()]) {
                for verb in &rule.verbs {
                    rights.push(Right {
                        program,
                        verb: verb.clone(),
                        group: group.clone(),
                        resource: resource.clone(),
                        name: name.clone(),
                        here,
                        allowed: false,
                    });
                }
            }
        }
    }
    rights
}

/// Asks about each; nothing if that may not be asked.
pub(super) async fn ask(client: &Client, look: &mut Look) -> Result<Option<Vec<Right>>, ReadError> {
    let account = |program: &str| {
        let pod = look.pods.iter().find(|pod| pod.speaker == (program == "speaker"));
        let known = pod.map(|pod| pod.account.clone()).filter(|account| !account.is_empty());
        known.unwrap_or_else(|| format!("ferrolb-{program}"))
    };
    let mut waiting = needed().into_iter().map(|right| (account(right.program), right)).collect::<Vec<_>>();
    waiting.reverse();
    let (mut asking, mut rights) = (JoinSet::new(), Vec::new());
    loop {
        while asking.len() < AT_ONCE
            && let Some((account, right)) = waiting.pop()
        {
            let (client, namespace) = (client.clone(), look.namespace.clone());
            asking.spawn(async move { review(&client, &namespace, &account, right).await });
        }
        match asking.join_next().await {
            None => break,
            Some(Ok(Ok(right))) => rights.push(right),
            Some(Ok(Err(error))) => {
                crate::read::or_note::<()>(Err(error), &mut look.unread)?;
                return Ok(None);
            }
            Some(Err(_)) => return Ok(None),
        }
    }
    rights.sort_by(|a, b| (a.program, &a.resource, &a.verb).cmp(&(b.program, &b.resource, &b.verb)));
    Ok(Some(rights))
}

async fn review(client: &Client, namespace: &str, account: &str, right: Right) -> Result<Right, ReadError> {
    let (resource, subresource) = match right.resource.split_once('/') {
        Some((resource, subresource)) => (resource.to_owned(), Some(subresource.to_owned())),
        None => (right.resource.clone(), None),
    };
    let review = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            user: Some(format!("system:serviceaccount:{namespace}:{account}")),
            groups: Some(vec![
                "system:serviceaccounts".to_owned(),
                format!("system:serviceaccounts:{namespace}"),
                "system:authenticated".to_owned(),
            ]),
            resource_attributes: Some(ResourceAttributes {
                group: Some(right.group.clone()),
                resource: Some(resource),
                subresource,
                verb: Some(right.verb.clone()),
                name: Some(right.name.clone()).filter(|name| !name.is_empty()),
                namespace: right.here.then(|| namespace.to_owned()),
                ..ResourceAttributes::default()
            }),
            ..SubjectAccessReviewSpec::default()
        },
        ..SubjectAccessReview::default()
    };
    let api: Api<SubjectAccessReview> = Api::all(client.clone());
    let answer = api.create(&PostParams::default(), &review).await;
    let answer = answer.map_err(|error| ReadError::of("what FerroLB's accounts may do", error))?;
    Ok(Right { allowed: answer.status.is_some_and(|status| status.allowed), ..right })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_needed_is_what_the_manifests_give() {
        let needed = needed();
        let of = |program| needed.iter().filter(|right| right.program == program).count();
        // docs/install.md names these numbers, and a test in a cluster holds them.
        assert_eq!((of("controller"), of("speaker")), (53, 31));
        let words: Vec<String> = needed.iter().map(ToString::to_string).collect();
        for said in [
            "the controller may not patch services/status everywhere",
            "the controller may not patch leases.coordination.k8s.io ferrolb-controller in its namespace",
            "the speaker may not list endpointslices.discovery.k8s.io everywhere",
        ] {
            assert!(words.iter().any(|word| word == said), "{said} is not in {words:#?}");
        }
    }
}
