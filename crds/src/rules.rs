//! What the API server refuses when an object is applied: schemas, and rules in CEL.
//!
//! Every CEL rule has a price, estimated from the bounds of what it reads, and the API server takes no
//! definition whose estimate is too high. So every text and list here has a bound, far above what is
//! sensible.
//!
//! The rules use what a Kubernetes 1.33 API server takes in a new definition, that is CEL as of 1.32: no
//! `distinct()`, `sort()` or `lists.range()`, which came later.
//!
//! The lists are atomic although duplicates are refused. `x-kubernetes-list-type: set` would refuse them
//! without CEL, but makes server-side apply merge the list entry by entry: an entry added by hand would
//! outlive the manifest that does not name it, and a pool would hand out addresses that nobody wrote down.

use schemars::{Schema, SchemaGenerator, json_schema};
use serde_json::{Value, json};

/// The entries of a pool. A pool with more can be split: reservations and advertisements may name several.
pub(crate) const MAX_ADDRESSES: u32 = 4000;
/// The exclusions of a pool. Together with its entries they stay within what the rules below may cost.
pub(crate) const MAX_EXCLUDED: u32 = 1000;
/// Two IPv6 addresses of 45 characters and ` - `.
pub(crate) const MAX_ADDRESS_LENGTH: u32 = 93;
/// Names of pools, namespaces or interfaces in one list.
pub(crate) const MAX_NAMES: u32 = 1000;
/// Selectors in one list.
pub(crate) const MAX_SELECTORS: u32 = 250;
/// Labels, or requirements, in one selector.
pub(crate) const MAX_REQUIREMENTS: u32 = 20;
/// Values in one requirement.
pub(crate) const MAX_VALUES: u32 = 500;

/// The name of an object: a DNS subdomain (RFC 1123).
const OBJECT_NAME: &str = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$";
/// The name of a label, with or without a prefix.
const LABEL_KEY: &str =
    "^([a-z0-9]([-a-z0-9.]{0,251}[a-z0-9])?/)?[A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?$";
/// The value of a label.
const LABEL_VALUE: &str = "^([A-Za-z0-9]([-A-Za-z0-9_.]{0,61}[A-Za-z0-9])?)?$";

/// `IPAddressPool.spec.addresses`.
pub(crate) fn addresses(_: &mut SchemaGenerator) -> Schema {
    entries(1, MAX_ADDRESSES)
}

/// `IPAddressPool.spec.excludeAddresses`.
pub(crate) fn excluded_addresses(_: &mut SchemaGenerator) -> Schema {
    entries(0, MAX_EXCLUDED)
}

/// `IPAddressPool.spec.reuseDelay`.
pub(crate) fn reuse_delay(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "string",
        "format": "duration",
        "maxLength": 32,
        "x-kubernetes-validations": [{
            "rule": "duration(self) >= duration('0s') && duration(self) <= duration('24h')",
            "message": "not a time from 0s to 24h",
        }],
    })
}

fn entries(at_least: u32, at_most: u32) -> Schema {
    json_schema!({
        "type": "array",
        "minItems": at_least,
        "maxItems": at_most,
        "x-kubernetes-validations": unique_texts("entry"),
        "items": {
            "type": "string",
            "maxLength": MAX_ADDRESS_LENGTH,
            "x-kubernetes-validations": [
                {
                    "rule": "isCIDR(self) || self.split('-', 2).map(a, isIP(a.trim())) == [true, true]",
                    "message": "neither a CIDR (10.0.0.0/24) nor a range (10.0.0.1-10.0.0.9)",
                    "messageExpression": "isIP(self) ? 'a single address needs a prefix length: write %s/%d'\
                        .format([self, ip(self).family() == 4 ? 32 : 128]) \
                        : 'neither a CIDR (10.0.0.0/24) nor a range (10.0.0.1-10.0.0.9)'",
                },
                {
                    "rule": ordered(),
                    "message": "range runs backwards or mixes IPv4 and IPv6",
                    "messageExpression": "ip(self.split('-', 2)[0].trim()).family() \
                        == ip(self.split('-', 2)[1].trim()).family() \
                        ? 'range starts after its end' : 'range mixes IPv4 and IPv6'",
                },
            ],
        },
    })
}

/// Whether the range `self` is of one family and does not run backwards. CEL cannot compare addresses, but
/// knows whether one lies in a network: the longest prefix that both ends share is found by bisection (a
/// prefix too long for IPv4 is no CIDR and so is not taken); then the range is in order if the start lies in
/// the lower half of that network.
fn ordered() -> String {
    let mut rule = "[self.split('-', 2).map(a, isIP(a.trim()), ip(a.trim()))]\
        .all(r, r.size() != 2 || r[0] == r[1] || [0]\n"
        .to_owned();
    for step in [64, 32, 16, 8, 4, 2, 1] {
        rule.push_str(&format!(
            "  .map(p, ['%s/%d'.format([string(r[1]), p + {step}])]\
             .exists(c, isCIDR(c) && cidr(c).containsIP(r[0])) ? p + {step} : p)\n"
        ));
    }
    rule.push_str(
        "  .exists(p, ['%s/%d'.format([string(r[1]), p])].exists(c,\n    \
         ['%s/%d'.format([string(cidr(c).masked().ip()), p + 1])].exists(h, cidr(h).containsIP(r[0])))))",
    );
    rule
}

