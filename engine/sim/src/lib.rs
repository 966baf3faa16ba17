//! The seeded world: the shipped consensus, journal and node logic under faults.
//!
//! One process, one thread a run, virtual time, one seed: the same seed always does the same.
//! Every validator is the product's own [`quorate::replica::Replica`] over a simulated disk, its
//! frames are the product's own bytes, and nothing is compiled differently for it. Faults stay
//! within what the protocol promises to survive; within that, whatever goes wrong is a bug.
//! docs/verification.md says what is injected and what is checked.
//!
//! Read in this order: `plan` (what a run is), `schedule` (what goes wrong when), `world` (the
//! loop), `harm` (what a fault does), `watch` and `checks` (what is judged), `run` (the verdict).

#![forbid(unsafe_code)]

mod app;
mod byzantine;
mod checks;
mod clients;
mod clock;
mod counts;
mod determinism;
mod dice;
mod disk;
mod exhaustive;
mod harm;
mod images;
mod joining;
mod keyring;
mod member;
mod network;
mod overheard;
mod panics;
mod past;
mod plan;
mod proofs;
mod queue;
mod reached;
mod rot;
mod run;
mod scale;
pub mod scenes;
mod schedule;
mod script;
mod shown;
mod site;
mod standing;
mod tape;
mod trace;
mod visits;
mod watch;
mod world;

pub use app::App;
pub use byzantine::{
    ActorCounts, ActorName, Beside, Byzantine, ByzantineCounts, Deed, Deeds, Occasion,
};
pub use checks::Violation;
pub use counts::FaultCounts;
pub use exhaustive::{
    EXHAUSTIVE_SLOTS, EXHAUSTIVE_VALIDATORS, ExhaustiveMethod, ExhaustiveReport, ExhaustiveRun,
    exhaustive, exhaustive_of,
};
pub use images::{ImagesSummary, images};
pub use plan::RunOptions;
pub use reached::Reached;
pub use run::{Failure, Outcome, Summary, SweepOptions, run, sweep};
pub use scale::{
    COSTS_FILE, Costs, FileError, LATENCY_FILES, LatencyMatrix, Prediction, ScaleError,
    ScaleOptions, SyncTimes, predict,
};
pub use script::Scenario;
pub use shown::Shown;
