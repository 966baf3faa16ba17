//! Signs of life, the time-out behind an opening, and who must listen before something is sent.

use super::*;
use crate::client::Client;
use crate::client::quorum::Whose;
use crate::client_wire::{ClientFrame, Outcome};
use crate::streams::StreamPosition;
use crate::testing::{genesis_reached_at, sample_genesis};
use quorate_net::LinkHandler as _;
use std::net::TcpListener;

const MS: Duration = Duration::from_millis(1);
const TIMEOUT_NS: u64 = 300_000_000;

/// A door that somebody knocks at, and nobody opens.
fn knock(clients: &mut Clients, listener: &TcpListener) -> LinkId {
    let address = listener.local_addr().unwrap().to_string();
    let key = Arc::clone(&clients.table.sessions[0].key);
    let wanted = ValidatorIndex::new(0);
    let identity = Arc::new(Identity::new(key, Arc::clone(&clients.set), wanted));
    let link = clients
        .links
        .connect(Instant::now(), &address, clients.chain, identity);
    link.expect("a connection on its way")
}

fn clients(trust: Trust, sessions: u8) -> (Clients, Vec<ClientRef>) {
    let (genesis, _) = sample_genesis(4);
    let mut clients = Clients::new(&genesis).expect("an event queue");
    let options = ClientOptions {
        trust,
        ..ClientOptions::default()
    };
    let add = |number| clients.add(Arc::new(KeyPair::from_seed(&[number; 32])), options.clone());
    let all = (1..=sessions).map(add).collect();
    (clients, all)
}

/// What a session has to send, as the validator reads it: numbers and bodies.
fn waiting(clients: &Clients) -> Vec<(u64, Vec<u8>)> {
    let mut frame = Vec::new();
    let pending = &clients.table.sessions[0].pending;
    pending.write_submit(Instant::now(), &mut frame);
    let Ok(ClientFrame::Submit { commands, .. }) = ClientFrame::decode(&frame) else {
        panic!("{frame:?}");
    };
    commands.map(|one| (one.seq, one.body.to_vec())).collect()
}

/// What waits under this number is applied.
fn applied(clients: &mut Clients, seq: u64) {
    let pending = &mut clients.table.sessions[0].pending;
    pending.mark_sent(1);
    pending.on_result(seq, (Outcome::Applied, Whose::Own), Instant::now());
}

#[test]
fn a_sign_of_life_follows_when_a_third_of_the_time_out_has_passed_and_not_before() {
    let (mut clients, all) = clients(Trust::OneValidator, 1);
    let (client, now) = (all[0], Instant::now());
    clients.table.sessions[0].pending.start_behind(7);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = knock(&mut clients, &listener);
    clients.table.sessions[0].gateway.up(link);
    let told = clients.tell_session(client, SessionCommand::Timeout(TIMEOUT_NS), now);
    assert_eq!(told.expect("room"), 8);
    // It is applied, and nothing waits any more.
    applied(&mut clients, 8);
    let mut ignored = |_: ClientRef, _: ClientEvent<'_>| ();
    clients.run_timers(now + 99 * MS, &mut ignored);
    assert_eq!(clients.pending(client), 0);
    clients.run_timers(now + 100 * MS, &mut ignored);
    assert_eq!(clients.pending(client), 1);
}

#[test]
fn a_time_out_is_declared_again_behind_each_opening_and_no_more_once_it_was_taken_back() {
    let declared = {
        let mut body = Vec::new();
        SessionCommand::Timeout(TIMEOUT_NS).encode(&mut body);
        body
    };
    let (mut clients, all) = clients(Trust::OneValidator, 1);
    let (client, now) = (all[0], Instant::now());
    assert!(clients.resume(client, 7));
    let timeout = SessionCommand::Timeout(TIMEOUT_NS);
    let told = clients.tell_session(client, timeout, now);
    assert_eq!(told.expect("room"), 8, "the session is open");
    applied(&mut clients, 8);
    let last = u64::MAX >> 2;
    assert!(clients.reopen(client, last));
    let submitted = clients.submit(client, Lane::Order, b"order", now);
    assert_eq!(submitted.expect("room"), last + 3);
    let opening = waiting(&clients);
    assert_eq!((opening.len(), opening[0].0), (1, last + 1));
    applied(&mut clients, last + 1);
    let behind = [(last + 2, declared), (last + 3, b"order".to_vec())];
    assert_eq!(waiting(&clients), behind);
    applied(&mut clients, last + 2);
    applied(&mut clients, last + 3);
    assert_eq!(clients.pending(client), 0);

    let told = clients.tell_session(client, SessionCommand::Timeout(0), now);
    applied(&mut clients, told.expect("room"));
    assert!(clients.reopen(client, last + 10));
    let submitted = clients.submit(client, Lane::Order, b"order", now);
    assert_eq!(
        submitted.expect("room"),
        last + 12,
        "behind the opening alone"
    );
}

