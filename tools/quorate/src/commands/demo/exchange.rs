//! The workload `exchange`: order flow, price feeds, options that expire and are settled, and a
//! validator that is killed and comes back, all at once; then what the log says came of it.
//!
//! Never: believes what a client was told, or a validator, where the log can be read instead.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::ScopedJoinHandle;
use std::time::{Duration, Instant};

use quorate::keys::KeyPair;
use quorate_bench::applications::Hosted;
use quorate_bench::cluster::Cluster;
use quorate_bench::exchange::{
    self, ExchangeError, ExchangeKeys, ExchangeOutcome, ExchangePlan, Ledger, PriceCounts, Signs,
    Skew, TRADERS,
};
use quorate_bench::histogram::Percentiles;
use quorate_bench::load::{Acknowledged, Chain, LoadError, LoadPlan, Outcome, run as drive};
use quorate_bench::testnet::Testnet;
use serde::Serialize;

use super::died;
use crate::agreement::{self, Status};
use crate::applications::Applications;
use crate::commands::log::verify_at_rest;
use crate::drive::teller;
use crate::failure::{Code, Failure};
use crate::inspect::replay::{Replay, genesis_of};
use crate::interrupt::Interrupt;
use crate::output::{hex, progress, table};

/// When a validator is killed and started again, in percent of the run: the first series expire in
/// between.
const KILL_PERCENT: u32 = 30;
const START_PERCENT: u32 = 55;
/// How long a validator may take to vote again.
const RETURN: Duration = Duration::from_secs(120);
/// How long one look at it takes.
const LOOK: Duration = Duration::from_millis(250);
/// All sums are counted anew after every block whose height is a multiple of this, and at the end.
const AUDIT_HEIGHTS: u64 = 64;

/// What the run left behind.
pub(super) struct Business {
    outcome: ExchangeOutcome,
    /// Of results, and of events of the public stream.
    skew: (Skew, Skew),
    killed: Option<usize>,
}

/// What is reported besides a load.
#[derive(Debug, Serialize)]
pub(super) struct Fields {
    /// Series that were settled.
    settled: u64,
    /// Cash that settlements brought to the long accounts.
    settled_amount: i64,
    /// What settlement and exercise brought to all accounts and the fund together.
    settlement_sum: i64,
    /// Settlements that were put off by rule for too few samples.
    settlements_deferred: u64,
    /// Lots that were exercised by command.
    exercised_lots: u64,
    /// Closed rounds of the feed by the state of the price.
    prices: PriceCounts,
    /// From the first to the last validator that told one result.
    release_skew_us: Percentiles,
    /// Results that this was measured on.
    release_skew_results: u64,
    /// From the first to the last validator that published one event of the public stream.
    public_skew_us: Percentiles,
    /// Events that this was measured on.
    public_skew_events: u64,
    /// Every command that a client was told of is applied once, in the order of its session.
    exactly_once: bool,
    /// Results told to clients.
    acknowledged: u64,
    /// Commands that the venue refused, by reason.
    refused: BTreeMap<String, u64>,
    /// The validator that was killed; none where the weights allow none to be missing.
    killed: Option<usize>,
    /// It votes again.
    rejoined: bool,
    /// Blocks after which all cash and all positions were counted and summed to zero.
    audits: u64,
}

/// Where it runs.
pub(super) struct Place<'a> {
    pub(super) testnet: &'a Testnet,
    pub(super) chain: &'a Chain,
    pub(super) plan: &'a LoadPlan,
    pub(super) interrupt: &'a Interrupt,
}

