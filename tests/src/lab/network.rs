//! The lab's networks: namespaces, bridges, links and addresses.

use std::io::Write;
use std::process::{Command, Stdio};

use super::{Config, LabError, Paths};

/// The hosts that ask for addresses and that every lab has.
pub const CLIENTS: [&str; 2] = ["client1", "client2"];

/// The most of such hosts that a lab can have.
pub const MAX_CLIENTS: u8 = 20;

/// The names of so many of them.
pub fn clients(count: u8) -> impl Iterator<Item = String> {
    (1..=count).map(|number| format!("client{number}"))
}

/// The address of the control plane on the LAN and on the management network.
pub const CONTROL_PLANE_LAN: &str = "10.10.0.10";
/// See [`CONTROL_PLANE_LAN`].
pub const CONTROL_PLANE_MGMT: &str = "10.20.0.10";

/// The address of a DNS server for pods, if a test installs one.
pub const CLUSTER_DNS: &str = "10.96.0.10";

/// The most segments on which addresses can be announced.
pub const MAX_SEGMENTS: u8 = 3;

/// The networks, each of which is a bridge of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, clap::ValueEnum)]
pub enum Network {
    /// Where clients are and addresses are announced: 10.10.0.0/24, fd10::/64.
    Lan,
    /// The second segment, if the lab has one: 10.11.0.0/24, fd11::/64.
    Lan2,
    /// The third: 10.12.0.0/24, fd12::/64.
    Lan3,
    /// Where the API is reached: 10.20.0.0/24.
    Mgmt,
}

impl Network {
    /// The segments, in the order in which a lab gets them.
    pub const SEGMENTS: [Network; MAX_SEGMENTS as usize] = [Network::Lan, Network::Lan2, Network::Lan3];

    /// Its bridge in the namespace `sw`.
    pub fn bridge(self) -> &'static str {
        match self {
            Network::Lan => "lan",
            Network::Lan2 => "lan2",
            Network::Lan3 => "lan3",
            Network::Mgmt => "mgmt",
        }
    }

    /// What nodes and clients call their link in this network.
    pub fn link(self) -> &'static str {
        match self {
            Network::Lan => "eth0",
            Network::Lan2 => "eth1",
            Network::Lan3 => "eth2",
            Network::Mgmt => "mgmt0",
        }
    }

    /// The name of the port of `host` at the bridge of this network.
    pub fn port(self, host: &str) -> String {
        format!("{host}-{}", self.bridge())
    }

    /// The addresses of the host with this number.
    fn addresses(self, number: u32) -> Vec<String> {
        match self {
            Network::Lan => vec![format!("10.10.0.{number}/24"), format!("fd10::{number}/64")],
            Network::Lan2 => vec![format!("10.11.0.{number}/24"), format!("fd11::{number}/64")],
            Network::Lan3 => vec![format!("10.12.0.{number}/24"), format!("fd12::{number}/64")],
            Network::Mgmt => vec![format!("10.20.0.{number}/24")],
        }
    }
}

/// A host's link: in which network, its name in the host, its addresses.
fn links(config: &Config, host: &str) -> Vec<(Network, &'static str, Vec<String>)> {
    let link = |network: Network, number| (network, network.link(), network.addresses(number));
    let number = |prefix: &str| host.strip_prefix(prefix).and_then(|n| n.parse::<u32>().ok());
    if host == "cp" {
        let mut links = vec![(Network::Lan, "lan", Network::Lan.addresses(10))];
        if !config.one_nic {
            links.push((Network::Mgmt, "mgmt", Network::Mgmt.addresses(10)));
        }
        links
    } else if let Some(n) = number("node") {
        config.networks().into_iter().map(|network| link(network, 10 + n)).collect()
    } else if let Some(n) = number("client") {
        config.segments().map(|network| link(network, 100 + n)).collect()
    } else {
        vec![]
    }
}

