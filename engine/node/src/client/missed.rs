//! The private stream of a session for programs that want to wait.
//!
//! Owns what an answer is turned into. Never: when what is missed is asked for (`feed`).

use super::ClientError;
use super::blocking::Client;
use super::event::ClientEvent;
use super::feed::StreamHole;
use crate::client_wire::{Place, Private, PrivateItem, PrivateState, Stream};
use crate::streams::StreamPosition;
use std::time::{Duration, Instant};

/// When a validator that has not come to a block is asked again.
const AGAIN: Duration = Duration::from_millis(5);
/// Bytes of the outputs of one command that are taken, of whoever tells them.
const OUTPUTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// An output that was put out for a session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivateOutput {
    /// Its address: its block's height, and its place among all outputs of the block.
    pub address: StreamPosition,
    /// Replicated time of its block, nanoseconds since the Unix epoch.
    pub time_ns: u64,
    /// Place in the block of the command that made it; none for a timer or a time-out.
    pub command: Option<u32>,
    /// It was told with the result of that command, which is the session's own.
    pub is_in_result: bool,
    /// The application's bytes.
    pub bytes: Vec<u8>,
}

impl From<PrivateItem<'_>> for PrivateOutput {
    fn from(item: PrivateItem<'_>) -> Self {
        Self {
            address: item.address,
            time_ns: item.time_ns,
            command: item.command,
            is_in_result: item.is_in_result,
            bytes: item.bytes.to_vec(),
        }
    }
}

/// A piece of a session's private stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PrivatePiece {
    /// All outputs from the position that was asked for up to `next`, ascending.
    pub outputs: Vec<PrivateOutput>,
    /// Where to ask on, unless that is where the question ended, or `tip`.
    pub next: StreamPosition,
    /// Behind everything that the validator has executed.
    pub tip: StreamPosition,
}

/// What an answer says.
enum Told {
    Piece(PrivatePiece),
    /// The oldest position that there is.
    Gone(StreamPosition),
    /// The validator has not come so far.
    Ahead,
}

/// What an answer to a question from this position on says; what lies elsewhere is no part of it.
fn told_by(answer: &Private<'_>, from: StreamPosition, to: StreamPosition) -> Told {
    match answer.state() {
        PrivateState::Done => {
            let is_asked = |item: &PrivateItem<'_>| (from..to).contains(&item.address);
            Told::Piece(PrivatePiece {
                outputs: answer
                    .clone()
                    .filter(is_asked)
                    .map(PrivateOutput::from)
                    .collect(),
                next: answer.end().max(from),
                tip: answer.tip(),
            })
        }
        PrivateState::Gone => Told::Gone(answer.oldest()),
        PrivateState::Ahead => Told::Ahead,
    }
}

