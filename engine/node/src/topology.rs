//! What this machine is: the cores this process may use, the validators that share them, and the
//! pinning of threads. Never: decides who runs where; that is in [`profiles`](crate::profiles).

use crate::genesis::Genesis;
use quorate_consensus::types::ValidatorIndex;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// The cores that this process may use, ascending. Never empty.
#[must_use]
pub fn cores() -> Vec<usize> {
    let allowed: Vec<usize> = sched_getaffinity(None)
        .map(|set| {
            (0..CpuSet::MAX_CPU)
                .filter(|&core| set.is_set(core))
                .collect()
        })
        .unwrap_or_default();
    if allowed.is_empty() { vec![0] } else { allowed }
}

/// How many validators of the genesis stand on the machine of `own`, by the host of their peer
/// address; at least 1. Loopback in all its spellings is one host.
#[must_use]
pub fn validators_here(genesis: &Genesis, own: ValidatorIndex) -> usize {
    let validators = &genesis.file().validators;
    let Some(own) = validators.get(own.place()) else {
        return 1;
    };
    let own_host = host(&own.peer_address);
    validators
        .iter()
        .filter(|v| host(&v.peer_address) == own_host)
        .count()
        .max(1)
}

fn host(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    let loopback = host == "localhost" || host == "[::1]" || host.starts_with("127.");
    if loopback { "loopback" } else { host }
}

/// Binds the calling thread to one core.
///
/// # Errors
/// The core does not exist or may not be used.
pub(crate) fn pin(core: usize) -> std::io::Result<()> {
    if core >= CpuSet::MAX_CPU {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput));
    }
    let mut set = CpuSet::new();
    set.set(core);
    Ok(sched_setaffinity(None, &set)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_can_be_pinned_to_a_core_that_the_process_may_use() {
        let core = cores()[0];
        std::thread::spawn(move || {
            pin(core).unwrap();
            assert_eq!(cores(), [core]);
        })
        .join()
        .unwrap();
        assert!(pin(usize::MAX).is_err());
    }

    #[test]
    fn loopback_is_one_host_and_others_are_themselves() {
        assert_eq!(host("127.0.0.1:1"), host("localhost:2"));
        assert_eq!(host("127.0.0.1:1"), host("[::1]:2"));
        assert_ne!(host("10.0.0.1:1"), host("10.0.0.2:1"));
    }
}