/// The addresses of a node for the kubelet's `--node-ip`.
pub fn node_addresses(number: u8) -> String {
    format!("10.10.0.{0},fd10::{0}", 10 + u32::from(number))
}

/// The address at which the API server is reached inside the lab.
pub fn api_server(config: &Config) -> &'static str {
    if config.one_nic { CONTROL_PLANE_LAN } else { CONTROL_PLANE_MGMT }
}

/// Makes all namespaces and connects them.
///
/// # Errors
/// When `ip` refuses something; its words are in the error.
pub fn make(config: &Config, paths: &Paths) -> Result<(), LabError> {
    let names = config.hosts().into_iter().map(|host| format!("netns add {}\n", paths.netns_name(&host)));
    ip(None, &names.collect::<String>())?;

    let switch = paths.netns_name("sw");
    let mut script = String::from("link set lo up\n");
    for network in config.segments().chain([Network::Mgmt]) {
        script +=
            &format!("link add name {0} type bridge mcast_snooping 0\nlink set {0} up\n", network.bridge());
    }
    for host in config.hosts() {
        for (network, name, _) in links(config, &host) {
            let port = network.port(&host);
            let netns = paths.netns_name(&host);
            script += &format!("link add name {port} type veth peer name {name} netns {netns}\n");
            script += &format!("link set {port} master {} up\n", network.bridge());
        }
    }
    ip(Some(&switch), &script)?;

    for host in config.hosts().iter().filter(|host| *host != "sw") {
        let mut script = String::from("link set lo up\n");
        for (_, name, addresses) in links(config, host) {
            for address in addresses {
                // nodad: the addresses are unique by construction, and to wait for the check costs a second.
                let nodad = if address.contains(':') { " nodad" } else { "" };
                script += &format!("addr add {address} dev {name}{nodad}\n");
            }
            script += &format!("link set {name} up\n");
        }
        if host.starts_with("node") {
            // Any gateway will do: without a default route a host-network pod cannot reach the address
            // of the API's Service, as the route is looked up before kube-proxy rewrites it.
            script +=
                "route add default via 10.10.0.101 dev eth0\n-6 route add default via fd10::101 dev eth0\n";
        }
        let script = script.replace("-6 route", "route");
        ip(Some(&paths.netns_name(host)), &script)?;
    }
    for node in config.node_names() {
        forwarding(paths, &node)?;
    }
    Ok(())
}

/// Nodes forward packets of pods; bridged packets of pods pass kube-proxy's rules.
fn forwarding(paths: &Paths, node: &str) -> Result<(), LabError> {
    let script = "echo 1 > /proc/sys/net/ipv4/ip_forward; echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; \
                  f=/proc/sys/net/bridge/bridge-nf-call; for v in iptables ip6tables; do \
                  [ ! -e $f-$v ] || echo 1 > $f-$v; done";
    super::process::run(super::process::in_netns(&paths.netns(node), "sh").args(["-c", script])).map(|_| ())
}

/// Routes the pods of `node` from everywhere else in the lab.
///
/// # Errors
/// When `ip` refuses a route.
pub fn route_pods(config: &Config, paths: &Paths, node: &str, ranges: &[String]) -> Result<(), LabError> {
    let number: u32 = node.trim_start_matches("node").parse().unwrap_or_default();
    let mut others = config.node_names();
    others.push("cp".to_owned());
    for host in others.iter().filter(|host| *host != node) {
        let routes = ranges.iter().map(|range| {
            let via = if range.contains(':') {
                format!("fd10::{}", 10 + number)
            } else {
                format!("10.10.0.{}", 10 + number)
            };
            format!("route replace {range} via {via}\n")
        });
        ip(Some(&paths.netns_name(host)), &routes.collect::<String>())?;
    }
    Ok(())
}

/// Plugs the cable of `host` out of the switch, or in again.
///
/// # Errors
/// When there is no such port.
pub fn set_port(paths: &Paths, host: &str, network: Network, up: bool) -> Result<(), LabError> {
    set_ports(paths, host, &[network], up)
}

