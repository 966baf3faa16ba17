//! Values to bytes. Writers append to a buffer that the caller keeps, and stay within the bounds
//! that the decoder asks for.

use super::{
    CLIENT_FRAME_BYTES_MAX, CLIENT_WIRE_VERSION, Mark, Refusal, ResultItem, SECTION_NAME_BYTES_MAX,
    SECTIONS_MAX, SUBMIT_COMMANDS_MAX, Verdict, VerdictRun, kind, leader_to_wire,
};
use quorate_consensus::types::ValidatorIndex;

pub(super) fn client_header(kind: u8, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&CLIENT_WIRE_VERSION.to_le_bytes());
    bytes.extend_from_slice(&[kind, 0]);
}

pub(super) fn server_header(kind: u8, leader: Option<ValidatorIndex>, bytes: &mut Vec<u8>) {
    client_header(kind, bytes);
    bytes.extend_from_slice(&leader_to_wire(leader).to_le_bytes());
}

/// Overwrites a `u32` that was left open when the count behind it was not known.
pub(super) fn patch_u32(bytes: &mut [u8], at: usize, value: u32) {
    if let Some(field) = bytes.get_mut(at..at + 4) {
        field.copy_from_slice(&value.to_le_bytes());
    }
}

/// A Submit in the making.
#[derive(Debug)]
pub struct ClientFrameWriter<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
    count: u32,
}

impl<'a> ClientFrameWriter<'a> {
    /// Begins a Submit at the end of `bytes`.
    pub fn submit(bytes: &'a mut Vec<u8>) -> Self {
        let start = bytes.len();
        client_header(kind::SUBMIT, bytes);
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        Self {
            bytes,
            start,
            count: 0,
        }
    }

    /// Adds one entry, as `quorate_consensus::payload::encode_entry` writes it. False, with
    /// nothing added, when the frame is full; the first entry always fits.
    pub fn push(&mut self, entry: &[u8]) -> bool {
        self.push_with(|bytes| bytes.extend_from_slice(entry))
    }

    /// As [`push`](Self::push), where `encode` appends the entry in its place.
    pub fn push_with(&mut self, encode: impl FnOnce(&mut Vec<u8>)) -> bool {
        if self.count as usize >= SUBMIT_COMMANDS_MAX {
            return false;
        }
        let before = self.bytes.len();
        encode(self.bytes);
        if self.count > 0 && self.bytes.len() - self.start > CLIENT_FRAME_BYTES_MAX {
            self.bytes.truncate(before);
            return false;
        }
        self.count += 1;
        true
    }

    /// Ends the frame; says how many entries it has.
    pub fn finish(self) -> u32 {
        patch_u32(self.bytes, self.start + 4, self.count);
        self.count
    }
}

