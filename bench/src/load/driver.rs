//! Quorate as the target of the open loop: sessions that take commands over the client port and
//! wait for answers.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate::client_wire::Rejection;
use quorate::keys::KeyPair;
use quorate_consensus::payload::Lane;
use quorate_net::{ClientLinks, CloseReason, Limits, LinkHandler, LinkId, NetError};

use super::gate::Place;
use super::key::Chain;
use super::ledger::Counts;
use super::open_loop::{self, LOOK, Progress, Target};
use super::presigned::SigningPlan;
use super::session::{self, Session};
use super::source::{Flow, LoadPlan, Next, Routing, Source};
use super::{Acknowledged, LoadError, Recorded, Trip, Wait};
use crate::histogram::Latencies;
use crate::slack::Precise;

/// Commands that a session signs ahead at most; it signs the rest when they are sent.
const SIGNED_MAX: usize = 131_072;
/// How long the sessions may take to log in.
const LOGIN_SECONDS: u64 = 120;
/// Reading: how much of one validator's answers a turn takes, bytes.
const READ_BYTES_PER_TURN: usize = 1024 * 1024;
/// Size of a link's read buffer, bytes.
const READ_BUFFER_BYTES: usize = 128 * 1024;
/// From this length on a wait is split in two: a thousandth of a wait is what the system may add to
/// it even for a thread whose timers are precise.
const WAIT_SPLIT: Duration = Duration::from_millis(2);

/// What a load came to.
#[derive(Debug)]
pub struct Outcome {
    /// Commands that were intended.
    pub offered: u64,
    /// What happened to them.
    pub counts: Counts,
    /// From the first send to the last result, nanoseconds.
    pub elapsed_ns: u64,
    /// From the accepting validator's receipt to finality there.
    pub finality: Latencies,
    /// From the intended send time to the receipt of the result.
    pub client: Latencies,
    /// Height of the highest block with a result; 0 when there was none.
    pub height: u64,
    /// Gateways lost by all sessions together.
    pub gateways_lost: u64,
    /// Commands that were given a number and came to no result, whether or not a validator took
    /// them; those that were refused for good (`rejected` of the counts) are not among them.
    pub missing: u64,
    /// Of these, the ones that wait with the client and no validator ever took: not sent yet, or
    /// told to come later.
    pub held: u64,
    /// Why commands were refused at admission.
    pub reasons: Vec<Rejection>,
    /// Every result that was told, where the plan wants it; else none.
    pub acknowledged: Vec<Acknowledged>,
    /// The times of every command whose gateway told them, where the plan wants them; else none.
    pub trips: Vec<Trip>,
    /// Commands with a result that have no trip.
    pub untold: u64,
    /// How long every command with a result was waited for, where the plan wants trips.
    pub waits: Vec<Wait>,
    /// The machine's monotonic clock when that of the run began, nanoseconds.
    pub start_ns: u64,
    /// Whether the run was asked to stop before its time.
    pub is_interrupted: bool,
}

/// Everything the handler of the links may touch.
struct World<'a> {
    chain: &'a Chain,
    sessions: Vec<Session>,
    by_link: BTreeMap<LinkId, usize>,
    recorded: Recorded,
    start: Instant,
    leaving: Vec<LinkId>,
    error: Option<LoadError>,
}

impl World<'_> {
    fn ns(&self, at: Instant) -> u64 {
        let since = at.saturating_duration_since(self.start);
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    }

    /// The session that takes a command for which the flow names `session`.
    fn route(&self, plan: &LoadPlan, session: usize, taken: u64) -> usize {
        let (leader, validators) = (self.recorded.leader, self.chain.addresses.len());
        let Some(wanted) = plan.routing.gateway(leader, taken, validators) else {
            return session;
        };
        let clients = plan.clients as usize;
        let others = (0..clients).map(|step| (session + step) % clients.max(1));
        let mut there = others.filter(|other| self.sessions[*other].gateway() == wanted);
        there.next().unwrap_or(session)
    }

    fn counts(&self) -> Counts {
        let mut sum = Counts::default();
        for session in &self.sessions {
            sum.add(&session.counts());
        }
        sum
    }
}

