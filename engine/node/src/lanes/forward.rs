//! Sending clients' commands to whoever leads.
//!
//! Owns the policy of an admitting validator: to the leader at once, to a new leader again, to
//! everybody when a command is not final after `T_fan`, and to the leader again at intervals from
//! then on, since nothing is delivered for certain. Commands of other validators' clients are
//! theirs to forward, but for those that stood in a block that may be given up. Never: sockets,
//! bytes of messages.

use std::collections::VecDeque;
use std::sync::Arc;

use quorate_consensus::effect::Destination;
use quorate_consensus::limits::FORWARD_BYTES_MAX;
use quorate_consensus::types::ValidatorIndex;

use super::pool::{Handle, Lanes, Timed};
use super::verdict::LanesConfig;

/// What the forwarding remembers: handles only, and those gone are dropped when they are met.
#[derive(Debug)]
pub(super) struct Forwarding {
    /// Who leads, when it is another validator.
    leader: Option<ValidatorIndex>,
    /// To be sent to the leader, oldest first.
    outgoing: VecDeque<Handle>,
    /// Local commands not yet sent to everybody, by when they will be.
    unfanned: VecDeque<Timed>,
    /// Local commands past that, by when they are sent to the leader again.
    retries: VecDeque<Timed>,
    fan_ns: u64,
    retry_ns: u64,
    /// Bytes that may still be sent to everybody before `fan_renewal_ns`.
    fan_bytes_left: usize,
    fan_renewal_ns: u64,
    scratch: Vec<u8>,
}

impl Forwarding {
    pub(super) fn new(config: &LanesConfig) -> Self {
        Self {
            leader: None,
            outgoing: VecDeque::new(),
            unfanned: VecDeque::new(),
            retries: VecDeque::new(),
            fan_ns: config.fan_ns,
            retry_ns: config.retry_ns,
            fan_bytes_left: config.fan_bytes_max,
            fan_renewal_ns: 0,
            scratch: Vec::new(),
        }
    }

    /// A client's command has been taken.
    pub(super) fn admitted(&mut self, now_ns: u64, handle: Handle) {
        let at_ns = now_ns.saturating_add(self.fan_ns);
        self.unfanned.push_back(Timed { at_ns, handle });
        if self.leader.is_some() {
            self.outgoing.push_back(handle);
        }
    }

    /// A command of a block that may be given up has been kept: if it is not final soon, the
    /// leader gets it, because nobody else may have it any more.
    pub(super) fn saved(&mut self, now_ns: u64, handle: Handle) {
        let at_ns = now_ns.saturating_add(self.retry_ns);
        self.retries.push_back(Timed { at_ns, handle });
    }
}

impl Lanes {
    /// Says who leads now; `None` when this validator does. Everything of local clients that is
    /// not final goes to the new leader.
    pub fn set_leader(&mut self, leader: Option<ValidatorIndex>) {
        self.forwarding.leader = leader;
        self.forward_again();
    }

    /// Sends everything of local clients that is not final to the leader again: it is new, or its
    /// connection is.
    pub fn forward_again(&mut self) {
        let forwarding = &mut self.forwarding;
        forwarding.outgoing.clear();
        if forwarding.leader.is_some() {
            let waiting = forwarding.retries.iter().chain(&forwarding.unfanned);
            forwarding
                .outgoing
                .extend(waiting.map(|timed| timed.handle));
        }
    }

    /// Hands over what is to be sent now, as runs of entries, at most one run to the leader and
    /// one to everybody. What does not fit stays for the next call.
    pub fn forward(&mut self, now_ns: u64, send: &mut impl FnMut(Destination, Arc<[u8]>)) {
        self.fan_out(now_ns, send);
        self.retry(now_ns);
        let Some(leader) = self.forwarding.leader else {
            return;
        };
        let mut bytes = std::mem::take(&mut self.forwarding.scratch);
        bytes.clear();
        while let Some(&handle) = self.forwarding.outgoing.front() {
            if let Some(command) = self.command(handle) {
                if bytes.len() + command.entry.len() > FORWARD_BYTES_MAX {
                    break;
                }
                bytes.extend_from_slice(&command.entry);
            }
            self.forwarding.outgoing.pop_front();
        }
        if !bytes.is_empty() {
            send(Destination::Peer(leader), bytes.as_slice().into());
        }
        self.forwarding.scratch = bytes;
    }

    /// Commands that waited `T_fan`: to everybody, as far as the allowance goes, and to the
    /// retries in any case.
    fn fan_out(&mut self, now_ns: u64, send: &mut impl FnMut(Destination, Arc<[u8]>)) {
        if now_ns >= self.forwarding.fan_renewal_ns {
            self.forwarding.fan_renewal_ns = now_ns.saturating_add(self.forwarding.fan_ns);
            self.forwarding.fan_bytes_left = self.config.fan_bytes_max;
        }
        let mut bytes = std::mem::take(&mut self.forwarding.scratch);
        bytes.clear();
        while let Some(&Timed { at_ns, handle }) = self.forwarding.unfanned.front() {
            let entry = self.command(handle).map(|command| &command.entry);
            if entry.is_some() && at_ns > now_ns {
                break;
            }
            if let Some(entry) = entry {
                if bytes.len() + entry.len() <= self.forwarding.fan_bytes_left {
                    bytes.extend_from_slice(entry);
                    self.counters.fanned_out += 1;
                }
                let at_ns = now_ns.saturating_add(self.forwarding.retry_ns);
                self.forwarding.retries.push_back(Timed { at_ns, handle });
            }
            self.forwarding.unfanned.pop_front();
        }
        if !bytes.is_empty() {
            self.forwarding.fan_bytes_left -= bytes.len();
            send(Destination::All, bytes.as_slice().into());
        }
        self.forwarding.scratch = bytes;
    }

    fn retry(&mut self, now_ns: u64) {
        while let Some(&Timed { at_ns, handle }) = self.forwarding.retries.front() {
            let is_held = self.command(handle).is_some();
            if is_held && at_ns > now_ns {
                break;
            }
            self.forwarding.retries.pop_front();
            if is_held {
                let at_ns = now_ns.saturating_add(self.forwarding.retry_ns);
                self.forwarding.retries.push_back(Timed { at_ns, handle });
                if self.forwarding.leader.is_some() {
                    self.forwarding.outgoing.push_back(handle);
                }
            }
        }
    }

    /// When [`forward`](Self::forward) has something to do at latest, by the monotonic clock;
    /// `u64::MAX` when nothing waits.
    #[must_use]
    pub fn forward_deadline_ns(&self) -> u64 {
        let forwarding = &self.forwarding;
        if !forwarding.outgoing.is_empty() {
            return 0;
        }
        let first = |line: &VecDeque<Timed>| line.front().map_or(u64::MAX, |timed| timed.at_ns);
        first(&forwarding.unfanned).min(first(&forwarding.retries))
    }
}
