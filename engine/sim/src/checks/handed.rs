//! An application is handed what was applied: each command once, in its order, as its client
//! wrote it, and nothing else.
//!
//! Owns a hash of what an instance has to be handed for each block, made of the payload that was
//! on the wire and of what the results call applied; and how a call is written down, which is the
//! same for both. Never: keeps a call; and timers, which come of no command, are the roots' to
//! judge.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::hash::{DefaultHasher, Hasher as _};

use quorate::state_machine::{Context, SessionEvent};
use quorate_consensus::payload::CommandView;

use super::Violation;

/// A hash of the calls of a block. Nobody chooses calls so that theirs are alike, so one is used
/// that is fast: it is taken of each block by each validator.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Calls(u64);

impl Calls {
    /// Of these, as they are written here. Of none it is the default.
    pub(crate) fn of(calls: &[u8]) -> Self {
        if calls.is_empty() {
            return Self::default();
        }
        let mut hasher = DefaultHasher::new();
        hasher.write(calls);
        Self(hasher.finish())
    }
}

/// Writes down that a command is applied.
pub(crate) fn write_apply(context: &Context, command: &[u8], bytes: &mut Vec<u8>) {
    write_context(0, context, bytes);
    bytes.extend_from_slice(&(command.len() as u64).to_le_bytes());
    bytes.extend_from_slice(command);
}

/// Writes down that an application is told of a session.
pub(crate) fn write_event(context: &Context, event: SessionEvent, bytes: &mut Vec<u8>) {
    let (kind, key) = match event {
        SessionEvent::Opened { key } => (1, key),
        SessionEvent::TimedOut => (2, [0; 32]),
        SessionEvent::Closed => (3, [0; 32]),
        SessionEvent::Evicted => (4, [0; 32]),
    };
    write_context(kind, context, bytes);
    bytes.extend_from_slice(&key);
}

/// All of it but the height, which is the block's.
fn write_context(kind: u8, context: &Context, bytes: &mut Vec<u8>) {
    bytes.push(kind);
    bytes.extend_from_slice(&context.time_ns.to_le_bytes());
    bytes.extend_from_slice(&context.index.to_le_bytes());
    bytes.extend_from_slice(&context.session.0);
    bytes.extend_from_slice(&context.seq.to_le_bytes());
    bytes.push(context.lane as u8);
}

/// Writes down the calls that a command brings about when it is applied, as docs/client-protocol.md
/// has them.
pub(crate) fn write_calls(context: &Context, view: &CommandView<'_>, bytes: &mut Vec<u8>) {
    let opening = view.body.split_first_chunk::<32>();
    let opening = opening.filter(|_| view.is_open());
    let command = opening.map_or(view.body, |(_, command)| command);
    if let Some((&key, _)) = opening {
        write_event(context, SessionEvent::Opened { key }, bytes);
    }
    if view.is_session() {
        // Clients here say nothing else of their sessions.
        write_event(context, SessionEvent::Closed, bytes);
    } else if opening.is_none() || !command.is_empty() {
        write_apply(context, command, bytes);
    }
}

/// The calls of every height.
#[derive(Debug, Default)]
pub(crate) struct Handed {
    /// And whether those have to be; else they are what somebody was handed before anybody told
    /// what came of that block.
    heights: BTreeMap<u64, (Calls, bool)>,
}

impl Handed {
    /// What came of a block is known, and so is what there is to be handed over of it.
    pub(crate) fn expect(&mut self, height: u64, calls: Calls) -> Result<(), Violation> {
        let before = self.heights.insert(height, (calls, true));
        match before {
            Some((seen, false)) if seen != calls => Err(unlike(
                "an application was handed something else than was applied",
                height,
            )),
            _ => Ok(()),
        }
    }

    /// A validator has handed this to an instance of its application.
    pub(crate) fn see(
        &mut self,
        validator: usize,
        height: u64,
        calls: Calls,
    ) -> Result<(), Violation> {
        match self.heights.entry(height) {
            Entry::Vacant(free) => {
                free.insert((calls, false));
                Ok(())
            }
            Entry::Occupied(known) if known.get().0 == calls => Ok(()),
            Entry::Occupied(known) => {
                let of = if known.get().1 {
                    "was applied"
                } else {
                    "another one does"
                };
                let what = format!("v{validator} hands its application something else than {of}");
                Err(unlike(&what, height))
            }
        }
    }
}

