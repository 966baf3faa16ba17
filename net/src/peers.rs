//! Which connection to each peer counts, and when to dial.
//!
//! Owns: the decisions, as plain data. Never: sockets or clocks; [`crate::poller`] carries out what
//! is decided here.
//!
//! # Two sides that both dial
//! Between two validators the connection dialed by the **lower** index stays. Only the **higher**
//! index closes the other one, and only when the connection that stays is *confirmed*: its dialer
//! has sent something after the handshake, so both sides are through. One side deciding, on one
//! condition that holds on both, means that the two can neither close one connection each nor go
//! back and forth. Until then both connections are read; sending goes to the one confirmed last.
//! The
//! side that decides first ends its own direction and reads the rest, so that nothing is lost.
//!
//! A new connection dialed by the same side replaces the older one: that side knows it is dead. A
//! newer incarnation replaces everything at once; an older one than ever seen is refused. One that
//! follows another newer one within a moment, which grows while that goes on, has to come again: no
//! process starts so often, and each time would cost this one what was under way with the peer. So
//! has one of the same incarnation that is lost and comes back again and again; a peer that holds
//! to the delays between its own dials never comes too early for it.

use std::time::{Duration, Instant};

use crate::backoff::Backoff;
use crate::error::{CloseReason, NetError};
use crate::limits::{CLIENT_ADDRESSEE, Limits, PEER_KEPT_BYTES};
use crate::queue::Outbound;
use crate::slots::Slot;

/// How often an old incarnation of one peer is told of, though it may come all the time.
const STALE_TOLD_EVERY: Duration = Duration::from_secs(60);

/// Who dialed a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dialer {
    Own = 0,
    Remote = 1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct PeerLink {
    slot: Slot,
    /// Something came after the handshake, or we dialed: the other side is through.
    confirmed: bool,
}

/// Where a peer's next connection comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Dial {
    /// Not before this time, and only without a connection.
    At(Instant),
    /// Its name is being looked up.
    Resolving,
    /// In progress.
    Trying(Slot),
}

/// One configured peer.
#[derive(Debug)]
pub(crate) struct Peer {
    pub(crate) index: u16,
    pub(crate) address: String,
    pub(crate) outbound: Outbound,
    pub(crate) dial: Dial,
    /// Number of dials, to go through a name's addresses in turn.
    pub(crate) dials: usize,
    links: [Option<PeerLink>; 2],
    /// An own connection that is only read to its end.
    retired: Option<Slot>,
    send_on: Option<Slot>,
    /// Highest incarnation that ever authenticated.
    incarnation_seen: Option<u64>,
    up_since: Option<Instant>,
    /// Not admitted before this time, after a fault.
    refused_until: Option<Instant>,
    /// When a newer incarnation replaced an older one last, and how long it is the newest at least.
    renewed: Option<(Instant, Duration)>,
    /// When the peer came up last, and how long after that the same incarnation may not come again.
    came_up: Option<(Instant, Duration)>,
    /// When an old incarnation was told of last.
    stale_told: Option<Instant>,
    /// No longer configured: goes with its last connection.
    pub(crate) removed: bool,
    backoff: Backoff,
}

/// What an admitted connection changed.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Installed {
    /// Connections to close at once.
    pub(crate) replaced: [Option<Slot>; 3],
    /// An own connection to bring to its end.
    pub(crate) retired: Option<Retired>,
    /// The peer was connected, with an older incarnation.
    pub(crate) was_up: bool,
    /// The peer is connected anew.
    pub(crate) comes_up: bool,
}

/// A duplicate resolved.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Retired {
    /// To be brought to its end.
    pub(crate) slot: Slot,
    /// One that was being brought to its end before: nobody waits for it any longer.
    pub(crate) earlier: Option<Slot>,
}

/// The configured peers by index.
#[derive(Debug)]
pub(crate) struct Peers {
    own: u16,
    seed: u64,
    delays: (Duration, Duration),
    /// By index; most places up to the highest index are taken.
    by_index: Vec<Option<Box<Peer>>>,
}

impl Peers {
    pub(crate) const fn new(own: u16, seed: u64, limits: &Limits) -> Self {
        let delays = (limits.redial_min, limits.redial_max);
        Self {
            own,
            seed,
            delays,
            by_index: Vec::new(),
        }
    }

    /// Checks a list of peers.
    ///
    /// # Errors
    /// [`NetError::Peer`]: ourselves, the reserved index, or one index twice.
    pub(crate) fn check(own: u16, list: &[(u16, String)]) -> Result<(), NetError> {
        for (place, (index, _)) in list.iter().enumerate() {
            let problem = if *index == own {
                "is this validator itself"
            } else if *index == CLIENT_ADDRESSEE {
                "has the index reserved for clients"
            } else if list[..place].iter().any(|(other, _)| other == index) {
                "is listed twice"
            } else {
                continue;
            };
            return Err(NetError::Peer {
                index: *index,
                problem,
            });
        }
        Ok(())
    }

