//! What the API server itself refuses: by the rules in `crds/`, and by the policies in `config/admission`.
//!
//! One control plane without nodes serves all cases, one after the other. A policy takes up to about a second until it
//! is in force, and sees other pools a moment after they were stored; so each verdict is waited for.

mod support;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::{Path, PathBuf};

use ferrolb_core::net::AddressRange;
use ferrolb_core::service::Requested;
use ferrolb_crds::view;
use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::plane::{Plane, project};
use ferrolb_tests::scene::SYSTEM;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams,
};
use serde_json::{Value, json};

use support::{block_on, left_out};

const LAB: &str = "testd";

/// How long a verdict may take, in seconds.
const PATIENCE: u64 = 30;

type Done = Result<(), String>;

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// An API server.
struct World {
    plane: Plane,
    client: kube::Client,
}

impl World {
    fn api(&self, kind: &str, namespace: &str) -> Api<DynamicObject> {
        let (group, version) = if kind == "Service" { ("", "v1") } else { ("metallb.io", "v1beta1") };
        let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind));
        Api::namespaced_with(self.client.clone(), namespace, &resource)
    }

    async fn create(&self, object: &Value, dry_run: bool) -> Done {
        let api = self.api(word(&object["kind"]), word(&object["metadata"]["namespace"]));
        let object = serde_json::from_value(object.clone()).map_err(text)?;
        let params = PostParams { dry_run, ..PostParams::default() };
        api.create(&params, &object).await.map(drop).map_err(text)
    }

    /// Changes the stored object of this name as `patch` says.
    async fn change(&self, object: &Value, patch: Value) -> Done {
        let api = self.api(word(&object["kind"]), word(&object["metadata"]["namespace"]));
        let name = word(&object["metadata"]["name"]);
        api.patch(name, &PatchParams::default(), &Patch::Merge(patch)).await.map(drop).map_err(text)
    }

    /// Stores the object, as soon as it is let in.
    async fn store(&self, object: &Value) -> Done {
        let look = async || self.create(object, false).await;
        wait(&format!("{object} to be let in"), PATIENCE, look).await.map_err(text)
    }

    async fn delete(&self, object: &Value) -> Done {
        let api = self.api(word(&object["kind"]), word(&object["metadata"]["namespace"]));
        api.delete(word(&object["metadata"]["name"]), &DeleteParams::default()).await.map(drop).map_err(text)
    }

    /// Waits until an object like this is let in.
    async fn accepted(&self, object: &Value) -> Done {
        let look = async || self.create(object, true).await;
        wait(&format!("{object} to be let in"), PATIENCE, look).await.map_err(text)
    }

    /// Waits until an object like this is refused in these words.
    async fn refused(&self, object: &Value, words: &str) -> Done {
        let look = async || refusal(self.create(object, true).await, words);
        wait(&format!("{object} to be refused with {words:?}"), PATIENCE, look).await.map_err(text)
    }

    /// Waits until this change is refused in these words.
    async fn change_refused(&self, object: &Value, patch: &Value, words: &str) -> Done {
        let look = async || refusal(self.change(object, patch.clone()).await, words);
        wait(&format!("{patch} to be refused with {words:?}"), PATIENCE, look).await.map_err(text)
    }

    fn kustomize(&self, verb: &str) -> Done {
        let folder = project("config/default");
        self.plane.kubectl(&[verb, "-k", &folder.to_string_lossy()]).map(drop).map_err(text)
    }

    /// Installs what a user installs, and waits until each policy refuses what it is there for.
    async fn install(&self) -> Done {
        self.kustomize("apply")?;
        let wall = pool("wall", &["10.8.0.0/24"]);
        self.store(&wall).await?;
        self.refused(&service("bad", "10.0.0.300"), "\"10.0.0.300\" is not an IP address").await?;
        self.refused(&in_namespace(&pool("bad", &["10.0.0.0/24"]), "default"), "nobody reads IPAddressPool")
            .await?;
        let words = "spec.addresses: 10.8.0.9/32 overlaps 10.8.0.0/24 of IPAddressPool wall";
        self.refused(&pool("bad", &["10.8.0.9/32"]), words).await?;
        self.delete(&wall).await
    }
}

