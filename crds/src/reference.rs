//! The definitions as a page for readers: `docs/reference.md`.
//!
//! All of it comes from the schemas, so from the Rust types and their comments; only the order of the kinds and what stands
//! between them is written here.

use std::fmt::Write;

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion, JSONSchemaProps, JSONSchemaPropsOrArray,
    JSONSchemaPropsOrBool, ValidationRule,
};

use crate::generate::{self, GenerateError};

/// Writes the page anew; named in it.
pub const COMMAND: &str = "make reference";

/// The chapters: a heading, the kinds in it, and what is said before them.
const CHAPTERS: [(&str, &[&str], &str); 3] = [
    (
        "What you write",
        &["IPAddressPool", "L2Advertisement"],
        "In the namespace of FerroLB alone, `metallb-system` unless chosen otherwise. [Allocation](allocation.md) says which \
         Service gets what of this, [layer 2](layer2.md) who announces it.",
    ),
    (
        "What FerroLB writes",
        &["ServiceL2Status", "ConfigurationState"],
        "To be read, and not to be written: what somebody else changes in them is put right again.",
    ),
    (
        "What is taken and not followed",
        &["BGPPeer", "BGPAdvertisement", "BFDProfile", "Community"],
        "Kinds of MetalLB for BGP, which FerroLB does not speak. Manifests with them apply, and each object says so in its \
         condition `NotSupported`. The fields are those of MetalLB.",
    ),
];

/// The page.
///
/// # Errors
/// Versions of one kind that do not belong together, which a test excludes.
pub fn page() -> Result<String, GenerateError> {
    let definitions = generate::definitions()?;
    let mut page = format!(
        "# Reference: the objects of `metallb.io`\n\n<!-- Generated from the Rust types by `{COMMAND}`; do not edit. -->\n\n\
         All fields of all kinds, as the API server has them from `crds/`: `kubectl explain ipaddresspool.spec` shows the same. \
         What a Service can ask for by annotations is in [allocation](allocation.md#what-a-service-can-ask-for), the flags of the \
         programs are in [flags](flags.md), the values of the chart in [install](install.md#values).\n"
    );
    for (heading, kinds, words) in CHAPTERS {
        put(&mut page, format_args!("\n## {heading}\n\n{words}\n"));
        for kind in kinds {
            for definition in definitions.iter().filter(|all| all.spec.names.kind == *kind) {
                write_kind(&mut page, definition);
            }
        }
    }
    page += SELECTORS;
    Ok(page)
}

/// What is said once of all selectors.
const SELECTORS: &str = "
## Selectors

A selector looks at labels. All that it asks must hold; one that is empty selects everything.

| field | type | what it is |
|---|---|---|
| `matchLabels` | map of strings | Labels that must be there with exactly these values. |
| `matchExpressions[].key` | string | The name of a label. |
| `matchExpressions[].operator` | string | `In`, `NotIn`, `Exists` or `DoesNotExist`. |
| `matchExpressions[].values` | list of strings | For `In` and `NotIn`, at least one; for the others none. |

```yaml
nodeSelectors:
- matchLabels: {kubernetes.io/hostname: node1}
- matchExpressions: [{key: rack, operator: In, values: [a, b]}]
```

## Conditions

Each has `type`, `status` (`True`, `False` or `Unknown`), `reason`, `message`, `lastTransitionTime`, and where it applies
`observedGeneration`, as in every Kubernetes object.
";

fn write_kind(page: &mut String, definition: &CustomResourceDefinition) {
    let spec = &definition.spec;
    let versions: Vec<&str> = spec.versions.iter().map(|version| version.name.as_str()).collect();
    let Some(stored) = spec.versions.iter().find(|version| version.storage) else { return };
    let Some(schema) = stored.schema.as_ref().and_then(|schema| schema.open_api_v3_schema.as_ref()) else {
        return;
    };
    put(page, format_args!("\n### {}\n\n{}\n\n", spec.names.kind, one_line(schema)));
    let others: Vec<String> =
        versions.iter().filter(|name| **name != stored.name).map(|name| format!(", also `{name}`")).collect();
    put(
        page,
        format_args!(
            "`apiVersion: {}/{}`{}; `kubectl get {}`",
            spec.group,
            stored.name,
            others.concat(),
            spec.names.plural
        ),
    );
    put(page, format_args!("{}\n", columns(stored)));
    for part in ["spec", "status"] {
        let Some(fields) = schema.properties.as_ref().and_then(|properties| properties.get(part)) else {
            continue;
        };
        put(page, format_args!("\n| field | type | default | what it is |\n|---|---|---|---|\n"));
        write_fields(page, part, fields);
    }
}

/// What `kubectl get` shows of it.
fn columns(version: &CustomResourceDefinitionVersion) -> String {
    let columns = version.additional_printer_columns.iter().flatten();
    let names: Vec<String> = columns
        .map(|column| {
            let wide = if column.priority.unwrap_or_default() > 0 { " (`-o wide`)" } else { "" };
            format!("{}{wide}", column.name)
        })
        .collect();
    if names.is_empty() { ".".to_owned() } else { format!(" shows: {}.", names.join(", ")) }
}

