//! The options that say what a cluster of this machine is to be, for every command that makes
//! one.
//!
//! Owns their names, defaults and checks that need no file. Never: writes.

use clap::{Args, ValueEnum};
use quorate::genesis::Auth;
use quorate::profiles::{Durability, Idle, Profile, Threads};
use quorate_bench::testnet::{Plan, TestnetError, Workload};
use quorate_consensus::thresholds::default_fault;
use quorate_consensus::types::Stake;

use crate::failure::{Code, Failure};

/// Most validators of one testnet on this machine.
const VALIDATORS_MAX: usize = 64;

/// What a vote must be before it leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum DurabilityArg {
    /// On the disk.
    Sync,
    /// In the log's mapping.
    Async,
}

/// What the commands are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum WorkloadArg {
    /// Orders at the order book.
    Venue,
    /// The same beside price feeds, accounts and options that expire and are settled.
    Exchange,
    /// Bytes without a meaning.
    Opaque,
}

/// How commands prove whose they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum AuthArg {
    /// Each carries its client's signature.
    Signed,
    /// Not at all: the validator that admits a command vouches for it.
    Session,
}

/// A thread a stage, or one for all.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ThreadsArg {
    /// A thread a stage.
    Dedicated,
    /// One thread for all stages.
    Shared,
    /// Whichever fits the cores.
    Auto,
}

/// What a thread does that has nothing to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum IdleArg {
    /// It looks for a moment for what comes soon, giving up its time slice, then waits in the
    /// system.
    Linger,
    /// It waits in the system.
    Park,
    /// It gives up its time slice.
    Yield,
    /// It looks again at once.
    Spin,
}

/// Threads, idling, pinning and timers that go together.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ProfileArg {
    /// Dedicated cores in one hall.
    Colo,
    /// Machines of one network.
    Lan,
    /// One machine that does other things too.
    Laptop,
}

impl From<DurabilityArg> for Durability {
    fn from(arg: DurabilityArg) -> Self {
        match arg {
            DurabilityArg::Sync => Self::Sync,
            DurabilityArg::Async => Self::Async,
        }
    }
}

impl From<WorkloadArg> for Workload {
    fn from(arg: WorkloadArg) -> Self {
        match arg {
            WorkloadArg::Venue => Self::Venue,
            WorkloadArg::Exchange => Self::Exchange,
            WorkloadArg::Opaque => Self::Opaque,
        }
    }
}

impl From<AuthArg> for Auth {
    fn from(arg: AuthArg) -> Self {
        match arg {
            AuthArg::Signed => Self::Signed,
            AuthArg::Session => Self::Session,
        }
    }
}

impl From<ThreadsArg> for Threads {
    fn from(arg: ThreadsArg) -> Self {
        match arg {
            ThreadsArg::Dedicated => Self::Dedicated,
            ThreadsArg::Shared => Self::Shared,
            ThreadsArg::Auto => Self::Auto,
        }
    }
}

impl From<IdleArg> for Idle {
    fn from(arg: IdleArg) -> Self {
        match arg {
            IdleArg::Linger => Self::Linger,
            IdleArg::Park => Self::Park,
            IdleArg::Yield => Self::Yield,
            IdleArg::Spin => Self::Spin,
        }
    }
}

impl From<ProfileArg> for Profile {
    fn from(arg: ProfileArg) -> Self {
        match arg {
            ProfileArg::Colo => Self::Colo,
            ProfileArg::Lan => Self::Lan,
            ProfileArg::Laptop => Self::Laptop,
        }
    }
}

