//! Certificates by their structure and weight.

use crate::world::{
    W, World, certified, final_target, finals, i, named, parameters, stopped, tip, v,
};
use quorate_consensus::certificate::{Certificate, Target};
use quorate_consensus::header::Header;
use quorate_consensus::record::Record;
use quorate_consensus::types::{Epoch, Stake, Window};
use quorate_consensus::verify::{CertificateError, Fact, HeaderFault, judge};

type Change = fn(&mut Header);

fn each(validators: impl IntoIterator<Item = u16>, record: &Record) -> Vec<(u16, Record)> {
    validators
        .into_iter()
        .map(|validator| (validator, record.clone()))
        .collect()
}

fn too_little(weight: u64, needed: u64) -> CertificateError {
    CertificateError::TooLittleWeight {
        weight: Stake::new(weight),
        needed: Stake::new(needed),
    }
}

fn header_fault(place: usize, fault: HeaderFault) -> CertificateError {
    CertificateError::Header { place, fault }
}

/// Four votes for the tip of a chain of three, target its first block: all headers in use.
fn good() -> (World, Vec<Header>, Certificate) {
    let world = World::six();
    let chain = world.chain(3, 0);
    let certificate = world.certificate(certified(&chain[0]), each(0..4, &tip(&chain[2])), &chain);
    (world, chain, certificate)
}

#[test]
fn tips_of_weight_q_certify_their_block_and_one_less_does_not() {
    let world = World::six();
    let chain = world.chain(1, 0);
    let target = certified(&chain[0]);
    let four = world.certificate(target, each(0..4, &tip(&chain[0])), &chain);
    let three = world.certificate(target, each(0..3, &tip(&chain[0])), &chain);
    let point = chain[0].point(chain[0].id());
    assert_eq!(judge(&world.set, &four), Ok(Fact::Certified(point)));
    assert_eq!(judge(&world.set, &three), Err(too_little(3, 4)));
}

#[test]
fn weight_counts_by_stake_and_not_by_heads() {
    // N = 100, F = 15, P = 27: Q = 58.
    let world = World::new(&[40, 25, 15, 10, 10], parameters(15, 27));
    let chain = world.chain(1, 0);
    let target = certified(&chain[0]);
    let two = world.certificate(target, each([0, 1], &tip(&chain[0])), &chain);
    let three_light = world.certificate(target, each([1, 2, 3], &tip(&chain[0])), &chain);
    assert!(judge(&world.set, &two).is_ok());
    assert_eq!(judge(&world.set, &three_light), Err(too_little(50, 58)));
}

#[test]
fn tips_on_descendants_count_by_the_headers_that_link_them() {
    let (world, chain, certificate) = good();
    let point = chain[0].point(chain[0].id());
    assert_eq!(judge(&world.set, &certificate), Ok(Fact::Certified(point)));
}

#[test]
fn without_the_linking_headers_a_higher_tip_says_nothing() {
    let (world, _, mut certificate) = good();
    certificate.headers.truncate(1);
    let idle = CertificateError::RecordIdle { validator: v(0) };
    assert_eq!(judge(&world.set, &certificate), Err(idle));
}

#[test]
fn a_lower_tip_does_not_support_a_higher_block() {
    let world = World::six();
    let chain = world.chain(2, 0);
    let mut records = each(0..4, &tip(&chain[1]));
    records[2].1 = tip(&chain[0]);
    let certificate = world.certificate(certified(&chain[1]), records, &chain[1..]);
    let idle = CertificateError::RecordIdle { validator: v(2) };
    assert_eq!(judge(&world.set, &certificate), Err(idle));
}

#[test]
fn fallback_support_counts_like_a_tip() {
    let world = World::six();
    let mine = world.chain(1, 0);
    let other = world.chain(2, 1);
    let mut also = stopped(Some(&mine[0]));
    also.also = vec![named(&other[1])];
    let mut records = each(0..3, &tip(&other[1]));
    records.push((4, also));
    let certificate = world.certificate(certified(&other[0]), records.clone(), &other);
    assert!(matches!(
        judge(&world.set, &certificate),
        Ok(Fact::Certified(_))
    ));
    records[3].1.also.clear();
    let certificate = world.certificate(certified(&other[0]), records, &other);
    let idle = CertificateError::RecordIdle { validator: v(4) };
    assert_eq!(judge(&world.set, &certificate), Err(idle));
}

#[test]
fn fallback_support_never_makes_a_block_final() {
    let world = World::six();
    let mine = world.chain(1, 0);
    let other = world.chain(1, 1);
    let mut also = stopped(Some(&mine[0]));
    also.also = vec![named(&other[0])];
    let mut records = each(0..5, &tip(&other[0]));
    records.push((5, also));
    let certificate = world.certificate(final_target(&other[0]), records, &other);
    let idle = CertificateError::RecordIdle { validator: v(5) };
    assert_eq!(judge(&world.set, &certificate), Err(idle));
}