/// That a list of texts has none twice.
///
/// A map cannot be given the same key twice, so the rule fails on the second of two equal texts, and the API
/// server prints which that was: `insert failed: key 10.0.0.0/24 already exists evaluating rule: ...`. That is
/// one step for each entry; to compare each with each runs out of budget at some hundreds of entries.
fn unique_texts(what: &str) -> Value {
    json!([{
        "rule": "self.transformMapEntry(i, t, {t: i}).size() == self.size()",
        "message": format!("the same {what} twice: remove one"),
    }])
}

/// That a list has no two equal elements.
pub(crate) fn unique(what: &str) -> Value {
    json!([{
        "rule": "self.all(i, t, self.indexOf(t) == i)",
        "message": format!("the same {what} twice: remove one"),
        "messageExpression": format!(
            "'the same {what} twice: remove the entries %s, counted from 0'\
             .format([self.transformList(i, t, self.indexOf(t) < i, i)])"
        ),
    }])
}

/// Names of objects of `kind`, in one list.
fn object_names(kind: &str, max_length: u32) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_NAMES,
        "x-kubernetes-validations": unique_texts("name"),
        "items": {
            "type": "string",
            "maxLength": max_length,
            "x-kubernetes-validations": [{
                "rule": format!("self.matches('{OBJECT_NAME}')"),
                "message": format!(
                    "not the name of {kind}: lower-case letters, digits, '-' and '.' only, no patterns"
                ),
            }],
        },
    })
}

/// `L2Advertisement.spec.ipAddressPools`.
pub(crate) fn pool_names(_: &mut SchemaGenerator) -> Schema {
    object_names("an IPAddressPool", 253)
}

/// `IPAddressPool.spec.serviceAllocation.namespaces`.
pub(crate) fn namespaces(_: &mut SchemaGenerator) -> Schema {
    object_names("a Namespace", 63)
}

/// `L2Advertisement.spec.interfaces`: what Linux takes for the name of a network device.
pub(crate) fn interfaces(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "array",
        "maxItems": MAX_NAMES,
        "x-kubernetes-validations": unique_texts("name"),
        "items": {
            "type": "string",
            "maxLength": 253,
            "x-kubernetes-validations": [{
                "rule": r"self.matches('^[^/:*?\\s]{1,15}$')",
                "message": "not the name of a network interface: 1 to 15 characters without blanks, '/', ':', '*' \
                    and '?'; one name for each entry, no patterns",
            }],
        },
    })
}

/// `matchLabels` of a selector.
pub(crate) fn match_labels(_: &mut SchemaGenerator) -> Schema {
    json_schema!({
        "type": "object",
        "maxProperties": MAX_REQUIREMENTS,
        "additionalProperties": label_value(),
        "x-kubernetes-validations": [{
            "rule": format!("self.all(k, k.size() <= 317 && k.matches('{LABEL_KEY}'))"),
            "message": "not the name of a label (like app.kubernetes.io/name)",
            "messageExpression": format!(
                "'not the name of a label (like app.kubernetes.io/name): %s'\
                 .format([self.filter(k, k.size() > 317 || !k.matches('{LABEL_KEY}'))])"
            ),
        }],
    })
}

/// `key` of a requirement.
pub(crate) fn label_key(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "string", "maxLength": 317, "pattern": LABEL_KEY })
}

/// `values` of a requirement. Nested three lists deep, a CEL rule would be too dear: a value written twice is
/// accepted, and is harmless.
pub(crate) fn label_values(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "type": "array", "maxItems": MAX_VALUES, "items": label_value() })
}

/// The value of a label.
fn label_value() -> Value {
    json!({ "type": "string", "maxLength": 63, "pattern": LABEL_VALUE })
}

/// That a requirement has values where its operator asks for them, and none elsewhere.
pub(crate) fn requirement() -> Value {
    json!([
        {
            "rule": "!(self.operator in ['In', 'NotIn']) || (has(self.values) && self.values.size() > 0)",
            "message": "operators In and NotIn need at least one value",
            "messageExpression": "'operator %s for label %s needs at least one value'\
                .format([self.operator, self.key])",
        },
        {
            "rule": "self.operator in ['In', 'NotIn'] || !has(self.values) || self.values.size() == 0",
            "message": "operators Exists and DoesNotExist take no values",
            "messageExpression": "'operator %s for label %s takes no values: remove them, or write In or NotIn'\
                .format([self.operator, self.key])",
        },
    ])
}