/// Options of a cluster on this machine.
#[derive(Clone, Debug, Args)]
pub(crate) struct ClusterOptions {
    /// How many validators; by default as many as there are weights
    #[arg(
        long,
        default_value_t = 4,
        default_value_if("weights", clap::builder::ArgPredicate::IsPresent, "0")
    )]
    pub(crate) validators: usize,
    /// Weight of each validator; by default 1
    #[arg(long, value_delimiter = ',', value_name = "W,W,..")]
    pub(crate) weights: Vec<u64>,
    /// F, the weight that may be Byzantine; by default derived from the weights
    #[arg(long, value_name = "F")]
    pub(crate) fault_weight: Option<u64>,
    /// P, the weight that may be silent without slowing finality; by default what F leaves
    #[arg(long, value_name = "P")]
    pub(crate) fast_slack: Option<u64>,
    /// Survive crashes only: allows F = 0
    #[arg(long)]
    pub(crate) crash_only: bool,
    /// What a vote must be before it leaves
    #[arg(long, value_enum, default_value = "sync")]
    pub(crate) durability: DurabilityArg,
    /// What the commands are
    #[arg(long, value_enum, default_value = "venue")]
    pub(crate) workload: WorkloadArg,
    /// How commands prove whose they are: signed by their clients, or by the word of the validator
    /// that admits them; by default signed for the venue, session for opaque commands
    #[arg(long, value_enum)]
    pub(crate) auth: Option<AuthArg>,
    /// Threads, idling, pinning and timers that go together
    #[arg(long, value_enum, default_value = "laptop")]
    pub(crate) profile: ProfileArg,
    /// A thread a stage, one for all, or whichever fits the cores
    #[arg(long, value_enum)]
    pub(crate) threads: Option<ThreadsArg>,
    /// What a thread does that has nothing to do
    #[arg(long, value_enum)]
    pub(crate) idle: Option<IdleArg>,
    /// Length of a segment of each log, from 4 MiB on a multiple of 4096; by default 64 MiB
    #[arg(long, value_name = "BYTES")]
    #[arg(value_parser = clap::value_parser!(u32).range(SEGMENT_BYTES_MIN..=SEGMENT_BYTES_MAX))]
    pub(crate) segment_bytes: Option<u32>,
}

/// What a configuration allows.
const SEGMENT_BYTES_MIN: i64 = 4 << 20;
const SEGMENT_BYTES_MAX: i64 = quorate_log::SEGMENT_BYTES_MAX as i64;

impl ClusterOptions {
    /// Validators of weight 1 under opaque commands, on one thread each: what is measured with
    /// many processes on few cores.
    pub(crate) const fn opaque(validators: usize, durability: DurabilityArg) -> Self {
        Self {
            validators,
            weights: Vec::new(),
            fault_weight: None,
            fast_slack: None,
            crash_only: false,
            durability,
            workload: WorkloadArg::Opaque,
            auth: None,
            profile: ProfileArg::Colo,
            threads: Some(ThreadsArg::Shared),
            idle: Some(IdleArg::Linger),
            segment_bytes: None,
        }
    }

    /// How commands prove whose they are. A venue's orders are money, and opaque commands are
    /// there to be measured.
    fn auth(&self) -> Auth {
        self.auth.map_or_else(
            || match self.workload {
                WorkloadArg::Venue | WorkloadArg::Exchange => Auth::Signed,
                WorkloadArg::Opaque => Auth::Session,
            },
            Auth::from,
        )
    }

    /// The plan of the testnet.
    ///
    /// # Errors
    /// Usage: numbers that contradict each other.
    pub(crate) fn plan(&self, base_port: u16) -> Result<Plan, Failure> {
        let weights = match (self.validators, self.weights.len()) {
            (0, 0) => {
                return Err(Failure::usage("--validators 0: nobody").remedy("name one at least"));
            }
            (validators, 0) => vec![1; validators.min(VALIDATORS_MAX + 1)],
            (0, _) => self.weights.clone(),
            (validators, weights) if validators == weights => self.weights.clone(),
            (validators, weights) => {
                let what = format!("--validators {validators} and {weights} --weights");
                return Err(Failure::usage(what).remedy("give as many weights as validators"));
            }
        };
        if weights.len() > VALIDATORS_MAX {
            let what = format!("more than {VALIDATORS_MAX} validators");
            return Err(Failure::usage(what).remedy("give fewer"));
        }
        self.check_weights(&weights)?;
        if base_port == 0 {
            let what = "--base-port 0: clients and validators have to know their ports";
            return Err(Failure::usage(what).remedy("give one above 0"));
        }
        Ok(Plan {
            weights,
            fault_weight: self.fault_weight,
            fast_slack: self.fast_slack,
            crash_only: self.crash_only,
            workload: self.workload.into(),
            auth: self.auth(),
            base_port,
            durability: self.durability.into(),
            profile: self.profile.into(),
            threads: self.threads.map(Into::into),
            idle: self.idle.map(Into::into),
            trace_stamps: 0,
            window_slots: None,
            segment_bytes: self.segment_bytes,
        })
    }
}

