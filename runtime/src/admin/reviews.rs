//! Who may read the metrics, where they are served by HTTPS: the API server says it.
//!
//! A reader shows the token of a ServiceAccount. A TokenReview says whose it is, a SubjectAccessReview whether that one may
//! `get` the path `/metrics`. What the server said is kept for a short while, under the token's hash.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use axum::http::{HeaderMap, header};
use k8s_openapi::api::authentication::v1::{TokenReview, TokenReviewSpec, UserInfo};
use k8s_openapi::api::authorization::v1::{
    NonResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::api::PostParams;
use kube::{Api, Client};
use sha2::{Digest, Sha256};

use crate::clock::now;

/// The path that is asked about.
const PATH: &str = "/metrics";

/// How long one review may take.
const REVIEW: Duration = Duration::from_secs(5);

/// How long it counts that somebody may read. A right that is taken back ends that late.
const ADMITTED: Duration = Duration::from_secs(60);

/// How long it counts that somebody may not. A right that is given begins that late.
const REFUSED: Duration = Duration::from_secs(10);

/// How long it counts that somebody might read while the API server does not answer: what is wrong then is in the metrics.
const UNANSWERED: Duration = Duration::from_secs(15 * 60);

/// Of so many tokens the verdict is kept.
const KEPT: usize = 32;

/// So many reviews are asked for at once, and one more each [`AGAIN`]: strangers with made-up tokens must not make
/// each node's speaker load the API server.
const BURST: u32 = 10;
const AGAIN: Duration = Duration::from_millis(200);

/// Why somebody gets nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// Whoever it is did not say, or lied.
    #[error("show the token of a ServiceAccount: Authorization: Bearer …")]
    Nobody,
    /// The API server does not let them.
    #[error("not allowed to get the path /metrics: a ClusterRole with that nonResourceURL is needed")]
    Forbidden,
    /// Too many tokens were shown that are not known.
    #[error("too many tokens to be looked at: try again")]
    TooMany,
    /// The API server gives no answer.
    #[error("the API server does not say who may read: try again")]
    NotNow,
}

type Verdict = Result<(), Refusal>;

/// What the API server said, and until when that counts.
#[derive(Clone, Copy, Debug)]
struct Said {
    verdict: Verdict,
    until: Duration,
    /// Until when it counts where the server does not answer.
    at_most: Duration,
}

#[derive(Debug, Default)]
struct Known {
    said: BTreeMap<[u8; 32], Said>,
    /// When the next review may be asked for, if all that may wait had been.
    full: Duration,
}

/// Asks, and keeps what was said.
pub(super) struct Reviews {
    client: Client,
    clock: fn() -> Duration,
    known: Mutex<Known>,
    /// It was said that this program may not ask.
    warned: AtomicBool,
}

impl Reviews {
    pub(super) fn new(client: Client) -> Self {
        Reviews { client, clock: now, known: Mutex::default(), warned: AtomicBool::new(false) }
    }

    /// Whether whoever sends these headers may read the metrics.
    pub(super) async fn judge(&self, headers: &HeaderMap) -> Verdict {
        let Some(token) = token(headers) else { return Err(Refusal::Nobody) };
        let hash: [u8; 32] = Sha256::digest(token).into();
        let began = (self.clock)();
        let before = self.lock().said.get(&hash).copied();
        if let Some(said) = before.filter(|said| said.until > began) {
            return said.verdict;
        }
        let late = || match before.filter(|said| said.at_most > began) {
            Some(said) => said.verdict,
            None => Err(Refusal::NotNow),
        };
        // Whoever may read does not wait behind strangers: those are few, and each is asked about once in a while.
        let known = before.is_some_and(|said| said.verdict.is_ok() && said.at_most > began);
        if !known && !self.lock().may_ask(began) {
            return Err(Refusal::TooMany);
        }
        match tokio::time::timeout(REVIEW, review(&self.client, token)).await {
            Ok(Ok(verdict)) => {
                self.lock().keep(hash, verdict, (self.clock)());
                verdict
            }
            Ok(Err(error)) => {
                let forbidden = matches!(&error, kube::Error::Api(status) if status.is_forbidden());
                if forbidden && !self.warned.swap(true, Ordering::Relaxed) {
                    tracing::warn!(
                        %error,
                        "nobody gets the metrics by HTTPS: this program may not ask the API server who may read them; apply \
                         config/components/metrics-https, or have the chart make its ClusterRole"
                    );
                }
                tracing::debug!(%error, "the API server does not say who may read the metrics");
                late()
            }
            Err(_) => late(),
        }
    }

    fn lock(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Whether one more review may be asked for.
    fn may_ask(&mut self, now: Duration) -> bool {
        let next = self.full.max(now) + AGAIN;
        let may = next <= now + AGAIN * BURST;
        if may {
            self.full = next;
        }
        may
    }

    fn keep(&mut self, hash: [u8; 32], verdict: Verdict, now: Duration) {
        self.said.retain(|_, said| said.at_most > now);
        if self.said.len() >= KEPT && !self.said.contains_key(&hash) {
            // Strangers first; then whoever was asked about first.
            let first = self.said.iter().min_by_key(|(_, said)| (said.verdict.is_ok(), said.until));
            let first = first.map(|(hash, _)| *hash);
            first.map(|hash| self.said.remove(&hash));
        }
        let (until, at_most) = match verdict {
            Ok(()) => (now + ADMITTED, now + UNANSWERED),
            Err(_) => (now + REFUSED, now + REFUSED),
        };
        self.said.insert(hash, Said { verdict, until, at_most });
    }
}

fn token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

/// Asks the API server, without anything that is kept.
async fn review(client: &Client, token: &str) -> Result<Verdict, kube::Error> {
    let question = TokenReview {
        spec: TokenReviewSpec { token: Some(token.to_owned()), audiences: None },
        ..TokenReview::default()
    };
    let params = PostParams::default();
    let answer = Api::<TokenReview>::all(client.clone()).create(&params, &question).await?;
    let status = answer.status.unwrap_or_default();
    let Some(UserInfo { extra, groups, uid, username }) =
        status.user.filter(|_| status.authenticated == Some(true))
    else {
        return Ok(Err(Refusal::Nobody));
    };
    let question = SubjectAccessReview {
        spec: SubjectAccessReviewSpec {
            extra,
            groups,
            uid,
            user: username,
            non_resource_attributes: Some(NonResourceAttributes {
                path: Some(PATH.to_owned()),
                verb: Some("get".to_owned()),
            }),
            resource_attributes: None,
        },
        ..SubjectAccessReview::default()
    };
    let answer = Api::<SubjectAccessReview>::all(client.clone()).create(&params, &question).await?;
    let allowed = answer.status.is_some_and(|status| status.allowed);
    Ok(if allowed { Ok(()) } else { Err(Refusal::Forbidden) })
}

#[cfg(test)]
mod tests;
