//! Who reads the public stream here, and how far each of them is.
//!
//! Owns the subscriptions, the questions for ranges that wait, and the published part of the
//! stream. Never: a copy of the stream for a reader. A subscription is a position; what it has not
//! been told waits in the one ring that all share, and behind that in the archive, from which a
//! piece at a time comes for a reader that has room for it. A reader whose position is not even
//! there any more is cut, with that position, and its connection stays. So a reader costs as much
//! as its socket's queue holds and one piece, and none costs another one anything.

use super::archive::ArchiveLink;
use super::fetch::{Fetch, Purpose};
use crate::archive::{Chunk, PublicEvents};
use crate::client_wire::{
    PublicAsk, PublicFrame, PublicMark, PublicState, encode_busy, encode_public_mark,
};
use crate::results::BlockResults;
use crate::streams::{PublicRing, StreamPosition, Unavailable, cost};
use quorate_consensus::types::ValidatorIndex;
use quorate_net::ClientId;
use std::collections::hash_map::Entry;
use std::collections::{HashMap, VecDeque};

/// A connection with so many bytes waiting is told no more of the stream for now.
const ROOM_BYTES: usize = 1024 * 1024;
/// Bytes of the stream that one turn writes, about: what comes from peers meanwhile waits for it.
const TURN_BYTES: usize = 256 * 1024;
/// Bytes of the answer to one question for a range, about.
const RANGE_BYTES: usize = 1024 * 1024;
/// Bytes of older events that come at a time for one subscription, about.
const PIECE_BYTES: usize = 512 * 1024;
/// Questions for ranges that may wait, of all clients and of one; more of them are told to come
/// again. To subscribe and to end that costs next to nothing, and always finds room.
const RANGES_MAX: usize = 1024;
const RANGES_PER_CLIENT_MAX: u32 = 16;
/// When to come again, microseconds.
pub(super) const RETRY_US: u32 = 2_000;
/// A reader is told where the stream is after so many heights in which it was told nothing: else it
/// would come back with a position that is long gone.
const PROGRESS_HEIGHTS: u64 = 256;
/// How far beyond the own end a subscription may begin: a reader that comes from a validator that
/// was ahead of this one.
const AHEAD_HEIGHTS: u64 = 4_096;

/// The way to the sockets.
pub(crate) trait Outlet {
    /// Bytes that wait for a client; none when it is gone.
    fn waiting(&self, client: ClientId) -> Option<usize>;
    /// So much waits for all clients together that streams make room for answers.
    fn is_crowded(&self) -> bool;
    /// Queues a frame.
    fn send(&mut self, client: ClientId, frame: &[u8]);
}

#[derive(Clone, Copy, Debug)]
struct Subscription {
    id: u64,
    client: ClientId,
    /// Up to where its reader has been told that it was told everything.
    told: StreamPosition,
    /// Up to where there was nothing more to tell.
    at: StreamPosition,
    /// Older events are on their way for it.
    is_fetching: bool,
}

/// Whether a reader for whom so much waits is told no more for now. Where much waits for all of
/// them together one that has anything waiting is: a thousand readers behind a slow link would
/// otherwise fill what may wait for all, at which the network cuts the one that most waits for.
pub(super) fn is_full(waiting: usize, out: &impl Outlet) -> bool {
    waiting > ROOM_BYTES || (waiting > 0 && out.is_crowded())
}

/// See the module.
#[derive(Debug)]
pub(crate) struct PublicStage {
    ring: PublicRing,
    /// What the ring has passed.
    archive: Option<ArchiveLink<PublicEvents>>,
    /// One whose thread is ending.
    ended: Option<ArchiveLink<PublicEvents>>,
    // Looked up, never walked.
    places: HashMap<ClientId, usize>,
    subscriptions: Vec<Subscription>,
    /// The subscription that is served first in the next turn.
    first: usize,
    /// What is about a subscription; all of it is answered in the next turn.
    about: Vec<(ClientId, u64, PublicAsk)>,
    /// Questions for ranges, answered as there is room in a turn.
    ranges: VecDeque<(ClientId, u64, PublicAsk)>,
    /// How many of them are whose. Looked up, never walked.
    ranges_of: HashMap<ClientId, u32>,
    /// Something may be to be told.
    is_due: bool,
    /// The turn ended before all was told that there was room for.
    is_unfinished: bool,
    frame: PublicFrame,
    /// What the frame holds.
    written: Option<(StreamPosition, StreamPosition, StreamPosition)>,
    reply: Vec<u8>,
    cuts: u64,
}