fn word(value: &Value) -> &str {
    value.as_str().unwrap_or_default()
}

fn refusal(done: Done, words: &str) -> Done {
    match done {
        Err(said) if said.contains(words) => Ok(()),
        Err(said) => Err(format!("the API server says: {said}")),
        Ok(()) => Err("the API server let it in".to_owned()),
    }
}

fn pool(name: &str, addresses: &[&str]) -> Value {
    json!({
        "apiVersion": "metallb.io/v1beta1", "kind": "IPAddressPool",
        "metadata": {"name": name, "namespace": SYSTEM}, "spec": {"addresses": addresses},
    })
}

fn in_namespace(object: &Value, namespace: &str) -> Value {
    let mut object = object.clone();
    object["metadata"]["namespace"] = namespace.into();
    object
}

/// A Service that asks for these addresses.
fn service(name: &str, addresses: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service",
        "metadata": {
            "name": name, "namespace": "default", "annotations": {"metallb.io/loadBalancerIPs": addresses},
        },
        "spec": {"type": "LoadBalancer", "ports": [{"port": 80}]},
    })
}

/// Objects from before the policies came.
struct Old {
    service: Value,
    elsewhere: Value,
    pools: [Value; 2],
}

impl Old {
    async fn store(world: &World) -> Result<Self, String> {
        let mut service = service("old", "10.0.0.300");
        service["metadata"]["finalizers"] = json!(["example.com/keep"]);
        let elsewhere = in_namespace(&pool("old", &["10.0.0.0/24"]), "default");
        let pools = [pool("old-a", &["10.9.0.0/24"]), pool("old-b", &["10.9.0.0-10.9.0.9", "10.9.2.0/24"])];
        for object in [&service, &elsewhere, &pools[0], &pools[1]] {
            world.create(object, false).await?;
        }
        Ok(Old { service, elsewhere, pools })
    }

    /// Their mistakes are in nobody's way; new ones are refused.
    async fn can_be_edited_and_removed(&self, world: &World) -> Done {
        let label = json!({"metadata": {"labels": {"edited": "yes"}}});
        for object in [&self.service, &self.elsewhere, &self.pools[0], &self.pools[1]] {
            world.change(object, label.clone()).await?;
        }
        world.change(&self.service, json!({"spec": {"ports": [{"port": 81}]}})).await?;
        let list = |value: &str| json!({"metadata": {"annotations": {"metallb.io/loadBalancerIPs": value}}});
        let words = "\"10.0.0.301\" is not an IP address";
        world.change_refused(&self.service, &list("10.0.0.301"), words).await?;
        let field = json!({"spec": {"loadBalancerIP": "10.0.0.1"}});
        world.change_refused(&self.service, &field, "addresses are asked for twice").await?;

        let entries = |list: &[&str]| json!({"spec": {"addresses": list}});
        world.change(&self.pools[1], entries(&["10.9.0.0-10.9.0.9", "10.9.3.0/24"])).await?;
        let words = "10.9.0.128/25 overlaps 10.9.0.0/24 of IPAddressPool old-a";
        let more = entries(&["10.9.0.0-10.9.0.9", "10.9.0.128/25"]);
        world.change_refused(&self.pools[1], &more, words).await?;

        for object in [&self.service, &self.elsewhere, &self.pools[0], &self.pools[1]] {
            world.delete(object).await?;
        }
        world.change(&self.service, json!({"metadata": {"finalizers": null}})).await?;
        wait("the Service to be gone", PATIENCE, async || {
            match world.api("Service", "default").get_opt("old").await.map_err(text)? {
                None => Ok(()),
                Some(there) => Err(format!("{:?}", there.metadata)),
            }
        })
        .await
        .map_err(text)
    }
}

