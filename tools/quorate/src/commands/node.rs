//! `quorate node`: one validator in this process.
//!
//! Owns the waiting for a reason to stop and the exit code. Never: what a validator does.

use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::Duration;

use clap::Args;
use quorate::config::NodeConfig;
use quorate::drift::DivergedStatus;
use quorate::node::{DRAIN_DEFAULT, Failing, Node, NodeFailure, StartError};
use quorate::recovery::RecoveryError;
use quorate::snapshot::SnapshotError;
use quorate_bench::applications::Hosted;
use quorate_bench::cluster::Launch;
use quorate_bench::testnet::Testnet;
use quorate_log::OpenError;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::applications::Applications;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::{self, Report};

/// How often it is looked whether the node has ended by itself.
const LOOK: Duration = Duration::from_millis(100);
/// After the end of the leash the process ends within this time, whatever the node does.
const LEASH_PATIENCE: Duration = Duration::from_secs(15);

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Configuration file, as `testnet init` writes one
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Stop when standard input ends: for a process that starts validators and may die
    #[arg(long, hide = true)]
    leash: bool,
    /// Allow the faults on purpose that the configuration asks for
    #[arg(long, hide = true)]
    testing: bool,
}

/// How to start every validator of a testnet with this very program.
///
/// # Errors
/// The program does not know where it is.
pub(crate) fn launches(testnet: &Testnet) -> Result<Vec<Launch>, Failure> {
    let program = std::env::current_exe()
        .map_err(|error| Failure::new(Code::TryAgain, format!("finding this program: {error}")))?;
    let launch = |index| Launch {
        program: program.clone(),
        arguments: vec![
            "node".to_owned(),
            "--leash".to_owned(),
            "--config".to_owned(),
            testnet.config_path(index).display().to_string(),
        ],
    };
    Ok((0..testnet.validators()).map(launch).collect())
}

/// Why a node was asked to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Reason {
    /// SIGTERM or SIGINT.
    Signal,
    /// The process that started it is gone.
    Leash,
}

#[derive(Serialize)]
struct Fields {
    index: u16,
    stopped: Reason,
    /// Where its state is another than the others', if it is.
    diverged: Option<DivergedStatus>,
}

/// Runs the validator until it is asked to stop or fails.
///
/// # Errors
/// It does not start, or it ended by itself; each with its own exit code.
pub(crate) fn run(
    applications: &Applications,
    options: &Options,
    is_json: bool,
) -> Result<Report, Failure> {
    let mut config = load(options, None)?;
    let index = config.own.number();
    // The second signal ends the process at once, also one that hangs.
    let interrupt = Interrupt::install()?;
    let (sender, reasons) = channel();
    watch_signals(sender.clone())?;
    if options.leash {
        watch_leash(sender, is_json);
    }
    quorate_log::end_on_bus_error()
        .map_err(|error| Failure::new(Code::TryAgain, format!("taking over SIGBUS: {error}")))?;
    loop {
        let node = start(applications, config, &options.config)?;
        watch_failing(node.failing(), is_json);
        if let Some(stopped) = wait(&node, &interrupt, &reasons) {
            tracing::info!(?stopped, "asked to stop: draining");
            let diverged = node.diverged().cloned();
            node.shutdown(DRAIN_DEFAULT)?;
            return stopped_report(index, stopped, diverged);
        }
        match node.wait() {
            // It goes on from a snapshot of its peers.
            Err(NodeFailure::SnapshotFetched { .. }) => {}
            Err(error) => return Err(error.into()),
            Ok(()) => {
                let what = "the node ended without a reason";
                return Err(Failure::new(Code::Safety, what).remedy("report this"));
            }
        }
        config = load(options, Some(index))?;
    }
}

/// Reads the configuration, before each start within this process: the file may have changed. The
/// validator of this process is `index`, if it was another start's already.
fn load(options: &Options, index: Option<u16>) -> Result<NodeConfig, Failure> {
    let config = NodeConfig::load(&options.config)?;
    check_testing(&config, options)?;
    let found = config.own.number();
    match index.filter(|&index| index != found) {
        None => Ok(config),
        Some(index) => {
            let path = options.config.display();
            let what = format!("{path}: of validator {found}, and this process is {index}");
            let remedy = "give each validator a configuration and a process of its own";
            Err(Failure::new(Code::Configuration, what).remedy(remedy))
        }
    }
}

/// Starts the validator. If snapshots are taken, with a second instance of the application, and
/// another one for each of them.
fn start(applications: &Applications, config: NodeConfig, path: &Path) -> Result<Node, Failure> {
    let application = open_application(applications, &config, path)?;
    if config.snapshots.every_heights == 0 {
        return Ok(Node::start(config, application)?);
    }
    if config.testing.wrong_at_height > 0 {
        // That it has missed a command is in no snapshot: another instance would miss one more.
        let second = open_application(applications, &config, path)?;
        return Ok(Node::start_with_snapshots(config, application, second)?);
    }
    let applications = applications.clone();
    let named = config.genesis.file().application.clone();
    let make = move || {
        let opened = applications.open(&named);
        opened.map_err(|failure| failure.to_string())
    };
    Ok(Node::start_with_snapshots_of(config, application, make)?)
}

