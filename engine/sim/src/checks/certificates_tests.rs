//! Certificates that prove what they say, and those that do not.

use super::*;
use crate::checks::SAMPLE;
use crate::keyring::{Keyring, Scheme};
use quorate_consensus::signing::{Signer as _, record_message};
use quorate_consensus::types::{Epoch, Height, Stake, ValidatorIndex};
use quorate_consensus::validators::{SetParameters, Validator};

const W: Window = Window::ZERO;
const BEGIN: BlockId = BlockId::new([0; 32]);

/// Stakes 2, 1, 1, 1, 1 with F = P = 1: Q is 4, FAST is 5.
struct Bench {
    ring: Keyring,
    set: Arc<ValidatorSet>,
    judge: Certificates,
    headers: HeaderBook,
    chain: Chain,
}

impl Bench {
    fn new() -> Self {
        let ring = Keyring::new(5, Scheme::StandIn);
        let stakes = [2, 1, 1, 1, 1].map(Stake::new);
        let members = ring.keys().iter().zip(stakes);
        let members = members.map(|(key, stake)| Validator::new(key.public(), stake));
        let parameters = SetParameters {
            chain_id: [1; 32],
            genesis_hash: [2; 32],
            epoch: Epoch::ZERO,
            fault: Stake::new(1),
            slack: Stake::new(1),
            window_slots: 8,
            turn_windows: 1,
            crash_only: false,
            genesis_time_ns: 0,
        };
        let set = Arc::new(ValidatorSet::new(parameters, members.collect()).unwrap());
        Self {
            judge: Certificates::new(&set),
            chain: Chain::new(1, 0, BEGIN, 0),
            headers: HeaderBook::default(),
            ring,
            set,
        }
    }

    /// A block of this window on `parent`; `mark` tells siblings apart.
    fn block(&mut self, window: Window, index: u32, parent: (u64, BlockId), mark: u8) -> Header {
        let header = Header {
            chain_id: *self.set.chain_id(),
            set_hash: *self.set.set_hash(),
            window,
            index: Index::new(index),
            height: Height::new(parent.0 + 1),
            time_ns: parent.0 + 1,
            parent_id: parent.1,
            payload_hash: [mark; 32],
            ..SAMPLE
        };
        self.headers.add(&header);
        header
    }

    fn certificate(
        &self,
        window: Window,
        target: Target,
        says: &[(u16, Record)],
        headers: &[Header],
    ) -> Certificate {
        let sign = |(place, record): &(u16, Record)| {
            let validator = ValidatorIndex::new(*place);
            let mut message = Vec::new();
            record_message(&self.set, validator, window, record, &mut message);
            SignedRecord {
                validator,
                record: record.clone(),
                signature: self.ring.keys()[usize::from(*place)].sign(&message),
            }
        };
        Certificate {
            epoch: Epoch::ZERO,
            window,
            target,
            records: says.iter().map(sign).collect(),
            headers: headers.to_vec(),
        }
    }

    fn see(&mut self, certificate: &Certificate) -> Result<Option<Proven>, Violation> {
        let (_, mut check) = self.ring.signer_and_check(0);
        self.judge.see(0, certificate, &mut check)
    }

    /// Takes what is good, and must be.
    fn show(&mut self, window: Window, target: Target, says: &[(u16, Record)], of: &[Header]) {
        let certificate = self.certificate(window, target, says, of);
        assert!(self.see(&certificate).unwrap().is_some());
    }

    fn deliver(&mut self, header: &Header) {
        let height = header.height.number();
        self.chain.deliver(0, height, header.id()).unwrap();
    }

    fn finish(&self) -> usize {
        self.judge.finish(&self.chain, &self.headers).len()
    }
}

fn tip(header: &Header) -> Record {
    Record {
        tip: Some((header.index, header.id())),
        ..Record::default()
    }
}

fn stopped(record: Record) -> Record {
    Record {
        stop: true,
        ..record
    }
}

fn fin(header: &Header) -> Record {
    Record {
        fin: Some(header.index),
        ..tip(header)
    }
}

/// The same words of each of these.
fn all(places: &[u16], record: &Record) -> Vec<(u16, Record)> {
    let say = |&place| (place, record.clone());
    places.iter().map(say).collect()
}

fn certified(header: &Header) -> Target {
    Target::Certified {
        index: header.index,
        id: header.id(),
    }
}

fn last(header: &Header) -> Target {
    Target::Final {
        index: header.index,
        id: header.id(),
    }
}

fn skip(from: u32) -> Target {
    Target::Skip {
        from: Index::new(from),
    }
}

fn point(header: &Header) -> Point {
    Point {
        window: header.window,
        index: header.index,
        height: header.height,
        id: header.id(),
    }
}

