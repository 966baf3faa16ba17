//! `quorate demo`: a cluster on this machine under open-loop load, then the proof that all its
//! validators agree.
//!
//! Owns the processes and the folder, and removes both however it ends, but for a folder that is to
//! be kept. Never: leaves a validator running.

mod exchange;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use quorate_bench::cluster::{Cluster, Ended};
use quorate_bench::load::{Chain, LoadPlan, Outcome, run as drive};
use quorate_bench::report::{Agreement, LoadReport};
use quorate_bench::testnet::{Testnet, Workload, free_base_port};
use serde::Serialize;

use crate::agreement::{self, Logs, Status};
use crate::applications::Applications;
use crate::commands::node;
use crate::drive::{Hgrm, LoadOptions, complaints, measured, setting, teller, text};
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Report, progress};
use crate::plan::ClusterOptions;
use crate::scratch::Scratch;
use crate::verdict;

/// How long the validators may take until all answer.
const START: Duration = Duration::from_secs(120);
/// How long one look at the starting validators takes.
const LOOK: Duration = Duration::from_millis(250);
/// How long the validators may take to stand at one height after the load.
const SETTLE: Duration = Duration::from_secs(120);
/// How long the validators may take to stop.
const STOP: Duration = Duration::from_secs(120);

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    #[command(flatten)]
    pub(crate) cluster: ClusterOptions,
    #[command(flatten)]
    pub(crate) load: LoadOptions,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be measured
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,
    /// Leave that folder, with the keys and logs of all validators, and say where it is
    #[arg(long)]
    keep: bool,
}

/// Runs the demo.
///
/// # Errors
/// The options contradict each other, or the validators do not start.
pub(crate) fn run(applications: &Applications, options: &Options) -> Result<Report, Failure> {
    let workload = options.cluster.workload.into();
    let mut plan = options.load.plan(workload)?;
    plan.keeps_acknowledged = workload == Workload::Exchange;
    let base_port = free_base_port(options.cluster.plan(1)?.weights.len())?;
    let cluster_plan = options.cluster.plan(base_port)?;
    let hgrm = Hgrm::open(options.load.hgrm.as_deref())?;
    let interrupt = Interrupt::install()?;
    let mut scratch = Scratch::create(options.dir.as_deref())?;
    if options.keep {
        // However it ends: what did not end well is what somebody wants to look at.
        scratch.keep();
        progress(&format!(
            "what is left stays in {}",
            scratch.path().display()
        ));
    }
    let testnet = Testnet::create(&scratch.path().join("testnet"), &cluster_plan)?;
    let chain = Chain::of(testnet.genesis());
    let quiet = std::sync::Arc::new(|_: usize, _: &str| ());
    // Dropped before the folder is removed: nothing is written into it any more then.
    let mut cluster = Cluster::new(node::launches(&testnet)?, quiet);
    cluster.start_all()?;
    let before = wait_until_up(&mut cluster, &chain, &interrupt)?;
    progress(&format!(
        "{} validators are up on loopback ports {base_port} to {}",
        testnet.validators(),
        base_port + 4 * u16::try_from(testnet.validators()).unwrap_or(0) - 1
    ));
    let place = exchange::Place {
        testnet: &testnet,
        chain: &chain,
        plan: &plan,
        interrupt: &interrupt,
    };
    let (outcome, business) = match workload {
        Workload::Exchange => {
            let (outcome, business) = place.run(&mut cluster)?;
            (outcome, Some(business))
        }
        Workload::Venue | Workload::Opaque | Workload::Pages { .. } => {
            let admin = testnet.admin_key()?;
            let flag = interrupt.flag();
            (drive(&plan, &chain, admin, &flag, &mut teller())?, None)
        }
    };
    hgrm.write(&outcome.client)?;
    let run = Run {
        applications,
        testnet,
        chain,
        plan,
        before,
    };
    let report = run.conclude(&mut cluster, &outcome, business, options)?;
    drop(cluster);
    drop(scratch);
    report
}

