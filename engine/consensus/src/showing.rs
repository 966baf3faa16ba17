//! Showing a parent to those who do not have it: which certificates do, and in which messages.
//!
//! Owns what of them one message holds, and whose turn it is when they are more (R10). Never:
//! builds a certificate, or decides what a block stands on.

use crate::certificate::Certificate;
use crate::effect::Effects;
use crate::limits;
use crate::machine::Consensus;
use crate::message::Status;
use crate::types::{BlockId, Index, Point, ValidatorIndex, Window};
use crate::window::ReadyParent;
use crate::window::parents::Parents;
use crate::wire;
use alloc::vec::Vec;

/// Parents of a window that are looked at before the proven block is taken, those that are not
/// wanted among them: each that is tried costs a walk over its window. Where the certificate of a
/// block does not hold all that links its supporters to it, an ancestor's mostly does not either;
/// it may by what was signed near to it, and of those the highest alone are tried.
const PARENTS_TRIED_MAX: usize = 16;

impl Consensus {
    /// The certificates that show `point` as a parent of `window`, lowest first: Certified, and
    /// Skip for all between. None when signed evidence is missing.
    fn ready_certificates(&self, window: Window, point: Point) -> Option<Vec<Certificate>> {
        let mut certificates = Vec::new();
        let mut below = window.previous();
        while let Some(at) = below {
            if at == point.window && !self.config.set.is_genesis(&point) {
                let above = point.index.next();
                if above.number() < self.config.set.slots() {
                    certificates.push(self.skip_certificate(at, above)?);
                }
                certificates.push(self.certified_certificate(at, point)?);
                break;
            }
            certificates.push(self.skip_certificate(at, Index::ZERO)?);
            below = at.previous();
        }
        certificates.reverse();
        Some(certificates)
    }

    /// The highest parent of a window that can be shown to others and is `wanted`, with the
    /// certificates that do.
    pub(crate) fn highest_shown(
        &self,
        window: Window,
        mut wanted: impl FnMut(&ReadyParent) -> bool,
    ) -> Option<(ReadyParent, Vec<Certificate>)> {
        let parents = &self.windows.get(&window)?.parents;
        let mut shown = |parent: ReadyParent| {
            let certificates = wanted(&parent)
                .then(|| self.ready_certificates(window, parent.point))
                .flatten()?;
            Some((parent, certificates))
        };
        let mut highest = parents.signed_downward().take(PARENTS_TRIED_MAX);
        if let Some(found) = highest.find_map(&mut shown) {
            return Some(found);
        }
        let proven = parents.find(self.proven.height, self.proven.id);
        shown(proven.filter(|parent| parent.signed)?)
    }

    /// Certificates of PR of a window, for the highest parent that can be shown; the topmost ones,
    /// as many as one message holds: whoever lacks more asks for its lowest gap first (R10).
    pub(crate) fn certificates_behind(&self, window: Window) -> Option<Vec<Certificate>> {
        let (_, mut certificates) = self.highest_shown(window, |_| true)?;
        certificates.reverse();
        certificates.truncate(fitting(&certificates));
        certificates.reverse();
        Some(certificates)
    }

    /// R10 REPAIR: a parent of its window that the peer has no signed evidence for although it has
    /// others, and so no gap: it would vote for no block that stands on it. All that shows it comes
    /// to the peer, a message each time that it asks.
    pub(crate) fn show_parent(
        &mut self,
        to: ValidatorIndex,
        status: &Status,
        effects: &mut Effects,
    ) {
        let window = status.window;
        if status.gap.is_some() || status.record.tip.is_some() || !self.needs_justification(window)
        {
            return;
        }
        let is_lacking = |parent: &ReadyParent| !status.ready.contains(&parent.point.id);
        let Some((_, mut certificates)) = self.highest_shown(window, is_lacking) else {
            return;
        };
        let peer = &mut self.peers[to.place()];
        let from = peer.shown % certificates.len().max(1);
        certificates.drain(..from);
        certificates.truncate(fitting(&certificates));
        peer.shown = from + certificates.len();
        self.send_certificates(to, certificates, effects);
    }

