//! Tests of feeds: what is refused, what is fresh, what is taken.

use super::*;
use proptest::prelude::*;

const ROUND: u64 = 1_000_000_000;

fn validators(stakes: &[u64]) -> Vec<FeedValidator> {
    let validator = |(number, &stake): (u8, &u64)| FeedValidator {
        session: SessionId([number; 16]),
        stake,
    };
    (0..).zip(stakes).map(validator).collect()
}

fn feed(validators: usize) -> Feed {
    let config = FeedConfig {
        price_max: 10_000,
        ..FeedConfig::with_symbol("ABC")
    };
    Feed::new(config, validators)
}

fn seen(round: u64, price: i64) -> Observation {
    Observation {
        round,
        price,
        confidence: 1,
        source_time_ns: round * ROUND,
    }
}

#[test]
fn each_bad_field_of_a_definition_is_found() {
    let good = FeedConfig::with_symbol("ABC");
    assert_eq!(good.fault(), None);
    let bad: [fn(&mut FeedConfig); 11] = [
        |f| f.symbol.clear(),
        |f| f.symbol = "A".repeat(17),
        |f| f.symbol = "A B".to_owned(),
        |f| f.round_ns = ROUND_NS_BOUNDS.0 - 1,
        |f| f.round_ns = ROUND_NS_BOUNDS.1 + 1,
        |f| f.fresh_rounds = 0,
        |f| f.fresh_rounds = FRESH_ROUNDS_MAX + 1,
        |f| f.move_limit_bps = 0,
        |f| f.move_limit_bps = MOVE_LIMIT_BPS_MAX + 1,
        |f| f.price_max = 0,
        |f| f.price_max = FEED_PRICE_MAX + 1,
    ];
    for spoil in bad {
        let mut config = good.clone();
        spoil(&mut config);
        assert!(config.fault().is_some(), "{config:?}");
    }
}

#[test]
fn absurd_old_early_and_repeated_observations_are_refused_and_change_nothing() {
    let now = 100 * ROUND;
    let mut feed = feed(1);
    feed.observe(now, 0, seen(100, 50)).unwrap();
    let before = feed.clone();
    let good = seen(101, 50);
    let with = |spoil: fn(&mut Observation)| {
        let mut bad = good;
        spoil(&mut bad);
        bad
    };
    for (bad, refusal) in [
        (with(|o| o.price = 0), Refusal::PriceAbsurd),
        (with(|o| o.price = -5), Refusal::PriceAbsurd),
        (with(|o| o.price = 10_001), Refusal::PriceAbsurd),
        (with(|o| o.price = i64::MIN), Refusal::PriceAbsurd),
        (with(|o| o.confidence = -1), Refusal::ConfidenceAbsurd),
        (with(|o| o.confidence = 51), Refusal::ConfidenceAbsurd),
        (with(|o| o.round = 102), Refusal::ObservationAhead),
        (with(|o| o.round = u64::MAX), Refusal::ObservationAhead),
        (
            with(|o| o.source_time_ns = 102 * ROUND),
            Refusal::ObservationAhead,
        ),
        (with(|o| o.round = 97), Refusal::ObservationStale),
        (with(|o| o.source_time_ns = 0), Refusal::ObservationStale),
        (with(|o| o.round = 100), Refusal::ObservationRepeated),
        (with(|o| o.round = 99), Refusal::ObservationRepeated),
    ] {
        assert_eq!(feed.observe(now, 0, bad), Err(refusal), "{bad:?}");
        assert_eq!(feed.observe(now, 1, good), Err(Refusal::NotValidator));
        assert_eq!(feed, before);
    }
    assert_eq!(feed.observe(now, 0, good), Ok(()));
}

/// With three fresh rounds a source may be four rounds old and no more.
#[test]
fn an_observation_of_an_old_source_is_refused_whatever_round_it_is_for() {
    let now = 100 * ROUND + 7;
    let of_source = |source_time_ns| Observation {
        source_time_ns,
        ..seen(101, 50)
    };
    let oldest_ns = now - 4 * ROUND;
    let mut feed = feed(1);
    let old = feed.observe(now, 0, of_source(oldest_ns - 1));
    assert_eq!(old, Err(Refusal::ObservationStale));
    assert_eq!(feed.observe(now, 0, of_source(oldest_ns)), Ok(()));
}

