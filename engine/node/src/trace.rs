//! Where a block's time goes: stamps along its way, kept only where the configuration asks.
//!
//! Owns a bounded ring of stamps, of which the newest stay, and its text for `/trace`. Any thread
//! of the node stamps without a lock and without allocating; off, which is the default, a stamp is
//! one branch. All stamps are of the machine's monotonic clock, so those of processes on one
//! machine compare. Never: read by anything that decides, and never a stamp a command: the path of
//! a command is that of its block.

use crate::stages::clock::Clock;
use crossbeam::queue::ArrayQueue;
use quorate_consensus::message::Message;
use quorate_consensus::types::{Index, ValidatorIndex, Window};
use std::fmt::Write as _;
use std::num::ParseIntError;
use std::str::FromStr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// Most stamps that a node keeps.
pub const STAMPS_MAX: usize = 1 << 22;
/// First word of the text.
const HEAD: &str = "trace";
/// What the text's format is called.
const VERSION: &str = "1";

macro_rules! moments {
    ($($(#[doc = $doc:literal])+ $name:ident = $word:literal;)*) => {
        /// A place on the way of a block.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Moment {
            $($(#[doc = $doc])+ $name,)*
        }

        impl Moment {
            /// The moment as the text names it.
            #[must_use]
            pub const fn word(self) -> &'static str {
                match self {
                    $(Self::$name => $word,)*
                }
            }

            fn of_word(word: &str) -> Option<Self> {
                match word {
                    $($word => Some(Self::$name),)*
                    _ => None,
                }
            }
        }
    };
}

moments! {
    /// The leader begins to fill the block.
    Proposed = "proposed";
    /// The leader's proposal stands in the buffer of outgoing frames.
    ProposalQueued = "proposal_queued";
    /// A proposal came from the leader.
    Received = "received";
    /// The block passed every check and goes to the log.
    Checked = "checked";
    /// The own vote for the block is as durable as configured.
    Journaled = "journaled";
    /// The own vote stands in the buffer of outgoing frames.
    VoteQueued = "vote_queued";
    /// A vote came from `peer`.
    VoteReceived = "vote_received";
    /// The block is final here, by first votes when `peer` is 0.
    Final = "final";
    /// The block has been executed here.
    Executed = "executed";
    /// What stood in the buffers goes to the sockets.
    Flushed = "flushed";
}

/// One stamp.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// What happened.
    pub moment: Moment,
    /// Whose vote came; for [`Moment::Final`] 0 for the fast path and 1 for any other; else 0.
    pub peer: u16,
    /// Window of the block.
    pub window: u64,
    /// Place of the block in it; of a vote, its tip.
    pub index: u32,
    /// Height of the block, where it is known; else 0.
    pub height: u64,
    /// Of [`Moment::Final`]: the time that the latencies of its commands were told with; of
    /// [`Moment::Executed`] how long that took; else 0.
    pub told_ns: u64,
    /// When, nanoseconds of the node's own clock.
    pub at_ns: u64,
}

/// Stamps of one node, oldest first, and what their clock began at.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dump {
    /// The machine's monotonic clock when the node's own stood at 0, nanoseconds.
    pub base_ns: u64,
    /// The stamps that were still kept.
    pub stamps: Vec<Stamp>,
}

/// Why a text is no [`Dump`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("line {line} of the trace: {what}")]
pub struct DumpError {
    /// Which line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: &'static str,
}

#[derive(Debug)]
struct On {
    clock: Clock,
    base_ns: u64,
    stamps: ArrayQueue<Stamp>,
    /// Something was stamped since the last flush.
    is_pending: AtomicBool,
}

/// A way to stamp, or not to.
#[derive(Clone, Debug, Default)]
pub struct Trace(Option<Arc<On>>);

impl Trace {
    /// Keeps the newest `stamps` stamps; none at all for 0. The memory is taken here.
    pub(crate) fn new(clock: Clock, stamps: usize) -> Self {
        let on = |stamps: usize| On {
            clock,
            base_ns: clock.base_ns(),
            stamps: ArrayQueue::new(stamps),
            is_pending: AtomicBool::new(false),
        };
        Self((stamps > 0).then(|| Arc::new(on(stamps.min(STAMPS_MAX)))))
    }

    /// The node's clock; 0 when nothing is kept.
    pub(crate) fn now_ns(&self) -> u64 {
        self.0.as_ref().map_or(0, |on| on.clock.mono_ns())
    }

