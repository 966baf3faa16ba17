//! Clients' signatures: on threads of their own, or in pieces on the one thread there is.
//!
//! Owns the workers, their queues and what is in flight with them, and the submissions that wait
//! for a piece of a shared thread's turn. Never: on the way of a vote. A block is checked while it
//! is voted on; only its execution waits, and a submission reaches the pool when all of it is
//! checked. Commands of one client stay in order: one worker has them all.

use super::wire::Caller;
use crate::auth::{BATCH_COMMANDS, BatchCheck, Checked, CommandAuth, KeySource};
use crate::lanes::{CommandVerdict, Rejection, Verdict, commands_of_block};
use crate::profiles::Placement;
use crate::queues::{NetSender, ToNet, ToOrder};
use crate::replica::{Check, check_forwarded};
use crate::state_machine::SessionId;
use crossbeam::channel::{Receiver, Sender, unbounded};
use parking_lot::{Condvar, Mutex};
use quorate_consensus::payload::{CommandView, parse_entries};
use quorate_consensus::types::{BlockId, ValidatorIndex};
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;
use std::thread::JoinHandle;

/// Jobs that are looked at together.
const JOBS_PER_BATCH: usize = 64;
/// Bytes of submissions that may wait on a shared thread.
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// When to try again after that was full.
const RETRY_AFTER_US: u32 = 20_000;
/// Commands of a block that one worker checks in a row.
const STRIDE: usize = 64;

/// What comes of a submission.
#[derive(Debug)]
pub(crate) enum Submission {
    /// All of it may go on to the pool.
    Good(Caller, Box<[u8]>),
    /// Something in it is not signed by the client's key: nothing of it is taken, and the client
    /// is cut off.
    Forged(Caller, Vec<CommandVerdict>),
}

/// Judges a submission whose commands have been checked.
fn judged(from: Caller, entries: Box<[u8]>, bad: Vec<CommandVerdict>) -> Submission {
    if bad.is_empty() {
        Submission::Good(from, entries)
    } else {
        Submission::Forged(from, bad)
    }
}

fn note_bad(bad: &mut Vec<CommandVerdict>, view: &CommandView<'_>, checked: Checked) {
    if checked == Checked::Bad {
        bad.push(CommandVerdict {
            session: SessionId(*view.session),
            seq: view.seq,
            verdict: Verdict::Rejected(Rejection::BadSignature),
        });
    }
}

/// The blocks whose signatures workers are checking.
#[derive(Clone, Debug, Default)]
pub(crate) struct InFlight(Arc<(Mutex<HashMap<BlockId, usize>>, Condvar)>);

impl InFlight {
    fn begin(&self, id: BlockId, parts: usize) {
        *self.0.0.lock().entry(id).or_insert(0) += parts;
    }

    fn end(&self, id: &BlockId) {
        let (parts, ended) = &*self.0;
        let mut parts = parts.lock();
        let left = parts.get_mut(id).map(|left| {
            *left = left.saturating_sub(1);
            *left
        });
        if left == Some(0) {
            parts.remove(id);
            ended.notify_all();
        }
    }

