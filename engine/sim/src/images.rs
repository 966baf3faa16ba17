//! Crash images: a log as it would be after losing any part of what was not synced, and what a
//! start makes of it.
//!
//! Owns the random histories, the choice of what survives, and the judgement from outside: what
//! was synced is found again, after the mere death of the process all that was appended is, what is
//! found was appended, in that order, and a crash is never taken for damage. Runs the product's log
//! over its own backend of a live and a durable image. Never: looks inside the log to decide what
//! is right.

use std::collections::BTreeMap;

use quorate_log::{
    Action, DataFolder, LogConfig, MemoryBackend, OpenError, Opened, RecordKind, Recovery,
    Unsynced, open,
};
use serde::Serialize;

use crate::dice::Dice;

/// Shortest segments, so that a short history crosses many boundaries.
const SEGMENT_BYTES: u32 = 4096;
const GENESIS: &[u8] = b"genesis of the images";
const KIND: RecordKind = RecordKind::new(1);
/// Up to so many unsynced things, every subset of them is an image.
const EXHAUSTIVE_THINGS_MAX: u32 = 5;
/// Images of one history.
const IMAGES_PER_HISTORY: u64 = 1 << EXHAUSTIVE_THINGS_MAX;
/// Actions of one history.
const ACTS_MAX: u64 = 40;
/// Steps that a sync of one or two segments takes, the watermark's included: what is said too early
/// is wrong in the few of them alone, which a loss of power at any step of a history seldom meets.
const SYNC_STEPS: u64 = 12;
/// Most failures that are told in words.
const FAILURES_MAX: usize = 20;

/// What came of a sweep.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct ImagesSummary {
    /// Images from which a start was made.
    pub images: u64,
    /// Random histories that they were taken of.
    pub histories: u64,
    /// The lowest of their seeds.
    pub first: u64,
    /// One above the highest of them; 0 where there is none.
    pub end: u64,
    /// Starts that were cut short themselves, and their folders started from again.
    pub interrupted_starts: u64,
    /// Of all images together, the records that had been synced, or that a killed process had
    /// appended.
    pub durable_records: u64,
    /// Of those, the ones that a start did not find again.
    pub lost: u64,
    /// Starts that cut, refused or made up anything that a crash does not excuse.
    pub wrong_cuts: u64,
    /// Starts that took what a crash had left for damage: they marked it, or missed the watermark.
    /// A validator abstains after such a start, or asks its peers what it had said.
    pub mistaken_for_damage: u64,
    /// How often a start came to each row of the decision table.
    pub rows: BTreeMap<String, u64>,
    /// The first failures: the seed of the history, the image, and what went wrong.
    pub failures: Vec<String>,
}

impl ImagesSummary {
    /// Whether nothing was lost, nothing cut wrongly, and no crash taken for damage.
    #[must_use]
    pub const fn is_good(&self) -> bool {
        self.lost == 0 && self.wrong_cuts == 0 && self.mistaken_for_damage == 0
    }

    fn add(&mut self, other: Self) {
        if other.end > 0 {
            let is_first = self.end == 0;
            self.first = if is_first {
                other.first
            } else {
                self.first.min(other.first)
            };
            self.end = self.end.max(other.end);
        }
        self.images += other.images;
        self.histories += other.histories;
        self.interrupted_starts += other.interrupted_starts;
        self.durable_records += other.durable_records;
        self.lost += other.lost;
        self.wrong_cuts += other.wrong_cuts;
        self.mistaken_for_damage += other.mistaken_for_damage;
        for (row, count) in other.rows {
            *self.rows.entry(row).or_default() += count;
        }
        self.failures.extend(other.failures);
        self.failures.truncate(FAILURES_MAX);
    }
}

/// Makes at least `count` images of random histories from `seed` on, on so many threads.
#[must_use]
pub fn images(seed: u64, count: u64, threads: usize) -> ImagesSummary {
    let threads = threads.max(1) as u64;
    let share = count.div_ceil(threads);
    let mut summary = ImagesSummary::default();
    std::thread::scope(|scope| {
        let work = |thread: u64| {
            move || {
                let mut part = ImagesSummary::default();
                let mut history = thread;
                while part.images < share {
                    part.add(take_history(seed.wrapping_add(history)));
                    history += threads;
                }
                part
            }
        };
        let workers: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(work(thread)))
            .collect();
        for worker in workers {
            match worker.join() {
                Ok(part) => summary.add(part),
                Err(_) => {
                    summary.wrong_cuts += 1;
                    summary.failures.push("a start panicked".to_owned());
                }
            }
        }
    });
    summary
}

