//! Nobody holds an honest validator for a faulty one.
//!
//! Owns the judgement of alarms, evidence and dropped connections. A Byzantine validator may be
//! accused of anything, an honest one of nothing.

use quorate::replica::Event;
use quorate_consensus::effect::Alarm;
use quorate_consensus::evidence::Evidence;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;

use super::Violation;

/// Whom an event accuses; none when it accuses nobody. An accusation without a name falls on the
/// one that makes it.
pub(crate) fn accused(
    set: &ValidatorSet,
    own: ValidatorIndex,
    event: &Event,
) -> Option<ValidatorIndex> {
    match event {
        Event::Entered { .. }
        | Event::Stopped(_)
        | Event::Proven(_)
        | Event::Durable(_)
        | Event::StateProven(_)
        | Event::Snapshot { .. }
        // Of its own disk, which is nobody's conduct.
        | Event::Faulty(_)
        | Event::Mended(_) => None,
        Event::PeerFault(peer) => Some(*peer),
        Event::Diverged(_) => Some(own),
        Event::Evidence(evidence) => match evidence.as_ref() {
            Evidence::TwoHeaders(signed) => Some(set.leader(signed[0].header.window)),
            Evidence::TwoRecords { validator, .. } => Some(*validator),
            Evidence::OneRecord { record, .. } => Some(record.validator),
        },
        Event::Alarm(Alarm::Recovered(_)) => None,
        Event::Alarm(alarm) => Some(match alarm {
            Alarm::BadSignature(peer)
            | Alarm::Equivocation(peer)
            | Alarm::TwoBlocks(peer)
            | Alarm::ForeignRecord(peer) => *peer,
            Alarm::InvalidBlockSupported(_)
            | Alarm::DiskOlderThanSent(_)
            | Alarm::Recovered(_)
            | Alarm::StateDiffers { .. }
            | Alarm::StateUncompared(_) => own,
        }),
    }
}

/// Judges an event at the honest validator `own`.
pub(crate) fn judge(
    set: &ValidatorSet,
    own: ValidatorIndex,
    event: &Event,
    is_byzantine: impl Fn(ValidatorIndex) -> bool,
) -> Result<(), Violation> {
    match accused(set, own, event) {
        Some(peer) if !is_byzantine(peer) => {
            let what = format!("{own:?} accuses {peer:?}: {event:?}");
            Err(Violation::new("conduct", what))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::byzantine::Byzantine;
    use crate::keyring::Keyring;
    use crate::plan::{Plan, RunOptions};
    use crate::script::Scenario;
    use quorate_consensus::types::Window;

    #[test]
    fn an_alarm_about_anybody_honest_is_found_and_a_stop_is_not() {
        let plan = Plan::draw(&RunOptions {
            seed: 1,
            validators: 4,
            scenario: Scenario::Calm,
            byzantine: Byzantine::default(),
        });
        let set = plan.set(Keyring::new(4, plan.scheme).keys()).unwrap();
        let own = ValidatorIndex::new(0);
        let alarm = Event::Alarm(Alarm::Equivocation(ValidatorIndex::new(2)));
        let nobody = |_| false;
        assert!(judge(&set, own, &alarm, nobody).is_err());
        let is_second = |peer| peer == ValidatorIndex::new(2);
        assert!(judge(&set, own, &alarm, is_second).is_ok());
        let old_disk = Event::Alarm(Alarm::DiskOlderThanSent(Window::ZERO));
        assert!(judge(&set, own, &old_disk, is_second).is_err());
        assert!(judge(&set, own, &Event::Stopped(Window::ZERO), nobody).is_ok());
    }
}
