//! `quorate load`: open-loop load against a running testnet.
//!
//! Never: starts or stops a validator.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use quorate_bench::load::{Chain, run as drive};
use quorate_bench::report::LoadReport;
use quorate_bench::testnet::{Testnet, Workload};

use crate::agreement::{self, Logs, Status};
use crate::drive::{Hgrm, LoadOptions, complaints, measured, setting, teller, text};
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::Report;
use crate::plan::WorkloadArg;

/// How long the validators may take to reach the same height after the load.
const PATIENCE: Duration = Duration::from_secs(10);

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
    let before = agreement::statuses(&chain, Instant::now() + PATIENCE, false)?;
    refuse_silent(&before, &testnet)?;
    let interrupt = Interrupt::install()?;
    let admin = testnet.admin_key()?;
    let outcome = drive(&plan, &chain, admin, &interrupt.flag(), &mut teller())?;
    hgrm.write(&outcome.client)?;
    let deadline = Instant::now() + PATIENCE;
    let mut agreement = agreement::wait_for_equal_roots(&chain, outcome.height, deadline)?;
    agreement::compare_logs(&testnet, Logs::Live, outcome.height, &mut agreement);
    let after = agreement::statuses(&chain, Instant::now() + PATIENCE, false)?;
    let placement = agreement::placement(&after);
    let report = LoadReport {
        setting: setting(&testnet, workload, &plan, placement)?,
        measured: measured(
            &outcome,
            agreement::fast_fraction(&after),
            agreement::blocks(&before, &after),
        ),
        agreement,
    };
    let complaints = complaints(&outcome, &report.agreement);
    let code = if complaints.is_empty() {
        Code::Done
    } else {
        Code::No
    };
    let text = text(&report, &complaints);
    Ok(Report::new(&report, text)?.with_code(code))
}

/// Where nobody answers, no session will be let in: said at once, with whom was asked.
fn refuse_silent(statuses: &[Status], testnet: &Testnet) -> Result<(), Failure> {
    if statuses.iter().any(Result::is_ok) {
        return Ok(());
    }
    let members = testnet.genesis().file().validators.iter();
    let told = members
        .zip(statuses)
        .enumerate()
        .map(|(index, (member, status))| {
            let why = status.as_ref().err().map_or("", String::as_str);
            format!(
                "validator {index} at {}: {why}",
                member.client_addresses.join(" ")
            )
        });
    let what = format!("no validator of {} answers", testnet.dir().display());
    Err(Failure::new(Code::TryAgain, what)
        .detail(told.collect::<Vec<_>>().join("\n"))
        .remedy("start the validators (quorate testnet up)"))
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
