//! A node whose kube-proxy hangs answers for nothing, as long as another node can.

use std::collections::BTreeSet;
use std::os::unix::fs::MetadataExt;

use ferrolb_tests::lab::progress::wait;
use ferrolb_tests::lab::{Lab, LabError, process};
use ferrolb_tests::scene::SYSTEM;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::json;

use crate::stage::{Family, Stage, on_stage};

#[test]
fn a_node_whose_service_proxy_hangs_is_the_last_until_it_answers_again() {
    on_stage("proxy", Family::V4, 78, hanging_proxy);
}

/// kube-proxy of a node, stopped until this is dropped.
struct Stopped(Pid);

impl Drop for Stopped {
    fn drop(&mut self) {
        let _ = kill(self.0, Signal::SIGCONT);
    }
}

impl Stopped {
    fn on(lab: &Lab, node: &str) -> Result<Self, LabError> {
        let netns = lab.paths.netns(node);
        let inode = std::fs::metadata(&netns).map_err(LabError::at(&netns))?.ino();
        let all = process::in_namespaces(&BTreeSet::from([inode]));
        let proxy = all.into_iter().find(|pid| process::command_line(*pid).contains("kube-proxy"));
        let pid = Pid::from_raw(proxy.ok_or_else(|| LabError::State(format!("no kube-proxy on {node}")))?);
        kill(pid, Signal::SIGSTOP)
            .map_err(|error| LabError::State(format!("stopping kube-proxy: {error}")))?;
        Ok(Stopped(pid))
    }
}

/// What the speaker of `node` says of its proxy in its ConfigurationState.
async fn said(stage: &Stage, node: &str, status: &str) -> Result<(), LabError> {
    let name = format!("configurationstate/speaker-{node}");
    let path = "jsonpath={.status.conditions[?(@.type=='ServiceProxyHealthy')].status}";
    wait(&format!("ServiceProxyHealthy={status} of {node}"), 60, async || {
        let shown = process::run(stage.lab.kubectl().args(["-n", SYSTEM, "get", &name, "-o", path]))
            .map_err(|error| error.to_string())?;
        if shown == status { Ok(()) } else { Err(format!("it is {shown:?}")) }
    })
    .await
}

async fn hanging_proxy(stage: &Stage) -> Result<(), LabError> {
    let address = stage.web_advertised(json!({})).await?;
    let order = stage.order(address);
    stage.owned_by(address, &order[0]).await?;
    said(stage, &order[0], "True").await?;
    let stopped = Stopped::on(&stage.lab, &order[0])?;
    said(stage, &order[0], "False").await?;
    stage.owned_by(address, &order[1]).await?;
    drop(stopped);
    stage.owned_by(address, &order[0]).await?;
    said(stage, &order[0], "True").await
}