impl LinkHandler for World<'_> {
    fn link_up(&mut self, link: LinkId, _: u16, _: u64) {
        if let Some(session) = self.by_link.get(&link) {
            self.sessions[*session].on_up(link);
        }
    }

    fn link_down(&mut self, link: LinkId, reason: CloseReason) {
        if let Some(session) = self.by_link.remove(&link)
            && self.sessions[session].has_link(link)
        {
            tracing::debug!(session, ?reason, "gateway lost");
            self.sessions[session].on_down(Instant::now(), self.chain);
        }
    }

    fn link_frame(&mut self, link: LinkId, frame: &[u8]) {
        // Of each frame anew: a turn reads on while frames come, and what comes behind its first
        // one was not there when that was.
        let now_ns = self.ns(Instant::now());
        let Some(session) = self.by_link.get(&link) else {
            return;
        };
        let session = &mut self.sessions[*session];
        if !session.has_link(link) {
            return;
        }
        match session.on_frame(frame, now_ns, &mut self.recorded) {
            Ok(session::Next::Stay) => {}
            Ok(session::Next::Leave) => self.leaving.push(link),
            Err(error) => self.error = Some(error),
        }
    }
}

/// Drives the load to its end, or until `stop` is set. `tell` is called about ten times a
/// second.
///
/// `admin` is the session that may halt and resume; without it such commands of a recording go
/// to a session of their own and are refused by the venue.
///
/// # Errors
/// [`LoadError`]. Lost gateways are no error: their sessions go on elsewhere.
pub fn run(
    plan: &LoadPlan,
    chain: &Chain,
    admin: Option<KeyPair>,
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Progress),
) -> Result<Outcome, LoadError> {
    run_from(None, plan, (chain, admin), stop, tell)
}

/// The same beside other loads: its clock begins when they have all logged in and signed what they
/// sign ahead, which takes some of them seconds.
///
/// # Errors
/// As [`run`]. The others begin without a load that fails before.
pub fn run_beside(
    place: Place<'_>,
    plan: &LoadPlan,
    chain: &Chain,
    stop: &AtomicBool,
) -> Result<Outcome, LoadError> {
    run_from(Some(place), plan, (chain, None), stop, &mut |_| ())
}

fn run_from(
    place: Option<Place<'_>>,
    plan: &LoadPlan,
    (chain, admin): (&Chain, Option<KeyPair>),
    stop: &AtomicBool,
    tell: &mut dyn FnMut(&Progress),
) -> Result<Outcome, LoadError> {
    let source = Source::open(plan)?;
    let mut driver = Driver::new(plan, chain, admin)?;
    driver.log_in(stop)?;
    driver.sign_ahead();
    // No thread or process starts from here on that would inherit it.
    let _precise = Precise::begin();
    if let Some(place) = place {
        place.pass(&mut driver, stop)?;
    }
    let offered = open_loop::run(plan, source, &mut driver, stop, tell)?;
    Ok(driver.outcome(offered, stop))
}

/// The machine's monotonic clock at that moment, which all processes share, nanoseconds.
#[must_use]
pub fn machine_ns(at: Instant) -> u64 {
    let now = rustix::time::clock_gettime(rustix::time::ClockId::Monotonic);
    let since = at.elapsed();
    let now = Duration::try_from(now).unwrap_or_default();
    u64::try_from(now.saturating_sub(since).as_nanos()).unwrap_or(u64::MAX)
}

struct Driver<'a> {
    plan: &'a LoadPlan,
    links: ClientLinks,
    world: World<'a>,
    /// When the last turn that had nothing to do was to end, at the latest.
    wake_at: Option<Instant>,
    /// Commands handed to sessions.
    taken: u64,
}

