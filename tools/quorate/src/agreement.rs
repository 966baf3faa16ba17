//! Whether all validators of a testnet hold the same state and the same finalized chain.
//!
//! Owns the comparison. A validator that does not answer and a log that cannot be read are
//! differences too: equality that could not be seen is not claimed. Never: starts or stops one.

use std::time::{Duration, Instant};

use quorate_bench::load::Chain as Validators;
use quorate_bench::probe::{Answered, Question, Reply, ask_all};
use quorate_bench::report::Agreement;
use quorate_bench::testnet::Testnet;
use quorate_log::verify_path;
use serde_json::Value;

use crate::failure::Failure;
use crate::inspect::chain::{self, differences};
use crate::inspect::{Finding, Trouble, failure_of};
use crate::output::hex;

/// How long one round of questions may take.
const ROUND: Duration = Duration::from_millis(500);
/// Time from the beginning of one round to that of the next: each is a new connection to everybody.
const ROUND_PAUSE: Duration = Duration::from_millis(100);
/// Rounds that validators whose addresses take no connections are given while all others agree: one
/// of them may be starting. Who is merely slow is waited for.
const REFUSED_ROUNDS_MAX: usize = 4;

/// One validator's status, or why there is none.
pub(crate) type Status = Result<Value, String>;

/// Asks every validator for its status.
///
/// # Errors
/// This machine has no sockets left.
pub(crate) fn statuses(
    validators: &Validators,
    deadline: Instant,
    redials: bool,
) -> Result<Vec<Status>, Failure> {
    let answers = ask_all(validators, Question::Status, deadline, redials)?;
    Ok(answers
        .into_iter()
        .map(|answer| match answer.map_err(|silence| silence.why)? {
            Reply::Status(status) => Ok(status),
            Reply::Root { .. } => Err("it answered another question".to_owned()),
        })
        .collect())
}

/// Asks every validator for its status until what they say is what is waited for, or until
/// `deadline`; gives what they said last. One round tells little of a validator that got no
/// processor for its length.
///
/// # Errors
/// This machine has no sockets left.
pub(crate) fn statuses_until(
    validators: &Validators,
    deadline: Instant,
    mut holds: impl FnMut(&[Status]) -> bool,
) -> Result<Vec<Status>, Failure> {
    loop {
        let round = (Instant::now() + ROUND).min(deadline);
        let told = statuses(validators, round, true)?;
        if holds(&told) || Instant::now() >= deadline {
            return Ok(told);
        }
    }
}

/// Whether all validators answered.
pub(crate) fn all_answer(statuses: &[Status]) -> bool {
    statuses.iter().all(Result::is_ok)
}

/// Whether a validator says that it may vote.
pub(crate) fn is_voting(status: &Status) -> bool {
    let Ok(status) = status else { return false };
    status["voting"].as_bool() == Some(true)
}

/// Asks for state roots until all validators stand at one height, at least `height`, or until
/// `deadline`.
///
/// # Errors
/// This machine has no sockets left.
pub(crate) fn wait_for_equal_roots(
    validators: &Validators,
    height: u64,
    deadline: Instant,
) -> Result<Agreement, Failure> {
    wait_while(validators, height, deadline, &mut |_| true)
}

/// The same, for as long as `goes_on` says so, which sees what still differs.
///
/// # Errors
/// This machine has no sockets left.
pub(crate) fn wait_while(
    validators: &Validators,
    height: u64,
    deadline: Instant,
    goes_on: &mut dyn FnMut(&Agreement) -> bool,
) -> Result<Agreement, Failure> {
    let mut refused_rounds = 0;
    loop {
        let begin = Instant::now();
        let round = (begin + ROUND).min(deadline);
        let answers = ask_all(validators, Question::Root, round, true)?;
        let agreement = judge_roots(&answers, height);
        refused_rounds += usize::from(is_settled_but_for_refusals(&answers, height));
        // Roots that differ at one height will not become equal.
        let is_settled = agreement.state_height.is_some() || refused_rounds >= REFUSED_ROUNDS_MAX;
        if is_settled || Instant::now() >= deadline || !goes_on(&agreement) {
            return Ok(agreement);
        }
        let next = (begin + ROUND_PAUSE).min(deadline);
        std::thread::park_timeout(next.saturating_duration_since(Instant::now()));
    }
}

/// Whether some cannot be reached at all, and all others answer and stand at one height.
fn is_settled_but_for_refusals(answers: &[Answered], height_min: u64) -> bool {
    let is_refusal = |answer: &&Answered| answer.as_ref().is_err_and(|why| why.is_refusal);
    let told = answers.iter().filter(|answer| !is_refusal(answer));
    let told: Vec<Answered> = told.cloned().collect();
    told.len() < answers.len() && judge_roots(&told, height_min).state_height.is_some()
}

