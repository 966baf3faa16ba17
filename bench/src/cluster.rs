//! Validator processes on this machine: started, watched, killed, started again, stopped.
//!
//! Owns the child processes. None of them outlives this process: each holds the reading end of a
//! pipe whose writing end is here, and a node stops when that pipe ends, however this process
//! died. Never: knows what a validator does, or looks into its folder.

use std::io::{BufRead, BufReader};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, ChildStdin, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

/// Lines of a validator's log that are kept for the report of a failure.
const TAIL_LINES_MAX: usize = 40;

/// What went wrong with a validator process.
#[derive(Debug, thiserror::Error)]
pub enum ClusterError {
    /// The process could not be started.
    #[error("validator {index}: starting {program} failed: {source}")]
    Start {
        /// The validator.
        index: usize,
        /// What was to be run.
        program: String,
        /// Why it was not.
        source: std::io::Error,
    },
    /// The process could not be signalled or waited for.
    #[error("validator {index}: {what} failed: {source}")]
    Process {
        /// The validator.
        index: usize,
        /// What was tried.
        what: &'static str,
        /// Why it failed.
        source: std::io::Error,
    },
    /// The validator is not running.
    #[error("validator {index} is not running")]
    NotRunning {
        /// The validator.
        index: usize,
    },
    /// There is no such validator.
    #[error("there is no validator {index}")]
    Unknown {
        /// The number asked for.
        index: usize,
    },
}

/// How to start one validator.
#[derive(Clone, Debug)]
pub struct Launch {
    /// The program, its first argument not included.
    pub program: PathBuf,
    /// Its arguments.
    pub arguments: Vec<String>,
}

/// Takes every line that a validator writes to its standard error.
pub type LineSink = Arc<dyn Fn(usize, &str) + Send + Sync>;

/// A process ended, asked to or not.
#[derive(Clone, Copy, Debug)]
pub struct Ended {
    /// The validator.
    pub index: usize,
    /// How it ended.
    pub status: ExitStatus,
}

#[derive(Debug)]
struct Process {
    child: Child,
    /// Held only so that the node sees its end when this process dies.
    leash: Option<ChildStdin>,
    /// Reads the standard error to its end.
    reader: Option<JoinHandle<()>>,
    run: u64,
}

#[derive(Debug)]
struct Slot {
    launch: Launch,
    process: Option<Process>,
    tail: Arc<Mutex<Vec<String>>>,
}

/// Validator processes by index.
pub struct Cluster {
    slots: Vec<Slot>,
    sink: LineSink,
    /// Counts processes, so that the end of one is not taken for the end of its successor.
    runs: u64,
    /// Validator and run of every standard error that ended, which it does when its process dies.
    ended_in: Sender<(usize, u64)>,
    ended: Receiver<(usize, u64)>,
}

impl core::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.debug_struct("Cluster")
            .field("slots", &self.slots)
            .finish_non_exhaustive()
    }
}

impl Cluster {
    /// A cluster of stopped validators.
    #[must_use]
    pub fn new(launches: Vec<Launch>, sink: LineSink) -> Self {
        let (ended_in, ended) = channel();
        let slots = launches
            .into_iter()
            .map(|launch| Slot {
                launch,
                process: None,
                tail: Arc::default(),
            })
            .collect();
        Self {
            slots,
            sink,
            runs: 0,
            ended_in,
            ended,
        }
    }

    /// Starts every validator that is not running.
    ///
    /// # Errors
    /// [`ClusterError::Start`] for the first that cannot be started.
    pub fn start_all(&mut self) -> Result<(), ClusterError> {
        (0..self.slots.len()).try_for_each(|index| self.start(index))
    }

    /// Starts one validator; nothing when it runs.
    ///
    /// # Errors
    /// [`ClusterError::Start`], [`ClusterError::Unknown`].
    pub fn start(&mut self, index: usize) -> Result<(), ClusterError> {
        let slot = self
            .slots
            .get_mut(index)
            .ok_or(ClusterError::Unknown { index })?;
        let launch = slot.launch.clone();
        self.start_as(index, &launch)
    }

