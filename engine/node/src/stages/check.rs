//! Clients' signatures: on threads of their own, or in pieces on the one thread there is.
//!
//! Owns the workers, their queues and what is in flight with them, and the submissions that wait
//! for a piece of a shared thread's turn. Never: between a vote and its leaving. A block is checked
//! while it is voted on; only its execution waits, and a submission reaches the pool when all of it
//! is checked. A worker holds up no vote; a shared thread checks when those of its turn have left,
//! and one that arrives meanwhile waits for the end of the batch. Commands of one client stay in
//! order, but for its cancels, which pass: one worker has them all.

mod in_flight;

pub(crate) use in_flight::InFlight;

use super::wire::Caller;
use crate::auth::{
    Ahead, BATCH_COMMANDS, BatchCheck, Checked, CheckedAhead, CommandAuth, KeySource, Pace,
};
use crate::lanes::{CommandVerdict, Rejection, Verdict, commands_of_block};
use crate::parked::{Bed, Sender};
use crate::profiles::Placement;
use crate::queues::{Counted, ITEM_BYTES, NetSender, StageBytes, Submitted, ToNet, ToOrder};
use crate::replica::{CHECKS_PER_TURN, Check, ForwardQueue, ForwardedRun};
use crate::state_machine::SessionId;
use crossbeam::channel::{Receiver, TryRecvError};
use quorate_consensus::payload::{CommandView, Commands, Lane, parse_entries};
use quorate_consensus::types::BlockId;
use std::collections::VecDeque;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Jobs that are looked at together.
const JOBS_PER_BATCH: usize = 64;
/// Bytes of submissions that may wait on a shared thread.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Of these, those of cancels.
const URGENT_BYTES_MAX: usize = WAITING_BYTES_MAX / 2;
/// When to try again after that was full.
const RETRY_AFTER_US: u32 = 20_000;
/// Commands of a block that one worker checks in a row.
const STRIDE: usize = 64;

/// What comes of a submission.
#[derive(Debug)]
pub(crate) enum Submission {
    /// All of it may go on to the pool; and when its frame came off the socket, by the monotonic
    /// clock.
    Good(Caller, Box<[u8]>, u64),
    /// Something in it is not signed by the client's key: nothing of it is taken, and the client
    /// is cut off.
    Forged(Caller, Vec<CommandVerdict>),
}

/// The commands of a submission that are not signed by the client's key; none when it is no run of
/// entries.
fn bad_of(
    auth: &CommandAuth,
    check: &mut BatchCheck,
    from: &Caller,
    entries: &[u8],
) -> Option<Vec<CommandVerdict>> {
    let mut bad = Vec::new();
    let on = |view: &CommandView<'_>, checked| {
        if checked == Checked::Bad {
            bad.push(CommandVerdict {
                session: SessionId(*view.session),
                seq: view.seq,
                verdict: Verdict::Rejected(Rejection::BadSignature),
            });
        }
    };
    match auth.check_run(entries, KeySource::Connection(from.key), check, on) {
        Ok(()) => Some(bad),
        Err(error) => {
            tracing::debug!(%error, "a submission is malformed");
            None
        }
    }
}

/// One worker's part of a block. However it ends, whoever waits for the block goes on.
#[derive(Debug)]
struct BlockPart {
    id: BlockId,
    payload: Arc<[u8]>,
    part: usize,
    parts: usize,
    in_flight: InFlight,
    /// Counts the payload until the last part is done.
    _counted: Arc<Counted>,
}

impl BlockPart {
    /// Those of the block's commands that are this worker's, with their places.
    fn of_mine<'a>(
        &self,
        commands: Commands<'a>,
    ) -> impl Iterator<Item = (usize, CommandView<'a>)> + use<'a> {
        let (part, parts) = (self.part, self.parts);
        let all = commands.enumerate();
        all.filter(move |(place, _)| place / STRIDE % parts == part)
    }
}