impl<'a> Driver<'a> {
    fn new(
        plan: &'a LoadPlan,
        chain: &'a Chain,
        admin: Option<KeyPair>,
    ) -> Result<Self, LoadError> {
        let mut links = ClientLinks::new(Limits {
            client_read_bytes_per_turn: READ_BYTES_PER_TURN,
            client_read_buffer_bytes: READ_BUFFER_BYTES,
            ..Limits::default()
        })?;
        links.wake_precisely();
        let now = Instant::now();
        let validators = chain.addresses.len().max(1);
        let mut sessions = Vec::with_capacity(plan.clients as usize + 1);
        for client in 0..plan.clients as usize {
            let key = KeyPair::generate().map_err(LoadError::Key)?;
            sessions.push(Session::new(key, chain, client % validators, now));
        }
        let admin = match admin {
            Some(key) => key,
            None => KeyPair::generate().map_err(LoadError::Key)?,
        };
        sessions.push(Session::new(admin, chain, 0, now));
        Ok(Self {
            plan,
            links,
            world: World {
                chain,
                sessions,
                by_link: BTreeMap::new(),
                recorded: Recorded {
                    acknowledged: plan.keeps_acknowledged.then(Vec::new),
                    trips: plan.keeps_trips.then(Vec::new),
                    waits: plan.keeps_trips.then(Vec::new),
                    ..Recorded::default()
                },
                start: now,
                leaving: Vec::new(),
                error: None,
            },
            wake_at: None,
            taken: 0,
        })
    }

    /// Connects every session, before the clock of the run starts.
    fn log_in(&mut self, stop: &AtomicBool) -> Result<(), LoadError> {
        let deadline = Instant::now() + Duration::from_secs(LOGIN_SECONDS);
        loop {
            let now = Instant::now();
            let waiting = self
                .world
                .sessions
                .iter()
                .filter(|session| !session.is_ready())
                .count();
            if waiting == 0 || stop.load(Ordering::Relaxed) {
                return Ok(());
            }
            if now >= deadline {
                let sessions = self.world.sessions.len();
                return Err(LoadError::NoGateway {
                    waiting,
                    sessions,
                    seconds: LOGIN_SECONDS,
                });
            }
            self.turn(now, Some(now + LOOK))?;
        }
    }

    /// Has commands without a meaning signed before the clock begins, by a thread a session. Where
    /// commands follow the leader, any session may come to take all of them.
    fn sign_ahead(&mut self) {
        let (Flow::Opaque { size } | Flow::Cancels { size }) = self.plan.flow else {
            return;
        };
        let lane = match self.plan.flow {
            Flow::Cancels { .. } => Lane::Cancel,
            _ => Lane::Order,
        };
        let sessions = match self.plan.routing {
            Routing::Flow => u64::from(self.plan.clients.max(1)),
            Routing::Leader { .. } => 1,
        };
        let count = self.plan.rate.get().saturating_mul(self.plan.seconds);
        let count = count.div_ceil(sessions);
        let count = usize::try_from(count).map_or(SIGNED_MAX, |count| count.min(SIGNED_MAX));
        let clients = self.plan.clients as usize;
        std::thread::scope(|scope| {
            let sessions = self.world.sessions.iter_mut().take(clients);
            for (place, session) in (0_u64..).zip(sessions) {
                let plan = SigningPlan {
                    seed: self.plan.seed.wrapping_add(place),
                    lane,
                    size,
                    count,
                };
                scope.spawn(move || session.sign_ahead(&plan));
            }
        });
    }

    /// When a turn that wants to wake at `wake` is to wake: what comes meanwhile puts off no wake
    /// that is due earlier, so the loop's batches are as often, however often results come.
    fn wake(&mut self, now: Instant, wake: Instant) -> Instant {
        let earlier = self.wake_at.filter(|at| now < *at && *at <= wake);
        let at = earlier.unwrap_or(wake);
        self.wake_at = Some(at);
        at
    }

    fn outcome(self, offered: u64, stop: &AtomicBool) -> Outcome {
        let counts = self.world.counts();
        let sessions = &self.world.sessions;
        let recorded = self.world.recorded;
        Outcome {
            offered,
            counts,
            elapsed_ns: recorded.last_result_ns,
            finality: recorded.finality,
            client: recorded.client,
            height: recorded.height,
            gateways_lost: sessions.iter().map(|session| session.gateways_lost).sum(),
            missing: sessions.iter().map(|session| session.open() as u64).sum(),
            held: sessions.iter().map(|session| session.held() as u64).sum(),
            reasons: recorded.reasons.into_iter().collect(),
            acknowledged: recorded.acknowledged.unwrap_or_default(),
            trips: recorded.trips.unwrap_or_default(),
            untold: recorded.untold,
            waits: recorded.waits.unwrap_or_default(),
            start_ns: machine_ns(self.world.start),
            is_interrupted: stop.load(Ordering::Relaxed),
        }
    }
}