    /// Starts one validator by another command than usual, such as under a tracer; nothing when it
    /// runs.
    ///
    /// # Errors
    /// [`ClusterError::Start`], [`ClusterError::Unknown`].
    pub fn start_as(&mut self, index: usize, launch: &Launch) -> Result<(), ClusterError> {
        let slot = self
            .slots
            .get_mut(index)
            .ok_or(ClusterError::Unknown { index })?;
        if slot.process.is_some() {
            return Ok(());
        }
        // A group of its own: Ctrl-C on the terminal reaches this process alone, which then stops
        // the validators in order.
        let mut child = Command::new(&launch.program)
            .args(&launch.arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .map_err(|source| ClusterError::Start {
                index,
                program: launch.program.display().to_string(),
                source,
            })?;
        self.runs += 1;
        let run = self.runs;
        let leash = child.stdin.take();
        let reader = child.stderr.take().map(|stderr| {
            let (sink, tail) = (Arc::clone(&self.sink), Arc::clone(&slot.tail));
            let ended = self.ended_in.clone();
            std::thread::spawn(move || {
                for line in BufReader::new(stderr).split(b'\n').map_while(Result::ok) {
                    let line = String::from_utf8_lossy(&line);
                    keep(&tail, &line);
                    sink(index, &line);
                }
                // Nobody listens any more when the cluster is dropped.
                ended.send((index, run)).ok();
            })
        });
        slot.process = Some(Process {
            child,
            leash,
            reader,
            run,
        });
        Ok(())
    }

    /// Whether the validator was started and its end was not reported.
    #[must_use]
    pub fn is_running(&self, index: usize) -> bool {
        self.slots
            .get(index)
            .is_some_and(|slot| slot.process.is_some())
    }

    /// The process id of a running validator.
    #[must_use]
    pub fn process_id(&self, index: usize) -> Option<u32> {
        Some(self.slots.get(index)?.process.as_ref()?.child.id())
    }

    /// Processor time that a running validator has used, all its threads together.
    #[must_use]
    pub fn processor_time(&self, index: usize) -> Option<Duration> {
        processor_time_of(self.process_id(index)?)
    }

    /// What the system says of the memory of a running validator, by the name of the line in its
    /// `status` file, such as `VmHWM`; bytes.
    #[must_use]
    pub fn memory(&self, index: usize, name: &str) -> Option<u64> {
        let path = format!("/proc/{}/status", self.process_id(index)?);
        memory_in(&std::fs::read_to_string(path).ok()?, name)
    }

    /// The last lines that the validator wrote to its standard error, over all its runs.
    #[must_use]
    pub fn tail(&self, index: usize) -> Vec<String> {
        self.slots.get(index).map_or_else(Vec::new, |slot| {
            slot.tail
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone()
        })
    }

    /// Waits until a process ends, at most until `deadline`.
    ///
    /// # Errors
    /// [`ClusterError::Process`] when its status cannot be read.
    pub fn wait_ended(&mut self, deadline: Instant) -> Result<Option<Ended>, ClusterError> {
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            let (index, run) = match self.ended.recv_timeout(left) {
                Ok(end) => end,
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => return Ok(None),
            };
            let slot = self
                .slots
                .get_mut(index)
                .ok_or(ClusterError::Unknown { index })?;
            // A run that was killed here has told its end as well.
            if slot
                .process
                .as_ref()
                .is_some_and(|process| process.run == run)
            {
                return finish(index, slot).map(|status| Some(Ended { index, status }));
            }
        }
    }

