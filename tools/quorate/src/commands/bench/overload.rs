//! `quorate bench overload`: what validators carry at many times the load that they can bear, and
//! how fast cancels stay then.
//!
//! Owns two loads side by side: orders at a rate, and a few cancels from sessions of their own. The
//! first run finds the peak: the orders that become final a second when more are offered than are
//! carried. The second one offers many times that. Both are open-loop: a command's time counts from
//! when it was intended, and what could never be sent counts as offered. Never: judges by what a
//! validator says of itself.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use quorate::genesis::Auth;
use quorate_bench::load::{Flow, LoadPlan, Outcome};
use quorate_bench::report::per_second;
use quorate_bench::testnet::{Plan, free_base_port};
use serde::Serialize;

use super::bed::Bed;
use super::number;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Report, progress, table};
use crate::plan::AuthArg;
use crate::verdict::{self, Losses};

/// Sessions that cancel.
const CANCEL_CLIENTS: u32 = 4;
/// The clocks of the two loads may begin so much of their length apart, one in so many.
const APART_SHARE: u64 = 10;
/// Loads that may be needed until offering more brings no more.
const STEPS_MAX: u32 = 8;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// How a command proves whose it is
    #[arg(long, value_enum, default_value = "session")]
    auth: AuthArg,
    /// Bytes of a command
    #[arg(long, default_value_t = 512, value_parser = clap::value_parser!(u32).range(1..=65_000))]
    size: u32,
    /// Validators, each with weight 1
    #[arg(long, default_value_t = 4, value_parser = clap::value_parser!(u16).range(2..=64))]
    validators: u16,
    /// Sessions that send orders
    #[arg(long, default_value_t = 16, value_parser = clap::value_parser!(u32).range(1..=1_024))]
    clients: u32,
    /// Orders a second that the search for the peak begins with
    #[arg(long, default_value_t = 10_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    rate: u64,
    /// Highest rate that is offered in the search
    #[arg(long, default_value_t = 1_000_000)]
    #[arg(value_parser = clap::value_parser!(u64).range(100..=1_000_000))]
    rate_max: u64,
    /// So many times the peak are offered
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(2..=100))]
    times: u64,
    /// Cancels a second beside the orders
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    cancels: u64,
    /// How long each load takes
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3_600))]
    seconds: u64,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be measured
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// One load.
#[derive(Clone, Debug, Serialize)]
struct Run {
    offered_per_s: f64,
    goodput_per_s: f64,
    sent: u64,
    /// Orders that validators were handed, and cancels of any kind, also those that never were
    /// handed over, without a result at the end.
    missing: u64,
    /// Orders that still waited with the clients at the end: not sent yet, or told to come later.
    held: u64,
    /// Commands refused for good.
    rejected: u64,
    busy_answers: u64,
    resent: u64,
    cancels_offered: u64,
    /// Of these, the ones that became final.
    cancels: u64,
    cancel_p50_us: Option<f64>,
    cancel_p99_us: Option<f64>,
    order_p99_us: Option<f64>,
    /// How long after one another the clocks of orders and cancels began.
    apart_ms: f64,
    /// Whether that was little, so that the cancels ran beside the orders.
    #[serde(skip)]
    are_beside: bool,
}

#[derive(Serialize)]
struct Fields {
    auth: Auth,
    validators: u16,
    /// Whether the chain survives crashes only: too few validators for one that lies.
    crash_only: bool,
    size: u32,
    clients: u32,
    seconds: u64,
    times: u64,
    cores: usize,
    peak_per_s: f64,
    offered_per_s: f64,
    goodput_per_s: f64,
    /// Whether offering twice as much brought hardly more: else more may be carried than the peak.
    is_saturated: bool,
    /// Of the peak; none where it is not known to be one.
    goodput_ratio: Option<f64>,
    cancel_p99_us_peak: Option<f64>,
    cancel_p99_us_overload: Option<f64>,
    busy_answers: u64,
    state_roots_equal: Option<bool>,
    logs_equal: Option<bool>,
    differences: Vec<String>,
    peak: Run,
    overload: Run,
    steps: Vec<Run>,
}