impl Place<'_> {
    /// Drives order flow and exchange side by side, and kills a validator meanwhile.
    ///
    /// # Errors
    /// A session cannot be made, or a validator does not come back.
    pub(super) fn run(&self, cluster: &mut Cluster) -> Result<(Outcome, Business), Failure> {
        let keys = self.keys()?;
        let (plan, chain) = (self.plan, self.chain);
        let exchange_plan = ExchangePlan {
            seconds: plan.seconds,
            seed: plan.seed,
        };
        self.wait_for_votes()?;
        let (stop, deaf, signs) = (
            self.interrupt.flag(),
            AtomicBool::new(false),
            Signs::default(),
        );
        let (load, business, skew, killed) = std::thread::scope(|scope| {
            let load = scope.spawn(|| drive(plan, chain, None, &stop, &mut teller()));
            let business = scope.spawn(|| {
                let genesis = self.testnet.genesis();
                let done = exchange::run(genesis, &keys, exchange_plan, &signs, &stop);
                // Also where it failed: nobody waits for its begin then.
                signs.has_begun.store(true, Ordering::Relaxed);
                done
            });
            let skew = scope.spawn(|| exchange::listen(chain, &keys.traders[0], &deaf));
            let killed = self.kill_and_start(cluster, &signs);
            if killed.is_err() {
                stop.store(true, Ordering::Relaxed);
            }
            let (load, business) = (join_load(load), join(business));
            deaf.store(true, Ordering::Relaxed);
            (load, business, join(skew), killed)
        });
        let business = Business {
            killed: killed?,
            outcome: business?,
            skew: skew?,
        };
        Ok((load?, business))
    }

    fn keys(&self) -> Result<ExchangeKeys, Failure> {
        let missing = |what: &str| Failure::new(Code::Configuration, format!("no {what} key"));
        let admin = self.testnet.admin_key()?.ok_or_else(|| missing("admin"))?;
        let feeds = self.testnet.feed_keys()?.ok_or_else(|| missing("feed"))?;
        let traders: Result<Vec<_>, _> = (0..TRADERS)
            .map(|_| KeyPair::generate().map(Arc::new))
            .collect();
        Ok(ExchangeKeys {
            admin: Arc::new(admin),
            feeds: feeds.into_iter().map(Arc::new).collect(),
            traders: traders.map_err(LoadError::Key)?,
        })
    }

    /// Kills the lightest validator in the middle of the run and starts it again.
    fn kill_and_start(
        &self,
        cluster: &mut Cluster,
        signs: &Signs,
    ) -> Result<Option<usize>, Failure> {
        let run = Duration::from_secs(self.plan.seconds);
        let Some(victim) = self.victim() else {
            return Ok(None);
        };
        while !signs.has_begun.load(Ordering::Relaxed) {
            self.watch(cluster, Instant::now() + LOOK)?;
        }
        let (begin, down) = (Instant::now(), &signs.down);
        self.watch(cluster, begin + run / 100 * KILL_PERCENT)?;
        down.fetch_or(1 << victim, Ordering::Relaxed);
        cluster.kill(victim)?;
        progress(&format!("validator {victim} is killed"));
        self.watch(cluster, begin + run / 100 * START_PERCENT)?;
        cluster.start(victim)?;
        self.wait_until_voting(cluster, victim)?;
        down.fetch_and(!(1 << victim), Ordering::Relaxed);
        progress(&format!("validator {victim} votes again"));
        Ok(Some(victim))
    }

    /// The lightest validator, if the others can go on without it.
    fn victim(&self) -> Option<usize> {
        let thresholds = self.chain.set.thresholds();
        let weights = self.testnet.weights();
        let (victim, weight) = weights
            .iter()
            .enumerate()
            .min_by_key(|(_, weight)| **weight)?;
        let spare = thresholds.total.minus(thresholds.quorum).amount();
        (*weight <= spare).then_some(victim)
    }

    /// Waits for a moment; a validator must not end before it.
    fn watch(&self, cluster: &mut Cluster, until: Instant) -> Result<(), Failure> {
        while Instant::now() < until {
            if self.interrupt.is_set() {
                return Err(Failure::new(Code::No, "interrupted"));
            }
            let look = until.min(Instant::now() + LOOK);
            if let Some(ended) = cluster.wait_ended(look)? {
                return Err(died(cluster, ended));
            }
        }
        Ok(())
    }

    /// Waits until every validator votes: before, nothing becomes final in good time.
    fn wait_for_votes(&self) -> Result<(), Failure> {
        let all_vote = |told: &[Status]| told.iter().all(agreement::is_voting);
        let deadline = Instant::now() + RETURN;
        agreement::statuses_until(self.chain, deadline, |told| {
            all_vote(told) || self.interrupt.is_set()
        })?;
        Ok(())
    }

    fn wait_until_voting(&self, cluster: &mut Cluster, victim: usize) -> Result<(), Failure> {
        let deadline = Instant::now() + RETURN;
        while Instant::now() < deadline {
            let statuses = agreement::statuses(self.chain, Instant::now() + LOOK, true)?;
            if statuses.get(victim).is_some_and(agreement::is_voting) {
                return Ok(());
            }
            self.watch(cluster, Instant::now() + Duration::from_millis(1))?;
        }
        let what = format!("validator {victim} does not vote again");
        Err(Failure::new(Code::No, what).detail(cluster.tail(victim).join("\n")))
    }
}

