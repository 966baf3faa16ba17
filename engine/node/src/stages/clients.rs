//! Which clients are connected, and whose results go where.
//!
//! Owns the table of connections by session and the frames in the making. Never: sockets; frames
//! go out through a callback.
//!
//! A block's results are walked once. Each run of commands of one session costs one look-up; a
//! session that is not connected here costs nothing more.

use crate::client_wire::{Outcome, ResultItem, ResultsFrame, StreamFrame};
use crate::results::{BlockResults, CommandResult, OutputItem, OwnShare};
use crate::state_machine::{Audience, OUTPUT_BYTES_MAX, SessionId, SessionMap};
use quorate_consensus::types::ValidatorIndex;
use quorate_net::ClientId;
use std::collections::HashMap;

/// A frame that has reached this length is sent and another one begun, bytes. With the outputs of
/// one result (`OUTPUT_BYTES_MAX`) in one that was nearly full, that is what a connection takes.
const FRAME_BYTES_FULL: usize = 512 * 1024;
/// What a session that got long ones keeps for its next frame of outputs, bytes: there are as many
/// sessions as clients.
const FRAME_BYTES_KEPT: usize = 4 * 1024;
/// The same for its next frame of results, which tells of some hundred commands so.
const RESULTS_BYTES_KEPT: usize = 16 * 1024;

/// The connections of one session and its frames in the making.
#[derive(Debug)]
struct Connected {
    session: SessionId,
    clients: Vec<ClientId>,
    results: ResultsFrame,
    stream: StreamFrame,
    is_touched: bool,
    /// A command of it has been applied since somebody has it here.
    is_open: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(crate) struct ClientTable {
    // Looked up, never walked.
    logins: HashMap<ClientId, (SessionId, [u8; 32])>,
    places: SessionMap<usize>,
    connected: Vec<Connected>,
    /// Places with a frame in the making.
    touched: Vec<usize>,
    /// Clients whose session turned out to be open.
    opened: Vec<ClientId>,
}

impl ClientTable {
    /// A client has logged in.
    pub(crate) fn add(&mut self, client: ClientId, session: SessionId, key: [u8; 32]) {
        self.logins.insert(client, (session, key));
        if let Some(&place) = self.places.get(&session) {
            let connected = &mut self.connected[place];
            connected.clients.push(client);
            self.opened.extend(connected.is_open.then_some(client));
            return;
        }
        self.places.insert(session, self.connected.len());
        self.connected.push(Connected {
            session,
            clients: vec![client],
            results: ResultsFrame::default(),
            stream: StreamFrame::default(),
            is_touched: false,
            is_open: false,
        });
    }

    /// A client is gone. Not while frames are in the making.
    pub(crate) fn remove(&mut self, client: ClientId) {
        let Some((session, _)) = self.logins.remove(&client) else {
            return;
        };
        let Some(&place) = self.places.get(&session) else {
            return;
        };
        let Some(connected) = self.connected.get_mut(place) else {
            return;
        };
        connected.clients.retain(|other| *other != client);
        if !connected.clients.is_empty() {
            return;
        }
        self.places.remove(&session);
        self.connected.swap_remove(place);
        if let Some(moved) = self.connected.get(place) {
            self.places.insert(moved.session, place);
        }
    }

    /// Every client that has logged in.
    pub(crate) fn clients(&self) -> impl Iterator<Item = ClientId> {
        let sessions = self.connected.iter();
        sessions.flat_map(|connected| connected.clients.iter().copied())
    }

    /// Clients whose session turned out to be open since this was asked last. There are only so
    /// many sessions, and new ones are opened at a rate: unlike a connection one costs something.
    pub(crate) fn take_opened(&mut self) -> Vec<ClientId> {
        std::mem::take(&mut self.opened)
    }

    /// The session and the key of a client.
    pub(crate) fn login(&self, client: ClientId) -> Option<(SessionId, [u8; 32])> {
        self.logins.get(&client).copied()
    }