#[test]
fn a_skip_needs_weight_q_at_or_below_its_index() {
    let world = World::six();
    let chain = world.chain(3, 0);
    // Stopped at index 1: skips 2 and above.
    let mut records = each(0..4, &stopped(Some(&chain[1])));
    let skip = |from, records: &[(u16, Record)]| {
        let certificate = world.certificate(Target::Skip { from: i(from) }, records.to_vec(), &[]);
        judge(&world.set, &certificate)
    };
    assert_eq!(
        skip(2, &records),
        Ok(Fact::Skip {
            window: W,
            from: i(2)
        })
    );
    assert_eq!(
        skip(15, &records),
        Ok(Fact::Skip {
            window: W,
            from: i(15)
        })
    );
    let idle = |validator| {
        Err(CertificateError::RecordIdle {
            validator: v(validator),
        })
    };
    assert_eq!(skip(1, &records), idle(0));
    // One of them falls back to index 1 and one never voted: now only two hold 1 back.
    records[0].1.skip_fallback = Some(i(1));
    records[1].1 = stopped(None);
    assert_eq!(skip(1, &records), idle(2));
    assert_eq!(skip(2, &records[..3]), Err(too_little(3, 4)));
}

#[test]
fn a_skip_carries_no_headers_and_stays_inside_the_window() {
    let world = World::six();
    let chain = world.chain(1, 0);
    let records = each(0..4, &stopped(Some(&chain[0])));
    let with_header = world.certificate(Target::Skip { from: i(1) }, records.clone(), &chain);
    let idle = CertificateError::HeaderIdle { place: 0 };
    assert_eq!(judge(&world.set, &with_header), Err(idle));
    let outside = world.certificate(Target::Skip { from: i(16) }, records, &[]);
    let error = CertificateError::IndexOutside { index: i(16) };
    assert_eq!(judge(&world.set, &outside), Err(error));
}

#[test]
fn first_votes_of_weight_fast_are_final_and_one_less_are_not() {
    let world = World::six();
    let chain = world.chain(2, 0);
    let target = final_target(&chain[0]);
    let five = world.certificate(target, each(0..5, &tip(&chain[1])), &chain);
    let four = world.certificate(target, each(0..4, &tip(&chain[1])), &chain);
    let point = chain[0].point(chain[0].id());
    assert_eq!(judge(&world.set, &five), Ok(Fact::Final(point)));
    assert_eq!(judge(&world.set, &four), Err(too_little(0, 4)));
}

#[test]
fn finals_of_weight_q_are_final_and_one_less_are_not() {
    let world = World::six();
    let chain = world.chain(2, 0);
    let mut records = each(0..4, &finals(&chain[1], 0));
    let target = final_target(&chain[0]);
    let good = world.certificate(target, records.clone(), &chain);
    assert!(matches!(judge(&world.set, &good), Ok(Fact::Final(_))));
    records[3].1.fin = None;
    let short = world.certificate(target, records.clone(), &chain);
    assert_eq!(judge(&world.set, &short), Err(too_little(3, 4)));
    // A Final below the target does not reach it.
    let above = world.certificate(
        final_target(&chain[1]),
        each(0..4, &finals(&chain[1], 0)),
        &chain[1..],
    );
    assert_eq!(judge(&world.set, &above), Err(too_little(0, 4)));
}

#[test]
fn an_empty_certificate_proves_nothing() {
    let world = World::six();
    let chain = world.chain(1, 0);
    for target in [certified(&chain[0]), final_target(&chain[0])] {
        let certificate = world.certificate(target, Vec::new(), &chain);
        assert_eq!(judge(&world.set, &certificate), Err(too_little(0, 4)));
    }
    let skip = world.certificate(Target::Skip { from: i(0) }, Vec::new(), &[]);
    assert_eq!(judge(&world.set, &skip), Err(too_little(0, 4)));
}

#[test]
fn another_epoch_is_refused() {
    let (world, _, mut certificate) = good();
    certificate.epoch = Epoch::new(4);
    let error = CertificateError::WrongEpoch {
        epoch: Epoch::new(4),
    };
    assert_eq!(judge(&world.set, &certificate), Err(error));
}

#[test]
fn a_validator_that_the_set_does_not_have_is_refused() {
    let (world, _, mut certificate) = good();
    certificate.records[3].validator = v(6);
    let error = CertificateError::UnknownValidator { validator: v(6) };
    assert_eq!(judge(&world.set, &certificate), Err(error));
}

#[test]
fn nobody_counts_twice() {
    let (world, _, mut certificate) = good();
    certificate.records[3] = certificate.records[2].clone();
    let error = CertificateError::NotAscending { validator: v(2) };
    assert_eq!(judge(&world.set, &certificate), Err(error));
    let (world, _, mut certificate) = good();
    certificate.records.swap(0, 3);
    assert!(matches!(
        judge(&world.set, &certificate),
        Err(CertificateError::NotAscending { .. })
    ));
}

