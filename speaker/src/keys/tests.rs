//! Folders as the kubelet makes them, and as it should not.

use std::fs;
use std::os::unix::fs::symlink;

use ferrolb_core::hello_key::{KEY_LEN, Key, KeyProblem};
use tempfile::TempDir;

use super::*;

fn bytes(first: u8) -> [u8; KEY_LEN] {
    std::array::from_fn(|at| first.wrapping_add(u8::try_from(at).unwrap()))
}

fn key(first: u8) -> Key {
    Key::new(bytes(first))
}

/// A mounted Secret.
struct Mount {
    root: TempDir,
    versions: usize,
}

impl Mount {
    fn new() -> Self {
        Mount { root: tempfile::tempdir().unwrap(), versions: 0 }
    }

    fn path(&self) -> &Path {
        self.root.path()
    }

    /// What the kubelet does: a new folder, a swapped link, links to the entries, and the old folder goes.
    fn set(&mut self, entries: &[(&str, &[u8])]) {
        let folder = |version: usize| format!("..2026_11_21_{version}");
        let root = self.root.path();
        self.versions += 1;
        let new = folder(self.versions);
        fs::create_dir(root.join(&new)).unwrap();
        for (name, value) in entries {
            fs::write(root.join(&new).join(name), value).unwrap();
            if !root.join(name).is_symlink() {
                symlink(Path::new(DATA).join(name), root.join(name)).unwrap();
            }
        }
        symlink(&new, root.join("..data_tmp")).unwrap();
        fs::rename(root.join("..data_tmp"), root.join(DATA)).unwrap();
        let _ = fs::remove_dir_all(root.join(folder(self.versions - 1)));
    }
}

fn loaded(path: &Path) -> Keys {
    let (keys, problems) = read(path).unwrap();
    assert_eq!(problems, []);
    keys
}

#[test]
fn a_mounted_secret_is_read() {
    let mut mount = Mount::new();
    assert_eq!(loaded(mount.path()), Keys::default(), "mounted, and there is no Secret");
    mount.set(&[("a.key", &bytes(1)), ("b.key", &bytes(2)), ("current", b"b.key\n"), ("readme", b"?")]);
    assert_eq!(loaded(mount.path()), Keys::new(key(2), [key(1)]).unwrap());
    // The link to an entry that is gone leads nowhere.
    mount.set(&[("b.key", &bytes(2))]);
    assert_eq!(loaded(mount.path()), Keys::new(key(2), []).unwrap());
}

#[test]
fn a_plain_folder_is_read() {
    let root = tempfile::tempdir().unwrap();
    fs::write(root.path().join("a.key"), bytes(1)).unwrap();
    fs::create_dir(root.path().join("b.key")).unwrap();
    assert_eq!(loaded(root.path()), Keys::new(key(1), []).unwrap());
    assert_eq!(loaded(&root.path().join("nowhere")), Keys::default());
}

#[test]
fn a_bad_entry_hurts_no_other_and_is_named() {
    let mut mount = Mount::new();
    mount.set(&[
        ("a.key", &bytes(1)),
        ("b.key", b"short"),
        ("c.key", &[9; 1_000_000]),
        ("current", b"z.key"),
    ]);
    let (keys, problems) = read(mount.path()).unwrap();
    assert_eq!(keys, Keys::new(key(1), []).unwrap());
    let named: Vec<_> = problems.iter().map(|problem| (problem.entry.as_str(), &problem.why)).collect();
    assert_eq!(
        named,
        [
            ("b.key", &KeyProblem::Length(5)),
            ("c.key", &KeyProblem::Length(1024)),
            ("current", &KeyProblem::NoSuchKey("z.key".to_owned())),
        ]
    );
}

#[test]
fn what_cannot_be_read_is_said() {
    let root = tempfile::tempdir().unwrap();
    symlink("loop", root.path().join("loop")).unwrap();
    let error = read(&root.path().join("loop")).unwrap_err().to_string();
    assert!(error.contains("loop") && error.contains("mount the Secret ferrolb-hello there"), "{error}");
    fs::write(root.path().join("file"), "").unwrap();
    assert!(read(&root.path().join("file")).is_err());
}