fn config() -> LogConfig {
    LogConfig {
        segment_bytes: SEGMENT_BYTES,
        ..LogConfig::new([0x3c; 32])
    }
}

fn start(memory: &MemoryBackend) -> Result<Opened, OpenError> {
    open(&DataFolder::in_memory(memory), &config(), GENESIS)
}

/// What was appended in one folder, and how much of it was synced, or outlived the process.
#[derive(Clone, Debug, Default)]
struct Written {
    payloads: Vec<Vec<u8>>,
    synced: usize,
}

/// One history with all its images.
fn take_history(seed: u64) -> ImagesSummary {
    let mut dice = Dice::new(seed, "history");
    let mut written = Written::default();
    let mut summary = ImagesSummary {
        histories: 1,
        first: seed,
        end: seed.saturating_add(1),
        ..ImagesSummary::default()
    };
    let memory = live(seed, &mut dice, &mut written, &mut summary);
    if !summary.is_good() {
        // What its images lack would be told again, or be hidden by what was appended since.
        summary.images = 1;
        return summary;
    }
    judge_kill(seed, &memory, &written, &mut summary);
    let mut things = 0_u32;
    drop(memory.power_cut(|_| {
        things += 1;
        true
    }));
    let images = if things <= EXHAUSTIVE_THINGS_MAX {
        1 << things
    } else {
        IMAGES_PER_HISTORY
    };
    for number in 0..images {
        let is_exhaustive = things <= EXHAUSTIVE_THINGS_MAX;
        let after = cut(&memory, number, is_exhaustive, &mut dice);
        summary.images += 1;
        summary.durable_records += written.synced as u64;
        let mut judge = Judge {
            what: format!("seed {seed} image {number}"),
            written: &written,
            summary: &mut summary,
        };
        judge.judge(&after, &mut dice);
    }
    summary
}

/// The image that the mere death of the process leaves, which is not for chance to choose.
fn judge_kill(seed: u64, memory: &MemoryBackend, written: &Written, summary: &mut ImagesSummary) {
    let mut dice = Dice::new(seed, "kill");
    let mut written = written.clone();
    let image = crash(memory, true, &mut dice, &mut written);
    summary.images += 1;
    summary.durable_records += written.synced as u64;
    let mut judge = Judge {
        what: format!("seed {seed} kill"),
        written: &written,
        summary,
    };
    judge.start_from(&image, &mut dice);
}

/// A random life of a log, over restarts and earlier crashes, up to a crash at a random step, or to
/// a start that does not find what it must.
fn live(
    seed: u64,
    dice: &mut Dice,
    written: &mut Written,
    summary: &mut ImagesSummary,
) -> MemoryBackend {
    let mut memory = MemoryBackend::new();
    let mut goes_off = dice.percent(60);
    if goes_off {
        memory.power_off_after(dice.skewed(1_500));
    }
    let Ok(mut log) = start(&memory) else {
        return memory;
    };
    for _ in 0..dice.between(1, ACTS_MAX) {
        let is_alive = match dice.below(20) {
            0..=10 => append(&mut log, dice, written),
            11..=14 => {
                // Once: power that is gone does not come back in the middle of a life.
                if !goes_off && dice.percent(15) {
                    goes_off = true;
                    memory.power_off_after(dice.below(SYNC_STEPS));
                }
                sync(&mut log, written)
            }
            15 | 16 => log.preparer.prepare_next().is_ok(),
            act => {
                drop(log);
                goes_off = false;
                memory = crash(&memory, act == 17, dice, written);
                match start(&memory) {
                    Ok(opened) => {
                        log = opened;
                        keep_recovered(&log, &format!("seed {seed} restart"), written, summary)
                    }
                    // The judgement of the images finds it again.
                    Err(_) => return memory,
                }
            }
        };
        if !is_alive {
            break;
        }
    }
    memory
}

/// What is left of a folder when its process is killed, or when the power goes. A process takes
/// nothing with it: all that it had appended is in the mapping, synced or not, and is to be found.
/// What it stored after its power had gone is nowhere.
fn crash(
    memory: &MemoryBackend,
    is_kill: bool,
    dice: &mut Dice,
    written: &mut Written,
) -> MemoryBackend {
    if is_kill && memory.spend_step().is_ok() {
        written.synced = written.payloads.len();
    }
    if is_kill {
        return memory.process_kill();
    }
    memory.power_cut(|_| dice.percent(50))
}

