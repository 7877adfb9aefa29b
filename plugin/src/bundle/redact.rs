//! Cuts out of objects and texts what could be a secret. Secrets themselves are never read.
//!
//! Of annotations and variables only those are kept that FerroLB and MetalLB know, since others put into them what they
//! like. Elsewhere fields go by their names, and words by their form: PEM blocks, tokens, keys of hellos.

use serde_json::Value;

/// In place of what was cut out.
const REMOVED: &str = "(removed)";

/// The prefixes of annotations that are kept.
const ANNOTATIONS: [&str; 5] =
    ["metallb.io/", "metallb.universe.tf/", "ferrolb.io/", "deployment.kubernetes.io/", "meta.helm.sh/"];

/// The prefixes of variables whose values are kept.
const VARIABLES: [&str; 5] = ["FERROLB_", "METALLB_", "MALLOC_", "FRR_", "FRRK8S_"];

/// Parts of the names of fields whose values are cut out, in small letters.
const FIELDS: [&str; 9] = [
    "password",
    "token",
    "secretkey",
    "privatekey",
    "cabundle",
    "clientsecret",
    "credential",
    "apikey",
    "cookie",
];

/// Names of fields that have one of these parts and tell no secret: they name an object, or say how long.
const NAMES: [&str; 6] = [
    "passwordsecret",
    "automountserviceaccounttoken",
    "serviceaccounttoken",
    "secretname",
    "tokenexpirationseconds",
    "expirationseconds",
];

/// Cuts out of an object what could be a secret, and what is long and says nothing.
pub fn object(value: &mut Value) {
    let secret = value["kind"] == "Secret";
    if let Some(metadata) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.remove("managedFields");
    }
    if secret && let Some(fields) = value.as_object_mut() {
        fields.remove("data");
        fields.remove("stringData");
    }
    walk(value, false);
}