/// Whoever opened it may have declared none, and the orders of a client that is gone would rest.
#[test]
fn a_session_that_is_gone_on_with_has_the_time_out_that_was_declared() {
    let (mut clients, all) = clients(Trust::OneValidator, 1);
    let (client, now) = (all[0], Instant::now());
    assert!(clients.resume(client, 7));
    let timeout = SessionCommand::Timeout(TIMEOUT_NS);
    let told = clients.tell_session(client, timeout, now);
    applied(&mut clients, told.expect("room"));
    clients.go_on(client, (20, false));
    let mut declared = Vec::new();
    timeout.encode(&mut declared);
    assert_eq!(waiting(&clients), [(21, declared)]);
    applied(&mut clients, 21);
    // Whoever tells of less has not come so far: 21 was seen to be final.
    clients.go_on(client, (9, false));
    let pending = &mut clients.table.sessions[0].pending;
    assert_eq!(pending.waiting(), 22..23);
    applied(&mut clients, 22);
    // One that is opened anew has it behind its opening anyway.
    clients.go_on(client, (30, true));
    assert_eq!(clients.pending(client), 0);
    // And one in which something waits is not gone on with.
    clients.resume(client, 40);
    let submitted = clients.submit(client, Lane::Order, b"order", now);
    assert_eq!(submitted.expect("room"), 41);
    clients.go_on(client, (50, false));
    assert_eq!(waiting(&clients), [(41, b"order".to_vec())]);
}

/// A sign of life of its own would be what waits, under a number of the session that is not there.
#[test]
fn no_sign_of_life_is_sent_while_a_client_asks_where_its_session_stands() {
    let (mut clients, all) = clients(Trust::OneValidator, 1);
    let (client, now) = (all[0], Instant::now());
    assert!(clients.resume(client, 7));
    let timeout = SessionCommand::Timeout(TIMEOUT_NS);
    let told = clients.tell_session(client, timeout, now);
    applied(&mut clients, told.expect("room"));
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = knock(&mut clients, &listener);
    clients.table.sessions[0].gateway.up(link);
    let mut ignored = |_: ClientRef, _: ClientEvent<'_>| ();
    let later = now + Duration::from_nanos(TIMEOUT_NS);
    for (rests, pending) in [(true, 0), (false, 1)] {
        clients.rest_heartbeats(client, rests);
        clients.table.next_due = later;
        clients.run_timers(later, &mut ignored);
        assert_eq!(clients.pending(client), pending, "{rests}");
    }
}

#[test]
fn what_is_to_be_sent_again_after_a_gap_is_when_its_time_comes() {
    let (mut clients, all) = clients(Trust::OneValidator, 1);
    let (client, now) = (all[0], Instant::now());
    assert!(clients.resume(client, 7));
    let submitted = clients.submit(client, Lane::Order, b"order", now);
    assert_eq!(submitted.expect("room"), 8);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = knock(&mut clients, &listener);
    clients.table.sessions[0].gateway.up(link);
    let pending = &mut clients.table.sessions[0].pending;
    pending.mark_sent(1);
    pending.on_result(8, (Outcome::Gap, Whose::Own), now);
    let again_at = pending.again_at().expect("it is to be sent again");
    clients.table.next_due = again_at + Duration::from_secs(9);
    // As after each turn in which something was taken.
    clients.table.soil(0);
    clients.flush(now);
    assert_eq!(clients.table.next_due, again_at);
    let mut ignored = |_: ClientRef, _: ClientEvent<'_>| ();
    let unsent = |clients: &Clients| clients.table.sessions[0].pending.unsent();
    clients.run_timers(again_at, &mut ignored);
    assert_eq!(unsent(&clients), 1);
}

/// Its commands would wait for ever, and nobody would know why.
#[test]
fn a_client_that_could_never_trust_a_result_is_told_so_when_it_is_made() {
    let (genesis, _) = sample_genesis(4);
    let mut clients = Clients::new(&genesis).expect("an event queue");
    for (reached, is_enough) in [(4, true), (3, true), (2, false)] {
        clients.contacts = clients.contacts.iter().take(reached).cloned().collect();
        let can_listen = clients.can_listen(Trust::FaultStake);
        assert_eq!(can_listen.is_ok(), is_enough, "{reached}");
        assert!(clients.can_listen(Trust::OneValidator).is_ok());
    }
    let told = clients.can_listen(Trust::FaultStake);
    let told = told.expect_err("too few").to_string();
    let expected = "validators of stake 2 have client addresses, 3 must listen";
    assert_eq!(told, expected);
    // It is told before anything is dialed.
    let (genesis, _) = genesis_reached_at(&[true, false, true, false]);
    let key = Arc::new(KeyPair::from_seed(&[1; 32]));
    let options = ClientOptions {
        trust: Trust::FaultStake,
        ..ClientOptions::default()
    };
    let connected = Client::connect(&genesis, key, options, Duration::MAX);
    let is_told = matches!(connected, Err(ClientError::TooFewAddresses { .. }));
    assert!(is_told, "{connected:?}");
}