fn append(log: &mut Opened, dice: &mut Dice, written: &mut Written) -> bool {
    let bytes = match dice.below(10) {
        0 => 0,
        1..=6 => dice.below(200),
        7 | 8 => dice.below(1_200),
        _ => dice.below(3_400),
    };
    let mut payload = (written.payloads.len() as u64).to_le_bytes().to_vec();
    payload.resize_with(8 + usize::try_from(bytes).unwrap_or(0), || {
        u8::try_from(dice.below(256)).unwrap_or(0)
    });
    let is_appended = log.writer.append(KIND, &[&payload]).is_ok();
    if is_appended {
        written.payloads.push(payload);
    }
    is_appended
}

fn sync(log: &mut Opened, written: &mut Written) -> bool {
    let is_synced = log.syncer.sync(log.writer.unsynced()).is_ok();
    if is_synced {
        written.synced = written.payloads.len();
    }
    is_synced
}

/// What a start has found is durable, and the base of what follows, unless anything is amiss with
/// it: what is appended later must not stand in for what was lost.
fn keep_recovered(
    log: &Opened,
    what: &str,
    written: &mut Written,
    summary: &mut ImagesSummary,
) -> bool {
    let found = payloads(log);
    let mut judge = Judge {
        what: what.to_owned(),
        written,
        summary,
    };
    let is_good = judge.decided(&log.recovery) & judge.compare(found.as_deref());
    if let Some(found) = found.filter(|_| is_good) {
        written.synced = found.len();
        written.payloads = found;
    }
    is_good
}

/// Every payload after the genesis, or none when one cannot be read.
fn payloads(log: &Opened) -> Option<Vec<Vec<u8>>> {
    let mut records = log.reader.iter();
    records.next()?.ok()?;
    records.map(|record| Some(record.ok()?.to_vec())).collect()
}

/// The image with this number: its bits say what survives, or chance does, in one of four ways.
fn cut(memory: &MemoryBackend, number: u64, is_exhaustive: bool, dice: &mut Dice) -> MemoryBackend {
    let (way, percent) = (number % 4, dice.between(1, 99));
    let prefix = dice.below(64);
    let mut turn = 0_u64;
    memory.power_cut(|thing| {
        turn += 1;
        if is_exhaustive {
            return number >> (turn - 1) & 1 == 1;
        }
        match way {
            // Everything up to a place, and nothing after; names as they come.
            0 => turn <= prefix,
            // Names survive, sectors by chance; and the other way round.
            1 => matches!(thing, Unsynced::Name(_)) || dice.percent(percent),
            2 => matches!(thing, Unsynced::Sector { .. }) || dice.percent(percent),
            _ => dice.percent(percent),
        }
    })
}

struct Judge<'a> {
    what: String,
    written: &'a Written,
    summary: &'a mut ImagesSummary,
}

