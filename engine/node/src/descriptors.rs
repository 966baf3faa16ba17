//! How many files and sockets this process may have open, and how many of them strangers may take.
//!
//! Owns the limit of the system, which is raised as far as it lets us, and what of it is kept for
//! the validator itself: a log that cannot open a file stops voting. Never: counts what is open.

use crate::config::NodeConfig;
use quorate_net::Limits;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// Kept for log, lease, snapshots, archive, the loop and operators; a validator has about thirty
/// open at a time.
const RESERVED: u64 = 96;
/// A peer's connection, and one that takes its place.
const PER_PEER: u64 = 2;
/// Below this many for all strangers and clients together a node is of no use.
const OTHERS_MIN: u64 = 64;

/// The process may have too few files and sockets open.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TooFew {
    /// How many it may have.
    pub(crate) available: u64,
    /// How many a node of this chain needs at least.
    pub(crate) needed: u64,
}

/// The bounds of a node's sockets, as configured, or less where the system gives no more.
///
/// # Errors
/// [`TooFew`] when that is next to nothing.
pub(crate) fn limits(config: &NodeConfig) -> Result<Limits, TooFew> {
    let wanted = Limits {
        clients_max: config.limits.clients_max,
        ..Limits::default()
    };
    fit(wanted, config.genesis.validator_set().len(), raise())
}

/// Raises the soft limit of the process to the hard one; says what it is then.
fn raise() -> u64 {
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        ..limit
    };
    let current = match setrlimit(Resource::Nofile, raised) {
        Ok(()) => raised.current,
        Err(_) => limit.current,
    };
    current.unwrap_or(u64::MAX)
}

/// Lowers what strangers and clients may take to what is left of `available` descriptors; says so.
///
/// # Errors
/// [`TooFew`] when that is next to nothing.
fn fit(limits: Limits, validators: usize, available: u64) -> Result<Limits, TooFew> {
    let own = RESERVED + PER_PEER * validators as u64;
    let others = available.saturating_sub(own);
    if others < OTHERS_MIN {
        let needed = own + OTHERS_MIN;
        return Err(TooFew { available, needed });
    }
    let others = usize::try_from(others).unwrap_or(usize::MAX);
    // Those of both ports; and clients, each of which was a stranger.
    let strangers = limits.unauthenticated_max.min(others / 8);
    let clients = limits.clients_max.min(others - 2 * strangers);
    if (strangers, clients) != (limits.unauthenticated_max, limits.clients_max) {
        tracing::warn!(
            available,
            clients,
            strangers,
            "fewer clients and strangers are let in than configured: raise LimitNOFILE or `ulimit -n`"
        );
    }
    Ok(Limits {
        unauthenticated_max: strangers,
        clients_max: clients,
        ..limits
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_and_clients_leave_the_validator_what_it_needs() {
        for available in [
            0,
            100,
            167,
            168,
            200,
            1024,
            2150,
            2151,
            2152,
            20_000,
            u64::MAX,
        ] {
            let Ok(limits) = fit(Limits::default(), 4, available) else {
                assert!(available < 168, "{available}");
                continue;
            };
            let strangers = 2 * limits.unauthenticated_max as u64;
            let taken = strangers + limits.clients_max as u64 + PER_PEER * 4;
            assert!(taken + RESERVED <= available, "{available}: {limits:?}");
            assert!(limits.unauthenticated_max >= 8 && limits.clients_max >= 32);
            limits.check().expect("as good as before");
            if available >= 5_000 {
                assert_eq!(limits, Limits::default());
            }
        }
        let (available, needed) = (167, 168);
        assert_eq!(
            fit(Limits::default(), 4, available),
            Err(TooFew { available, needed })
        );
    }

    #[test]
    fn the_soft_limit_is_the_hard_one_afterwards() {
        let raised = raise();
        let limit = getrlimit(Resource::Nofile);
        assert_eq!(limit.current, limit.maximum);
        assert_eq!(raised, limit.current.unwrap_or(u64::MAX));
    }
}
