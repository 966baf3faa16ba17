//! One member of the mesh: what it reads, counts and sends.
//!
//! Owns its connections. A follower answers each proposal with a vote to everybody and counts
//! everybody's votes, as a validator does; the proposer counts too. Never: waits in any other way
//! than in one poll over all its connections, or asks for memory once it is warm.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::FloorError;
use super::frames::Sizes;
use super::patience::{PATIENCE, Patience};

/// First byte of a frame; the number of the round follows it.
const PROPOSE: u8 = 1;
const VOTE: u8 = 2;
/// Kind and round.
const HEAD_BYTES: usize = 9;
/// What one read takes at most.
const READ_BYTES: usize = 64 * 1024;
/// A follower that nobody talks to looks this often whether all is over.
const IDLE_MAX: Duration = Duration::from_secs(10);
/// The proposer, of a follower's connections.
const PROPOSER: usize = 0;

/// What came in part over a connection, and what is known of it.
#[derive(Default)]
struct Link {
    pending: Vec<u8>,
    is_over: bool,
    /// Nobody reads at the other end: what is sent there stays in the system.
    is_unread: bool,
    /// Something has come that was not read yet.
    is_ready: bool,
}

/// All connections of a member.
pub(super) struct Links<'a> {
    streams: &'a [TcpStream],
    links: Vec<Link>,
    /// One for each connection: what is waited for of it.
    fds: Vec<PollFd<'a>>,
    sizes: Sizes,
    buffer: Vec<u8>,
    /// The frame that is sent, of the longer kind.
    frame: Vec<u8>,
    came: Came,
    /// Where members share cores.
    patience: Option<Patience>,
    /// How long a turn looks for what comes soon before it sleeps.
    linger: Duration,
}

/// The rounds of what came in a turn.
#[derive(Default)]
struct Came {
    proposals: Vec<u64>,
    votes: Vec<u64>,
}

impl<'a> Links<'a> {
    /// Of the connections the last `silent` ones are unread. With a patience votes that change
    /// nothing yet are read later; before each sleep a turn looks for as long as `linger`.
    pub(super) fn new(
        streams: &'a [TcpStream],
        silent: u16,
        sizes: Sizes,
        patience: Option<Patience>,
        linger: Duration,
    ) -> Self {
        let speaking = streams.len().saturating_sub(usize::from(silent));
        let link = |at| Link {
            is_unread: at >= speaking,
            ..Link::default()
        };
        let awaited = |stream| PollFd::new(stream, PollFlags::IN);
        Self {
            streams,
            links: (0..streams.len()).map(link).collect(),
            fds: streams.iter().map(awaited).collect(),
            sizes,
            buffer: vec![0; READ_BYTES],
            frame: vec![0; sizes.propose.max(sizes.vote)],
            came: Came::default(),
            patience,
            linger,
        }
    }

    /// Waits until something comes that is a reason to read, until `until` at most, and reads all
    /// that has come.
    fn turn(&mut self, until: Instant) -> io::Result<()> {
        let mut wait = until.saturating_duration_since(Instant::now());
        let mut patient_until = None;
        loop {
            let is_over = self.wait(wait)? == 0;
            if is_over {
                // What the caller waits for besides is no fault of anybody's.
                let in_vain = patient_until.is_some_and(|end| end < until);
                if let Some(patience) = self.patience.as_mut().filter(|_| in_vain) {
                    patience.waited_in_vain();
                }
            }
            if self.note() || is_over {
                break;
            }
            let now = Instant::now();
            let end = *patient_until.get_or_insert(now + PATIENCE);
            wait = end.min(until).saturating_duration_since(now);
        }
        self.read_ready()
    }

    /// Waits for so long at most until something comes; how many connections have something.
    fn wait(&mut self, wait: Duration) -> io::Result<usize> {
        let began = Instant::now();
        while began.elapsed() < self.linger.min(wait) {
            let came = poll(&mut self.fds, Some(&Timespec::default()))?;
            if came > 0 {
                return Ok(came);
            }
            std::thread::yield_now();
        }
        let left = wait.saturating_sub(began.elapsed());
        let timeout = Timespec::try_from(left).map_err(io::Error::other)?;
        Ok(poll(&mut self.fds, Some(&timeout))?)
    }

    /// Notes what has come; whether it is a reason to read.
    fn note(&mut self) -> bool {
        let mut has_reason = false;
        for (place, link) in self.links.iter_mut().enumerate() {
            let events = self.fds[place].revents();
            if events.is_empty() {
                continue;
            }
            let is_more = !link.is_ready;
            link.is_ready = true;
            // What has come is known of now.
            self.fds[place] = PollFd::new(&self.streams[place], PollFlags::empty());
            has_reason |= match &mut self.patience {
                Some(patience) if events == PollFlags::IN => is_more && patience.is_reason(place),
                _ => true,
            };
        }
        has_reason
    }