/// Appends a query.
pub fn encode_query(id: u64, question: &[u8], bytes: &mut Vec<u8>) {
    client_header(kind::QUERY, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(question);
}

/// Appends a question for the validator's status.
pub fn encode_status_ask(id: u64, bytes: &mut Vec<u8>) {
    client_header(kind::STATUS_ASK, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
}

/// Appends a question for the state root.
pub fn encode_root_ask(id: u64, bytes: &mut Vec<u8>) {
    client_header(kind::ROOT_ASK, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
}

/// Appends a question for the number of the session's last applied command.
pub fn encode_session_ask(id: u64, bytes: &mut Vec<u8>) {
    client_header(kind::SESSION_ASK, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
}

/// Verdicts in the making; consecutive equal ones become one run.
#[derive(Debug)]
pub struct VerdictsWriter<'a> {
    bytes: &'a mut Vec<u8>,
    start: usize,
    count: u32,
    run: Option<VerdictRun>,
}

impl<'a> VerdictsWriter<'a> {
    /// Begins at the end of `bytes`.
    pub fn new(leader: Option<ValidatorIndex>, bytes: &'a mut Vec<u8>) -> Self {
        let start = bytes.len();
        server_header(kind::VERDICTS, leader, bytes);
        bytes.extend_from_slice(&0_u32.to_le_bytes());
        Self {
            bytes,
            start,
            count: 0,
            run: None,
        }
    }

    /// Adds the verdict on one command.
    pub fn push(&mut self, seq: u64, verdict: Verdict) {
        if let Some(run) = &mut self.run
            && run.verdict == verdict
            && run.seq_first.checked_add(u64::from(run.count)) == Some(seq)
            && run.count < u32::MAX
        {
            run.count += 1;
            return;
        }
        self.write_run();
        self.run = Some(VerdictRun {
            seq_first: seq,
            count: 1,
            verdict,
        });
    }

    fn write_run(&mut self) {
        let Some(run) = self.run.take() else { return };
        let (tag, detail) = match run.verdict {
            Verdict::Accepted => (0, 0),
            Verdict::Busy { retry_after_us } => (1, retry_after_us),
            Verdict::Rejected(reason) => (2, u32::from(reason as u8)),
        };
        self.bytes.extend_from_slice(&run.seq_first.to_le_bytes());
        self.bytes.extend_from_slice(&run.count.to_le_bytes());
        self.bytes.push(tag);
        self.bytes.extend_from_slice(&detail.to_le_bytes());
        self.count += 1;
    }

    /// Ends the frame; says how many runs it has.
    pub fn finish(mut self) -> u32 {
        self.write_run();
        patch_u32(self.bytes, self.start + 6, self.count);
        self.count
    }
}

/// Outputs that one result takes at most; their count is a `u16`.
pub const RESULT_OUTPUTS_MAX: usize = u16::MAX as usize;

/// Results of one block for one session, in the making. Reused from block to block.
#[derive(Debug, Default)]
pub struct ResultsFrame {
    bytes: Vec<u8>,
    count: u32,
}

impl ResultsFrame {
    /// Begins anew.
    pub fn begin(&mut self, leader: Option<ValidatorIndex>, height: u64, time_ns: u64) {
        self.bytes.clear();
        self.count = 0;
        server_header(kind::RESULTS, leader, &mut self.bytes);
        self.bytes.extend_from_slice(&height.to_le_bytes());
        self.bytes.extend_from_slice(&time_ns.to_le_bytes());
        self.bytes.extend_from_slice(&0_u32.to_le_bytes());
    }

    /// Bytes so far.
    #[must_use]
    pub const fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Commands so far.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Adds one command with its outputs, of which the first [`RESULT_OUTPUTS_MAX`] are written.
    pub fn push<'o>(&mut self, item: ResultItem, outputs: impl Iterator<Item = &'o [u8]>) {
        let (height, index) = item
            .applied
            .map_or((0, 0), |place| (place.height, place.index));
        self.bytes.extend_from_slice(&item.seq.to_le_bytes());
        self.bytes.push(item.outcome as u8);
        self.bytes.extend_from_slice(&height.to_le_bytes());
        self.bytes.extend_from_slice(&index.to_le_bytes());
        let mark = item.mark.map_or(0, Mark::get);
        self.bytes.extend_from_slice(&mark.to_le_bytes());
        self.bytes
            .extend_from_slice(&item.finality_ns.to_le_bytes());
        let at = self.bytes.len();
        self.bytes.extend_from_slice(&0_u16.to_le_bytes());
        let mut count = 0_u16;
        for output in outputs.take(RESULT_OUTPUTS_MAX) {
            push_output(output, &mut self.bytes);
            count = count.saturating_add(1);
        }
        if let Some(field) = self.bytes.get_mut(at..at + 2) {
            field.copy_from_slice(&count.to_le_bytes());
        }
        self.count += 1;
    }

    /// The frame.
    pub fn finish(&mut self) -> &[u8] {
        patch_u32(&mut self.bytes, 22, self.count);
        &self.bytes
    }

    /// Gives back what its bytes took beyond so many, once it was sent: one that is empty then.
    pub(crate) fn shrink_to(&mut self, bytes_max: usize) {
        self.bytes.clear();
        self.count = 0;
        self.bytes.shrink_to(bytes_max);
    }

    /// What its bytes take.
    #[cfg(test)]
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

/// Outputs for a session that commands of others, or timers, made in one block; in the making.
#[derive(Debug, Default)]
pub struct StreamFrame {
    bytes: Vec<u8>,
    count: u32,
}

impl StreamFrame {
    /// Begins anew.
    pub fn begin(&mut self, leader: Option<ValidatorIndex>, height: u64, time_ns: u64) {
        self.bytes.clear();
        self.count = 0;
        server_header(kind::STREAM, leader, &mut self.bytes);
        self.bytes.extend_from_slice(&height.to_le_bytes());
        self.bytes.extend_from_slice(&time_ns.to_le_bytes());
        self.bytes.extend_from_slice(&0_u32.to_le_bytes());
    }

    /// Bytes so far.
    #[must_use]
    pub const fn bytes_len(&self) -> usize {
        self.bytes.len()
    }

    /// Outputs so far.
    #[must_use]
    pub const fn count(&self) -> u32 {
        self.count
    }

    /// Adds one output with its number in the block.
    pub fn push(&mut self, number: u32, output: &[u8]) {
        self.bytes.extend_from_slice(&number.to_le_bytes());
        push_output(output, &mut self.bytes);
        self.count += 1;
    }

    /// The frame.
    pub fn finish(&mut self) -> &[u8] {
        patch_u32(&mut self.bytes, 22, self.count);
        &self.bytes
    }

    /// Gives back what its bytes took beyond so many, once it was sent: one that is empty then.
    pub(crate) fn shrink_to(&mut self, bytes_max: usize) {
        self.bytes.clear();
        self.count = 0;
        self.bytes.shrink_to(bytes_max);
    }

    /// What its bytes take.
    #[cfg(test)]
    pub(crate) const fn memory_bytes(&self) -> usize {
        self.bytes.capacity()
    }
}

pub(super) fn push_output(output: &[u8], bytes: &mut Vec<u8>) {
    let length = u32::try_from(output.len()).unwrap_or(u32::MAX);
    bytes.extend_from_slice(&length.to_le_bytes());
    bytes.extend_from_slice(output);
}

/// Appends the answer to a query.
pub fn encode_answer(leader: Option<ValidatorIndex>, id: u64, answer: &[u8], bytes: &mut Vec<u8>) {
    server_header(kind::ANSWER, leader, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(answer);
}

/// Appends the validator's status, a JSON object.
pub fn encode_status(leader: Option<ValidatorIndex>, id: u64, json: &str, bytes: &mut Vec<u8>) {
    server_header(kind::STATUS, leader, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(json.as_bytes());
}

/// Appends a state root and the roots of its sections, in root order. Sections beyond the bounds
/// are left out.
pub fn encode_root<'s>(
    leader: Option<ValidatorIndex>,
    id: u64,
    height: u64,
    root: &[u8; 32],
    sections: impl Iterator<Item = (&'s str, [u8; 32])>,
    bytes: &mut Vec<u8>,
) {
    server_header(kind::ROOT, leader, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&height.to_le_bytes());
    bytes.extend_from_slice(root);
    let at = bytes.len();
    bytes.extend_from_slice(&0_u16.to_le_bytes());
    let mut count = 0_u16;
    let short = |(name, _): &(&str, [u8; 32])| (1..=SECTION_NAME_BYTES_MAX).contains(&name.len());
    for (name, section) in sections.filter(short).take(SECTIONS_MAX) {
        bytes.push(name.len() as u8);
        bytes.extend_from_slice(name.as_bytes());
        bytes.extend_from_slice(&section);
        count += 1;
    }
    if let Some(field) = bytes.get_mut(at..at + 2) {
        field.copy_from_slice(&count.to_le_bytes());
    }
}

/// Appends the number of the session's last applied command; 0 when it has applied none.
pub fn encode_session(
    leader: Option<ValidatorIndex>,
    id: u64,
    (seq_last, has_ended): (u64, bool),
    bytes: &mut Vec<u8>,
) {
    server_header(kind::SESSION, leader, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&seq_last.to_le_bytes());
    bytes.push(u8::from(has_ended));
}

/// Appends the refusal of a question for now.
pub fn encode_busy(
    leader: Option<ValidatorIndex>,
    id: u64,
    retry_after_us: u32,
    bytes: &mut Vec<u8>,
) {
    server_header(kind::BUSY, leader, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&retry_after_us.to_le_bytes());
}

/// Appends a Refused: the validator answers nothing; `id` is that of the question, or 0 where there
/// was none.
pub fn encode_refused(
    leader: Option<ValidatorIndex>,
    id: u64,
    reason: Refusal,
    bytes: &mut Vec<u8>,
) {
    server_header(kind::REFUSED, leader, bytes);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes.extend_from_slice(&(reason as u32).to_le_bytes());
}
