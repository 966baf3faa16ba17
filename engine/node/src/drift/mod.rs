//! What a validator does whose state is another than decisive weight attests (protocol.md 5.6).
//!
//! Owns the record of what commands came to of late, and the bundle that is written once: the
//! evidence, and what a bisection needs. Never: decides that states differ (consensus does), and
//! touches no vote: order does not depend on state, so a validator that computes wrongly still
//! votes rightly, and its stake is not lost to the others.

mod bundle;
mod machine;
mod trace;

pub use bundle::{
    BUNDLE_FILE, BUNDLE_SCHEMA, Build, Bundle, BundleError, DIVERGED_FOLDER, DivergedStatus,
    NamedRoot, Processor, StateFields, TRACE_FILE, read_bundle, read_trace,
};
pub use trace::{BlockTrace, TRACE_BLOCKS_MAX, TRACE_COMMANDS_MAX, Trace, TraceError, trace_of};

pub(crate) use bundle::{Again, Facts, again, diverged_folder, set_aside};

use std::sync::Arc;
use std::thread::JoinHandle;

use quorate_consensus::attestation::Divergence;

use crate::metrics::Metrics;
use crate::results::BlockResults;

/// Keeps what commands came to, beside the executor, until it is asked what differs.
#[derive(Debug)]
pub(crate) struct Recorder {
    trace: Trace,
    facts: Arc<Facts>,
    metrics: Arc<Metrics>,
    /// Writes the bundle.
    writer: Option<JoinHandle<()>>,
}

impl Recorder {
    pub(crate) fn new(facts: Arc<Facts>, metrics: Arc<Metrics>) -> Self {
        Self {
            trace: Trace::default(),
            facts,
            metrics,
            writer: None,
        }
    }

    /// Notes what came of a block; nothing more once this validator serves nobody.
    pub(crate) fn note(&mut self, results: &BlockResults) {
        if self.metrics.is_serving() {
            self.trace.note(results);
        }
    }

    /// Writes the bundle, on a thread of its own: execution goes on meanwhile.
    pub(crate) fn report(&mut self, divergence: &Divergence, names: &[&'static str]) {
        let trace = std::mem::take(&mut self.trace);
        let bundle = self.facts.bundle(divergence, names, &trace);
        let found = bundle.status(&self.facts.folder);
        let section = found.section.as_str();
        tracing::error!(
            height = found.height,
            section,
            bundle = %found.bundle,
            "THE STATE DIVERGED: this validator serves no clients any more; it goes on voting"
        );
        if self.metrics.diverged.set(found).is_err() {
            return;
        }
        let (facts, metrics) = (Arc::clone(&self.facts), Arc::clone(&self.metrics));
        let write = move || {
            if let Err(error) = bundle::write(&facts.folder, bundle, &trace) {
                metrics.alarms.add(1);
                tracing::error!(%error, "the bundle was not written");
            }
        };
        let builder = std::thread::Builder::new().name("quorate-bundle".to_owned());
        match builder.spawn(write) {
            Ok(writer) => self.writer = Some(writer),
            Err(error) => {
                self.metrics.alarms.add(1);
                tracing::error!(%error, "the bundle was not written");
            }
        }
    }
}

/// A stop waits for the bundle: without it the next start would serve.
impl Drop for Recorder {
    fn drop(&mut self) {
        if self
            .writer
            .take()
            .is_some_and(|writer| writer.join().is_err())
        {
            tracing::error!("the thread that writes the bundle panicked");
        }
    }
}
