//! Bytes to values, borrowed from the frame. Every count is held against the bytes that are there
//! before anything is done with it; nothing may stand after the content.

use super::{
    CLIENT_FRAME_BYTES_MAX, CLIENT_WIRE_VERSION, FrameError, Mark, Outcome, Place, Private, Public,
    PublicAsk, PublicMark, QUESTION_BYTES_MAX, Refusal, ResultItem, SECTION_NAME_BYTES_MAX,
    SECTIONS_MAX, SUBMIT_COMMANDS_MAX, Verdict, VerdictRun, kind, leader_from_wire, private,
    refusal_from_code, rejection_from_code,
};
use crate::streams::StreamPosition;
use quorate_consensus::payload::{Commands, ENTRY_BYTES_FIXED, checked_entries, count_entries};
use quorate_consensus::types::ValidatorIndex;

/// Takes fixed-width fields off the front of a frame.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], FrameError> {
        let (head, rest) = self.0.split_first_chunk().ok_or(FrameError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn bytes(&mut self, count: usize) -> Result<&'a [u8], FrameError> {
        let (head, rest) = self
            .0
            .split_at_checked(count)
            .ok_or(FrameError::Truncated)?;
        self.0 = rest;
        Ok(head)
    }

    pub(super) fn u8(&mut self) -> Result<u8, FrameError> {
        self.array::<1>().map(|bytes| bytes[0])
    }

    fn u16(&mut self) -> Result<u16, FrameError> {
        self.array().map(|bytes| u16::from_le_bytes(*bytes))
    }

    pub(super) fn u32(&mut self) -> Result<u32, FrameError> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    pub(super) fn u64(&mut self) -> Result<u64, FrameError> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }

    /// Version, kind and the zero byte.
    fn header(&mut self) -> Result<u8, FrameError> {
        let version = self.u16()?;
        if version != CLIENT_WIRE_VERSION {
            return Err(FrameError::Version(version));
        }
        let kind = self.u8()?;
        match self.u8()? {
            0 => Ok(kind),
            _ => Err(FrameError::Field("zero")),
        }
    }

    pub(super) const fn end(self) -> Result<(), FrameError> {
        match self.0.len() {
            0 => Ok(()),
            bytes => Err(FrameError::Trailing(bytes)),
        }
    }
}

/// What a client sends.
#[derive(Clone, Debug)]
pub enum ClientFrame<'a> {
    /// Commands to admit: at least one, each structurally good on its own.
    Submit {
        /// How many.
        count: u32,
        /// The bytes of all entries.
        entries: &'a [u8],
        /// The entries.
        commands: Commands<'a>,
    },
    /// A read-only question to the application.
    Query {
        /// Comes back in the answer.
        id: u64,
        /// The question.
        question: &'a [u8],
    },
    /// A question for the validator's status.
    StatusAsk {
        /// Comes back in the answer.
        id: u64,
    },
    /// A question for the state root.
    RootAsk {
        /// Comes back in the answer.
        id: u64,
    },
    /// A question for the number of the session's last applied command.
    SessionAsk {
        /// Comes back in the answer.
        id: u64,
    },
    /// A question for a stretch of the session's private stream.
    PrivateAsk {
        /// Comes back in the answer.
        id: u64,
        /// Where to begin.
        from: StreamPosition,
        /// Where to end; not before `from`.
        to: StreamPosition,
    },
    /// Something about the public stream.
    Public {
        /// Comes back in everything that comes of it.
        id: u64,
        /// What is wanted.
        ask: PublicAsk,
    },
}

