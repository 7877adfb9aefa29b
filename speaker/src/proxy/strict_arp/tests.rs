//! On folders that look like the kernel's, and on the kernel's own.

use std::fs;

use tempfile::TempDir;

use super::*;

const STRICT: ArpSettings = ArpSettings { ignore: 1, announce: 2 };
const LOOSE: ArpSettings = ArpSettings { ignore: 0, announce: 0 };

fn named(links: &[(&str, ArpSettings)]) -> BTreeMap<String, ArpSettings> {
    links.iter().map(|(link, settings)| ((*link).to_owned(), *settings)).collect()
}

/// A folder like [`ROOT`].
fn folder(links: &[(&str, ArpSettings)]) -> TempDir {
    let root = tempfile::tempdir().unwrap();
    for (link, settings) in links {
        set(root.path(), link, *settings);
    }
    root
}

fn set(root: &Path, link: &str, settings: ArpSettings) {
    fs::create_dir_all(root.join(link)).unwrap();
    fs::write(root.join(link).join("arp_ignore"), format!("{}\n", settings.ignore)).unwrap();
    fs::write(root.join(link).join("arp_announce"), format!("{}\n", settings.announce)).unwrap();
}

#[test]
fn the_values_that_hold_the_kernel_back_are_these() {
    // Tried on Linux 6.18, with an address on another link than the one that was asked on: it answered at
    // arp_ignore 0, 3, 4 and 9, and asked in that address's name at arp_announce 0, 3 and 4.
    for ignore in 0..10 {
        for announce in 0..5 {
            let settings = named(&[("eth0", ArpSettings { ignore, announce })]);
            let strict = [1, 2, 8].contains(&ignore) && announce == 2;
            assert_eq!(check(true, &settings).is_none(), strict, "{settings:?}");
            assert_eq!(check(false, &settings), None, "{settings:?}");
        }
    }
}

#[test]
fn the_problem_names_each_loose_link_and_what_to_change() {
    let settings =
        named(&[("eth2", ArpSettings { ignore: 1, announce: 0 }), ("eth1", STRICT), ("eth0", LOOSE)]);
    let problem = check(true, &settings).unwrap();
    assert_eq!(problem.links.keys().collect::<Vec<_>>(), ["eth0", "eth2"]);
    let words = problem.to_string();
    for part in [
        "eth0 has arp_ignore 0 and arp_announce 0, eth2 has arp_ignore 1 and arp_announce 0;",
        "ipvs.strictARP to true",
        "configmap kube-proxy",
        "restart",
    ] {
        assert!(words.contains(part), "{part:?} is not in {words:?}");
    }
    assert!(!words.contains("eth1"), "{words}");
    assert_eq!(check(true, &BTreeMap::new()), None, "nothing is announced anywhere");
}

#[test]
fn the_greater_of_all_and_the_link_counts() {
    let all = |settings| folder(&[(IPVS_LINK, LOOSE), ("all", settings), ("eth0", LOOSE), ("eth1", STRICT)]);
    let look_at = |root: &TempDir, links: &[&str]| look(root.path(), links.iter().copied()).unwrap();

    let loose = all(LOOSE);
    assert_eq!(look_at(&loose, &["eth0", "eth1"]), Some(Problem { links: named(&[("eth0", LOOSE)]) }));
    assert_eq!(look_at(&loose, &["eth1"]), None, "eth0 is not announced on");
    assert_eq!(look_at(&all(STRICT), &["eth0", "eth1"]), None);
    let half = all(ArpSettings { ignore: 1, announce: 0 });
    let expected = ArpSettings { ignore: 1, announce: 0 };
    assert_eq!(look_at(&half, &["eth0"]), Some(Problem { links: named(&[("eth0", expected)]) }));
    let too_much = all(ArpSettings { ignore: 3, announce: 2 });
    let expected = ArpSettings { ignore: 3, announce: 2 };
    assert_eq!(look_at(&too_much, &["eth1"]), Some(Problem { links: named(&[("eth1", expected)]) }));
}