/// Measures and reports.
///
/// # Errors
/// Options that cannot be, validators that do not start or end, sockets that the system refuses.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    if options.rate_max < options.rate {
        let what = format!("--rate-max {}: below --rate", options.rate_max);
        return Err(Failure::usage(what).remedy("choose a higher one"));
    }
    let interrupt = Interrupt::install()?;
    let plan = options.cluster_plan()?;
    let mut bed = Bed::start(&plan, options.dir.as_deref(), &interrupt)?;
    let mut load = |rate, seed| options.load(&mut bed, &interrupt, rate, seed);
    let Search {
        peak,
        is_saturated,
        steps,
    } = options.find_peak(&mut load)?;
    let rate = whole(peak.goodput_per_s).saturating_mul(options.times);
    let overload = load(rate, steps.len() as u64)?;
    let agreement = bed.conclude()?;
    let fields = Fields {
        auth: options.auth.into(),
        validators: options.validators,
        crash_only: options.validators < 4,
        size: options.size,
        clients: options.clients,
        seconds: options.seconds,
        times: options.times,
        cores: std::thread::available_parallelism().map_or(1, usize::from),
        peak_per_s: peak.goodput_per_s,
        offered_per_s: overload.offered_per_s,
        goodput_per_s: overload.goodput_per_s,
        is_saturated,
        goodput_ratio: is_saturated.then(|| overload.goodput_per_s / peak.goodput_per_s.max(1.0)),
        cancel_p99_us_peak: peak.cancel_p99_us,
        cancel_p99_us_overload: overload.cancel_p99_us,
        busy_answers: overload.busy_answers,
        state_roots_equal: agreement.state_roots_equal,
        logs_equal: agreement.logs_equal,
        differences: agreement.differences,
        peak,
        overload,
        steps,
    };
    let code = verdict::code(fields.is_well());
    let text = fields.text();
    Ok(Report::new(&fields, text)?.with_code(code))
}

impl Fields {
    /// Every load of the search, and the one at many times the peak.
    fn loads(&self) -> impl Iterator<Item = &Run> {
        self.steps.iter().chain([&self.overload])
    }

    /// Whether a peak was found, and nothing that had to come through did not.
    fn is_well(&self) -> bool {
        let is_measured = self.is_saturated && self.peak.goodput_per_s > 0.0;
        is_measured && self.differences.is_empty() && self.loads().all(Run::is_whole)
    }

    fn text(&self) -> String {
        let mut facts = table(&["", "peak", "overload"]);
        let names = [
            "offered a second",
            "finalized a second",
            "cancel p50, us",
            "cancel p99, us",
            "order p99, us",
            "cancels offered",
            "cancels finalized",
            "held by clients at the end",
        ];
        let of = |run: &Run| {
            [
                Some(run.offered_per_s),
                Some(run.goodput_per_s),
                run.cancel_p50_us,
                run.cancel_p99_us,
                run.order_p99_us,
                Some(count(run.cancels_offered)),
                Some(count(run.cancels)),
                Some(count(run.held)),
            ]
        };
        let figures = of(&self.peak).into_iter().zip(of(&self.overload));
        for (what, (peak, overload)) in names.into_iter().zip(figures) {
            facts.add_row(vec![what.to_owned(), number(peak), number(overload)]);
        }
        let found = match self.goodput_ratio {
            Some(ratio) => format!("{ratio:.2} of the peak at {} times the load", self.times),
            None => "no peak".to_owned(),
        };
        let mut text = format!("{found}, {} busy answers\n{facts}", self.busy_answers);
        let lost = Losses {
            // It is no finding here: more is offered than anybody could take.
            unsent: 0,
            missing: self.loads().map(|run| run.missing).sum(),
            rejected: self.loads().map(|run| run.rejected).sum(),
        };
        text.push_str(&lost.text());
        if !self.is_saturated {
            text.push_str(&verdict::failed(format_args!(
                "NO PEAK: all that was offered was carried, so {} times the load may be none; \
                 begin with a higher --rate",
                self.times
            )));
        }
        let apart = self.loads().filter(|run| !run.are_beside).count();
        if apart > 0 {
            text.push_str(&verdict::failed(format_args!(
                "in {apart} loads the cancels did not run beside the orders"
            )));
        }
        text.push_str(&verdict::all_failed(&self.differences));
        text
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "counts of a run are far below 2^53"
)]
const fn count(count: u64) -> f64 {
    count as f64
}

/// A rate as a whole number, at least 1.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "rates are far below 2^53 and above 0"
)]
fn whole(per_s: f64) -> u64 {
    (per_s.max(1.0)) as u64
}

/// What the search came to.
struct Search {
    /// The best of all.
    peak: Run,
    /// Whether the last step brought hardly more than the best one before it.
    is_saturated: bool,
    steps: Vec<Run>,
}

