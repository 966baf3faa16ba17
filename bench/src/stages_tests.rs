//! The stages of made-up blocks: sums are exact, whatever the clocks say, and the way goes through
//! the vote that was waited for.

use super::*;

const BASE: u64 = 1_000_000;

fn stamp(moment: Moment, peer: u16, index: u32, at_ns: u64) -> Stamp {
    Stamp {
        moment,
        peer,
        window: 1,
        index,
        height: 0,
        told_ns: 0,
        at_ns,
    }
}

fn finality(index: u32, told_ns: u64, at_ns: u64) -> Stamp {
    Stamp {
        height: u64::from(index) + 1,
        told_ns,
        ..stamp(Moment::Final, 0, index, at_ns)
    }
}

/// A leader and three others, of which validator 2 is the slowest: block 0, final at 900.
fn dumps() -> Vec<Dump> {
    let leader = vec![
        stamp(Moment::Proposed, 0, 0, 100),
        stamp(Moment::Journaled, 0, 0, 150),
        stamp(Moment::ProposalQueued, 0, 0, 180),
        stamp(Moment::Flushed, 0, 0, 200),
        stamp(Moment::VoteReceived, 1, 0, 500),
        stamp(Moment::VoteReceived, 3, 0, 600),
        stamp(Moment::VoteReceived, 2, 0, 850),
        finality(0, 860, 900),
    ];
    let other = |late: u64| {
        vec![
            stamp(Moment::Received, 0, 0, 300 + late),
            stamp(Moment::Checked, 0, 0, 340 + late),
            stamp(Moment::Journaled, 0, 0, 360 + late),
            stamp(Moment::VoteQueued, 0, 0, 380 + late),
            stamp(Moment::Flushed, 0, 0, 400 + late),
            finality(0, 990, 1_000),
        ]
    };
    let of = |stamps| Dump {
        base_ns: BASE,
        stamps,
    };
    vec![of(leader), of(other(0)), of(other(350)), of(other(100))]
}

/// Read by the client's clock, which began at BASE + 10.
fn trip(gateway: u16, finality_ns: u64) -> Trip {
    Trip {
        gateway,
        height: 1,
        intended_ns: 0,
        result_ns: 1_490,
        finality_ns,
        to_leader: gateway == 0,
    }
}

fn attributed(dumps: &[Dump], trip: Trip) -> Attribution {
    attribute(dumps, &[1; 4], 4, BASE + 10, &[trip])
}

#[test]
fn the_way_goes_through_the_vote_that_completed_the_quorum() {
    // Told at 860 as 820 ns old: received at 40.
    let found = attributed(&dumps(), trip(0, 820));
    let [journey] = found.journeys[..] else {
        panic!("{found:?}");
    };
    // client_wire, queue, propose, wire (450 there, 100 back), hash, journal, vote, count, deliver
    assert_eq!(
        journey.stages,
        [30, 60, 100, 450 + 100, 40, 20, 40, 50, 600]
    );
    assert_eq!(journey.total_ns, 1_490);
    assert_eq!(
        (journey.finality_ns(), &found.leader_ns[..]),
        (860, &[860][..])
    );
}

#[test]
fn a_leader_whose_own_log_was_slowest_waited_for_no_wire() {
    let mut dumps = dumps();
    dumps[0].stamps[1].at_ns = 870;
    let found = attributed(&dumps, trip(0, 820));
    assert_eq!(
        found.journeys[0].stages,
        [30, 60, 100, 0, 0, 670, 0, 30, 600]
    );
}

#[test]
fn a_vote_for_a_later_block_counts_for_those_below() {
    let mut dumps = dumps();
    dumps[0].stamps[6].index = 4;
    for place in 2..5 {
        dumps[2].stamps[place].index = 4;
    }
    let found = attributed(&dumps, trip(0, 820));
    assert_eq!(found.journeys[0].stages[4..7], [40, 20, 40]);
}