#[test]
fn a_record_that_contradicts_itself_is_refused() {
    let (world, _, mut certificate) = good();
    // Rule X: final at and above its own fallback.
    certificate.records[1].record.stop = true;
    certificate.records[1].record.fin = Some(i(1));
    certificate.records[1].record.skip_fallback = Some(i(1));
    let error = CertificateError::RecordInconsistent { validator: v(1) };
    assert_eq!(judge(&world.set, &certificate), Err(error));
}

#[test]
fn the_first_header_is_the_target_itself() {
    let (world, chain, mut certificate) = good();
    let missing = Err(CertificateError::TargetHeaderMissing);
    certificate.target = certified(&chain[1]);
    assert_eq!(judge(&world.set, &certificate), missing);
    certificate.target = Target::Certified {
        index: i(1),
        id: chain[0].id(),
    };
    assert_eq!(judge(&world.set, &certificate), missing);
    certificate.target = certified(&chain[0]);
    certificate.headers.clear();
    assert_eq!(judge(&world.set, &certificate), missing);
}

#[test]
fn a_changed_header_has_another_name_and_links_nothing() {
    let (world, _, mut certificate) = good();
    certificate.headers[1].payload_hash = [77; 32];
    let error = CertificateError::HeaderUnlinked { place: 2 };
    assert_eq!(judge(&world.set, &certificate), Err(error));
}

#[test]
fn a_tip_under_another_index_than_its_header_is_not_counted() {
    let (world, chain, mut certificate) = good();
    certificate.records[1].record.tip = Some((i(3), chain[2].id()));
    let error = CertificateError::RecordIdle { validator: v(1) };
    assert_eq!(judge(&world.set, &certificate), Err(error));
}

/// Replaces the middle header by a changed one and names the new tip everywhere, so that only the
/// change itself can be the fault.
fn relinked(change: impl FnOnce(&mut Header)) -> (World, Certificate) {
    let world = World::six();
    let mut chain = world.chain(2, 0);
    change(&mut chain[1]);
    let certificate = world.certificate(certified(&chain[0]), each(0..4, &tip(&chain[1])), &chain);
    (world, certificate)
}

#[test]
fn links_follow_parent_index_height_time_and_window() {
    let unlinked = Err(CertificateError::HeaderUnlinked { place: 1 });
    let changes: [Change; 6] = [
        |header| header.parent_id = header.id(),
        |header| header.index = i(2),
        |header| header.height = header.height.next(),
        |header| header.time_ns -= 1,
        |header| header.window = Window::new(6),
        |header| header.index = i(0),
    ];
    for change in changes {
        let (world, certificate) = relinked(change);
        assert_eq!(judge(&world.set, &certificate), unlinked);
    }
    let (world, certificate) = relinked(|_| ());
    assert!(judge(&world.set, &certificate).is_ok());
}

#[test]
fn headers_of_another_chain_epoch_set_or_version_are_refused() {
    let changes: [(Change, HeaderFault); 6] = [
        (
            |header| header.version = 2,
            HeaderFault::Version { version: 2 },
        ),
        (|header| header.flags = 1, HeaderFault::Flags { flags: 1 }),
        (|header| header.chain_id[0] ^= 1, HeaderFault::ChainId),
        (
            |header| header.epoch = Epoch::new(9),
            HeaderFault::Epoch {
                epoch: Epoch::new(9),
            },
        ),
        (|header| header.set_hash[31] ^= 1, HeaderFault::SetHash),
        (
            |header| header.height = Default::default(),
            HeaderFault::Height {
                height: Default::default(),
            },
        ),
    ];
    for (change, fault) in changes {
        let (world, certificate) = relinked(change);
        assert_eq!(judge(&world.set, &certificate), Err(header_fault(1, fault)));
    }
}

#[test]
fn a_target_of_another_window_is_refused() {
    let (world, _, mut certificate) = good();
    certificate.window = Window::new(6);
    let error = CertificateError::HeaderUnlinked { place: 0 };
    assert_eq!(judge(&world.set, &certificate), Err(error));
}

#[test]
fn an_idle_header_is_refused() {
    let (world, chain, mut certificate) = good();
    certificate.headers.push(world.header(Some(&chain[2]), 8));
    let error = CertificateError::HeaderIdle { place: 3 };
    assert_eq!(judge(&world.set, &certificate), Err(error));
}

#[test]
fn headers_have_one_order_and_stand_once() {
    let world = World::six();
    let root = world.chain(1, 0);
    let mut children = [
        world.header(Some(&root[0]), 1),
        world.header(Some(&root[0]), 2),
    ];
    children.sort_by_key(Header::id);
    let records = vec![
        (0, tip(&children[0])),
        (1, tip(&children[0])),
        (2, tip(&children[1])),
        (3, tip(&children[1])),
    ];
    let judged = |headers: &[Header]| {
        let target = certified(&root[0]);
        judge(
            &world.set,
            &world.certificate(target, records.clone(), headers),
        )
    };
    let [low, high] = children;
    assert!(judged(&[root[0], low, high]).is_ok());
    let disorder = Err(CertificateError::HeadersNotAscending { place: 2 });
    assert_eq!(judged(&[root[0], high, low]), disorder);
    assert_eq!(judged(&[root[0], low, low]), disorder);
}