/// The connections of one session tell another one nothing.
#[test]
fn nothing_is_sent_until_enough_validators_are_listened_to_for_this_session() {
    let (mut clients, _) = clients(Trust::FaultStake, 2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for place in 0..clients.table.watchers.len() {
        assert!(!clients.may_send(1), "{place}");
        let link = knock(&mut clients, &listener);
        let watcher = &mut clients.table.watchers[place];
        if watcher.of == 0 {
            watcher.gateway.up(link);
        }
    }
    assert!(clients.may_send(0));
    assert!(!clients.may_send(1));
}

#[test]
fn a_question_that_no_validator_takes_is_refused_here() {
    let (genesis, _) = sample_genesis(4);
    let mut clients = Clients::new(&genesis).unwrap();
    let key = Arc::new(KeyPair::from_seed(&[7; 32]));
    let client = clients.add(key, ClientOptions::default());
    let mut ask = |bytes| clients.query(client, &vec![0; bytes]).unwrap_err();
    assert!(matches!(ask(QUESTION_BYTES_MAX), ClientError::NotConnected));
    let (bytes, longest) = (QUESTION_BYTES_MAX + 1, QUESTION_BYTES_MAX);
    assert!(
        matches!(ask(bytes), ClientError::Length { bytes: told, bytes_max }
            if (told, bytes_max) == (bytes, longest))
    );
}

/// The connection of a process that hangs stays up. One question is enough for all sessions there.
#[test]
fn an_idle_session_leaves_a_validator_that_tells_nothing_and_does_not_answer() {
    let (mut clients, all) = clients(Trust::OneValidator, 2);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    for place in [0, 1] {
        let link = knock(&mut clients, &listener);
        clients.table.sessions[place].gateway.up(link);
    }
    let patience = ClientOptions::default().patience;
    let validator = clients.table.sessions[0].gateway.validator();
    let begin = Instant::now();
    clients.table.heard(validator, begin);
    let turn = |clients: &mut Clients, now: Instant| {
        clients.table.next_due = now;
        let mut left = 0;
        let mut count = |_: ClientRef, event: ClientEvent<'_>| {
            left += usize::from(matches!(event, ClientEvent::Disconnected(_)));
        };
        clients.run_timers(now, &mut count);
        clients.judge_stuck(now, &mut count);
        clients.leave(now, &mut count);
        left
    };
    let asked = begin + patience;
    assert_eq!(turn(&mut clients, asked), 0, "asked now");
    assert!(clients.table.next_due <= asked + patience);
    assert_eq!(turn(&mut clients, asked + patience - MS), 0);
    clients.table.heard(validator, asked + patience - MS);
    assert_eq!(turn(&mut clients, asked + patience), 0, "it is there");
    let asked = asked + 2 * patience;
    assert_eq!(turn(&mut clients, asked), 0, "asked again");
    // Who has something waiting has another measure of patience.
    let submitted = clients.submit(all[1], Lane::Order, b"order", asked + patience);
    submitted.expect("room");
    assert_eq!(turn(&mut clients, asked + patience), 1);
    assert!(!clients.table.sessions[0].gateway.is_up());
    assert!(clients.table.sessions[1].gateway.is_up());
}

