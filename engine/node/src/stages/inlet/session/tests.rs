//! What an embedding program is answered while its session is opened, and what is sent meanwhile.

use super::super::InletReader;
use super::*;
use crate::auth::CommandAuth;
use crate::lanes::CommandVerdict;
use crate::metrics::Metrics;
use crate::sessions::OPENING_LIFE_NS;
use crate::testing::sample_genesis;
use quorate_consensus::payload::parse_entries;

const BASE: u64 = 1_700_000_000_000_000_000;
const KEY: [u8; 32] = [7; 32];

struct Fixture {
    session: EmbeddedSession,
    reader: InletReader,
    controls: Receiver<Control>,
}

/// An entry as the pool sees it: its number, whether it opens its session, and its body.
type Sent = (u64, bool, Vec<u8>);

impl Fixture {
    fn new(at: SessionAt) -> Self {
        let (genesis, _) = sample_genesis(4);
        let inlet = Arc::new(Inlet::new(&genesis, Arc::new(CommandAuth::session())));
        let links = quorate_net::ClientLinks::new(quorate_net::Limits::default()).unwrap();
        let (control, controls) = bounded(4);
        let asker = Asker::new(control, links.waker());
        let reader = InletReader::new(Arc::clone(&inlet));
        let mut session = EmbeddedSession::new(inlet, asker, KEY, at);
        session.wall_ns = || BASE;
        Self {
            session,
            reader,
            controls,
        }
    }

    fn submit(&mut self) -> Admission {
        self.session.submit(Lane::Order, b"command")
    }

    /// The loop takes what waits, and judges it like this.
    fn take(&mut self, verdict: Verdict) -> Vec<Sent> {
        let (mut verdicts, mut sent) = (Vec::new(), Vec::new());
        let metrics = Metrics::default();
        self.reader
            .take(&metrics, &mut verdicts, |entry, verdicts| {
                for view in parse_entries(entry)? {
                    sent.push((view.seq, view.is_open(), view.body.to_vec()));
                    verdicts.push(CommandVerdict {
                        session: SessionId(*view.session),
                        seq: view.seq,
                        verdict,
                    });
                }
                Ok(())
            });
        sent
    }

    /// The loop answers how far the session is.
    fn answer(&self, at: SessionAt) {
        let Ok(Control::SessionAt(_, reply)) = self.controls.try_recv() else {
            panic!("nothing was asked");
        };
        reply.try_send(at).unwrap();
        assert!(self.controls.is_empty(), "one question at a time");
    }
}

/// A sign of life that opens the session.
fn opening(seq: u64) -> Sent {
    (seq, true, [&KEY[..], &[0]].concat())
}

#[test]
fn nothing_is_sent_behind_an_opening_before_it_is_known_to_be_applied() {
    let mut fixture = Fixture::new(SessionAt::Unknown);
    assert_eq!(fixture.submit(), BUSY);
    assert_eq!(fixture.session.seq_next(), 0);
    assert_eq!(fixture.take(Verdict::Accepted), [opening(BASE)]);
    for at in [SessionAt::Unknown, SessionAt::Ended { seq_last: 9 }] {
        assert_eq!(fixture.submit(), BUSY, "not answered yet");
        fixture.answer(at);
        assert_eq!(fixture.submit(), BUSY);
        assert_eq!(
            fixture.take(Verdict::Accepted),
            [],
            "taken by the pool, and no more"
        );
    }
    fixture.answer(SessionAt::Open { seq_last: BASE });
    for seq in [BASE + 1, BASE + 2] {
        assert_eq!(fixture.submit(), Admission::Accepted { seq });
        let sent = fixture.take(Verdict::Accepted);
        assert_eq!(sent, [(seq, false, b"command".to_vec())]);
    }
    assert!(fixture.controls.is_empty(), "nothing more is asked");
}

#[test]
fn an_opening_of_which_nothing_is_known_is_offered_again_as_it_was_and_made_anew_when_too_old() {
    let mut fixture = Fixture::new(SessionAt::Unknown);
    fixture.submit();
    assert_eq!(
        fixture.take(Verdict::Rejected(Rejection::TableFull)).len(),
        1
    );
    let later = |fixture: &mut Fixture| {
        let Opening::Offered(offer) = &mut fixture.session.opening else {
            panic!("it is on its way");
        };
        offer.at = offer.at.checked_sub(OFFER_AGAIN).unwrap();
    };
    later(&mut fixture);
    fixture.session.wall_ns = || BASE + OPENING_LIFE_NS - 1;
    assert_eq!(fixture.submit(), BUSY, "there may be room yet");
    let full = Verdict::Rejected(Rejection::TableFull);
    assert_eq!(fixture.take(full), [opening(BASE)]);
    fixture.session.wall_ns = || BASE + OPENING_LIFE_NS;
    assert_eq!(fixture.submit(), Admission::Rejected(Rejection::TableFull));
    // Where nobody has said why, it is made anew all the same.
    let mut silent = Fixture::new(SessionAt::Unknown);
    silent.submit();
    silent.session.wall_ns = || BASE + OPENING_LIFE_NS;
    assert_eq!((silent.submit(), silent.submit()), (BUSY, BUSY));
    let sent = silent.take(Verdict::Accepted);
    assert_eq!(sent, [opening(BASE), opening(BASE + OPENING_LIFE_NS)]);
}

