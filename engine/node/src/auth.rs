//! Whose a command is: the chain's rule, and what this validator has found out about signatures.
//!
//! Owns the check of commands' signatures (ZIP-215, in batches), the memory of its verdicts, and
//! the keys of sessions as far as a check before execution needs them. Never: decides what follows
//! from a verdict; admission, pool and executor do.
//!
//! A verdict is a function of the key and the entry's bytes alone, so it does not matter who asks
//! first. Workers ask while a block is being voted on, the executor asks before it applies, and
//! what was checked once is looked up. What the memory has lost is checked again, with the same
//! answer: the memory saves work and decides nothing.

mod abscissas;
mod ahead;
mod messages;
mod names;
mod pace;
mod recent;
mod seed;

use std::sync::Arc;

use parking_lot::Mutex;
use quorate_consensus::payload::{CommandView, PayloadError, parse_entries, session_of_key};
use quorate_consensus::types::BlockId;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::{Abscissa, SignatureCheck, SignatureItem};

use crate::genesis::{Auth, Genesis};
use crate::lanes::{command_count, commands_of_checked};
use crate::state_machine::{SessionId, SessionMap};
use abscissas::Abscissas;
pub(crate) use ahead::{Ahead, CheckedAhead, Walked};
use messages::ChainNames;
pub use messages::CommandMessages;
use names::{Name, Names, SECRET_BYTES};
pub(crate) use pace::Pace;
use recent::Recent;
pub use seed::{BatchCheck, BatchSeed};

/// Verdicts kept in each of two generations; the last 65,536 at least are known.
const VERDICTS_MAX: usize = 65_536;
/// Keys of sessions that are not open yet, kept in each of two generations.
const ANNOUNCED_MAX: usize = 16_384;
/// Blocks kept in each of two generations: those between a proposal and its execution.
const BLOCKS_MAX: usize = 128;
/// Commands of such a block at most; with more, each is looked up by itself.
const BLOCK_COMMANDS_MAX: usize = 4_096;
/// Signatures of one batch at most: a larger one gains nothing more.
pub(crate) const BATCH_COMMANDS: usize = 256;

/// What is found out about commands' signatures. Shared between the threads that ask; none of
/// them is on the way of a vote, and what a vote's thread tells others and is told it leaves where
/// it would have to wait.
#[derive(Debug)]
pub struct CommandAuth {
    messages: CommandMessages,
    /// None when the chain's commands are not signed.
    seed: Option<BatchSeed>,
    stopwatch: Option<Stopwatch>,
    found: Arc<Found>,
    /// None where only verdicts are asked for.
    keys: Option<Mutex<Keys>>,
}

/// What was found out. It is as true for one state as for any other.
#[derive(Debug)]
struct Found {
    // Looked up, never walked.
    verdicts: Mutex<Recent<Name, bool>>,
    /// Blocks of which every command is signed, with the keys.
    blocks: Mutex<Recent<BlockId, Arc<[[u8; 32]]>>>,
    abscissas: Abscissas,
    /// Of a chain without signatures nothing is named.
    names: Names,
}

/// Reads a monotonic clock, nanoseconds.
pub type Stopwatch = fn() -> u64;

/// Keys by the names of their sessions.
#[derive(Debug)]
struct Keys {
    /// Of the sessions in the replicated table. Bound: `sessions_max`.
    open: SessionMap<[u8; 32]>,
    /// Of sessions whose opening command was seen with a good signature.
    announced: Recent<SessionId, [u8; 32]>,
}

/// Under which key a command is checked.
#[derive(Clone, Copy, Debug)]
pub enum KeySource {
    /// The key with which a client has logged in. Commands of other sessions are left to the pool,
    /// which refuses them.
    Connection([u8; 32]),
    /// What an opening command brings, or what is known of its session.
    Known,
}

/// What came of one command of [`CommandAuth::check_run`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Checked {
    /// Its signature is good.
    Good,
    /// It has none, or one that is not good.
    Bad,
    /// The key is not known, or not asked for: nothing was checked.
    Unknown,
}