impl PublicStage {
    pub(crate) fn new(ring: PublicRing, archive: Option<ArchiveLink<PublicEvents>>) -> Self {
        Self {
            ring,
            archive,
            ended: None,
            places: HashMap::new(),
            subscriptions: Vec::new(),
            first: 0,
            about: Vec::new(),
            ranges: VecDeque::new(),
            ranges_of: HashMap::new(),
            is_due: false,
            is_unfinished: false,
            frame: PublicFrame::default(),
            written: None,
            reply: Vec::new(),
            cuts: 0,
        }
    }

    /// Publishes a block.
    pub(crate) fn publish(&mut self, results: &BlockResults) {
        self.ring.push(results);
        if let Some(archive) = &mut self.archive {
            archive.hand_over(&self.ring);
        }
        self.is_due = true;
    }

    /// Takes a question; it is answered by [`pump`](Self::pump). False when there is no room, which
    /// there is but for ranges.
    pub(crate) fn take(&mut self, client: ClientId, id: u64, ask: PublicAsk) -> bool {
        if let PublicAsk::Range { .. } = ask {
            let of_client = self.ranges_of.get(&client).copied().unwrap_or_default();
            if self.ranges.len() >= RANGES_MAX || of_client >= RANGES_PER_CLIENT_MAX {
                return false;
            }
            self.ranges_of.insert(client, of_client + 1);
            self.ranges.push_back((client, id, ask));
        } else {
            self.about.push((client, id, ask));
        }
        self.is_due = true;
        true
    }

    /// The question for a range that has waited longest.
    fn next_range(&mut self) -> Option<(ClientId, u64, PublicAsk)> {
        let next = self.ranges.pop_front()?;
        if let Entry::Occupied(mut left) = self.ranges_of.entry(next.0) {
            *left.get_mut() -= 1;
            if *left.get() == 0 {
                left.remove();
            }
        }
        Some(next)
    }

    /// A client is gone.
    pub(crate) fn remove(&mut self, client: ClientId) {
        if let Some(place) = self.places.remove(&client) {
            self.subscriptions.swap_remove(place);
            if let Some(moved) = self.subscriptions.get(place) {
                self.places.insert(moved.client, place);
            }
        }
    }

    /// Nobody is told anything any more.
    pub(crate) fn clear(&mut self) {
        // What this validator tells may be wrong; a start writes it anew. The thread may hang in
        // the disk, and whoever calls this votes: it is waited for when the stage ends.
        if let Some(mut archive) = self.archive.take() {
            archive.end();
            self.ended = Some(archive);
        }
        self.places.clear();
        self.subscriptions.clear();
        self.about.clear();
        self.ranges.clear();
        self.ranges_of.clear();
    }

    /// Whether the next turn has something to do at once.
    pub(crate) const fn is_unfinished(&self) -> bool {
        self.is_unfinished
    }

    pub(crate) fn subscriptions_len(&self) -> usize {
        self.subscriptions.len()
    }

    /// Subscriptions that were cut.
    pub(crate) const fn cuts(&self) -> u64 {
        self.cuts
    }

    /// The oldest position from which on everything is to be had here.
    pub(crate) fn oldest(&self) -> StreamPosition {
        let ring = self.ring.oldest();
        let archived = self.archive.as_ref().map(ArchiveLink::oldest);
        archived.map_or(ring, |first| StreamPosition::before(first).min(ring))
    }