/// With three fresh rounds that of 98 counts in the round of 100, and in none after it.
#[test]
fn an_observation_is_taken_as_long_as_it_would_be_fresh() {
    let of_round = |round| Observation {
        round,
        ..seen(100, 50)
    };
    let mut feed = feed(1);
    let now = 100 * ROUND;
    let old = feed.observe(now, 0, of_round(97));
    assert_eq!(old, Err(Refusal::ObservationStale));
    assert_eq!(feed.observe(now, 0, of_round(98)), Ok(()));
}

/// A snapshot that says otherwise would end in an overflow when the round closes, or at a price
/// that nothing that counts with prices expects.
#[test]
fn each_state_that_a_feed_cannot_come_to_is_found() {
    let mut good = feed(1);
    good.observe(100 * ROUND, 0, seen(100, 50)).unwrap();
    assert_eq!(good.state_fault(5), None);
    let beyond = good.config.price_max + 1;
    let spoilt = |spoil: &dyn Fn(&mut Feed)| {
        let mut bad = good.clone();
        spoil(&mut bad);
        bad.state_fault(5).expect("no feed comes to that")
    };
    let prices: [fn(&mut Feed) -> &mut i64; 3] = [
        |feed| &mut feed.shown,
        |feed| &mut feed.mark,
        |feed| &mut feed.reference,
    ];
    for price in prices {
        for number in [-1, beyond] {
            let fault = spoilt(&|feed| *price(feed) = number);
            assert_eq!(fault, "a price is out of bounds");
        }
    }
    let of_a_seen: [fn(&mut Observation); 5] = [
        |seen| seen.price = 0,
        |seen| seen.price = i64::MAX,
        |seen| seen.confidence = -1,
        |seen| seen.confidence = 51,
        |seen| seen.round = u64::MAX,
    ];
    for spoil in of_a_seen {
        let fault = spoilt(&|feed| spoil(feed.observations[0].as_mut().expect("it was seen")));
        assert_eq!(fault, "an observation is out of bounds");
    }
    let open = spoilt(&|feed| feed.open = Some(u64::MAX));
    assert_eq!(open, "its open round lies beyond all time");
    let too_many = (1..=6).map(|round| (round, 50)).collect();
    let samples = [
        too_many,
        [(2, 50), (2, 50)].into(),
        [(1, 0)].into(),
        [(1, beyond)].into(),
    ];
    for list in samples {
        let fault = spoilt(&|feed| feed.samples = VecDeque::clone(&list));
        assert_eq!(
            fault,
            "its samples are too many, not in order or out of bounds"
        );
    }
}

#[test]
fn the_state_follows_from_the_stake_that_is_fresh() {
    for (fresh, state) in [
        (0, PriceState::Stale),
        (3, PriceState::Stale),
        (4, PriceState::Degraded),
        (6, PriceState::Degraded),
        (7, PriceState::Fresh),
    ] {
        assert_eq!(PriceState::of_stake(fresh, 9), state, "{fresh} of 9");
    }
    assert_eq!(PriceState::of_stake(u64::MAX, u64::MAX), PriceState::Fresh);
}

#[test]
fn a_price_that_is_not_fresh_is_shown_and_not_taken() {
    let validators = validators(&[2, 1]);
    let mut feed = feed(2);
    feed.observe(5 * ROUND, 0, seen(5, 70)).unwrap();
    let closed = feed.close(&validators, 30);
    assert_eq!((closed.state, closed.price), (PriceState::Degraded, 70));
    assert!(!closed.taken && feed.usable().is_none() && feed.samples.is_empty());
    feed.observe(6 * ROUND, 1, seen(6, 90)).unwrap();
    let closed = feed.close(&validators, 30);
    assert_eq!((closed.state, closed.price), (PriceState::Fresh, 70));
    assert_eq!(closed.fresh, [(0, 70), (1, 90)]);
    assert_eq!((closed.dispersion, closed.fresh_stake), (0, 3));
    assert_eq!((closed.taken, feed.usable()), (true, Some(70)));
}

#[test]
fn a_feed_that_nobody_observes_falls_asleep_and_sets_no_timer() {
    let validators = validators(&[1]);
    let mut feed = feed(1);
    assert_eq!(feed.due_ns(), None);
    feed.observe(5 * ROUND, 0, seen(6, 70)).unwrap();
    assert_eq!(feed.due_ns(), Some(6 * ROUND));
    let mut states = Vec::new();
    while feed.due_ns().is_some() {
        states.push(feed.close(&validators, 30).state);
        assert!(states.len() <= 3 + 2, "no more closes than the rules say");
    }
    let (fresh, stale) = (PriceState::Fresh, PriceState::Stale);
    assert_eq!(states, [fresh, fresh, fresh, fresh, stale]);
    assert_eq!(feed.usable(), None);
}