impl CommandAuth {
    /// Of a chain with `auth = "session"`: nothing is checked.
    #[must_use]
    pub fn session() -> Self {
        Self::new(CommandMessages::session(), None)
    }

    /// Of a chain with `auth = "signed"`.
    #[must_use]
    pub fn signed(set: &ValidatorSet, seed: BatchSeed) -> Self {
        Self::new(CommandMessages::signed(set), Some(seed))
    }

    /// As the genesis of a chain has it, with randomness of the system.
    ///
    /// # Errors
    /// The system gives none.
    pub fn of(genesis: &Genesis) -> std::io::Result<Self> {
        Ok(match genesis.file().auth {
            Auth::Session => Self::session(),
            Auth::Signed => Self::signed(genesis.validator_set(), BatchSeed::from_system()?),
        })
    }

    /// Measures with `stopwatch` what batches take, which decides how large the next ones become.
    /// Without one each signature is taken to cost the same.
    #[must_use]
    pub const fn timed_by(mut self, stopwatch: Stopwatch) -> Self {
        self.stopwatch = Some(stopwatch);
        self
    }

    fn stopwatch_ns(&self) -> Option<u64> {
        self.stopwatch.map(|stopwatch| stopwatch())
    }

    fn new(messages: CommandMessages, seed: Option<BatchSeed>) -> Self {
        let secret = seed
            .as_ref()
            .map_or([0; SECRET_BYTES], BatchSeed::name_secret);
        Self {
            messages,
            seed,
            stopwatch: None,
            found: Arc::new(Found {
                verdicts: Mutex::new(Recent::new(VERDICTS_MAX)),
                blocks: Mutex::new(Recent::new(BLOCKS_MAX)),
                abscissas: Abscissas::default(),
                names: Names::new(&secret),
            }),
            keys: Some(Mutex::new(Keys {
                open: SessionMap::default(),
                announced: Recent::new(ANNOUNCED_MAX),
            })),
        }
    }

    /// The same chain with the same verdicts, and no sessions: for another executor, whose table
    /// stands at another height. What is open there must not be noted where the first one's is.
    #[must_use]
    pub fn verdicts_alone(&self) -> Self {
        Self {
            messages: self.messages.clone(),
            seed: self.seed.clone(),
            stopwatch: self.stopwatch,
            found: Arc::clone(&self.found),
            keys: None,
        }
    }

    /// Whether every command of this chain carries its client's signature.
    #[must_use]
    pub const fn is_signed(&self) -> bool {
        self.messages.is_signed()
    }

    /// A check for one thread; `stream` tells the threads' randomness apart.
    #[must_use]
    pub fn batch_check(&self, stream: u64) -> BatchCheck {
        let seed = self.seed.as_ref();
        seed.map_or_else(BatchCheck::refusing, |seed| seed.check(stream))
    }

