//! What the API server says that it was asked: its metric `apiserver_request_total`.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::lab::LabError;

use super::lean::Server;

const METRIC: &str = "apiserver_request_total";

/// How often the counters are looked at until they rest.
const LOOK: Duration = Duration::from_millis(250);

/// Counters that did not change for so many looks are at rest.
const SAME: u32 = 4;

/// So many looks are made at most.
const LOOKS: u32 = 240;

/// What only reads.
const READING: [&str; 4] = ["GET", "LIST", "WATCH", "CONNECT"];

/// Requests so far, by resource (with its subresource, as in `services/status`), verb and code.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counters(BTreeMap<(String, String, u16), f64>);

impl Counters {
    /// As they are now.
    ///
    /// # Errors
    /// When the API server does not tell.
    pub async fn read(server: &Server) -> Result<Self, LabError> {
        Ok(Self::parse(&server.get("/metrics").await?))
    }

    /// Waits until nothing is written to these resources any more, and returns the counters of then.
    ///
    /// # Errors
    /// When writing does not end.
    pub async fn at_rest(server: &Server, resources: &[&str]) -> Result<Self, LabError> {
        let mut last = Self::read(server).await?;
        let mut same = 0;
        for _ in 0..LOOKS {
            tokio::time::sleep(LOOK).await;
            let now = Self::read(server).await?;
            let written: f64 = resources.iter().map(|resource| now.since(&last).writes(resource)).sum();
            same = if written == 0.0 { same + 1 } else { 0 };
            last = now;
            if same >= SAME {
                return Ok(last);
            }
        }
        Err(LabError::Late {
            what: "an end of writing".into(),
            seconds: u64::from(LOOKS) * LOOK.as_millis() as u64 / 1000,
            state: format!("{:?}", last.0),
        })
    }

    /// As this text of the API server's `/metrics` has them.
    pub(super) fn parse(text: &str) -> Self {
        let mut counters = Counters::default();
        for line in text.lines() {
            let Some((labels, value)) = line
                .strip_prefix(METRIC)
                .and_then(|rest| rest.strip_prefix('{'))
                .and_then(|rest| rest.split_once("} "))
            else {
                continue;
            };
            let label = |name: &str| {
                let value = labels.split(',').find_map(|label| label.strip_prefix(name)?.strip_prefix("=\""));
                value.map(|value| value.trim_end_matches('"')).unwrap_or_default()
            };
            let resource = match label("subresource") {
                "" => label("resource").to_owned(),
                sub => format!("{}/{sub}", label("resource")),
            };
            let (Ok(code), Ok(value)) = (label("code").parse(), value.trim().parse::<f64>()) else {
                continue;
            };
            *counters.0.entry((resource, label("verb").to_owned(), code)).or_default() += value;
        }
        counters
    }

    /// What came since `before`.
    #[must_use]
    pub fn since(&self, before: &Counters) -> Counters {
        let rest = self.0.iter().map(|(key, value)| (key.clone(), value - before.0.get(key).unwrap_or(&0.0)));
        Counters(rest.filter(|(_, value)| *value != 0.0).collect())
    }

    /// How many requests other than reading there were to this resource, whatever came of them.
    pub fn writes(&self, resource: &str) -> f64 {
        self.sum(|(of, verb, _)| of == resource && !READING.contains(&verb.as_str()))
    }

    /// How many of them ended with this code.
    pub fn writes_with(&self, resource: &str, code: u16) -> f64 {
        self.sum(|(of, verb, with)| of == resource && !READING.contains(&verb.as_str()) && *with == code)
    }

    fn sum(&self, which: impl Fn(&(String, String, u16)) -> bool) -> f64 {
        // Not sum(): that of nothing is -0.
        self.0.iter().filter(|(key, _)| which(key)).fold(0.0, |sum, (_, value)| sum + value)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"# TYPE apiserver_request_total counter
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="status",verb="PATCH",version="v1"} 12
apiserver_request_total{code="409",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="status",verb="PATCH",version="v1"} 2
apiserver_request_total{code="200",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="status",verb="GET",version="v1"} 9
apiserver_request_total{code="201",component="apiserver",dry_run="",group="",resource="services",scope="resource",subresource="",verb="POST",version="v1"} 1.2e+02
apiserver_request_duration_seconds_count{code="200",resource="services"} 5
"#;

    #[test]
    fn writes_are_counted_by_resource_and_code() {
        let counters = Counters::parse(TEXT);
        assert_eq!(counters.writes("services/status"), 14.0);
        assert_eq!(counters.writes_with("services/status", 409), 2.0);
        assert_eq!(counters.writes("services"), 120.0);
        assert_eq!(counters.writes("events"), 0.0);
        let later = Counters::parse(&TEXT.replace("} 12", "} 15"));
        assert_eq!(later.since(&counters).writes("services/status"), 3.0);
        assert_eq!(later.since(&later), Counters::default());
    }
}