    /// Whether there is something to be had from `from` on, and whether it is the archive that has
    /// it.
    fn check(&self, from: StreamPosition) -> Result<bool, Unavailable> {
        match self.ring.check(from) {
            Err(Unavailable::Gone) if from >= self.oldest() => Ok(true),
            found => found.map(|()| false),
        }
    }

    /// Tells everybody what there is to tell and room for.
    pub(crate) fn pump(&mut self, leader: Option<ValidatorIndex>, out: &mut impl Outlet) {
        if !self.is_due && !self.has_fetched() {
            return;
        }
        self.written = None;
        // Each half has a part of its own: who asks for what is old takes nothing from who follows.
        let (mut budget, mut live_budget) = (TURN_BYTES / 2, TURN_BYTES / 2);
        while budget > 0
            && let Some(fetched) = self.archive.as_mut().and_then(ArchiveLink::take)
        {
            self.deliver(leader, fetched, &mut budget, out);
        }
        for one in std::mem::take(&mut self.about) {
            self.answer(leader, one, &mut budget, out);
        }
        while budget > 0
            && let Some(one) = self.next_range()
        {
            self.answer(leader, one, &mut budget, out);
        }
        let mut is_behind = false;
        for turn in 0..self.subscriptions.len() {
            let place = (self.first + turn) % self.subscriptions.len();
            is_behind |= self.tell(leader, place, &mut live_budget, out);
        }
        let cut: Vec<ClientId> = self.over().collect();
        for client in cut {
            self.remove(client);
        }
        self.first = self.first.wrapping_add(1);
        self.is_due = is_behind || !self.ranges.is_empty();
        let is_spent = budget == 0 || live_budget == 0;
        self.is_unfinished = is_spent && (self.is_due || self.has_fetched());
    }

    /// Whether older events have come that nobody has been told.
    fn has_fetched(&self) -> bool {
        self.archive.as_ref().is_some_and(ArchiveLink::has_fetched)
    }

    /// Those that were told that they are over.
    fn over(&self) -> impl Iterator<Item = ClientId> {
        let over = |one: &&Subscription| one.at == StreamPosition::LIVE;
        self.subscriptions.iter().filter(over).map(|one| one.client)
    }

    fn mark(
        &mut self,
        leader: Option<ValidatorIndex>,
        (client, id): (ClientId, u64),
        (state, next): (PublicState, StreamPosition),
        out: &mut impl Outlet,
    ) {
        let mark = PublicMark {
            id,
            state,
            next,
            oldest: self.oldest(),
            tip: self.ring.tip(),
        };
        self.reply.clear();
        encode_public_mark(leader, &mark, &mut self.reply);
        out.send(client, &self.reply);
    }

    fn answer(
        &mut self,
        leader: Option<ValidatorIndex>,
        (client, id, ask): (ClientId, u64, PublicAsk),
        budget: &mut usize,
        out: &mut impl Outlet,
    ) {
        let Some(waiting) = out.waiting(client) else {
            return;
        };
        match ask {
            PublicAsk::Stop => {
                let told = self.places.get(&client);
                let told = told.and_then(|&place| self.subscriptions.get(place));
                let next = told.map_or_else(|| self.ring.tip(), |one| one.told);
                self.remove(client);
                self.mark(leader, (client, id), (PublicState::Stopped, next), out);
            }
            PublicAsk::Subscribe { from } => self.subscribe(leader, (client, id), from, out),
            // Its reader has not taken what it asked for before.
            PublicAsk::Range { .. } if is_full(waiting, out) => {
                self.busy(leader, (client, id), out);
            }
            PublicAsk::Range { from, to } => {
                match self.check(from) {
                    Ok(false) => {}
                    Ok(true) => {
                        let fetch = Fetch {
                            client,
                            id,
                            purpose: Purpose::Range,
                            from,
                            to,
                            bytes_max: RANGE_BYTES,
                        };
                        if !self.fetch(fetch) {
                            self.busy(leader, (client, id), out);
                        }
                        return;
                    }
                    Err(why) => {
                        return self.mark(leader, (client, id), (refused(why), from), out);
                    }
                }
                let (mut at, mut told, end) = (from, 0, self.ring.end(to));
                while at < end && told < RANGE_BYTES {
                    self.frame.begin(leader, id, at);
                    let next = self.ring.write(at, end, &mut self.frame);
                    out.send(client, self.frame.bytes());
                    told += cost(at, next, self.frame.bytes_len());
                    at = next;
                }
                self.written = None;
                *budget = budget.saturating_sub(told);
                self.mark(leader, (client, id), (PublicState::Done, at), out);
            }
        }
    }

