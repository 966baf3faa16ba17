//! No validator says anything of its own where its lease on the disk does not let it (R11, R12).
//!
//! Owns the comparison of what is said with the lease file as a loss of power would leave it: what
//! is said above the lease, while abstaining, or proposed where a proposal may have left before, is
//! what a later life of the validator may contradict. A validator that says in that file that it
//! abstains less far than it has to is held to what the world knows of its disk. Never: what is
//! said of others, or an empty record, which states nothing.

use quorate_consensus::message::Message;
use quorate_consensus::record::Record;
use quorate_consensus::trust::Lease;
use quorate_consensus::types::Window;

use super::{Violation, records};

/// Whether a message may hold anything of the own that a lease is for.
pub(crate) fn is_judged(message: &Message) -> bool {
    matches!(message, Message::Propose(_)) || records::own(message).is_some()
}

/// Judges what a validator says with such a lease on its disk, when it may have said something up
/// to `silent_until` that the disk does not hold. `leads` says whether a window is its own.
pub(crate) fn judge(
    at: usize,
    (lease, silent_until): (Option<Lease>, Option<Window>),
    message: &Message,
    leads: impl Fn(Window) -> bool,
) -> Result<(), Violation> {
    let proposed = match message {
        Message::Propose(propose) => Some(propose.header.window).filter(|window| leads(*window)),
        _ => None,
    };
    let said = records::own(message).filter(|(_, record)| **record != Record::default());
    let said = said.map(|(window, _)| window);
    let why = said
        .and_then(|window| refused(lease, window))
        .or_else(|| proposed.and_then(|window| refused_proposal(lease, window)))
        .or_else(|| {
            let own = said.or(proposed);
            let is_lost = own.is_some_and(|window| silent_until >= Some(window));
            is_lost.then_some("where it does not know what it said")
        });
    match why {
        None => Ok(()),
        Some(why) => {
            let what = format!(
                "v{at} says {message:?} {why}: {lease:?} is on its disk, and what it said up to \
                 {silent_until:?} may not be"
            );
            Err(Violation::new("leases", what))
        }
    }
}

/// Why nothing may be said about a window.
fn refused(lease: Option<Lease>, window: Window) -> Option<&'static str> {
    let Some(lease) = lease else {
        return Some("without a lease");
    };
    if lease.is_lost {
        Some("and does not know what it said")
    } else if lease.lease.is_none_or(|last| window > last) {
        Some("above its lease")
    } else if lease.abstain_until.is_some_and(|until| window <= until) {
        Some("while it abstains")
    } else {
        None
    }
}

/// Why no block may be made in a window.
fn refused_proposal(lease: Option<Lease>, window: Window) -> Option<&'static str> {
    let until = lease.and_then(|lease| lease.no_proposals_until);
    let is_late = until.is_some_and(|until| window <= until);
    refused(lease, window).or_else(|| is_late.then_some("where one may have left before"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::checks::SAMPLE;
    use quorate_consensus::header::Header;
    use quorate_consensus::message::{Propose, Vote};
    use quorate_consensus::types::Epoch;

    fn lease() -> Lease {
        Lease {
            lease: Some(Window::new(9)),
            abstain_until: Some(Window::new(3)),
            no_proposals_until: Some(Window::new(5)),
            ..Lease::default()
        }
    }

    fn vote(window: u64, stop: bool) -> Message {
        Message::Vote(Vote {
            epoch: Epoch::ZERO,
            window: Window::new(window),
            record: Record {
                stop,
                ..Record::default()
            },
            signature: None,
        })
    }

    fn bare(window: u64) -> Message {
        Message::Propose(Propose {
            header: Header {
                window: Window::new(window),
                ..SAMPLE
            },
            payload: [0; 4].into(),
            justification: Vec::new(),
            record: None,
        })
    }

    fn is_found(lease: Option<Lease>, message: &Message) -> bool {
        judge(0, (lease, None), message, |_| true).is_err()
    }

    #[test]
    fn what_is_said_where_the_disk_may_lack_something_is_found_whatever_the_lease_says() {
        let until = Some(Window::new(7));
        for (window, expected) in [(6, true), (7, true), (8, false)] {
            for message in [vote(window, true), bare(window)] {
                let found = judge(0, (Some(lease()), until), &message, |_| true).is_err();
                assert_eq!(found, expected, "{message:?}");
            }
            let empty = vote(window, false);
            assert_eq!(judge(0, (Some(lease()), until), &empty, |_| true), Ok(()));
            let of_another = judge(0, (Some(lease()), until), &bare(window), |_| false);
            assert_eq!(of_another, Ok(()));
        }
    }

    #[test]
    fn what_is_said_up_to_the_end_of_abstention_or_above_the_lease_is_found() {
        for (window, expected) in [(0, true), (3, true), (4, false), (9, false), (10, true)] {
            let found = is_found(Some(lease()), &vote(window, true));
            assert_eq!(found, expected, "{window}");
            // An empty record is what is left to say.
            assert!(!is_found(Some(lease()), &vote(window, false)), "{window}");
        }
        assert!(is_found(None, &vote(4, true)));
        let lost = Lease {
            is_lost: true,
            ..lease()
        };
        assert!(is_found(Some(lost), &vote(4, true)));
    }

    #[test]
    fn a_block_where_one_may_have_left_before_is_found_and_what_others_made_is_not() {
        for (window, expected) in [(3, true), (5, true), (6, false), (9, false), (10, true)] {
            let found = is_found(Some(lease()), &bare(window));
            assert_eq!(found, expected, "{window}");
            let of_another = judge(0, (Some(lease()), None), &bare(window), |_| false);
            assert_eq!(of_another, Ok(()));
        }
    }
}
