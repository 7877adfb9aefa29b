//! Answers, and errors in the words of the real API server.

use bytes::Bytes;
use http::StatusCode;
use http::header::{CONTENT_TYPE, RETRY_AFTER};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use crate::call::Verb;
use crate::kind::Resource;
use crate::{Answer, AnswerBody, Call};

/// A refusal.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Failure {
    pub(crate) code: u16,
    reason: &'static str,
    message: String,
    details: Value,
    /// The server does not know the path, which it says in plain text.
    plain: bool,
}

pub(crate) type Result<T> = std::result::Result<T, Failure>;

impl Failure {
    fn new(code: u16, reason: &'static str, message: impl Into<String>) -> Self {
        Failure { code, reason, message: message.into(), details: Value::Null, plain: false }
    }

    fn on(self, resource: &Resource, name: &str) -> Self {
        let mut details = json!({"kind": resource.plural});
        for (field, value) in [("group", resource.group.as_str()), ("name", name)] {
            if !value.is_empty() {
                details[field] = value.into();
            }
        }
        Failure { details, ..self }
    }

    /// `details.causes`.
    pub(crate) fn causes(mut self, causes: Vec<Value>) -> Self {
        self.details["causes"] = causes.into();
        self
    }

    pub(crate) fn no_such_path() -> Self {
        Failure { plain: true, ..Self::new(404, "NotFound", "404 page not found\n") }
    }

    pub(crate) fn not_found(resource: &Resource, name: &str) -> Self {
        Self::new(404, "NotFound", format!("{resource} \"{name}\" not found")).on(resource, name)
    }

    pub(crate) fn exists(resource: &Resource, name: &str) -> Self {
        Self::new(409, "AlreadyExists", format!("{resource} \"{name}\" already exists")).on(resource, name)
    }

    pub(crate) fn conflict(resource: &Resource, name: &str, why: &str) -> Self {
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        Self::new(409, "Conflict", message).on(resource, name)
    }

    /// The version in a write is not that of the object.
    pub(crate) fn modified(resource: &Resource, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(resource, name, why)
    }

    /// Server-side apply met fields of others.
    pub(crate) fn apply_conflict(count: usize, text: &str, causes: Vec<Value>) -> Self {
        let plural = if count == 1 { "conflict" } else { "conflicts" };
        let mut failure = Self::new(409, "Conflict", format!("Apply failed with {count} {plural}: {text}"));
        failure.details = json!({});
        failure.causes(causes)
    }

    pub(crate) fn invalid(kind: &str, name: &str, field: &str, why: &str) -> Self {
        let mut failure = Self::new(422, "Invalid", format!("{kind} \"{name}\" is invalid: {field}: {why}"));
        failure.details = json!({"kind": kind, "name": name});
        let reason = match why.split_once(':') {
            Some(("Forbidden", _)) => "FieldValueForbidden",
            Some(("Required value", _)) => "FieldValueRequired",
            _ => "FieldValueInvalid",
        };
        failure.causes(vec![json!({"reason": reason, "message": why, "field": field})])
    }

    pub(crate) fn bad_request(why: impl Into<String>) -> Self {
        Self::new(400, "BadRequest", why)
    }

    pub(crate) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(405, "MethodNotAllowed", message)
    }

    pub(crate) fn media_type(accepted: &str) -> Self {
        let message = format!(
            "the body of the request was in an unknown format - accepted media types include: {accepted}"
        );
        Self::new(415, "UnsupportedMediaType", message)
    }

    pub(crate) fn expired(message: impl Into<String>) -> Self {
        Self::new(410, "Expired", message)
    }

    pub(crate) fn too_large_version(asked: u64, current: u64) -> Self {
        let mut failure = Self::new(
            504,
            "Timeout",
            format!("Timeout: Too large resource version: {asked}, current: {current}"),
        );
        failure.details = json!({"retryAfterSeconds": 1});
        failure.causes(vec![
            json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"}),
        ])
    }

    /// What a server in trouble says to this call with this code. `retry_after` is in seconds.
    pub(crate) fn in_trouble(call: &Call, code: u16, retry_after: Option<u32>) -> Self {
        let resource = call.resource.clone().unwrap_or(Resource {
            group: String::new(),
            version: String::new(),
            plural: String::new(),
        });
        let name = call.name.as_deref().unwrap_or_default();
        let forbidden = || {
            let scope = match &call.namespace {
                Some(namespace) => format!("in the namespace \"{namespace}\""),
                None => "at the cluster scope".to_owned(),
            };
            let object = if name.is_empty() { String::new() } else { format!(" \"{name}\"") };
            format!(
                "{resource}{object} is forbidden: User \"weather\" cannot {} resource \"{}\" in API group \"{}\" {scope}",
                call.verb,
                call.target(),
                resource.group,
            )
        };
        let mut failure = match code {
            401 => Self::new(401, "Unauthorized", "Unauthorized"),
            403 => Self::new(403, "Forbidden", forbidden()).on(&resource, name),
            404 if name.is_empty() => Self::no_such_path(),
            404 => Self::not_found(&resource, name),
            409 if call.verb == Verb::Create => Self::exists(&resource, name),
            409 => Self::modified(&resource, name),
            410 => Self::expired("The resourceVersion for the provided list is too old."),
            429 => Self::new(429, "TooManyRequests", "Too many requests, please try again later."),
            500 => Self::new(500, "InternalError", "Internal error occurred: etcdserver: request timed out"),
            503 => {
                Self::new(503, "ServiceUnavailable", "the server is currently unable to handle the request")
            }
            504 => {
                Self::new(504, "Timeout", "Timeout: request did not complete within the allotted duration")
            }
            code => Self::new(code, "Unknown", format!("the weather answers {code}")),
        };
        if let Some(seconds) = retry_after {
            failure.details["retryAfterSeconds"] = seconds.into();
        }
        failure
    }

    /// As a `Status` object.
    pub(crate) fn status(&self) -> Value {
        let mut status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.message,
            "reason": self.reason,
            "code": self.code,
        });
        if !self.details.is_null() {
            status["details"] = self.details.clone();
        }
        status
    }

    pub(crate) fn answer(&self) -> Answer {
        let mut answer = if self.plain {
            let mut answer = http::Response::new(body(self.message.clone().into_bytes()));
            answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("text/plain"));
            answer
        } else {
            json_answer(200, &self.status())
        };
        *answer.status_mut() = status_code(self.code);
        if let Some(seconds) = self.details.get("retryAfterSeconds").and_then(Value::as_u64) {
            answer.headers_mut().insert(RETRY_AFTER, seconds.into());
        }
        answer
    }
}

fn status_code(code: u16) -> StatusCode {
    StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR)
}

pub(crate) fn json_answer(code: u16, value: &Value) -> Answer {
    let mut answer = http::Response::new(body(value.to_string().into_bytes()));
    *answer.status_mut() = status_code(code);
    answer.headers_mut().insert(CONTENT_TYPE, http::HeaderValue::from_static("application/json"));
    answer
}

pub(crate) fn body(bytes: Vec<u8>) -> AnswerBody {
    Full::new(Bytes::from(bytes)).map_err(|never| match never {}).boxed_unsync()
}

/// One line of a watch.
pub(crate) fn event(kind: &str, object: &Value) -> Bytes {
    Bytes::from(format!("{}\n", json!({"type": kind, "object": object})))
}
