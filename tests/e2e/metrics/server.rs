//! A Prometheus beside the control plane of a lab, and what it answers.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use ferrolb_tests::host::Host;
use ferrolb_tests::lab::progress::{Progress, wait};
use ferrolb_tests::lab::{Lab, LabError, process, prometheus};
use serde_json::Value;

use crate::documents::rule_object;

/// Where it listens, in its own network namespace.
const ADDRESS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);

/// A program to be scraped.
#[derive(Clone, Debug)]
pub(crate) struct Target {
    /// `controller` or `speaker`.
    pub(crate) job: String,
    /// Address and port.
    pub(crate) address: String,
}

/// One that scrapes each second. It ends when this is dropped.
pub(crate) struct Prometheus {
    child: Child,
    host: Host,
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// What is to be scraped, and how: `how` is put into each job.
fn configuration(targets: &[Target], how: &str) -> String {
    let mut text = "global: {scrape_interval: 1s, scrape_timeout: 1s, evaluation_interval: 1s}\nrule_files: [rules.yaml]\n\
                    scrape_configs:\n"
        .to_owned();
    for job in ["controller", "speaker"] {
        let of = targets.iter().filter(|target| target.job == job);
        let addresses: Vec<String> = of.map(|target| format!("'{}'", target.address)).collect();
        text +=
            &format!("- job_name: {job}\n{how}  static_configs: [{{targets: [{}]}}]\n", addresses.join(", "));
    }
    text
}

impl Prometheus {
    /// Starts it in `folder`, in the namespace of the control plane.
    pub(crate) fn start(lab: &Lab, folder: &Path, targets: &[Target], how: &str) -> Result<Self, LabError> {
        let program = prometheus::program(prometheus::PROMETHEUS, &Progress::default())?;
        let write = |name: &str, text: &str| {
            let path = folder.join(name);
            std::fs::write(&path, text).map_err(LabError::at(&path))
        };
        write("rules.yaml", &rule_object()["spec"].to_string())?;
        write("prometheus.yaml", &configuration(targets, how))?;
        let mut command = process::in_netns(&lab.paths.netns("cp"), program);
        command.current_dir(folder).args([
            "--config.file=prometheus.yaml",
            "--storage.tsdb.path=data",
            &format!("--web.listen-address={ADDRESS}"),
        ]);
        let child = process::spawn(command, &folder.join("prometheus.log"))?;
        Ok(Prometheus { child, host: lab.host("cp")? })
    }

    /// Waits until of all targets, of which there are so many, it says `words`; `up` of those that it can scrape.
    pub(crate) async fn says_of_each(&self, count: usize, words: &str) -> Result<(), LabError> {
        wait(&format!("{words:?} of each target"), 60, async || {
            let targets = self.get("/api/v1/targets?state=active")?;
            let all = targets["data"]["activeTargets"].as_array().cloned().unwrap_or_default();
            let said = |target: &Value| match target["health"].as_str() {
                Some("down") => format!("{}: {}", target["scrapeUrl"], target["lastError"]),
                health => format!("{}: {}", target["scrapeUrl"], health.unwrap_or("nothing yet")),
            };
            let said: Vec<String> = all.iter().map(said).collect();
            let right = said.len() == count && said.iter().all(|one| one.contains(words));
            if right { Ok(()) } else { Err(said.join("; ")) }
        })
        .await
    }

    fn get(&self, path: &str) -> Result<Value, String> {
        let path = path.to_owned();
        let text = self.host.inside(move || {
            let mut stream = TcpStream::connect_timeout(&ADDRESS, Duration::from_secs(2))?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            write!(stream, "GET {path} HTTP/1.0\r\nHost: prometheus\r\n\r\n")?;
            let mut text = Vec::new();
            stream.read_to_end(&mut text)?;
            String::from_utf8(text).map_err(io::Error::other)
        });
        let text = text.map_err(|error| error.to_string())?;
        let body = text.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str(body).map_err(|error| format!("{error}: {text}"))
    }

    /// What an expression comes to now: labels and value.
    pub(crate) fn query(&self, expression: &str) -> Result<Vec<(Value, f64)>, String> {
        let query: String = form_urlencoded::byte_serialize(expression.as_bytes()).collect();
        let answer = self.get(&format!("/api/v1/query?query={query}"))?;
        let Some(result) = answer["data"]["result"].as_array() else { return Err(answer.to_string()) };
        let value = |sample: &Value| sample["value"][1].as_str()?.parse().ok();
        Ok(result.iter().filter_map(|sample| Some((sample["metric"].clone(), value(sample)?))).collect())
    }

    /// How an alert stands: `pending`, `firing`, or not at all.
    pub(crate) fn alert(&self, name: &str) -> Result<Option<String>, String> {
        let found = self.query(&format!("ALERTS{{alertname=\"{name}\"}}"))?;
        Ok(found.first().and_then(|(labels, _)| labels["alertstate"].as_str().map(str::to_owned)))
    }
}