    fn push(&self, stamp: Stamp) {
        if let Some(on) = &self.0 {
            on.stamps.force_push(stamp);
            on.is_pending.store(true, Ordering::Relaxed);
        }
    }

    /// Stamps a block now.
    pub(crate) fn stamp(&self, moment: Moment, window: Window, index: Index) {
        if self.0.is_some() {
            self.stamp_at(self.now_ns(), moment, window, index);
        }
    }

    /// Stamps a block with a time that was read before.
    pub(crate) fn stamp_at(&self, at_ns: u64, moment: Moment, window: Window, index: Index) {
        self.push(Stamp::of(moment, window, index, at_ns));
    }

    /// Stamps a message that came at `at_ns`, if it is one on the way of a block.
    pub(crate) fn received(&self, at_ns: u64, from: ValidatorIndex, message: &Message) {
        if self.0.is_none() {
            return;
        }
        let stamp = match message {
            Message::Propose(propose) => {
                let header = &propose.header;
                Stamp::of(Moment::Received, header.window, header.index, at_ns)
            }
            Message::Vote(vote) => match vote.record.tip {
                Some((index, _)) => Stamp {
                    peer: from.number(),
                    ..Stamp::of(Moment::VoteReceived, vote.window, index, at_ns)
                },
                None => return,
            },
            _ => return,
        };
        self.push(stamp);
    }

    /// Stamps a message that goes out with the next flush, if it is one on the way of a block.
    pub(crate) fn queued(&self, message: &Message) {
        if self.0.is_none() {
            return;
        }
        match message {
            Message::Propose(propose) => {
                let header = &propose.header;
                self.stamp(Moment::ProposalQueued, header.window, header.index);
            }
            Message::Vote(vote) => {
                if let Some((index, _)) = vote.record.tip {
                    self.stamp(Moment::VoteQueued, vote.window, index);
                }
            }
            _ => {}
        }
    }

    /// Stamps a final block. `told_ns` is the time that its commands' latencies are told with.
    pub(crate) fn finalized(&self, stamp: FinalStamp) {
        if self.0.is_some() {
            let at_ns = self.now_ns();
            self.push(Stamp {
                peer: u16::from(!stamp.is_fast),
                height: stamp.height,
                told_ns: stamp.told_ns,
                ..Stamp::of(Moment::Final, stamp.window, stamp.index, at_ns)
            });
        }
    }

    /// Stamps a block that was just executed, which took `took_ns`.
    pub(crate) fn executed(&self, height: u64, took_ns: u64) {
        if self.0.is_some() {
            self.push(Stamp {
                height,
                told_ns: took_ns,
                ..Stamp::of(Moment::Executed, Window::ZERO, Index::ZERO, self.now_ns())
            });
        }
    }

    /// Stamps that the buffers go to the sockets, unless nothing was stamped since they last did.
    pub(crate) fn flushed(&self) {
        if let Some(on) = &self.0
            && on.is_pending.load(Ordering::Relaxed)
        {
            self.stamp(Moment::Flushed, Window::ZERO, Index::ZERO);
            on.is_pending.store(false, Ordering::Relaxed);
        }
    }

    /// Takes all stamps out, as text; none when nothing is kept.
    pub(crate) fn take_text(&self) -> Option<String> {
        let on = self.0.as_ref()?;
        let stamps = on.stamps.len();
        let mut text = String::with_capacity(64 * (stamps + 1));
        push_line(&mut text, format_args!("{HEAD} {VERSION} {}", on.base_ns));
        // Not more than were there: the node goes on stamping.
        for stamp in (0..stamps).map_while(|_| on.stamps.pop()) {
            let word = stamp.moment.word();
            push_line(
                &mut text,
                format_args!(
                    "{word} {} {} {} {} {} {}",
                    stamp.peer, stamp.window, stamp.index, stamp.height, stamp.told_ns, stamp.at_ns
                ),
            );
        }
        Some(text)
    }
}

/// What is told of a final block.
#[derive(Clone, Copy, Debug)]
pub(crate) struct FinalStamp {
    pub(crate) window: Window,
    pub(crate) index: Index,
    pub(crate) height: u64,
    pub(crate) is_fast: bool,
    pub(crate) told_ns: u64,
}

impl Stamp {
    const fn of(moment: Moment, window: Window, index: Index, at_ns: u64) -> Self {
        Self {
            moment,
            peer: 0,
            window: window.number(),
            index: index.number(),
            height: 0,
            told_ns: 0,
            at_ns,
        }
    }
}

