//! `quorate bench syncs`: the first sync calls in a validator's life, each as a place where the
//! disk refuses or the process dies, under load.
//!
//! Owns the list of places and the verdict on how the process ended. The calls are changed from
//! outside, by `strace`, so what runs is what ships. What clients were told and what validators
//! voted is held against the logs as after any other series of kills. Never: repairs.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use clap::Args;
use quorate_bench::cluster::{Ended, Launch};
use serde::Serialize;

use super::crash::{Series, Setting, under_load};
use super::toll::Toll;
use crate::agreement;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{Report, progress};
use crate::plan::ClusterOptions;

/// The calls by which a validator makes things durable.
const CALLS: [&str; 2] = ["msync", "fsync"];
/// What becomes of one: the name in the report, and how the tracer says it.
const FAULTS: [(&str, &str); 3] = [
    ("eio", "error=EIO"),
    ("enospc", "error=ENOSPC"),
    ("kill", "signal=KILL"),
];
/// How long a call may take to come while the validator starts.
const REACH: Duration = Duration::from_secs(60);
/// A call that has not come this long after the validator took part does not come often enough to
/// be waited for; and one that was refused so long ago has not ended it.
const LINGER: Duration = Duration::from_secs(4);
/// How long one look at it takes.
const LOOK: Duration = Duration::from_millis(100);
/// How long a validator may take to stop when it is let go.
const STOP: Duration = Duration::from_secs(120);
/// Exit codes of a validator whose disk refused: the disk failed, or it did so and not even a note
/// of it could be left.
const DISK_FAILED: [i32; 2] = [Code::DiskFailed as i32, Code::Safety as i32];

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Of each kind of call, how many of a thread from its start on
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    points: u64,
    /// Commands a second
    #[arg(long, default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Slots of a window; by default as many as any chain has: whose disk refused says nothing in
    /// the window that the others are in
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    window_slots: Option<u32>,
    /// Seed of the series: at whom it happens
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be tested
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Fields {
    /// Places at which a validator was made to fail or die.
    points: u64,
    /// Calls of a kind and fault that did not come so often.
    not_reached: u64,
    /// Places at which the call was refused and it went on: it waits for room on the disk.
    waited: u64,
    /// How validators ended, by fault and exit code or signal.
    ends: BTreeMap<String, u64>,
    #[serde(flatten)]
    toll: Toll,
}

impl Fields {
    /// Notes it when no call was changed anywhere: a series that tested nothing has no answer.
    fn expect_a_place(&mut self) {
        if self.points + self.waited == 0 {
            let what = "no call was made to fail or to kill: nothing was tested";
            self.toll.differences.push(what.to_owned());
        }
    }
}

/// Runs the series.
///
/// # Errors
/// There is no `strace`, the validators do not start, or one does not come back.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    find_tracer()?;
    let interrupt = Interrupt::install()?;
    let setting = Setting {
        interrupt: &interrupt,
        cluster: &options.cluster,
        dir: options.dir.as_deref(),
        rate: options.rate,
        seed: options.seed,
        window_slots: options.window_slots,
    };
    let mut fields = Fields::default();
    let mut unexpected = Vec::new();
    let mut is_whole = false;
    let toll = under_load(setting, |series, load| {
        for (call, fault) in CALLS
            .into_iter()
            .flat_map(|call| FAULTS.map(|fault| (call, fault)))
        {
            for point in 1..=options.points {
                if series.interrupt.is_set() {
                    return Ok(fields.points);
                }
                let place = Place { call, fault, point };
                let was_reached = place.visit(series, &mut fields, &mut unexpected)?;
                load.wait_for_result()?;
                if !was_reached {
                    break;
                }
            }
            progress(&format!("{call} {}: {} points", fault.0, fields.points));
        }
        is_whole = true;
        Ok(fields.points)
    })?;
    fields.toll = toll;
    if !is_whole {
        unexpected.push("interrupted before the last place".to_owned());
    }
    fields.toll.differences.extend(unexpected);
    fields.expect_a_place();
    let (code, text) = (fields.toll.code(), text(&fields));
    Ok(Report::new(&fields, text)?.with_code(code))
}

