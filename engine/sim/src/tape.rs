//! The application of the simulated validators: it writes down what it is told.
//!
//! Owns a chain of hashes over every command, so that two validators that applied anything
//! different, or in another order, have different roots; and timers, so that blocks without
//! commands are made as well. Never: bounds on time or memory that a real application would have.

use quorate::state_machine::{Context, Output, StateMachine};

use crate::dice::Dice;

/// A command with this prefix and a decimal number sets the timer that many milliseconds ahead.
const TIMER_PREFIX: &[u8] = b"timer ";

/// What a laden tape adds to its state: more than two chunks of a snapshot.
const BALLAST_BYTES: usize = 2_300_000;

const MS: u64 = 1_000_000;
/// Bytes of a command's body at most.
const BODY_BYTES_MAX: u64 = 200;

/// Writes down every command.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    chain: [u8; 32],
    timer_ns: Option<u64>,
    /// Bytes of a snapshot that say nothing, and are others after every command.
    ballast_bytes: usize,
}

/// Writes the body of a client's command: now and then a timer, else bytes of some length.
pub(crate) fn command(dice: &mut Dice, seq: u64, body: &mut Vec<u8>) {
    if dice.percent(5) {
        body.extend_from_slice(TIMER_PREFIX);
        body.extend_from_slice(dice.between(1, 50).to_string().as_bytes());
    } else {
        let len = usize::try_from(dice.below(BODY_BYTES_MAX)).unwrap_or(0);
        body.resize(body.len() + len, seq.to_le_bytes()[0]);
    }
}

impl Tape {
    /// One whose snapshots have several chunks, none of them like one of another height.
    pub(crate) fn laden() -> Self {
        Self {
            ballast_bytes: BALLAST_BYTES,
            ..Self::default()
        }
    }

    fn ballast(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.ballast_bytes];
        let mut hasher = blake3::Hasher::new();
        hasher.update(&self.chain);
        hasher.finalize_xof().fill(&mut bytes);
        bytes
    }

    /// `parts` have fixed lengths up to the last one.
    fn extend(&mut self, parts: &[&[u8]]) {
        let mut bytes = self.chain.to_vec();
        parts.iter().for_each(|part| bytes.extend_from_slice(part));
        self.chain = *blake3::hash(&bytes).as_bytes();
    }
}

impl StateMachine for Tape {
    fn sections(&self) -> &'static [&'static str] {
        &["tape"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.extend(&[
            b"c",
            &context.height.to_le_bytes(),
            &context.index.to_le_bytes(),
            &context.time_ns.to_le_bytes(),
            &context.session.0,
            &context.seq.to_le_bytes(),
            command,
        ]);
        let delay_ms = command.strip_prefix(TIMER_PREFIX).and_then(|digits| {
            let digits = std::str::from_utf8(digits).ok()?;
            digits.parse::<u64>().ok()
        });
        if let Some(delay_ms) = delay_ms {
            let due_ns = context.time_ns.saturating_add(delay_ms.saturating_mul(MS));
            self.timer_ns = Some(self.timer_ns.map_or(due_ns, |earlier| earlier.min(due_ns)));
        }
        output.to_session(context.session, command);
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.timer_ns
    }

    fn apply_timers(&mut self, height: u64, time_ns: u64, output: &mut Output) {
        self.timer_ns = None;
        self.extend(&[b"t", &height.to_le_bytes(), &time_ns.to_le_bytes()]);
        output.to_public(b"timer");
    }

    fn section_root(&mut self, _section: usize) -> [u8; 32] {
        self.chain
    }

    fn snapshot_section(&self, _section: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.chain);
        bytes.extend_from_slice(&self.timer_ns.unwrap_or(0).to_le_bytes());
        bytes.extend_from_slice(&self.ballast());
    }

    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        let (chain, rest) = bytes.split_at_checked(32).ok_or("too short")?;
        let (timer, ballast) = rest.split_at_checked(8).ok_or("too short")?;
        self.chain = chain.try_into().map_err(|_| "not a hash")?;
        if *ballast != self.ballast() {
            return Err("other bytes than were saved".to_owned());
        }
        let timer_ns = u64::from_le_bytes(timer.try_into().map_err(|_| "not a time")?);
        self.timer_ns = Some(timer_ns).filter(|&due_ns| due_ns > 0);
        Ok(())
    }

    fn query(&self, _question: &[u8], answer: &mut Vec<u8>) {
        answer.extend_from_slice(&self.chain);
    }
}
