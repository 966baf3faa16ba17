//! The streams at a start: where their older blocks are kept, and how they go on from what recovery
//! has executed. Owns nothing that outlives the start.

use crate::archive::{Archive, ArchiveConfig, PublicEvents, Store};
use crate::config::{NodeConfig, NodeLimits};
use crate::metrics::Metrics;
use crate::private::archived::PrivateOutputs;
use crate::replica::Parts;
use crate::stages::archive::{ArchiveLink, Besides};
use crate::stages::older::{PeerParts, Peers};
use crate::stages::private::PrivateStage;
use crate::stages::public::PublicStage;
use crate::state_machine::StateMachine;
use crate::streams::{PublicRing, PublicStream};
use quorate_net::Waker;
use std::sync::Arc;

/// Folder of the older blocks of the public stream inside the data folder.
const PUBLIC_FOLDER: &str = "public";

/// Folder of the older blocks of private streams there.
const PRIVATE_FOLDER: &str = "private";

/// Where older blocks of the public stream are kept, if they are.
pub(super) fn archive_config(config: &NodeConfig) -> Option<ArchiveConfig> {
    config_of(
        config,
        PUBLIC_FOLDER,
        config.limits.public_archive_bytes_max,
    )
}

/// Where older blocks of private streams are kept, if they are: what passes through no ring comes
/// to no disk.
pub(super) fn private_archive_config(config: &NodeConfig) -> Option<ArchiveConfig> {
    let is_kept = config.limits.private_bytes_max > 0;
    let bytes_max = config.limits.private_archive_bytes_max;
    config_of(config, PRIVATE_FOLDER, if is_kept { bytes_max } else { 0 })
}

fn config_of(config: &NodeConfig, folder: &str, bytes_max: u64) -> Option<ArchiveConfig> {
    (bytes_max > 0).then(|| ArchiveConfig {
        folder: config.data.join(folder),
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
    if private_archive_config(config).is_none()
        && let Err(error) = Store::<PrivateOutputs>::remove(&config.data.join(PRIVATE_FOLDER))
    {
        tracing::warn!(%error, "older private outputs, which are not kept, cannot be removed");
    }
}

/// The streams as far as recovery has executed them, and the threads that keep them from here on.
pub(super) fn stream_stages<S: StateMachine>(
    parts: &mut Parts<S>,
    limits: &NodeLimits,
    peers: PeerParts,
    metrics: &Arc<Metrics>,
    waker: &Waker,
) -> std::io::Result<(PublicStage, PrivateStage)> {
    let public = public_stage(parts, limits, peers, metrics, waker.clone())?;
    let private = private_stage(parts, metrics, waker.clone())?;
    Ok((public, private))
}

fn public_stage<S: StateMachine>(
    parts: &mut Parts<S>,
    limits: &NodeLimits,
    peers: PeerParts,
    metrics: &Arc<Metrics>,
    waker: Waker,
) -> std::io::Result<PublicStage> {
    let archived = parts.executor.public_archived();
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

/// Who tells what of private streams comes from disk, and the thread that keeps them there.
fn private_stage<S: StateMachine>(
    parts: &mut Parts<S>,
    metrics: &Arc<Metrics>,
    waker: Waker,
) -> std::io::Result<PrivateStage> {
    let Some(archive) = parts.executor.take_private_archive() else {
        if parts.executor.has_private_archive() {
            // The log says why.
            metrics.alarms.add(1);
        }
        return Ok(PrivateStage::default());
    };
    let besides = || -> Besides<PrivateOutputs> { Box::new(|_| {}) };
    let wake = move || waker.wake();
    let link = ArchiveLink::start(archive, Arc::clone(metrics), besides, wake)?;
    let answers = link.answers();
    parts.executor.link_private(link);
    Ok(PrivateStage::new(Some(answers)))
}
