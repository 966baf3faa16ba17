//! What the validator on a bench asked of the outside, read back.

use crate::bench::Bench;
use crate::fixtures::{v, w};
use quorate_consensus::certificate::Certificate;
use quorate_consensus::effect::{Alarm, Destination, Effect};
use quorate_consensus::evidence::Evidence;
use quorate_consensus::message::{Get, Message, Propose, Status, Vote};
use quorate_consensus::record::OwnRecord;
use quorate_consensus::types::{Point, Window};

impl Bench {
    /// Reads on from here only.
    pub(crate) fn forget(&mut self) {
        self.seen.clear();
    }

    /// Everything sent, in order.
    pub(crate) fn sent(&self) -> impl Iterator<Item = (Destination, &Message)> {
        self.seen.iter().filter_map(|effect| match effect {
            Effect::Send { to, message } => Some((*to, message)),
            _ => None,
        })
    }

    /// Own votes sent about a window, in order.
    pub(crate) fn votes_sent(&self, window: u64) -> Vec<(Destination, &Vote)> {
        let votes = self.sent().filter_map(|(to, message)| match message {
            Message::Vote(vote) => Some((to, vote)),
            _ => None,
        });
        votes.filter(|(_, vote)| vote.window == w(window)).collect()
    }

    /// Certificates sent to a peer, each message a list.
    pub(crate) fn certificates_sent(&self, to: u16) -> Vec<&[Certificate]> {
        let to = Destination::Peer(v(to));
        let sent = self.sent().filter(|(receiver, _)| *receiver == to);
        sent.filter_map(|(_, message)| match message {
            Message::Certificates(certificates) => Some(certificates.as_slice()),
            _ => None,
        })
        .collect()
    }

    pub(crate) fn statuses_sent(&self) -> Vec<&Status> {
        self.sent()
            .filter_map(|(_, message)| match message {
                Message::Status(status) => Some(status),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn proposals_sent(&self) -> Vec<&Propose> {
        self.sent()
            .filter_map(|(_, message)| match message {
                Message::Propose(propose) => Some(propose),
                _ => None,
            })
            .collect()
    }

    /// Requests sent, with whom each went to.
    pub(crate) fn asked(&self) -> Vec<(Destination, &Get)> {
        self.sent()
            .filter_map(|(to, message)| match message {
                Message::Get(get) => Some((to, get)),
                _ => None,
            })
            .collect()
    }

    /// Blocks handed out as final, in order.
    pub(crate) fn finalized(&self) -> Vec<Point> {
        self.seen
            .iter()
            .filter_map(|effect| match effect {
                Effect::Finalized { id, header, .. } => Some(header.point(*id)),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn persisted(&self) -> Vec<&OwnRecord> {
        self.seen
            .iter()
            .filter_map(|effect| match effect {
                Effect::PersistRecord(own) => Some(own),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn leases_asked(&self) -> Vec<Option<Window>> {
        self.seen
            .iter()
            .filter_map(|effect| match effect {
                Effect::PersistLease(lease) => Some(lease.lease),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn alarms(&self) -> Vec<Alarm> {
        self.seen
            .iter()
            .filter_map(|effect| match effect {
                Effect::Alarm(alarm) => Some(*alarm),
                _ => None,
            })
            .collect()
    }

    pub(crate) fn evidence(&self) -> Vec<&Evidence> {
        self.seen
            .iter()
            .filter_map(|effect| match effect {
                Effect::Evidence(evidence) => Some(evidence),
                _ => None,
            })
            .collect()
    }
}
