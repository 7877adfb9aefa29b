//! The Secret with the key of the speakers' hellos: made where there is none, and otherwise left alone.
//!
//! Two controllers may find at once that there is none, and one that was paused may write late. So the Secret is made
//! by a server-side apply that changes nothing that is there: each try is in the name of a field manager of its own,
//! never forced, and always with the same entries. The second one sets entries that the first one owns to
//! another value, which the API server refuses as a conflict. A create could be told to fail as well, but no Role can limit a
//! create to one name.

use std::time::Duration;

use ferrolb_core::hello_key::{CURRENT, KEY_LEN, Key, KeyId, Keys};
use ferrolb_runtime::{Events, Note};
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client, Resource};
use ring::rand::{SecureRandom, SystemRandom};
use tokio_util::sync::CancellationToken;

use crate::writer::{FIELD_MANAGER, REQUEST};

/// The name of the Secret in our namespace.
pub const NAME: &str = "ferrolb-hello";

/// The entry that holds the key that we make.
pub const ENTRY: &str = "first.key";

/// How often it is looked whether the Secret is there: one request, and no right to watch Secrets.
pub const LOOK: Duration = Duration::from_secs(30);

/// So soon another try follows on one that failed.
const AGAIN: Duration = Duration::from_secs(5);

/// Whoever does not lead asks so often whether it does now. That is no request.
const LEAD: Duration = Duration::from_secs(1);

/// Sees to it that there is the Secret, whenever `leads` says so, until `shutdown`.
///
/// 1. Where there is none, one is made; within [`LOOK`] after somebody deleted it.
/// 2. Where there is one it is not changed. If none of its keys can be used, an event says what to do, once for each
///    version of it.
pub async fn keep(
    client: Client,
    namespace: String,
    leads: impl Fn() -> bool,
    events: Events,
    shutdown: CancellationToken,
) {
    let mut said = String::new();
    let mut told = None;
    let keeping = async {
        loop {
            if !leads() {
                tokio::time::sleep(LEAD).await;
                continue;
            }
            match ensure(&client, &namespace).await {
                Ok(found) => {
                    said.clear();
                    tell(found, &namespace, &events, &mut told);
                    tokio::time::sleep(LOOK).await;
                }
                Err(words) => {
                    if words != said {
                        tracing::warn!("{words}; without a key speakers do not hear each other");
                        said = words;
                    }
                    tokio::time::sleep(AGAIN).await;
                }
            }
        }
    };
    shutdown.run_until_cancelled(keeping).await;
}

/// What there is now.
#[derive(Clone, Debug, PartialEq)]
pub enum Found {
    /// It was there, and a key in it can be used; or somebody else was faster to make it.
    There,
    /// It was there, and no key in it can be used.
    Unusable(Box<Secret>),
    /// It was made, with the key of this id.
    Made(KeyId),
}

/// Looks, and makes the Secret if there is none.
///
/// # Errors
/// In words, when the API server does not say or refuses.
pub async fn ensure(client: &Client, namespace: &str) -> Result<Found, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    match answered("read", api.get_opt(NAME)).await?.flatten() {
        Some(secret) if usable(&secret) => Ok(Found::There),
        Some(secret) => Ok(Found::Unusable(Box::new(secret))),
        None => make(client, namespace).await,
    }
}

/// Makes the Secret, or finds that there is one.
///
/// # Errors
/// In words, when the API server does not say or refuses.
pub async fn make(client: &Client, namespace: &str) -> Result<Found, String> {
    let api: Api<Secret> = Api::namespaced(client.clone(), namespace);
    let (mut key, mut turn) = ([0; KEY_LEN], [0; 8]);
    let random = SystemRandom::new();
    let filled = random.fill(&mut key).and_then(|()| random.fill(&mut turn));
    filled.map_err(|_| format!("cannot make the Secret {NAME}: the system gives no random bytes"))?;
    let by = PatchParams::apply(&format!("{FIELD_MANAGER}-{:016x}", u64::from_be_bytes(turn)));
    let entries = [(ENTRY, key.to_vec()), (CURRENT, ENTRY.into())];
    let data = entries.map(|(name, value)| (name.to_owned(), ByteString(value)));
    let count = data.len();
    let mut secret = Secret { data: Some(data.into()), ..Secret::default() };
    secret.meta_mut().name = Some(NAME.to_owned());
    secret.meta_mut().labels = Some([("app.kubernetes.io/name".to_owned(), "ferrolb".to_owned())].into());
    let made = answered("make", api.patch(NAME, &by, &Patch::Apply(&secret))).await?;
    let Some(made) = made else { return Ok(Found::There) };
    if made.data.map_or(0, |data| data.len()) == count {
        return Ok(Found::Made(Key::new(key).id()));
    }
    // Somebody made one with other entries in this moment. What was added to it is taken back: it is ours alone.
    secret.data = None;
    secret.meta_mut().labels = None;
    answered("take back what was added to", api.patch(NAME, &by, &Patch::Apply(&secret))).await?;
    Ok(Found::There)
}

/// What the API server made of a request; `None` for a conflict.
async fn answered<T>(
    what: &str,
    request: impl Future<Output = kube::Result<T>>,
) -> Result<Option<T>, String> {
    match tokio::time::timeout(REQUEST, request).await {
        Ok(Ok(done)) => Ok(Some(done)),
        Ok(Err(kube::Error::Api(status))) if status.is_conflict() => Ok(None),
        Ok(Err(kube::Error::Api(status))) if status.code == 403 => {
            Err(format!("not allowed to {what} the Secret {NAME}: apply config/rbac ({})", status.message))
        }
        Ok(Err(error)) => Err(format!("cannot {what} the Secret {NAME}: {error}")),
        Err(_) => Err(format!("cannot {what} the Secret {NAME}: no answer within {} s", REQUEST.as_secs())),
    }
}

fn usable(secret: &Secret) -> bool {
    let entries = secret.data.iter().flatten().map(|(name, value)| (name.as_str(), value.0.as_slice()));
    !Keys::read(entries).0.is_empty()
}

fn tell(found: Found, namespace: &str, events: &Events, told: &mut Option<String>) {
    match found {
        Found::There => *told = None,
        Found::Made(key) => {
            *told = None;
            tracing::info!(%key, "made the Secret {NAME} with a key for the speakers' hellos");
        }
        Found::Unusable(secret) => {
            let version = secret.metadata.resource_version.clone();
            if *told == version {
                return;
            }
            *told = version;
            events.tell(Note {
                about: secret.object_ref(&()),
                warning: true,
                for_operators: true,
                reason: "HelloKeyUnusable",
                action: "Reading",
                note: format!(
                    "no entry of this Secret is a key of the speakers' hellos: the name of an entry ends in .key and \
                     its value is {KEY_LEN} random bytes. Delete the Secret, and a new one is made (kubectl -n \
                     {namespace} delete secret {NAME}), or add a key: kubectl -n {namespace} patch secret {NAME} -p \
                     '{{\"data\":{{\"new.key\":\"'$(head -c {KEY_LEN} /dev/urandom | base64)'\"}}}}'"
                ),
            });
        }
    }
}
