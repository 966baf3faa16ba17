//! One visit of a place: a validator meets the fault there, and its end is judged.
//!
//! Owns what is promised of each kind of place. Whoever writes the log ends at the first sync that
//! fails; what stands beside it, snapshots and older public events, ends no validator. Never:
//! chooses places.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::{Duration, Instant};

use quorate_bench::cluster::Ended;

use super::places::{MAIN, Mappings, Place, Seen, calls, kind};
use super::tracer::{Attached, Change, changing, files};
use crate::agreement;
use crate::commands::bench::crash::Series;
use crate::failure::{Code, Failure};

/// What becomes of a call: the name in the report, and how the tracer says it.
pub(super) type Fault = (&'static str, &'static str);
pub(super) const FAULTS: [Fault; 3] = [
    ("eio", "error=EIO"),
    ("enospc", "error=ENOSPC"),
    ("kill", "signal=KILL"),
];
/// How long a call may take to come while the validator starts.
const REACH: Duration = Duration::from_secs(60);
/// A call of a start that has not come this long after the validator took part does not come any
/// more; and one that was refused so long ago has not ended it.
const LINGER: Duration = Duration::from_secs(4);
/// How long is waited for a call of a validator that runs.
const SELDOM: Duration = Duration::from_secs(30);
/// How long one look at it takes.
const LOOK: Duration = Duration::from_millis(100);
/// How long a validator may take to stop when it is let go.
const STOP: Duration = Duration::from_secs(120);
/// Exit codes of a validator whose disk refused: the disk failed, or it did so and not even a note
/// of it could be left.
const DISK_FAILED: [i32; 2] = [Code::DiskFailed as i32, Code::Safety as i32];

/// What is promised of a refusal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Duty {
    /// The process ends.
    End,
    /// It goes on, with an alarm where the error is no want of room.
    Alarm,
    /// It goes on.
    GoOn,
}

impl Duty {
    fn of(place: &Place) -> Self {
        let is_beside = |folder: &str| place.file.starts_with(folder);
        let own = [
            "quorate-shadow",
            "quorate-taking",
            "quorate-public",
            "quorate-private",
        ];
        let beside = ["data/snapshots", "data/public", "data/private"];
        // The next certificate is as good. Two folders are synced for one too.
        let is_own = own.contains(&place.thread.as_str());
        let is_folder = place.file == "data" || place.file == "data/snapshots";
        if place.file.ends_with(".certificate.new") || is_own && is_folder {
            return Self::GoOn;
        }
        if is_own || beside.into_iter().any(is_beside) {
            return Self::Alarm;
        }
        Self::End
    }
}

/// What to do where.
#[derive(Clone, Copy, Debug)]
pub(super) struct Visit<'a> {
    pub(super) place: &'a Place,
    pub(super) seen: Seen,
    /// The thread makes the same call for other files too.
    pub(super) is_mixed: bool,
    /// Other threads make the same call for these files too.
    pub(super) is_shared: bool,
    pub(super) fault: Fault,
    /// Which one of its calls there, from 1.
    pub(super) point: u64,
}

/// What came of a visit.
#[derive(Clone, Debug, Default)]
pub(super) struct Found {
    /// Where the fault was met, and what came of it; none where it was not met.
    pub(super) met: Option<(Place, String)>,
    /// What should not have been.
    pub(super) unexpected: Vec<String>,
    /// Why it cannot be met at all.
    pub(super) obstacle: Option<String>,
}

/// How a validator came through.
struct Life {
    by_itself: Option<Ended>,
    was_refused: bool,
    /// Alarms that it counted when it had gone on.
    alarms: Option<u64>,
    mappings: Mappings,
    are_all_traced: bool,
}