    /// Whether each command is signed by the key beside it; in a chain without signatures all
    /// are good.
    pub fn check(
        &self,
        commands: &[(CommandView<'_>, [u8; 32])],
        check: &mut impl SignatureCheck,
    ) -> Vec<bool> {
        if !self.is_signed() {
            return vec![true; commands.len()];
        }
        let names: Vec<Name> = commands
            .iter()
            .map(|(view, key)| self.found.names.of(key, view.entry))
            .collect();
        let mut verdicts = self.verdicts(&names);
        let unknown: Vec<usize> = (0..commands.len())
            .filter(|&place| verdicts[place].is_none())
            .collect();
        let found = self.check_named(commands, &names, &[], &unknown, check);
        for (&place, is_good) in unknown.iter().zip(found) {
            verdicts[place] = Some(is_good);
        }
        let verdicts: Vec<bool> = verdicts
            .into_iter()
            .map(|verdict| verdict == Some(true))
            .collect();
        self.announce(commands, &verdicts);
        verdicts
    }

    /// Checks those at `places`, which nobody has checked, under the names of their verdicts, with
    /// what was `told` of them, if anything was; one answer each, in order.
    fn check_named(
        &self,
        commands: &[(CommandView<'_>, [u8; 32])],
        names: &[Name],
        told: &[Option<Abscissa>],
        places: &[usize],
        check: &mut impl SignatureCheck,
    ) -> Vec<bool> {
        let Some(chain) = self.messages.chain() else {
            return vec![true; places.len()];
        };
        let mut verdicts = Vec::with_capacity(places.len());
        for batch in places.chunks(BATCH_COMMANDS) {
            let abscissas = &self.found.abscissas;
            let answers = chain.check_batch(commands, told, batch, abscissas, check);
            let mut known = self.found.verdicts.lock();
            for (&place, &is_good) in batch.iter().zip(&answers) {
                known.insert(names[place], is_good);
            }
            verdicts.extend(answers);
        }
        verdicts
    }

    /// The verdicts of these names, as far as there are any. Looked up together, they do not wait
    /// for each other's memory.
    fn verdicts(&self, names: &[Name]) -> Vec<Option<bool>> {
        if !self.is_signed() {
            return vec![Some(true); names.len()];
        }
        let known = self.found.verdicts.lock();
        names.iter().map(|name| known.get(name).copied()).collect()
    }

    /// Notes that each command of a block is signed by the key at its place in `keys`.
    pub(crate) fn note_block(&self, id: BlockId, keys: Vec<[u8; 32]>) {
        if keys.len() <= BLOCK_COMMANDS_MAX {
            self.found.blocks.lock().insert(id, keys.into());
        }
    }

    /// The keys by which all commands of a block are signed, in order, if all have been found to
    /// be. Whoever takes one of them for signed compares its key with the one it goes by.
    pub(crate) fn block_keys(&self, id: &BlockId) -> Option<Arc<[[u8; 32]]>> {
        self.found.blocks.lock().get(id).cloned()
    }

    /// What is known of the signatures in a payload that was checked, which makes theirs cheaper
    /// for those who have to check them as well; none when that is nothing.
    pub(crate) fn tell_abscissas(&self, payload: &[u8]) -> Option<Vec<u8>> {
        self.found.abscissas.tell(commands_of_checked(payload))
    }

    /// Notes what somebody says of that, which need not be true, about a block whose payload was
    /// checked. It is as long as the payload has commands, or not looked at, nor is nothing at all.
    pub(crate) fn note_told(&self, id: BlockId, payload: &[u8], told: &[u8]) {
        let count = command_count(payload);
        if count > 0 && told.len() == count * size_of::<Abscissa>() {
            self.found.abscissas.note_told(id, told);
        }
    }

    /// Signatures of which the point R had to be decoded: nobody had said its abscissa by the time
    /// that their block was checked, or something wrong.
    #[must_use]
    pub fn decoded(&self) -> u64 {
        self.found.abscissas.decoded()
    }

    /// Good opening commands make their keys known to the checks of what follows them.
    fn announce(&self, commands: &[(CommandView<'_>, [u8; 32])], verdicts: &[bool]) {
        let Some(keys) = &self.keys else {
            return;
        };
        let good = commands.iter().zip(verdicts).filter(|(_, good)| **good);
        let mut opening = good.filter(|((view, _), _)| view.is_open()).peekable();
        if opening.peek().is_some() {
            let mut keys = keys.lock();
            for ((view, key), _) in opening {
                keys.announced.insert(SessionId(*view.session), *key);
            }
        }
    }

    /// Checks `commands`, a part of a run of entries; `on` is told of each, in order.
    pub(crate) fn check_part<'a>(
        &self,
        commands: impl Iterator<Item = CommandView<'a>>,
        source: KeySource,
        check: &mut impl SignatureCheck,
        mut on: impl FnMut(&CommandView<'a>, Checked),
    ) {
        let mut commands = commands.peekable();
        while commands.peek().is_some() {
            let mut batch = Vec::with_capacity(BATCH_COMMANDS);
            let mut places = Vec::with_capacity(BATCH_COMMANDS);
            let mut opening = SessionMap::default();
            for view in commands.by_ref().take(BATCH_COMMANDS) {
                let key = self.key_for(&view, source, &mut opening);
                places.push((view, key.is_some()));
                batch.extend(key.map(|key| (view, key)));
            }
            let mut verdicts = self.check(&batch, check).into_iter();
            for (view, is_checked) in places {
                let checked = match is_checked.then(|| verdicts.next()) {
                    None => Checked::Unknown,
                    Some(Some(true)) => Checked::Good,
                    Some(_) => Checked::Bad,
                };
                on(&view, checked);
            }
        }
    }

    /// Checks a whole run of entries.
    ///
    /// # Errors
    /// When the bytes are no run of entries.
    pub fn check_run(
        &self,
        entries: &[u8],
        source: KeySource,
        check: &mut impl SignatureCheck,
        on: impl FnMut(&CommandView<'_>, Checked),
    ) -> Result<(), PayloadError> {
        self.check_part(parse_entries(entries)?, source, check, on);
        Ok(())
    }

    /// `opening` collects the keys that come in the same batch.
    fn key_for(
        &self,
        view: &CommandView<'_>,
        source: KeySource,
        opening: &mut SessionMap<[u8; 32]>,
    ) -> Option<[u8; 32]> {
        let session = SessionId(*view.session);
        match source {
            KeySource::Connection(key) => (session_of_key(&key) == session.0).then_some(key),
            KeySource::Known => {
                if let Some(key) = view.opening_key() {
                    opening.entry(session).or_insert(*key);
                    return Some(*key);
                }
                let known = opening.get(&session).copied();
                known.or_else(|| self.key_of(&session))
            }
        }
    }

    /// The key of a session that is open or about to be.
    #[must_use]
    pub fn key_of(&self, session: &SessionId) -> Option<[u8; 32]> {
        let keys = self.keys.as_ref()?.lock();
        let key = keys.open.get(session);
        key.or_else(|| keys.announced.get(session)).copied()
    }

    /// The replicated table has this session.
    pub(crate) fn note_open(&self, session: SessionId, key: [u8; 32]) {
        if let Some(keys) = self.keys.as_ref().filter(|_| self.is_signed()) {
            keys.lock().open.insert(session, key);
        }
    }

    /// The replicated table does not have this session any more.
    pub(crate) fn note_ended(&self, session: &SessionId) {
        if let Some(keys) = &self.keys {
            keys.lock().open.remove(session);
        }
    }

    /// Notes that this process itself has just made the signature of an entry.
    pub(crate) fn note_own(&self, key: &[u8; 32], entry: &[u8]) {
        let name = self.found.names.of(key, entry);
        self.found.verdicts.lock().insert(name, true);
    }

    /// What a client signs for a command, given its entry without the signature; none in a chain
    /// without signatures.
    #[must_use]
    pub fn message(&self, entry_unsigned: &[u8]) -> Option<Vec<u8>> {
        self.messages.message(entry_unsigned)
    }
}

impl ChainNames {
    /// One answer for each of `places`, in order. A command without a signature is not good.
    fn check_batch(
        &self,
        commands: &[(CommandView<'_>, [u8; 32])],
        told: &[Option<Abscissa>],
        places: &[usize],
        abscissas: &Abscissas,
        check: &mut impl SignatureCheck,
    ) -> Vec<bool> {
        let mut messages = Vec::new();
        let mut ends = Vec::with_capacity(places.len());
        for &place in places {
            self.put_message(&commands[place].0, &mut messages);
            ends.push(messages.len());
        }
        let starts = std::iter::once(0).chain(ends.iter().copied());
        let items: Vec<Option<SignatureItem<'_>>> = places
            .iter()
            .zip(starts.zip(&ends))
            .map(|(&place, (start, &end))| {
                let (view, key) = &commands[place];
                view.signature.map(|signature| SignatureItem {
                    key,
                    message: &messages[start..end],
                    signature,
                    abscissa: told.get(place).and_then(Option::as_ref),
                })
            })
            .collect();
        let signed: Vec<SignatureItem<'_>> = items.iter().flatten().copied().collect();
        let mut answers = abscissas.check(&signed, check).into_iter();
        items
            .iter()
            .map(|item| item.is_some() && answers.next() == Some(true))
            .collect()
    }
}

#[cfg(test)]
mod tests;