#[test]
fn what_has_its_weight_is_good_and_is_told_once() {
    let mut bench = Bench::new();
    let a0 = bench.block(W, 0, (0, BEGIN), 1);
    let a1 = bench.block(W, 1, (1, a0.id()), 1);
    let says = [all(&[0, 1], &tip(&a0)), all(&[2], &tip(&a1))].concat();
    let good = bench.certificate(W, certified(&a0), &says, &[a0, a1]);
    let proven = Proven::Certified(point(&a0));
    assert_eq!(bench.see(&good), Ok(Some(proven)));
    assert_eq!(bench.see(&good), Ok(None));
    bench.show(W, last(&a0), &all(&[0, 1, 2], &fin(&a0)), &[a0]);
    bench.show(W, last(&a1), &all(&[0, 1, 2, 3], &tip(&a1)), &[a1]);
    let stop = stopped(tip(&a1));
    bench.show(W, skip(2), &all(&[0, 1, 2], &stop), &[]);
    [a0, a1].iter().for_each(|block| bench.deliver(block));
    assert_eq!(bench.finish(), 0);
}

#[test]
fn a_certificate_one_signer_short_is_found() {
    let mut bench = Bench::new();
    let a0 = bench.block(W, 0, (0, BEGIN), 1);
    let short = [1, 2, 3];
    for (target, record, headers) in [
        (certified(&a0), tip(&a0), vec![a0]),
        (last(&a0), fin(&a0), vec![a0]),
        (skip(0), stopped(Record::default()), vec![]),
    ] {
        let few = bench.certificate(W, target, &all(&short, &record), &headers);
        assert!(bench.see(&few).is_err(), "{target:?}");
        let enough = bench.certificate(W, target, &all(&[0, 2, 3], &record), &headers);
        assert!(bench.see(&enough).is_ok(), "{target:?}");
    }
    // Weight Q of first votes is not weight FAST.
    let slow = bench.certificate(W, last(&a0), &all(&[0, 1, 2], &tip(&a0)), &[a0]);
    assert!(bench.see(&slow).is_err());
}

#[test]
fn a_repeated_signer_is_found() {
    let mut bench = Bench::new();
    let stop = stopped(Record::default());
    let twice = bench.certificate(W, skip(0), &all(&[0, 0, 1], &stop), &[]);
    assert!(bench.see(&twice).is_err());
}

#[test]
fn a_signature_of_another_a_window_or_a_record_is_found() {
    let mut bench = Bench::new();
    let stop = stopped(Record::default());
    let good = bench.certificate(W, skip(0), &all(&[0, 1, 2], &stop), &[]);
    let mut of_another = good.clone();
    of_another.records[2].signature = good.records[1].signature;
    assert!(bench.see(&of_another).is_err());
    let elsewhere = Certificate {
        window: Window::new(1),
        ..good.clone()
    };
    assert!(bench.see(&elsewhere).is_err());
    let mut lower = good.clone();
    lower.records[0].record.skip_fallback = Some(Index::ZERO);
    assert!(bench.see(&lower).is_err());
    assert!(bench.see(&good).is_ok());
}

#[test]
fn records_that_do_not_stand_behind_the_target_weigh_nothing() {
    let mut bench = Bench::new();
    let a0 = bench.block(W, 0, (0, BEGIN), 1);
    let b0 = bench.block(W, 0, (0, BEGIN), 2);
    let a1 = bench.block(W, 1, (1, a0.id()), 1);
    let refused = |bench: &mut Bench, target, says: &[(u16, Record)], headers: &[Header]| {
        let certificate = bench.certificate(W, target, says, headers);
        assert!(bench.see(&certificate).is_err(), "{certificate:?}");
    };
    let of_rival = [all(&[0, 1], &tip(&a0)), all(&[2], &tip(&b0))].concat();
    refused(&mut bench, certified(&a0), &of_rival, &[a0, b0]);
    // The header between is missing, and that of the target.
    let above = all(&[0, 1, 2], &tip(&a1));
    refused(&mut bench, certified(&a0), &above, &[a0]);
    refused(&mut bench, certified(&a0), &above, &[a1]);
    // Above the skip, below the Final, and a Final above its own fallback.
    let late = all(&[0, 1, 2], &stopped(tip(&a0)));
    refused(&mut bench, skip(0), &late, &[]);
    let low = Record {
        fin: Some(Index::ZERO),
        ..tip(&a1)
    };
    refused(&mut bench, last(&a1), &all(&[0, 1, 2], &low), &[a1]);
    let torn = Record {
        skip_fallback: Some(Index::ZERO),
        ..stopped(fin(&a0))
    };
    refused(&mut bench, last(&a0), &all(&[0, 1, 2], &torn), &[a0]);
}

#[test]
fn a_skip_over_a_final_slot_is_found() {
    let mut bench = Bench::new();
    let a0 = bench.block(W, 0, (0, BEGIN), 1);
    let a1 = bench.block(W, 1, (1, a0.id()), 1);
    [a0, a1].iter().for_each(|block| bench.deliver(block));
    bench.show(W, last(&a1), &all(&[0, 1, 2], &fin(&a1)), &[a1]);
    let above = stopped(tip(&a1));
    bench.show(W, skip(2), &all(&[0, 1, 2], &above), &[]);
    assert_eq!(bench.finish(), 0);
    // Of others than those who said Final, which no two quorums are: a broken threshold.
    bench.show(W, skip(1), &all(&[0, 3, 4], &stopped(tip(&a0))), &[]);
    assert_eq!(bench.finish(), 1);
}

