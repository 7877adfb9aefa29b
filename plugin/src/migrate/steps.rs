//! The steps, as commands with this cluster's names: those of docs/migrate.md where MetalLB is as its manifest installs it.

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;

use super::cluster::{Cluster, Named, Product, Workload};
use super::helm::Installed;
use super::plan::Metallb;
use super::settings::Answer;

/// The namespace of both manifests.
const USUAL: &str = "metallb-system";

/// The variable of FerroLB's speaker with the interfaces that are left out.
pub(crate) const EXCLUDE: &str = "FERROLB_EXCLUDE_INTERFACES";

/// The folder of the overlay that step 4 writes.
const OVERLAY: &str = "ferrolb-overlay";

/// What kubectl calls the kinds of which a copy is kept.
const COPIED: [&str; 6] =
    ["ipaddresspools", "l2advertisements", "bgppeers", "bgpadvertisements", "bfdprofiles", "communities"];

/// One step.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What docs/migrate.md calls it: its number and a title.
    pub title: String,
    /// Why, and what to know.
    pub why: String,
    /// For a shell, in FerroLB's folder.
    pub commands: Vec<String>,
    /// There is nothing left of it to do, as far as can be seen.
    pub done: bool,
}

/// All steps that lead from what there is to FerroLB alone.
pub(crate) fn all(cluster: &Cluster, metallb: Option<&Metallb>) -> Vec<Step> {
    let Some(metallb) = metallb else {
        let leftover = webhooks(cluster);
        return if leftover.done || !known(cluster) { Vec::new() } else { vec![leftover] };
    };
    vec![
        copy(cluster, metallb),
        webhooks(cluster),
        definitions(cluster),
        controller(cluster, metallb),
        beside(cluster, metallb),
        speakers(cluster, metallb),
        rest(cluster, metallb),
        compare(),
    ]
}

/// The definitions that a webhook converts.
pub(crate) fn converted(cluster: &Cluster) -> Vec<String> {
    let all = cluster.definitions.iter().flatten().filter(|definition| definition.webhook);
    all.map(|definition| definition.name.clone()).collect()
}

/// Whether it is known what there is of webhooks.
pub(crate) fn known(cluster: &Cluster) -> bool {
    cluster.webhooks.is_some() && cluster.definitions.is_some()
}

fn copy(cluster: &Cluster, metallb: &Metallb) -> Step {
    let kinds: Vec<&str> = COPIED.into_iter().filter(|plural| cluster.defines(plural)).collect();
    let mut commands = vec![
        format!("kubectl get {} -A -o yaml > metallb-objects.yaml", kinds.join(",")),
        "kubectl get services -A -o wide > services-before.txt".to_owned(),
        "kubectl ferrolb migrate plan --save before.json".to_owned(),
    ];
    if let Installed::Helm { release, namespace, recorded: true } = &metallb.installed {
        commands.push(format!("helm -n {namespace} get values {release} -o yaml > metallb-values.yaml"));
    }
    let why = "before.json is what step 7 compares with.".to_owned();
    Step { title: "0. Keep a copy of everything".into(), why, commands, done: false }
}

fn webhooks(cluster: &Cluster) -> Step {
    let webhooks: Vec<(String, String)> = match &cluster.webhooks {
        Some(all) => all.iter().map(|hook| (hook.kind.to_lowercase(), hook.name.clone())).collect(),
        None => vec![("validatingwebhookconfiguration".into(), "metallb-webhook-configuration".into())],
    };
    let delete = webhooks.iter().map(|(kind, name)| format!("kubectl delete {kind} {name}"));
    let converted = match cluster.definitions {
        Some(_) => converted(cluster),
        None => vec!["bgppeers.metallb.io".into()],
    };
    let patch = converted.iter().map(|name| {
        format!(
            "kubectl patch crd {name} --type=json -p \
             '[{{\"op\": \"replace\", \"path\": \"/spec/conversion\", \"value\": {{\"strategy\": \"None\"}}}}]'"
        )
    });
    let commands: Vec<String> = delete.chain(patch).collect();
    Step {
        title: "1. The webhook goes first".into(),
        why: "Once MetalLB's controller is gone nobody answers its webhooks, and the API server would refuse each edit of a pool, \
              and each read of a BGPPeer in the older version."
            .into(),
        done: commands.is_empty(),
        commands,
    }
}

fn definitions(cluster: &Cluster) -> Step {
    Step {
        title: "2. The definitions".into(),
        why: "They replace those of the same names; the objects stay.".into(),
        commands: vec!["kubectl apply --server-side --force-conflicts -f crds/".into()],
        done: cluster.definitions.iter().flatten().any(|definition| definition.ours),
    }
}

