//! One member of the mesh: what it reads, counts and sends.
//!
//! Owns its connections. A follower answers each proposal with a vote to everybody and counts
//! everybody's votes, as a validator does; the proposer counts too. Never: waits in any other way
//! than in one poll over all its connections.

use std::collections::VecDeque;
use std::io::{self, Read as _, Write as _};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::FloorError;
use super::frames::Sizes;

/// First byte of a frame; the number of the round follows it.
const PROPOSE: u8 = 1;
const VOTE: u8 = 2;
/// Kind and round.
const HEAD_BYTES: usize = 9;
/// What one read takes at most.
const READ_BYTES: usize = 64 * 1024;
/// A follower that nobody talks to looks this often whether all is over.
const IDLE_MAX: Duration = Duration::from_secs(10);

/// One connection and what came in part.
struct Link {
    stream: TcpStream,
    pending: Vec<u8>,
    is_over: bool,
    /// Nobody reads at the other end: what is sent there stays in the system.
    is_unread: bool,
}

/// All connections of a member.
pub(super) struct Links {
    links: Vec<Link>,
    sizes: Sizes,
    buffer: Vec<u8>,
}

/// The rounds of what came in a turn.
#[derive(Default)]
struct Came {
    proposals: Vec<u64>,
    votes: Vec<u64>,
}

impl Links {
    /// Of the connections the last `silent` ones are unread.
    pub(super) fn new(streams: Vec<TcpStream>, silent: u16, sizes: Sizes) -> Self {
        let speaking = streams.len().saturating_sub(usize::from(silent));
        let links = streams.into_iter().enumerate().map(|(at, stream)| Link {
            stream,
            pending: Vec::new(),
            is_over: false,
            is_unread: at >= speaking,
        });
        Self {
            links: links.collect(),
            sizes,
            buffer: vec![0; READ_BYTES],
        }
    }

    /// Waits until something comes, `wait` at most, and reads all of it.
    fn turn(&mut self, wait: Duration) -> io::Result<Came> {
        let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
        let open = self.links.iter().filter(|link| !link.is_over);
        let mut fds: Vec<PollFd<'_>> = open
            .map(|link| PollFd::new(&link.stream, PollFlags::IN))
            .collect();
        poll(&mut fds, Some(&timeout))?;
        let ready: Vec<bool> = fds.iter().map(|fd| !fd.revents().is_empty()).collect();
        let mut came = Came::default();
        let open = self.links.iter_mut().filter(|link| !link.is_over);
        for (link, _) in open.zip(ready).filter(|(_, is_ready)| *is_ready) {
            link.read(&mut self.buffer, self.sizes, &mut came)?;
        }
        Ok(came)
    }

    fn is_over(&self) -> bool {
        self.links.iter().any(|link| link.is_over)
    }

    /// One frame to everybody; with `gives_way` the first one goes ahead.
    fn send(&mut self, kind: u8, round: u64, bytes: usize, gives_way: bool) -> io::Result<()> {
        let mut frame = vec![0; bytes];
        frame[0] = kind;
        frame[1..HEAD_BYTES].copy_from_slice(&round.to_le_bytes());
        for (place, link) in self.links.iter_mut().enumerate() {
            // The proposer, which counts, is the first one.
            if gives_way && place == 1 {
                std::thread::yield_now();
            }
            match link.stream.write_all(&frame) {
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
    fn read(&mut self, buffer: &mut [u8], sizes: Sizes, came: &mut Came) -> io::Result<()> {
        match self.stream.read(buffer) {
            Ok(0) => self.is_over = true,
            Ok(bytes) => self.pending.extend_from_slice(&buffer[..bytes]),
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            // Whoever ends first resets what is left.
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => self.is_over = true,
            Err(error) => return Err(error),
        }
        let mut at = 0;
        while let Some(&kind) = self.pending.get(at) {
            let (bytes, rounds) = if kind == PROPOSE {
                (sizes.propose, &mut came.proposals)
            } else {
                (sizes.vote, &mut came.votes)
            };
            let Some(frame) = self.pending.get(at..at + bytes) else {
                break;
            };
            let mut round = [0; HEAD_BYTES - 1];
            round.copy_from_slice(&frame[1..HEAD_BYTES]);
            rounds.push(u64::from_le_bytes(round));
            at += bytes;
        }
        self.pending.drain(..at);
        Ok(())
    }
}

/// Votes for everything that is proposed, until a connection ends.
///
/// With `gives_way` the next member's vote for the proposer goes before this one's for others, as
/// with validators that share cores.
pub(super) fn follow(mut links: Links, gives_way: bool) {
    while !links.is_over() {
        let Ok(came) = links.turn(IDLE_MAX) else {
            return;
        };
        for round in came.proposals {
            let bytes = links.sizes.vote;
            if links.send(VOTE, round, bytes, gives_way).is_err() {
                return;
            }
        }
    }
}

/// Proposals whose votes may all be on their way at one time: what stands in a socket is bounded
/// by it, that of a member that is slower than the others included.
const PROPOSALS_OPEN_MAX: u64 = 64;

/// The member that proposes.
pub(super) struct Leader {
    links: Links,
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

impl Leader {
    pub(super) fn new(links: Links, need: u16) -> Self {
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
        let (round, bytes) = (
            self.base + self.votes.len() as u64,
            self.links.sizes.propose,
        );
        self.votes.push_back(0);
        self.outstanding += self.speaking_others;
        Ok(self.links.send(PROPOSE, round, bytes, false)?)
    }

    /// Takes what comes until `until`, one poll; returns how many rounds became final, in order.
    pub(super) fn turn(&mut self, until: Instant) -> Result<u64, FloorError> {
        let wait = until.saturating_duration_since(Instant::now());
        let came = self.links.turn(wait)?;
        if self.links.is_over() {
            return Err(FloorError::Stalled);
        }
        self.outstanding = self.outstanding.saturating_sub(came.votes.len() as u64);
        for round in came.votes {
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