/// Asks until every validator answers and is connected to all others.
///
/// # Errors
/// One ended, somebody interrupted, or it took too long.
pub(crate) fn wait_until_up(
    cluster: &mut Cluster,
    chain: &Chain,
    interrupt: &Interrupt,
) -> Result<Vec<Status>, Failure> {
    let deadline = Instant::now() + START;
    loop {
        let statuses = agreement::statuses(chain, Instant::now() + LOOK, true)?;
        if statuses.iter().all(|status| is_up(status, chain)) {
            return Ok(statuses);
        }
        if let Some(ended) = cluster.wait_ended(Instant::now())? {
            return Err(died(cluster, ended));
        }
        if interrupt.is_set() {
            return Err(Failure::new(
                Code::No,
                "interrupted before the validators were up",
            ));
        }
        if Instant::now() >= deadline {
            let what = format!("the validators were not up within {} s", START.as_secs());
            let words = statuses.iter().map(|status| format!("{status:?}"));
            return Err(
                Failure::new(Code::TryAgain, what).detail(words.collect::<Vec<_>>().join("\n"))
            );
        }
    }
}

fn is_up(status: &Status, chain: &Chain) -> bool {
    let others = chain.addresses.len() - 1;
    let Ok(status) = status else { return false };
    let connected = status["connected"]
        .as_u64()
        .and_then(|count| usize::try_from(count).ok());
    connected.is_some_and(|connected| connected >= others)
}

/// A validator ended that nobody asked to.
pub(crate) fn died(cluster: &Cluster, ended: Ended) -> Failure {
    let what = format!("validator {} ended: {}", ended.index, ended.status);
    let exit = ended.status.code().and_then(|code| u8::try_from(code).ok());
    let code = exit
        .filter(|code| *code != 0)
        .map_or(Code::No, Code::of_exit);
    Failure::new(code, what).detail(cluster.tail(ended.index).join("\n"))
}

/// What the demo reports: a load's fields, and those of the exchange where it ran.
#[derive(Serialize)]
struct DemoReport {
    #[serde(flatten)]
    load: LoadReport,
    #[serde(flatten)]
    exchange: Option<exchange::Fields>,
}

struct Run<'a> {
    applications: &'a Applications,
    testnet: Testnet,
    chain: Chain,
    plan: LoadPlan,
    before: Vec<Status>,
}

impl Run<'_> {
    /// Compares the states, stops the validators, compares the logs.
    fn conclude(
        &self,
        cluster: &mut Cluster,
        outcome: &Outcome,
        business: Option<exchange::Business>,
        options: &Options,
    ) -> Result<Result<Report, Failure>, Failure> {
        progress("comparing states");
        let settled = Instant::now() + SETTLE;
        let height = business.as_ref().map_or(0, exchange::Business::height);
        let height = height.max(outcome.height);
        let mut agreement = agreement::wait_for_equal_roots(&self.chain, height, settled)?;
        let after = agreement::statuses_until(&self.chain, settled, |told| {
            let is_back = |business: &exchange::Business| business.has_rejoined(told);
            agreement::all_answer(told) && business.as_ref().is_none_or(is_back)
        })?;
        progress("stopping the validators, comparing logs");
        while let Some(ended) = cluster.wait_ended(Instant::now())? {
            self.blame(cluster, ended, &mut agreement);
        }
        for ended in cluster.stop_all(STOP)? {
            if !ended.status.success() {
                self.blame(cluster, ended, &mut agreement);
            }
        }
        agreement::compare_logs(&self.testnet, Logs::AtRest, height, &mut agreement);
        let workload = options.cluster.workload.into();
        let placement = agreement::placement(&after);
        let report = LoadReport {
            setting: setting(&self.testnet, workload, &self.plan, placement)?,
            measured: measured(
                outcome,
                agreement::fast_fraction(&after),
                agreement::blocks(&self.before, &after),
            ),
            agreement,
        };
        let mut complaints = complaints(outcome, &report.agreement);
        let exchange = business
            .map(|business| {
                let state = (
                    report.agreement.state_height,
                    report.agreement.state_root.as_deref(),
                );
                let log = self.testnet.log_folder(0)?;
                let told = &outcome.acknowledged;
                let applications = self.applications;
                business.conclude(applications, &log, told, &after, state, &mut complaints)
            })
            .transpose()?;
        let code = verdict::code(complaints.is_empty());
        let tables = exchange.as_ref().map(exchange::text).unwrap_or_default();
        let text = format!("{}\n{tables}", text(&report, &complaints));
        let report = DemoReport {
            load: report,
            exchange,
        };
        Ok(Report::new(&report, text).map(|report| report.with_code(code)))
    }

    fn blame(&self, cluster: &Cluster, ended: Ended, agreement: &mut Agreement) {
        let failure = died(cluster, ended);
        agreement.differences.push(failure.to_string());
    }
}