fn controller(cluster: &Cluster, metallb: &Metallb) -> Step {
    let controller = cluster.of(Product::MetallbController);
    let commands = |controller: &Workload| {
        let namespace = &metallb.namespace;
        vec![
            format!("kubectl -n {namespace} scale {} --replicas=0", controller.path()),
            format!("kubectl -n {namespace} {}", gone(controller)),
        ]
    };
    Step {
        title: "3. MetalLB gives no more addresses".into(),
        why: "Two controllers would give a new Service two addresses. From here until step 4 is done, a new Service waits; those that \
              have an address keep it and are announced."
            .into(),
        commands: controller.map(commands).unwrap_or_default(),
        done: controller.is_none_or(|controller| controller.replicas == 0),
    }
}

/// Waits until the pods of a workload are gone.
fn gone(workload: &Workload) -> String {
    format!("wait --for=delete pod -l {} --timeout=60s", workload.selector)
}

fn beside(cluster: &Cluster, metallb: &Metallb) -> Step {
    let namespace = &metallb.namespace;
    let ignores = metallb.settings.iter().any(|setting| {
        matches!(setting.answer, Answer::CarriedOver { variable: "FERROLB_IGNORE_EXCLUDE_LB", .. })
    });
    let mut why = "Both now answer for each address, from the same node and with the same MAC. Go on when no speaker lacks the key of \
                   the hellos, for which the last command waits. The nodes must have the image, or a registry of it: docs/install.md."
        .to_owned();
    let mut commands = Vec::new();
    if !cluster.without_speaker.is_empty() {
        let nodes = &cluster.without_speaker;
        why += &format!(
            "\nMetalLB has no speaker on {}, and FerroLB's run on every node: addresses would move there. ",
            nodes.join(", ")
        );
        if ignores {
            why += "As --ignore-exclude-lb is set, the label that excludes a node does not help: write nodeSelectors in the \
                    L2Advertisements, or tolerations and a nodeSelector in the overlay.";
        } else {
            why += "So they get the label that excludes a node, which other load balancers heed too.";
            commands.push(format!(
                "kubectl label node {} {}=",
                nodes.join(" "),
                ferrolb_crds::names::EXCLUDE_NODE
            ));
        }
    }
    let overlay = overlay(metallb);
    let folder = if overlay.is_some() { OVERLAY } else { "config/default" };
    if overlay.is_some() {
        why += "\nThe overlay has this cluster's namespace and settings.";
    }
    if let Installed::Helm { .. } = metallb.installed {
        why += "\nWith charts/ferrolb in place of kubectl apply -k, set crds.enabled=false: the definitions bear the name of MetalLB's \
                release.";
    }
    commands.extend(overlay);
    commands.push(format!("kubectl apply -k {folder}"));
    commands
        .push(format!("kubectl -n {namespace} rollout status deployment/ferrolb-controller --timeout=120s"));
    commands.push(format!("kubectl -n {namespace} rollout status daemonset/ferrolb-speaker --timeout=120s"));
    commands.push(format!(
        "until [ -z \"$(kubectl -n {namespace} get configurationstates -o \
         jsonpath='{{.items[*].status.conditions[?(@.type==\"HelloKeyLoaded\")].status}}')\" ]; do sleep 1; done"
    ));
    // Both, and here: elsewhere, or one of them, does not serve these pools.
    let done =
        [Product::FerrolbController, Product::FerrolbSpeaker].into_iter().all(|p| cluster.of(p).is_some());
    Step { title: "4. FerroLB comes beside it".into(), why, commands, done }
}

/// Writes an overlay with what differs from `config/default`; nothing where nothing does.
fn overlay(metallb: &Metallb) -> Option<String> {
    let mut patches = String::new();
    for (part, kind) in [("controller", "Deployment"), ("speaker", "DaemonSet")] {
        let variables = variables(metallb, part);
        if variables.is_empty() {
            continue;
        }
        patches += &format!(
            "- patch: |-\n    apiVersion: apps/v1\n    kind: {kind}\n    metadata:\n      name: ferrolb-{part}\n    spec:\n      \
             template:\n        spec:\n          containers:\n          - name: {part}\n            env:\n"
        );
        for (name, value) in variables {
            // JSON's text is YAML's text in double quotes.
            let value = serde_json::Value::String(value);
            patches += &format!("            - name: {name}\n              value: {value}\n");
        }
    }
    if patches.is_empty() && metallb.namespace == USUAL {
        return None;
    }
    let patches = if patches.is_empty() { patches } else { format!("patches:\n{patches}") };
    Some(format!(
        "mkdir -p {OVERLAY} && cat > {OVERLAY}/kustomization.yaml <<'EOF'\napiVersion: kustomize.config.k8s.io/v1beta1\n\
         kind: Kustomization\nnamespace: {}\nresources:\n- ../config/default\n{patches}EOF",
        metallb.namespace
    ))
}

/// What is set on FerroLB's `part`, by name; each once.
fn variables(metallb: &Metallb, part: &str) -> BTreeMap<&'static str, String> {
    let mut variables: BTreeMap<&'static str, String> = BTreeMap::new();
    for setting in &metallb.settings {
        match &setting.answer {
            Answer::CarriedOver { variable, value, both } if *both || setting.part == part => {
                variables.insert(variable, value.clone());
            }
            _ => {}
        }
    }
    if let Some(patterns) = metallb.excluded_interfaces.as_ref().filter(|_| part == "speaker") {
        variables.insert(EXCLUDE, patterns.clone());
    }
    variables
}