impl Drop for BlockPart {
    fn drop(&mut self) {
        self.in_flight.end(&self.id);
    }
}

#[derive(Debug)]
enum Job {
    Submit(Caller, Submitted),
    Block(BlockPart),
}

/// The way to the workers, for any thread.
#[derive(Clone, Debug)]
pub(crate) struct CheckSender {
    workers: Vec<JobSender>,
    in_flight: InFlight,
    /// Blocks that wait for their signatures.
    bytes: StageBytes,
}

/// One worker's queues: its parts of blocks, which nothing that clients send stands before; what
/// passes the rest; the rest; and what peers forward, which has a bound of its own.
#[derive(Clone, Debug)]
struct JobSender {
    blocks: Sender<Job>,
    urgent: Sender<Job>,
    jobs: Sender<Job>,
    forwarded: Sender<ForwardedRun>,
}

/// Their other ends.
#[derive(Debug)]
struct JobReceiver {
    blocks: Receiver<Job>,
    urgent: Receiver<Job>,
    jobs: Receiver<Job>,
    forwarded: Receiver<ForwardedRun>,
    /// What is sent to any of them wakes it.
    bed: Bed,
}

fn job_queues() -> (JobSender, JobReceiver) {
    let bed = Bed::default();
    let ((blocks, blocks_end), (urgent, urgent_end)) = (bed.unbounded(), bed.unbounded());
    let ((jobs, jobs_end), (forwarded, forwarded_end)) = (bed.unbounded(), bed.unbounded());
    let sender = JobSender {
        blocks,
        urgent,
        jobs,
        forwarded,
    };
    let receiver = JobReceiver {
        blocks: blocks_end,
        urgent: urgent_end,
        jobs: jobs_end,
        forwarded: forwarded_end,
        bed,
    };
    (sender, receiver)
}

impl CheckSender {
    /// Hands over a client's commands.
    pub(crate) fn submit(&self, from: Caller, entries: Submitted) {
        let of = usize::from(u16::from_le_bytes([from.session.0[0], from.session.0[1]]));
        let Some(worker) = self.worker(of) else {
            return;
        };
        let queue = if is_urgent(&entries) {
            &worker.urgent
        } else {
            &worker.jobs
        };
        // Without a worker the commands are dropped.
        drop(queue.send(Job::Submit(from, entries)));
    }

    /// Hands over what the order stage asks for.
    pub(crate) fn ask(&self, check: Check) {
        match check {
            Check::Forwarded(run) => {
                if let Some(worker) = self.worker(run.from.place()) {
                    drop(worker.forwarded.send(run));
                }
            }
            Check::Block { id, payload } => {
                let parts = self.workers.len();
                self.in_flight.begin(id, parts);
                let counted = Arc::new(self.bytes.take(ITEM_BYTES + payload.len()));
                for (part, worker) in self.workers.iter().enumerate() {
                    let (payload, in_flight) = (Arc::clone(&payload), self.in_flight.clone());
                    let part_of = BlockPart {
                        id,
                        payload,
                        part,
                        parts,
                        in_flight,
                        _counted: Arc::clone(&counted),
                    };
                    // Without a worker it is dropped, which ends what waits for it.
                    drop(worker.blocks.send(Job::Block(part_of)));
                }
            }
        }
    }

    fn worker(&self, of: usize) -> Option<&JobSender> {
        let worker = of.checked_rem(self.workers.len())?;
        self.workers.get(worker)
    }

    /// The way to one worker that takes nothing, for as long as its end is kept.
    #[cfg(test)]
    pub(crate) fn to_nobody() -> (Self, impl Sized) {
        let (sender, queues) = job_queues();
        let checks = Self {
            workers: vec![sender],
            in_flight: InFlight::default(),
            bytes: StageBytes::default(),
        };
        (checks, queues)
    }