    /// Ends a validator at once, as a crash does (SIGKILL), and waits for its end.
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`], [`ClusterError::Process`].
    pub fn kill(&mut self, index: usize) -> Result<ExitStatus, ClusterError> {
        let slot = self
            .slots
            .get_mut(index)
            .ok_or(ClusterError::Unknown { index })?;
        let Some(process) = &slot.process else {
            return Err(ClusterError::NotRunning { index });
        };
        kill_group(index, process.child.id())?;
        finish(index, slot)
    }

    /// How a validator is started.
    #[must_use]
    pub fn launch(&self, index: usize) -> Option<&Launch> {
        Some(&self.slots.get(index)?.launch)
    }

    /// Lets go of a validator's leash, at which it drains and stops also where a signal would reach
    /// a tracer instead; its end is seen by [`Self::wait_ended`].
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`].
    pub fn release(&mut self, index: usize) -> Result<(), ClusterError> {
        let slot = self.slots.get_mut(index);
        let process = slot.and_then(|slot| slot.process.as_mut());
        process.ok_or(ClusterError::NotRunning { index })?.leash = None;
        Ok(())
    }

    /// Asks a validator to drain and stop (SIGTERM); its end is seen by [`Self::wait_ended`].
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`], [`ClusterError::Process`].
    pub fn request_stop(&mut self, index: usize) -> Result<(), ClusterError> {
        self.signal(index, Signal::TERM, "SIGTERM")
    }

    /// Stops a validator where it stands, with its connections open (SIGSTOP).
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`], [`ClusterError::Process`].
    pub fn pause(&mut self, index: usize) -> Result<(), ClusterError> {
        self.signal(index, Signal::STOP, "SIGSTOP")
    }

    /// Lets a validator that was stopped so go on (SIGCONT).
    ///
    /// # Errors
    /// [`ClusterError::NotRunning`], [`ClusterError::Process`].
    pub fn resume(&mut self, index: usize) -> Result<(), ClusterError> {
        self.signal(index, Signal::CONT, "SIGCONT")
    }

    fn signal(&self, index: usize, signal: Signal, what: &'static str) -> Result<(), ClusterError> {
        let id = self
            .process_id(index)
            .ok_or(ClusterError::NotRunning { index })?;
        // The process is not reaped before its slot is emptied, so the id is still its own.
        let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
        let pid = pid.ok_or(ClusterError::NotRunning { index })?;
        match kill_process(pid, signal) {
            Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
            Err(error) => Err(ClusterError::Process {
                index,
                what,
                source: error.into(),
            }),
        }
    }

    /// Stops all: asks each, waits `patience`, then kills what still runs. Gives how each ended.
    ///
    /// # Errors
    /// [`ClusterError::Process`]; what still runs then is killed when the cluster is dropped.
    pub fn stop_all(&mut self, patience: Duration) -> Result<Vec<Ended>, ClusterError> {
        let deadline = Instant::now() + patience;
        let running: Vec<usize> = (0..self.slots.len())
            .filter(|index| self.is_running(*index))
            .collect();
        for index in &running {
            self.request_stop(*index)?;
        }
        let mut ends = Vec::new();
        while ends.len() < running.len() {
            match self.wait_ended(deadline)? {
                Some(ended) => ends.push(ended),
                None => break,
            }
        }
        for index in running {
            if self.is_running(index) {
                let status = self.kill(index)?;
                ends.push(Ended { index, status });
            }
        }
        ends.sort_by_key(|ended| ended.index);
        Ok(ends)
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        for index in 0..self.slots.len() {
            // What cannot be killed has ended, or ends with its leash.
            self.kill(index).ok();
        }
    }
}

/// Processor time that a process has used, its threads together.
fn processor_time_of(process: u32) -> Option<Duration> {
    let stat = std::fs::read_to_string(format!("/proc/{process}/stat")).ok()?;
    // The name may hold anything, and ends with the last parenthesis. Fields 14 and 15 of the
    // line are ticks in user and in system mode.
    let (_, fields) = stat.rsplit_once(')')?;
    let mut ticks = fields.split_ascii_whitespace().skip(11);
    let (user, system): (u64, u64) = (ticks.next()?.parse().ok()?, ticks.next()?.parse().ok()?);
    let per_second = rustix::param::clock_ticks_per_second();
    let ms = (user + system).checked_mul(1000)?.checked_div(per_second)?;
    Some(Duration::from_millis(ms))
}