/// As one that is busy with other things whenever it is asked, or far behind.
#[test]
fn a_session_leaves_a_validator_that_talks_and_brings_nothing_of_its_stream_on() {
    let (mut clients, all) = clients(Trust::OneValidator, 1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let link = knock(&mut clients, &listener);
    clients.table.sessions[0].gateway.up(link);
    let (patience, begin) = (ClientOptions::default().patience, Instant::now());
    let position = StreamPosition::before(5);
    clients.follow_stream(all[0], Some(position), begin);
    let validator = clients.table.sessions[0].gateway.validator();
    let mut stays_at = |now: Instant| {
        let ignored = &mut |_: ClientRef, _: ClientEvent<'_>| ();
        clients.table.heard(validator, now);
        clients.table.next_due = now;
        clients.run_timers(now, ignored);
        clients.judge_stuck(now, ignored);
        clients.leave(now, ignored);
        clients.table.sessions[0].gateway.is_up()
    };
    assert!(stays_at(begin), "it is asked now");
    assert!(stays_at(begin + patience - MS));
    assert!(!stays_at(begin + patience));
}

/// One that hangs listens to nothing, whatever its session waits for.
#[test]
fn a_listening_connection_to_a_validator_that_tells_nothing_is_given_up_and_dialed_again() {
    let (mut clients, all) = clients(Trust::FaultStake, 1);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let begin = Instant::now();
    let ignored = &mut |_: ClientRef, _: ClientEvent<'_>| ();
    for place in 0..clients.table.watchers.len() {
        let link = knock(&mut clients, &listener);
        clients.table.watchers[place].gateway.dialing(link);
        clients.table.by_link.insert(link, LinkUse::Watcher(place));
        come_up(&mut clients, link, begin);
    }
    let submitted = clients.submit(all[0], Lane::Order, b"order", begin);
    submitted.expect("room");
    let mut turn = |clients: &mut Clients, now: Instant| -> Vec<bool> {
        clients.table.next_due = now;
        clients.run_timers(now, ignored);
        clients.judge_stuck(now, ignored);
        let watchers = clients.table.watchers.iter();
        watchers.map(|watcher| watcher.gateway.is_up()).collect()
    };
    let patience = ClientOptions::default().patience;
    let asked = begin + patience;
    assert_eq!(turn(&mut clients, asked), [true; 4], "asked now");
    assert!(clients.table.next_due <= asked + patience);
    for validator in 1..4 {
        let answered_at = asked + patience / 2;
        clients
            .table
            .heard(ValidatorIndex::new(validator), answered_at);
    }
    assert_eq!(turn(&mut clients, asked + patience - MS), [true; 4]);
    let over = asked + patience;
    assert_eq!(turn(&mut clients, over), [false, true, true, true]);
    let State::Down { dial_at } = clients.table.watchers[0].gateway.state else {
        panic!("it is given up");
    };
    assert!(clients.table.next_due <= dial_at);
    turn(&mut clients, dial_at);
    let link = clients.table.watchers[0].gateway.link();
    come_up(&mut clients, link.expect("dialed again"), dial_at);
    assert_eq!(turn(&mut clients, dial_at + MS), [true; 4], "it is there");
}

/// Somebody has opened.
fn come_up(clients: &mut Clients, link: LinkId, now: Instant) {
    let mut taking = Taking {
        table: &mut clients.table,
        now,
        on_event: &mut |_: ClientRef, _: ClientEvent<'_>| (),
    };
    taking.link_up(link, 0, 1);
}

#[test]
fn a_session_takes_no_more_than_may_wait_by_number_and_by_bytes() {
    let with = |pending_max, pending_bytes_max| {
        let (genesis, _) = sample_genesis(4);
        let mut clients = Clients::new(&genesis).expect("an event queue");
        let options = ClientOptions {
            pending_max,
            pending_bytes_max,
            ..ClientOptions::default()
        };
        let client = clients.add(Arc::new(KeyPair::from_seed(&[7; 32])), options);
        // Nothing is to be opened first.
        clients.table.sessions[0].pending.start_behind(7);
        (clients, client)
    };
    let submit = |(clients, client): &mut (Clients, ClientRef)| {
        clients.submit(*client, Lane::Order, b"order", Instant::now())
    };
    let tell = |(clients, client): &mut (Clients, ClientRef)| {
        clients.tell_session(*client, SessionCommand::Heartbeat, Instant::now())
    };
    let full = |told: Result<u64, ClientError>| match told {
        Err(ClientError::Full { pending }) => pending,
        other => panic!("{other:?}"),
    };
    let mut by_number = with(2, usize::MAX);
    assert_eq!(submit(&mut by_number).expect("room"), 8);
    let bytes = by_number.0.table.sessions[0].pending.bytes_len();
    assert_eq!(tell(&mut by_number).expect("room"), 9);
    assert_eq!(full(submit(&mut by_number)), 2);
    assert_eq!(full(tell(&mut by_number)), 2);
    assert_eq!(by_number.0.pending(by_number.1), 2);

    let mut by_bytes = with(usize::MAX, bytes);
    assert_eq!(submit(&mut by_bytes).expect("room"), 8);
    assert_eq!(full(submit(&mut by_bytes)), 1);
    let mut with_one_more = with(usize::MAX, bytes + 1);
    assert_eq!(
        [8, 9].map(|_| submit(&mut with_one_more).expect("room")),
        [8, 9]
    );
}