    /// Adds a peer, or gives a known one a new address.
    pub(crate) fn set(&mut self, now: Instant, index: u16, address: &str) {
        let place = usize::from(index);
        if self.by_index.len() <= place {
            self.by_index.resize_with(place + 1, || None);
        }
        match &mut self.by_index[place] {
            Some(peer) => {
                peer.removed = false;
                address.clone_into(&mut peer.address);
            }
            empty => {
                let (delay_min, delay_max) = self.delays;
                // Another sequence for each pair, so that a restarted cluster spreads its dials.
                let seed = self.seed ^ (u64::from(self.own) << 32) ^ (u64::from(index) << 48);
                *empty = Some(Box::new(Peer {
                    index,
                    address: address.to_owned(),
                    outbound: Outbound::keeping(PEER_KEPT_BYTES),
                    dial: Dial::At(now),
                    dials: 0,
                    links: [None, None],
                    retired: None,
                    send_on: None,
                    incarnation_seen: None,
                    up_since: None,
                    refused_until: None,
                    renewed: None,
                    came_up: None,
                    stale_told: None,
                    removed: false,
                    backoff: Backoff::new(delay_min, delay_max, seed),
                }));
            }
        }
    }

    pub(crate) fn remove(&mut self, index: u16) -> Option<Box<Peer>> {
        self.by_index.get_mut(usize::from(index))?.take()
    }

    pub(crate) fn get(&self, index: u16) -> Option<&Peer> {
        self.by_index.get(usize::from(index))?.as_deref()
    }

    pub(crate) fn get_mut(&mut self, index: u16) -> Option<&mut Peer> {
        self.by_index.get_mut(usize::from(index))?.as_deref_mut()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Peer> {
        self.by_index.iter().filter_map(Option::as_deref)
    }

    /// Indices of all peers, in order.
    pub(crate) fn indices(&self) -> impl Iterator<Item = u16> + use<> {
        let indices: Vec<u16> = self.iter().map(|peer| peer.index).collect();
        indices.into_iter()
    }

    /// One past the highest index that may be a peer.
    pub(crate) fn index_end(&self) -> u16 {
        u16::try_from(self.by_index.len()).unwrap_or(u16::MAX)
    }
}

impl Peer {
    /// Whether a connection that proved to be this peer's `incarnation` may stay.
    ///
    /// # Errors
    /// [`CloseReason::CoolingDown`], [`CloseReason::StaleIncarnation`].
    pub(crate) fn admit(&self, now: Instant, incarnation: u64) -> Result<(), CloseReason> {
        if self.incarnation_seen.is_some_and(|seen| incarnation < seen) {
            return Err(CloseReason::StaleIncarnation);
        }
        let is_newer = self.incarnation_seen.is_some_and(|seen| incarnation > seen);
        let is_soon = |(at, pause): (Instant, Duration)| now < at + pause;
        // Of the same one a further connection is no change that anybody is told of.
        let came = if is_newer {
            self.renewed
        } else {
            self.came_up.filter(|_| self.send_on.is_none())
        };
        if self.is_refused(now) || came.is_some_and(is_soon) {
            return Err(CloseReason::CoolingDown);
        }
        Ok(())
    }

    /// Whether an old incarnation that was refused is to be told of now; once in a while it is.
    pub(crate) fn tells_stale(&mut self, now: Instant) -> bool {
        let is_due = self
            .stale_told
            .is_none_or(|told| now.saturating_duration_since(told) >= STALE_TOLD_EVERY);
        if is_due {
            self.stale_told = Some(now);
        }
        is_due
    }

    /// Takes an admitted connection.
    pub(crate) fn install(
        &mut self,
        now: Instant,
        own: u16,
        slot: Slot,
        dialer: Dialer,
        incarnation: u64,
    ) -> Installed {
        let mut installed = Installed::default();
        let connected = self.send_on.is_some();
        if self.incarnation_seen.is_some_and(|seen| incarnation > seen) {
            installed.replaced = self.all_slots();
            installed.was_up = connected;
            self.links = [None, None];
            self.retired = None;
            self.renew(now);
            self.send_on = None;
        } else if let Some(older) = self.links[dialer as usize].take() {
            installed.replaced[0] = Some(older.slot);
            if self.send_on == Some(older.slot) {
                self.send_on = None;
            }
        }
        self.incarnation_seen = Some(incarnation);
        if !connected || installed.was_up {
            installed.comes_up = true;
            self.up_since = Some(now);
            self.came_up = Some((now, self.next_pause()));
        }
        let confirmed = dialer == Dialer::Own;
        self.links[dialer as usize] = Some(PeerLink { slot, confirmed });
        if confirmed || self.send_on.is_none() {
            self.send_on = Some(slot);
        }
        installed.retired = self.retire(own);
        installed
    }