/// A validator that was asked to stop, and had served until then unless its state had diverged.
fn stopped_report(
    index: u16,
    stopped: Reason,
    diverged: Option<DivergedStatus>,
) -> Result<Report, Failure> {
    let (mut text, mut code) = (format!("validator {index} stopped"), Code::Done);
    if let Some(diverged) = &diverged {
        code = Code::Safety;
        text.push_str(&format!(
            "\nits state diverged at height {} in section {}: see {} and docs/operations.md",
            diverged.height, diverged.section, diverged.bundle
        ));
    }
    let fields = Fields {
        index,
        stopped,
        diverged,
    };
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// A fault on purpose in a configuration that strayed into production must not start.
fn check_testing(config: &NodeConfig, options: &Options) -> Result<(), Failure> {
    if config.testing.is_off() || options.testing {
        return Ok(());
    }
    let path = options.config.display();
    let what = format!("{path}: [testing]: a fault on purpose, and this is no test");
    Err(Failure::new(Code::Configuration, what).remedy("remove the section"))
}

fn open_application(
    applications: &Applications,
    config: &NodeConfig,
    path: &Path,
) -> Result<Hosted, Failure> {
    let opened = applications.open(&config.genesis.file().application);
    let hosted =
        opened.map_err(|failure| failure.within(format!("genesis.json of {}", path.display())))?;
    Ok(match config.testing.wrong_at_height {
        0 => hosted,
        height => hosted.wrong_from(height),
    })
}

fn watch_signals(sender: Sender<Reason>) -> Result<(), Failure> {
    let mut signals = Signals::new([SIGINT, SIGTERM]).map_err(|error| {
        Failure::new(
            Code::TryAgain,
            format!("taking over SIGINT and SIGTERM: {error}"),
        )
    })?;
    std::thread::spawn(move || {
        for _ in signals.forever() {
            if sender.send(Reason::Signal).is_err() {
                return;
            }
        }
    });
    Ok(())
}

/// Stops this process when standard input ends: in order first, and at once if that takes long.
fn watch_leash(sender: Sender<Reason>, is_json: bool) {
    std::thread::spawn(move || {
        let mut bytes = [0; 64];
        loop {
            match io::stdin().lock().read(&mut bytes) {
                Ok(0) => break,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => break,
            }
        }
        sender.send(Reason::Leash).ok();
        std::thread::park_timeout(LEASH_PATIENCE);
        let seconds = LEASH_PATIENCE.as_secs();
        let what =
            format!("who started this validator has gone, and it did not stop in {seconds} s");
        output::end(Failure::new(Code::TryAgain, what), is_json);
    });
}

/// Ends this process soon after a failure, whichever thread hangs in a disk that does not answer:
/// until then it could be taken for a validator that lives.
fn watch_failing(failing: Failing, is_json: bool) {
    std::thread::spawn(move || {
        if let Some(code) = failing.wait() {
            tracing::error!(code, "ending without the threads that hang");
            let what = "this validator ended, and not all of its threads: its log says why";
            let failure = Failure::new(Code::of_exit(code), what)
                .remedy("see Recovery in docs/operations.md before starting it again");
            output::end(failure, is_json);
        }
    });
}

/// Waits for a reason to stop; none when the node has ended by itself.
fn wait(node: &Node, interrupt: &Interrupt, reasons: &Receiver<Reason>) -> Option<Reason> {
    loop {
        match reasons.recv_timeout(LOOK) {
            Ok(reason) => return Some(reason),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {}
        }
        if interrupt.is_set() {
            return Some(Reason::Signal);
        }
        if node.is_finished() {
            return None;
        }
    }
}

impl From<StartError> for Failure {
    fn from(error: StartError) -> Self {
        let code = Code::of_exit(error.exit_code());
        match error {
            StartError::File(error) => error.into(),
            StartError::Recovery { ref source, .. } => {
                Self::new(code, whole(&error)).remedy(recovery_remedy(source))
            }
            StartError::VoteState { .. } => {
                Self::new(code, whole(&error)).remedy("see Recovery in docs/operations.md")
            }
            StartError::Folder(ref lock) => match std::error::Error::source(lock) {
                Some(_) => Self::new(code, whole(&error)).remedy(
                    "see to the disk, and to the rights of that folder and its file `lock`",
                ),
                None => Self::new(code, error).remedy(
                    "stop the other process, or give each validator a data folder of its own",
                ),
            },
            StartError::Snapshot(SnapshotError::Io { .. }) => Self::new(code, whole(&error))
                .remedy(
                    "see to the disk, and that `data` is a folder whose owner runs the validator",
                ),
            StartError::Metrics { .. } | StartError::Net(_) => Self::new(code, whole(&error))
                .remedy(match code {
                    Code::TryAgain => {
                        "start again later; else see to who uses the address, or to the name, or \
                         correct it in quorate.toml or the genesis"
                    }
                    _ => "correct the addresses in quorate.toml or the genesis",
                }),
            _ => Self::new(code, whole(&error)),
        }
    }
}

/// The error with those of its causes that it does not tell itself, down to the last one: that is
/// what the system said.
fn whole(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let said = error.to_string();
        if !text.contains(&said) {
            text.push_str(": ");
            text.push_str(&said);
        }
        cause = error.source();
    }
    text
}