impl Visit<'_> {
    /// Has a validator meet the fault, and brings it back.
    ///
    /// # Errors
    /// Another validator ends, or this one does not come back.
    pub(super) fn make(&self, series: &mut Series<'_>) -> Result<Found, Failure> {
        let victim = series.any();
        let folder = folder_of(series, victim);
        let Some(change) = self.change(&folder) else {
            let obstacle = Some("its files cannot be named before they are there".to_owned());
            return Ok(Found {
                obstacle,
                ..Found::default()
            });
        };
        let told = std::env::temp_dir().join(format!("quorate-syncs-{}", std::process::id()));
        // What the one before has told.
        drop(fs::remove_file(&told));
        let tracer = if change.is_anybodys || self.place.thread == MAIN {
            series.kill(&[victim])?;
            let Some(usual) = series.cluster.launch(victim).cloned() else {
                return Ok(Found::default());
            };
            self.expect_doubts(series, victim);
            series
                .cluster
                .start_as(victim, &changing(&usual, &change, &told))?;
            None
        } else {
            self.expect_doubts(series, victim);
            let process = series.cluster.process_id(victim).unwrap_or(0);
            match Attached::start(process, &self.place.thread, &change, &told) {
                Ok(tracer) => Some(tracer),
                // It may be there for a moment only, and not in this one.
                Err(error) => {
                    tracing::warn!(%error, "not traced");
                    // But a call may have met it before the tracer was given up.
                    let ended = series.cluster.wait_ended(Instant::now() + LINGER)?;
                    self.bring_back(series, victim, ended.as_ref())?;
                    return Ok(Found::default());
                }
            }
        };
        let life = Life {
            are_all_traced: change.is_anybodys,
            ..self.watch(series, victim, &told)?
        };
        let ended = match life.by_itself {
            Some(ended) => Some(ended),
            None => {
                series.cluster.release(victim)?;
                series.cluster.wait_ended(Instant::now() + STOP)?
            }
        };
        drop(tracer);
        let status = ended.as_ref().map(|ended| ended.status);
        let mut found = self.judge(&life, status, &told, &folder);
        if !found.unexpected.is_empty() {
            found
                .unexpected
                .extend(series.cluster.tail(victim).into_iter().rev().take(8).rev());
        }
        self.bring_back(series, victim, ended.as_ref())?;
        Ok(found)
    }

    /// Starts the validator as it usually is, after its end, or one that is made.
    fn bring_back(
        &self,
        series: &mut Series<'_>,
        victim: usize,
        ended: Option<&Ended>,
    ) -> Result<(), Failure> {
        match ended {
            Some(ended) if ended.index != victim => return Err(series.died(*ended)),
            Some(_) => {}
            None => {
                series.cluster.kill(victim)?;
            }
        }
        series.mark(victim)?;
        self.expect_doubts(series, victim);
        let started = series.start(&[victim])?;
        series.time_return(&[victim], started)
    }

    /// What the tracer is to change; none where its files cannot be named.
    fn change(&self, folder: &Path) -> Option<Change> {
        let place = self.place;
        let mut change = Change {
            call: place.call.clone(),
            fault: self.fault.1,
            when: self.point,
            files: Vec::new(),
            is_anybodys: false,
        };
        if place.call == "msync" {
            // The call names no file. A start makes its calls in one order; of a thread that runs
            // the next one may be of another place, which the tracer's words tell.
            if self.is_mixed && place.thread == MAIN {
                change.when += self.seen.first - 1;
            }
            return Some(change);
        }
        change.files = files(place, folder);
        change.is_anybodys = !self.is_shared && !change.files.is_empty();
        (change.is_anybodys || !self.is_mixed || !change.files.is_empty()).then_some(change)
    }

    /// Waits until the call ends the validator, for as long as it may still come.
    fn watch(&self, series: &mut Series<'_>, victim: usize, told: &Path) -> Result<Life, Failure> {
        let mut deadline = Instant::now() + REACH;
        let (mut votes, mut mappings) = (false, Mappings::default());
        let (mut by_itself, mut was_refused) = (None, false);
        while by_itself.is_none() && Instant::now() < deadline {
            if let Some(process) = series.cluster.process_id(victim) {
                let maps = fs::read_to_string(format!("/proc/{process}/maps"));
                mappings.take(&maps.unwrap_or_default());
            }
            by_itself = series.cluster.wait_ended(Instant::now() + LOOK)?;
            if !was_refused && is_refused(told) {
                was_refused = true;
                deadline = Instant::now() + LINGER;
            }
            if !was_refused && !votes && by_itself.is_none() {
                let statuses = series.statuses()?;
                votes = statuses.get(victim).is_some_and(agreement::is_voting);
                if votes {
                    deadline = Instant::now() + self.patience();
                }
            }
        }
        let alarms = match by_itself {
            None => series.alarms(victim)?,
            Some(_) => None,
        };
        Ok(Life {
            by_itself,
            was_refused,
            alarms,
            mappings,
            are_all_traced: false,
        })
    }

    /// How long the call may take to come at a validator that takes part.
    fn patience(&self) -> Duration {
        match (self.seen.is_at_stop, self.place.thread.as_str()) {
            (true, _) => Duration::ZERO,
            (false, MAIN) => LINGER,
            (false, _) => SELDOM,
        }
    }

    fn judge(&self, life: &Life, status: Option<ExitStatus>, told: &Path, folder: &Path) -> Found {
        let mut found = Found::default();
        let Some(status) = status else {
            let what = format!("{}: {}: it does not stop", self.place, self.fault.0);
            found.unexpected.push(what);
            return found;
        };
        let was_refused = life.was_refused || is_refused(told);
        let was_killed = self.fault.0 == "kill" && signal(status) == Some(9);
        let ended_alone = life.by_itself.is_some();
        if !was_refused && !was_killed {
            if ended_alone || status.code() != Some(0) {
                let what = format!("{}: it ended untouched: {}", self.place, name_of(status));
                found.unexpected.push(what);
            }
            return found;
        }
        let place = self.met(life, (told, folder));
        let went_on = !ended_alone && status.code() == Some(0);
        let end = match (went_on, life.alarms) {
            (true, Some(alarms)) if alarms > 0 => "went on with an alarm".to_owned(),
            (true, _) => "went on".to_owned(),
            (false, _) => name_of(status),
        };
        if !is_kept(Duty::of(&place), self.fault.0, &end, status) {
            let what = format!("{place}: {}: {end}", self.fault.0);
            found.unexpected.push(what);
        }
        found.met = Some((place, format!("{} {end}", self.fault.0)));
        found
    }

    /// Where the fault was met: at the last call that the tracer has told before the end, or the
    /// one that it has refused.
    fn met(&self, life: &Life, (told, folder): (&Path, &Path)) -> Place {
        let text = fs::read(told).unwrap_or_default();
        let mut mappings = life.mappings.clone();
        let text = String::from_utf8_lossy(&text);
        let calls = calls(&text, life.are_all_traced, &mut mappings);
        let refused = calls.iter().find(|call| call.is_refused);
        let path = refused
            .or_else(|| calls.last())
            .and_then(|call| call.path.clone());
        Place {
            file: kind(path.as_deref(), folder),
            ..self.place.clone()
        }
    }

    /// Whose disk refused may not know what it holds, whose process died knows.
    fn expect_doubts(&self, series: &mut Series<'_>, victim: usize) {
        if self.fault.0 != "kill" {
            series.expect_doubts(victim);
        }
    }
}

