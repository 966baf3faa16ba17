//! The private stream of a session for programs that want to wait.
//!
//! Owns what an answer is turned into. Never: when what is missed is asked for (`feed`).

use super::ClientError;
use super::blocking::Client;
use super::event::ClientEvent;
use crate::client_wire::{Place, Private, PrivateItem, PrivateState, Stream};
use crate::streams::StreamPosition;
use std::time::{Duration, Instant};

/// When a validator that has not come to a block is asked again.
const AGAIN: Duration = Duration::from_millis(5);

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

/// What an answer says; none while its validator has not come to the position.
fn piece_of(answer: &Private<'_>) -> Option<Result<PrivatePiece, ClientError>> {
    match answer.state() {
        PrivateState::Done => Some(Ok(PrivatePiece {
            outputs: answer.clone().map(PrivateOutput::from).collect(),
            next: answer.end(),
            tip: answer.tip(),
        })),
        PrivateState::Gone => Some(Err(ClientError::Gone {
            position: answer.end(),
            oldest: answer.oldest(),
        })),
        PrivateState::Ahead => None,
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

    /// The stretches of the private stream that no validator had any more, since this was asked
    /// last: ask the application how things stand. The newest 64 of them are kept.
    pub fn take_stream_holes(&mut self) -> Vec<(StreamPosition, StreamPosition)> {
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
        loop {
            let rest = timeout.saturating_sub(began.elapsed());
            let piece = self.question(
                rest,
                |clients, client| clients.ask_private(client, from, to),
                |id, event| match event {
                    ClientEvent::Private(answer) if answer.id() == id => piece_of(answer),
                    _ => None,
                },
            )?;
            left = left.saturating_sub(1);
            match piece {
                Err(ClientError::Gone { .. }) if left > 0 => self.turn_away(),
                piece => return piece,
            }
        }
    }

    /// What the command at a place put out for the session: of one that was applied while its
    /// result was not seen, which is a duplicate when it is sent again.
    ///
    /// # Errors
    /// [`ClientError::Gone`]: nobody has that block's outputs any more. The time was over.
    pub fn outputs_at(
        &mut self,
        place: Place,
        timeout: Duration,
    ) -> Result<Vec<Vec<u8>>, ClientError> {
        let began = Instant::now();
        let mut from = StreamPosition::before(place.height);
        let end = StreamPosition::before(place.height.saturating_add(1));
        let mut outputs = Vec::new();
        while from < end {
            let rest = timeout.saturating_sub(began.elapsed());
            let piece = self.private(from, end, rest)?;
            let of_command = |one: &PrivateOutput| one.command == Some(place.index);
            let own = piece.outputs.into_iter().filter(of_command);
            outputs.extend(own.map(|one| one.bytes));
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