#[test]
fn a_move_beyond_the_limit_halts_the_product_until_it_is_resumed() {
    let validators = validators(&[1]);
    let mut feed = feed(1);
    let round = |feed: &mut Feed, number: u64, price| {
        feed.observe(number * ROUND, 0, seen(number, price))
            .unwrap();
        feed.close(&validators, 30)
    };
    assert!(round(&mut feed, 1, 1000).taken);
    assert!(round(&mut feed, 2, 1100).taken, "a tenth is allowed");
    assert_eq!(feed.resume(), Err(Refusal::FeedNotHalted));
    let halted = round(&mut feed, 3, 1211);
    assert_eq!((halted.taken, halted.halted_from), (false, Some(1100)));
    assert_eq!((feed.usable(), feed.mark), (None, 1100));
    assert!(!round(&mut feed, 4, 1100).taken, "halted until resumed");
    feed.resume().unwrap();
    assert_eq!(feed.usable(), None, "not before the next fresh price");
    assert!(round(&mut feed, 5, 1211).taken, "wherever it stands");
    assert_eq!(feed.usable(), Some(1211));
    let samples: Vec<_> = feed.samples.iter().copied().collect();
    assert_eq!(samples, [(1, 1000), (2, 1100), (5, 1211)]);
    assert_eq!(feed.mean(1, 2), (1050, 2));
    assert_eq!(feed.mean(2, 5), (1155, 2), "1155.5 is rounded down");
    assert_eq!(feed.mean(6, 9), (0, 0));
}

#[test]
fn a_fall_halts_the_product_as_a_rise_does() {
    let validators = validators(&[1]);
    for (price, taken) in [(899, false), (900, true), (1100, true), (1101, false)] {
        let mut feed = feed(1);
        for (round, price) in [(1, 1000), (2, price)] {
            feed.observe(round * ROUND, 0, seen(round, price)).unwrap();
            let closed = feed.close(&validators, 30);
            assert_eq!(closed.taken, round == 1 || taken, "{price}");
        }
        assert_eq!(feed.halted, !taken, "{price}");
    }
}

proptest! {
    #[test]
    fn while_fresh_less_than_a_third_of_stake_cannot_leave_the_honest_range(
        honest in prop::collection::vec((1..=10_000_i64, 1..100_u64), 1..12),
        silent in prop::collection::vec(1..100_u64, 0..4),
        liars in prop::collection::vec((any::<i64>(), 1..100_u64), 0..8),
    ) {
        let mut stakes: Vec<u64> = honest.iter().map(|h| h.1).collect();
        stakes.extend(&silent);
        // Liars get stake while it stays less than a third of all.
        let mut lied = 0;
        let mut lies = Vec::new();
        for (price, stake) in liars {
            let all: u64 = stakes.iter().sum::<u64>() + stake;
            if 3 * (lied + stake) < all {
                lied += stake;
                lies.push((stakes.len(), price));
                stakes.push(stake);
            }
        }
        let validators = validators(&stakes);
        let mut feed = feed(stakes.len());
        for (index, &(price, _)) in honest.iter().enumerate() {
            feed.observe(ROUND, index, seen(1, price)).unwrap();
        }
        for (index, price) in lies {
            let _absurd_ones_are_refused = feed.observe(ROUND, index, Observation {
                confidence: 0,
                ..seen(1, price)
            });
        }
        let closed = feed.close(&validators, 30);
        if closed.state == PriceState::Fresh {
            prop_assert!(honest.iter().any(|h| h.0 <= closed.price));
            prop_assert!(honest.iter().any(|h| h.0 >= closed.price));
        }
        prop_assert_eq!(closed.price == 0, closed.state == PriceState::Stale);
    }

    #[test]
    fn no_observation_makes_a_feed_panic(
        steps in prop::collection::vec(
            (any::<u64>(), 0..4_usize, any::<u64>(), any::<i64>(), any::<i64>(), any::<u64>()),
            0..20,
        ),
    ) {
        let validators = validators(&[1, 2, 3]);
        let mut feed = feed(3);
        for (time_ns, validator, round, price, confidence, source_time_ns) in steps {
            let observation = Observation { round, price, confidence, source_time_ns };
            let _total = feed.observe(time_ns, validator, observation);
            if feed.due_ns().is_some() {
                feed.close(&validators, 30);
            }
            prop_assert_eq!(feed.state_fault(30), None);
        }
    }
}