fn unlike(what: &str, height: u64) -> Violation {
    Violation::new("handed", format!("height {height}: {what}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::state_machine::{Lane, SessionId};
    use quorate_consensus::payload::{
        self, Entry as Made, FLAG_OPEN, FLAG_SESSION, encode_flagged_entry, parse_entries,
        session_of_key,
    };

    const CONTEXT: Context = Context {
        height: 5,
        index: 1,
        time_ns: 7,
        session: SessionId([1; 16]),
        seq: 3,
        lane: Lane::Price,
    };

    const KEY: [u8; 32] = [7; 32];

    fn applies(context: Context, command: &[u8]) -> Calls {
        let mut bytes = Vec::new();
        write_apply(&context, command, &mut bytes);
        Calls::of(&bytes)
    }

    #[test]
    fn every_part_of_a_call_is_in_the_hash() {
        let call = applies(CONTEXT, b"body");
        assert_eq!(call, applies(CONTEXT, b"body"));
        let session = SessionId([2; 16]);
        let others = [
            Context {
                index: 2,
                ..CONTEXT
            },
            Context {
                time_ns: 8,
                ..CONTEXT
            },
            Context { session, ..CONTEXT },
            Context { seq: 4, ..CONTEXT },
            Context {
                lane: Lane::Order,
                ..CONTEXT
            },
        ];
        for other in others {
            assert_ne!(call, applies(other, b"body"), "{other:?}");
        }
        assert_ne!(call, applies(CONTEXT, b"bod"));
        assert_ne!(call, Calls::default());
        let mut twice = Vec::new();
        write_apply(&CONTEXT, b"body", &mut twice);
        write_apply(&CONTEXT, b"body", &mut twice);
        assert_ne!(call, Calls::of(&twice));
    }

    /// What an entry with these flags and this body brings about.
    fn calls(flags: u16, body: &[u8]) -> Vec<u8> {
        let session = session_of_key(&KEY);
        let entry = Made {
            lane: payload::Lane::Price,
            session: &session,
            seq: CONTEXT.seq,
            signature: None,
            body,
        };
        let mut entries = Vec::new();
        encode_flagged_entry(&entry, flags, &mut entries);
        let view = parse_entries(&entries).unwrap().next().unwrap();
        let mut bytes = Vec::new();
        write_calls(&CONTEXT, &view, &mut bytes);
        bytes
    }

    #[test]
    fn an_opening_is_told_and_what_follows_its_key_applied_and_a_close_only_told() {
        let key = KEY;
        let told = |events: &[SessionEvent], command: Option<&[u8]>| {
            let mut bytes = Vec::new();
            let each = events.iter();
            each.for_each(|&event| write_event(&CONTEXT, event, &mut bytes));
            if let Some(command) = command {
                write_apply(&CONTEXT, command, &mut bytes);
            }
            bytes
        };
        let opened = SessionEvent::Opened { key };
        let opening = [&key[..], b"body"].concat();
        assert_eq!(calls(0, b"body"), told(&[], Some(b"body")));
        assert_eq!(calls(0, b""), told(&[], Some(b"")));
        assert_eq!(calls(FLAG_OPEN, &opening), told(&[opened], Some(b"body")));
        assert_eq!(calls(FLAG_OPEN, &key), told(&[opened], None));
        let closed = SessionEvent::Closed;
        assert_eq!(calls(FLAG_SESSION, b"\x02"), told(&[closed], None));
    }

    #[test]
    fn whoever_hands_over_something_else_is_found_whenever_it_is_known_what_was_applied() {
        let (good, bad) = (applies(CONTEXT, b"body"), applies(CONTEXT, b"bad"));
        let mut handed = Handed::default();
        assert_eq!(handed.expect(5, good), Ok(()));
        assert_eq!(handed.see(0, 5, good), Ok(()));
        assert!(handed.see(1, 5, bad).is_err());
        assert!(handed.see(1, 5, Calls::default()).is_err(), "nothing of it");
        assert_eq!(handed.see(0, 6, bad), Ok(()), "nobody knows yet");
        assert!(handed.see(1, 6, good).is_err(), "one of them is wrong");
        assert!(handed.expect(6, good).is_err());
        assert_eq!(handed.see(0, 7, good), Ok(()));
        assert_eq!(handed.expect(7, good), Ok(()));
    }
}