fn find_tracer() -> Result<(), Failure> {
    // Also where there is one it may not be allowed to trace.
    let found = Command::new("strace")
        .args(["-qq", "-o", "/dev/null", "true"])
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    match found {
        Ok(status) if status.success() => Ok(()),
        _ => Err(Failure::new(
            Code::TryAgain,
            "strace is not on this machine, or may not trace",
        )
        .remedy("install strace")),
    }
}

/// One call at which something happens.
#[derive(Clone, Copy, Debug)]
struct Place {
    call: &'static str,
    fault: (&'static str, &'static str),
    point: u64,
}

impl Place {
    /// The tracer around a validator.
    fn launch(self, usual: &Launch, told: &Path) -> Launch {
        let inject = format!("inject={}:{}:when={}", self.call, self.fault.1, self.point);
        let trace = format!("trace={}", self.call);
        let told = told.display().to_string();
        let quietly = ["-f", "-qq", "-o", &told];
        let tracer = [&quietly[..], &["-e", &trace, "-e", &inject]].concat();
        let mut arguments: Vec<String> = tracer.into_iter().map(str::to_owned).collect();
        arguments.push(usual.program.display().to_string());
        arguments.extend(usual.arguments.iter().cloned());
        Launch {
            program: "strace".into(),
            arguments,
        }
    }

    /// Kills a validator, starts it so that it fails here, waits for its end, and starts it as
    /// usual. False when the call did not come so often.
    fn visit(
        self,
        series: &mut Series<'_>,
        fields: &mut Fields,
        unexpected: &mut Vec<String>,
    ) -> Result<bool, Failure> {
        let victim = series.any();
        series.kill(&[victim])?;
        let Some(usual) = series.cluster.launch(victim).cloned() else {
            return Ok(false);
        };
        let told = std::env::temp_dir().join(format!("quorate-syncs-{}", std::process::id()));
        let launch = self.launch(&usual, &told);
        self.expect_doubts(series, victim);
        series.cluster.start_as(victim, &launch)?;
        let by_itself = wait_for_end(series, victim, &told)?;
        let ended = match by_itself {
            Some(ended) => Some(ended),
            None => {
                series.cluster.release(victim)?;
                series.cluster.wait_ended(Instant::now() + STOP)?
            }
        };
        if let Some(ended) = ended.filter(|ended| ended.index != victim) {
            return Err(series.died(ended));
        }
        let was_refused = is_refused(&told);
        let was_reached = match ended {
            // Also who was let go in the moment in which the call came ends by it.
            Some(Ended { status, .. })
                if by_itself.is_some() || self.is_end(status, was_refused) =>
            {
                fields.points += 1;
                let end = name_of(status);
                let key = format!("{} {end}", self.fault.0);
                *fields.ends.entry(key).or_default() += 1;
                if !self.expects(status) {
                    let tail = series.cluster.tail(victim).join("\n");
                    unexpected.push(format!("{self:?} of validator {victim}: {end}\n{tail}"));
                }
                true
            }
            ended => {
                if ended.is_none() {
                    unexpected.push(format!("{self:?}: validator {victim} does not stop"));
                    series.cluster.kill(victim)?;
                }
                fields.waited += u64::from(was_refused);
                fields.not_reached += u64::from(!was_refused);
                was_refused
            }
        };
        // Of no use any more, whether or not it could be written.
        drop(std::fs::remove_file(&told));
        series.mark(victim)?;
        self.expect_doubts(series, victim);
        let started = series.start(&[victim])?;
        series.time_return(&[victim], started)?;
        Ok(was_reached)
    }

    /// Whose disk refused may not know what it holds, whose process died knows.
    fn expect_doubts(self, series: &mut Series<'_>, victim: usize) {
        if self.fault.0 != "kill" {
            series.expect_doubts(victim);
        }
    }

    /// Whether a validator that was let go ended by the fault all the same.
    fn is_end(self, status: ExitStatus, was_refused: bool) -> bool {
        (was_refused || self.fault.0 == "kill") && self.expects(status)
    }

    /// Whether a validator may end so.
    fn expects(self, status: ExitStatus) -> bool {
        use std::os::unix::process::ExitStatusExt as _;
        match self.fault.0 {
            "kill" => status.signal() == Some(9),
            // A start that finds the disk full has nothing to answer for, and is tried again.
            "enospc" if status.code() == Some(Code::TryAgain as i32) => true,
            _ => status
                .code()
                .is_some_and(|code| DISK_FAILED.contains(&code)),
        }
    }
}