    fn read_ready(&mut self) -> io::Result<()> {
        self.came.proposals.clear();
        self.came.votes.clear();
        for (place, link) in self.links.iter_mut().enumerate() {
            if !std::mem::take(&mut link.is_ready) {
                continue;
            }
            let stream = &self.streams[place];
            self.fds[place] = PollFd::new(stream, PollFlags::IN);
            link.read(stream, &mut self.buffer)?;
            let last = link.take(self.sizes, &mut self.came);
            if let (Some(round), Some(patience)) = (last, &mut self.patience) {
                patience.note_vote(place, round);
            }
        }
        if let Some(patience) = &mut self.patience {
            patience.end_sleep();
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.links.iter().any(|link| link.is_over)
    }

    /// One frame to everybody; with `gives_way` the first one goes ahead.
    fn send(&mut self, kind: u8, round: u64, gives_way: bool) -> io::Result<()> {
        let bytes = if kind == PROPOSE {
            self.sizes.propose
        } else {
            self.sizes.vote
        };
        let frame = &mut self.frame[..bytes];
        frame[0] = kind;
        frame[1..HEAD_BYTES].copy_from_slice(&round.to_le_bytes());
        // Either is this member's vote for the round.
        if let Some(patience) = &mut self.patience {
            patience.vote(round);
        }
        for (place, link) in self.links.iter_mut().enumerate() {
            // The proposer, which counts, is the first one.
            if gives_way && place == 1 {
                std::thread::yield_now();
            }
            let mut stream = &self.streams[place];
            match stream.write_all(frame) {
                // What does not fit there is missed by nobody: the rest may be cut as it is.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock && link.is_unread => {}
                // A few hundred bytes fit into a socket that is read from, always.
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    return Err(error);
                }
                Err(_) => link.is_over = true,
                Ok(()) => {}
            }
        }
        Ok(())
    }
}

impl Link {
    fn read(&mut self, mut stream: &TcpStream, buffer: &mut [u8]) -> io::Result<()> {
        match stream.read(buffer) {
            Ok(0) => self.is_over = true,
            Ok(bytes) => self.pending.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Whoever ends first resets what is left.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.is_over = true,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Takes the frames that are whole; returns the last round that was voted for in them.
    fn take(&mut self, sizes: Sizes, came: &mut Came) -> Option<u64> {
        let mut last = None;
        let mut at = 0;
        while let Some(&kind) = self.pending.get(at) {
            let bytes = if kind == PROPOSE {
                sizes.propose
            } else {
                sizes.vote
            };
            let Some(frame) = self.pending.get(at..at + bytes) else {
                break;
            };
            let mut round = [0; HEAD_BYTES - 1];
            round.copy_from_slice(&frame[1..HEAD_BYTES]);
            let round = u64::from_le_bytes(round);
            if kind == PROPOSE {
                came.proposals.push(round);
            } else {
                came.votes.push(round);
                last = Some(round);
            }
            at += bytes;
        }
        self.pending.drain(..at);
        last
    }
}

/// Votes for everything that is proposed, until a connection ends.
///
/// With `gives_way` the next member's vote for the proposer goes before this one's for others, as
/// with validators that share cores.
pub(super) fn follow(mut links: Links<'_>, gives_way: bool) {
    while !links.is_over() {
        if links.turn(Instant::now() + IDLE_MAX).is_err() {
            return;
        }
        // Taken out and given back, since it keeps its memory.
        let proposals = std::mem::take(&mut links.came.proposals);
        for round in &proposals {
            if links.send(VOTE, *round, gives_way).is_err() {
                return;
            }
        }
        links.came.proposals = proposals;
    }
}

impl Patience {
    /// That of a follower: of the votes that a round needs it has the proposer's and its own.
    pub(super) fn of_follower(others: usize, need: u16) -> Self {
        Self::new(others, Some(PROPOSER), u64::from(need.saturating_sub(2)))
    }

    /// That of the proposer, whose own vote goes along with each round.
    pub(super) fn of_proposer(others: usize, need: u16) -> Self {
        Self::new(others, None, u64::from(need.saturating_sub(1)))
    }
}

/// Proposals whose votes may all be on their way at one time: what stands in a socket is bounded
/// by it, that of a member that is slower than the others included.
const PROPOSALS_OPEN_MAX: u64 = 64;

/// The member that proposes.
pub(super) struct Leader<'a> {
    links: Links<'a>,
    /// Others that vote.
    speaking_others: u64,
    /// Votes of others that were asked for and have not come.
    outstanding: u64,
    /// Votes of others that a round needs, at least one.
    need_others: u64,
    /// Votes of others for each round from `base` on.
    votes: VecDeque<u64>,
    /// The lowest round that is not final.
    base: u64,
}

impl<'a> Leader<'a> {
    pub(super) fn new(links: Links<'a>, need: u16) -> Self {
        let speaking = links.links.iter().filter(|link| !link.is_unread);
        Self {
            speaking_others: speaking.count() as u64,
            outstanding: 0,
            links,
            need_others: u64::from(need.saturating_sub(1)).max(1),
            votes: VecDeque::new(),
            base: 0,
        }
    }