/// One line of a process's `status` file that tells kB.
fn memory_in(status: &str, name: &str) -> Option<u64> {
    let mut lines = status.lines().filter_map(|line| line.split_once(':'));
    let (_, value) = lines.find(|(found, _)| *found == name)?;
    let kib: u64 = value.trim().strip_suffix(" kB")?.parse().ok()?;
    kib.checked_mul(1024)
}

/// Ends a process and those that it started, such as what runs under a tracer: one that was left
/// would hold the standard error open, and go on.
fn kill_group(index: usize, id: u32) -> Result<(), ClusterError> {
    // The process is not reaped before its slot is emptied, so the id is still its group's.
    let pid = i32::try_from(id).ok().and_then(Pid::from_raw);
    let pid = pid.ok_or(ClusterError::NotRunning { index })?;
    match kill_process_group(pid, Signal::KILL) {
        Ok(()) | Err(rustix::io::Errno::SRCH) => Ok(()),
        Err(error) => Err(ClusterError::Process {
            index,
            what: "SIGKILL",
            source: error.into(),
        }),
    }
}

fn finish(index: usize, slot: &mut Slot) -> Result<ExitStatus, ClusterError> {
    let Some(mut process) = slot.process.take() else {
        return Err(ClusterError::NotRunning { index });
    };
    // What left the group of a process that is gone ends at its leash, and with it the reader.
    process.leash = None;
    let status = process
        .child
        .wait()
        .map_err(|source| ClusterError::Process {
            index,
            what: "wait",
            source,
        })?;
    if let Some(reader) = process.reader.take() {
        // The reader only copies lines; a panic of the sink has been reported by its own thread.
        reader.join().ok();
    }
    Ok(status)
}

fn keep(tail: &Mutex<Vec<String>>, line: &str) {
    let mut lines = tail.lock().unwrap_or_else(PoisonError::into_inner);
    if lines.len() >= TAIL_LINES_MAX {
        lines.remove(0);
    }
    lines.push(line.to_owned());
}

#[cfg(test)]
mod tests {
    use super::*;

    const PATIENCE: Duration = Duration::from_secs(20);

    fn shell(script: &str) -> Launch {
        Launch {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
        }
    }

    fn quiet() -> LineSink {
        Arc::new(|_, _| ())
    }

    #[test]
    fn every_line_reaches_the_sink_with_its_validator_and_the_end_is_told() {
        let seen = Arc::new(Mutex::new(Vec::new()));
        let sink = Arc::clone(&seen);
        let mut cluster = Cluster::new(
            vec![shell("echo one >&2; exit 3")],
            Arc::new(move |index, line| sink.lock().unwrap().push((index, line.to_owned()))),
        );
        cluster.start_all().unwrap();
        let ended = cluster
            .wait_ended(Instant::now() + PATIENCE)
            .unwrap()
            .unwrap();
        assert_eq!((ended.index, ended.status.code()), (0, Some(3)));
        assert!(!cluster.is_running(0));
        assert_eq!(*seen.lock().unwrap(), [(0, "one".to_owned())]);
        assert_eq!(cluster.tail(0), ["one"]);
    }

    #[test]
    fn the_processor_time_of_a_process_is_read_and_of_none_is_none() {
        assert!(processor_time_of(std::process::id()).is_some());
        assert_eq!(processor_time_of(u32::MAX), None);
        let mut cluster = Cluster::new(vec![shell("read line")], quiet());
        assert_eq!(cluster.processor_time(0), None);
        cluster.start(0).unwrap();
        assert!(cluster.processor_time(0).is_some());
    }

    #[test]
    fn a_process_ends_when_its_pipe_ends() {
        // The same leash that a node is held by: `read` returns when the writing end is closed.
        let mut cluster = Cluster::new(vec![shell("read line; exit 9")], quiet());
        cluster.start_all().unwrap();
        cluster.release(0).unwrap();
        let ended = cluster
            .wait_ended(Instant::now() + PATIENCE)
            .unwrap()
            .unwrap();
        assert_eq!(ended.status.code(), Some(9));
    }

