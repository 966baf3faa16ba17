//! The public stream at a start: where its older blocks are kept, and how it goes on from what
//! recovery has executed. Owns nothing that outlives the start.

use crate::archive::{Archive, ArchiveConfig, PublicEvents};
use crate::config::{NodeConfig, NodeLimits};
use crate::metrics::Metrics;
use crate::replica::Parts;
use crate::stages::archive::{ArchiveLink, Besides};
use crate::stages::older::{PeerParts, Peers};
use crate::stages::public::PublicStage;
use crate::state_machine::StateMachine;
use crate::streams::{PublicRing, PublicStream};
use quorate_net::Waker;
use std::sync::Arc;

/// Folder of the older blocks of the public stream inside the data folder.
const PUBLIC_FOLDER: &str = "public";

/// Where older blocks of the public stream are kept, if they are.
pub(super) fn archive_config(config: &NodeConfig) -> Option<ArchiveConfig> {
    let bytes_max = config.limits.public_archive_bytes_max;
    (bytes_max > 0).then(|| ArchiveConfig {
        folder: config.data.join(PUBLIC_FOLDER),
        genesis_hash: *config.genesis.hash(),
        bytes_max,
    })
}

/// Removes the older blocks where none are wanted any more. Nothing needs them, so that one that
/// cannot be removed refuses no start.
pub(super) fn forget_unwanted(config: &NodeConfig) {
    if config.limits.public_archive_bytes_max == 0
        && let Err(error) = Archive::remove(&config.data.join(PUBLIC_FOLDER))
    {
        tracing::warn!(%error, "older public events, which are not kept, cannot be removed");
    }
}

/// The public stream as far as recovery has executed it, and the thread that keeps it from here on.
pub(super) fn public_stage<S: StateMachine>(
    parts: &mut Parts<S>,
    limits: &NodeLimits,
    peers: PeerParts,
    metrics: &Arc<Metrics>,
    waker: Waker,
) -> std::io::Result<PublicStage> {
    let archived = parts.executor.archived();
    let executed = parts.executor.take_public();
    let executed = executed
        .unwrap_or_else(|| PublicStream::new(PublicRing::new(limits.public_bytes_max), None));
    let Some(archive) = executed.archive else {
        if archived.is_some() {
            // The log says why.
            metrics.alarms.add(1);
        }
        return Ok(PublicStage::new(executed.ring, None));
    };
    let wake = move || waker.wake();
    let told = Arc::clone(metrics);
    // What peers ask and give is the thread's own.
    let besides = move || -> Besides<PublicEvents> {
        let mut peers = Peers::new(peers, told);
        Box::new(move |archive| peers.turn(archive))
    };
    let link = ArchiveLink::start(archive, Arc::clone(metrics), besides, wake)?;
    Ok(PublicStage::new(executed.ring, Some(link)))
}