/// `variables`: it lies in a list of variables.
fn walk(value: &mut Value, variables: bool) {
    match value {
        Value::Object(fields) => {
            if variables {
                let known = fields["name"].as_str().is_some_and(|name| {
                    VARIABLES.iter().any(|prefix| name.starts_with(prefix)) && !is_secret(name)
                });
                if let Some(content) = fields.get_mut("value").filter(|_| !known) {
                    *content = REMOVED.into();
                }
            }
            for (name, content) in fields.iter_mut() {
                if name == "annotations"
                    && let Value::Object(annotations) = content
                {
                    annotations.retain(|name, _| name != "kubectl.kubernetes.io/last-applied-configuration");
                    for (name, content) in annotations.iter_mut() {
                        if !ANNOTATIONS.iter().any(|prefix| name.starts_with(prefix)) {
                            *content = REMOVED.into();
                        }
                    }
                } else if is_secret(name) && !content.is_object() && !content.is_null() {
                    *content = REMOVED.into();
                } else {
                    walk(content, name == "env");
                }
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| walk(item, variables)),
        Value::String(words) => *words = text(words),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn is_secret(field: &str) -> bool {
    let small: String = field.to_lowercase().chars().filter(char::is_ascii_alphanumeric).collect();
    FIELDS.iter().any(|part| small.contains(part)) && !NAMES.contains(&small.as_str())
}

/// A text without PEM blocks, tokens and keys. Lines stay lines.
pub fn text(words: &str) -> String {
    let mut kept = String::with_capacity(words.len());
    let mut pem = false;
    for line in words.split_inclusive('\n') {
        let begins = line.contains("-----BEGIN");
        if begins {
            kept.push_str(REMOVED);
            kept.push('\n');
        }
        pem |= begins;
        if !pem {
            kept.push_str(&words_of(line));
        }
        if line.contains("-----END") {
            pem = false;
        }
    }
    if !words.ends_with('\n') && kept.ends_with('\n') {
        kept.pop();
    }
    kept
}

/// A line without words that have the form of a secret, or follow one that announces it.
fn words_of(line: &str) -> String {
    let mut kept = String::with_capacity(line.len());
    let mut rest = line;
    let mut announced = false;
    while !rest.is_empty() {
        let is_part = |c: char| c.is_ascii_alphanumeric() || "+/=_-.~".contains(c);
        let length = rest.find(|c| !is_part(c)).unwrap_or(rest.len());
        if length == 0 {
            let next = rest.chars().next().map_or(1, char::len_utf8);
            kept.push_str(&rest[..next]);
            rest = &rest[next..];
            continue;
        }
        let word = &rest[..length];
        // `--password=x` is one word: the name stays, and the rest goes.
        let named = word.split_once('=').filter(|(name, value)| is_secret(name) && !value.is_empty());
        if let Some((name, _)) = named {
            kept.push_str(name);
            kept.push('=');
            kept.push_str(REMOVED);
        } else if announced || is_token(word) || is_key(word) {
            kept.push_str(REMOVED);
        } else {
            kept.push_str(word);
        }
        announced = word.eq_ignore_ascii_case("bearer") || word.eq_ignore_ascii_case("basic");
        rest = &rest[length..];
    }
    kept
}

/// A JSON Web Token, as ServiceAccounts have.
fn is_token(word: &str) -> bool {
    word.starts_with("eyJ") && word.len() > 40 && word.matches('.').count() >= 2
}

/// 32 bytes in base64, as keys of hellos are: 43 characters and one `=`. A digest in hexadecimal has 64, a name no `=`.
fn is_key(word: &str) -> bool {
    let body = word.trim_end_matches('=');
    word.len() == 44
        && body.len() == 43
        && body.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/".contains(&b))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    const TOKEN: &str =
        "eyJhbGciOiJSUzI1NiIsImtpZCI6IiJ9.eyJpc3MiOiJrdWJlcm5ldGVzL3NlcnZpY2VhY2NvdW50In0.c2lnbmF0dXJl";
    const KEY: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";

    #[test]
    fn texts_lose_what_has_the_form_of_a_secret_and_keep_the_rest() {
        for (said, kept) in [
            (format!("token {TOKEN} was refused\n"), "token (removed) was refused\n".to_owned()),
            (
                "Authorization: Bearer abc.def\nnext".to_owned(),
                "Authorization: Bearer (removed)\nnext".to_owned(),
            ),
            (format!("key \"{KEY}\""), "key \"(removed)\"".to_owned()),
            ("--password=hunter2 --port=1".to_owned(), "--password=(removed) --port=1".to_owned()),
            (
                "a\n-----BEGIN PRIVATE KEY-----\nMIIE\n-----END PRIVATE KEY-----\nb\n".to_owned(),
                "a\n(removed)\nb\n".to_owned(),
            ),
        ] {
            assert_eq!(text(&said), kept);
        }
        for plain in [
            "10.10.0.200 is at 02:00:00:00:00:01 on eth0, fd10::1\n",
            "sha256:e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            "Service shop/web: no free IPv4 address: IPAddressPool \"lan\"",
            "é – …",
        ] {
            assert_eq!(text(plain), plain);
        }
    }

    #[test]
    fn objects_lose_what_others_put_into_them() {
        let mut pod = json!({
            "kind": "Pod",
            "metadata": {"name": "a", "managedFields": [1], "annotations": {
                "metallb.io/address-pool": "lan", "vendor.example/login": "hunter2",
                "kubectl.kubernetes.io/last-applied-configuration": "hunter2",
            }},
            "spec": {"automountServiceAccountToken": true, "containers": [{
                "args": ["--token=hunter2", "--port=17481"],
                "env": [{"name": "FERROLB_LOG_LEVEL", "value": "info"}, {"name": "LOGIN", "value": "hunter2"},
                        {"name": "METALLB_TOKEN", "value": "hunter2"},
                        {"name": "FERROLB_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            }]},
        });
        object(&mut pod);
        let expected = json!({
            "kind": "Pod",
            "metadata": {"name": "a", "annotations": {
                "metallb.io/address-pool": "lan", "vendor.example/login": REMOVED,
            }},
            "spec": {"automountServiceAccountToken": true, "containers": [{
                "args": ["--token=(removed)", "--port=17481"],
                "env": [{"name": "FERROLB_LOG_LEVEL", "value": "info"}, {"name": "LOGIN", "value": REMOVED},
                        {"name": "METALLB_TOKEN", "value": REMOVED},
                        {"name": "FERROLB_NODE_NAME", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
            }]},
        });
        assert_eq!(pod, expected);
        let mut peer =
            json!({"spec": {"password": "hunter2", "passwordSecret": {"name": "bgp"}, "myASN": 1}});
        object(&mut peer);
        assert_eq!(peer["spec"], json!({"password": REMOVED, "passwordSecret": {"name": "bgp"}, "myASN": 1}));
        let mut secret =
            json!({"kind": "Secret", "data": {"a": "aHVudGVyMg=="}, "stringData": {"b": "hunter2"}});
        object(&mut secret);
        assert_eq!(secret, json!({"kind": "Secret"}));
    }
}