fn judge_roots(answers: &[Answered], height_min: u64) -> Agreement {
    let mut agreement = Agreement {
        state_roots_equal: Some(false),
        ..Agreement::default()
    };
    let mut sightings = Vec::new();
    for (index, answer) in answers.iter().enumerate() {
        match answer {
            Ok(Reply::Root { height, root }) => sightings.push((index, *height, *root)),
            Ok(Reply::Status(_)) => {
                let what = format!("validator {index} answered another question");
                agreement.differences.push(what);
            }
            Err(silence) => {
                agreement.differences.push(format!(
                    "validator {index} gives no state root: {}",
                    silence.why
                ));
            }
        }
    }
    let Some((first, height, root)) = sightings.first().copied() else {
        return agreement;
    };
    let heights: Vec<u64> = sightings.iter().map(|(_, height, _)| *height).collect();
    if heights.iter().any(|other| *other != height) {
        let what = format!("the validators stand at different heights: {heights:?}");
        agreement.differences.push(what);
        return agreement;
    }
    if height < height_min {
        let what = format!("the validators stand at height {height}, below {height_min}");
        agreement.differences.push(what);
        return agreement;
    }
    for (index, _, other) in &sightings {
        if *other != root {
            agreement.differences.push(format!(
                "state roots at height {height} differ: validator {first} has {}, validator \
                 {index} has {}",
                hex(&root),
                hex(other)
            ));
        }
    }
    // Who did not answer may have been slow: nothing is settled before all have.
    if sightings.len() == answers.len() {
        agreement.state_height = Some(height);
    }
    if agreement.differences.is_empty() {
        agreement.state_roots_equal = Some(true);
        agreement.state_root = Some(hex(&root));
    }
    agreement
}

/// Whether the validators still append to their logs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Logs<'a> {
    /// They run. Segments and watermark are read at different moments then, so the end may seem
    /// torn or lost; damage further in shows as a chain that does not reach the height.
    Live,
    /// They have stopped: everything must be whole, and no start may have found it otherwise.
    AtRest,
    /// The same, but for the logs of these validators, to whose disks something was done: parts of
    /// them may have been marked as faulty.
    AtRestBut(&'a [usize]),
}

impl Logs<'_> {
    fn may_be_marked(self, validator: usize) -> bool {
        match self {
            Self::Live => true,
            Self::AtRest => false,
            Self::AtRestBut(marked) => marked.contains(&validator),
        }
    }
}

/// Reads every log and compares the finalized chains, which must reach `height`.
pub(crate) fn compare_logs(
    testnet: &Testnet,
    logs: Logs<'_>,
    height: u64,
    agreement: &mut Agreement,
) {
    let mut chains = Vec::new();
    let mut found = Vec::new();
    for index in 0..testnet.validators() {
        match read_log(testnet, index, logs) {
            Ok(chain) => {
                let tip = chain.tip().map_or(chain.below, |(height, _)| height);
                if tip < height {
                    let what = format!(
                        "the log of validator {index} ends at height {tip}, below {height}"
                    );
                    found.push(what);
                }
                found.extend(
                    chain
                        .findings
                        .iter()
                        .map(|one| format!("log of validator {index}: {}", one.what)),
                );
                chains.push((index, chain));
            }
            Err(failure) => found.push(format!("log of validator {index}: {failure}")),
        }
    }
    found.extend(differences(&chains));
    agreement.logs_equal = Some(found.is_empty());
    agreement.differences.extend(found);
}

fn read_log(testnet: &Testnet, index: usize, logs: Logs<'_>) -> Result<chain::Chain, Failure> {
    let folder = testnet.log_folder(index)?;
    let verification = verify_path(&folder).map_err(|error| failure_of(&folder, &error))?;
    let mut chain = chain::read(&folder, &verification)?;
    if logs != Logs::Live {
        let faults = verification.faults.iter();
        let faults = faults.map(|fault| Finding::of_fault(fault, Trouble::Faulty));
        let torn = verification.torn.iter();
        let torn = torn.map(|fault| Finding::of_fault(fault, Trouble::Torn));
        chain.findings.extend(faults.chain(torn));
    }
    // Nothing in such a stretch is read: what was voted there would be compared with nothing.
    if !logs.may_be_marked(index) {
        let marked = verification.marked.iter().map(Finding::of_mark);
        chain.findings.extend(marked.map(|mark| Finding {
            what: format!("marked as faulty {}", mark.what),
            ..mark
        }));
    }
    Ok(chain)
}

