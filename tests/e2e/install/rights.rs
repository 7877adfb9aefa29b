//! What our ServiceAccounts may do, as the API server sees it: this and nothing else.

use std::collections::BTreeSet;

use ferrolb_tests::plane::Plane;
use ferrolb_tests::scene::SYSTEM;
use futures::StreamExt;
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SubjectAccessReview};
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use serde_json::json;

type Seen = Result<BTreeSet<String>, String>;

/// Another namespace than ours.
const ELSEWHERE: &str = "default";

/// Every verb that RBAC knows for resources.
const VERBS: [&str; 11] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
    "bind",
    "escalate",
    "impersonate",
];

const READ: [&str; 3] = ["get", "list", "watch"];

/// One line of what is allowed: verbs, `resource.group`, and names.
type Line = (&'static [&'static str], &'static str, &'static str);

/// In all namespaces.
const CONTROLLER_EVERYWHERE: [Line; 5] = [
    (&READ, "services", ""),
    (&READ, "namespaces", ""),
    (&READ, "nodes", ""),
    (&["patch"], "services/status", ""),
    (&["create", "patch"], "events.events.k8s.io", ""),
];

const CONTROLLER_HERE: [Line; 18] = [
    (&READ, "ipaddresspools.metallb.io", ""),
    (&READ, "l2advertisements.metallb.io", ""),
    (&READ, "servicel2statuses.metallb.io", ""),
    // MetalLB's kinds for BGP: each object is told that nothing follows from it.
    (&READ, "bgppeers.metallb.io", ""),
    (&READ, "bgpadvertisements.metallb.io", ""),
    (&READ, "bfdprofiles.metallb.io", ""),
    (&READ, "communities.metallb.io", ""),
    (&["patch"], "bgppeers.metallb.io/status", ""),
    (&["patch"], "bgpadvertisements.metallb.io/status", ""),
    (&["patch"], "bfdprofiles.metallb.io/status", ""),
    (&["patch"], "communities.metallb.io/status", ""),
    (&["patch"], "ipaddresspools.metallb.io/status", ""),
    (&["patch"], "l2advertisements.metallb.io/status", ""),
    (&["get", "list", "watch", "create", "patch"], "configurationstates.metallb.io", "controller"),
    (&["patch"], "configurationstates.metallb.io/status", "controller"),
    (&["get", "list", "watch", "patch"], "leases.coordination.k8s.io", "ferrolb-controller"),
    (&["create"], "leases.coordination.k8s.io", ""),
    (&["get", "create", "patch"], "secrets", "ferrolb-hello"),
];

const SPEAKER_EVERYWHERE: [Line; 4] = [
    (&READ, "services", ""),
    (&READ, "nodes", ""),
    (&READ, "endpointslices.discovery.k8s.io", ""),
    (&["create", "patch"], "events.events.k8s.io", ""),
];

const SPEAKER_HERE: [Line; 6] = [
    (&READ, "ipaddresspools.metallb.io", ""),
    (&READ, "l2advertisements.metallb.io", ""),
    (&["get", "list", "watch", "create", "patch", "delete"], "servicel2statuses.metallb.io", ""),
    (&["get", "list", "watch", "create", "patch", "delete"], "configurationstates.metallb.io", ""),
    (&["patch"], "servicel2statuses.metallb.io/status", ""),
    (&["patch"], "configurationstates.metallb.io/status", ""),
];

fn expected(lines: &[&[Line]]) -> BTreeSet<String> {
    let lines = lines.iter().flat_map(|lines| lines.iter());
    lines
        .flat_map(|(verbs, resource, name)| verbs.iter().map(move |verb| line(verb, resource, name)))
        .collect()
}

fn line(verb: &str, resource: &str, name: &str) -> String {
    if name.is_empty() { format!("{verb} {resource}") } else { format!("{verb} {resource} {name}") }
}

/// `services/status` of group `g` as `services.g/status`.
fn grouped(resource: &str, group: &str) -> String {
    let (kind, part) =
        resource.split_once('/').map_or((resource, String::new()), |(kind, part)| (kind, format!("/{part}")));
    if group.is_empty() { format!("{kind}{part}") } else { format!("{kind}.{group}{part}") }
}

/// A client that is this ServiceAccount.
async fn client(plane: &Plane, namespace: &str, account: &str) -> Result<kube::Client, String> {
    let file = Kubeconfig::read_from(plane.lab.paths.kubeconfig()).map_err(|error| error.to_string())?;
    let config = kube::Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await;
    let mut config = config.map_err(|error| error.to_string())?;
    config.proxy_url = None;
    config.auth_info.impersonate = Some(format!("system:serviceaccount:{namespace}:{account}"));
    // As a token has them.
    config.auth_info.impersonate_groups = Some(vec![
        "system:serviceaccounts".to_owned(),
        format!("system:serviceaccounts:{namespace}"),
        "system:authenticated".to_owned(),
    ]);
    kube::Client::try_from(config).map_err(|error| error.to_string())
}