fn speakers(cluster: &Cluster, metallb: &Metallb) -> Step {
    let speaker = cluster.of(Product::MetallbSpeaker);
    let commands = |speaker: &Workload| {
        let namespace = &metallb.namespace;
        vec![
            format!("kubectl -n {namespace} delete {}", speaker.path()),
            format!("kubectl -n {namespace} {}", gone(speaker)),
        ]
    };
    Step {
        title: "5. MetalLB's speakers go".into(),
        why: "One that ends leaves its addresses to the others, which announce them; FerroLB's owner announces each again at once."
            .into(),
        commands: speaker.map(commands).unwrap_or_default(),
        done: speaker.is_none(),
    }
}

fn rest(cluster: &Cluster, metallb: &Metallb) -> Step {
    let namespace = &metallb.namespace;
    let mut memberlist = format!(
        "kubectl -n {namespace} delete --ignore-not-found secret/metallb-memberlist secret/memberlist"
    );
    for secret in memberlist_secrets(cluster) {
        memberlist += &format!(" secret/{secret}");
    }
    let statuses = "kubectl delete --ignore-not-found crd/servicebgpstatuses.metallb.io".to_owned();
    let (why, commands) = match &metallb.installed {
        Installed::Manifest | Installed::Operator { .. } => {
            let controller = cluster.of(Product::MetallbController);
            let controller = controller.map_or_else(|| "deployment/controller".to_owned(), Workload::path);
            let accounts = "rolebinding/controller rolebinding/pod-lister role/controller role/pod-lister \
                            serviceaccount/controller serviceaccount/speaker";
            let cluster_wide = "clusterrolebinding/metallb-system:controller clusterrolebinding/metallb-system:speaker \
                                clusterrole/metallb-system:controller clusterrole/metallb-system:speaker";
            let commands = vec![
                format!(
                    "kubectl -n {namespace} delete {controller} service/metallb-webhook-service \
                     configmap/metallb-excludel2 secret/metallb-webhook-cert"
                ),
                memberlist,
                format!("kubectl -n {namespace} delete {accounts}"),
                format!("kubectl delete {cluster_wide}"),
                statuses,
            ];
            let why =
                "By name: kubectl delete -f of its manifest would take the namespace, and with it all pools.";
            (why.to_owned(), commands)
        }
        Installed::Helm { release, namespace: records, recorded } => {
            let released = || cluster.release.iter().filter(|object| !object.name.contains("frr-k8s"));
            let controller = cluster.of(Product::MetallbController).map(Workload::path);
            let paths = |inside: bool| {
                released().filter(move |object| object.namespace.is_empty() != inside).map(Named::path)
            };
            let inside: Vec<String> = controller.into_iter().chain(paths(true)).collect();
            let outside: Vec<String> = paths(false).collect();
            let mut commands = Vec::new();
            if !inside.is_empty() {
                commands.push(format!("kubectl -n {namespace} delete {}", inside.join(" ")));
            }
            if !outside.is_empty() {
                commands.push(format!("kubectl delete {}", outside.join(" ")));
            }
            commands.push(format!("{memberlist} secret/metallb-webhook-cert"));
            commands.push(statuses);
            let mut why =
                "By name, never by helm uninstall: it would delete the definitions, and with them all pools."
                    .to_owned();
            if *recorded {
                commands.push(format!(
                    "kubectl -n {records} delete secret,configmap -l owner=helm,name={release}"
                ));
                why += &format!(
                    "\nThe last command but one deletes the records of release {release}: after it no helm uninstall or rollback finds \
                     it. The last one shows what else bears its name."
                );
            } else {
                why += "\nThe last command shows what else bears its name.";
            }
            commands.push(format!(
                "kubectl -n {namespace} get all,configmap,secret,serviceaccount,role,rolebinding,networkpolicy -l \
                 app.kubernetes.io/instance={release}"
            ));
            (why, commands)
        }
    };
    Step { title: "6. What else is left of MetalLB".into(), why, commands, done: false }
}

/// The Secrets that MetalLB's controller makes for memberlist under other names than the usual ones.
fn memberlist_secrets(cluster: &Cluster) -> BTreeSet<&str> {
    let settings = cluster.metallb().into_iter().flat_map(|workload| &workload.settings);
    let named = settings
        .filter(|setting| ["METALLB_ML_SECRET_NAME", "ml-secret-name"].contains(&setting.name.as_str()));
    let usual = ["metallb-memberlist", "memberlist", ""];
    named.map(|setting| setting.value.as_str()).filter(|name| !usual.contains(name)).collect()
}

fn compare() -> Step {
    Step {
        title: "7. Compare".into(),
        why: "It says what is different, and ends with 1 if anything is.".into(),
        commands: vec![
            "kubectl ferrolb migrate compare before.json".into(),
            "kubectl get services -A -o wide > services-after.txt".into(),
            "kubectl get servicel2statuses -A".into(),
        ],
        done: false,
    }
}
