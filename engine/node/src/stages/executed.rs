//! What an executed block is counted for, and what an operator is told of it.
//!
//! Owns the numbers of one block and the lines about an application that is too slow or puts out
//! too much. Never: what clients are told.

use crate::metrics::Metrics;
use crate::results::BlockResults;
use quorate_consensus::effect::FinalPath;

/// An execution that takes longer is told of. That bounds the lines too: there can be no more than
/// one a second.
const SLOW_NS: u64 = 1_000_000_000;

/// Counts what came of a block.
pub(crate) fn count_block(metrics: &Metrics, results: &BlockResults) {
    match results.path {
        Some(FinalPath::Fast) => metrics.blocks_finalized_fast.add(1),
        Some(FinalPath::Slow) => metrics.blocks_finalized_slow.add(1),
        Some(FinalPath::Proof) => metrics.blocks_finalized_proof.add(1),
        None => {}
    }
    if results.execution_ns > 0 {
        metrics.execution.record(results.execution_ns);
    }
    metrics
        .commands_finalized
        .add(results.commands.len() as u64);
    let refused = results.refused().len() as u64;
    metrics.block_signatures_bad.add(refused);
    for (lane, command) in results.commands_by_lane() {
        if command.finality_ns > 0 {
            metrics.finality.record(command.finality_ns);
            if let Some(inclusion) = metrics.inclusion.get(lane) {
                inclusion.record(command.finality_ns);
            }
        }
    }
}

/// Says what is wrong with the application, where that is to be seen.
pub(crate) fn tell_block(results: &BlockResults) {
    let height = results.height;
    if results.execution_ns > SLOW_NS {
        tracing::warn!(
            height,
            commands = results.commands.len(),
            execution_ms = results.execution_ns / 1_000_000,
            "a block took above a second to execute: the application is slow"
        );
    }
    if let (left_out, Some(first)) = results.too_long {
        tracing::error!(
            height,
            left_out,
            session = ?first,
            "private outputs are too long to be told to their sessions"
        );
    }
}

#[cfg(test)]
#[path = "executed_tests.rs"]
mod tests;