impl Target for Driver<'_> {
    fn begin(&mut self, start: Instant) {
        self.world.start = start;
    }

    fn take(&mut self, next: &Next<'_>) -> bool {
        let session = self.world.route(self.plan, next.session, self.taken);
        let leader = self.world.recorded.leader.map(usize::from);
        let Some(session) = self.world.sessions.get_mut(session) else {
            return false;
        };
        let has_room = session.has_room(next.body.len());
        if has_room {
            let to_leader = leader == Some(session.gateway());
            session.push(next, to_leader);
            self.taken += 1;
        }
        has_room
    }

    /// One turn: dials, sends, waits until `wake` at the latest, takes in what came.
    fn turn(&mut self, now: Instant, wake: Option<Instant>) -> Result<(), LoadError> {
        let now_ns = self.world.ns(now);
        let mut wake = wake.map_or(now + LOOK, |wake| wake.min(now + LOOK));
        for (index, session) in self.world.sessions.iter_mut().enumerate() {
            match session.dial(now, &mut self.links, self.world.chain) {
                Ok(None) => {}
                Ok(Some(link)) => {
                    self.world.by_link.insert(link, index);
                }
                // A validator that is not there: the session has moved on to the next.
                Err(NetError::Connect { address, source }) => {
                    tracing::debug!(%address, %source, "dial");
                }
                Err(error) => return Err(error.into()),
            }
            session.send(now_ns, &mut self.links);
            if let Some(due) = session.due(now, now_ns) {
                wake = wake.min(due);
            }
        }
        self.links.flush();
        let wake = self.wake(now, wake);
        let wait = first_part(wake.saturating_duration_since(Instant::now()));
        self.links.turn(now, Some(wait), &mut self.world)?;
        for link in self.world.leaving.drain(..) {
            self.links.close(link);
        }
        self.world.error.take().map_or(Ok(()), Err)
    }

    fn counts(&self) -> Counts {
        self.world.counts()
    }

    fn is_answered(&self) -> bool {
        let mut sessions = self.world.sessions.iter();
        sessions.all(Session::is_answered)
    }
}