#[test]
fn without_ipvs_nothing_is_read() {
    let root = folder(&[]);
    assert_eq!(look(root.path(), ["eth0"]).unwrap(), None);
}

#[test]
fn a_link_that_is_gone_is_passed_over() {
    let root = folder(&[(IPVS_LINK, LOOSE), ("all", LOOSE), ("eth0", LOOSE)]);
    let problem = look(root.path(), ["eth0", "eth7"]).unwrap().unwrap();
    assert_eq!(problem.links, named(&[("eth0", LOOSE)]));
}

#[test]
fn what_cannot_be_read_is_said() {
    let root = folder(&[(IPVS_LINK, LOOSE), ("eth0", LOOSE)]);
    let error = look(root.path(), ["eth0"]).unwrap_err().to_string();
    assert!(error.contains("all/arp_ignore") && error.contains("mount /proc"), "{error}");
    set(root.path(), "all", STRICT);
    fs::write(root.path().join("eth0/arp_announce"), "often\n").unwrap();
    let error = look(root.path(), ["eth0"]).unwrap_err().to_string();
    assert!(error.contains("eth0/arp_announce") && error.contains("often"), "{error}");
}

#[test]
fn the_kernels_own_files_are_read() {
    for link in ["all", "lo"] {
        settings(&Path::new(ROOT).join(link)).unwrap();
    }
}

async fn until(
    problem: &mut watch::Receiver<Option<Problem>>,
    what: &str,
    is: impl Fn(&Option<Problem>) -> bool,
) {
    let waiting = problem.wait_for(|now| is(now));
    let waiting = tokio::time::timeout(Duration::from_secs(600), waiting);
    let in_time = waiting.await.map(|found| drop(found.expect("the follower runs on")));
    assert!(in_time.is_ok(), "{what}: {:?}", *problem.borrow());
}

/// By tokio's clock, which jumps to the next deadline while nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn it_is_looked_again_each_minute_and_on_each_change_of_the_links() {
    let root = folder(&[(IPVS_LINK, LOOSE), ("all", LOOSE), ("eth0", LOOSE), ("eth1", LOOSE)]);
    let names = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<BTreeSet<_>>();
    let (links, known) = watch::channel(names(&["eth0"]));
    let (sender, mut problem) = watch::channel(None);
    let shutdown = CancellationToken::new();
    let path = root.path().to_owned();
    let following = tokio::spawn(follow(path, known, BTreeSet::clone, sender, shutdown.clone()));
    let found = |links: &[&str]| {
        let links: Vec<_> = links.iter().map(|link| (*link, LOOSE)).collect();
        Some(Problem { links: named(&links) })
    };

    let start = tokio::time::Instant::now();
    until(&mut problem, "at once", |now| *now == found(&["eth0"])).await;
    links.send_replace(names(&["eth0", "eth1"]));
    until(&mut problem, "on a change", |now| *now == found(&["eth0", "eth1"])).await;
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());

    // What cannot be read changes nothing, however often it is tried.
    fs::write(root.path().join("all/arp_ignore"), "").unwrap();
    tokio::time::sleep(3 * EVERY).await;
    assert_eq!(*problem.borrow(), found(&["eth0", "eth1"]));

    let start = tokio::time::Instant::now();
    set(root.path(), "all", STRICT);
    until(&mut problem, "after a minute", Option::is_none).await;
    assert!(start.elapsed() <= EVERY + Duration::from_secs(1), "{:?}", start.elapsed());

    // Without those who know the links it goes on by the minute, and not faster.
    let start = tokio::time::Instant::now();
    drop(links);
    set(root.path(), "all", LOOSE);
    until(&mut problem, "alone", |now| *now == found(&["eth0", "eth1"])).await;
    assert!(start.elapsed() >= EVERY - Duration::from_secs(1), "{:?}", start.elapsed());
    shutdown.cancel();
    following.await.unwrap();
}