#[test]
fn a_block_that_somebody_says_is_final_is_one_as_well() {
    let mut bench = Bench::new();
    let a0 = bench.block(W, 0, (0, BEGIN), 1);
    bench.deliver(&a0);
    bench.show(
        W,
        skip(0),
        &all(&[0, 3, 4], &stopped(Record::default())),
        &[],
    );
    assert_eq!(bench.finish(), 0, "only a descendant may be final");
    bench.judge.start(1, 1);
    bench.judge.finalize(1, &point(&a0));
    assert_eq!(bench.finish(), 0, "its log says so, and not why");
    bench.judge.finalize(2, &point(&a0));
    assert_eq!(bench.finish(), 1);
}

#[test]
fn a_certified_sibling_of_a_final_block_is_found() {
    let mut bench = Bench::new();
    let a0 = bench.block(W, 0, (0, BEGIN), 1);
    let a1 = bench.block(W, 1, (1, a0.id()), 1);
    let b1 = bench.block(W, 1, (1, a0.id()), 2);
    [a0, a1].iter().for_each(|block| bench.deliver(block));
    bench.show(W, certified(&b1), &all(&[0, 3, 4], &tip(&b1)), &[b1]);
    assert_eq!(bench.finish(), 0, "nobody says that the other is final");
    bench.show(W, last(&a0), &all(&[0, 1, 2], &fin(&a0)), &[a0]);
    assert_eq!(bench.finish(), 0, "it stands on what is final");
    bench.show(W, last(&a1), &all(&[0, 1, 2], &fin(&a1)), &[a1]);
    assert_eq!(bench.finish(), 1);
}

#[test]
fn a_certified_block_below_or_in_a_later_window_beside_a_final_one_is_found() {
    let mut bench = Bench::new();
    let a0 = bench.block(W, 0, (0, BEGIN), 1);
    let a1 = bench.block(W, 1, (1, a0.id()), 1);
    let b0 = bench.block(W, 0, (0, BEGIN), 2);
    let next = Window::new(1);
    let on_a0 = bench.block(next, 0, (1, a0.id()), 3);
    let on_a1 = bench.block(next, 0, (2, a1.id()), 3);
    [a0, a1].iter().for_each(|block| bench.deliver(block));
    bench.show(W, last(&a1), &all(&[0, 1, 2], &fin(&a1)), &[a1]);
    bench.show(
        next,
        certified(&on_a1),
        &all(&[0, 1, 2], &tip(&on_a1)),
        &[on_a1],
    );
    assert_eq!(bench.finish(), 0);
    bench.show(W, certified(&b0), &all(&[0, 3, 4], &tip(&b0)), &[b0]);
    assert_eq!(bench.finish(), 1);
    bench.show(
        next,
        certified(&on_a0),
        &all(&[0, 3, 4], &tip(&on_a0)),
        &[on_a0],
    );
    assert_eq!(bench.finish(), 2);
}

#[test]
fn a_proof_of_another_block_than_the_final_one_is_found() {
    let mut bench = Bench::new();
    let a0 = bench.block(W, 0, (0, BEGIN), 1);
    let b0 = bench.block(W, 0, (0, BEGIN), 2);
    bench.deliver(&a0);
    bench.show(W, last(&b0), &all(&[0, 1, 2], &fin(&b0)), &[b0]);
    assert!(bench.finish() > 0);
}

#[test]
fn whoever_cannot_prove_the_end_of_the_chain_is_found() {
    let mut bench = Bench::new();
    let a0 = bench.block(W, 0, (0, BEGIN), 1);
    let a1 = bench.block(W, 1, (1, a0.id()), 1);
    let of_a0 = bench.certificate(W, last(&a0), &all(&[0, 1, 2], &fin(&a0)), &[a0]);
    let of_a1 = bench.certificate(W, last(&a1), &all(&[0, 1, 2], &fin(&a1)), &[a1]);
    let parent = bench.certificate(W, certified(&a1), &all(&[0, 1, 2], &tip(&a1)), &[a1]);
    for proof in [&of_a0, &of_a1, &parent] {
        bench.see(proof).unwrap();
    }
    let end = (2, Some(a1.id()));
    assert_eq!(bench.judge.judge_end(0, end, Some(&of_a1)), Ok(()));
    assert_eq!(bench.judge.judge_end(0, (2, None), Some(&of_a1)), Ok(()));
    assert_eq!(bench.judge.judge_end(0, (0, None), None), Ok(()));
    for bad in [None, Some(&of_a0), Some(&parent)] {
        assert!(bench.judge.judge_end(0, end, bad).is_err(), "{bad:?}");
    }
    let other = (2, Some(a0.id()));
    assert!(bench.judge.judge_end(0, other, Some(&of_a1)).is_err());
    assert!(is_final(&of_a1, &point(&a1)));
    assert!(!is_final(&of_a1, &point(&a0)) && !is_final(&parent, &point(&a1)));
}
