//! Reading from the API server: lists in pages, and why one cannot be had, in words.

use std::error::Error as _;
use std::fmt::Debug;

use kube::api::{ListParams, ObjectList};
use kube::core::{DynamicObject, PartialObjectMeta};
use kube::{Api, Client, Error};
use serde::de::DeserializeOwned;

/// So many objects are asked for at once: of ten thousand Services only a page is ever there whole.
const PAGE: u32 = 500;

/// A list whose pages have expired is begun anew so often.
const TRIES: usize = 3;

/// Why something could not be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// The definition is not there, or an older one is.
    #[error("the API server knows no {what}")]
    Unknown {
        /// Which kind.
        what: String,
    },
    /// The user may not.
    #[error("you may not read {what}: {why}")]
    Refused {
        /// Which kind, and where.
        what: String,
        /// What the API server says.
        why: String,
    },
    /// The API server does not know who asks.
    #[error(
        "the API server does not take your credentials: log in again, or look at the user of your kubeconfig ({why})"
    )]
    Stranger {
        /// What it says.
        why: String,
    },
    /// Nobody answers.
    #[error("cannot reach the API server: {why}")]
    Away {
        /// What the client says, from the whole to the cause.
        why: String,
    },
    /// Anything else.
    #[error("cannot read {what}: {why}")]
    Other {
        /// Which kind, and where.
        what: String,
        /// What the API server or the client says.
        why: String,
    },
}

impl ReadError {
    /// Of the attempt to read `what`.
    pub(crate) fn of(what: &str, error: Error) -> Self {
        let what = what.to_owned();
        match error {
            Error::Api(status) => {
                let why = status.message.trim().to_owned();
                match status.code {
                    401 => ReadError::Stranger { why },
                    403 => ReadError::Refused { what, why },
                    404 => ReadError::Unknown { what },
                    code if why.is_empty() => ReadError::Other { what, why: format!("HTTP status {code}") },
                    _ => ReadError::Other { what, why },
                }
            }
            Error::HyperError(_) | Error::Service(_) => ReadError::Away { why: causes(&error) },
            Error::Auth(_) => ReadError::Stranger { why: causes(&error) },
            other => ReadError::Other { what, why: causes(&other) },
        }
    }
}

/// An error and its causes, each once.
fn causes(error: &Error) -> String {
    let mut texts = vec![error.to_string()];
    let mut next = error.source();
    while let Some(cause) = next {
        let text = cause.to_string();
        if !texts.iter().any(|known| known.contains(&text)) {
            texts.push(text);
        }
        next = cause.source();
    }
    texts.join(": ")
}

/// What `keep` makes of each object, page by page: the rest of it is gone before the next page comes. `what` is how they are
/// called when that fails.
pub(crate) async fn list<K, T>(
    api: &Api<K>,
    what: &str,
    select: ListParams,
    keep: impl Fn(K) -> Option<T>,
) -> Result<Vec<T>, ReadError>
where
    K: Clone + DeserializeOwned + Debug,
{
    pages(what, select, async |select| api.list(&select).await, keep).await
}

/// The same, of metadata alone.
pub(crate) async fn list_metadata<T>(
    api: &Api<DynamicObject>,
    what: &str,
    select: ListParams,
    keep: impl Fn(PartialObjectMeta<DynamicObject>) -> Option<T>,
) -> Result<Vec<T>, ReadError> {
    pages(what, select, async |select| api.list_metadata(&select).await, keep).await
}

async fn pages<K: Clone, T>(
    what: &str,
    select: ListParams,
    next: impl AsyncFn(ListParams) -> Result<ObjectList<K>, Error>,
    keep: impl Fn(K) -> Option<T>,
) -> Result<Vec<T>, ReadError> {
    let mut select = ListParams { limit: Some(PAGE), ..select };
    let (mut kept, mut tries) = (Vec::new(), TRIES);
    loop {
        match next(select.clone()).await {
            Ok(page) => {
                kept.extend(page.items.into_iter().filter_map(&keep));
                select.continue_token = page.metadata.continue_.filter(|token| !token.is_empty());
                if select.continue_token.is_none() {
                    return Ok(kept);
                }
            }
            // The rest of the list is of a version that the server has no more.
            Err(Error::Api(status)) if status.code == 410 && tries > 1 => {
                tries -= 1;
                select.continue_token = None;
                kept.clear();
            }
            Err(error) => return Err(ReadError::of(what, error)),
        }
    }
}

/// A list that may be refused: then it is empty, and a sentence says so. A kind that is not there has no objects.
///
/// # Errors
/// When the API server cannot be asked at all.
pub(crate) fn or_note<T>(
    outcome: Result<Vec<T>, ReadError>,
    notes: &mut Vec<String>,
) -> Result<Vec<T>, ReadError> {
    match outcome {
        Err(ReadError::Unknown { .. }) => Ok(Vec::new()),
        Err(error @ (ReadError::Refused { .. } | ReadError::Other { .. })) => {
            notes.push(error.to_string());
            Ok(Vec::new())
        }
        other => other,
    }
}

/// One object, or nothing if it is not there.
pub(crate) async fn get<K>(api: &Api<K>, what: &str, name: &str) -> Result<Option<K>, ReadError>
where
    K: Clone + DeserializeOwned + Debug,
{
    api.get_opt(name).await.map_err(|error| ReadError::of(&format!("{what} {name}"), error))
}

/// The API of kind `kind`, in `namespace` or everywhere.
pub(crate) fn dynamic(
    client: &Client,
    (group, version, kind, plural): (&str, &str, &str, &str),
    namespace: Option<&str>,
) -> Api<DynamicObject> {
    let gvk = kube::core::GroupVersionKind::gvk(group, version, kind);
    let resource = kube::core::ApiResource::from_gvk_with_plural(&gvk, plural);
    match namespace {
        Some(namespace) => Api::namespaced_with(client.clone(), namespace, &resource),
        None => Api::all_with(client.clone(), &resource),
    }
}