    /// Jobs that wait for the workers, by their number or their bytes, but for what peers forward.
    pub(crate) fn depth(&self) -> usize {
        let of = |worker: &JobSender| worker.blocks.len() + worker.urgent.len() + worker.jobs.len();
        let most = self.workers.iter().map(of).max().unwrap_or(0);
        most.max(self.bytes.depth())
    }

    /// For whoever must wait for a block.
    pub(crate) const fn in_flight(&self) -> &InFlight {
        &self.in_flight
    }
}

/// The workers' threads; they end when every sender is gone.
#[derive(Debug)]
pub(crate) struct CheckWorkers {
    threads: Vec<JoinHandle<()>>,
}

impl CheckWorkers {
    /// Starts as many workers as the placement gives; none in a chain without signatures.
    ///
    /// # Errors
    /// The system refuses a thread.
    pub(crate) fn start(
        auth: &Arc<CommandAuth>,
        placement: &Placement,
        order: &Sender<ToOrder>,
        net: &NetSender,
    ) -> std::io::Result<(Self, CheckSender)> {
        let count = if auth.is_signed() {
            placement.checkers()
        } else {
            0
        };
        let (mut workers, mut threads) = (Vec::new(), Vec::new());
        for number in 0..count {
            let (sender, queues) = job_queues();
            let check = auth.batch_check(2 + number as u64);
            let worker = Worker::new(Arc::clone(auth), check, queues, order.clone(), net.clone());
            let core = placement.checker_core(number);
            let thread = std::thread::Builder::new()
                .name(format!("quorate-check-{number}"))
                .spawn(move || worker.run(core))?;
            workers.push(sender);
            threads.push(thread);
        }
        let sender = CheckSender {
            workers,
            in_flight: InFlight::default(),
            bytes: StageBytes::default(),
        };
        Ok((Self { threads }, sender))
    }

    /// Waits for their end.
    pub(crate) fn join(self) {
        for thread in self.threads {
            if thread.join().is_err() {
                tracing::error!("a thread that checks signatures panicked");
            }
        }
    }
}

/// One worker. Blocks are looked at between any two batches, which are bounded: nothing that a
/// client or a peer sends holds up a block for more than the batch that is being checked. Execution
/// waits for it, and with it every result. Cancels have every other batch at least, and never all
/// of them: some come at any time.
struct Worker {
    auth: Arc<CommandAuth>,
    check: BatchCheck,
    queues: JobReceiver,
    order: Sender<ToOrder>,
    net: NetSender,
    /// Taken out of their queues to be looked at together: cancels, and the rest.
    urgent: VecDeque<Job>,
    jobs: VecDeque<Job>,
    forwards: ForwardQueue,
    /// Clients had the last batch, so peers have the next.
    is_peers_turn: bool,
}

impl Worker {
    fn new(
        auth: Arc<CommandAuth>,
        check: BatchCheck,
        queues: JobReceiver,
        order: Sender<ToOrder>,
        net: NetSender,
    ) -> Self {
        Self {
            auth,
            check,
            queues,
            order,
            net,
            urgent: VecDeque::new(),
            jobs: VecDeque::new(),
            forwards: ForwardQueue::default(),
            is_peers_turn: false,
        }
    }

    fn run(mut self, core: Option<usize>) {
        super::pin_thread(core);
        while self.turn() || self.wait() {}
    }

    /// Waits until there is something; `false` when nothing comes any more.
    fn wait(&mut self) -> bool {
        match self.queues.blocks.try_recv() {
            Ok(job) => drop(self.do_batch(VecDeque::from([job]))),
            // All have one owner: when one has ended, so have the others, but for what is in them.
            Err(TryRecvError::Disconnected) => return self.turn(),
            Err(TryRecvError::Empty) => self.queues.bed.sleep(),
        }
        true
    }

    /// Does the parts of blocks that wait, or else one batch of cancels and then one of what else
    /// waits; `false` when nothing does.
    fn turn(&mut self) -> bool {
        if self.do_blocks() {
            return true;
        }
        let has_urgent = self.do_urgent();
        if has_urgent {
            self.do_blocks();
        }
        self.do_others() || has_urgent
    }