/// The folder of a validator, by the name that the system has for it.
pub(super) fn folder_of(series: &Series<'_>, victim: usize) -> PathBuf {
    let config = series.config_path(victim);
    let folder = config.parent().unwrap_or(&config);
    fs::canonicalize(folder).unwrap_or_else(|_| folder.to_path_buf())
}

/// Whether a validator may come through a fault so.
fn is_kept(duty: Duty, fault: &str, end: &str, status: ExitStatus) -> bool {
    if fault == "kill" {
        return signal(status) == Some(9);
    }
    let (went_on, code) = (end.starts_with("went on"), status.code());
    // Who lacks room waits for it, and a start that finds none is tried again.
    let is_full = fault == "enospc";
    match duty {
        Duty::End if went_on => is_full,
        Duty::End if is_full && code == Some(Code::TryAgain as i32) => true,
        Duty::End => code.is_some_and(|code| DISK_FAILED.contains(&code)),
        Duty::Alarm => went_on && (is_full || end.ends_with("alarm")),
        Duty::GoOn => went_on,
    }
}

fn signal(status: ExitStatus) -> Option<i32> {
    use std::os::unix::process::ExitStatusExt as _;
    status.signal()
}

/// Whether the tracer has written that it made a call fail.
fn is_refused(told: &Path) -> bool {
    has_refused(&fs::read(told).unwrap_or_default())
}

