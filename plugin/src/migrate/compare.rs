//! What is different between two snapshots.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Display;

use super::snapshot::{Shown, Snapshot};

/// One difference of one Service.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Difference {
    /// It was not there, or was no load balancer.
    New,
    /// It is not there any more, or is no load balancer.
    Gone,
    /// It has other addresses.
    Addresses,
    /// Others answer for them.
    Owners,
}

/// All differences, by Service.
pub fn differences<'a>(before: &'a Snapshot, now: &'a Snapshot) -> BTreeMap<&'a str, Vec<Difference>> {
    let names: BTreeSet<&String> = before.services.keys().chain(now.services.keys()).collect();
    let of = |name: &String| match (before.services.get(name), now.services.get(name)) {
        (None, _) => vec![Difference::New],
        (_, None) => vec![Difference::Gone],
        (Some(before), Some(now)) => {
            let addresses = (before.addresses != now.addresses).then_some(Difference::Addresses);
            let owners = (before.owners != now.owners).then_some(Difference::Owners);
            addresses.into_iter().chain(owners).collect()
        }
    };
    let all = names.into_iter().map(|name| (name.as_str(), of(name)));
    all.filter(|(_, differences)| !differences.is_empty()).collect()
}

/// A line for each, and one for all.
pub(crate) fn text(
    before: &Snapshot,
    now: &Snapshot,
    differences: &BTreeMap<&str, Vec<Difference>>,
) -> String {
    let mut text = String::new();
    for note in before.notes.iter().chain(now.notes.iter().filter(|note| !before.notes.contains(note))) {
        text += &format!("note: {note}\n");
    }
    let (nobody, mut count) = (Shown::default(), 0);
    for (name, differences) in differences {
        let was = before.services.get(*name).unwrap_or(&nobody);
        let is = now.services.get(*name).unwrap_or(&nobody);
        for difference in differences {
            count += 1;
            text += &match difference {
                Difference::New => format!("{name}: is new, with {}\n", listed(&is.addresses)),
                Difference::Gone => format!("{name}: is gone; it had {}\n", listed(&was.addresses)),
                Difference::Addresses => {
                    format!(
                        "{name}: addresses: had {}, has {}\n",
                        listed(&was.addresses),
                        listed(&is.addresses)
                    )
                }
                Difference::Owners => {
                    format!("{name}: owner: was {}, is {}\n", listed(&was.owners), listed(&is.owners))
                }
            };
        }
    }
    let (taken, services) = (before.taken.0.strftime("%Y-%m-%d %H:%M:%S UTC"), now.services.len());
    text + &match count {
        0 => format!("no difference since {taken}: {services} Services, {} addresses\n", now.addresses()),
        1 => format!("1 difference since {taken}\n"),
        _ => format!("{count} differences since {taken}\n"),
    }
}

fn listed<T: Display>(all: &BTreeSet<T>) -> String {
    match all.is_empty() {
        true => "none".to_owned(),
        false => all.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::{Value, json};

    fn snapshot(services: Value) -> Snapshot {
        let taken = "2026-01-02T03:04:05Z";
        serde_json::from_value(json!({"format": "ferrolb-migrate/1", "taken": taken, "services": services}))
            .unwrap()
    }

    fn said(before: &Snapshot, now: &Snapshot) -> String {
        text(before, now, &differences(before, now))
    }

    #[test]
    fn the_same_is_no_difference_in_whatever_order() {
        let before = snapshot(json!({
            "shop/web": {"addresses": ["fd00::1", "10.0.0.1"], "owners": ["n1"]},
            "shop/waits": {"addresses": [], "owners": []},
        }));
        let now = snapshot(json!({
            "shop/waits": {"addresses": [], "owners": []},
            "shop/web": {"addresses": ["10.0.0.1", "fd00::1"], "owners": ["n1"]},
        }));
        let expected = "no difference since 2026-01-02 03:04:05 UTC: 2 Services, 2 addresses\n";
        assert_eq!(said(&before, &now), expected);
        assert!(differences(&before, &now).is_empty());
    }

    #[test]
    fn each_difference_is_one_line() {
        let before = snapshot(json!({
            "shop/gone": {"addresses": ["10.0.0.9"], "owners": ["n1"]},
            "shop/lost": {"addresses": ["10.0.0.3"], "owners": ["n1"]},
            "shop/moved": {"addresses": ["10.0.0.1"], "owners": ["n1"]},
            "shop/same": {"addresses": ["10.0.0.2"], "owners": ["n2"]},
            "shop/waited": {"addresses": [], "owners": []},
        }));
        let now = snapshot(json!({
            "shop/lost": {"addresses": [], "owners": []},
            "shop/moved": {"addresses": ["10.0.0.7", "10.0.0.8"], "owners": ["n1", "n2"]},
            "shop/new": {"addresses": ["10.0.0.9"], "owners": ["n3"]},
            "shop/same": {"addresses": ["10.0.0.2"], "owners": ["n2"]},
            "shop/waited": {"addresses": ["10.0.0.3"], "owners": ["n1"]},
        }));
        let expected = "\
shop/gone: is gone; it had 10.0.0.9
shop/lost: addresses: had 10.0.0.3, has none
shop/lost: owner: was n1, is none
shop/moved: addresses: had 10.0.0.1, has 10.0.0.7, 10.0.0.8
shop/moved: owner: was n1, is n1, n2
shop/new: is new, with 10.0.0.9
shop/waited: addresses: had none, has 10.0.0.3
shop/waited: owner: was none, is n1
8 differences since 2026-01-02 03:04:05 UTC
";
        assert_eq!(said(&before, &now), expected);
    }

    #[test]
    fn a_file_is_read_as_it_was_written_and_never_written_over() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("before.json");
        let before = snapshot(json!({"shop/web": {"addresses": ["10.0.0.1"], "owners": ["n1"]}}));
        before.save(&file).unwrap();
        assert_eq!(Snapshot::load(&file).unwrap(), before);
        let refused = before.save(&file).unwrap_err().to_string();
        assert!(
            refused.ends_with("is there already, and is not written over; name another one"),
            "{refused}"
        );

        std::fs::write(&file, "{}").unwrap();
        let refused = Snapshot::load(&file).unwrap_err().to_string();
        assert!(refused.contains("is no file of migrate plan --save"), "{refused}");
        let later = json!({"format": "ferrolb-migrate/9", "taken": "2026-01-02T03:04:05Z", "services": {}});
        std::fs::write(&file, later.to_string()).unwrap();
        let refused = Snapshot::load(&file).unwrap_err().to_string();
        assert!(
            refused
                .ends_with("is of the form \"ferrolb-migrate/9\"; this program reads \"ferrolb-migrate/1\""),
            "{refused}"
        );
    }
}