impl From<ExchangeError> for Failure {
    fn from(error: ExchangeError) -> Self {
        Self::new(Code::TryAgain, error)
    }
}

fn join<T>(handle: ScopedJoinHandle<'_, Result<T, ExchangeError>>) -> Result<T, ExchangeError> {
    handle
        .join()
        .unwrap_or_else(|_| Err(ExchangeError::Panicked))
}

fn join_load(handle: ScopedJoinHandle<'_, Result<Outcome, LoadError>>) -> Result<Outcome, Failure> {
    let ended = handle.join();
    Ok(ended.map_err(|_| Failure::new(Code::No, "the load panicked"))??)
}

impl Business {
    /// Height of the highest block with a result of this part of the run.
    pub(super) const fn height(&self) -> u64 {
        self.outcome.height
    }

    /// Whether the validator that was killed says that it votes again; true where none was.
    pub(super) fn has_rejoined(&self, statuses: &[Status]) -> bool {
        let Some(killed) = self.killed else {
            return true;
        };
        statuses.get(killed).is_some_and(agreement::is_voting)
    }

    /// Reads a stopped validator's log, and holds against it what clients were told. Adds what is
    /// wrong to the complaints.
    ///
    /// # Errors
    /// The log cannot be read or executed.
    pub(super) fn conclude(
        self,
        applications: &Applications,
        log: &Path,
        load: &[Acknowledged],
        after: &[Status],
        (height, root): (Option<u64>, Option<&str>),
        complaints: &mut Vec<String>,
    ) -> Result<Fields, Failure> {
        let mut audits = 0;
        let (ledger, executor) = replay(
            applications,
            log,
            &mut |executor, results, ledger: &mut Ledger| {
                ledger.take(results);
                if results.height.is_multiple_of(AUDIT_HEIGHTS) {
                    audits += 1;
                    audit(executor.app(), complaints);
                }
                if Some(results.height) == height
                    && root.is_some_and(|root| root != hex(&executor.root().combined))
                {
                    complaints.push("the log executed again gives another state root".to_owned());
                }
            },
        )?;
        if audits == 0 || !executor.height().is_multiple_of(AUDIT_HEIGHTS) {
            audits += 1;
            audit(executor.app(), complaints);
        }
        let told = [load, &self.outcome.acknowledged].concat();
        let lost = ledger.lost(&told);
        let exactly_once = lost == 0 && ledger.misapplied == 0 && self.outcome.unanswered == 0;
        let rejoined = self.killed.is_some() && self.has_rejoined(after);
        self.complain(&ledger, lost, rejoined, complaints);
        Ok(Fields {
            settled: ledger.settled,
            settled_amount: narrow(ledger.settled_amount),
            settlement_sum: narrow(ledger.settlement_sum),
            settlements_deferred: ledger.deferred,
            exercised_lots: ledger.exercised_lots,
            prices: ledger.prices,
            release_skew_us: self.skew.0.latencies.percentiles(),
            release_skew_results: self.skew.0.latencies.count(),
            public_skew_us: self.skew.1.latencies.percentiles(),
            public_skew_events: self.skew.1.latencies.count(),
            exactly_once,
            acknowledged: told.len() as u64,
            refused: self.outcome.refused,
            killed: self.killed,
            rejoined,
            audits,
        })
    }