/// The same of several networks, as near to the same moment as can be.
///
/// # Errors
/// When there is no such port.
pub fn set_ports(paths: &Paths, host: &str, networks: &[Network], up: bool) -> Result<(), LabError> {
    let state = if up { "up" } else { "down" };
    let lines = networks.iter().map(|network| format!("link set {} {state}\n", network.port(host)));
    ip(Some(&paths.netns_name("sw")), &lines.collect::<String>())
}

/// Takes a client down and up again as a restart does: its link goes, with all that its kernel knew of its neighbours,
/// and comes back with the same addresses.
///
/// # Errors
/// When `ip` refuses.
pub fn set_client(paths: &Paths, client: &str, network: Network, up: bool) -> Result<(), LabError> {
    let (link, state) = (network.link(), if up { "up" } else { "down" });
    if !up {
        let keep = format!("echo 1 > /proc/sys/net/ipv6/conf/{link}/keep_addr_on_down");
        super::process::run(super::process::in_netns(&paths.netns(client), "sh").args(["-c", &keep]))?;
    }
    ip(Some(&paths.netns_name(client)), &format!("link set {link} {state}\nneigh flush dev {link}\n"))
}

/// Runs a batch of `ip` commands in a namespace.
fn ip(netns: Option<&str>, script: &str) -> Result<(), LabError> {
    let mut command = Command::new("ip");
    if let Some(netns) = netns {
        // -n enters the network namespace only; `ip netns exec` would also mount another /sys.
        command.args(["-n", netns]);
    }
    let failed = |why: String| LabError::program("ip", why);
    let mut child = command
        .args(["-batch", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut input) = child.stdin.take() {
        input.write_all(script.as_bytes()).map_err(|error| failed(error.to_string()))?;
    }
    let output = child.wait_with_output().map_err(|error| failed(error.to_string()))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.split("Command failed -:").nth(1).and_then(|n| n.trim().parse::<usize>().ok());
    let which = line.and_then(|n| script.lines().nth(n - 1)).unwrap_or_default();
    Err(failed(format!("{} ({which:?} in {})", said.trim(), netns.unwrap_or("this namespace"))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_of_a_link_fits() {
        let config =
            Config { segments: 3, clients: MAX_CLIENTS, ..Config::new("averylongnam").unwrap().nodes(9) };
        for host in config.hosts() {
            for (network, name, _) in links(&config, &host) {
                assert!(network.port(&host).len() <= 15 && name.len() <= 15);
            }
        }
    }

    #[test]
    fn one_nic_means_one_link() {
        let config = Config { one_nic: true, ..Config::new("a").unwrap() };
        assert_eq!(links(&config, "node1").len(), 1);
        assert_eq!(api_server(&config), CONTROL_PLANE_LAN);
        assert_eq!(links(&Config { one_nic: false, ..config }, "node1").len(), 2);
    }

    #[test]
    fn each_segment_is_a_link_of_nodes_and_clients_by_the_same_name() {
        let config = Config { segments: 3, ..Config::new("a").unwrap() };
        let names = |host| links(&config, host).into_iter().map(|(_, name, _)| name).collect::<Vec<_>>();
        assert_eq!(names("node2"), ["eth0", "eth1", "eth2", "mgmt0"]);
        assert_eq!(names("client1"), ["eth0", "eth1", "eth2"]);
        assert_eq!(names("cp"), ["lan", "mgmt"], "the control plane is on the first alone");
        assert_eq!(links(&config, "node2")[1].2, ["10.11.0.12/24", "fd11::12/64"]);
        assert_eq!(links(&config, "client1")[2].2, ["10.12.0.101/24", "fd12::101/64"]);
        let one = Config { segments: 1, ..config };
        assert_eq!(links(&one, "client1").len(), 1);
    }
}