    /// One batch of what peers have forwarded or of clients' submissions, in turn; `false` when
    /// nothing waits.
    fn do_others(&mut self) -> bool {
        take_first(&self.queues.jobs, &mut self.jobs);
        for run in self.queues.forwarded.try_iter() {
            self.forwards.push(run);
        }
        self.is_peers_turn = match (self.jobs.is_empty(), self.forwards.is_empty()) {
            (true, true) => return self.hand_on(),
            (false, true) => false,
            (true, false) => true,
            (false, false) => !self.is_peers_turn,
        };
        if self.is_peers_turn {
            self.check_forwards();
        } else {
            let jobs = std::mem::take(&mut self.jobs);
            self.jobs = self.do_batch(jobs);
        }
        true
    }

    /// The parts of blocks that wait; whether there were any.
    fn do_blocks(&mut self) -> bool {
        let mut parts = VecDeque::new();
        take_first(&self.queues.blocks, &mut parts);
        let has_any = !parts.is_empty();
        while !parts.is_empty() {
            parts = self.do_batch(parts);
        }
        has_any
    }

    /// One batch of cancels, which do not wait for the rest's; whether there were any.
    fn do_urgent(&mut self) -> bool {
        take_first(&self.queues.urgent, &mut self.urgent);
        if self.urgent.is_empty() {
            return false;
        }
        let cancels = std::mem::take(&mut self.urgent);
        self.urgent = self.do_batch(cancels);
        true
    }

    /// The first of these that make one batch: nothing is held up for more than a batch that others
    /// are in. Gives those behind them.
    fn do_batch(&mut self, mut jobs: VecDeque<Job>) -> VecDeque<Job> {
        let done = self.check_together(jobs.make_contiguous()).max(1);
        for job in jobs.drain(..done.min(jobs.len())) {
            self.do_one(job);
        }
        jobs
    }

    /// One batch of what peers have forwarded.
    fn check_forwards(&mut self) {
        let mut ahead = Ahead::new(&self.auth, BATCH_COMMANDS);
        let steps = self.forwards.walk(&mut ahead, BATCH_COMMANDS);
        let checked = ahead.check(&mut self.check);
        let (auth, check) = (&self.auth, &mut self.check);
        self.forwards.note(&steps, checked, auth, check);
        self.hand_on();
    }

    /// Hands on the runs that are checked; whether there were any.
    fn hand_on(&mut self) -> bool {
        let mut has_any = false;
        while let Some(forward) = self.forwards.next() {
            drop(self.order.send(ToOrder::Forwarded(forward)));
            has_any = true;
        }
        has_any
    }

    /// The first of these jobs make one batch, and find their verdicts made; says how many. None
    /// when the first one is more than a batch, and what is left of it is checked with it.
    fn check_together(&mut self, jobs: &[Job]) -> usize {
        let mut ahead = Ahead::new(&self.auth, BATCH_COMMANDS);
        let mut done = 0;
        for job in jobs {
            // What is malformed is found so again by whoever is to use it.
            let has_more = match job {
                Job::Submit(from, entries) => parse_entries(entries).is_ok_and(|views| {
                    let source = KeySource::Connection(from.key);
                    ahead.walk(views.clone(), source).count < views.count()
                }),
                Job::Block(part) => commands_of_block(&part.payload).is_ok_and(|views| {
                    let walked = ahead.walk_block(&part.id, part.of_mine(views.clone()));
                    walked.count < part.of_mine(views).count()
                }),
            };
            if has_more {
                break;
            }
            done += 1;
        }
        // The verdicts are kept where each job will look.
        ahead.check(&mut self.check);
        done
    }

