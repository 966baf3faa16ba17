//! The application of these tests.

use quorate::state_machine::{Context, Output, SessionEvent, SessionId, StateMachine};

use crate::world::MS;

/// Writes down every command; its state is the chain of their hashes.
#[derive(Debug, Default)]
pub(crate) struct Tape {
    pub(crate) applied: Vec<(SessionId, u64, Vec<u8>)>,
    chain: [u8; 32],
    timer_ns: Option<u64>,
    pub(crate) timers_fired: Vec<(u64, u64)>,
    /// Sessions that fell silent or ended, and how.
    pub(crate) absences: Vec<(SessionId, String)>,
}

impl StateMachine for Tape {
    fn sections(&self) -> &'static [&'static str] {
        &["tape"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.applied
            .push((context.session, context.seq, command.to_vec()));
        let mut hasher = blake3::Hasher::new();
        hasher
            .update(&self.chain)
            .update(&context.time_ns.to_le_bytes())
            .update(command);
        self.chain = *hasher.finalize().as_bytes();
        if let Some(delay_ms) = command.strip_prefix(b"timer ") {
            let delay_ms: i64 = String::from_utf8_lossy(delay_ms).parse().unwrap_or(0);
            let delay_ns = delay_ms * MS.cast_signed();
            self.timer_ns = Some(context.time_ns.saturating_add_signed(delay_ns));
        }
        output.to_session(context.session, command);
    }

    fn timer_next_ns(&self) -> Option<u64> {
        self.timer_ns
    }

    fn apply_timers(&mut self, height: u64, time_ns: u64, output: &mut Output) {
        self.timer_ns = None;
        self.timers_fired.push((height, time_ns));
        output.to_public(b"timer");
    }

    fn apply_session(&mut self, context: &Context, event: SessionEvent, _: &mut Output) {
        if event.is_absence() {
            self.absences.push((context.session, format!("{event:?}")));
        }
    }

    fn section_root(&mut self, _section: usize) -> [u8; 32] {
        self.chain
    }

    fn snapshot_section(&self, _section: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.chain);
    }

    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        self.chain = bytes.try_into().map_err(|_| "not a hash".to_owned())?;
        Ok(())
    }

    fn query(&self, _question: &[u8], answer: &mut Vec<u8>) {
        answer.extend_from_slice(&self.chain);
    }
}