    /// Whether members keep up, so that another proposal is not one too many.
    pub(super) const fn has_room(&self) -> bool {
        self.outstanding < PROPOSALS_OPEN_MAX * self.speaking_others
    }

    /// Begins a round; its own vote goes along with it.
    pub(super) fn propose(&mut self) -> Result<(), FloorError> {
        let round = self.base + self.votes.len() as u64;
        self.votes.push_back(0);
        self.outstanding += self.speaking_others;
        Ok(self.links.send(PROPOSE, round, false)?)
    }

    /// Takes what comes until `until`, one poll; returns how many rounds became final, in order.
    pub(super) fn turn(&mut self, until: Instant) -> Result<u64, FloorError> {
        self.links.turn(until)?;
        if self.links.is_over() {
            return Err(FloorError::Stalled);
        }
        let votes = &self.links.came.votes;
        self.outstanding = self.outstanding.saturating_sub(votes.len() as u64);
        for &round in votes {
            // Of a round that is final already more votes come.
            let place = round.checked_sub(self.base).map(|place| place as usize);
            if let Some(votes) = place.and_then(|place| self.votes.get_mut(place)) {
                *votes += 1;
            }
        }
        let mut done = 0;
        while self
            .votes
            .front()
            .is_some_and(|&votes| votes >= self.need_others)
        {
            self.votes.pop_front();
            self.base += 1;
            done += 1;
        }
        Ok(done)
    }

    /// Waits until the one open round is final.
    pub(super) fn wait(&mut self, until: Instant) -> Result<(), FloorError> {
        while !self.votes.is_empty() {
            if Instant::now() >= until {
                return Err(FloorError::Stalled);
            }
            self.turn(until)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::super::mesh;
    use super::super::patience::READ_TIMES;
    use super::*;

    const SIZES: Sizes = Sizes {
        propose: 40,
        vote: 20,
    };

    fn far() -> Instant {
        Instant::now() + Duration::from_secs(60)
    }

    #[test]
    fn a_proposer_that_shares_cores_reads_votes_when_they_are_enough() {
        let mesh = mesh(3).unwrap();
        let patience = Patience::of_proposer(2, 3);
        let mut own = Links::new(&mesh[0], 0, SIZES, Some(patience), Duration::ZERO);
        let mut others =
            [1, 2].map(|member| Links::new(&mesh[member], 0, SIZES, None, Duration::ZERO));
        own.send(PROPOSE, 0, false).unwrap();
        for other in &mut others {
            other.turn(far()).unwrap();
            assert_eq!(other.came.proposals, [0]);
        }
        // Who waits until another thing is due has waited for nobody in vain.
        others[0].send(VOTE, 0, false).unwrap();
        own.turn(Instant::now() + PATIENCE / 8).unwrap();
        assert_eq!((own.came.votes.as_slice(), reads(&own)), (&[0][..], 0));
        own.send(PROPOSE, 1, false).unwrap();
        for other in &mut others {
            other.send(VOTE, 1, false).unwrap();
        }
        while own.came.votes != [1, 1] {
            assert!(own.came.votes.len() < 2, "{:?}", own.came.votes);
            own.turn(far()).unwrap();
        }
        assert_eq!(reads(&own), 0);
        // One of two is not enough, and is read when nothing more has come for long.
        own.send(PROPOSE, 2, false).unwrap();
        others[1].send(VOTE, 2, false).unwrap();
        let began = Instant::now();
        own.turn(far()).unwrap();
        assert_eq!(
            (own.came.votes.as_slice(), reads(&own)),
            (&[2][..], READ_TIMES)
        );
        assert!(began.elapsed() >= PATIENCE);
    }

    fn reads(links: &Links<'_>) -> u32 {
        links.patience.as_ref().unwrap().reads
    }
}