impl Options {
    /// Offers twice as much each time, until that brings hardly more.
    fn find_peak(
        &self,
        load: &mut dyn FnMut(u64, u64) -> Result<Run, Failure>,
    ) -> Result<Search, Failure> {
        let mut rate = self.rate;
        let mut best: Option<Run> = None;
        let (mut steps, mut is_saturated) = (Vec::new(), false);
        for step in 0..STEPS_MAX {
            let run = load(rate, u64::from(step))?;
            steps.push(run.clone());
            let before = best.as_ref().map_or(0.0, |best| best.goodput_per_s);
            let is_more = run.goodput_per_s > before * 1.05;
            if run.goodput_per_s > before {
                best = Some(run);
            }
            rate = rate.saturating_mul(2);
            is_saturated = !is_more;
            if !is_more || rate > self.rate_max {
                break;
            }
        }
        let peak = best.ok_or_else(|| Failure::new(Code::No, "nothing was finalized"))?;
        Ok(Search {
            peak,
            is_saturated,
            steps,
        })
    }

    fn load(
        &self,
        bed: &mut Bed,
        interrupt: &Interrupt,
        rate: u64,
        seed: u64,
    ) -> Result<Run, Failure> {
        let size = self.size as usize;
        let orders = self.load_plan(Flow::Opaque { size }, rate, self.clients, seed);
        let flow = Flow::Cancels { size: size.min(64) };
        let cancels = self.load_plan(flow, self.cancels, CANCEL_CLIENTS, seed + 1_000);
        let (orders, cancels) = bed.drive_both(&orders, &cancels, interrupt)?;
        let run = Run::of(self.seconds, &orders, &cancels);
        progress(&format!(
            "{rate}/s offered: {:.0}/s finalized, cancel p99 {} us, {} busy",
            run.goodput_per_s,
            number(run.cancel_p99_us),
            run.busy_answers
        ));
        Ok(run)
    }

    fn cluster_plan(&self) -> Result<Plan, Failure> {
        let validators = usize::from(self.validators);
        Ok(Plan {
            auth: self.auth.into(),
            ..Plan::of_equals(validators, free_base_port(validators)?)
        })
    }

    /// Sessions at all validators alike: a gateway that does not lead is overloaded too.
    fn load_plan(&self, flow: Flow, rate: u64, clients: u32, seed: u64) -> LoadPlan {
        LoadPlan {
            flow,
            clients,
            seed,
            ..LoadPlan::opaque(self.size as usize, rate, self.seconds)
        }
    }
}

impl Run {
    /// Whether all that a validator was handed came to a result, and every cancel, and these were
    /// measured beside the orders.
    const fn is_whole(&self) -> bool {
        self.missing == 0 && self.rejected == 0 && self.are_beside
    }