/// What a leader could not bring through is proposed by the next one, and is what waited longest.
#[test]
fn a_command_that_was_handed_to_the_leader_counts_there_whoever_proposed_it() {
    let handed = Trip {
        to_leader: true,
        ..trip(1, 800)
    };
    let found = attributed(&dumps(), handed);
    assert_eq!((found.leader_ns, found.other_ns), (vec![810], vec![]));
    assert!(found.journeys.is_empty(), "its stages are not known");
}

#[test]
fn another_gateway_is_told_apart_and_an_unknown_block_is_counted() {
    let found = attributed(&dumps(), trip(1, 800));
    assert_eq!((found.other_ns, found.journeys.len()), (vec![810], 0));
    let unknown = Trip {
        height: 7,
        ..trip(0, 1)
    };
    let found = attributed(&dumps(), unknown);
    assert_eq!(
        (found.unknown, found.leader_ns.len(), found.journeys.len()),
        (1, 0, 0)
    );
    assert_eq!(attributed(&dumps(), trip(9, 1)).unknown, 1);
}

#[test]
fn stages_of_each_command_sum_to_its_total_whatever_the_stamps_say() {
    let mut seed = 1_u64;
    let mut next = move || {
        seed = seed.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
        seed >> 54
    };
    for _ in 0..2_000 {
        let mut dumps = dumps();
        for stamp in dumps.iter_mut().flat_map(|dump| &mut dump.stamps) {
            stamp.at_ns = next();
            stamp.told_ns = next();
        }
        let trip = Trip {
            intended_ns: next(),
            result_ns: next(),
            ..trip(0, next())
        };
        let found = attributed(&dumps, trip);
        for journey in &found.journeys {
            assert_eq!(journey.stages.iter().sum::<u64>(), journey.total_ns);
            let told = trip.result_ns.saturating_sub(trip.intended_ns);
            assert_eq!(journey.total_ns, told);
        }
    }
}

#[test]
fn means_of_stages_sum_to_the_mean_of_totals() {
    let one = attributed(&dumps(), trip(0, 820)).journeys[0];
    let two = Journey {
        stages: [7; STAGES],
        total_ns: 63,
    };
    let of = |journeys: &[Journey], leader_ns: &[u64]| {
        StageMeans::of(&Attribution {
            journeys: journeys.to_vec(),
            leader_ns: leader_ns.to_vec(),
            ..Attribution::default()
        })
    };
    let means = of(&[one, two], &[1; 5]);
    let printed = serde_json::to_value(&means).unwrap();
    let stages = printed["stages_us"].as_object().unwrap();
    // Of microseconds alone, so that whoever reads them may sum them.
    let sum: f64 = stages.values().filter_map(serde_json::Value::as_f64).sum();
    let total = printed["stages_total_us"].as_f64().unwrap();
    assert!((sum - total).abs() < 1e-9, "{printed}");
    assert_eq!(stages.len(), STAGES);
    assert_eq!((means.attributed, means.unattributed), (2, 3));
    let none = of(&[], &[1; 7]);
    assert_eq!((none.total, none.unattributed), (None, 7));
    assert!(none.stages.is_empty(), "nothing is no mean of 0");
}

#[test]
fn the_run_whose_stages_are_told_is_one_that_has_any() {
    let run = |total: Option<f64>, unattributed| StageMeans {
        total,
        attributed: u64::from(total.is_some()),
        unattributed,
        ..StageMeans::default()
    };
    let of = |runs: &[StageMeans]| StageMeans::middle(runs.iter());
    let (low, middle, high) = (run(Some(10.0), 0), run(Some(20.0), 4), run(Some(30.0), 0));
    // Three runs went the slow path whole: they were no faster than the others.
    let slow = run(None, 3_000);
    let runs = [&slow, &high, &slow, &low, &middle, &slow].map(Clone::clone);
    assert_eq!(of(&runs), middle);
    assert_eq!(of(&[slow.clone(), low.clone()]), low);
    assert_eq!(of(&[slow.clone(), slow.clone()]), slow, "there are none");
    assert_eq!(of(&[]), StageMeans::default());
}