/// These words as an API server of [`OLD`] and before says them: of a value that a rule refuses it names the type alone.
fn with_types(words: &str) -> Vec<String> {
    let Some((path, rest)) = words.split_once(": Invalid value: ") else { return Vec::new() };
    let after =
        rest.strip_prefix('"').and_then(|rest| rest.split_once("\": ")).map_or(rest, |(_, after)| after);
    ["string", "array", "object"].map(|kind| format!("{path}: Invalid value: \"{kind}\": {after}")).into()
}

/// The newest minor version that was seen to say types.
const OLD: u32 = 33;

/// The manifests that are kept for it, each as a user would apply it.
async fn manifests(world: &World) -> Done {
    let version = world.client.apiserver_version().await.map_err(text)?;
    let old = version.minor.trim_end_matches('+').parse::<u32>().map_err(text)? <= OLD;
    let mut wrong = Vec::new();
    let files = files(&project("crds/tests/admission"))?;
    for (kind, file) in &files {
        let manifest = std::fs::read_to_string(file).map_err(text)?;
        let mut kubectl = world.plane.lab.kubectl();
        let output = kubectl.args(["apply", "--dry-run=server", "-f"]).arg(file).output().map_err(text)?;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        let expected = manifest.lines().find_map(|line| line.strip_prefix("# expect: "));
        let right = match (*kind, expected) {
            ("accepted", _) => output.status.success(),
            (_, Some(words)) => {
                let like = |words: &String| old && said.contains(words);
                !output.status.success() && (said.contains(words) || with_types(words).iter().any(like))
            }
            (_, None) => false,
        };
        if !right {
            wrong.push(format!("{}: expected {expected:?}, kubectl said: {said}", file.display()));
        }
    }
    if files.len() < 100 {
        wrong.push(format!("only {} manifests", files.len()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

fn files(folder: &Path) -> Result<Vec<(&'static str, PathBuf)>, String> {
    let mut files = Vec::new();
    for kind in ["accepted", "refused"] {
        for entry in std::fs::read_dir(folder.join(kind)).map_err(text)? {
            files.push((kind, entry.map_err(text)?.path()));
        }
    }
    files.sort();
    Ok(files)
}

/// Numbers that look random and are the same in every run (xorshift64).
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        usize::try_from(self.0 % bound as u64).unwrap_or_default()
    }
}

/// What the policy says to requests for addresses is what the controller would say: both read them, by different code.
async fn requests_are_judged_as_the_controller_reads_them(world: &World) -> Done {
    let seeds = [
        "10.0.0.1",
        "::ffff:10.0.0.1",
        "0:0:0:0:0:FFFF:a00:1",
        "fd00::1",
        "fd00::10.0.0.1",
        "1:2:3:4:5:6:7::",
        "::",
        "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
        "010.0.0.1",
        " 10.0.0.1 , fd00::1 ",
        "fd00::1,::ffff:10.0.0.1",
        "10.0.0.1,::fffe:10.0.0.2",
        "10.0.0.1,fd00::1,10.0.0.2",
        "fe80::1%eth0",
        "\u{a0}10.0.0.1\u{2003}",
    ];
    let alphabet: Vec<char> = "0159afF:.,% /".chars().collect();
    let mut numbers = Numbers(0x5eed);
    let mut texts: Vec<String> = seeds.iter().map(|&seed| seed.to_owned()).collect();
    while texts.len() < 250 {
        let mut text: Vec<char> = seeds[numbers.below(seeds.len())].chars().collect();
        for _ in 0..=numbers.below(2) {
            let (at, with) = (numbers.below(text.len() + 1), alphabet[numbers.below(alphabet.len())]);
            match numbers.below(3) {
                0 => text.insert(at, with),
                1 if at < text.len() => drop(text.remove(at)),
                _ if at < text.len() => text[at] = with,
                _ => text.push(with),
            }
        }
        texts.push(text.into_iter().collect());
    }
    let (mut wrong, mut readable) = (Vec::new(), 0);
    for asked in &texts {
        let object = service("request", asked);
        let read: view::Service = serde_json::from_value(object.clone()).map_err(text)?;
        let read = read.to_core(None).map(|service| service.requested);
        let taken = !matches!(read, Some(Requested::Unreadable(_)));
        readable += usize::from(taken);
        let verdict = world.create(&object, true).await;
        if verdict.is_ok() != taken {
            wrong.push(format!("{asked:?}: the controller reads {read:?}, the API server says {verdict:?}"));
        }
    }
    if readable < 20 || readable > texts.len() - 20 {
        wrong.push(format!("{readable} of {} texts can be read: that tries little", texts.len()));
    }
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// Pools beside each other, onto each other, and moved.
async fn overlaps(world: &World) -> Done {
    let one = pool("one", &["10.0.0.0/24", "fd00::/64", "10.0.2.10 - 10.0.2.19"]);
    world.store(&one).await?;
    let words = "10.0.0.255-10.0.1.5 overlaps 10.0.0.0/24 of IPAddressPool one";
    world.refused(&pool("two", &["10.9.0.0/24", "10.0.0.255-10.0.1.5"]), words).await?;
    let words = "10.0.2.7/24 overlaps 10.0.2.10 - 10.0.2.19 of IPAddressPool one; ::/0 overlaps fd00::/64";
    world.refused(&pool("two", &["10.0.2.7/24", "::/0"]), words).await?;

    // Neighbours on both sides.
    let two = pool("two", &["10.0.1.0/24", "9.255.0.0-9.255.255.255", "10.0.2.20/30", "fd00:0:0:1::/64"]);
    world.accepted(&two).await?;
    world.store(&two).await?;
    let entries = |list: &[&str]| json!({"spec": {"addresses": list}});
    let words = "10.0.0.128/25 overlaps 10.0.0.0/24 of IPAddressPool one";
    world.change_refused(&two, &entries(&["10.0.1.0/24", "10.0.0.128/25"]), words).await?;
    world.change(&two, entries(&["10.0.1.0/25"])).await?;

    // Long lists are left to the controller: comparing them would keep the API server busy.
    let long: Vec<String> = (0..97).map(|net| format!("10.10.{net}.0/24")).collect();
    let mut long: Vec<&str> = long.iter().map(String::as_str).collect();
    long[96] = "10.0.0.9/32";
    world.refused(&pool("long", &long), "10.0.0.9/32 overlaps 10.0.0.0/24").await?;
    long.push("10.11.0.0/24");
    world.accepted(&pool("long", &long)).await?;

    // What is excluded may change everything, so that is for the controller to say.
    let excluding = |list: &[&str]| json!({"spec": {"addresses": ["10.0.0.0/16"], "excludeAddresses": list}});
    world.change(&two, excluding(&["10.0.0.0/24", "10.0.2.0/24"])).await?;
    world.change_refused(&two, &excluding(&[]), "10.0.0.0/16 overlaps 10.0.0.0/24").await?;

    // A range goes from one to the other.
    world.change(&one, entries(&["fd00::/64"])).await?;
    wait("the range to be free", PATIENCE, async || world.change(&two, excluding(&[])).await)
        .await
        .map_err(text)?;
    world.delete(&one).await?;
    world.delete(&two).await
}

/// The policy compares by texts, core by numbers.
async fn overlaps_are_judged_as_core_sees_them(world: &World) -> Done {
    let entries = [
        "10.0.0.0/25",
        "10.0.1.77/31",
        "10.99.0.0/15",
        "172.16.0.9-172.16.1.3",
        "192.168.0.1/32",
        "99.0.0.0-100.0.0.0",
        "fd00::/61",
        "fd00:0:0:100::5 - fd00:0:0:100:ffff::1",
        "2001:db8::FF00/121",
        "::1:0:0-::1:0:ff",
        "8000::/3",
        "1:2:3:4:5:6:7:8/128",
    ];
    let stored: Vec<AddressRange> =
        entries.iter().map(|entry| entry.parse()).collect::<Result<_, _>>().map_err(text)?;
    let base = pool("base", &entries);
    world.store(&base).await?;
    world.refused(&pool("near", &["192.168.0.1/32"]), "overlaps 192.168.0.1/32").await?;
    let mut numbers = Numbers(0xbead);
    let (mut wrong, mut hits, tries) = (Vec::new(), 0, 300);
    for _ in 0..tries {
        let entry = near(stored[numbers.below(stored.len())], &mut numbers);
        let range: AddressRange = entry.parse().map_err(text)?;
        let met: Vec<_> = stored.iter().filter(|other| other.overlaps(&range)).collect();
        hits += usize::from(!met.is_empty());
        let verdict = world.create(&pool("near", &[&entry]), true).await;
        if verdict.is_ok() != met.is_empty() {
            wrong.push(format!("{entry} overlaps {met:?}, but the API server says {verdict:?}"));
        }
    }
    if hits < tries / 5 || hits > tries - tries / 5 {
        wrong.push(format!("{hits} of {tries} overlap: that tries little"));
    }
    world.delete(&base).await?;
    if wrong.is_empty() { Ok(()) } else { Err(wrong.join("\n")) }
}

/// An entry that begins or ends close to an end of `range`.
fn near(range: AddressRange, numbers: &mut Numbers) -> String {
    let end = if numbers.below(2) == 0 { range.first() } else { range.last() };
    let mut step = |address: IpAddr| {
        let (by, up) = (numbers.below(20) as u32, numbers.below(2) == 0);
        match address {
            IpAddr::V4(v4) => {
                let bits = v4.to_bits();
                let moved = if up { bits.saturating_add(by) } else { bits.saturating_sub(by) };
                IpAddr::V4(Ipv4Addr::from_bits(moved))
            }
            IpAddr::V6(v6) => {
                let bits = v6.to_bits();
                let moved = if up { bits.saturating_add(by.into()) } else { bits.saturating_sub(by.into()) };
                IpAddr::V6(Ipv6Addr::from_bits(moved))
            }
        }
    };
    let (one, other) = (step(end), step(end));
    if numbers.below(2) == 0 {
        return format!("{}-{}", one.min(other), one.max(other));
    }
    // Most prefixes are long: a short one overlaps whatever it is near to.
    let bits = if one.is_ipv4() { 32 } else { 128 };
    let shorter_by = if numbers.below(4) == 0 { bits } else { 8 };
    format!("{one}/{}", bits - numbers.below(shorter_by))
}

#[test]
fn the_api_server_refuses_what_cannot_be_used_and_nothing_else() {
    if !nix::unistd::geteuid().is_root() {
        left_out("the lab needs root");
        return;
    }
    let plane = Plane::anew(LAB, Path::new(env!("CARGO_BIN_EXE_lab"))).expect("a control plane");
    plane.apply_crds().expect("the definitions");
    let done: Done = block_on(async {
        let client = plane.lab.client().await.map_err(text)?;
        let world = World { plane, client };
        let old = Old::store(&world).await?;
        world.install().await?;
        old.can_be_edited_and_removed(&world).await?;
        manifests(&world).await?;
        requests_are_judged_as_the_controller_reads_them(&world).await?;
        overlaps(&world).await?;
        overlaps_are_judged_as_core_sees_them(&world).await?;
        // Gone and come back, it does the same: API servers have been seen to lose the parameters of a policy so.
        for _ in 0..2 {
            world.kustomize("delete")?;
            world.accepted(&service("bad", "10.0.0.300")).await?;
            world.accepted(&in_namespace(&pool("bad", &["10.8.0.0/24"]), "default")).await?;
            world.install().await?;
        }
        Ok(())
    });
    if let Err(error) = done {
        panic!("{error}");
    }
}