/// The rules that count for one who asks about itself in `namespace`; each verb of each resource is a line.
async fn rules(client: &kube::Client, namespace: &str) -> Seen {
    let api: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let review = serde_json::from_value(json!({"spec": {"namespace": namespace}}))
        .map_err(|error| error.to_string())?;
    let answer = api.create(&PostParams::default(), &review).await.map_err(|error| error.to_string())?;
    let status = answer.status.ok_or("no status")?;
    if status.incomplete {
        return Err("the rules are not complete".to_owned());
    }
    let mut lines = BTreeSet::new();
    for rule in status.resource_rules {
        let names =
            rule.resource_names.filter(|names| !names.is_empty()).unwrap_or_else(|| vec![String::new()]);
        for verb in &rule.verbs {
            for group in rule.api_groups.iter().flatten() {
                for resource in rule.resources.iter().flatten() {
                    lines.extend(names.iter().map(|name| line(verb, &grouped(resource, group), name)));
                }
            }
        }
    }
    let paths = status.non_resource_rules.into_iter();
    lines.extend(paths.flat_map(|rule| {
        let paths = rule.non_resource_urls.unwrap_or_default();
        rule.verbs
            .into_iter()
            .flat_map(move |verb| paths.clone().into_iter().map(move |path| format!("{verb} {path}")))
    }));
    Ok(lines)
}

/// Every resource that the API server has, with subresources: name, group, and whether it belongs to a namespace.
async fn resources(client: &kube::Client) -> Result<Vec<(String, String)>, String> {
    let text = |error: kube::Error| error.to_string();
    let mut lists = vec![(String::new(), client.list_core_api_resources("v1").await.map_err(text)?)];
    for group in client.list_api_groups().await.map_err(text)?.groups {
        for version in group.versions {
            let list = client.list_api_group_resources(&version.group_version).await.map_err(text)?;
            lists.push((group.name.clone(), list));
        }
    }
    let all = lists.into_iter().flat_map(|(group, list)| {
        list.resources.into_iter().map(move |resource| (resource.name, group.clone()))
    });
    let all: BTreeSet<(String, String)> = all.collect();
    assert!(all.len() > 100, "only {} resources", all.len());
    Ok(all.into_iter().collect())
}

/// What is allowed of all that could be asked, object names aside, or for the object of this name.
async fn allowed(admin: &kube::Client, account: &str, namespace: &str, name: &str) -> Seen {
    let mut questions = Vec::new();
    for (resource, group) in resources(admin).await? {
        for verb in VERBS {
            questions.push((resource.clone(), group.clone(), verb));
        }
    }
    let api: Api<SubjectAccessReview> = Api::all(admin.clone());
    let ask =
        async |(resource, group, verb): (String, String, &'static str)| -> Result<Option<String>, String> {
            let (kind, part) = resource.split_once('/').unwrap_or((&resource, ""));
            let review = json!({"spec": {
                "user": format!("system:serviceaccount:{SYSTEM}:{account}"),
                "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{SYSTEM}"), "system:authenticated"],
                "resourceAttributes": {
                    "namespace": namespace, "verb": verb, "group": group, "resource": kind, "subresource": part, "name": name,
                },
            }});
            let review = serde_json::from_value(review).map_err(|error| error.to_string())?;
            let answer =
                api.create(&PostParams::default(), &review).await.map_err(|error| error.to_string())?;
            let yes = answer.status.is_some_and(|status| status.allowed);
            Ok(yes.then(|| line(verb, &grouped(&resource, &group), "")))
        };
    let answers: Vec<_> = futures::stream::iter(questions).map(ask).buffer_unordered(32).collect().await;
    let answers: Result<Vec<_>, String> = answers.into_iter().collect();
    Ok(answers?.into_iter().flatten().collect())
}

fn compare(what: &str, seen: &BTreeSet<String>, expected: &BTreeSet<String>) -> Result<(), String> {
    let more: Vec<_> = seen.difference(expected).collect();
    let less: Vec<_> = expected.difference(seen).collect();
    if more.is_empty() && less.is_empty() {
        return Ok(());
    }
    Err(format!("{what} may do {more:?}, which is not in the table; and not {less:?}, which is"))
}

/// Holds both accounts against the tables above, once config/rbac is applied. Returns how many verbs they have.
pub(crate) async fn are_these(plane: &Plane) -> Result<[usize; 2], String> {
    let admin = plane.lab.client().await.map_err(|error| error.to_string())?;
    // What everybody may: ask who they are, what they may, what there is.
    let nobody = client(plane, ELSEWHERE, "nobody").await?;
    let everybody = rules(&nobody, SYSTEM).await?;
    let accounts: [(&str, &[Line], &[Line]); 2] = [
        ("ferrolb-controller", &CONTROLLER_EVERYWHERE, &CONTROLLER_HERE),
        ("ferrolb-speaker", &SPEAKER_EVERYWHERE, &SPEAKER_HERE),
    ];
    let mut counts = [0, 0];
    for ((account, everywhere, here), count) in accounts.into_iter().zip(&mut counts) {
        let own = client(plane, SYSTEM, account).await?;
        for (namespace, table) in
            [(SYSTEM, expected(&[everywhere, here])), (ELSEWHERE, expected(&[everywhere]))]
        {
            let what = format!("{account} in {namespace}");
            let told: BTreeSet<String> =
                rules(&own, namespace).await?.difference(&everybody).cloned().collect();
            compare(&what, &told, &table)?;
            *count = (*count).max(table.len());

            // The same by questions one by one, about everything that there is: with no name of an object, and with one that
            // no rule names.
            let unnamed: BTreeSet<String> =
                table.iter().filter(|line| line.split(' ').count() == 2).cloned().collect();
            for name in ["", "another"] {
                let mut seen = allowed(&admin, account, namespace, name).await?;
                seen.retain(|line| !everybody.contains(line));
                compare(&format!("{what}, asked about objects named {name:?},"), &seen, &unnamed)?;
            }
        }
        for forbidden in ["*", "escalate", "bind", "impersonate"] {
            let told = rules(&own, SYSTEM).await?;
            if let Some(line) = told.difference(&everybody).find(|line| line.contains(forbidden)) {
                return Err(format!("{account} may {line}"));
            }
        }
    }
    Ok(counts)
}
