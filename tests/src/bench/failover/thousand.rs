//! A node with a thousand addresses dies: how long after the first of them the last is answered for.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::calm::calm;
use super::case::{Case, figure};
use crate::bench::report::{Report, milliseconds, percentile};
use crate::chaos::Stage;
use crate::chaos::watch::ASKER;
use crate::judge::{Judge, Sweep, TakeOver, TakeOvers};
use crate::lab::LabError;
use crate::lab::network::Network;
use crate::lab::progress::{Progress, wait};
use crate::scene::{Scene, election_order, shown};

/// How many.
const COUNT: usize = 1000;

/// Where the addresses are from: 10.10.16.0/20, of which each node has a third.
const FIRST: Ipv4Addr = Ipv4Addr::new(10, 10, 16, 0);

/// So many addresses there are.
const RANGE: u32 = 4096;

/// So many Services are made at once.
const WRITERS: usize = 16;

/// Each address is asked for once in this time, while nothing happens.
const SLOW: Duration = Duration::from_secs(1);

/// And in this time from its announcement on, until it is answered: the error of the times of the answers.
const FAST: Duration = Duration::from_millis(50);

/// How long anything may take, in seconds. MetalLB gives 31 addresses a second on an idle machine of two cores.
const PATIENCE: u64 = 600;

/// What was seen in one trial, from the moment of the fault on.
struct Spread {
    announced: Option<(Duration, Duration)>,
    answered: (Duration, Duration),
}

/// Makes the Services, all with addresses of the first node in order, and lets that node die as often as asked for.
///
/// # Errors
/// When something could not be done, or an address was not taken over.
pub(super) async fn measure(
    stage: &Stage,
    trials: usize,
    goals: bool,
    report: &mut Report,
    progress: &Progress,
) -> Result<(), LabError> {
    progress.say(&format!("{COUNT} Services, all of whose addresses {} has", stage.first()));
    let addresses = addresses(stage)?;
    let scene = services(stage, &addresses).await?;
    let mut spreads = Vec::new();
    for number in 1..=trials {
        let spread = one(stage, &addresses).await?;
        let after = |(first, last): (Duration, Duration)| milliseconds(last - first);
        progress.say(&format!(
            "{}, {COUNT} addresses, {number} of {trials}: the first answered after {:.0} ms, the last {:.0} ms later; announced within {:.0} ms",
            stage.balancer.name(),
            milliseconds(spread.answered.0),
            after(spread.answered),
            spread.announced.map(after).unwrap_or(f64::NAN),
        ));
        spreads.push(spread);
        stage.power_on(stage.first()).await?;
        stage.well().await?;
    }
    let name = format!("{}, {COUNT} addresses on the dead node", stage.balancer.name());
    let last = |of: &dyn Fn(&Spread) -> Option<(Duration, Duration)>| -> Vec<f64> {
        spreads
            .iter()
            .filter_map(|spread| of(spread).map(|(first, last)| milliseconds(last - first)))
            .collect()
    };
    report.tell(format!("{name}: trials"), trials as f64, "");
    let firsts: Vec<f64> = spreads.iter().map(|spread| milliseconds(spread.answered.0)).collect();
    report.tell(format!("{name}: the first answered after, p50"), percentile(&firsts, 50), "ms");
    let announced = last(&|spread| spread.announced);
    report.tell(
        format!("{name}: the last announced after the first, max"),
        percentile(&announced, 100),
        "ms",
    );
    let answered = last(&|spread| Some(spread.answered));
    let figure = figure(Case::Thousand.steps()[0], "last");
    report.sample(figure, stage.balancer.who(), "ms", answered.iter().copied());
    let what = format!("{name}: the last answered after the first (asked from its announcement on), max");
    report.figure(what, percentile(&answered, 100), "ms", goals.then_some(150.0));
    scene.end().await
}

/// Addresses for which the first node of the stage is elected.
fn addresses(stage: &Stage) -> Result<Vec<IpAddr>, LabError> {
    let all = (0..RANGE).map(|number| Ipv4Addr::from(u32::from(FIRST) + number));
    let of_first =
        all.filter(|address| election_order(stage.lab(), &address.to_string())[0] == stage.first());
    let found: Vec<IpAddr> = of_first.take(COUNT).map(IpAddr::V4).collect();
    if found.len() < COUNT {
        return Err(LabError::State(format!("only {} addresses are of {}", found.len(), stage.first())));
    }
    Ok(found)
}