    /// Waits until no worker checks this block; at once when none does.
    pub(crate) fn wait(&self, id: &BlockId) {
        let (parts, ended) = &*self.0;
        let mut parts = parts.lock();
        while parts.contains_key(id) {
            ended.wait(&mut parts);
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
}

impl Drop for BlockPart {
    fn drop(&mut self) {
        self.in_flight.end(&self.id);
    }
}

#[derive(Debug)]
enum Job {
    Submit(Caller, Box<[u8]>),
    Forwarded(ValidatorIndex, Arc<[u8]>),
    Block(BlockPart),
}

/// The way to the workers, for any thread.
#[derive(Clone, Debug)]
pub(crate) struct CheckSender {
    workers: Vec<Sender<Job>>,
    in_flight: InFlight,
}

impl CheckSender {
    /// Hands over a client's commands.
    pub(crate) fn submit(&self, from: Caller, entries: &[u8]) {
        let of = usize::from(u16::from_le_bytes([from.session.0[0], from.session.0[1]]));
        self.send(of, Job::Submit(from, entries.into()));
    }

    /// Hands over what the order stage asks for.
    pub(crate) fn ask(&self, check: Check) {
        match check {
            Check::Forwarded { from, commands } => {
                self.send(usize::from(from.number()), Job::Forwarded(from, commands));
            }
            Check::Block { id, payload } => {
                let parts = self.workers.len();
                self.in_flight.begin(id, parts);
                for part in 0..parts {
                    let (payload, in_flight) = (Arc::clone(&payload), self.in_flight.clone());
                    let part_of = BlockPart {
                        id,
                        payload,
                        part,
                        parts,
                        in_flight,
                    };
                    self.send(part, Job::Block(part_of));
                }
            }
        }
    }

    fn send(&self, of: usize, job: Job) {
        if let Some(worker) = of
            .checked_rem(self.workers.len())
            .and_then(|worker| self.workers.get(worker))
        {
            // Without a worker the job is dropped, which ends what waits for it.
            drop(worker.send(job));
        }
    }

    /// Jobs that wait for the workers.
    pub(crate) fn depth(&self) -> usize {
        self.workers.iter().map(Sender::len).max().unwrap_or(0)
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
            let (sender, jobs) = unbounded();
            let worker = Worker {
                check: auth.batch_check(2 + number as u64),
                auth: Arc::clone(auth),
                order: order.clone(),
                net: net.clone(),
            };
            let core = placement.checker_core(number);
            let thread = std::thread::Builder::new()
                .name(format!("quorate-check-{number}"))
                .spawn(move || worker.run(core, &jobs))?;
            workers.push(sender);
            threads.push(thread);
        }
        let in_flight = InFlight::default();
        Ok((Self { threads }, CheckSender { workers, in_flight }))
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

struct Worker {
    auth: Arc<CommandAuth>,
    check: BatchCheck,
    order: Sender<ToOrder>,
    net: NetSender,
}

impl Worker {
    fn run(mut self, core: Option<usize>, jobs: &Receiver<Job>) {
        super::pin_thread(core);
        while let Ok(first) = jobs.recv() {
            let mut batch = vec![first];
            batch.extend(jobs.try_iter().take(JOBS_PER_BATCH - 1));
            if batch.len() > 1 {
                self.check_together(&batch);
            }
            for job in batch {
                self.do_one(job);
            }
        }
    }

    /// Small jobs make one batch; each then finds its verdicts made.
    fn check_together(&mut self, jobs: &[Job]) {
        let mut items = Vec::new();
        for job in jobs {
            let Job::Submit(from, entries) = job else {
                continue;
            };
            let own = |view: &CommandView<'_>| *view.session == from.session.0;
            let Ok(views) = parse_entries(entries) else {
                continue;
            };
            items.extend(views.filter(own).map(|view| (view, from.key)));
        }
        for batch in items.chunks(BATCH_COMMANDS) {
            // The verdicts are kept where each job will look.
            self.auth.check(batch, &mut self.check);
        }
    }

    fn do_one(&mut self, job: Job) {
        match job {
            Job::Submit(from, entries) => {
                let mut bad = Vec::new();
                let key = KeySource::Connection(from.key);
                let on = |view: &CommandView<'_>, checked| note_bad(&mut bad, view, checked);
                let run = self.auth.check_run(&entries, key, &mut self.check, on);
                if let Err(error) = run {
                    tracing::debug!(%error, "a submission is malformed");
                    return;
                }
                match judged(from, entries, bad) {
                    Submission::Good(from, entries) => {
                        drop(self.order.send(ToOrder::Submit(from, entries)));
                    }
                    Submission::Forged(from, bad) => {
                        self.net.send(ToNet::Forged(from.client, bad));
                    }
                }
            }
            Job::Forwarded(from, commands) => {
                let forward = check_forwarded(&self.auth, &mut self.check, from, &commands);
                drop(self.order.send(ToOrder::Forwarded(forward)));
            }
            Job::Block(part) => {
                // What is malformed is refused at its execution.
                let Ok(commands) = commands_of_block(&part.payload) else {
                    return;
                };
                let mine = commands.enumerate().filter_map(|(place, view)| {
                    (place / STRIDE % part.parts == part.part).then_some(view)
                });
                self.auth
                    .check_part(mine, KeySource::Known, &mut self.check, |_, _| {});
            }
        }
    }
}

/// Submissions on a shared thread, checked in pieces, first come first served.
#[derive(Debug)]
pub(crate) struct Submissions {
    auth: Arc<CommandAuth>,
    check: BatchCheck,
    waiting: VecDeque<(Caller, Box<[u8]>)>,
    bytes: usize,
    /// Commands of the first one that are checked, and those of them that are bad.
    at: usize,
    bad: Vec<CommandVerdict>,
}

impl Submissions {
    pub(crate) fn new(auth: Arc<CommandAuth>) -> Self {
        Self {
            check: auth.batch_check(2),
            auth,
            waiting: VecDeque::new(),
            bytes: 0,
            at: 0,
            bad: Vec::new(),
        }
    }

    /// Whether submissions of this chain are to be checked at all.
    pub(crate) fn is_signed(&self) -> bool {
        self.auth.is_signed()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes a submission in; when there is no room its verdicts come back.
    pub(crate) fn push(&mut self, from: Caller, entries: &[u8]) -> Result<(), Vec<CommandVerdict>> {
        if self.bytes + entries.len() > WAITING_BYTES_MAX {
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
        self.waiting.push_back((from, entries.into()));
        Ok(())
    }

    /// Goes on with the first submission, within `budget`; gives it when it is done.
    pub(crate) fn next(&mut self, budget: &mut usize) -> Option<Submission> {
        let (from, entries) = self.waiting.front()?;
        let mut done = 0;
        if let Ok(views) = parse_entries(entries) {
            let count = views.clone().count();
            let piece = views.skip(self.at).take(*budget);
            let (bad, key) = (&mut self.bad, KeySource::Connection(from.key));
            let on = |view: &CommandView<'_>, checked| {
                done += 1;
                note_bad(bad, view, checked);
            };
            self.auth.check_part(piece, key, &mut self.check, on);
            self.at += done;
            *budget -= done;
            if self.at < count {
                return None;
            }
        }
        self.at = 0;
        let bad = std::mem::take(&mut self.bad);
        let (from, entries) = self.waiting.pop_front()?;
        self.bytes -= entries.len();
        Some(judged(from, entries, bad))
    }
}

#[cfg(test)]
mod tests;