/// The share of blocks that became final by the fast path since the validators started, mean over
/// those that answer.
pub(crate) fn fast_fraction(statuses: &[Status]) -> Option<f64> {
    let told = |status: &Value| status["fast_path_fraction"].as_f64();
    let shares: Vec<f64> = statuses.iter().flatten().filter_map(told).collect();
    #[expect(
        clippy::cast_precision_loss,
        reason = "there are at most 240 validators"
    )]
    let count = shares.len() as f64;
    (!shares.is_empty()).then(|| shares.iter().sum::<f64>() / count)
}

/// Blocks finalized between two statuses, the most that any validator tells.
pub(crate) fn blocks(before: &[Status], after: &[Status]) -> u64 {
    let highest = |statuses: &[Status]| {
        let heights = statuses
            .iter()
            .flatten()
            .filter_map(|status| status["height"].as_u64());
        heights.max().unwrap_or(0)
    };
    highest(after).saturating_sub(highest(before))
}

/// Threads and idling as the first validator that answers tells them.
pub(crate) fn placement(statuses: &[Status]) -> (String, String) {
    let told = |key: &str| {
        let mut values = statuses
            .iter()
            .flatten()
            .filter_map(|status| status[key].as_str());
        values.next().unwrap_or("unknown").to_owned()
    };
    (told("threads"), told("idle"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate_bench::probe::Silence;
    use quorate_bench::testnet::Plan;
    use quorate_log::{DataFolder, LogConfig, Opened, RecordKind, open};
    use serde_json::json;
    use std::path::{Path, PathBuf};

    fn root(height: u64, byte: u8) -> Answered {
        Ok(Reply::Root {
            height,
            root: [byte; 32],
        })
    }

    fn silent(is_refusal: bool) -> Answered {
        Err(Silence {
            why: "no answer".to_owned(),
            is_refusal,
        })
    }

    #[test]
    fn whoever_is_gone_is_waited_for_only_while_the_others_do_not_agree() {
        let gone = || silent(true);
        assert!(is_settled_but_for_refusals(&[root(7, 1), gone()], 7));
        assert!(!is_settled_but_for_refusals(&[root(7, 1), root(7, 1)], 7));
        let catching_up = [root(7, 1), root(6, 1), gone()];
        assert!(!is_settled_but_for_refusals(&catching_up, 7));
        assert!(!is_settled_but_for_refusals(&[gone(), gone()], 7));
    }

    #[test]
    fn whoever_is_slow_is_waited_for() {
        let slow = || silent(false);
        assert!(!is_settled_but_for_refusals(&[root(7, 1), slow()], 7));
        let answers = [root(7, 1), slow(), silent(true)];
        assert!(!is_settled_but_for_refusals(&answers, 7));
    }

    #[test]
    fn equal_roots_at_one_height_are_agreement() {
        let agreement = judge_roots(&[root(7, 1), root(7, 1)], 7);
        assert_eq!(agreement.state_roots_equal, Some(true));
        assert_eq!(agreement.state_height, Some(7));
        assert!(agreement.differences.is_empty());
    }

    #[test]
    fn anything_else_is_a_difference() {
        for (answers, height) in [
            (vec![root(7, 1), root(7, 2)], 7),
            (vec![root(7, 1), root(8, 1)], 7),
            (vec![root(7, 1), root(7, 1)], 8),
            (vec![root(7, 1), silent(true)], 7),
            (vec![root(7, 1), Ok(Reply::Status(json!({})))], 7),
        ] {
            let agreement = judge_roots(&answers, height);
            assert_eq!(agreement.state_roots_equal, Some(false), "{answers:?}");
            assert!(!agreement.differences.is_empty(), "{answers:?}");
        }
    }

    #[test]
    fn a_validator_that_did_not_answer_once_is_asked_again() {
        let slow = || silent(false);
        let agreement = judge_roots(&[root(7, 1), slow()], 7);
        assert_eq!(agreement.state_height, None, "so it is asked again");
        assert_eq!(agreement.state_roots_equal, Some(false));
        assert_eq!(
            judge_roots(&[root(7, 1), root(7, 2), slow()], 7).state_height,
            None
        );
        // Roots that differ at one height do not become equal.
        assert_eq!(
            judge_roots(&[root(7, 1), root(7, 2)], 7).state_height,
            Some(7)
        );
    }

    #[test]
    fn the_fast_share_is_the_mean_over_those_that_answer() {
        let status = |fraction: f64| Ok(json!({ "fast_path_fraction": fraction }));
        let fraction = fast_fraction(&[status(1.0), Err("gone".to_owned()), status(0.5)]).unwrap();
        assert!((fraction - 0.75).abs() < 1e-9, "{fraction}");
        assert_eq!(fast_fraction(&[Err(String::new())]), None);
    }

    #[test]
    fn blocks_and_placement_come_from_whoever_answers() {
        let status =
            |height: u64| Ok(json!({"height": height, "threads": "shared", "idle": "park"}));
        let after = [Err("gone".to_owned()), status(30), status(31)];
        assert_eq!(blocks(&[status(10)], &after), 21);
        assert_eq!(placement(&after), ("shared".to_owned(), "park".to_owned()));
        assert_eq!(placement(&[]).0, "unknown");
    }

    const SHORT: LogConfig = LogConfig {
        segment_bytes: 4 << 20,
        salt: [7; 32],
        distrusts_cache: false,
        reserves_room: false,
    };

    /// A testnet whose validators never ran.
    fn testnet(name: &str) -> (PathBuf, Testnet) {
        let name = format!("quorate-agreement-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let plan = Plan {
            segment_bytes: Some(SHORT.segment_bytes),
            ..Plan::of_equals(4, 20_000)
        };
        let testnet = Testnet::create(&dir, &plan).unwrap();
        (dir, testnet)
    }

    fn compared(testnet: &Testnet, logs: Logs<'_>, height: u64) -> Agreement {
        let mut agreement = Agreement::default();
        compare_logs(testnet, logs, height, &mut agreement);
        agreement
    }

    #[test]
    fn logs_that_end_below_the_height_are_not_called_equal() {
        let (dir, testnet) = testnet("below");
        let whole = compared(&testnet, Logs::AtRest, 0);
        assert_eq!(whole.logs_equal, Some(true), "{:?}", whole.differences);
        // No block was ever made.
        let short = compared(&testnet, Logs::AtRest, 1);
        assert_eq!(short.logs_equal, Some(false));
        assert_eq!(short.differences.len(), 4, "{:?}", short.differences);
        let first = &short.differences[0];
        assert!(first.contains("ends at height 0, below 1"), "{first}");
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn opened(log: &Path) -> Opened {
        let genesis = crate::inspect::records::genesis(log).unwrap().unwrap();
        open(&DataFolder::open(log).unwrap(), &SHORT, &genesis).unwrap()
    }

    /// Two records of no kind, of which the first is synced: where each begins.
    fn append_two(log: &Path) -> [usize; 2] {
        let mut opened = opened(log);
        [1, 2].map(|number| {
            let place = opened.writer.end().offset.bytes() as usize;
            let bytes = [number; 64];
            let kind = RecordKind::new(900);
            opened.writer.append(kind, &[&bytes]).unwrap();
            if number == 1 {
                opened.syncer.sync(opened.writer.unsynced()).unwrap();
            }
            place
        })
    }

    fn flip(log: &Path, at: usize) {
        let segment = log.join("segment-0000000000");
        let mut bytes = std::fs::read(&segment).unwrap();
        bytes[at] ^= 1;
        std::fs::write(segment, bytes).unwrap();
    }

    #[test]
    fn logs_at_rest_of_which_one_was_marked_or_is_torn_are_not_called_equal() {
        let (dir, testnet) = testnet("marked");
        let log = testnet.log_folder(2).unwrap();
        let [synced, unsynced] = append_two(&log);
        flip(&log, unsynced + 40);
        let torn = compared(&testnet, Logs::AtRestBut(&[2]), 0).differences;
        let told = |what: &str| torn.iter().any(|one| one.contains(what));
        assert!(told("log of validator 2: record 2: "), "{torn:?}");
        // The start marks what it had synced and finds otherwise.
        flip(&log, synced + 40);
        assert_eq!(opened(&log).recovery.marked.len(), 1);
        for (logs, are_equal) in [
            (Logs::AtRest, false),
            (Logs::AtRestBut(&[0, 1]), false),
            (Logs::AtRestBut(&[2]), true),
            (Logs::Live, true),
        ] {
            let agreement = compared(&testnet, logs, 0);
            assert_eq!(agreement.logs_equal, Some(are_equal), "{agreement:?}");
            let told = agreement.differences.join("");
            let is_told = told.contains("log of validator 2: marked as faulty from record 1");
            assert_ne!(is_told, are_equal, "{told}");
        }
        std::fs::remove_dir_all(dir).unwrap();
    }
}
