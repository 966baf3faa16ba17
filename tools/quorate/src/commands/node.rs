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
use quorate::node::{DRAIN_DEFAULT, Node, NodeFailure, StartError};
use quorate_bench::applications::{ApplicationError, Hosted};
use quorate_bench::cluster::Launch;
use quorate_bench::testnet::Testnet;
use serde::Serialize;
use signal_hook::consts::{SIGINT, SIGTERM};
use signal_hook::iterator::Signals;

use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::Report;

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
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let config = NodeConfig::load(&options.config)?;
    check_testing(&config, options)?;
    let application = open_application(&config, &options.config)?;
    // Snapshots are taken of a second instance.
    let second = match config.snapshots.every_heights {
        0 => None,
        _ => Some(open_application(&config, &options.config)?),
    };
    // The second signal ends the process at once, also one that hangs.
    let interrupt = Interrupt::install()?;
    let (sender, reasons) = channel();
    watch_signals(sender.clone())?;
    if options.leash {
        watch_leash(sender);
    }
    quorate_log::end_on_bus_error()
        .map_err(|error| Failure::new(Code::TryAgain, format!("taking over SIGBUS: {error}")))?;
    let index = config.own.number();
    let node = match second {
        Some(second) => Node::start_with_snapshots(config, application, second)?,
        None => Node::start(config, application)?,
    };
    let stopped = wait(&node, &interrupt, &reasons);
    match stopped {
        Some(stopped) => {
            tracing::info!(?stopped, "asked to stop: draining");
            let diverged = node.diverged().cloned();
            node.shutdown(DRAIN_DEFAULT)?;
            stopped_report(index, stopped, diverged)
        }
        None => {
            node.wait()?;
            Err(Failure::new(Code::Safety, "the node ended without a reason").remedy("report this"))
        }
    }
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

fn open_application(config: &NodeConfig, path: &Path) -> Result<Hosted, Failure> {
    let opened = Hosted::open(&config.genesis.file().application);
    let opened = opened.map(|hosted| match config.testing.wrong_at_height {
        0 => hosted,
        height => hosted.wrong_from(height),
    });
    opened.map_err(|error| {
        let place = "genesis.json of";
        let failure = Failure::new(
            Code::Configuration,
            format!("{place} {}: {error}", path.display()),
        );
        match error {
            ApplicationError::Name(_) => {
                failure.remedy("embed the application, or use venue or opaque")
            }
            _ => failure
                .remedy("correct the parameters at every validator: they are part of the genesis"),
        }
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
fn watch_leash(sender: Sender<Reason>) {
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
        std::process::exit(i32::from(Code::TryAgain as u8));
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
            StartError::Recovery { .. } | StartError::VoteState { .. } => {
                let cause = std::error::Error::source(&error).and_then(std::error::Error::source);
                let what = cause.map_or_else(|| error.to_string(), |why| format!("{error}: {why}"));
                Self::new(code, what).remedy("see Recovery in docs/operations.md")
            }
            StartError::Folder(_) => Self::new(code, error)
                .remedy("stop the other process, or give each validator a data folder of its own"),
            StartError::Metrics { .. } | StartError::Net(_) => Self::new(code, error)
                .remedy("correct the addresses in quorate.toml or the genesis"),
            _ => Self::new(code, error),
        }
    }
}

impl From<NodeFailure> for Failure {
    fn from(error: NodeFailure) -> Self {
        Self::new(
            Code::of_exit(error.exit_code()),
            format!("this validator ended: {error}"),
        )
        .remedy("see Recovery in docs/operations.md before starting it again")
    }
}
