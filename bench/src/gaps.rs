//! How long finality was away when something happened to a validator, as its other clients saw it.
//!
//! Owns the arithmetic on what clients wrote down. Never: measures, or knows what happened.

use crate::load::{Trip, Wait};

/// A stretch of a run, on its clock: from what happened to the moment in which it is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Phase {
    /// To whom it happened; what its gateway told does not count.
    pub victim: u16,
    /// When it happened, nanoseconds.
    pub from_ns: u64,
    /// When it was mended, or the load ended, nanoseconds.
    pub until_ns: u64,
}

/// How long clients of the others went without.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Interruption {
    /// The longest time between two results of any commands, nanoseconds: the first may have come
    /// before the phase began, so what is between two commands of the load is in it.
    pub gap_ns: u64,
    /// The longest time from a command's intended time to its result, of all that others than the
    /// victim told and that were open in the phase, nanoseconds.
    pub wait_ns: u64,
    /// Whether nothing became final between the longest gap's begin and the end of the phase.
    pub is_open: bool,
}

/// The longest interruption in a phase; none when no command was open in it, so that nothing can
/// be said. Trips are in the order of their results.
#[must_use]
pub fn interruption(trips: &[Trip], phase: Phase) -> Option<Interruption> {
    let others = || trips.iter().filter(|trip| trip.gateway != phase.victim);
    let is_in = |trip: &&Trip| trip.result_ns > phase.from_ns && trip.intended_ns < phase.until_ns;
    let wait_ns = others()
        .filter(is_in)
        .map(|trip| trip.result_ns.saturating_sub(trip.intended_ns))
        .max()?;
    let before = others()
        .map(|trip| trip.result_ns)
        .take_while(|result_ns| *result_ns <= phase.from_ns)
        .last();
    let mut last_ns = before.unwrap_or(phase.from_ns);
    let mut found = Interruption {
        gap_ns: 0,
        wait_ns,
        is_open: false,
    };
    for trip in others().filter(|trip| trip.result_ns > phase.from_ns) {
        if trip.result_ns >= phase.until_ns {
            break;
        }
        found.gap_ns = found.gap_ns.max(trip.result_ns.saturating_sub(last_ns));
        last_ns = trip.result_ns;
    }
    let end_ns = phase.until_ns.saturating_sub(last_ns);
    if end_ns > found.gap_ns {
        (found.gap_ns, found.is_open) = (end_ns, true);
    }
    Some(found)
}

/// The longest time from a command's intended time to its result, of all that were open in the
/// phase, whoever told it: also of those that the victim had, which wait longest; none when no
/// command was open in it. Nanoseconds.
#[must_use]
pub fn longest_wait(waits: &[Wait], phase: Phase) -> Option<u64> {
    waits
        .iter()
        .filter(|wait| wait.result_ns > phase.from_ns && wait.intended_ns < phase.until_ns)
        .map(|wait| wait.result_ns.saturating_sub(wait.intended_ns))
        .max()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: u64 = 1_000_000;
    const PHASE: Phase = Phase {
        victim: 0,
        from_ns: 100 * MS,
        until_ns: 600 * MS,
    };

    fn trip(gateway: u16, intended_ms: u64, result_ms: u64) -> Trip {
        Trip {
            gateway,
            height: 1,
            intended_ns: intended_ms * MS,
            result_ns: result_ms * MS,
            finality_ns: 1,
            to_leader: true,
        }
    }

    /// A result every millisecond at validator 1, but for a stretch in which those intended wait.
    fn load(gone_ms: u64, back_ms: u64) -> Vec<Trip> {
        let result_ms = |ms| {
            if (gone_ms..back_ms).contains(&ms) {
                back_ms
            } else {
                ms
            }
        };
        (1..700).map(|ms| trip(1, ms, result_ms(ms))).collect()
    }

    #[test]
    fn the_gap_is_from_the_last_result_to_the_next_and_the_wait_from_the_intended_time() {
        let found = interruption(&load(100, 140), PHASE).unwrap();
        // The last result was a millisecond before.
        assert_eq!((found.gap_ns, found.wait_ns), (41 * MS, 40 * MS));
        assert!(!found.is_open);
    }

    #[test]
    fn results_that_the_victim_told_do_not_count() {
        let mut trips = load(100, 140);
        trips.extend((100..140).map(|ms| trip(0, ms, ms)));
        trips.sort_by_key(|trip| trip.result_ns);
        assert_eq!(interruption(&trips, PHASE).unwrap().gap_ns, 41 * MS);
        let victims: Vec<Trip> = (1..700).map(|ms| trip(0, ms, ms)).collect();
        assert_eq!(interruption(&victims, PHASE), None);
    }

    #[test]
    fn what_the_victim_had_waits_longest_and_is_in_the_wait_of_all() {
        let mut trips = load(100, 140);
        trips.push(trip(0, 90, 590));
        trips.sort_by_key(|trip| trip.result_ns);
        let wait = |trip: &Trip| Wait {
            intended_ns: trip.intended_ns,
            result_ns: trip.result_ns,
        };
        let waits: Vec<Wait> = trips.iter().map(wait).collect();
        assert_eq!(interruption(&trips, PHASE).unwrap().wait_ns, 40 * MS);
        assert_eq!(longest_wait(&waits, PHASE), Some(500 * MS));
        // What had its result before, or was not intended yet, says nothing of the phase.
        let apart = [(10, 90), (600, 999)].map(|(intended_ms, result_ms)| Wait {
            intended_ns: intended_ms * MS,
            result_ns: result_ms * MS,
        });
        assert_eq!(longest_wait(&apart, PHASE), None);
    }

    #[test]
    fn what_does_not_come_back_in_the_phase_is_an_open_gap_of_its_whole_length() {
        let found = interruption(&load(100, 650), PHASE).unwrap();
        assert_eq!(found.gap_ns, 501 * MS);
        assert!(found.is_open);
        assert_eq!(found.wait_ns, 550 * MS);
    }

    #[test]
    fn gaps_before_and_after_the_phase_are_none_of_its_own() {
        let before = interruption(&load(20, 60), PHASE).unwrap();
        let after = interruption(&load(620, 660), PHASE).unwrap();
        assert_eq!((before.gap_ns, before.is_open), (MS, false));
        assert_eq!((after.gap_ns, after.wait_ns), (MS, 0));
    }
}