/// How much of a wait to ask for, so that it ends in time; another turn waits for the rest.
fn first_part(wait: Duration) -> Duration {
    if wait < WAIT_SPLIT {
        wait
    } else {
        wait - wait / 512
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, TcpListener};
    use std::num::NonZeroU64;

    use quorate::client_wire::encode_session;
    use quorate::client_wire::{Outcome as CommandOutcome, ResultItem, ResultsFrame};
    use quorate_consensus::limits::{TURN_WINDOWS_DEFAULT, WINDOW_SLOTS_DEFAULT};
    use quorate_consensus::types::{Epoch, Stake};
    use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
    use quorate_net::ChainIds;
    use std::sync::Arc;

    /// A chain of one validator at this address.
    fn chain(address: String) -> Chain {
        let parameters = SetParameters {
            chain_id: [1; 32],
            genesis_hash: [2; 32],
            epoch: Epoch::ZERO,
            fault: Stake::new(0),
            slack: Stake::new(0),
            window_slots: WINDOW_SLOTS_DEFAULT,
            turn_windows: TURN_WINDOWS_DEFAULT,
            crash_only: true,
            genesis_time_ns: 1,
        };
        let key = KeyPair::from_seed(&[1; 32]).public();
        let members = vec![Validator::new(key, Stake::new(1))];
        Chain {
            ids: ChainIds {
                chain_id: [1; 32],
                genesis_hash: [2; 32],
            },
            set: Arc::new(ValidatorSet::new(parameters, members).unwrap()),
            is_signed: false,
            addresses: vec![vec![address]],
        }
    }

    const fn plan() -> LoadPlan {
        LoadPlan {
            flow: Flow::Opaque { size: 16 },
            rate: NonZeroU64::MIN,
            seconds: 1,
            clients: 1,
            seed: 1,
            keeps_acknowledged: false,
            routing: Routing::Flow,
            keeps_trips: true,
        }
    }

    /// Threads of this process with this name, which those that it starts have too.
    fn threads(name: &str) -> usize {
        let tasks = std::fs::read_dir("/proc/self/task").unwrap();
        // One that has ended meanwhile has none.
        let names = tasks
            .filter_map(|task| std::fs::read_to_string(task.unwrap().path().join("comm")).ok());
        names.filter(|other| other.trim_end() == name).count()
    }

    /// Whether a turn that is to end after a tenth of a millisecond ends in that millisecond.
    fn is_within_a_millisecond(driver: &mut Driver<'_>) -> bool {
        let now = Instant::now();
        let wake = now + Duration::from_micros(100);
        driver.turn(now, Some(wake)).unwrap();
        let ended = Instant::now();
        assert!(ended >= wake, "too early");
        ended < now + Duration::from_millis(1)
    }

    #[test]
    fn a_turn_ends_at_its_time_without_a_thread_that_would_end_it() {
        let load = || {
            let (plan, chain) = (plan(), chain("127.0.0.1:1".to_owned()));
            let mut driver = Driver::new(&plan, &chain, None).unwrap();
            driver.world.sessions.clear();
            let end = Instant::now() + Duration::from_secs(20);
            // Others may have the core, so not every turn is as short; where waits are whole
            // milliseconds only those are that begin too late to wait.
            while (0..32)
                .filter(|_| is_within_a_millisecond(&mut driver))
                .count()
                < 16
            {
                assert!(Instant::now() < end, "most are longer than a millisecond");
            }
            threads("load-alone")
        };
        let alone = std::thread::Builder::new().name("load-alone".to_owned());
        assert_eq!(alone.spawn(load).unwrap().join().unwrap(), 1);
    }

    #[test]
    fn what_comes_meanwhile_puts_off_no_turn_that_was_due() {
        let (plan, chain) = (plan(), chain("127.0.0.1:1".to_owned()));
        let mut driver = Driver::new(&plan, &chain, None).unwrap();
        let start = Instant::now();
        let at = |us| start + Duration::from_micros(us);
        for (now, wanted, wakes) in [
            (0, 250, 250),
            (100, 350, 250),
            (120, 200, 200),
            (200, 450, 450),
            (451, 701, 701),
        ] {
            assert_eq!(driver.wake(at(now), at(wanted)), at(wakes), "at {now}");
        }
    }

    #[test]
    fn a_long_wait_ends_in_time_though_the_system_adds_a_thousandth_to_it() {
        for wait_us in [0, 60, 250, 1_999, 2_000, 10_000, 20_000] {
            let wait = Duration::from_micros(wait_us);
            let asked = first_part(wait);
            if wait < WAIT_SPLIT {
                assert_eq!(asked, wait);
            } else {
                assert!(asked + asked / 1_000 < wait && asked > wait * 99 / 100);
            }
        }
    }

    #[test]
    fn results_that_come_later_in_a_turn_are_told_as_later() {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let chain = chain(listener.local_addr().unwrap().to_string());
        let plan = plan();
        let Driver {
            mut links,
            mut world,
            ..
        } = Driver::new(&plan, &chain, None).unwrap();
        let now = Instant::now();
        let dialed = world.sessions[0].dial(now, &mut links, &chain).unwrap();
        let link = dialed.unwrap();
        world.by_link.insert(link, 0);
        world.link_up(link, 0, 0);
        let mut frame = Vec::new();
        encode_session(None, 0, (7, false), &mut frame);
        world.link_frame(link, &frame);
        let next = Next {
            offset_ns: 0,
            session: 0,
            lane: Lane::Order,
            body: b"x".into(),
        };
        let result = |seq| {
            let mut frame = ResultsFrame::default();
            frame.begin(None, seq, 0);
            let item = ResultItem {
                seq,
                outcome: CommandOutcome::Applied,
                applied: None,
                mark: None,
                finality_ns: 1,
            };
            frame.push(item, std::iter::empty());
            frame.finish().to_vec()
        };
        world.sessions[0].push(&next, false);
        world.sessions[0].push(&next, false);
        // Both in one turn: the links read on between the two.
        world.link_frame(link, &result(8));
        let told = Instant::now();
        while told.elapsed() < Duration::from_millis(1) {
            std::hint::spin_loop();
        }
        world.link_frame(link, &result(9));
        let trips = world.recorded.trips.unwrap();
        assert_eq!(trips.len(), 2);
        let apart_ns = trips[1].result_ns - trips[0].result_ns;
        assert!(apart_ns >= 1_000_000, "{apart_ns}");
    }
}