#[test]
fn a_refused_opening_is_told_and_takes_no_command_along() {
    for (rejection, next) in [
        (Rejection::OpeningTooOld, BASE + 1),
        (Rejection::SessionEnded, BASE + 1),
        // The clock was ahead, and is not held to it.
        (Rejection::OpeningTooFarAhead, BASE - 5),
    ] {
        let mut fixture = Fixture::new(SessionAt::Unknown);
        fixture.submit();
        assert_eq!(fixture.take(Verdict::Rejected(rejection)), [opening(BASE)]);
        fixture.session.wall_ns = || BASE - 5;
        assert_eq!(fixture.submit(), Admission::Rejected(rejection));
        assert_eq!(fixture.submit(), BUSY);
        assert_eq!(fixture.take(Verdict::Accepted), [opening(next)]);
    }
}

#[test]
fn a_session_that_another_hand_has_opened_goes_on_in_no_handle_that_did_not() {
    for rejection in [Rejection::SessionOpen, Rejection::Conflict] {
        let mut fixture = Fixture::new(SessionAt::Ended { seq_last: BASE + 7 });
        fixture.submit();
        // However the clock stands, above all numbers of before.
        let refused = Verdict::Rejected(rejection);
        assert_eq!(fixture.take(refused), [opening(BASE + 8)]);
        assert_eq!(fixture.submit(), BUSY, "by whom is not known");
        fixture.answer(SessionAt::Open { seq_last: BASE + 9 });
        let open = Admission::Rejected(Rejection::SessionOpen);
        assert_eq!(fixture.submit(), open);
        assert_eq!(fixture.take(Verdict::Accepted), []);
    }
    let at = SessionAt::Open { seq_last: 4 };
    let mut known = Fixture::new(at);
    assert_eq!(known.submit(), Admission::Accepted { seq: 5 });
}

#[test]
fn the_end_of_a_session_is_told_of_once_and_the_next_command_opens_it_anew() {
    // However the clock stands, above all numbers of before.
    let mut fixture = Fixture::new(SessionAt::Open { seq_last: BASE + 7 });
    for seq in [BASE + 8, BASE + 9] {
        assert_eq!(fixture.submit(), Admission::Accepted { seq });
    }
    let ended = Rejection::SessionEnded;
    assert_eq!(fixture.take(Verdict::Rejected(ended)).len(), 2);
    let lost = Admission::Lost {
        seq: BASE + 8,
        rejection: ended,
    };
    assert_eq!(fixture.submit(), lost);
    assert_eq!(lost.verdict(), Verdict::Rejected(ended));
    assert_eq!(fixture.session.seq_next(), 0);
    assert_eq!(fixture.submit(), BUSY);
    assert_eq!(fixture.take(Verdict::Accepted), [opening(BASE + 10)]);
    fixture.answer(SessionAt::Open {
        seq_last: BASE + 10,
    });
    assert_eq!(fixture.submit(), Admission::Accepted { seq: BASE + 11 });
}

#[test]
fn each_command_that_the_pool_refuses_is_told_of_by_its_number_and_no_other_is_taken_instead() {
    let mut fixture = Fixture::new(SessionAt::Open { seq_last: 4 });
    for seq in [5, 6, 7] {
        assert_eq!(fixture.submit(), Admission::Accepted { seq });
    }
    assert_eq!(fixture.session.lost(), None, "nobody has looked at them");
    let rejection = Rejection::Conflict;
    assert_eq!(fixture.take(Verdict::Rejected(rejection)).len(), 3);
    assert_eq!(fixture.session.lost(), Some((5, rejection)));
    for seq in [6, 7] {
        assert_eq!(fixture.submit(), Admission::Lost { seq, rejection });
    }
    assert_eq!(fixture.session.lost(), None);
    assert_eq!(fixture.take(Verdict::Accepted), [], "none was taken");
    assert_eq!(fixture.submit(), Admission::Accepted { seq: 8 });
}

#[test]
fn what_can_never_be_taken_is_refused_before_the_session_is_opened() {
    let mut fixture = Fixture::new(SessionAt::Unknown);
    let long = vec![0; fixture.session.inlet.command_bytes_max + 1];
    let too_large = Admission::Rejected(Rejection::TooLarge);
    assert_eq!(fixture.session.submit(Lane::Order, &long), too_large);
    fixture.session.inlet.close();
    let stopping = Admission::Rejected(Rejection::Stopping);
    assert_eq!(fixture.submit(), stopping);
    assert_eq!(fixture.take(Verdict::Accepted), []);
}