    /// Sends what came of a block to the sessions that are connected here.
    pub(crate) fn send_block(
        &mut self,
        leader: Option<ValidatorIndex>,
        results: &BlockResults,
        send: &mut impl FnMut(ClientId, &[u8]),
    ) {
        if self.connected.is_empty() {
            return;
        }
        let head = Head {
            leader,
            height: results.height,
            time_ns: results.time_ns,
        };
        let mut outputs = results.outputs().peekable();
        // Timers fire before the first command.
        while let Some(output) = outputs.next_if(|output| output.command.is_none()) {
            self.push_stream(&head, &output, send);
        }
        // Commands come in runs of one session, connected here or not.
        let mut last: Option<(SessionId, Option<usize>)> = None;
        for (result, index) in results.commands.iter().zip(0_u32..) {
            let place = match last {
                Some((session, place)) if session == result.session => place,
                _ => self.places.get(&result.session).copied(),
            };
            last = Some((result.session, place));
            let (mut own, mut rest) = (Own::default(), Vec::new());
            while let Some(output) = outputs.next_if(|output| output.command == Some(index)) {
                if output.audience != Audience::Session(result.session) {
                    self.push_stream(&head, &output, send);
                } else if place.is_some() && !own.take(output.bytes) {
                    rest.push(output);
                }
            }
            if let Some(place) = place {
                self.push_result(place, &head, result, own.outputs.into_iter(), send);
                if !rest.is_empty() {
                    self.connected[place].flush_results(&head, send);
                }
            }
            for output in rest {
                self.push_stream(&head, &output, send);
            }
        }
        self.finish(send);
    }

    /// Sends what had come of commands that were submitted again.
    pub(crate) fn send_repeats(
        &mut self,
        leader: Option<ValidatorIndex>,
        repeats: &[CommandResult],
        send: &mut impl FnMut(ClientId, &[u8]),
    ) {
        let head = Head {
            leader,
            height: 0,
            time_ns: 0,
        };
        for result in repeats {
            if let Some(&place) = self.places.get(&result.session) {
                self.push_result(place, &head, result, std::iter::empty(), send);
            }
        }
        self.finish(send);
    }

    fn push_result<'o>(
        &mut self,
        place: usize,
        head: &Head,
        result: &CommandResult,
        outputs: impl Iterator<Item = &'o [u8]>,
        send: &mut impl FnMut(ClientId, &[u8]),
    ) {
        let Some(connected) = self.connected.get_mut(place) else {
            return;
        };
        if connected.touch(head) {
            self.touched.push(place);
        }
        let has_applied = matches!(result.outcome, Outcome::Applied | Outcome::Duplicate);
        if has_applied && !connected.is_open {
            connected.is_open = true;
            self.opened.extend(&connected.clients);
        }
        let item = ResultItem {
            seq: result.seq,
            outcome: result.outcome,
            applied: result.applied,
            mark: result.mark,
            finality_ns: result.finality_ns,
        };
        connected.results.push(item, outputs);
        if connected.results.bytes_len() >= FRAME_BYTES_FULL {
            connected.flush_results(head, send);
        }
    }

    fn push_stream(
        &mut self,
        head: &Head,
        output: &OutputItem<'_>,
        send: &mut impl FnMut(ClientId, &[u8]),
    ) {
        // The public stream is for those who embed the node.
        let Audience::Session(session) = output.audience else {
            return;
        };
        let Some(&place) = self.places.get(&session) else {
            return;
        };
        let Some(connected) = self.connected.get_mut(place) else {
            return;
        };
        if output.bytes.len() > OUTPUT_BYTES_MAX {
            return;
        }
        if connected.touch(head) {
            self.touched.push(place);
        }
        connected.stream.push(output.number, output.bytes);
        if connected.stream.bytes_len() >= FRAME_BYTES_FULL {
            connected.send_stream(send);
            connected
                .stream
                .begin(head.leader, head.height, head.time_ns);
        }
    }

    fn finish(&mut self, send: &mut impl FnMut(ClientId, &[u8])) {
        for place in self.touched.drain(..) {
            let Some(connected) = self.connected.get_mut(place) else {
                continue;
            };
            connected.is_touched = false;
            connected.send_results(send);
            connected.send_stream(send);
            connected.results.shrink_to(RESULTS_BYTES_KEPT);
            connected.stream.shrink_to(FRAME_BYTES_KEPT);
        }
    }
}

/// What a command made for its own session, as far as one result takes it.
#[derive(Default)]
struct Own<'o> {
    outputs: Vec<&'o [u8]>,
    share: OwnShare,
}

impl<'o> Own<'o> {
    /// Whether the result takes it; what it does not goes into the stream, where nothing is lost.
    fn take(&mut self, output: &'o [u8]) -> bool {
        let has_room = self.share.take(output.len());
        if has_room {
            self.outputs.push(output);
        }
        has_room
    }
}

/// What the frames of one block have in common.
struct Head {
    leader: Option<ValidatorIndex>,
    height: u64,
    time_ns: u64,
}