    fn do_one(&mut self, job: Job) {
        match job {
            Job::Submit(from, entries) => {
                let Some(bad) = bad_of(&self.auth, &mut self.check, &from, &entries) else {
                    return;
                };
                if bad.is_empty() {
                    drop(self.order.send(ToOrder::Submit(from, entries)));
                } else {
                    self.net.send(ToNet::Forged(from.client, bad));
                }
            }
            Job::Block(part) => {
                // What is malformed is refused at its execution.
                let Ok(commands) = commands_of_block(&part.payload) else {
                    return;
                };
                let mut at = 0;
                // More than a batch may be left of it.
                loop {
                    let mut ahead = Ahead::new(&self.auth, BATCH_COMMANDS);
                    let left = part.of_mine(commands.clone()).skip(at);
                    at += ahead.walk_block(&part.id, left).count;
                    let is_done = !ahead.is_full();
                    ahead.check(&mut self.check);
                    if is_done {
                        break;
                    }
                }
            }
        }
    }
}

/// Takes the next jobs to those that are looked at together, as far as there is room.
fn take_first(queue: &Receiver<Job>, jobs: &mut VecDeque<Job>) {
    let room = JOBS_PER_BATCH.saturating_sub(jobs.len());
    jobs.extend(queue.try_iter().take(room));
}

/// Whether a submission is cancels alone, which pass what else waits to be checked.
fn is_urgent(entries: &[u8]) -> bool {
    parse_entries(entries).is_ok_and(|mut views| views.all(|view| view.lane == Lane::Cancel))
}

/// Submissions on a shared thread, checked in pieces: cancels, then the rest, first come first
/// served. Cancels have every other batch at least, and never all of them, nor all the room: some
/// come at any time.
#[derive(Debug)]
pub(crate) struct Submissions {
    auth: Arc<CommandAuth>,
    check: BatchCheck,
    waiting: VecDeque<Waiting>,
    /// Of cancels alone.
    urgent: VecDeque<Waiting>,
    bytes: usize,
    /// Of these, those of cancels.
    urgent_bytes: usize,
    /// Cancels filled the last batch, so the rest is first in the next.
    is_others_turn: bool,
    pace: Pace,
}

/// A submission of which the first `at` commands are checked.
#[derive(Debug)]
struct Waiting {
    from: Caller,
    entries: Box<[u8]>,
    /// When its frame came off the socket, by the monotonic clock.
    received_ns: u64,
    at: usize,
    is_done: bool,
    /// One of them is not signed by the client, as far as was looked; or something else in its
    /// batch.
    is_bad: bool,
}

impl Submissions {
    pub(crate) fn new(auth: Arc<CommandAuth>) -> Self {
        Self {
            check: auth.batch_check(2),
            auth,
            waiting: VecDeque::new(),
            urgent: VecDeque::new(),
            bytes: 0,
            urgent_bytes: 0,
            is_others_turn: false,
            pace: Pace::default(),
        }
    }

    /// Whether submissions of this chain are to be checked at all.
    pub(crate) fn is_signed(&self) -> bool {
        self.auth.is_signed()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty() && self.urgent.is_empty()
    }

    /// Orders would find no room: after how many microseconds they may come again. They leave the
    /// last eighth to others.
    pub(crate) const fn orders_hold_us(&self) -> Option<u32> {
        self.hold_beyond(WAITING_BYTES_MAX - WAITING_BYTES_MAX / 8)
    }

    /// The same for prices and administration, which leave half of that to cancels.
    pub(crate) const fn urgent_hold_us(&self) -> Option<u32> {
        self.hold_beyond(WAITING_BYTES_MAX - WAITING_BYTES_MAX / 16)
    }

    const fn hold_beyond(&self, bytes: usize) -> Option<u32> {
        if self.bytes < bytes {
            None
        } else {
            Some(RETRY_AFTER_US)
        }
    }