impl<'a> ClientFrame<'a> {
    /// Reads a client's frame.
    ///
    /// # Errors
    /// It is none. The sender is at fault.
    pub fn decode(frame: &'a [u8]) -> Result<Self, FrameError> {
        // The first entry always fits, so a frame may pass its bound by one command.
        let entry_max = quorate_consensus::limits::COMMAND_BYTES_MAX + ENTRY_BYTES_FIXED + 64;
        if frame.len() > CLIENT_FRAME_BYTES_MAX.max(entry_max + 8) {
            return Err(FrameError::Bound("frame"));
        }
        let mut reader = Reader(frame);
        match reader.header()? {
            kind::SUBMIT => Self::decode_submit(reader),
            kind::QUERY => {
                let id = reader.u64()?;
                if reader.0.len() > QUESTION_BYTES_MAX {
                    return Err(FrameError::Bound("question"));
                }
                Ok(Self::Query {
                    id,
                    question: reader.0,
                })
            }
            kind::STATUS_ASK => Ok(Self::StatusAsk {
                id: last_u64(reader)?,
            }),
            kind::ROOT_ASK => Ok(Self::RootAsk {
                id: last_u64(reader)?,
            }),
            kind::SESSION_ASK => Ok(Self::SessionAsk {
                id: last_u64(reader)?,
            }),
            kind @ (kind::PUBLIC_SUBSCRIBE | kind::PUBLIC_ASK | kind::PUBLIC_STOP) => {
                let (id, ask) = (reader.u64()?, PublicAsk::decode(kind, reader)?);
                Ok(Self::Public { id, ask })
            }
            kind::PRIVATE_ASK => {
                let (id, (from, to)) = (reader.u64()?, private::decode_ask(reader)?);
                Ok(Self::PrivateAsk { id, from, to })
            }
            other => Err(FrameError::Kind(other)),
        }
    }

    fn decode_submit(mut reader: Reader<'a>) -> Result<Self, FrameError> {
        let count = reader.u32()?;
        let entries = reader.0;
        if count == 0 {
            return Err(FrameError::Field("count"));
        }
        if count as usize > SUBMIT_COMMANDS_MAX {
            return Err(FrameError::Bound("count"));
        }
        if (count as usize).saturating_mul(ENTRY_BYTES_FIXED) > entries.len() {
            return Err(FrameError::Truncated);
        }
        let found = count_entries(entries).map_err(|_| FrameError::Entries("malformed"))?;
        if found != count as usize {
            return Err(FrameError::Entries("another number of them than counted"));
        }
        Ok(Self::Submit {
            count,
            entries,
            commands: checked_entries(entries),
        })
    }
}

fn last_u64(mut reader: Reader<'_>) -> Result<u64, FrameError> {
    let value = reader.u64()?;
    reader.end().map(|()| value)
}