async fn until(keys: &mut watch::Receiver<Arc<Keys>>, what: &str, wanted: &Keys) {
    let waiting = keys.wait_for(|now| **now == *wanted);
    let waited = tokio::time::timeout(Duration::from_secs(600), waiting).await;
    let in_time = waited.map(|found| drop(found.expect("the follower runs on")));
    assert!(in_time.is_ok(), "{what}: {:?}", *keys.borrow());
}

/// By tokio's clock, which jumps to the next deadline while nothing else is to be done.
#[tokio::test(start_paused = true)]
async fn each_change_is_published_once_and_keys_stay_until_there_are_others() {
    let mut mount = Mount::new();
    let (sender, mut keys) = watch::channel(Arc::new(Keys::default()));
    let shutdown = CancellationToken::new();
    let following = tokio::spawn(follow(mount.path().to_owned(), sender, shutdown.clone()));
    let wait = || tokio::time::sleep(5 * EVERY);
    wait().await;
    assert!(!keys.has_changed().unwrap(), "nothing is there yet");

    let started = tokio::time::Instant::now();
    mount.set(&[("a.key", &bytes(1))]);
    until(&mut keys, "mounted", &Keys::new(key(1), []).unwrap()).await;
    assert!(started.elapsed() <= 2 * EVERY, "{:?}", started.elapsed());
    mount.set(&[("a.key", &bytes(1)), ("b.key", &bytes(2))]);
    until(&mut keys, "added", &Keys::new(key(1), [key(2)]).unwrap()).await;
    mount.set(&[("a.key", &bytes(1)), ("b.key", &bytes(2)), ("current", b"b.key")]);
    let switched = Keys::new(key(2), [key(1)]).unwrap();
    until(&mut keys, "switched", &switched).await;

    // Written again, but the same; then gone; then only what cannot be used.
    mount.set(&[("a.key", &bytes(1)), ("b.key", &bytes(2)), ("current", b"b.key"), ("c.key", b"?")]);
    wait().await;
    mount.set(&[]);
    wait().await;
    mount.set(&[("a.key", b"?")]);
    wait().await;
    fs::remove_dir_all(mount.path()).unwrap();
    wait().await;
    assert!(!keys.has_changed().unwrap(), "{:?}", *keys.borrow());
    assert_eq!(**keys.borrow(), switched);

    fs::create_dir(mount.path()).unwrap();
    mount.set(&[("new.key", &bytes(3))]);
    until(&mut keys, "others", &Keys::new(key(3), []).unwrap()).await;
    shutdown.cancel();
    following.await.unwrap();
}

/// While the links are swapped all the time, no mixture of two versions is read.
#[test]
fn what_is_read_is_of_one_version() {
    let mut mount = Mount::new();
    let versions: [&[(&str, &[u8])]; 2] = [
        &[("a.key", &bytes(1)), ("b.key", &bytes(2)), ("current", b"a.key")],
        &[("a.key", &bytes(3)), ("b.key", &bytes(4)), ("current", b"b.key")],
    ];
    mount.set(versions[0]);
    let path = mount.path().to_owned();
    let done = Arc::new(std::sync::atomic::AtomicBool::new(false));
    let ended = done.clone();
    let reader = std::thread::spawn(move || {
        let right = [Keys::new(key(1), [key(2)]).unwrap(), Keys::new(key(4), [key(3)]).unwrap()];
        let mut seen = [0; 2];
        while !ended.load(std::sync::atomic::Ordering::SeqCst) || seen == [0; 2] {
            // A version that goes while it is read is an error, and read anew the next time.
            if let Ok((keys, problems)) = read(&path) {
                let which = right.iter().position(|right| *right == keys);
                assert!(problems.is_empty() && which.is_some(), "{keys:?} {problems:?}");
                which.into_iter().for_each(|which| seen[which] += 1);
            }
        }
        seen
    });
    (0..2000).for_each(|turn| mount.set(versions[turn % 2]));
    done.store(true, std::sync::atomic::Ordering::SeqCst);
    let seen = reader.join().unwrap();
    println!("{seen:?}");
}
