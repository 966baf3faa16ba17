//! Evidence accuses the guilty and never the honest.

use crate::world::{W, World, finals, i, named, stopped, tip, v};
use quorate_consensus::evidence::{Evidence, SignedHeader};
use quorate_consensus::header::Header;
use quorate_consensus::record::Record;
use quorate_consensus::types::{Epoch, Window};
use quorate_consensus::verify::{EvidenceError, HeaderFault, check_evidence};

fn two_records(world: &World, one: Record, other: Record, headers: &[Header]) -> Evidence {
    Evidence::TwoRecords {
        epoch: world.set.epoch(),
        window: W,
        validator: v(2),
        records: Box::new([world.signed(2, one), world.signed(2, other)]),
        headers: headers.to_vec(),
    }
}

/// Both orders of the records say the same.
fn judged(world: &World, one: Record, other: Record, headers: &[Header]) -> bool {
    let verdict = |one: &Record, other: &Record| {
        check_evidence(
            &world.set,
            &two_records(world, one.clone(), other.clone(), headers),
        )
        .is_ok()
    };
    let (there, back) = (verdict(&one, &other), verdict(&other, &one));
    assert_eq!(there, back);
    there
}

fn two_headers(one: Header, other: Header) -> Evidence {
    let signed = |header| SignedHeader {
        header,
        signature: [0; 64],
    };
    Evidence::TwoHeaders(Box::new([signed(one), signed(other)]))
}

#[test]
fn e1_two_headers_of_one_position_accuse_and_of_two_do_not() {
    let world = World::six();
    let [one, other] = [world.header(None, 1), world.header(None, 2)];
    let check = |one, other| check_evidence(&world.set, &two_headers(one, other));
    assert_eq!(check(one, other), Ok(()));
    assert_eq!(check(one, one), Err(EvidenceError::NotShown));
    assert_eq!(
        check(one, world.header(Some(&one), 2)),
        Err(EvidenceError::NotShown)
    );
    let elsewhere = Header {
        window: Window::new(6),
        ..other
    };
    assert_eq!(check(one, elsewhere), Err(EvidenceError::NotShown));
    let epoch = Epoch::new(4);
    let foreign = Header { epoch, ..other };
    assert_eq!(
        check(one, foreign),
        Err(EvidenceError::WrongEpoch { epoch })
    );
}

#[test]
fn e2_records_that_extend_one_another_accuse_nobody() {
    let world = World::six();
    let chain = world.chain(4, 0);
    let mut also = stopped(Some(&chain[1]));
    let side = [
        world.header(Some(&chain[1]), 5),
        world.header(Some(&chain[0]), 6),
    ];
    also.also = vec![named(&side[1])];
    let ladder = [
        Record::default(),
        tip(&chain[0]),
        finals(&chain[1], 0),
        Record {
            stop: true,
            ..finals(&chain[1], 0)
        },
        Record {
            fin: Some(i(0)),
            ..also
        },
    ];
    for one in &ladder {
        for other in &ladder {
            assert!(!judged(&world, one.clone(), other.clone(), &chain));
        }
    }
}

#[test]
fn e2_two_tips_of_one_index_accuse_without_headers() {
    let world = World::six();
    let [one, other] = [world.header(None, 1), world.header(None, 2)];
    assert!(judged(&world, tip(&one), tip(&other), &[]));
}

#[test]
fn e2_a_fork_below_a_tip_accuses_only_with_the_headers_that_show_it() {
    let world = World::six();
    let one = world.chain(1, 1);
    let other = world.chain(3, 2);
    assert!(judged(&world, tip(&one[0]), tip(&other[2]), &other));
    assert!(!judged(&world, tip(&one[0]), tip(&other[2]), &other[2..]));
    assert!(!judged(&world, tip(&one[0]), tip(&other[2]), &[]));
}

#[test]
fn e2_a_vote_after_a_stop_accuses() {
    let world = World::six();
    let chain = world.chain(3, 0);
    assert!(judged(
        &world,
        stopped(Some(&chain[0])),
        tip(&chain[2]),
        &[]
    ));
    // A stop at a lower tip than was voted before.
    assert!(judged(
        &world,
        tip(&chain[2]),
        stopped(Some(&chain[0])),
        &[]
    ));
    assert!(!judged(
        &world,
        tip(&chain[0]),
        stopped(Some(&chain[2])),
        &chain
    ));
}

#[test]
fn e2_a_final_or_a_fallback_taken_back_accuses_when_the_rest_went_on() {
    let world = World::six();
    let chain = world.chain(3, 0);
    assert!(judged(&world, finals(&chain[1], 1), tip(&chain[2]), &chain));
    let skip = |from| Record {
        skip_fallback: Some(i(from)),
        ..stopped(Some(&chain[2]))
    };
    assert!(!judged(&world, skip(2), skip(1), &chain));
    let with_final = Record {
        fin: Some(i(0)),
        ..skip(3)
    };
    assert!(judged(&world, skip(2), with_final, &chain));
}