    fn complain(&self, ledger: &Ledger, lost: u64, rejoined: bool, complaints: &mut Vec<String>) {
        let outcome = &self.outcome;
        let mut expect = |holds: bool, what: String| {
            if !holds {
                complaints.push(what);
            }
        };
        let series = outcome.series as u64;
        expect(
            ledger.settled == series && outcome.settled == outcome.series,
            format!("{} of {series} series are settled", ledger.settled),
        );
        let sum = ledger.settlement_sum;
        expect(sum == 0, format!("the settlements sum to {sum}, not to 0"));
        expect(lost == 0, format!("{lost} acknowledged commands are lost"));
        let misapplied = ledger.misapplied;
        expect(
            misapplied == 0,
            format!("{misapplied} commands are applied twice or out of order"),
        );
        let unanswered = outcome.unanswered;
        expect(
            unanswered == 0,
            format!("{unanswered} commands of the exchange have no result"),
        );
        expect(
            self.killed.is_none() || rejoined,
            "the killed validator does not vote again".to_owned(),
        );
    }
}

fn audit(app: &Hosted, complaints: &mut Vec<String>) {
    if let Hosted::Venue(venue) = app
        && let Err(error) = venue.audit()
    {
        complaints.push(format!("audit: {error}"));
    }
}

/// A sum as it is reported; one that does not fit could not be one of the venue's.
fn narrow(sum: i128) -> i64 {
    i64::try_from(sum).unwrap_or(i64::MAX)
}

type OnResults<'a> = &'a mut dyn FnMut(
    &mut quorate::executor::Executor<Hosted>,
    &quorate::results::BlockResults,
    &mut Ledger,
);

/// Executes a log of a stopped validator from the genesis on. Gives the state at its end too.
fn replay(
    applications: &Applications,
    log: &Path,
    on_results: OnResults<'_>,
) -> Result<(Ledger, quorate::executor::Executor<Hosted>), Failure> {
    let found = verify_at_rest(log)?;
    let genesis = genesis_of(log)?;
    let mut ledger = Ledger::default();
    let mut on_block = |executor: &mut _, _: &_, results: &_| {
        on_results(executor, results, &mut ledger);
    };
    let mut replay = Replay::begin(applications, &genesis, log, None, u64::MAX, &mut on_block)?;
    replay.run(log, &found)?;
    let (executor, _) = replay.finish();
    Ok((ledger, executor))
}

/// The table of what came of it.
pub(super) fn text(fields: &Fields) -> String {
    let mut facts = table(&["exchange", "value"]);
    let (skew, public) = (&fields.release_skew_us, &fields.public_skew_us);
    let us = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |us| format!("{us:.0}"));
    let prices = fields.prices;
    let yes_no = |holds| if holds { "yes" } else { "NO" }.to_owned();
    let killed = fields.killed.map_or_else(
        || "none: the weights spare nobody".to_owned(),
        |killed| format!("{killed}, {}", yes_no(fields.rejoined)),
    );
    for (what, value) in [
        (
            "series settled, put off",
            format!("{}, {}", fields.settled, fields.settlements_deferred),
        ),
        (
            "paid by settlement, lots exercised",
            format!("{}, {}", fields.settled_amount, fields.exercised_lots),
        ),
        (
            "sum over all accounts and the fund",
            fields.settlement_sum.to_string(),
        ),
        (
            "rounds fresh, degraded, stale",
            format!("{}, {}, {}", prices.fresh, prices.degraded, prices.stale),
        ),
        (
            "release skew p50, p99, max (us)",
            format!("{}, {}, {}", us(skew.p50), us(skew.p99), us(skew.max)),
        ),
        (
            "public stream skew p50, p99, max (us)",
            format!("{}, {}, {}", us(public.p50), us(public.p99), us(public.max)),
        ),
        (
            "results told, each applied once",
            format!("{}, {}", fields.acknowledged, yes_no(fields.exactly_once)),
        ),
        ("validator killed, votes again", killed),
    ] {
        facts.add_row(vec![what.to_owned(), value]);
    }
    facts.to_string()
}
