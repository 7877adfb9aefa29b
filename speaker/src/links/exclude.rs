//! Interfaces that are never announced on.

use std::fmt;
use std::str::FromStr;

use regex_lite::Regex;

/// Interfaces of containers and of network plugins, which lead to no neighbour outside the node. Each
/// pattern is anchored, so `lo` does not exclude `lonely`, nor `docker.*` a link `mydocker0`.
pub const DEFAULT: &str = "^docker.* ^cbr.* ^dummy.* ^virbr.* ^lxcbr.* ^veth.* ^lo$ ^cali.* ^tunl.* \
                           ^flannel.* ^kube-ipvs.* ^cni.* ^nodelocaldns.* ^lxc.*";

/// Patterns of interface names, separated by blanks in their text form.
#[derive(Clone, Debug)]
pub struct Excluded {
    text: String,
    patterns: Vec<Regex>,
}

/// A pattern cannot be read.
#[derive(Debug, thiserror::Error)]
#[error(
    "{pattern:?} is no regular expression: {source}; write patterns separated by blanks, such as \"^lo$ ^veth.*\""
)]
pub struct ExcludedError {
    pattern: String,
    source: regex_lite::Error,
}

impl Excluded {
    /// Whether a link of this name is left out.
    pub fn contains(&self, name: &str) -> bool {
        self.patterns.iter().any(|pattern| pattern.is_match(name))
    }
}

impl FromStr for Excluded {
    type Err = ExcludedError;

    fn from_str(text: &str) -> Result<Self, ExcludedError> {
        let compile = |pattern: &str| {
            Regex::new(pattern).map_err(|source| ExcludedError { pattern: pattern.to_owned(), source })
        };
        let patterns = text.split_whitespace().map(compile).collect::<Result<_, _>>()?;
        Ok(Excluded { text: text.to_owned(), patterns })
    }
}

impl fmt::Display for Excluded {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_leaves_out_containers_and_plugins_only() {
        let excluded: Excluded = DEFAULT.parse().unwrap();
        for name in ["lo", "docker0", "veth12ab", "cali0", "cni0", "flannel.1", "lxc0", "tunl0", "dummy0"] {
            assert!(excluded.contains(name), "{name}");
        }
        for name in ["eth0", "enp3s0", "lan", "lonely", "mydocker0", "br0", "bond0", "wlan0", "eth0.7"] {
            assert!(!excluded.contains(name), "{name}");
        }
    }

    #[test]
    fn it_can_be_changed_and_mistakes_are_named() {
        let excluded: Excluded = " ^wan$   ^test[0-9]{1,2}$ ".parse().unwrap();
        assert!(excluded.contains("wan") && excluded.contains("test12") && !excluded.contains("lo"));
        assert!(!"".parse::<Excluded>().unwrap().contains("lo"));
        let error = "^ok$ ^(".parse::<Excluded>().unwrap_err().to_string();
        assert!(error.contains("\"^(\"") && error.contains("separated by blanks"), "{error}");
    }
}