impl Judge<'_> {
    fn judge(&mut self, image: &MemoryBackend, dice: &mut Dice) {
        if dice.percent(25) {
            // A start that is cut short, and what it leaves.
            let second = image.process_kill();
            second.power_off_after(dice.below(400));
            drop(start(&second));
            let percent = dice.between(1, 99);
            self.summary.interrupted_starts += 1;
            self.start_from(&second.power_cut(|_| dice.percent(percent)), dice);
        }
        self.start_from(image, dice);
    }

    fn start_from(&mut self, image: &MemoryBackend, dice: &mut Dice) {
        let mut log = match start(image) {
            Ok(log) => log,
            Err(error) => return self.wrong(&format!("refused: {error}")),
        };
        let row = format!("{:?}", log.recovery.row);
        *self.summary.rows.entry(row).or_default() += 1;
        let found = payloads(&log);
        self.decided(&log.recovery);
        self.compare(found.as_deref());
        let Some(mut found) = found else { return };
        if dice.percent(12) {
            // It goes on: what is appended and synced now is found with the rest.
            let mut more = Written::default();
            let goes_on = append(&mut log, dice, &mut more) && sync(&mut log, &mut more);
            found.extend(more.payloads);
            drop(log);
            let again = start(&image.power_cut(|_| false)).ok();
            if let Some(log) = &again {
                self.decided(&log.recovery);
            }
            if !goes_on || again.and_then(|log| payloads(&log)) != Some(found) {
                self.wrong("the log does not go on after the start");
            }
        }
    }

    /// Holds what a start decided against that nothing but crashes happened; whether it is so.
    fn decided(&mut self, recovery: &Recovery) -> bool {
        let is_of_a_crash = matches!(recovery.row.action(), Action::Continue | Action::Cut);
        let is_sound = is_of_a_crash && recovery.marked.is_empty() && recovery.has_watermark;
        if !is_sound {
            self.summary.mistaken_for_damage += 1;
            let watermark = if recovery.has_watermark { "" } else { "out" };
            self.tell(&format!(
                "a crash was taken for damage: {:?}, {} marks, with{watermark} a watermark",
                recovery.row,
                recovery.marked.len(),
            ));
        }
        is_sound
    }

    /// Holds what a start found against what was written; whether nothing is amiss.
    fn compare(&mut self, found: Option<&[Vec<u8>]>) -> bool {
        let Some(found) = found else {
            self.wrong("a record cannot be read");
            return false;
        };
        let missing = self.written.synced.saturating_sub(found.len());
        let is_prefix = self.written.payloads.starts_with(found);
        if missing > 0 {
            self.summary.lost += missing as u64;
            self.tell(&format!("{missing} durable records lost"));
        } else if !is_prefix {
            self.wrong("what is found is not what was appended");
        }
        missing == 0 && is_prefix
    }

    fn wrong(&mut self, what: &str) {
        self.summary.wrong_cuts += 1;
        self.tell(what);
    }

    fn tell(&mut self, what: &str) {
        if self.summary.failures.len() < FAILURES_MAX {
            self.summary.failures.push(format!("{}: {what}", self.what));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_few_thousand_images_lose_nothing_and_reach_every_row_of_a_crash() {
        let summary = images(0, 3_000, 1);
        assert!(summary.is_good(), "{:?}", summary.failures);
        assert!(summary.images >= 3_000 && summary.durable_records > 0);
        for row in ["CleanEnd", "TornTail", "TornGroup"] {
            assert!(summary.rows.contains_key(row), "{row}: {:?}", summary.rows);
        }
        assert_eq!(summary, images(0, 3_000, 1), "the same seed does the same");
    }

    #[test]
    fn a_lost_record_and_a_made_up_one_are_seen() {
        let memory = MemoryBackend::new();
        let mut log = start(&memory).unwrap();
        let mut written = Written::default();
        let mut dice = Dice::new(1, "test");
        assert!(append(&mut log, &mut dice, &mut written) && sync(&mut log, &mut written));
        drop(log);
        let verdict = |written: &Written| {
            let mut summary = ImagesSummary::default();
            let mut judge = Judge {
                what: String::new(),
                written,
                summary: &mut summary,
            };
            judge.start_from(&memory.power_cut(|_| false), &mut Dice::new(2, "test"));
            (summary.lost, summary.wrong_cuts)
        };
        assert_eq!(verdict(&written), (0, 0));
        let mut more = written.clone();
        more.synced = 2;
        assert_eq!(verdict(&more), (1, 0));
        let mut other = written.clone();
        other.payloads[0].push(0);
        assert_eq!(verdict(&other), (0, 1));
    }

    #[test]
    fn a_start_after_a_mere_kill_that_drops_the_last_whole_record_is_seen() {
        let memory = MemoryBackend::new();
        let mut log = start(&memory).unwrap();
        let (mut written, mut dice) = (Written::default(), Dice::new(1, "test"));
        assert!(append(&mut log, &mut dice, &mut written) && sync(&mut log, &mut written));
        let without_it = memory.process_kill();
        assert!(append(&mut log, &mut dice, &mut written));
        drop(log);
        let verdict = |is_kill, left: &MemoryBackend| {
            let (mut written, mut summary) = (written.clone(), ImagesSummary::default());
            drop(crash(
                &memory,
                is_kill,
                &mut Dice::new(2, "test"),
                &mut written,
            ));
            let log = start(left).unwrap();
            let goes_on = keep_recovered(&log, "", &mut written, &mut summary);
            (goes_on, summary.lost)
        };
        assert_eq!(verdict(true, &memory.process_kill()), (true, 0));
        assert_eq!(verdict(true, &without_it), (false, 1));
        assert_eq!(verdict(false, &without_it), (true, 0), "it was not synced");
        let mut summary = ImagesSummary::default();
        judge_kill(0, &memory, &written, &mut summary);
        assert_eq!((summary.images, summary.lost), (1, 0));
        judge_kill(0, &without_it, &written, &mut summary);
        assert_eq!((summary.images, summary.lost), (2, 1));
        assert!(summary.failures[0].starts_with("seed 0 kill: "));
        without_it.power_off_after(0);
        judge_kill(0, &without_it, &written, &mut summary);
        assert_eq!((summary.images, summary.lost), (3, 1), "stored nowhere");
    }

    #[test]
    fn a_crash_that_is_taken_for_damage_is_seen_though_every_record_is_there() {
        let memory = MemoryBackend::new();
        let mut log = start(&memory).unwrap();
        let (mut written, mut dice) = (Written::default(), Dice::new(1, "test"));
        assert!(append(&mut log, &mut dice, &mut written) && sync(&mut log, &mut written));
        let whole = written.clone();
        assert!(append(&mut log, &mut dice, &mut written) && sync(&mut log, &mut written));
        let last = log.writer.end().offset.bytes() as usize - 1;
        drop(log);
        let verdict = |change: &dyn Fn(&MemoryBackend), written: &Written| {
            let memory = memory.process_kill();
            change(&memory);
            let mut summary = ImagesSummary::default();
            let mut judge = Judge {
                what: String::new(),
                written,
                summary: &mut summary,
            };
            judge.start_from(&memory, &mut Dice::new(2, "test"));
            assert_eq!((summary.lost, summary.wrong_cuts), (0, 0));
            assert_eq!(summary.is_good(), summary.mistaken_for_damage == 0);
            (summary.mistaken_for_damage, summary.failures.join(""))
        };
        assert_eq!(verdict(&|_| {}, &written), (0, String::new()));
        // The bytes of the second record are not what was synced: its start marks them, as it
        // must. That nothing is lost here is because the test does not count it as synced.
        let told = verdict(
            &|memory| memory.rot("segment-0000000000", last, 1, true),
            &whole,
        );
        assert_eq!(told.0, 1);
        assert!(
            told.1.contains("SyncedDamage, 1 marks, with a"),
            "{}",
            told.1
        );
        let told = verdict(&|memory| memory.remove_file("watermark"), &written);
        assert_eq!(told.0, 1);
        assert!(told.1.contains("CleanEnd, 0 marks, without"), "{}", told.1);
    }

    #[test]
    fn a_history_ends_at_a_restart_that_takes_its_crash_for_damage() {
        let memory = MemoryBackend::new();
        drop(start(&memory).unwrap());
        memory.remove_file("watermark");
        let log = start(&memory).unwrap();
        let mut summary = ImagesSummary::default();
        let goes_on = keep_recovered(&log, "", &mut Written::default(), &mut summary);
        assert!(
            !goes_on,
            "the next start finds the watermark that this one made"
        );
        let mut all = ImagesSummary::default();
        all.add(summary);
        assert_eq!((all.mistaken_for_damage, all.is_good()), (1, false));
    }

    #[test]
    fn a_loss_inside_a_history_is_counted_at_once_whatever_is_appended_later() {
        let memory = MemoryBackend::new();
        let mut log = start(&memory).unwrap();
        let (mut written, mut dice) = (Written::default(), Dice::new(1, "test"));
        for _ in 0..7 {
            assert!(append(&mut log, &mut dice, &mut written));
        }
        assert!(sync(&mut log, &mut written));
        let mut summary = ImagesSummary::default();
        assert!(keep_recovered(&log, "", &mut written, &mut summary));
        assert_eq!((written.synced, written.payloads.len()), (7, 7));
        let whole = written.clone();
        written
            .payloads
            .extend([b"8", b"9", b"0"].map(|one| one.to_vec()));
        written.synced = 10;
        let goes_on = keep_recovered(&log, "", &mut written, &mut summary);
        assert!(!goes_on, "five more would make up for the three");
        assert_eq!((summary.lost, summary.wrong_cuts), (3, 0));
        written = whole;
        written.payloads[3].push(0);
        let mut summary = ImagesSummary::default();
        assert!(!keep_recovered(&log, "", &mut written, &mut summary));
        assert_eq!((summary.lost, summary.wrong_cuts), (0, 1));
    }
}