fn recovery_remedy(error: &RecoveryError) -> &'static str {
    match error {
        RecoveryError::LeaseMissing => {
            "quorate init --config FILE if this key has never signed; if it has, quorate recover \
             disk --config FILE"
        }
        RecoveryError::LeaseDamaged(_) => "quorate recover disk --config FILE",
        RecoveryError::Log(OpenError::Genesis { .. }) => {
            "correct genesis or data; if the genesis was edited before the first start of this \
             folder: quorate init --config FILE"
        }
        _ => "see Recovery in docs/operations.md",
    }
}

impl From<NodeFailure> for Failure {
    fn from(error: NodeFailure) -> Self {
        Self::new(
            Code::of_exit(error.exit_code()),
            format!("this validator ended: {}", whole(&error)),
        )
        .remedy("see Recovery in docs/operations.md before starting it again")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::{ClusterOptions, DurabilityArg};
    use quorate_bench::testnet::free_base_port;
    use quorate_log::LockError;
    use std::fs;

    #[test]
    fn what_may_not_be_started_is_not_started_again_within_the_process_either() {
        let dir = std::env::temp_dir().join(format!("quorate-load-{}", std::process::id()));
        let cluster = ClusterOptions {
            crash_only: true,
            ..ClusterOptions::opaque(2, DurabilityArg::Async)
        };
        let plan = cluster.plan(free_base_port(2).unwrap()).unwrap();
        let testnet = Testnet::create(&dir, &plan).unwrap();
        let options = |testing| Options {
            config: testnet.config_path(1),
            leash: false,
            testing,
        };
        let code = |testing, index| load(&options(testing), index).map_err(|error| error.code);
        let of = |testing, index| code(testing, index).map(|config| config.own.number());
        assert_eq!((of(false, None), of(false, Some(1))), (Ok(1), Ok(1)));
        assert_eq!(of(false, Some(0)), Err(Code::Configuration));
        // The file is changed while the process runs.
        let mut text = fs::read_to_string(testnet.config_path(1)).unwrap();
        text.push_str("\n[testing]\nwrong_at_height = 5\n");
        fs::write(testnet.config_path(1), text).unwrap();
        assert_eq!(of(false, Some(1)), Err(Code::Configuration));
        assert_eq!(of(true, Some(1)), Ok(1));
        fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn an_error_tells_its_last_cause_and_nothing_twice() {
        let denied = || io::Error::from(io::ErrorKind::PermissionDenied);
        let error = StartError::Recovery {
            folder: "data/log".into(),
            source: RecoveryError::Log(OpenError::Io {
                action: "read",
                name: "segment-0000000000".to_owned(),
                source: denied(),
            }),
        };
        let told = whole(&error);
        assert_eq!(told.matches("cannot read segment").count(), 1, "{told}");
        assert!(told.ends_with(&denied().to_string()), "{told}");
        let failure = Failure::from(error);
        assert!(failure.to_string().contains(&told), "{failure}");
    }

    /// A path that is a file, or a folder that may not be entered.
    #[test]
    fn a_data_folder_that_cannot_be_one_is_corrected_and_not_tried_again() {
        for kind in [
            io::ErrorKind::NotADirectory,
            io::ErrorKind::PermissionDenied,
        ] {
            let source = || io::Error::from(kind);
            let errors = [
                StartError::Snapshot(SnapshotError::Io {
                    path: "key/diverged".into(),
                    action: "look for the bundle of an earlier run",
                    source: source(),
                }),
                StartError::Folder(LockError::Io {
                    folder: "key/log".into(),
                    source: source(),
                }),
            ];
            for error in errors {
                let failure = Failure::from(error);
                assert_eq!(failure.code, Code::Configuration, "{failure}");
                assert!(failure.to_string().contains("remedy: "), "{failure}");
            }
        }
    }

    #[test]
    fn the_remedy_for_a_folder_without_lease_and_log_names_both_commands() {
        let failure = Failure::from(StartError::Recovery {
            folder: "data/log".into(),
            source: RecoveryError::LeaseMissing,
        });
        assert_eq!(failure.code, Code::Safety);
        let told = failure.to_string();
        for command in ["quorate init --config", "quorate recover disk --config"] {
            assert!(told.contains(command), "{told}");
        }
    }
}
