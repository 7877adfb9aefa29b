//! Nothing happens to an address, but the machine is busy or frames are lost: nobody may take it over.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::case::{Case, figure};
use crate::bench::report::{Report, milliseconds};
use crate::chaos::{Stage, Watch, fault};
use crate::lab::LabError;
use crate::lab::progress::{Progress, wait};

/// So many threads do nothing but count, beside all that the cluster does.
const LOOPS: usize = 8;

/// The share of frames that is lost, in thousandths, on the way from a node and on the way to one.
const LOSS: u32 = 50;

/// How long it may take until the address is calm, in seconds.
const PATIENCE: u64 = 60;

/// Threads that are busy. They end when dropped.
struct Busy(Arc<AtomicBool>);

impl Busy {
    fn begin() -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        for _ in 0..LOOPS {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut count = 0_u64;
                while !stop.load(Ordering::Relaxed) {
                    count = std::hint::black_box(count.wrapping_add(1));
                }
            });
        }
        Busy(stop)
    }
}

impl Drop for Busy {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Watches for so many minutes and reports how often the address changed hands, and who else spoke for it.
///
/// # Errors
/// When something could not be done.
pub(super) async fn measure(
    stage: &Stage,
    case: Case,
    minutes: u64,
    goals: bool,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), LabError> {
    let watch = Watch::begin(stage.lab(), stage.address, 0)?;
    wait("the instruments to see a calm address", PATIENCE, async || {
        watch.calm_for(Duration::from_millis(500))
    })
    .await?;
    let (busy, drops) = match case {
        Case::Loss => (None, Some(fault::loss(stage.lab(), LOSS)?)),
        _ => (Some(Busy::begin()), None),
    };
    let what = case.steps()[0];
    let name = format!("{}, {what} for {minutes} min", stage.balancer.name());
    progress.say(&name);
    let began = watch.clock().now();
    tokio::time::sleep(Duration::from_secs(60 * minutes)).await;
    let until = watch.clock().now();
    drop(busy);
    if let Some(drops) = drops {
        drops.end()?;
    }
    let watched = watch.end()?;
    let verdict =
        watched.record.verdict_between(stage.address, crate::lab::network::Network::Lan, began, until);
    let others = stage.order.iter().skip(1).map(|node| verdict.claims_of(node, began));
    let claims: usize = others.map(|(answers, announcements)| answers + announcements).sum();
    for (figure, value) in
        [("false take-overs", verdict.moves()), ("frames by which others claim it", claims)]
    {
        report.figure(format!("{name}: {figure}"), value as f64, "", goals.then_some(0.0));
    }
    let moves = [verdict.moves() as f64];
    report.sample(figure(what, "take-overs"), stage.balancer.who(), "", moves);
    let (asked, unanswered) = verdict.counts();
    report.tell(format!("{name}: questions"), asked as f64, "");
    report.tell(format!("{name}: unanswered in 100"), 100.0 * unanswered as f64 / asked.max(1) as f64, "");
    report.tell(format!("{name}: longest silence"), milliseconds(verdict.longest_silence), "ms");
    report.tell(
        format!("{name}: the prober's own error, p99"),
        milliseconds(verdict.pace(crate::judge::Prober::EVERY).p99),
        "ms",
    );
    stage.well().await
}
