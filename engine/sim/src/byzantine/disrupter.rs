//! Real messages with something changed in them: a little, anything, or the window far ahead.
//!
//! Owns the three scopes of change. Records are signed again after it, so that what is wrong is
//! what they say and not who says it.

use quorate_consensus::message::{Get, Message};
use quorate_consensus::record::Record;
use quorate_consensus::types::{Index, ValidatorIndex, Window};

use super::Actor;
use super::deeds::{Deed, Done};
use super::stage::{Stage, bytes_of, change_record};

/// How much is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// One number by one, one flag, one part left out.
    Small,
    /// Bits of the bytes.
    Any,
    /// Windows and heights far above everybody's.
    Future,
}

/// The one that garbles.
#[derive(Debug)]
pub(crate) struct Disrupter {
    scope: Scope,
}

impl Disrupter {
    pub(crate) const fn new(scope: Scope) -> Self {
        Self { scope }
    }

    fn change_little(stage: &mut Stage<'_>, message: &mut Message) {
        let choice = stage.dice.below(8);
        let is_up = stage.dice.percent(50);
        let changed = change_record(stage, message, |_, record| {
            change_record_little(record, choice, is_up);
        });
        if changed {
            return;
        }
        match message {
            Message::Certificates(certificates) => {
                if let Some(certificate) = certificates.first_mut() {
                    match choice {
                        0 => drop(certificate.records.pop()),
                        1 => drop(certificate.headers.pop()),
                        2 => certificate.window = shifted(certificate.window, is_up),
                        3 => {
                            let first = certificate.records.first().cloned();
                            certificate.records.extend(first);
                        }
                        _ => {}
                    }
                }
            }
            Message::Headers { window, headers } => {
                if is_up {
                    *window = shifted(*window, choice.is_multiple_of(2));
                } else if let Some(header) = headers.first_mut() {
                    header.time_ns = header.time_ns.saturating_sub(choice);
                }
            }
            Message::History(headers) => headers.truncate(headers.len() / 2),
            Message::Get(Get::Headers { index, .. }) => *index = index.next(),
            Message::Get(Get::Ready { window }) => *window = shifted(*window, is_up),
            Message::FenceAnswer { incarnation, .. } => *incarnation += 1,
            _ => {}
        }
    }

    fn change_future(stage: &mut Stage<'_>, message: &mut Message) {
        let far = 1 << stage.dice.between(1, 62);
        match message {
            Message::Vote(vote) => {
                vote.window = vote.window.plus(far);
                if vote.signature.is_some() {
                    vote.signature = Some(stage.sign_record(vote.window, &vote.record));
                }
            }
            Message::Status(status) => {
                status.window = status.window.plus(far);
                status.finalized.height = status.finalized.height.plus(far);
                status.proven.height = status.proven.height.plus(far);
                status.flushed = status.flushed.plus(far);
            }
            Message::Propose(propose) => propose.header.window = propose.header.window.plus(far),
            Message::Certificates(certificates) => {
                for certificate in certificates {
                    certificate.window = certificate.window.plus(far);
                }
            }
            Message::Get(Get::Ready { window }) => *window = window.plus(far),
            Message::Get(Get::Finality { at_least }) => *at_least = at_least.plus(far),
            Message::HeaderSignature { header, signature } => {
                header.window = header.window.plus(far);
                *signature = stage.sign_header(header);
            }
            _ => {}
        }
    }
}

fn shifted(window: Window, is_up: bool) -> Window {
    if is_up {
        window.next()
    } else {
        window.previous().unwrap_or(window)
    }
}

fn change_record_little(record: &mut Record, choice: u64, is_up: bool) {
    let moved = |index: Index| {
        if is_up {
            index.next()
        } else {
            index.previous().unwrap_or(index)
        }
    };
    match choice {
        0 => record.stop = !record.stop,
        1 => record.fin = record.tip.map(|(index, _)| index),
        2 => record.fin = record.fin.map(moved),
        3 => record.tip = record.tip.map(|(index, id)| (moved(index), id)),
        4 => {
            record.skip_fallback = record
                .skip_fallback
                .map_or(Some(Index::ZERO), |at| Some(moved(at)))
        }
        5 => record.also.clear(),
        6 => record.tip = None,
        _ => record.fin = None,
    }
}

impl Actor for Disrupter {
    fn deeds(&self) -> &'static [Done] {
        match self.scope {
            Scope::Small => &[
                (Deed::Changed, "vote"),
                (Deed::Changed, "status"),
                (Deed::Changed, "get"),
                (Deed::Changed, "certificates"),
                (Deed::Changed, "fence"),
                (Deed::Changed, "headers"),
            ],
            Scope::Any => &[
                (Deed::Changed, "propose"),
                (Deed::Changed, "vote"),
                (Deed::Changed, "status"),
                (Deed::Changed, "get"),
                (Deed::Changed, "certificates"),
            ],
            Scope::Future => &[
                (Deed::Changed, "propose"),
                (Deed::Changed, "vote"),
                (Deed::Changed, "status"),
                (Deed::Changed, "certificates"),
                (Deed::Changed, "signature"),
            ],
        }
    }

    fn say(&mut self, stage: &mut Stage<'_>, to: ValidatorIndex, mut message: Message) {
        // Clients' commands are not signed here: to change one would be to be the client.
        if stage.dice.percent(60) || matches!(message, Message::Forward(_)) {
            return stage.send(to, message);
        }
        match self.scope {
            Scope::Small => Self::change_little(stage, &mut message),
            Scope::Future => Self::change_future(stage, &mut message),
            Scope::Any => {
                let mut bytes = bytes_of(&message);
                for _ in 0..=stage.dice.below(3) {
                    let place = stage.dice.place(bytes.len());
                    bytes[place] ^= 1 << stage.dice.below(8);
                }
                return stage.send_bytes(to, bytes);
            }
        }
        stage.send(to, message);
    }
}