fn push_line(text: &mut String, line: std::fmt::Arguments<'_>) {
    if writeln!(text, "{line}").is_err() {
        tracing::error!("cannot write to a string");
    }
}

impl FromStr for Dump {
    type Err = DumpError;

    fn from_str(text: &str) -> Result<Self, DumpError> {
        let mut lines = text.lines().zip(1..);
        let wrong = |line, what| DumpError { line, what };
        let head = lines.next().map(|(line, _)| line).unwrap_or_default();
        let words: Vec<&str> = head.split(' ').collect();
        let [HEAD, VERSION, base] = words[..] else {
            return Err(wrong(1, "not the head of a trace that is known here"));
        };
        let base_ns = base.parse().map_err(|_| wrong(1, "not a number"))?;
        let stamps = lines
            .map(|(line, number)| parse_stamp(line).map_err(|what| wrong(number, what)))
            .collect::<Result<_, _>>()?;
        Ok(Self { base_ns, stamps })
    }
}

fn parse_stamp(line: &str) -> Result<Stamp, &'static str> {
    let words: Vec<&str> = line.split(' ').collect();
    let [word, peer, window, index, height, told_ns, at_ns] = words[..] else {
        return Err("not seven words");
    };
    let numbers = || -> Result<Stamp, ParseIntError> {
        Ok(Stamp {
            moment: Moment::Flushed,
            peer: peer.parse()?,
            window: window.parse()?,
            index: index.parse()?,
            height: height.parse()?,
            told_ns: told_ns.parse()?,
            at_ns: at_ns.parse()?,
        })
    };
    let moment = Moment::of_word(word).ok_or("not a moment that is known here")?;
    let stamp = numbers().map_err(|_| "not a number, or too large a one")?;
    Ok(Stamp { moment, ..stamp })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn traced(stamps: usize) -> Trace {
        Trace::new(Clock::new(), stamps)
    }

    #[test]
    fn what_is_stamped_is_told_once_in_order_and_read_back() {
        let trace = traced(8);
        trace.stamp(Moment::Proposed, Window::new(3), Index::new(4));
        trace.finalized(FinalStamp {
            window: Window::new(3),
            index: Index::new(4),
            height: 9,
            is_fast: true,
            told_ns: 5,
        });
        trace.executed(9, 6);
        trace.flushed();
        trace.flushed();
        let dump: Dump = trace.take_text().unwrap().parse().unwrap();
        let moments: Vec<Moment> = dump.stamps.iter().map(|stamp| stamp.moment).collect();
        // The second flush carried nothing.
        let told = [
            Moment::Proposed,
            Moment::Final,
            Moment::Executed,
            Moment::Flushed,
        ];
        assert_eq!(moments, told);
        let executed = dump.stamps[2];
        assert_eq!((executed.height, executed.told_ns), (9, 6));
        let last = dump.stamps[1];
        assert_eq!(
            (last.window, last.index, last.height, last.told_ns),
            (3, 4, 9, 5)
        );
        assert!(dump.stamps[0].at_ns <= last.at_ns && dump.base_ns > 0);
        let rest: Dump = trace.take_text().unwrap().parse().unwrap();
        assert!(rest.stamps.is_empty());
    }

    #[test]
    fn the_newest_stamps_stay_and_none_are_kept_unasked() {
        let trace = traced(2);
        for index in 0..5 {
            trace.stamp(Moment::Proposed, Window::ZERO, Index::new(index));
        }
        let dump: Dump = trace.take_text().unwrap().parse().unwrap();
        let kept: Vec<u32> = dump.stamps.iter().map(|stamp| stamp.index).collect();
        assert_eq!(kept, [3, 4]);
        let off = Trace::default();
        off.stamp(Moment::Proposed, Window::ZERO, Index::ZERO);
        off.flushed();
        assert_eq!((off.take_text(), off.now_ns()), (None, 0));
    }

    #[test]
    fn a_text_that_is_no_trace_is_refused_with_its_line() {
        for (text, line) in [
            ("", 1),
            ("trace 2 5", 1),
            ("trace 1 x", 1),
            ("trace 1 5\nfinal 0 1", 2),
            ("trace 1 5\nflushed 0 0 0 0 0 1\nbegun 0 0 0 0 0 1", 3),
            ("trace 1 5\nfinal 65536 0 0 0 0 1", 2),
        ] {
            assert_eq!(text.parse::<Dump>().unwrap_err().line, line, "{text:?}");
        }
    }
}