impl Client {
    /// As [`on_stream`](Self::on_stream), and begins behind the position up to which a program has
    /// been told ([`stream_position`](Self::stream_position)) in an earlier run.
    pub fn on_stream_from(
        &mut self,
        from: StreamPosition,
        tell: impl FnMut(Stream<'_>) + Send + 'static,
    ) {
        self.tell_stream_to(Some(from), tell);
    }

    /// Behind what has been told of the private stream; none before that is known.
    #[must_use]
    pub fn stream_position(&self) -> Option<StreamPosition> {
        self.clients.stream_position(self.client)
    }

    /// Where the private stream did not go on as it was, since this was asked last: ask the
    /// application how things stand. The newest 64 of them are kept.
    pub fn take_stream_holes(&mut self) -> Vec<StreamHole> {
        std::mem::take(&mut self.on_stream.holes)
    }

    /// What was put out for the session between two positions, as much of it as one answer takes.
    /// Of a validator that has it, of all that there are: each is asked once.
    ///
    /// # Errors
    /// [`ClientError::Gone`]: nobody has the first position any more. The time was over.
    pub fn private(
        &mut self,
        from: StreamPosition,
        to: StreamPosition,
        timeout: Duration,
    ) -> Result<PrivatePiece, ClientError> {
        let began = Instant::now();
        let mut left = self.clients.contacts_len();
        let mut asked_since = began;
        loop {
            let rest = timeout.saturating_sub(began.elapsed());
            let told = self.question(
                rest,
                |clients, client| clients.ask_private(client, from, to),
                |id, event| match event {
                    ClientEvent::Private(answer) if answer.id() == id => {
                        Some(told_by(answer, from, to))
                    }
                    _ => None,
                },
            )?;
            match told {
                Told::Piece(piece) => return Ok(piece),
                Told::Gone(oldest) => {
                    left = left.saturating_sub(1);
                    if left == 0 {
                        let position = from;
                        return Err(ClientError::Gone { position, oldest });
                    }
                    self.turn_away();
                    asked_since = Instant::now();
                }
                Told::Ahead if asked_since.elapsed() < self.patience => {
                    self.turn(AGAIN.min(rest), |_, _| ())?;
                }
                Told::Ahead => {
                    self.turn_away();
                    asked_since = Instant::now();
                }
            }
        }
    }

    /// What the command at a place put out for the session: of one that was applied while its
    /// result was not seen, which is a duplicate when it is sent again.
    ///
    /// # Errors
    /// [`ClientError::Gone`]: nobody has that block's outputs any more. [`ClientError::Length`]: a
    /// validator tells more than 64 MiB of them. The time was over.
    pub fn outputs_at(
        &mut self,
        place: Place,
        timeout: Duration,
    ) -> Result<Vec<Vec<u8>>, ClientError> {
        let began = Instant::now();
        let mut from = StreamPosition::before(place.height);
        let end = StreamPosition::before(place.height.saturating_add(1));
        let (mut outputs, mut bytes) = (Vec::new(), 0_usize);
        while from < end {
            let rest = timeout.saturating_sub(began.elapsed());
            if rest.is_zero() {
                return Err(ClientError::Timeout);
            }
            let piece = self.private(from, end, rest)?;
            let of_command = |one: &PrivateOutput| one.command == Some(place.index);
            for one in piece.outputs.into_iter().filter(of_command) {
                bytes = bytes.saturating_add(one.bytes.len());
                outputs.push(one.bytes);
            }
            if bytes > OUTPUTS_BYTES_MAX {
                let bytes_max = OUTPUTS_BYTES_MAX;
                return Err(ClientError::Length { bytes, bytes_max });
            }
            if piece.next <= from {
                // It has not come to that block yet.
                self.turn(AGAIN.min(rest), |_, _| ())?;
            }
            from = piece.next;
        }
        Ok(outputs)
    }

    /// Leaves the validator for the next one, and waits until that has been done.
    fn turn_away(&mut self) {
        self.clients.turn_away(self.client);
        let now = Instant::now();
        let on_stream = &mut self.on_stream;
        let left = self.clients.turn(now, Some(Duration::ZERO), |_, event| {
            on_stream.tell(&event);
        });
        if let Err(error) = left {
            tracing::debug!(%error, "the next question tells of it");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_wire::{PrivateFrame, ServerFrame};

    const fn at(height: u64, index: u32) -> StreamPosition {
        StreamPosition { height, index }
    }

    /// What is asked for.
    const FROM: StreamPosition = at(5, 2);
    const TO: StreamPosition = at(6, 0);

    /// Of an answer with outputs at these positions that ends there, which are told, and from where
    /// it goes on.
    fn told(addresses: &[StreamPosition], end: StreamPosition) -> (Vec<StreamPosition>, u64) {
        let mut frame = PrivateFrame::new(None, 1);
        for address in addresses {
            frame.push(*address, 7, Some(0), false, b"fill");
        }
        frame.finish(PrivateState::Done, end, at(1, 0), at(9, 0));
        let bytes = frame.into_bytes();
        let Ok((_, ServerFrame::Private(answer))) = ServerFrame::decode(&bytes) else {
            panic!("an answer")
        };
        let Told::Piece(piece) = told_by(&answer, FROM, TO) else {
            panic!("a piece")
        };
        let outputs = piece.outputs.iter().map(|one| one.address);
        (outputs.collect(), piece.next.height)
    }

    /// As a validator may tell that errs or lies.
    #[test]
    fn of_what_lies_before_or_behind_the_question_nothing_is_told() {
        let all = [at(5, 1), FROM, at(5, 7), TO, at(6, 1)];
        assert_eq!(told(&all, at(7, 0)), (vec![FROM, at(5, 7)], 7));
    }

    #[test]
    fn an_answer_that_ends_before_the_question_takes_nobody_back() {
        assert_eq!(told(&[], at(3, 0)), (Vec::new(), FROM.height));
    }
}
