//! What a host's own kernel knows of its neighbours, and whether it finds an address taken.

use std::io;
use std::net::{IpAddr, Ipv6Addr};
use std::process::Command;
use std::time::{Duration, Instant};

use serde::Deserialize;
use serde::de::DeserializeOwned;

use super::{Host, Mac};

/// How long duplicate address detection may take: one probe and a second of waiting, and a slow machine.
const DETECTION: Duration = Duration::from_secs(10);

/// An entry of a neighbour table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Neighbour {
    /// The link.
    pub link: String,
    /// The address.
    pub address: IpAddr,
    /// Where packets for it go; `None` while it is being looked for, or was not found.
    pub mac: Option<Mac>,
    /// The state in `ip neigh`'s words: `REACHABLE`, `STALE`, `DELAY`, `PROBE`, `FAILED`, `PERMANENT`, …
    pub state: String,
}

/// An address that a host has until this is dropped.
#[must_use]
pub struct Taken {
    host: Host,
    link: String,
    with_length: String,
}

impl Drop for Taken {
    fn drop(&mut self) {
        if let Err(error) = self.host.ip(&["addr", "del", &self.with_length, "dev", &self.link]) {
            eprintln!("this failed, so the next tests may fail too: {} is left: {error}", self.with_length);
        }
    }
}

impl Host {
    /// The neighbour tables of both families.
    ///
    /// # Errors
    /// When `ip` fails or says what is not understood.
    pub fn neighbours(&self) -> io::Result<Vec<Neighbour>> {
        #[derive(Deserialize)]
        struct Entry {
            dst: IpAddr,
            dev: String,
            lladdr: Option<String>,
            #[serde(default)]
            state: Vec<String>,
        }
        let entries: Vec<Entry> = self.ip_json(&["-j", "neigh", "show"])?;
        let neighbour = |entry: Entry| Neighbour {
            link: entry.dev,
            address: entry.dst,
            mac: entry.lladdr.and_then(|mac| mac.parse().ok()),
            state: entry.state.join(","),
        };
        Ok(entries.into_iter().map(neighbour).collect())
    }

    /// What it knows of `address` on `link`.
    ///
    /// # Errors
    /// See [`Host::neighbours`].
    pub fn neighbour(&self, link: &str, address: impl Into<IpAddr>) -> io::Result<Option<Neighbour>> {
        let address = address.into();
        Ok(self.neighbours()?.into_iter().find(|entry| entry.link == link && entry.address == address))
    }

    /// Sets an entry, or replaces one. `state` is one of `ip neigh`'s: `reachable`, `stale`, `permanent`, …
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn set_neighbour(
        &self,
        link: &str,
        address: impl Into<IpAddr>,
        mac: Mac,
        state: &str,
    ) -> io::Result<()> {
        let (address, mac) = (address.into().to_string(), mac.to_string());
        self.ip(&["neigh", "replace", &address, "lladdr", &mac, "dev", link, "nud", state]).map(|_| ())
    }

    /// Forgets what it learned of its neighbours, of both families and on all links, so that the next packet
    /// asks anew.
    ///
    /// # Errors
    /// When `ip` fails.
    pub fn forget_neighbours(&self) -> io::Result<()> {
        self.ip(&["-4", "neigh", "flush", "all"])?;
        self.ip(&["-6", "neigh", "flush", "all"]).map(|_| ())
    }

    /// Gives itself `address` on `link` as a new host would: whether its duplicate address detection (RFC 4862
    /// section 5.4) finds it taken. The address is removed again.
    ///
    /// # Errors
    /// When `ip` fails, or the detection does not end.
    pub fn finds_taken(&self, link: &str, address: Ipv6Addr) -> io::Result<bool> {
        let with_length = format!("{address}/64");
        self.ip(&["-6", "addr", "add", &with_length, "dev", link])?;
        let found = self.detection(link, address);
        self.ip(&["-6", "addr", "del", &with_length, "dev", link])?;
        found
    }

    /// Takes `address` on `link`, whoever else has it, until the result is dropped. The kernel answers for it.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn take(&self, link: &str, address: IpAddr) -> io::Result<Taken> {
        let (length, check) = if address.is_ipv4() { (32, None) } else { (128, Some("nodad")) };
        let with_length = format!("{address}/{length}");
        let arguments: Vec<&str> =
            ["addr", "add", &with_length, "dev", link].into_iter().chain(check).collect();
        self.ip(&arguments)?;
        Ok(Taken { host: self.clone(), link: link.to_owned(), with_length })
    }

    fn detection(&self, link: &str, address: Ipv6Addr) -> io::Result<bool> {
        #[derive(Deserialize)]
        struct Device {
            #[serde(default)]
            addr_info: Vec<Address>,
        }
        #[derive(Deserialize)]
        struct Address {
            local: Option<IpAddr>,
            #[serde(default)]
            tentative: bool,
            #[serde(default)]
            dadfailed: bool,
        }
        let deadline = Instant::now() + DETECTION;
        loop {
            let devices: Vec<Device> = self.ip_json(&["-j", "-6", "addr", "show", "dev", link])?;
            let mut addresses = devices.into_iter().flat_map(|device| device.addr_info);
            let found = addresses.find(|found| found.local == Some(address.into()));
            let found = found.ok_or_else(|| io::Error::other(format!("{address} is not on {link}")))?;
            if found.dadfailed || !found.tentative {
                return Ok(found.dadfailed);
            }
            if Instant::now() > deadline {
                return Err(io::Error::other(format!("{address} on {link} is still tentative")));
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn ip_json<T: DeserializeOwned>(&self, arguments: &[&str]) -> io::Result<T> {
        let said = self.ip(arguments)?;
        // Of an empty table some versions say nothing at all.
        let text = if said.trim().is_empty() { "[]" } else { said.as_str() };
        serde_json::from_str(text)
            .map_err(|error| io::Error::other(format!("ip {arguments:?}: {error}: {said}")))
    }

    /// Runs `ip` on this host.
    fn ip(&self, arguments: &[&str]) -> io::Result<String> {
        let arguments: Vec<String> = arguments.iter().map(|&argument| argument.to_owned()).collect();
        self.inside(move || {
            let output = Command::new("ip").args(&arguments).output()?;
            if output.status.success() {
                return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
            }
            let said = String::from_utf8_lossy(&output.stderr);
            Err(io::Error::other(format!("ip {}: {}: {}", arguments.join(" "), output.status, said.trim())))
        })
    }
}