/// Waits until the call ends the validator, for as long as it may still come; none when it does
/// not.
fn wait_for_end(
    series: &mut Series<'_>,
    victim: usize,
    told: &Path,
) -> Result<Option<Ended>, Failure> {
    let mut deadline = Instant::now() + REACH;
    let (mut was_refused, mut votes) = (false, false);
    while Instant::now() < deadline {
        if let Some(ended) = series.cluster.wait_ended(Instant::now() + LOOK)? {
            return Ok(Some(ended));
        }
        if !was_refused && is_refused(told) {
            was_refused = true;
            deadline = Instant::now() + LINGER;
        }
        if !was_refused && !votes {
            let statuses = series.statuses()?;
            votes = statuses.get(victim).is_some_and(agreement::is_voting);
            if votes {
                deadline = Instant::now() + LINGER;
            }
        }
    }
    Ok(None)
}

/// Whether the tracer has written that it made a call fail.
fn is_refused(told: &Path) -> bool {
    has_refused(&std::fs::read(told).unwrap_or_default())
}

/// Whether the tracer says that it made a call fail.
fn has_refused(told: &[u8]) -> bool {
    const MARK: &[u8] = b"(INJECTED)";
    told.windows(MARK.len()).any(|at| at == MARK)
}

fn name_of(status: ExitStatus) -> String {
    use std::os::unix::process::ExitStatusExt as _;
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit {code}"),
        (None, Some(signal)) => format!("signal {signal}"),
        (None, None) => "unknown".to_owned(),
    }
}

fn text(fields: &Fields) -> String {
    let ends = fields.ends.iter();
    let ends: Vec<String> = ends.map(|(end, count)| format!("{end}: {count}")).collect();
    format!(
        "{}\n{} points, {} waited for room, {} kinds not reached so often; {}",
        fields.toll.text(),
        fields.points,
        fields.waited,
        fields.not_reached,
        ends.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt as _;

    #[test]
    fn a_refusing_disk_and_a_death_end_differently() {
        let place = |fault| Place {
            call: "msync",
            fault,
            point: 3,
        };
        let (disk, clean, killed) = (
            ExitStatus::from_raw(70 << 8),
            ExitStatus::from_raw(0),
            ExitStatus::from_raw(9),
        );
        let full = ExitStatus::from_raw(75 << 8);
        let [eio, enospc, kill] = FAULTS.map(place);
        assert!(eio.expects(disk) && !eio.expects(clean) && !eio.expects(killed));
        assert!(enospc.expects(full) && enospc.expects(disk) && !eio.expects(full));
        assert!(kill.expects(killed) && !kill.expects(disk));
        assert_eq!(
            (name_of(disk), name_of(killed)),
            ("exit 70".into(), "signal 9".into())
        );
    }

    #[test]
    fn a_wait_for_room_is_told_from_a_call_that_never_came() {
        let refused = b"7 fdatasync(5) = -1 ENOSPC (No space left on device) (INJECTED)\n";
        assert!(has_refused(refused));
        assert!(!has_refused(b"7 fdatasync(5) = 0\n") && !has_refused(b""));
    }

    #[test]
    fn a_series_that_reached_no_place_is_not_well() {
        let code = |points, waited| {
            let mut fields = Fields {
                points,
                waited,
                not_reached: 6,
                ..Fields::default()
            };
            fields.expect_a_place();
            fields.toll.code()
        };
        assert_eq!(code(0, 0), Code::No);
        assert_eq!((code(1, 0), code(0, 1)), (Code::Done, Code::Done));
    }

    #[test]
    fn the_tracer_stands_before_the_usual_command() {
        let usual = Launch {
            program: "/bin/quorate".into(),
            arguments: vec!["node".into(), "--leash".into()],
        };
        let place = Place {
            call: "fsync",
            fault: FAULTS[0],
            point: 2,
        };
        let launch = place.launch(&usual, Path::new("/told"));
        assert_eq!(launch.program, PathBuf::from("strace"));
        let words = launch.arguments.join(" ");
        assert!(words.ends_with("inject=fsync:error=EIO:when=2 /bin/quorate node --leash"));
    }
}
