//! When a session turns to the leader that answers name, and when it stays where it is.

use super::*;
use crate::client::unreached::PAUSE_MIN;

#[test]
fn a_session_turns_to_another_leader_no_more_often_than_every_half_second() {
    let mut fixture = Fixture::new();
    let session = &mut fixture.clients.table.sessions[0];
    session.options.follow_leader = true;
    let mut now = session.followed_at + FOLLOW_INTERVAL;
    let mut turned = Vec::new();
    let short = Duration::from_millis(1);
    for (leader, after) in [
        (1, Duration::ZERO),
        (2, FOLLOW_INTERVAL - short),
        (3, short),
    ] {
        now += after;
        let mut taking = Taking {
            table: &mut fixture.clients.table,
            now,
            on_event: &mut |_, _: ClientEvent<'_>| (),
        };
        taking.take_leader(0, Some(ValidatorIndex::new(leader)));
        fixture.clients.leave(now, &mut |_, _| ());
        let gateway = &fixture.clients.table.sessions[0].gateway;
        turned.push(gateway.validator().number());
    }
    assert_eq!(turned, [1, 1, 3]);
}

/// What a session is told of the leader, and the end of the turn.
fn hear(fixture: &mut Fixture, leader: u16, now: Instant) -> u16 {
    let mut taking = Taking {
        table: &mut fixture.clients.table,
        now,
        on_event: &mut |_, _: ClientEvent<'_>| (),
    };
    taking.take_leader(0, Some(ValidatorIndex::new(leader)));
    fixture.clients.leave(now, &mut |_, _| ());
    let gateway = &fixture.clients.table.sessions[0].gateway;
    gateway.validator().number()
}

/// The session dials, and either comes up or finds nobody.
fn dial(fixture: &mut Fixture, now: Instant, then: impl FnOnce(&mut dyn LinkHandler, LinkId)) {
    fixture.clients.dial(0, now);
    let link = fixture.clients.table.sessions[0].gateway.link();
    let mut taking = Taking {
        table: &mut fixture.clients.table,
        now,
        on_event: &mut |_, _: ClientEvent<'_>| (),
    };
    then(&mut taking, link.expect("on its way"));
}

#[test]
fn a_leader_that_cannot_be_reached_is_not_turned_to_again_before_a_pause() {
    let mut fixture = Fixture::new();
    let session = &mut fixture.clients.table.sessions[0];
    session.options.follow_leader = true;
    let mut now = session.followed_at + FOLLOW_INTERVAL;
    let up = |handler: &mut dyn LinkHandler, link| handler.link_up(link, 0, 1);
    let down = |handler: &mut dyn LinkHandler, link| {
        handler.link_down(link, CloseReason::Handshake);
    };
    dial(&mut fixture, now, up);
    now += FOLLOW_INTERVAL;
    assert_eq!(hear(&mut fixture, 1, now), 1, "it is turned to");
    now += Duration::from_secs(5);
    dial(&mut fixture, now, down);
    dial(&mut fixture, now, up);
    assert_eq!(hear(&mut fixture, 1, now), 2, "the next one is kept");
    let tried_at = now;
    now += FOLLOW_INTERVAL;
    assert_eq!(hear(&mut fixture, 1, now), 2, "and after a while too");
    assert_eq!(
        hear(&mut fixture, 3, now),
        3,
        "nothing is said of another one"
    );
    now = tried_at + PAUSE_MIN;
    assert_eq!(hear(&mut fixture, 1, now), 1, "tried again");
    dial(&mut fixture, now, up);
    now += FOLLOW_INTERVAL;
    assert_eq!(hear(&mut fixture, 2, now), 2);
    now += FOLLOW_INTERVAL;
    assert_eq!(hear(&mut fixture, 1, now), 1, "it has been reached");
}

#[test]
fn however_long_the_dials_took_a_session_stays_for_a_while_where_it_is_logged_in() {
    let mut fixture = Fixture::new();
    let session = &mut fixture.clients.table.sessions[0];
    session.options.follow_leader = true;
    let now = session.followed_at + 10 * FOLLOW_INTERVAL;
    dial(&mut fixture, now, |handler, link| {
        handler.link_up(link, 0, 1)
    });
    assert_eq!(hear(&mut fixture, 3, now), 0);
    assert_eq!(hear(&mut fixture, 3, now + FOLLOW_INTERVAL), 3);
}

/// As when the client's own network was down for a while.
#[test]
fn that_nobody_could_be_reached_says_nothing_of_the_leader() {
    let mut fixture = Fixture::new();
    let session = &mut fixture.clients.table.sessions[0];
    session.options.follow_leader = true;
    let contacts = session.gateway.contacts_len();
    let mut now = session.followed_at + FOLLOW_INTERVAL;
    for _ in 0..contacts {
        now += Duration::from_secs(1);
        dial(&mut fixture, now, |handler, link| {
            handler.link_down(link, CloseReason::Handshake);
        });
    }
    dial(&mut fixture, now, |handler, link| {
        handler.link_up(link, 0, 1)
    });
    let own = fixture.clients.table.sessions[0].gateway.validator();
    let other = (own.number() + 1) % 4;
    assert_eq!(hear(&mut fixture, other, now + FOLLOW_INTERVAL), other);
}

/// It takes commands and passes none on; honest ones name it whenever its turn is.
#[test]
fn a_leader_that_was_left_for_want_of_patience_is_not_turned_to_again_before_a_pause() {
    let mut fixture = Fixture::new();
    let session = &mut fixture.clients.table.sessions[0];
    session.options.follow_leader = true;
    let patience = session.options.patience;
    let mut now = session.followed_at + FOLLOW_INTERVAL;
    let up = |handler: &mut dyn LinkHandler, link| handler.link_up(link, 0, 1);
    let stuck = |fixture: &mut Fixture, now| {
        fixture.clients.table.stuck.push(LinkUse::Session(0));
        fixture.clients.judge_stuck(now, &mut |_, _| ());
        fixture.clients.leave(now, &mut |_, _| ());
    };
    dial(&mut fixture, now, up);
    for pause in [PAUSE_MIN, 2 * PAUSE_MIN] {
        now += FOLLOW_INTERVAL;
        assert_eq!(hear(&mut fixture, 3, now), 3, "it is turned to");
        dial(&mut fixture, now, up);
        // What others were given too may have come to a block by them.
        if pause > PAUSE_MIN {
            fixture.results(3, &[1], None);
        }
        now += patience;
        stuck(&mut fixture, now);
        dial(&mut fixture, now, up);
        let short = Duration::from_millis(1);
        assert_eq!(hear(&mut fixture, 3, now + pause - short), 0, "{pause:?}");
        now += pause;
    }
    assert_eq!(hear(&mut fixture, 3, now), 3, "tried again");
    dial(&mut fixture, now, up);
    fixture.send();
    let own = fixture.submit(9);
    fixture.send();
    fixture.results(3, &[own], None);
    now += FOLLOW_INTERVAL;
    assert_eq!(hear(&mut fixture, 1, now), 1);
    dial(&mut fixture, now, up);
    // As one that was never left.
    now += FOLLOW_INTERVAL;
    assert_eq!(hear(&mut fixture, 3, now), 3);
    dial(&mut fixture, now, up);
    fixture.submit(9);
    now += patience;
    stuck(&mut fixture, now);
    dial(&mut fixture, now, up);
    now += PAUSE_MIN;
    assert_eq!(hear(&mut fixture, 3, now), 3);
}
