//! In IPVS mode kube-proxy puts every Service's address on a link of each node (`kube-ipvs0`), and Linux answers
//! ARP for any address it has, on any link. So every node would answer for every address, unless two settings
//! forbid it, which kube-proxy makes when its `ipvs.strictARP` is true. The speaker's own answers do not depend
//! on them.
//!
//! IPv6 needs nothing of the kind: the kernel answers neighbour solicitations only for addresses of the link that
//! they arrive on.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

/// Where the kernel shows the settings of the network namespace that looks.
pub const ROOT: &str = "/proc/sys/net/ipv4/conf";
/// The link that kube-proxy makes in IPVS mode, and only then.
const IPVS_LINK: &str = "kube-ipvs0";
/// How long without a change of the links before the settings are looked at again.
const EVERY: Duration = Duration::from_secs(60);

/// What the kernel does with ARP on a link: of each setting the greater of `conf/all` and `conf/LINK`
/// (Linux, Documentation/networking/ip-sysctl.rst).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ArpSettings {
    /// `arp_ignore`: for which addresses it answers.
    pub ignore: u32,
    /// `arp_announce`: which sender address it asks with.
    pub announce: u32,
}

impl ArpSettings {
    /// Whether the kernel keeps still about addresses of other links. Not all greater values do: 3 to 7, and
    /// those without a meaning, let it answer like 0, but for addresses of scope host.
    fn answers_for_its_own_only(self) -> bool {
        matches!(self.ignore, 1 | 2 | 8)
    }

    /// Whether the kernel never asks in the name of an address of another link, which would move it to this
    /// node in the caches of all who hear it. 1 is not enough where the address is of the link's subnet, and
    /// what is greater than 2 counts as 0.
    fn asks_by_its_own_only(self) -> bool {
        self.announce == 2
    }

    fn is_strict(self) -> bool {
        self.answers_for_its_own_only() && self.asks_by_its_own_only()
    }
}

/// kube-proxy is in IPVS mode, and on some links the kernel answers for addresses that another node answers for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The links, with what they have.
    pub links: BTreeMap<String, ArpSettings>,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "kube-proxy is in IPVS mode and lets this node's kernel answer ARP for the addresses of all Services, \
             also for those that another node answers for: "
        )?;
        for (index, (link, ArpSettings { ignore, announce })) in self.links.iter().enumerate() {
            let comma = if index == 0 { "" } else { ", " };
            write!(f, "{comma}{link} has arp_ignore {ignore} and arp_announce {announce}")?;
        }
        write!(
            f,
            "; set ipvs.strictARP to true in kube-proxy's configuration (kubectl -n kube-system edit configmap \
             kube-proxy) and restart its Pods, which sets net.ipv4.conf.all.arp_ignore to 1 and arp_announce to 2"
        )
    }
}

/// Whether the kernel answers for what is not this node's, on any of the links that are announced on. `settings`
/// has them by their names; without IPVS nothing is wrong whatever they are.
pub fn check(ipvs: bool, settings: &BTreeMap<String, ArpSettings>) -> Option<Problem> {
    let loose = settings.iter().filter(|(_, settings)| !settings.is_strict());
    let links: BTreeMap<_, _> = loose.map(|(link, settings)| (link.clone(), *settings)).collect();
    (ipvs && !links.is_empty()).then_some(Problem { links })
}

/// Why it is not known whether there is a problem.
#[derive(Debug, thiserror::Error)]
pub enum SettingsError {
    /// A file cannot be read.
    #[error("cannot read {}: {error}; mount /proc in the speaker's container, readable", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system says.
        error: io::Error,
    },
    /// A file has something else than a number in it.
    #[error("{} has {text:?} in it, where a number is expected; {ROOT} must be the kernel's", .path.display())]
    NoNumber {
        /// The file.
        path: PathBuf,
        /// What is in it.
        text: String,
    },
}

/// Reads the settings of `links` below `root` ([`ROOT`], except in tests) and checks them. A link that is not there,
/// or goes at this moment, is passed over.
///
/// # Errors
/// When kube-proxy is in IPVS mode and a setting cannot be read.
pub fn look<'a>(
    root: &Path,
    links: impl IntoIterator<Item = &'a str>,
) -> Result<Option<Problem>, SettingsError> {
    // Every link of the namespace has a folder here.
    if !root.join(IPVS_LINK).exists() {
        return Ok(None);
    }
    let all = settings(&root.join("all"))?;
    let mut effective = BTreeMap::new();
    for link in links {
        let own = match settings(&root.join(link)) {
            Err(SettingsError::Read { error, .. }) if is_gone(&error) => continue,
            own => own?,
        };
        let greater =
            ArpSettings { ignore: all.ignore.max(own.ignore), announce: all.announce.max(own.announce) };
        effective.insert(link.to_owned(), greater);
    }
    Ok(check(true, &effective))
}

/// A file that is open while its link goes gives ENODEV instead.
fn is_gone(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(libc::ENODEV)
}

fn settings(folder: &Path) -> Result<ArpSettings, SettingsError> {
    let number = |name| {
        let path = folder.join(name);
        let text = match std::fs::read_to_string(&path) {
            Ok(text) => text,
            Err(error) => return Err(SettingsError::Read { path, error }),
        };
        text.trim().parse().map_err(|_| SettingsError::NoNumber { path, text })
    };
    Ok(ArpSettings { ignore: number("arp_ignore")?, announce: number("arp_announce")? })
}

/// Looks again on every change of `links`, and each minute, and publishes each change, until `shutdown`. `names` gives
/// the names of those that are announced on. The log has a line for each change.
pub async fn follow<T>(
    root: PathBuf,
    mut links: watch::Receiver<T>,
    names: impl Fn(&T) -> BTreeSet<String>,
    problem: watch::Sender<Option<Problem>>,
    shutdown: CancellationToken,
) {
    let mut unreadable = false;
    while !shutdown.is_cancelled() {
        let names = names(&links.borrow_and_update());
        match look(&root, names.iter().map(String::as_str)) {
            Ok(found) => {
                unreadable = false;
                publish(found, &problem);
            }
            Err(error) => {
                // What was found last stands.
                if !std::mem::replace(&mut unreadable, true) {
                    tracing::warn!("whether kube-proxy has strictARP is not known: {error}");
                }
            }
        }
        let changed = async {
            if links.changed().await.is_err() {
                // Whoever knew the links has ended, as this will.
                std::future::pending::<()>().await;
            }
        };
        let _ = shutdown.run_until_cancelled(tokio::time::timeout(EVERY, changed)).await;
    }
}

fn publish(found: Option<Problem>, problem: &watch::Sender<Option<Problem>>) {
    problem.send_if_modified(|before| {
        let changed = *before != found;
        if changed {
            match &found {
                Some(problem) => tracing::warn!("{problem}"),
                None => tracing::info!("the kernel no longer answers ARP for what another node answers for"),
            }
            *before = found;
        }
        changed
    });
}

#[cfg(test)]
mod tests;