    /// Takes a submission in that came off its socket then; when there is no room its verdicts come
    /// back.
    pub(crate) fn push(
        &mut self,
        received_ns: u64,
        from: Caller,
        entries: &[u8],
    ) -> Result<(), Vec<CommandVerdict>> {
        let is_urgent = is_urgent(entries);
        let has_room = self.bytes + entries.len() <= WAITING_BYTES_MAX
            && (!is_urgent || self.urgent_bytes + entries.len() <= URGENT_BYTES_MAX);
        if !has_room {
            let busy = |view: CommandView<'_>| CommandVerdict {
                session: SessionId(*view.session),
                seq: view.seq,
                verdict: Verdict::Busy {
                    retry_after_us: RETRY_AFTER_US,
                },
            };
            let views = parse_entries(entries).map(|views| views.map(busy).collect());
            return Err(views.unwrap_or_default());
        }
        self.bytes += entries.len();
        let queue = if is_urgent {
            self.urgent_bytes += entries.len();
            &mut self.urgent
        } else {
            &mut self.waiting
        };
        queue.push_back(Waiting {
            from,
            entries: entries.into(),
            received_ns,
            at: 0,
            is_done: false,
            is_bad: false,
        });
        Ok(())
    }

    /// When the next turn is due at latest, by the monotonic clock.
    pub(crate) fn deadline_ns(&self) -> u64 {
        if self.is_empty() {
            return u64::MAX;
        }
        self.pace.deadline_ns(self.bytes)
    }

    /// Checks the next batch if it is time for it.
    pub(crate) fn turn(&mut self, now_ns: u64) {
        if self.pace.is_due(now_ns, self.bytes) {
            let checked = self.go_on(CHECKS_PER_TURN);
            let ended_ns = now_ns.saturating_add(checked.took_ns);
            self.pace.note(ended_ns, checked);
        }
    }

    /// Checks the next `commands_max` commands that nobody has checked, in one batch; says what
    /// came of it.
    fn go_on(&mut self, commands_max: usize) -> CheckedAhead {
        let mut ahead = Ahead::new(&self.auth, commands_max);
        let mut places = Vec::new();
        let are_others_first = std::mem::take(&mut self.is_others_turn);
        let has_urgent = !self.urgent.is_empty();
        let (first, second) = match are_others_first {
            true => (&mut self.waiting, &mut self.urgent),
            false => (&mut self.urgent, &mut self.waiting),
        };
        for waiting in first.iter().chain(&*second) {
            if ahead.is_full() {
                break;
            }
            // What is malformed is refused by the pool.
            let Ok(views) = parse_entries(&waiting.entries) else {
                places.push((0, true, true));
                continue;
            };
            let source = KeySource::Connection(waiting.from.key);
            let walked = ahead.walk(views.skip(waiting.at), source);
            places.push((walked.count, !ahead.is_full(), walked.is_bad));
        }
        self.is_others_turn = has_urgent && !are_others_first && ahead.is_full();
        let checked = ahead.check(&mut self.check);
        let all = first.iter_mut().chain(second);
        for (waiting, (walked, is_done, is_bad)) in all.zip(places) {
            waiting.at += walked;
            waiting.is_done = is_done;
            waiting.is_bad |= is_bad || !checked.is_good;
        }
        checked
    }

    /// The next submission of which all is checked.
    pub(crate) fn next(&mut self) -> Option<Submission> {
        let urgent = self.urgent.pop_front_if(|waiting| waiting.is_done);
        if let Some(cancels) = &urgent {
            self.urgent_bytes -= cancels.entries.len();
        }
        let waiting = match urgent {
            Some(cancels) => cancels,
            None => self.waiting.pop_front_if(|waiting| waiting.is_done)?,
        };
        let Waiting { from, entries, .. } = waiting;
        self.bytes -= entries.len();
        if waiting.is_bad {
            // Which one it is: each finds its verdict made. What is malformed is refused by the
            // pool.
            let bad = bad_of(&self.auth, &mut self.check, &from, &entries).unwrap_or_default();
            if !bad.is_empty() {
                return Some(Submission::Forged(from, bad));
            }
        }
        Some(Submission::Good(from, entries, waiting.received_ns))
    }
}

#[cfg(test)]
mod tests;