    /// A newer incarnation is admitted: the next one not before a pause, which is the least again
    /// when the last one has held.
    fn renew(&mut self, now: Instant) {
        let (least, most) = (self.backoff.delay_min(), self.backoff.delay_max());
        let pause = match self.renewed {
            Some((at, pause)) if now < at + pause + most => pause.saturating_mul(2).min(most),
            Some(_) | None => least,
        };
        self.renewed = Some((now, pause));
    }

    /// How long after this time the peer may not come up again: not at all after the first one,
    /// then the least, then twice as long each time until a connection has held. Never longer than
    /// the shortest delay before a dial that has failed as often.
    fn next_pause(&self) -> Duration {
        let (least, most) = (self.backoff.delay_min(), self.backoff.delay_max() / 2);
        self.came_up.map_or(Duration::ZERO, |(_, pause)| {
            pause.saturating_mul(2).max(least).min(most)
        })
    }

    /// Something came over `slot`. Returns an own connection to bring to its end.
    pub(crate) fn confirm(&mut self, own: u16, slot: Slot) -> Option<Retired> {
        let link = self
            .links
            .iter_mut()
            .flatten()
            .find(|link| link.slot == slot)?;
        if link.confirmed {
            return None;
        }
        link.confirmed = true;
        self.send_on = Some(slot);
        self.retire(own)
    }

    /// The decision about two connections; see the module's head.
    fn retire(&mut self, own: u16) -> Option<Retired> {
        let stays = self.links[Dialer::Remote as usize]?;
        if own < self.index || !stays.confirmed {
            return None;
        }
        let goes = self.links[Dialer::Own as usize].take()?;
        self.send_on = Some(stays.slot);
        Some(Retired {
            slot: goes.slot,
            earlier: self.retired.replace(goes.slot),
        })
    }

    /// `slot` ended. True if it was the last connection that counts: the peer is down, and is
    /// dialed again after a delay.
    pub(crate) fn lost(&mut self, now: Instant, slot: Slot) -> bool {
        self.retired = self.retired.filter(|retired| *retired != slot);
        let Some(place) = self
            .links
            .iter()
            .position(|l| l.is_some_and(|l| l.slot == slot))
        else {
            return false;
        };
        self.links[place] = None;
        if self.send_on == Some(slot) {
            self.send_on = self.links.iter().flatten().next().map(|link| link.slot);
        }
        if self.send_on.is_some() {
            return false;
        }
        // A connection that held shows that the failures before it are over.
        let held = self
            .up_since
            .take()
            .map_or(Duration::ZERO, |since| now.duration_since(since));
        if held >= self.backoff.delay_max() {
            self.backoff.reset();
            self.came_up = None;
        }
        self.redial_later(now);
        true
    }

    /// The dial in progress failed, or was given up.
    pub(crate) fn dial_ended(&mut self, now: Instant) {
        self.dial = Dial::At(now);
        self.redial_later(now);
    }

    fn redial_later(&mut self, now: Instant) {
        if let Dial::At(_) = self.dial {
            self.dial = Dial::At(now + self.backoff.next_delay());
        }
    }

    /// Does not admit the peer until its next dial is due.
    pub(crate) fn refuse_until_redial(&mut self, now: Instant) {
        self.refused_until = Some(now + self.backoff.next_delay());
    }

    /// Whether it is refused for a fault.
    pub(crate) fn is_refused(&self, now: Instant) -> bool {
        self.refused_until.is_some_and(|until| now < until)
    }

    /// When to dial, if it is to be dialed.
    pub(crate) fn dial_at(&self) -> Option<Instant> {
        match self.dial {
            Dial::At(at) if self.send_on.is_none() => {
                let admitted = self.came_up.map(|(at, pause)| at + pause);
                let others = [self.refused_until, admitted].into_iter().flatten();
                Some(others.fold(at, Instant::max))
            }
            Dial::At(_) | Dial::Resolving | Dial::Trying(_) => None,
        }
    }

    /// The connection that frames go to.
    pub(crate) const fn send_on(&self) -> Option<Slot> {
        self.send_on
    }

    /// All connections that count.
    pub(crate) fn slots(&self) -> [Option<Slot>; 2] {
        self.links.map(|link| link.map(|link| link.slot))
    }

    /// All connections: the two that may count, and one that is read to its end.
    pub(crate) fn all_slots(&self) -> [Option<Slot>; 3] {
        let [own, remote] = self.slots();
        [own, remote, self.retired]
    }

    /// The connection that is read to its end, which nobody waits for any more.
    pub(crate) const fn take_retired(&mut self) -> Option<Slot> {
        self.retired.take()
    }

    pub(crate) const fn incarnation_seen(&self) -> Option<u64> {
        self.incarnation_seen
    }
}

#[cfg(test)]
#[path = "peers_tests.rs"]
mod tests;