    fn busy(
        &mut self,
        leader: Option<ValidatorIndex>,
        (client, id): (ClientId, u64),
        out: &mut impl Outlet,
    ) {
        self.reply.clear();
        encode_busy(leader, id, RETRY_US, &mut self.reply);
        out.send(client, &self.reply);
    }

    fn fetch(&mut self, fetch: Fetch) -> bool {
        let archive = self.archive.as_mut();
        archive.is_some_and(|archive| archive.fetch(fetch))
    }

    /// Tells what was read of older events to whom it was read for.
    fn deliver(
        &mut self,
        leader: Option<ValidatorIndex>,
        (fetch, read): (Fetch, Result<Chunk, Unavailable>),
        budget: &mut usize,
        out: &mut impl Outlet,
    ) {
        let Fetch { client, id, .. } = fetch;
        if out.waiting(client).is_none() {
            return;
        }
        if fetch.purpose == Purpose::Range {
            return match read {
                Ok(chunk) => {
                    let from = (fetch.from, fetch.from);
                    let at = self.tell_chunk(leader, (client, id), from, &chunk, out);
                    *budget = budget.saturating_sub(PIECE_BYTES);
                    self.mark(leader, (client, id), (PublicState::Done, at), out);
                }
                Err(why) => self.mark(leader, (client, id), (refused(why), fetch.from), out),
            };
        }
        let place = self.places.get(&client).copied();
        let Some((place, mut one)) = place.and_then(|place| {
            let one = self.subscriptions.get(place).copied()?;
            // Another one may have taken its place meanwhile.
            (one.id == id && one.is_fetching && one.at == fetch.from).then_some((place, one))
        }) else {
            return;
        };
        one.is_fetching = false;
        match read {
            Ok(chunk) => {
                let from = (one.told, one.at);
                one.at = self.tell_chunk(leader, (client, id), from, &chunk, out);
                one.told = one.at;
                *budget = budget.saturating_sub(PIECE_BYTES);
            }
            Err(why) => {
                self.end(leader, &one, why, out);
                one.at = StreamPosition::LIVE;
            }
        }
        if let Some(place) = self.subscriptions.get_mut(place) {
            *place = one;
        }
        self.is_due = true;
    }

    fn tell_chunk(
        &mut self,
        leader: Option<ValidatorIndex>,
        (client, id): (ClientId, u64),
        (mut told, mut at): (StreamPosition, StreamPosition),
        chunk: &Chunk,
        out: &mut impl Outlet,
    ) -> StreamPosition {
        let mut bytes = 0;
        // A block may be longer than what a reader takes at a time: the rest is read once more.
        while at < chunk.end && bytes < PIECE_BYTES {
            self.frame.begin(leader, id, told);
            at = chunk.write(at, &mut self.frame);
            out.send(client, self.frame.bytes());
            bytes += self.frame.bytes_len();
            told = at;
        }
        self.written = None;
        at
    }

    /// Tells why a subscription is over.
    fn end(
        &mut self,
        leader: Option<ValidatorIndex>,
        one: &Subscription,
        why: Unavailable,
        out: &mut impl Outlet,
    ) {
        let state = match why {
            Unavailable::Gone => PublicState::Cut,
            Unavailable::Nowhere | Unavailable::Ahead => PublicState::Nowhere,
        };
        self.cuts += u64::from(state == PublicState::Cut);
        self.mark(leader, (one.client, one.id), (state, one.told), out);
    }