impl Connected {
    /// Begins frames for a block; whether that was the first time.
    fn touch(&mut self, head: &Head) -> bool {
        if self.is_touched {
            return false;
        }
        self.is_touched = true;
        self.results.begin(head.leader, head.height, head.time_ns);
        self.stream.begin(head.leader, head.height, head.time_ns);
        true
    }

    /// Sends what has come so far and begins anew.
    fn flush_results(&mut self, head: &Head, send: &mut impl FnMut(ClientId, &[u8])) {
        self.send_results(send);
        self.results.begin(head.leader, head.height, head.time_ns);
    }

    fn send_results(&mut self, send: &mut impl FnMut(ClientId, &[u8])) {
        if self.results.count() > 0 {
            let frame = self.results.finish();
            self.clients.iter().for_each(|client| send(*client, frame));
        }
    }

    fn send_stream(&mut self, send: &mut impl FnMut(ClientId, &[u8])) {
        if self.stream.count() > 0 {
            let frame = self.stream.finish();
            self.clients.iter().for_each(|client| send(*client, frame));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client_wire::{Place, RESULT_OUTPUTS_MAX, ServerFrame};
    use crate::state_machine::Output;

    const KEY: [u8; 32] = [9; 32];
    const ALICE: SessionId = SessionId([1; 16]);
    const BOB: SessionId = SessionId([2; 16]);
    const CAROL: SessionId = SessionId([3; 16]);

    fn result(session: SessionId, seq: u64, index: u32) -> CommandResult {
        CommandResult {
            session,
            seq,
            outcome: Outcome::Applied,
            applied: Some(Place { height: 7, index }),
            mark: None,
            finality_ns: 5,
        }
    }

    /// Alice's order is filled against Bob's; a timer told Bob something before.
    fn block() -> BlockResults {
        let mut results = BlockResults::new();
        results.height = 7;
        results.time_ns = 70;
        let mut output = Output::new();
        output.to_session(BOB, b"timer");
        results.collect(None, &output);
        output.clear();
        output.to_session(ALICE, b"filled");
        output.to_session(BOB, b"maker");
        output.to_public(b"trade");
        results.collect(Some(0), &output);
        output.clear();
        output.to_session(CAROL, b"unconnected");
        results.collect(Some(1), &output);
        results.commands = vec![
            result(ALICE, 1, 0),
            result(CAROL, 4, 1),
            result(ALICE, 2, 2),
        ];
        results
    }

    fn tell(frame: &[u8]) -> String {
        match ServerFrame::decode(frame).unwrap().1 {
            ServerFrame::Results(results) => results
                .map(|result| {
                    let outputs: Vec<String> = result
                        .outputs
                        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
                        .collect();
                    format!("{}:{}", result.item.seq, outputs.join("+"))
                })
                .collect::<Vec<_>>()
                .join(" "),
            ServerFrame::Stream(stream) => stream
                .map(|(number, bytes)| format!("#{number}={}", String::from_utf8_lossy(bytes)))
                .collect::<Vec<_>>()
                .join(" "),
            other => panic!("{other:?}"),
        }
    }

    fn sent(table: &mut ClientTable, results: &BlockResults) -> Vec<(u64, String)> {
        let mut sent = Vec::new();
        table.send_block(None, results, &mut |client, frame| {
            sent.push((client.to_bits(), tell(frame)));
        });
        sent
    }

    #[test]
    fn each_session_gets_its_results_and_what_others_caused_for_it() {
        let mut table = ClientTable::default();
        table.add(ClientId::from_bits(1), ALICE, KEY);
        table.add(ClientId::from_bits(2), BOB, KEY);
        let mut sent = sent(&mut table, &block());
        sent.sort();
        assert_eq!(
            sent,
            [
                (1, "1:filled 2:".to_owned()),
                (2, "#0=timer #2=maker".to_owned())
            ]
        );
    }

    #[test]
    fn every_connection_of_a_session_is_told_and_those_gone_are_not() {
        let mut table = ClientTable::default();
        for client in 1..=3 {
            table.add(ClientId::from_bits(client), ALICE, KEY);
        }
        table.add(ClientId::from_bits(9), BOB, KEY);
        table.remove(ClientId::from_bits(2));
        let told = sent(&mut table, &block());
        assert_eq!(
            told.iter()
                .filter(|(_, text)| text.starts_with("1:"))
                .count(),
            2
        );
        table.remove(ClientId::from_bits(1));
        table.remove(ClientId::from_bits(3));
        let told = sent(&mut table, &block());
        assert_eq!(
            told.len(),
            1,
            "Bob moved to the place of Alice and is still found"
        );
        assert_eq!(told[0].0, 9);
    }

    #[test]
    fn whoever_has_an_open_session_is_told_once_and_nobody_else() {
        let mut table = ClientTable::default();
        for (client, session) in [(1, ALICE), (2, BOB), (3, ALICE)] {
            table.add(ClientId::from_bits(client), session, KEY);
        }
        assert!(table.take_opened().is_empty(), "a login opens nothing");
        sent(&mut table, &block());
        // Bob is told things, and has done nothing himself.
        assert_eq!(table.take_opened(), [1, 3].map(ClientId::from_bits));
        sent(&mut table, &block());
        assert!(table.take_opened().is_empty());
        table.add(ClientId::from_bits(4), ALICE, KEY);
        assert_eq!(table.take_opened(), [ClientId::from_bits(4)]);
        let mut refused = block();
        for one in &mut refused.commands {
            (one.session, one.outcome) = (BOB, Outcome::TableFull);
        }
        sent(&mut table, &refused);
        assert!(table.take_opened().is_empty());
    }

    #[test]
    fn long_results_are_sent_in_several_frames_and_none_is_lost() {
        let mut table = ClientTable::default();
        table.add(ClientId::from_bits(1), ALICE, KEY);
        let mut results = BlockResults::new();
        results.height = 7;
        let mut output = Output::new();
        output.to_session(ALICE, &vec![b'x'; 64 * 1024]);
        for index in 0..40 {
            results.collect(Some(index), &output);
            results
                .commands
                .push(result(ALICE, u64::from(index) + 1, index));
        }
        let (mut seqs, mut frames) = (Vec::new(), 0);
        table.send_block(None, &results, &mut |_, frame| {
            assert!(frame.len() < 2 * FRAME_BYTES_FULL);
            frames += 1;
            let Ok((_, ServerFrame::Results(results))) = ServerFrame::decode(frame) else {
                panic!("not results");
            };
            seqs.extend(results.map(|result| result.item.seq));
        });
        assert!(frames > 1);
        assert_eq!(seqs, (1..=40).collect::<Vec<_>>());
    }

    #[test]
    fn a_result_with_more_outputs_than_a_frame_takes_is_told_with_those_that_fit() {
        let mut table = ClientTable::default();
        table.add(ClientId::from_bits(1), ALICE, KEY);
        let mut results = BlockResults::new();
        results.height = 7;
        // By a timer.
        let mut output = Output::new();
        output.to_session(ALICE, &vec![b'y'; OUTPUT_BYTES_MAX + 1]);
        output.to_session(ALICE, b"short");
        results.collect(None, &output);
        let third = vec![b'x'; OUTPUT_BYTES_MAX / 3];
        for index in 0..2 {
            let mut output = Output::new();
            (0..4).for_each(|_| output.to_session(ALICE, &third));
            results.collect(Some(index), &output);
            results
                .commands
                .push(result(ALICE, u64::from(index) + 1, index));
        }
        let (mut told, mut streamed) = (Vec::new(), Vec::new());
        table.send_block(None, &results, &mut |_, frame| {
            assert!(frame.len() < FRAME_BYTES_FULL + OUTPUT_BYTES_MAX + 1024);
            match ServerFrame::decode(frame).expect("a frame").1 {
                ServerFrame::Results(results) => {
                    told.extend(results.map(|one| (one.item.seq, one.outputs.count())));
                }
                ServerFrame::Stream(stream) => {
                    streamed.extend(stream.map(|(_, bytes)| bytes.len()));
                }
                other => panic!("{other:?}"),
            }
        });
        assert_eq!(told, [(1, 3), (2, 3)]);
        let third = third.len();
        assert_eq!(streamed, [5, third, third], "but for one that fits nowhere");
    }

    /// What one session is told of a command with this many outputs of this length: how many stand
    /// in its result, and in all; the last one of them says that all are told.
    fn told_of_many(count: u32, bytes: usize) -> (usize, Vec<Vec<u8>>) {
        let mut table = ClientTable::default();
        table.add(ClientId::from_bits(1), ALICE, KEY);
        let mut results = BlockResults::new();
        results.height = 7;
        let mut output = Output::new();
        for number in 1..count {
            let mut bytes = vec![b'c'; bytes];
            bytes[..4].copy_from_slice(&number.to_le_bytes());
            output.to_session(ALICE, &bytes);
        }
        output.to_session(ALICE, b"that was all");
        results.collect(Some(0), &output);
        results.commands.push(result(ALICE, 1, 0));
        let (mut with_result, mut told) = (0, Vec::new());
        table.send_block(
            None,
            &results,
            &mut |_, frame| match ServerFrame::decode(frame).expect("a frame").1 {
                ServerFrame::Results(results) => {
                    assert!(told.is_empty(), "the result comes first");
                    told.extend(results.flat_map(|one| one.outputs).map(<[u8]>::to_vec));
                    with_result = told.len();
                }
                ServerFrame::Stream(stream) => {
                    for (number, bytes) in stream {
                        assert_eq!(number as usize, told.len(), "in their order");
                        told.push(bytes.to_vec());
                    }
                }
                other => panic!("{other:?}"),
            },
        );
        (with_result, told)
    }

    #[test]
    fn reports_that_a_result_has_no_room_for_come_by_the_stream_and_the_last_one_too() {
        // A cancel of very many orders.
        for (count, bytes) in [(45_000, 26), (70_000, 4)] {
            let (with_result, told) = told_of_many(count, bytes);
            assert_eq!(told.len(), count as usize);
            assert_eq!(told.last().map(Vec::as_slice), Some(&b"that was all"[..]));
            let most = (OUTPUT_BYTES_MAX / bytes).min(RESULT_OUTPUTS_MAX);
            assert_eq!(with_result, most, "as many as before");
        }
    }

    #[test]
    fn a_repeated_command_is_answered_to_its_own_session() {
        let mut table = ClientTable::default();
        table.add(ClientId::from_bits(1), ALICE, KEY);
        let mut sent = Vec::new();
        let repeats = [result(ALICE, 8, 0), result(BOB, 9, 0)];
        table.send_repeats(None, &repeats, &mut |client, frame| {
            sent.push((client.to_bits(), tell(frame)));
        });
        assert_eq!(sent, [(1, "8:".to_owned())]);
    }

    /// One long block a session would else cost as much as all of them may, for good.
    #[test]
    fn what_long_frames_took_is_not_kept() {
        let mut table = ClientTable::default();
        table.add(ClientId::from_bits(1), ALICE, KEY);
        let taken = |table: &ClientTable| {
            let connected = &table.connected[0];
            [
                connected.results.memory_bytes(),
                connected.stream.memory_bytes(),
            ]
        };
        let mut results = BlockResults::new();
        results.height = 7;
        let mut output = Output::new();
        output.to_session(ALICE, &vec![b'x'; OUTPUT_BYTES_MAX]);
        // By a timer, and by a command of her own.
        results.collect(None, &output);
        results.collect(Some(0), &output);
        results.commands.push(result(ALICE, 1, 0));
        let mut longest = 0;
        table.send_block(None, &results, &mut |_, frame| {
            longest = longest.max(frame.len());
        });
        assert!(longest > OUTPUT_BYTES_MAX);
        let are_kept = |[results, stream]: [usize; 2]| {
            results <= RESULTS_BYTES_KEPT && stream <= FRAME_BYTES_KEPT
        };
        assert!(are_kept(taken(&table)));
        sent(&mut table, &block());
        assert!(are_kept(taken(&table)));
    }

    #[test]
    fn results_of_some_hundred_commands_ask_for_no_memory_again() {
        let mut table = ClientTable::default();
        table.add(ClientId::from_bits(1), ALICE, KEY);
        let mut results = BlockResults::new();
        results.height = 7;
        let all = (0..300).map(|index| result(ALICE, u64::from(index) + 1, index));
        results.commands.extend(all);
        let mut bytes = 0;
        table.send_block(None, &results, &mut |_, frame| bytes = frame.len());
        assert!(bytes > 2 * FRAME_BYTES_KEPT, "{bytes}");
        let kept = table.connected[0].results.memory_bytes();
        assert!((bytes..=RESULTS_BYTES_KEPT).contains(&kept), "{kept}");
    }

    #[test]
    fn sessions_that_take_turns_in_a_block_are_each_told_their_own() {
        let mut table = ClientTable::default();
        table.add(ClientId::from_bits(1), ALICE, KEY);
        table.add(ClientId::from_bits(2), BOB, KEY);
        let mut results = BlockResults::new();
        results.height = 7;
        let turns = [ALICE, ALICE, CAROL, CAROL, BOB, BOB, CAROL, ALICE, BOB];
        let commands = (1..).zip(turns).zip(0..);
        results
            .commands
            .extend(commands.map(|((seq, session), index)| result(session, seq, index)));
        let mut sent = sent(&mut table, &results);
        sent.sort();
        let own = ["1: 2: 8:", "5: 6: 9:"].map(str::to_owned);
        assert_eq!(sent, [1, 2].into_iter().zip(own).collect::<Vec<_>>());
    }
}
