//! The flags and variables of MetalLB's containers, and what of FerroLB's corresponds.

use serde::Serialize;

use super::cluster::Setting;

/// What becomes of a setting.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase", tag = "answer")]
pub enum Answer {
    /// FerroLB has it; step 4 sets this variable.
    CarriedOver {
        /// The variable's name.
        variable: &'static str,
        /// Its value.
        value: String,
        /// Controller and speaker must have the same.
        both: bool,
    },
    /// It is FerroLB's default, or FerroLB's manifests set it.
    SameAnyway,
    /// FerroLB does without.
    NotNeeded {
        /// Why.
        why: &'static str,
    },
    /// FerroLB does not do it.
    NotSupported {
        /// What.
        why: &'static str,
    },
    /// This program does not know it.
    Unknown,
}

/// A setting and its answer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Answered {
    /// `controller` or `speaker`.
    pub part: &'static str,
    /// As it is written.
    pub setting: String,
    /// What becomes of it.
    #[serde(flatten)]
    pub answer: Answer,
}

impl std::fmt::Display for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Answer::CarriedOver { variable, value, both: true } => {
                write!(f, "step 4 sets {variable}={value} on controller and speaker")
            }
            Answer::CarriedOver { variable, value, both: false } => {
                write!(f, "step 4 sets {variable}={value}")
            }
            Answer::SameAnyway => f.write_str("the same without a setting"),
            Answer::NotNeeded { why } => write!(f, "not needed: {why}"),
            Answer::NotSupported { why } => write!(f, "not supported: {why}"),
            Answer::Unknown => f.write_str("not known here: look up what it does before you go on"),
        }
    }
}

/// What corresponds in FerroLB to the settings of `part`, in namespace `namespace`.
pub(crate) fn answers(part: &'static str, settings: &[Setting], namespace: &str) -> Vec<Answered> {
    let answered = |setting: &Setting| Answered {
        part,
        setting: setting.written.clone(),
        answer: answer(&setting.name, &setting.value, namespace),
    };
    settings.iter().map(answered).collect()
}

const HELLOS: Answer = Answer::NotNeeded { why: "speakers hear each other on the link (docs/hello.md)" };
const PORTS: Answer = Answer::NotNeeded {
    why: "FerroLB's ports are 17480 (controller) and 17481 (speaker); tell your Prometheus",
};
const WEBHOOK: Answer = Answer::NotNeeded { why: "there is no webhook" };
const PLAIN: Answer = Answer::NotSupported { why: "FerroLB's metrics are plain HTTP" };
const BGP: Answer = Answer::NotSupported { why: "FerroLB does not speak BGP" };

fn answer(name: &str, value: &str, namespace: &str) -> Answer {
    let carried =
        |variable, value: &str, both| Answer::CarriedOver { variable, value: value.to_owned(), both };
    match name {
        "lb-class" if value.is_empty() => Answer::SameAnyway,
        "lb-class" => carried("FERROLB_LB_CLASS", value, true),
        "ignore-exclude-lb" if matches!(value, "true" | "1" | "t" | "T" | "TRUE" | "True") => {
            carried("FERROLB_IGNORE_EXCLUDE_LB", "true", false)
        }
        "log-level" => match value {
            "info" => Answer::SameAnyway,
            "all" => carried("FERROLB_LOG_LEVEL", "trace", false),
            "none" => carried("FERROLB_LOG_LEVEL", "off", false),
            level => carried("FERROLB_LOG_LEVEL", level, false),
        },
        "namespace" | "METALLB_NAMESPACE" if value != namespace => {
            Answer::NotSupported { why: "FerroLB reads the pools of its own namespace" }
        }
        "ignore-exclude-lb" | "namespace" | "METALLB_NAMESPACE" | "node-name" | "pod-name" | "host"
        | "deployment" | "METALLB_NODE_NAME" | "METALLB_POD_NAME" | "METALLB_HOST" | "METALLB_DEPLOYMENT" => {
            Answer::SameAnyway
        }
        "port" | "health-probe-port" | "pprof-bind-address" => PORTS,
        name if name.starts_with("ml-") || name.starts_with("METALLB_ML_") => HELLOS,
        "disable-cert-rotation" => WEBHOOK,
        name if name.starts_with("webhook-") || name.starts_with("cert-") => WEBHOOK,
        "metrics-cert-dir" => PLAIN,
        name if name.starts_with("tls-") => PLAIN,
        "METALLB_BGP_TYPE" if value == "native" || value.is_empty() => {
            Answer::NotNeeded { why: "FerroLB does not speak BGP" }
        }
        "METALLB_BGP_TYPE" | "bgp-debounce-timeout" | "METALLB_BGP_DEBOUNCE_TIMEOUT" => BGP,
        name if ["frrk8s-", "FRR_", "FRRK8S_"].iter().any(|prefix| name.starts_with(prefix)) => BGP,
        _ => Answer::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_ferrolb_has_is_carried_over_and_nothing_is_passed_over_in_silence() {
        let of = |name, value| answer(name, value, "lb");
        let class = Answer::CarriedOver { variable: "FERROLB_LB_CLASS", value: "metal".into(), both: true };
        assert_eq!(of("lb-class", "metal"), class);
        assert_eq!(of("lb-class", ""), Answer::SameAnyway);
        assert_eq!(of("ignore-exclude-lb", "false"), Answer::SameAnyway);
        let level = Answer::CarriedOver { variable: "FERROLB_LOG_LEVEL", value: "trace".into(), both: false };
        assert_eq!(of("log-level", "all"), level);
        assert_eq!(of("ml-bindport", "7946"), HELLOS);
        assert_eq!(of("webhook-mode", "enabled"), WEBHOOK);
        assert_eq!(of("METALLB_BGP_TYPE", "frr-k8s"), BGP);
        assert_eq!(of("METALLB_NAMESPACE", "lb"), Answer::SameAnyway);
        assert!(matches!(of("namespace", "elsewhere"), Answer::NotSupported { .. }));
        assert_eq!(of("never-heard", "1"), Answer::Unknown);
    }

    #[test]
    fn each_variable_is_one_of_ferrolbs() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let texts: String = ["runtime/src/args.rs", "speaker/src/args.rs"]
            .iter()
            .map(|file| std::fs::read_to_string(format!("{folder}/{file}")).unwrap())
            .collect();
        for variable in [
            "FERROLB_LB_CLASS",
            "FERROLB_IGNORE_EXCLUDE_LB",
            "FERROLB_LOG_LEVEL",
            super::super::steps::EXCLUDE,
        ] {
            assert!(texts.contains(&format!("env = \"{variable}\"")), "{variable}");
        }
    }
}