    fn of(seconds: u64, orders: &Outcome, cancels: &Outcome) -> Self {
        let (client, of_cancels) = (orders.client.percentiles(), cancels.client.percentiles());
        let span_ns = seconds.saturating_mul(1_000_000_000);
        let apart_ns = orders.start_ns.abs_diff(cancels.start_ns);
        Self {
            offered_per_s: per_second(orders.offered, span_ns),
            // From the first send to the last result: what is left over is carried too.
            goodput_per_s: per_second(orders.counts.finalized, orders.elapsed_ns.max(span_ns)),
            sent: orders.counts.generated,
            missing: orders.missing.saturating_sub(orders.held)
                + cancels.missing
                + cancels.offered.saturating_sub(cancels.counts.generated),
            held: orders.held,
            rejected: orders.counts.rejected + cancels.counts.rejected,
            busy_answers: orders.counts.busy + cancels.counts.busy,
            resent: orders.counts.resent,
            cancels_offered: cancels.offered,
            cancels: cancels.counts.finalized,
            cancel_p50_us: of_cancels.p50,
            cancel_p99_us: of_cancels.p99,
            order_p99_us: client.p99,
            apart_ms: Duration::from_nanos(apart_ns).as_secs_f64() * 1e3,
            are_beside: apart_ns.saturating_mul(APART_SHARE) <= span_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_bench::histogram::Latencies;
    use quorate_bench::load::Counts;

    fn outcome(counts: Counts, missing: u64, held: u64) -> Outcome {
        Outcome {
            offered: counts.generated,
            counts,
            elapsed_ns: 1,
            finality: Latencies::new(),
            client: Latencies::new(),
            height: 1,
            gateways_lost: 0,
            missing,
            held,
            reasons: Vec::new(),
            acknowledged: Vec::new(),
            trips: Vec::new(),
            untold: 0,
            waits: Vec::new(),
            start_ns: 0,
            is_interrupted: false,
        }
    }

    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        options: Options,
    }

    #[test]
    fn what_carries_all_that_it_is_offered_has_shown_no_peak() {
        use clap::Parser as _;
        let search = |words: &[&str], carries_at_most: u64| {
            let line = Line::try_parse_from([&["overload"][..], words].concat()).unwrap();
            let mut load = |rate: u64, _| {
                let carried = Counts {
                    generated: rate,
                    finalized: rate.min(carries_at_most),
                    ..Counts::default()
                };
                let orders = outcome(carried, 0, 0);
                Ok(Run::of(1, &orders, &outcome(Counts::default(), 0, 0)))
            };
            let found = line.options.find_peak(&mut load).unwrap();
            (
                found.steps.len(),
                whole(found.peak.goodput_per_s),
                found.is_saturated,
            )
        };
        assert_eq!(search(&["--rate", "100"], u64::MAX), (8, 12_800, false));
        let few = ["--rate", "100", "--rate-max", "400"];
        assert_eq!(search(&few, u64::MAX), (3, 400, false));
        assert_eq!(search(&["--rate", "10000"], 30_000), (4, 30_000, true));
    }

    #[test]
    fn orders_that_clients_hold_back_are_told_and_what_nobody_answered_is_missing() {
        let of = |generated, finalized| Counts {
            generated,
            finalized,
            ..Counts::default()
        };
        let (orders, cancels) = (outcome(of(100, 60), 40, 40), outcome(of(9, 9), 0, 0));
        let run = Run::of(1, &orders, &cancels);
        assert_eq!((run.missing, run.held), (0, 40));
        assert_eq!((run.cancels_offered, run.cancels), (9, 9));
        assert!(run.is_whole());
        let unanswered = outcome(of(100, 60), 40, 39);
        assert!(!Run::of(1, &unanswered, &cancels).is_whole());
        // A cancel that waits is one that did not get through.
        let waiting = outcome(of(9, 8), 1, 1);
        assert!(!Run::of(1, &orders, &waiting).is_whole());
        // One that found no room with its own client did not get through either.
        let mut roomless = outcome(of(9, 9), 0, 0);
        roomless.offered = 11;
        let run = Run::of(1, &orders, &roomless);
        assert_eq!((run.missing, run.cancels_offered), (2, 11));
        assert!(!run.is_whole());
    }

    fn fields(is_saturated: bool, overload: Run) -> Fields {
        let well = || {
            let carried = Counts {
                generated: 100,
                finalized: 100,
                ..Counts::default()
            };
            let (orders, cancels) = (outcome(carried, 0, 0), outcome(carried, 0, 0));
            Run::of(1, &orders, &cancels)
        };
        Fields {
            auth: Auth::Session,
            validators: 4,
            crash_only: false,
            size: 64,
            clients: 1,
            seconds: 1,
            times: 10,
            cores: 2,
            peak_per_s: 100.0,
            offered_per_s: 100.0,
            goodput_per_s: 100.0,
            is_saturated,
            goodput_ratio: is_saturated.then_some(1.0),
            cancel_p99_us_peak: None,
            cancel_p99_us_overload: None,
            busy_answers: 0,
            state_roots_equal: Some(true),
            logs_equal: Some(true),
            differences: Vec::new(),
            peak: well(),
            overload,
            steps: vec![well()],
        }
    }

    #[test]
    fn without_a_peak_or_with_cancels_that_ran_at_another_time_the_answer_is_no() {
        let run = |apart_ns| {
            let (orders, mut cancels) = (
                outcome(Counts::default(), 0, 0),
                outcome(Counts::default(), 0, 0),
            );
            cancels.start_ns = apart_ns;
            Run::of(1, &orders, &cancels)
        };
        let well = fields(true, run(100_000_000));
        assert!(well.is_well() && !well.text().contains("FAILED"));
        let apart = fields(true, run(100_000_001));
        assert!(!apart.is_well());
        let told = apart.text();
        assert!(
            told.contains("FAILED: in 1 loads the cancels did not run"),
            "{told}"
        );
        let unsaturated = fields(false, run(0));
        assert!(!unsaturated.is_well());
        let told = unsaturated.text();
        assert!(told.contains("FAILED: NO PEAK"), "{told}");
    }
}