/// What a validator sends. All of them name the leader of the validator's current window.
#[derive(Clone, Debug)]
pub enum ServerFrame<'a> {
    /// What became of submitted commands at this validator.
    Verdicts(Verdicts<'a>),
    /// What became of the session's commands in one finalized block.
    Results(Results<'a>),
    /// Outputs for the session that commands of others, or timers, made in one finalized block.
    Stream(Stream<'a>),
    /// The answer to a query.
    Answer {
        /// As asked.
        id: u64,
        /// The application's bytes.
        answer: &'a [u8],
    },
    /// The validator's status.
    Status {
        /// As asked.
        id: u64,
        /// A JSON object.
        json: &'a str,
    },
    /// The state root.
    Root {
        /// As asked.
        id: u64,
        /// Of the block after which the state stood so.
        height: u64,
        /// Over all sections.
        root: [u8; 32],
        /// Each section's.
        sections: Sections<'a>,
    },
    /// The session's last applied command.
    Session {
        /// As asked.
        id: u64,
        /// Its number; 0 when none has been applied.
        seq_last: u64,
        /// The session has ended with that number, and is opened anew with a higher one.
        has_ended: bool,
    },
    /// A question cannot be answered now.
    Busy {
        /// As asked.
        id: u64,
        /// Ask again after, microseconds.
        retry_after_us: u32,
    },
    /// The validator answers no client: neither this question nor another one.
    Refused {
        /// As asked; 0 when it says so by itself.
        id: u64,
        /// Why.
        reason: Refusal,
    },
    /// A stretch of the public stream.
    Public(Public<'a>),
    /// Where a subscription or a range of the public stream stands.
    PublicMark(PublicMark),
    /// A stretch of the session's private stream.
    Private(Private<'a>),
}

impl<'a> ServerFrame<'a> {
    /// Reads a validator's frame; gives the leader it names with the content.
    ///
    /// # Errors
    /// It is none. The validator is at fault.
    pub fn decode(frame: &'a [u8]) -> Result<(Option<ValidatorIndex>, Self), FrameError> {
        let mut reader = Reader(frame);
        let kind = reader.header()?;
        let leader = leader_from_wire(reader.u16()?);
        let content = match kind {
            kind::VERDICTS => Self::Verdicts(Verdicts::decode(reader)?),
            kind::RESULTS => Self::Results(Results::decode(reader)?),
            kind::STREAM => Self::Stream(Stream::decode(reader)?),
            kind::ANSWER => Self::Answer {
                id: reader.u64()?,
                answer: reader.0,
            },
            kind::STATUS => {
                let id = reader.u64()?;
                let json = std::str::from_utf8(reader.0).map_err(|_| FrameError::Field("json"))?;
                Self::Status { id, json }
            }
            kind::ROOT => {
                let (id, height, root) = (reader.u64()?, reader.u64()?, *reader.array()?);
                Self::Root {
                    id,
                    height,
                    root,
                    sections: Sections::decode(reader)?,
                }
            }
            kind::SESSION => {
                let (id, seq_last) = (reader.u64()?, reader.u64()?);
                let has_ended = match reader.u8()? {
                    0 => false,
                    1 => true,
                    _ => return Err(FrameError::Field("ended")),
                };
                reader.end()?;
                Self::Session {
                    id,
                    seq_last,
                    has_ended,
                }
            }
            kind::BUSY => {
                let (id, retry_after_us) = (reader.u64()?, reader.u32()?);
                reader.end()?;
                Self::Busy { id, retry_after_us }
            }
            kind::REFUSED => {
                let (id, code) = (reader.u64()?, reader.u32()?);
                reader.end()?;
                let reason = refusal_from_code(code).ok_or(FrameError::Field("reason"))?;
                Self::Refused { id, reason }
            }
            kind::PUBLIC => Self::Public(Public::decode(reader)?),
            kind::PUBLIC_MARK => Self::PublicMark(PublicMark::decode(reader)?),
            kind::PRIVATE => Self::Private(Private::decode(reader)?),
            other => return Err(FrameError::Kind(other)),
        };
        Ok((leader, content))
    }
}

/// Checked runs of verdicts.
#[derive(Clone, Debug)]
pub struct Verdicts<'a>(Reader<'a>);

/// Bytes of one run.
const RUN_BYTES: usize = 8 + 4 + 1 + 4;

impl<'a> Verdicts<'a> {
    fn decode(mut reader: Reader<'a>) -> Result<Self, FrameError> {
        let count = reader.u32()? as usize;
        let bytes = count.checked_mul(RUN_BYTES).ok_or(FrameError::Truncated)?;
        let runs = Reader(reader.bytes(bytes)?);
        reader.end()?;
        let mut check = runs;
        while !check.0.is_empty() {
            read_run(&mut check)?;
        }
        Ok(Self(runs))
    }
}

impl Iterator for Verdicts<'_> {
    type Item = VerdictRun;

    fn next(&mut self) -> Option<VerdictRun> {
        // The runs were checked, so the only failure left is their end.
        read_run(&mut self.0).ok()
    }
}

fn read_run(reader: &mut Reader<'_>) -> Result<VerdictRun, FrameError> {
    let (seq_first, count) = (reader.u64()?, reader.u32()?);
    if seq_first == 0 || count == 0 || seq_first.checked_add(u64::from(count)).is_none() {
        return Err(FrameError::Field("run"));
    }
    let verdict = match (reader.u8()?, reader.u32()?) {
        (0, 0) => Verdict::Accepted,
        (1, retry_after_us) => Verdict::Busy { retry_after_us },
        (2, code) => {
            Verdict::Rejected(rejection_from_code(code).ok_or(FrameError::Field("reason"))?)
        }
        _ => return Err(FrameError::Field("verdict")),
    };
    Ok(VerdictRun {
        seq_first,
        count,
        verdict,
    })
}

/// Checked results of one block.
#[derive(Clone, Debug)]
pub struct Results<'a> {
    height: u64,
    time_ns: u64,
    items: Reader<'a>,
}

/// One result and its outputs.
#[derive(Clone, Debug)]
pub struct ResultView<'a> {
    /// The result.
    pub item: ResultItem,
    /// Its outputs, in order.
    pub outputs: Outputs<'a>,
}

impl<'a> Results<'a> {
    fn decode(mut reader: Reader<'a>) -> Result<Self, FrameError> {
        let (height, time_ns, count) = (reader.u64()?, reader.u64()?, reader.u32()?);
        let items = reader;
        for _ in 0..count {
            read_result(&mut reader)?;
        }
        reader.end()?;
        Ok(Self {
            height,
            time_ns,
            items,
        })
    }

