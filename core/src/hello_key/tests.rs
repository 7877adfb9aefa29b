use proptest::prelude::*;

use super::*;

fn bytes(first: u8) -> [u8; KEY_LEN] {
    std::array::from_fn(|at| first.wrapping_add(u8::try_from(at).unwrap()))
}

fn key(first: u8) -> Key {
    Key::new(bytes(first))
}

fn read(entries: &[(&str, &[u8])]) -> (Keys, Vec<EntryProblem>) {
    Keys::read(entries.iter().copied())
}

fn problem(entry: &str, why: KeyProblem) -> EntryProblem {
    EntryProblem { entry: entry.to_owned(), why }
}

#[test]
fn the_tag_is_that_of_rfc_4231() {
    // Test case 2 has a key of 4 bytes, "Jefe"; HMAC fills any key up with zeroes.
    let mut jefe = [0; KEY_LEN];
    jefe[..4].copy_from_slice(b"Jefe");
    let tag = Key::new(jefe).tag(b"what do ya want for nothing?");
    let hex: String = tag.iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hex, "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843");
    assert!(Key::new(jefe).verifies(b"what do ya want for nothing?", &tag));
    assert!(!Key::new(jefe).verifies(b"what do ya want for nothing!", &tag));
    for cut in [0, 16, 31] {
        assert!(!Key::new(jefe).verifies(b"what do ya want for nothing?", &tag[..cut]), "{cut} bytes");
    }
}

#[test]
fn nothing_shows_the_key() {
    let keys = Keys::new(key(100), [key(7)]).unwrap();
    let shown = format!("{:?} {:#?} {keys:?} {:?}", key(100), key(100), keys.signing([]));
    assert!(shown.contains(&key(100).id().to_string()), "{shown}");
    for telling in ["100, 101", "0x64", "6465", "[100", "bytes", "prepared"] {
        assert!(!shown.contains(telling), "{telling:?} in {shown}");
    }
}

#[test]
fn four_keys_are_held_and_no_key_twice() {
    let keys = Keys::new(key(1), [key(2), key(1), key(3), key(4), key(2)]).unwrap();
    assert_eq!((keys.len(), keys.current()), (4, Some(&key(1))));
    assert!(keys.ids().is_sorted());
    assert_eq!(Keys::new(key(1), [2, 3, 4, 5].map(key)), Err(KeyProblem::TooMany));
    assert!(Keys::default().is_empty());
    assert_eq!(Keys::default().signing([]), None);
}

#[test]
fn the_entries_of_a_secret_are_read() {
    let (one, two) = (bytes(1), bytes(2));
    let a = ("a.key", one.as_slice());
    let b = ("b.key", two.as_slice());
    let both = Keys::new(key(1), [key(2)]).unwrap();
    assert_eq!(read(&[]), (Keys::default(), vec![]));
    assert_eq!(read(&[b, a]), (both.clone(), vec![]), "the first by name is the current one");
    assert_eq!(read(&[a, b, ("current", b"a.key")]), (both.clone(), vec![]));
    let (keys, problems) = read(&[a, b, ("current", b" b.key\n")]);
    assert_eq!((keys.current(), keys.len(), problems), (Some(&key(2)), 2, vec![]));
    // What is not ours is not looked at, and a key under two names is one.
    let (keys, problems) = read(&[a, ("z.key", &one), ("readme", b"?"), ("key", b"?"), ("a.key.bak", b"?")]);
    assert_eq!((keys, problems), (Keys::new(key(1), []).unwrap(), vec![]));
}

#[test]
fn a_bad_entry_hurts_no_other() {
    let (one, two) = (bytes(1), bytes(2));
    let good = [("a.key", one.as_slice()), ("b.key", two.as_slice())];
    let both = Keys::new(key(1), [key(2)]).unwrap();
    let none = |name: &str| KeyProblem::NoSuchKey(name.to_owned());
    let cases: [(&str, &[u8], KeyProblem); 8] = [
        ("0.key", b"", KeyProblem::Length(0)),
        ("0.key", &[1; 31], KeyProblem::Length(31)),
        // As `kubectl create secret --from-literal` of base64 makes it.
        ("0.key", &[b'A'; 44], KeyProblem::Length(44)),
        ("0.key", &[0; 32], KeyProblem::Constant),
        ("0.key", &[b'x'; 32], KeyProblem::Constant),
        ("current", b"c.key", none("c.key")),
        ("current", b"a", none("a")),
        ("current", b"\xff", none("\u{fffd}")),
    ];
    for (name, value, why) in cases {
        let (keys, problems) = read(&[good[0], good[1], (name, value)]);
        assert_eq!(keys, both, "{name}: {why}");
        assert_eq!(problems, [problem(name, why)]);
    }
    // A broken key is not the current one, whatever `current` says.
    let (keys, problems) = read(&[good[0], ("b.key", &[]), ("current", b"b.key")]);
    assert_eq!(keys, Keys::new(key(1), []).unwrap());
    assert_eq!(problems, [problem("b.key", KeyProblem::Length(0)), problem("current", none("b.key"))]);
}