fn has_refused(told: &[u8]) -> bool {
    const MARK: &[u8] = b"(INJECTED)";
    told.windows(MARK.len()).any(|at| at == MARK)
}

fn name_of(status: ExitStatus) -> String {
    match (status.code(), signal(status)) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    fn place(thread: &str, call: &str, file: &str) -> Place {
        Place {
            thread: thread.to_owned(),
            call: call.to_owned(),
            file: file.to_owned(),
        }
    }

    #[test]
    fn the_log_ends_a_validator_and_what_stands_beside_it_does_not() {
        let [exit_0, exit_70, exit_75] = [0, 70, 75].map(|code| ExitStatus::from_raw(code << 8));
        let of = |thread, file| Duty::of(&place(thread, "fsync", file));
        let log = of("quorate-sync", "data/log/segment-N");
        assert_eq!(of("main", "data"), Duty::End);
        let snapshot = of("quorate-shadow", "data/snapshots/snapshot-N.data.new");
        assert_eq!((log, snapshot), (Duty::End, Duty::Alarm));
        assert_eq!(of("quorate-shadow", "data/snapshots"), Duty::GoOn);
        assert_eq!(of("quorate-shadow", "data"), Duty::GoOn);
        let certificate = of(
            "quorate-shadow",
            "data/snapshots/snapshot-N.certificate.new",
        );
        assert_eq!(certificate, Duty::GoOn);
        for (duty, fault, end, status, is_well) in [
            (log, "eio", "exit 70", exit_70, true),
            (log, "eio", "went on", exit_0, false),
            (log, "eio", "exit 75", exit_75, false),
            (log, "enospc", "exit 75", exit_75, true),
            (log, "enospc", "went on", exit_0, true),
            (snapshot, "eio", "exit 70", exit_70, false),
            (snapshot, "eio", "went on", exit_0, false),
            (snapshot, "eio", "went on with an alarm", exit_0, true),
            (snapshot, "enospc", "went on", exit_0, true),
            (certificate, "eio", "went on", exit_0, true),
            (certificate, "eio", "exit 70", exit_70, false),
            (log, "kill", "exit 70", exit_70, false),
            (snapshot, "kill", "signal 9", ExitStatus::from_raw(9), true),
        ] {
            assert_eq!(
                is_kept(duty, fault, end, status),
                is_well,
                "{duty:?} {fault} {end}"
            );
        }
    }

    #[test]
    fn a_call_is_met_by_its_file_where_that_can_be_and_else_by_its_turn() {
        let folder = Path::new("/v");
        let main = place("main", "msync", "data/log/watermark");
        let seen = Seen {
            count: 2,
            first: 3,
            is_at_stop: false,
        };
        let visit = Visit {
            place: &main,
            seen,
            is_mixed: true,
            is_shared: true,
            fault: FAULTS[0],
            point: 2,
        };
        let change = |place: &Place, is_mixed, is_shared| {
            let visit = Visit {
                place,
                is_mixed,
                is_shared,
                ..visit
            };
            visit.change(folder)
        };
        let by_turn = change(&main, true, true).unwrap();
        assert_eq!((by_turn.when, by_turn.files.len()), (4, 0));
        let running = place("quorate-sync", "msync", "data/log/watermark");
        assert_eq!(change(&running, true, true).unwrap().when, 2);
        let log = change(&place("main", "fsync", "data/log"), true, true).unwrap();
        assert_eq!(
            (log.when, &log.files[..]),
            (2, &[folder.join("data/log")][..])
        );
        assert!(!log.is_anybodys);
        let lease = place("quorate-sync", "fsync", "data/log/lease.new");
        assert!(change(&lease, true, false).unwrap().is_anybodys);
        let unnamed = place("quorate-public", "fdatasync", "data/public/N.events");
        assert_eq!(change(&unnamed, true, false), None);
        let by_thread = change(&unnamed, false, false).unwrap();
        assert!(by_thread.files.is_empty() && !by_thread.is_anybodys);
    }

    #[test]
    fn a_wait_for_room_is_told_from_a_call_that_never_came() {
        let refused = b"fdatasync(5) = -1 ENOSPC (No space left on device) (INJECTED)\n";
        assert!(has_refused(refused));
        assert!(!has_refused(b"fdatasync(5) = 0\n") && !has_refused(b""));
    }
}