    #[test]
    fn stop_asks_first_and_kills_what_does_not_listen() {
        let polite = "trap 'exit 0' TERM; echo up >&2; while :; do read x || :; done";
        let deaf = "trap '' TERM; echo up >&2; while :; do read x || :; done";
        let (up_in, up) = channel();
        let sink = move |_, _: &str| up_in.send(()).unwrap();
        let mut cluster = Cluster::new(vec![shell(polite), shell(deaf)], Arc::new(sink));
        cluster.start_all().unwrap();
        for _ in 0..2 {
            up.recv_timeout(PATIENCE).unwrap();
        }
        let ends = cluster.stop_all(Duration::from_secs(1)).unwrap();
        assert_eq!(ends.len(), 2);
        assert_eq!(ends[1].status.code(), None, "the second was killed");
        assert!(!cluster.is_running(0) && !cluster.is_running(1));
    }

    #[test]
    fn a_paused_validator_stands_still_until_it_is_resumed() {
        let mut cluster = Cluster::new(vec![shell("read line; exit 9")], quiet());
        assert!(matches!(
            cluster.pause(0),
            Err(ClusterError::NotRunning { index: 0 })
        ));
        cluster.start(0).unwrap();
        let stat = format!("/proc/{}/stat", cluster.process_id(0).unwrap());
        let is_stopped = || std::fs::read_to_string(&stat).unwrap().contains(") T ");
        let wait_until = |wanted: bool| {
            let deadline = Instant::now() + PATIENCE;
            while is_stopped() != wanted {
                assert!(Instant::now() < deadline, "stopped: {}", !wanted);
                std::thread::yield_now();
            }
        };
        cluster.pause(0).unwrap();
        wait_until(true);
        cluster.resume(0).unwrap();
        wait_until(false);
    }

    #[test]
    fn what_a_killed_process_started_ends_with_it() {
        let (up_in, up) = channel();
        let sink = move |_, _: &str| up_in.send(()).unwrap();
        // As a tracer and what it runs: the standard error is open as long as one of them lives.
        let mut cluster = Cluster::new(
            vec![shell("sleep 1000 & echo up >&2; wait")],
            Arc::new(sink),
        );
        cluster.start(0).unwrap();
        up.recv_timeout(PATIENCE).unwrap();
        let (done_in, done) = channel();
        std::thread::spawn(move || done_in.send(cluster.kill(0).unwrap().code()));
        assert_eq!(done.recv_timeout(PATIENCE), Ok(None));
    }

    #[test]
    fn a_killed_validator_can_be_started_again() {
        let mut cluster = Cluster::new(vec![shell("read line")], quiet());
        cluster.start(0).unwrap();
        let first = cluster.process_id(0).unwrap();
        assert_eq!(cluster.kill(0).unwrap().code(), None);
        assert!(matches!(
            cluster.kill(0),
            Err(ClusterError::NotRunning { index: 0 })
        ));
        cluster.start(0).unwrap();
        assert_ne!(cluster.process_id(0), Some(first));
        // The end of the first run is not taken for the end of the second.
        assert!(
            cluster
                .wait_ended(Instant::now() + Duration::from_millis(50))
                .unwrap()
                .is_none()
        );
        assert!(cluster.is_running(0));
    }

    #[test]
    fn a_program_that_is_missing_is_named() {
        let launch = Launch {
            program: "/nowhere/quorate".into(),
            arguments: Vec::new(),
        };
        let error = Cluster::new(vec![launch], quiet()).start(0).unwrap_err();
        assert!(error.to_string().contains("/nowhere/quorate"), "{error}");
        let error = Cluster::new(Vec::new(), quiet()).start(4).unwrap_err();
        assert_eq!(error.to_string(), "there is no validator 4");
    }
}