async fn services(stage: &Stage, addresses: &[IpAddr]) -> Result<Scene, LabError> {
    let scene = Scene::in_lab(stage.lab(), "thousand").await?;
    scene.pool(&format!("{FIRST}/20")).await?;
    let endpoint = [stage.order[stage.order.len() - 1].as_str()];
    let create = async |number: usize, address: &IpAddr| -> Result<(), LabError> {
        let name = format!("web{number}");
        let service = scene.service(&name).family("IPv4").with("selector", Value::Null);
        let service = service.with("allocateLoadBalancerNodePorts", json!(false));
        service.annotated("metallb.io/loadBalancerIPs", &address.to_string()).create().await?;
        scene.endpoints(&name, "IPv4", &endpoint).await
    };
    futures::stream::iter(addresses.iter().enumerate())
        .map(|(number, address)| create(number, address))
        .buffer_unordered(WRITERS)
        .try_collect::<Vec<()>>()
        .await?;
    wait(&format!("{COUNT} addresses"), PATIENCE, async || {
        let list = scene.services().list(&kube::api::ListParams::default()).await;
        let list = list.map_err(|error| error.to_string())?;
        let given = list.items.iter().filter(|service| !shown(service).is_empty()).count();
        if given == COUNT { Ok(()) } else { Err(format!("{given} are given")) }
    })
    .await?;
    Ok(scene)
}

async fn one(stage: &Stage, addresses: &[IpAddr]) -> Result<Spread, LabError> {
    let on_wire =
        |error: std::io::Error| LabError::Program { program: "on the wire".into(), why: error.to_string() };
    let owner = stage.first();
    calm().await?;
    // What nodes say alone: the questions are many, and nobody doubts them.
    let judge = Judge::watch_hosts(stage.lab(), &stage.lab().config.node_names())?;
    let asker = stage.lab().host(ASKER)?;
    let sweep = Sweep::start(&asker, Network::Lan, addresses, SLOW).map_err(on_wire)?;
    let quick = Sweep::start_sparing(&asker, Network::Lan, addresses, FAST).map_err(on_wire)?;
    let answered = |before: &str, since: Duration| {
        let mut by_others = TakeOvers::new(Network::Lan, addresses.iter().copied(), before, since);
        judge.so_far(|seen| by_others.go_on(seen));
        by_others.found().values().filter(|taken| taken.answered.is_some()).count()
    };
    wait(&format!("{owner} to answer for all {COUNT} addresses, alone"), PATIENCE, async || {
        let since = judge.now().saturating_sub(3 * SLOW);
        let (by_anybody, by_others) = (answered("", since), answered(owner, since));
        if (by_anybody, by_others) == (COUNT, 0) {
            Ok(())
        } else {
            Err(format!("{by_anybody} are answered, {by_others} of them by others"))
        }
    })
    .await?;
    let at = judge.now();
    stage.power_off(owner)?;
    let take_overs = TakeOvers::new(Network::Lan, addresses.iter().copied(), owner, at);
    let found = until_taken(&quick, addresses, &judge, take_overs).await;
    sweep.stop().and(quick.stop()).map_err(on_wire)?;
    judge.stop().map_err(on_wire)?;
    let found = match found {
        Ok(found) => found,
        // The node is not left dead.
        Err(error) => return stage.power_on(owner).await.and(Err(error)),
    };
    let span = |of: &dyn Fn(&TakeOver) -> Option<Duration>| {
        let times: Vec<Duration> =
            found.found().values().filter_map(of).map(|time| time.saturating_sub(at)).collect();
        Some((*times.iter().min()?, *times.iter().max()?))
    };
    let answered = span(&|taken| taken.answered).unwrap_or_default();
    Ok(Spread { announced: span(&|taken| taken.announced), answered })
}

/// Waits until all are answered for. Each is asked for by `quick` from its announcement on, until it is answered: a flood of
/// questions for what nobody has yet would keep those from their work who take it over.
async fn until_taken(
    quick: &Sweep,
    addresses: &[IpAddr],
    judge: &Judge,
    mut take_overs: TakeOvers,
) -> Result<TakeOvers, LabError> {
    /// How often is looked who announced and answered. It must not be seldom beside the time of a round.
    const LOOK: Duration = Duration::from_millis(5);
    let deadline = Instant::now() + Duration::from_secs(PATIENCE);
    loop {
        judge.so_far(|seen| take_overs.go_on(seen));
        let of = |address: &IpAddr| take_overs.found().get(address).copied().unwrap_or_default();
        let asked = |taken: TakeOver| taken.announced.is_some() && taken.answered.is_none();
        quick.spare(addresses.iter().map(|address| !asked(of(address))));
        let left = addresses.iter().filter(|address| of(address).answered.is_none()).count();
        if left == 0 {
            return Ok(take_overs);
        }
        if Instant::now() > deadline {
            let state = format!("{left} are not answered");
            return Err(LabError::Late {
                what: "answers for all addresses".into(),
                seconds: PATIENCE,
                state,
            });
        }
        tokio::time::sleep(LOOK).await;
    }
}
