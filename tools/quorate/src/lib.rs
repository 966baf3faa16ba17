//! The `quorate` command line, for the program of this house and for those of embedders.
//!
//! Owns the list of commands and the way from arguments to an exit code. Each command is a file
//! in `commands`. Never: protocol decisions; a command only drives the crates below.

#![forbid(unsafe_code)]

mod agreement;
mod applications;
mod commands;
mod drive;
mod failure;
mod files;
mod inspect;
mod interrupt;
mod logs;
mod output;
mod plan;
mod scratch;
mod stderr;
mod verdict;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

pub use applications::Applications;
use commands::{
    bench, demo, init, keygen, load, log, node, prices, proof, recover, sim, snapshot, status,
    testnet, vote_state,
};
use failure::Failure;
use logs::LogFormat;
use output::Report;

/// A stake-weighted Byzantine-fault-tolerant sequencer.
///
/// Exit codes: 0 done; 1 it ran and the answer is no; 2 usage; 3 configuration or genesis;
/// 4 safety stop, do not restart; 5 data damaged; 70 disk failed; 71 bus error; 75 try again later.
#[derive(Debug, Parser)]
#[command(name = "quorate", version, arg_required_else_help = true)]
struct Arguments {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    command: Command,
}

/// Options of every command.
#[derive(Debug, clap::Args)]
struct Common {
    /// Print one JSON object on standard output; logs and progress stay on standard error
    #[arg(long, global = true)]
    json: bool,
    /// Which log lines to print, such as info or quorate=debug; also QUORATE_LOG
    #[arg(long, global = true, value_name = "FILTER")]
    log: Option<String>,
    /// How log lines look
    #[arg(long, global = true, value_enum, default_value = "text")]
    log_format: LogFormat,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run a cluster on this machine under load and check that all validators agree
    Demo(demo::Options),
    /// Make the folder of one validator: its key, its configuration, its data folder
    Init(init::Options),
    /// Make a private key
    Keygen(keygen::Options),
    /// Make a testnet on this machine, or run one
    #[command(subcommand)]
    Testnet(testnet::Command),
    /// Run one validator
    Node(node::Options),
    /// Drive a running testnet with open-loop load
    Load(load::Options),
    /// Submit a validator's price observations to a running testnet
    Prices(prices::Options),
    /// Ask the validators of a testnet how they are
    Status(status::Options),
    /// Look into a validator's log
    #[command(subcommand)]
    Log(log::Command),
    /// Prove to a third party that a command is final, what a state was, or what was put out
    #[command(subcommand)]
    Proof(proof::Command),
    /// Look at a validator's snapshots, or make one
    #[command(subcommand)]
    Snapshot(snapshot::Command),
    /// Say after a loss what only an operator can know
    #[command(subcommand)]
    Recover(recover::Command),
    /// Take along what a validator has said when it moves
    #[command(subcommand)]
    VoteState(vote_state::Command),
    /// Run seeded worlds with faults and check them
    Sim(sim::Options),
    /// Measure what the validators of this machine stand
    #[command(subcommand)]
    Bench(bench::Command),
}

impl Command {
    /// What is logged when nobody says otherwise: a node tells what it does, the others only what
    /// goes wrong.
    const fn default_log(&self) -> &'static str {
        match self {
            Self::Node(_) => "info",
            // Its logs are damaged on purpose.
            Self::Sim(_) => "error",
            _ => "warn",
        }
    }

    fn run(&self, applications: &Applications, is_json: bool) -> Result<Report, Failure> {
        match self {
            Self::Demo(options) => demo::run(applications, options),
            Self::Init(options) => init::run(options),
            Self::Keygen(options) => keygen::run(options),
            Self::Testnet(command) => testnet::run(command),
            Self::Node(options) => node::run(applications, options, is_json),
            Self::Load(options) => load::run(options),
            Self::Prices(options) => prices::run(options),
            Self::Status(options) => status::run(options),
            Self::Log(command) => log::run(applications, command),
            Self::Proof(command) => proof::run(applications, command),
            Self::Snapshot(command) => snapshot::run(applications, command),
            Self::Recover(command) => recover::run(applications, command),
            Self::VoteState(command) => vote_state::run(command),
            Self::Sim(options) => sim::run_seeds(options),
            Self::Bench(command) => bench::run(command),
        }
    }
}

/// Does what the arguments of this process ask for, with these applications, tells it, and gives
/// the exit code.
#[must_use]
pub fn run(applications: &Applications) -> ExitCode {
    let Arguments { common, command } = match Arguments::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => return unparsed(&error),
    };
    let result = logs::start(
        common.log.as_deref(),
        common.log_format,
        command.default_log(),
    )
    .and_then(|()| command.run(applications, common.json));
    output::finish(result, common.json).into()
}

/// Arguments that do not parse, or that ask for help: told as clap tells it, and the error as every
/// command's when it is asked for so. What was parsed is gone, so `--json` is looked for by itself.
fn unparsed(error: &clap::Error) -> ExitCode {
    let is_json = std::env::args_os().any(|argument| argument == "--json");
    if !error.use_stderr() || !is_json {
        // Whoever read the output has gone; nobody is left to tell.
        error.print().ok();
        return if error.use_stderr() {
            failure::Code::Usage
        } else {
            failure::Code::Done
        }
        .into();
    }
    output::finish(Err(usage_of(&error.render().to_string())), true).into()
}

/// The failure in what clap prints: usage and tips follow behind an empty line.
fn usage_of(printed: &str) -> Failure {
    let what = printed.split("\n\n").next().unwrap_or(printed).trim();
    let what = what.strip_prefix("error: ").unwrap_or(what);
    Failure::usage(what).remedy("see --help of the command")
}

/// The page for embedders: its code is compiled and run with the tests of this crate, which knows
/// the node, the world and the commands.
#[cfg(doctest)]
#[doc = include_str!("../../../docs/embedding.md")]
struct EmbeddingPage;

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory as _;

    #[test]
    fn an_error_of_the_arguments_is_told_without_the_usage_behind_it() {
        let error = Arguments::try_parse_from(["quorate", "demo", "--rate", "x"]).unwrap_err();
        let told = usage_of(&error.render().to_string()).to_string();
        assert!(told.starts_with("invalid value 'x' for '--rate"), "{told}");
        assert!(!told.contains("Usage"), "{told}");
    }

    #[test]
    fn the_arguments_of_all_commands_are_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn the_documented_defaults_of_demo_are_those_that_parse() {
        let arguments = Arguments::try_parse_from(["quorate", "demo"]).unwrap();
        let Command::Demo(options) = arguments.command else {
            panic!("not demo")
        };
        assert_eq!(options.cluster.validators, 4);
        assert_eq!((options.load.rate, options.load.seconds), (2000, 10));
    }
}