/// One line for each field below `path`, but for the parts of selectors and conditions.
fn write_fields(page: &mut String, path: &str, schema: &JSONSchemaProps) {
    let required = schema.required.as_deref().unwrap_or_default();
    for (name, field) in schema.properties.iter().flatten() {
        let path = format!("{path}.{name}");
        let needed = required.contains(name) && path.starts_with("spec");
        let default = match &field.default {
            Some(value) => format!("`{}`", value.0),
            None if needed => "required".to_owned(),
            None => String::new(),
        };
        put(
            page,
            format_args!(
                "| `{path}` | {} | {default} | {}{} |\n",
                kind(field),
                one_line(field),
                limits(field)
            ),
        );
        let (inner, path) = match items(field) {
            Some(items) => (items, format!("{path}[]")),
            None => (field, path),
        };
        if named(inner).is_none() {
            write_fields(page, &path, inner);
        }
    }
}

/// What is explained once, at the end of the page.
fn named(schema: &JSONSchemaProps) -> Option<(&'static str, &'static str)> {
    let properties = schema.properties.as_ref()?;
    if properties.contains_key("matchLabels") {
        Some(("selector", "selectors"))
    } else if properties.contains_key("lastTransitionTime") {
        Some(("condition", "conditions"))
    } else {
        None
    }
}

fn items(schema: &JSONSchemaProps) -> Option<&JSONSchemaProps> {
    match schema.items.as_ref()? {
        JSONSchemaPropsOrArray::Schema(items) => Some(items),
        JSONSchemaPropsOrArray::Schemas(_) => None,
    }
}

fn kind(schema: &JSONSchemaProps) -> String {
    if let Some((one, all)) = named(schema) {
        return format!("[{one}](#{all})");
    }
    if let Some(items) = items(schema) {
        return match named(items) {
            Some((_, all)) => format!("list of [{all}](#{all})"),
            None => format!("list of {}s", kind(items)),
        };
    }
    if matches!(schema.additional_properties, Some(JSONSchemaPropsOrBool::Schema(_))) {
        return "map of strings".to_owned();
    }
    schema.type_.clone().unwrap_or_else(|| "anything".to_owned())
}

/// What the API server asks of a value: bounds, a choice, and rules by what it says when they are broken.
fn limits(schema: &JSONSchemaProps) -> String {
    let mut said: Vec<String> = Vec::new();
    for schema in std::iter::once(schema).chain(items(schema)) {
        if let Some(values) = &schema.enum_ {
            let values: Vec<String> =
                values.iter().filter(|value| !value.0.is_null()).map(|value| text(&value.0)).collect();
            said.push(format!("One of {}.", values.join(", ")));
        }
        match (schema.minimum, schema.maximum) {
            (Some(least), Some(most)) => said.push(format!("{least} to {most}.")),
            (Some(least), None) => said.push(format!("At least {least}.")),
            (None, Some(most)) => said.push(format!("At most {most}.")),
            (None, None) => {}
        }
        match (schema.min_items.filter(|least| *least > 0), schema.max_items) {
            (Some(least), Some(most)) => said.push(format!("{least} to {most} entries.")),
            (None, Some(most)) => said.push(format!("At most {most} entries.")),
            _ => {}
        }
        let rules: &[ValidationRule] = schema.x_kubernetes_validations.as_deref().unwrap_or_default();
        said.extend(rules.iter().filter_map(|rule| Some(format!("Refused: {}.", rule.message.as_deref()?))));
    }
    said.iter().map(|words| format!(" {}", escaped(words))).collect()
}

/// A value as it is written in YAML.
fn text(value: &serde_json::Value) -> String {
    value.as_str().map_or_else(|| format!("`{value}`"), |text| format!("`{text}`"))
}

/// The description of a field, for a cell of a table.
fn one_line(schema: &JSONSchemaProps) -> String {
    let words = schema.description.as_deref().unwrap_or_default();
    escaped(&words.split_whitespace().collect::<Vec<_>>().join(" "))
}

/// As a cell of a table can have it.
fn escaped(words: &str) -> String {
    words.replace('|', "\\|").replace('<', "&lt;")
}

/// Appends to a page; a string takes everything.
fn put(page: &mut String, words: std::fmt::Arguments<'_>) {
    let _ = page.write_fmt(words);
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn the_page_in_the_repository_is_current() {
        let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/reference.md");
        let stored = std::fs::read_to_string(file).unwrap();
        assert!(stored == page().unwrap(), "docs/reference.md is stale: run `{COMMAND}`");
    }

    #[test]
    fn every_kind_and_field_is_on_the_page() {
        let page = page().unwrap();
        for definition in generate::definitions().unwrap() {
            let heading = format!("\n### {}\n", definition.spec.names.kind);
            assert_eq!(page.matches(&heading).count(), 1, "{heading}");
        }
        for (row, words) in [
            ("| `spec.addresses` | list of strings | required |", "1 to 4000 entries."),
            ("| `spec.autoAssign` | boolean | `true` |", "Whether Services"),
            (
                "| `spec.serviceAllocation.namespaceSelectors` | list of [selectors](#selectors) |",
                "At most 250",
            ),
            ("| `spec.preferredNodeSelectors[].weight` | integer | required |", "1 to 100."),
            ("| `status.conditions` | list of [conditions](#conditions) |", "Overlapping"),
        ] {
            let line = page.lines().find(|line| line.starts_with(row));
            let line = line.unwrap_or_else(|| panic!("no row {row}"));
            assert!(line.contains(words), "{line}");
        }
        assert!(!page.contains("matchLabels` | map of strings |  |"), "selectors are explained once");
    }

    #[test]
    fn a_cell_stays_a_cell() {
        assert_eq!(escaped("a|b <c>"), "a\\|b &lt;c>");
    }
}