    /// Parents of a window with signed evidence here, the highest ones.
    pub(crate) fn ready_summary(&self, window: Window) -> Vec<BlockId> {
        let parents = self.windows.get(&window).map(|state| &state.parents);
        let signed = parents.into_iter().flat_map(Parents::signed_downward);
        let highest = signed.take(limits::READY_SUMMARY_MAX);
        highest.map(|parent| parent.point.id).collect()
    }
}

/// What one message holds of the certificates that show a parent, lowest first: those of the
/// parent's own window, which whoever has other parents lacks, and then the topmost ones.
pub(crate) fn both_ends(mut certificates: Vec<Certificate>) -> Vec<Certificate> {
    let Some(lowest) = certificates.first().map(|one| one.window) else {
        return certificates;
    };
    let own = certificates.iter().take_while(|one| one.window == lowest);
    let own = own.count();
    certificates[own..].reverse();
    certificates.truncate(fitting(&certificates));
    let own = own.min(certificates.len());
    certificates[own..].reverse();
    certificates
}

/// How many of these one message holds, by number and by bytes, from the first on. One in any
/// case: that a frame has room for it is a bound of the wire.
fn fitting(certificates: &[Certificate]) -> usize {
    let (mut bytes, mut count) = (Vec::new(), 0);
    for certificate in certificates
        .iter()
        .take(limits::CERTIFICATES_PER_MESSAGE_MAX)
    {
        wire::encode_certificate(certificate, &mut bytes);
        if count > 0 && bytes.len() > limits::CERTIFICATES_BYTES_MAX {
            break;
        }
        count += 1;
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::certificate::{SignedRecord, Target};
    use crate::record::Record;
    use crate::types::Epoch;
    use alloc::vec;

    /// Skip of a window by so many validators with so many entries in `also` each.
    fn skip(validators: u16, also: u32) -> Certificate {
        let record = Record {
            also: (0..also)
                .map(|index| (Index::new(index), BlockId::new([0; 32])))
                .collect(),
            ..Record::default()
        };
        let signed = |number| SignedRecord {
            validator: ValidatorIndex::new(number),
            record: record.clone(),
            signature: [0; 64],
        };
        Certificate {
            epoch: Epoch::ZERO,
            window: Window::ZERO,
            target: Target::Skip { from: Index::ZERO },
            records: (0..validators).map(signed).collect(),
            headers: Vec::new(),
        }
    }

    #[test]
    fn a_message_of_certificates_fits_a_frame_beside_a_full_payload() {
        assert_eq!(fitting(&[]), 0);
        let few = vec![skip(3, 0); 40];
        assert_eq!(fitting(&few), limits::CERTIFICATES_PER_MESSAGE_MAX);
        // The largest that there can be: 0.6 MB each.
        assert_eq!(fitting(&vec![skip(240, 64); 40]), 1);
        let some = vec![skip(240, 4); 40];
        let held = fitting(&some);
        assert!((2..limits::CERTIFICATES_PER_MESSAGE_MAX).contains(&held));
        let mut bytes = Vec::new();
        for certificate in &some[..held] {
            wire::encode_certificate(certificate, &mut bytes);
        }
        assert!(bytes.len() + limits::PAYLOAD_BYTES_MAX < limits::FRAME_BYTES_MAX);
    }

    #[test]
    fn what_shows_the_parent_itself_and_what_fills_the_highest_gap_come_first() {
        let all: Vec<_> = [0, 0]
            .into_iter()
            .chain(1..40)
            .map(|window| Certificate {
                window: Window::new(window),
                ..skip(3, 0)
            })
            .collect();
        let windows = |certificates: Vec<Certificate>| {
            let numbers = certificates.iter().map(|one| one.window.number());
            numbers.collect::<Vec<_>>()
        };
        let few = windows(both_ends(all[..20].to_vec()));
        assert_eq!(few, windows(all[..20].to_vec()), "all of them");
        let most = limits::CERTIFICATES_PER_MESSAGE_MAX as u64;
        let ends: Vec<_> = [0, 0].into_iter().chain(42 - most..40).collect();
        assert_eq!(windows(both_ends(all)), ends);
        assert_eq!(both_ends(Vec::new()), []);
    }
}