#[test]
fn e2_fallback_support_taken_back_accuses_when_shown() {
    let world = World::six();
    let mine = world.chain(2, 0);
    let [left, right] = [world.chain(2, 1), world.chain(2, 2)];
    let supports = |blocks: &[&Header]| {
        let mut also: Vec<_> = blocks.iter().map(|header| named(header)).collect();
        also.sort();
        Record {
            also,
            ..stopped(Some(&mine[1]))
        }
    };
    let headers = [&mine[..], &left, &right].concat();
    // One branch each: neither covers the other's.
    assert!(judged(
        &world,
        supports(&[&left[1]]),
        supports(&[&right[1]]),
        &headers
    ));
    // An entry may grow along its chain.
    assert!(!judged(
        &world,
        supports(&[&left[0]]),
        supports(&[&left[1]]),
        &headers
    ));
    // More entries extend fewer.
    assert!(!judged(
        &world,
        supports(&[&left[1]]),
        supports(&[&left[1], &right[1]]),
        &headers
    ));
    // Without headers the longer entry might contain the shorter.
    let (short, long) = (supports(&[&left[0]]), supports(&[&right[1]]));
    assert!(!judged(&world, short.clone(), long.clone(), &[]));
    assert!(judged(
        &world,
        Record { fin: None, ..short },
        long,
        &headers
    ));
}

#[test]
fn e2_support_for_the_own_chain_covers_nothing_and_cannot_be_lost() {
    let world = World::six();
    let mine = world.chain(2, 0);
    let other = world.chain(2, 1);
    let with = |header: &Header| Record {
        also: vec![named(header)],
        ..stopped(Some(&mine[1]))
    };
    let headers = [&mine[..], &other].concat();
    assert!(!judged(&world, with(&mine[0]), with(&other[1]), &headers));
}

#[test]
fn e2_is_about_one_known_validator_of_this_epoch() {
    let world = World::six();
    let [one, other] = [world.header(None, 1), world.header(None, 2)];
    let good = two_records(&world, tip(&one), tip(&other), &[]);
    assert_eq!(check_evidence(&world.set, &good), Ok(()));
    let Evidence::TwoRecords {
        epoch,
        window,
        validator,
        records,
        headers,
    } = good
    else {
        panic!("another kind");
    };
    let mut two_validators = records.clone();
    two_validators[1].validator = v(3);
    let changed = |epoch, validator, records, headers| {
        check_evidence(
            &world.set,
            &Evidence::TwoRecords {
                epoch,
                window,
                validator,
                records,
                headers,
            },
        )
    };
    assert_eq!(
        changed(epoch, validator, two_validators, headers.clone()),
        Err(EvidenceError::TwoValidators)
    );
    assert_eq!(
        changed(Epoch::new(4), validator, records.clone(), headers.clone()),
        Err(EvidenceError::WrongEpoch {
            epoch: Epoch::new(4)
        })
    );
    assert_eq!(
        changed(epoch, v(6), records.clone(), headers),
        Err(EvidenceError::UnknownValidator { validator: v(6) })
    );
    let elsewhere = Header {
        window: Window::new(6),
        ..one
    };
    assert_eq!(
        changed(epoch, validator, records.clone(), vec![elsewhere]),
        Err(EvidenceError::HeaderOfAnotherWindow { place: 0 })
    );
    let foreign = Header {
        chain_id: [0; 32],
        ..one
    };
    assert_eq!(
        changed(epoch, validator, records, vec![foreign]),
        Err(EvidenceError::Header {
            place: 0,
            fault: HeaderFault::ChainId
        })
    );
}

#[test]
fn e3_a_record_against_rule_x_accuses_and_an_honest_one_does_not() {
    let world = World::six();
    let chain = world.chain(2, 0);
    let one_record = |record: Record| {
        let record = Box::new(world.signed(2, record));
        let epoch = world.set.epoch();
        check_evidence(
            &world.set,
            &Evidence::OneRecord {
                epoch,
                window: W,
                record,
            },
        )
    };
    let skip = |from| Record {
        stop: true,
        skip_fallback: Some(i(from)),
        ..finals(&chain[1], 0)
    };
    assert_eq!(one_record(skip(0)), Ok(()));
    assert_eq!(one_record(skip(1)), Err(EvidenceError::NotShown));
    assert_eq!(
        one_record(Record {
            stop: false,
            ..skip(1)
        }),
        Ok(())
    );
}

#[test]
fn evidence_names_who_did_it_when_and_by_what_it_is_known() {
    let world = World::six();
    let [one, other] = [world.header(None, 1), world.header(None, 2)];
    let contradiction = Evidence::OneRecord {
        epoch: world.set.epoch(),
        window: W,
        record: Box::new(world.signed(3, Record::default())),
    };
    let records = two_records(&world, stopped(Some(&one)), stopped(None), &[one]);
    // The second turn of four windows is validator 1's.
    let table = [
        (two_headers(one, other), "E1", 1, vec![one, other]),
        (records, "E2", 2, vec![one]),
        (contradiction, "E3", 3, Vec::new()),
    ];
    for (evidence, name, validator, headers) in table {
        assert!(evidence.what().starts_with(name), "{}", evidence.what());
        assert_eq!(evidence.accused(&world.set), v(validator), "{name}");
        assert_eq!(evidence.window(), W, "{name}");
        let held: Vec<Header> = evidence.headers().copied().collect();
        assert_eq!(held, headers, "{name}");
    }
}