    /// Height of the block.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// Replicated time of the block, nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        self.time_ns
    }
}

impl<'a> Iterator for Results<'a> {
    type Item = ResultView<'a>;

    fn next(&mut self) -> Option<ResultView<'a>> {
        // The items were checked, so the only failure left is their end.
        read_result(&mut self.items).ok()
    }
}

fn read_result<'a>(reader: &mut Reader<'a>) -> Result<ResultView<'a>, FrameError> {
    let seq = reader.u64()?;
    let outcome = Outcome::from_u8(reader.u8()?).ok_or(FrameError::Field("outcome"))?;
    let applied = match (reader.u64()?, reader.u32()?) {
        (0, 0) => None,
        (0, _) => return Err(FrameError::Field("applied")),
        (height, index) => Some(Place { height, index }),
    };
    let mark = Mark::from_wire(reader.u32()?);
    let finality_ns = reader.u64()?;
    let count = reader.u16()?;
    let start = reader.0;
    for _ in 0..count {
        let bytes = reader.u32()? as usize;
        reader.bytes(bytes)?;
    }
    let outputs = Outputs(Reader(&start[..start.len() - reader.0.len()]));
    Ok(ResultView {
        item: ResultItem {
            seq,
            outcome,
            applied,
            mark,
            finality_ns,
        },
        outputs,
    })
}

/// Checked outputs of one command.
#[derive(Clone, Debug)]
pub struct Outputs<'a>(Reader<'a>);

impl<'a> Iterator for Outputs<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        let bytes = self.0.u32().ok()? as usize;
        self.0.bytes(bytes).ok()
    }
}

/// Checked outputs of one block.
#[derive(Clone, Debug)]
pub struct Stream<'a> {
    height: u64,
    time_ns: u64,
    items: Reader<'a>,
}

impl<'a> Stream<'a> {
    fn decode(mut reader: Reader<'a>) -> Result<Self, FrameError> {
        let (height, time_ns, count) = (reader.u64()?, reader.u64()?, reader.u32()?);
        let items = reader;
        for _ in 0..count {
            read_stream_item(&mut reader)?;
        }
        reader.end()?;
        Ok(Self {
            height,
            time_ns,
            items,
        })
    }

    /// Height of the block.
    #[must_use]
    pub const fn height(&self) -> u64 {
        self.height
    }

    /// Replicated time of the block, nanoseconds since the Unix epoch.
    #[must_use]
    pub const fn time_ns(&self) -> u64 {
        self.time_ns
    }
}

impl<'a> Iterator for Stream<'a> {
    /// The number of the output in its block, and the application's bytes.
    type Item = (u32, &'a [u8]);

    fn next(&mut self) -> Option<(u32, &'a [u8])> {
        read_stream_item(&mut self.items).ok()
    }
}

fn read_stream_item<'a>(reader: &mut Reader<'a>) -> Result<(u32, &'a [u8]), FrameError> {
    let (number, bytes) = (reader.u32()?, reader.u32()? as usize);
    Ok((number, reader.bytes(bytes)?))
}

/// Checked section roots.
#[derive(Clone, Debug)]
pub struct Sections<'a>(Reader<'a>);

impl<'a> Sections<'a> {
    fn decode(mut reader: Reader<'a>) -> Result<Self, FrameError> {
        let count = usize::from(reader.u16()?);
        if count > SECTIONS_MAX {
            return Err(FrameError::Bound("sections"));
        }
        let items = reader;
        for _ in 0..count {
            read_section(&mut reader)?;
        }
        reader.end()?;
        Ok(Self(items))
    }
}

impl<'a> Iterator for Sections<'a> {
    type Item = (&'a str, [u8; 32]);

    fn next(&mut self) -> Option<(&'a str, [u8; 32])> {
        read_section(&mut self.0).ok()
    }
}

fn read_section<'a>(reader: &mut Reader<'a>) -> Result<(&'a str, [u8; 32]), FrameError> {
    let bytes = usize::from(reader.u8()?);
    if !(1..=SECTION_NAME_BYTES_MAX).contains(&bytes) {
        return Err(FrameError::Bound("section name"));
    }
    let name = std::str::from_utf8(reader.bytes(bytes)?);
    Ok((
        name.map_err(|_| FrameError::Field("section name"))?,
        *reader.array()?,
    ))
}
