//! `quorate load`: open-loop load against a running testnet.
//!
//! Never: starts or stops a validator.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use quorate_bench::load::{Chain, run as drive};
use quorate_bench::report::{Agreement, LoadReport};
use quorate_bench::testnet::{Testnet, Workload};

use crate::agreement::{self, Logs, Status};
use crate::drive::{Hgrm, LoadOptions, complaints, measured, setting, teller, text};
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Report, progress};
use crate::plan::WorkloadArg;
use crate::verdict;

/// How long the validators may take to reach the same height after the load.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same after somebody asked to stop.
const PATIENCE_STOPPED: Duration = Duration::from_secs(5);
/// From when on it is told what is waited for.
const UNTOLD: Duration = Duration::from_secs(1);
/// How long the first validator may take until it answers.
const START: Duration = Duration::from_secs(20);
/// How long one look at starting validators takes.
const LOOK: Duration = Duration::from_millis(500);

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder that `testnet init` wrote
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// What the commands are; by default what the testnet's application takes
    #[arg(long, value_enum)]
    workload: Option<WorkloadArg>,
    #[command(flatten)]
    load: LoadOptions,
}

/// Drives the load.
///
/// # Errors
/// The folder holds no testnet, no validator answers, or an option contradicts the genesis.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let testnet = Testnet::open(&options.dir)?;
    let workload = workload(&testnet, options.workload)?;
    let plan = options.load.plan(workload)?;
    let chain = Chain::of(testnet.genesis());
    let hgrm = Hgrm::open(options.load.hgrm.as_deref())?;
    let before = first_statuses(&testnet, &chain)?;
    // Before the load: what cannot be told after it would be driven in vain.
    let setting = setting(&testnet, workload, &plan, agreement::placement(&before))?;
    let interrupt = Interrupt::install()?;
    let admin = testnet.admin_key()?;
    let outcome = drive(&plan, &chain, admin, &interrupt.flag(), &mut teller())?;
    hgrm.write(&outcome.client)?;
    let mut agreement = equal_roots(&chain, outcome.height, &interrupt)?;
    agreement::compare_logs(&testnet, Logs::Live, outcome.height, &mut agreement);
    let after = agreement::statuses(&chain, Instant::now() + PATIENCE, false)?;
    let report = LoadReport {
        setting,
        measured: measured(
            &outcome,
            agreement::fast_fraction(&after),
            agreement::blocks(&before, &after),
        ),
        agreement,
    };
    let complaints = complaints(&outcome, &report.agreement);
    let code = verdict::code(complaints.is_empty());
    let text = text(&report, &complaints);
    Ok(Report::new(&report, text)?.with_code(code))
}

/// Waits until all validators have the same state. What that waits for is said; who has asked to
/// stop waits for a moment only, and who asks to stop meanwhile no longer.
fn equal_roots(chain: &Chain, height: u64, interrupt: &Interrupt) -> Result<Agreement, Failure> {
    let was_stopped = interrupt.is_set();
    let longest = if was_stopped {
        PATIENCE_STOPPED
    } else {
        PATIENCE
    };
    let begin = Instant::now();
    let mut tell_at = Some(begin + UNTOLD);
    let goes_on = &mut |now: &Agreement| {
        if tell_at.take_if(|at| Instant::now() >= *at).is_some() {
            progress(&format!(
                "waiting until all validators have the same state, {} s at most (Ctrl-C ends that): {}",
                longest.as_secs(),
                now.differences.join("; ")
            ));
        }
        was_stopped || !interrupt.is_set()
    };
    agreement::wait_while(chain, height, begin + longest, goes_on)
}

/// What the validators say before the load. Where none answers they may be starting: that is said,
/// and waited for.
fn first_statuses(testnet: &Testnet, chain: &Chain) -> Result<Vec<Status>, Failure> {
    let mut statuses = agreement::statuses(chain, Instant::now() + PATIENCE, false)?;
    let is_silent = |statuses: &[Status]| statuses.iter().all(Result::is_err);
    if is_silent(&statuses) {
        let silent = silent(testnet, &statuses);
        progress(&format!("{silent}\nwaiting for {} s", START.as_secs()));
    }
    let deadline = Instant::now() + START;
    while is_silent(&statuses) {
        if Instant::now() >= deadline {
            return Err(silent(testnet, &statuses));
        }
        statuses = agreement::statuses(chain, Instant::now() + LOOK, true)?;
    }
    Ok(statuses)
}

/// Nobody answers, with whom was asked.
fn silent(testnet: &Testnet, statuses: &[Status]) -> Failure {
    let members = testnet.genesis().file().validators.iter().enumerate();
    let told = members.zip(statuses).map(|((index, member), status)| {
        let why = status.as_ref().err().map_or("", String::as_str);
        let addresses = member.client_addresses.join(" ");
        format!("validator {index} at {addresses}: {why}")
    });
    let what = format!("no validator of {} answers", testnet.dir().display());
    Failure::new(Code::TryAgain, what)
        .detail(told.collect::<Vec<_>>().join("\n"))
        .remedy("start the validators (quorate testnet up)")
}

fn workload(testnet: &Testnet, wanted: Option<WorkloadArg>) -> Result<Workload, Failure> {
    let name = &testnet.genesis().file().application.name;
    let Some(own) = testnet.workload() else {
        let path = testnet.dir().join("genesis.json");
        let what = format!(
            "{}: field application.name = {name:?}: no load for it",
            path.display()
        );
        return Err(Failure::new(Code::Configuration, what)
            .remedy("quorate testnet init --workload venue or opaque"));
    };
    if wanted == Some(WorkloadArg::Exchange) {
        let what = "--workload exchange: its listings, prices and settlements are driven by quorate \
                    demo alone";
        let remedy =
            "leave --workload out for plain orders, or run quorate demo --workload exchange";
        return Err(Failure::usage(what).remedy(remedy));
    }
    match wanted.map(Workload::from) {
        Some(wanted) if wanted.application() != own.application() => {
            let what = format!(
                "--workload {}: the testnet runs {name}",
                wanted.application()
            );
            Err(Failure::usage(what).remedy("leave --workload out"))
        }
        _ => Ok(own),
    }
}