#[test]
fn of_too_many_keys_the_current_one_is_held() {
    let all: Vec<(String, [u8; KEY_LEN])> = (1..=6).map(|at| (format!("{at}.key"), bytes(at))).collect();
    let entries = all.iter().map(|(name, bytes)| (name.as_str(), bytes.as_slice()));
    let (keys, problems) = Keys::read(entries.chain([("current", b"6.key".as_slice())]));
    assert_eq!(keys, Keys::new(key(6), [1, 2, 3].map(key)).unwrap());
    assert_eq!(problems, [problem("4.key", KeyProblem::TooMany), problem("5.key", KeyProblem::TooMany)]);
}

#[test]
fn a_key_is_used_when_all_have_it() {
    let [old, new] = [key(1), key(2)];
    let both = Keys::new(new.clone(), [old.clone()]).unwrap();
    let has = |keys: &[&Key]| keys.iter().map(|key| key.id()).collect::<Vec<_>>();
    let signing = |peers: &[Vec<KeyId>]| both.signing(peers.iter().map(Vec::as_slice)).cloned();
    assert_eq!(signing(&[]), Some(new.clone()), "alone");
    assert_eq!(signing(&[has(&[&old]), has(&[&old])]), Some(old.clone()), "nobody has it");
    assert_eq!(signing(&[has(&[&old, &new]), has(&[&old])]), Some(old.clone()), "one does not");
    assert_eq!(signing(&[has(&[&old, &new]), has(&[&old, &new])]), Some(new.clone()), "all have both");
    assert_eq!(signing(&[has(&[&new]), has(&[&old, &new])]), Some(new.clone()), "the old one goes");
    assert_eq!(signing(&[has(&[&new]), has(&[&old])]), Some(new.clone()), "no key is right for all");
    assert_eq!(signing(&[vec![]]), Some(new), "a peer with none");
}

/// What each node has at each moment of a change from the first set to the last, if each may be at any step or the next.
fn rotate(steps: &[Keys], order: &[usize], nodes: usize) {
    let mut at = vec![0; nodes];
    let check = |at: &[usize]| {
        let keys: Vec<&Keys> = at.iter().map(|step| &steps[*step]).collect();
        for (me, own) in keys.iter().enumerate() {
            let peers: Vec<Vec<KeyId>> = keys
                .iter()
                .enumerate()
                .filter(|(at, _)| *at != me)
                .map(|(_, keys)| keys.ids().collect())
                .collect();
            let used = own.signing(peers.iter().map(Vec::as_slice)).unwrap();
            for (hearer, theirs) in keys.iter().enumerate() {
                assert!(theirs.get(used.id()).is_some(), "{at:?}: {hearer} does not hear {me}");
            }
        }
    };
    check(&at);
    for node in order {
        // No node is more than one step ahead: whoever changes the Secret waits until all have the change.
        let last = at.iter().copied().min().unwrap();
        let node = node % nodes;
        if at[node] == last && last + 1 < steps.len() {
            at[node] += 1;
            check(&at);
        }
    }
}

proptest! {
    #[test]
    fn a_rotation_in_any_order_leaves_no_gap(
        order in prop::collection::vec(0usize..16, 0..64), nodes in 1usize..6, at_once in any::<bool>(), old in 0u8..100,
    ) {
        let [old, new] = [key(old), key(old + 100)];
        let alone = |key: &Key| Keys::new(key.clone(), []).unwrap();
        let added = Keys::new(old.clone(), [new.clone()]).unwrap();
        let switched = Keys::new(new.clone(), [old.clone()]).unwrap();
        let steps = if at_once {
            vec![alone(&old), switched, alone(&new)]
        } else {
            vec![alone(&old), added, switched, alone(&new)]
        };
        rotate(&steps, &order, nodes);
    }
}