    fn subscribe(
        &mut self,
        leader: Option<ValidatorIndex>,
        (client, id): (ClientId, u64),
        from: StreamPosition,
        out: &mut impl Outlet,
    ) {
        if let Some(&place) = self.places.get(&client)
            && let Some(&before) = self.subscriptions.get(place)
        {
            self.remove(client);
            let ended = (PublicState::Stopped, before.told);
            self.mark(leader, (client, before.id), ended, out);
        }
        let tip = self.ring.tip();
        let from = if from == StreamPosition::LIVE {
            tip
        } else {
            from
        };
        let last = tip.height.saturating_add(AHEAD_HEIGHTS);
        match self.check(from) {
            Err(Unavailable::Ahead) if from.height <= last => {}
            Err(why) => return self.mark(leader, (client, id), (refused(why), from), out),
            Ok(_) => {}
        }
        self.places.insert(client, self.subscriptions.len());
        self.subscriptions.push(Subscription {
            id,
            client,
            told: from,
            at: from,
            is_fetching: false,
        });
        self.mark(leader, (client, id), (PublicState::Subscribed, from), out);
    }

    /// Tells one subscription what there is room for; true when there is more to tell.
    fn tell(
        &mut self,
        leader: Option<ValidatorIndex>,
        place: usize,
        budget: &mut usize,
        out: &mut impl Outlet,
    ) -> bool {
        let Some(mut one) = self.subscriptions.get(place).copied() else {
            return false;
        };
        let tip = self.ring.tip();
        while one.at < tip {
            let is_archived = match self.check(one.at) {
                Ok(is_archived) => is_archived,
                Err(why) => {
                    self.end(leader, &one, why, out);
                    one.at = StreamPosition::LIVE;
                    break;
                }
            };
            let waiting = out.waiting(one.client);
            if waiting.is_none_or(|waiting| is_full(waiting, out)) {
                break;
            }
            if is_archived {
                one.is_fetching = one.is_fetching || self.fetch(older(&one));
                break;
            }
            if *budget == 0 {
                break;
            }
            let next = self.write(leader, &one);
            let silent = next.height.saturating_sub(one.told.height);
            if !self.frame.is_empty() || silent >= PROGRESS_HEIGHTS {
                out.send(one.client, self.frame.bytes());
                one.told = next;
            }
            *budget = budget.saturating_sub(cost(one.at, next, self.frame.bytes_len()));
            one.at = next;
        }
        let is_behind = one.at < tip;
        if let Some(place) = self.subscriptions.get_mut(place) {
            *place = one;
        }
        is_behind
    }

    /// Fills the frame for a subscription. Readers who are level get the same one.
    fn write(&mut self, leader: Option<ValidatorIndex>, one: &Subscription) -> StreamPosition {
        if let Some((told, at, next)) = self.written
            && (told, at) == (one.told, one.at)
        {
            self.frame.readdress(one.id);
            return next;
        }
        self.frame.begin(leader, one.id, one.told);
        let next = self
            .ring
            .write(one.at, StreamPosition::LIVE, &mut self.frame);
        self.written = Some((one.told, one.at, next));
        next
    }
}

/// What comes next for a subscription that is behind the ring.
const fn older(one: &Subscription) -> Fetch {
    Fetch {
        client: one.client,
        id: one.id,
        purpose: Purpose::Subscription,
        from: one.at,
        to: StreamPosition::LIVE,
        bytes_max: PIECE_BYTES,
    }
}

const fn refused(why: Unavailable) -> PublicState {
    match why {
        Unavailable::Gone => PublicState::Gone,
        Unavailable::Nowhere => PublicState::Nowhere,
        Unavailable::Ahead => PublicState::Ahead,
    }
}

#[cfg(test)]
#[path = "public_tests.rs"]
mod tests;