impl ClusterOptions {
    /// What the genesis would be refused for, in the words of the command line.
    fn check_weights(&self, weights: &[u64]) -> Result<(), Failure> {
        if let Some(validator) = weights.iter().position(|&weight| weight == 0) {
            let what = format!("--weights: validator {validator} has weight 0");
            return Err(Failure::usage(what).remedy("give it at least 1, or leave it out"));
        }
        let stakes: Vec<Stake> = weights.iter().map(|&weight| Stake::new(weight)).collect();
        let fault = self
            .fault_weight
            .map_or_else(|| default_fault(&stakes), Stake::new);
        if fault.amount() > 0 || self.crash_only {
            return Ok(());
        }
        let what = match self.fault_weight {
            Some(_) => "--fault-weight 0 survives no Byzantine validator".to_owned(),
            None => format!(
                "{} validators of these weights survive no Byzantine one",
                weights.len()
            ),
        };
        Err(Failure::usage(what).remedy(
            "give four validators at least, of weights as even as can be, or --crash-only if only \
             crashes are to be survived",
        ))
    }
}

impl From<TestnetError> for Failure {
    fn from(error: TestnetError) -> Self {
        match error {
            TestnetError::File(error) => error.into(),
            // The numbers are those of the command line; the file is not written.
            TestnetError::Plan(error) => Self::from(error).with_code(Code::Usage),
            TestnetError::Data(error) => error.into(),
            TestnetError::Ports { .. } => Self::usage(error).remedy("give a lower --base-port"),
            TestnetError::NotEmpty(_) => {
                Self::new(Code::Configuration, error).remedy("choose a new folder, or empty it")
            }
            TestnetError::NoPorts { .. } => {
                Self::new(Code::TryAgain, error).remedy("stop what listens on this machine")
            }
            TestnetError::Io { ref source, .. } => {
                Self::of_refusal(&error, source, Code::Configuration)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::Parser;

    #[derive(Parser)]
    struct Line {
        #[command(flatten)]
        cluster: ClusterOptions,
    }

    fn plan(arguments: &[&str]) -> Result<Plan, Failure> {
        let line = [&["x"], arguments].concat();
        Line::try_parse_from(line).unwrap().cluster.plan(7000)
    }

    #[test]
    fn weights_alone_say_how_many_validators_there_are() {
        assert_eq!(
            plan(&["--weights", "40,25,15,10,10"])
                .unwrap()
                .weights
                .len(),
            5
        );
        assert_eq!(plan(&[]).unwrap().weights, [1, 1, 1, 1]);
        assert_eq!(plan(&["--validators", "7"]).unwrap().weights, [1; 7]);
    }

    #[test]
    fn what_survives_no_byzantine_validator_is_refused_with_the_option_that_allows_it() {
        let told = plan(&["--validators", "3"]).unwrap_err().to_string();
        assert!(told.contains("--crash-only"), "{told}");
        assert_eq!(
            plan(&["--validators", "3", "--crash-only"])
                .unwrap()
                .weights,
            [1; 3]
        );
        let told = plan(&["--weights", "1,0,1,1,1"]).unwrap_err().to_string();
        assert!(told.contains("validator 1 has weight 0"), "{told}");
        let cluster = Line::try_parse_from(["x"]).unwrap().cluster;
        let told = cluster.plan(0).unwrap_err().to_string();
        assert!(told.contains("--base-port 0"), "{told}");
    }

    #[test]
    fn numbers_that_contradict_each_other_are_a_usage_error() {
        for arguments in [
            &["--validators", "3", "--weights", "1,1"][..],
            &["--validators", "0"],
            &["--validators", "65"],
            &["--validators", "3"],
            &["--weights", "0,1,1,1"],
            &["--validators", "4", "--fault-weight", "0"],
        ] {
            assert_eq!(
                plan(arguments).unwrap_err().code,
                Code::Usage,
                "{arguments:?}"
            );
        }
    }
}
