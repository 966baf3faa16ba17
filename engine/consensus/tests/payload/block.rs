//! Blocks: valid or not by header, payload and set alone.

use crate::{entry, payload};
use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::payload::{BlockError, BlockRules, Lane, PayloadError, check_block};
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Stake, Window};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
use quorate_consensus::verify::HeaderFault;

type Change = fn(&mut Header);

fn set() -> ValidatorSet {
    let parameters = SetParameters {
        chain_id: [1; 32],
        genesis_hash: [2; 32],
        epoch: Epoch::ZERO,
        fault: Stake::new(1),
        slack: Stake::ZERO,
        window_slots: 8,
        turn_windows: 1,
        crash_only: false,
        genesis_time_ns: 0,
    };
    let validator = |n| Validator::new(ValidatorKey::from_seed(&[n; 32]).public(), Stake::new(1));
    ValidatorSet::new(parameters, (0..4).map(validator).collect()).expect("admissible")
}

fn header(set: &ValidatorSet, payload: &[u8]) -> Header {
    Header {
        version: HEADER_VERSION,
        flags: 0,
        chain_id: *set.chain_id(),
        epoch: set.epoch(),
        set_hash: *set.set_hash(),
        window: Window::ZERO,
        index: Index::ZERO,
        height: Height::new(1),
        time_ns: 1,
        parent_id: BlockId::new([0; 32]),
        payload_hash: *blake3::hash(payload).as_bytes(),
        payload_bytes: payload.len() as u32,
    }
}

#[test]
fn a_block_is_valid_by_header_payload_and_set_alone() {
    let set = set();
    let bytes = payload(&[entry(Lane::Order, 1, 5, b"abc")]);
    let good = header(&set, &bytes);
    assert_eq!(check_block(&set, &good, &bytes), Ok(()));
    let empty = payload(&[]);
    assert_eq!(check_block(&set, &header(&set, &empty), &empty), Ok(()));
    let faults: [(Change, HeaderFault); 7] = [
        (
            |header| header.version = 0,
            HeaderFault::Version { version: 0 },
        ),
        (
            |header| header.flags = 0x8000,
            HeaderFault::Flags { flags: 0x8000 },
        ),
        (|header| header.chain_id[9] ^= 1, HeaderFault::ChainId),
        (
            |header| header.epoch = Epoch::new(1),
            HeaderFault::Epoch {
                epoch: Epoch::new(1),
            },
        ),
        (|header| header.set_hash[9] ^= 1, HeaderFault::SetHash),
        (
            |header| header.index = Index::new(8),
            HeaderFault::Index {
                index: Index::new(8),
            },
        ),
        (
            |header| header.height = Height::ZERO,
            HeaderFault::Height {
                height: Height::ZERO,
            },
        ),
    ];
    for (change, fault) in faults {
        let mut changed = good;
        change(&mut changed);
        assert_eq!(
            check_block(&set, &changed, &bytes),
            Err(BlockError::Header(fault))
        );
    }
    let mut last = good;
    last.index = Index::new(7);
    assert_eq!(check_block(&set, &last, &bytes), Ok(()));
}

#[test]
fn a_block_s_payload_is_the_one_its_header_names() {
    let set = set();
    let bytes = payload(&[entry(Lane::Order, 1, 5, b"abc")]);
    let good = header(&set, &bytes);
    let mut other = bytes.clone();
    *other.last_mut().expect("a body") ^= 1;
    assert_eq!(
        check_block(&set, &good, &other),
        Err(BlockError::PayloadHash)
    );
    let mut longer = bytes.clone();
    longer.push(0);
    let lengths = BlockError::PayloadBytes {
        header: bytes.len(),
        payload: longer.len(),
    };
    assert_eq!(check_block(&set, &good, &longer), Err(lengths));
    let malformed = BlockError::Payload(PayloadError::Trailing { bytes: 1 });
    assert!(std::error::Error::source(&malformed).is_some());
    assert_eq!(
        check_block(&set, &header(&set, &longer), &longer),
        Err(malformed)
    );
}

#[test]
fn r3_a_block_out_of_lane_order_or_with_a_lane_above_its_share_is_invalid() {
    let shared = BlockRules {
        lane_percent: [100, 100, 30, 25],
        ..BlockRules::default()
    };
    let sets = [set(), set().with_block_rules(shared)];
    assert_eq!(sets[0].set_hash(), sets[1].set_hash());
    let judged = |set: &ValidatorSet, entries: &[Vec<u8>]| {
        let bytes = payload(entries);
        check_block(set, &header(set, &bytes), &bytes)
    };
    let disordered = [
        entry(Lane::Order, 1, 5, b"order"),
        entry(Lane::Cancel, 2, 5, b"cancel"),
    ];
    let of_prices = |k: usize| {
        [
            entry(Lane::Order, 1, 5, &vec![0; (80 - k) * 1024]),
            entry(Lane::Price, 2, 5, &vec![0; k * 1024]),
        ]
    };
    for set in &sets {
        let error = judged(set, &disordered).expect_err("a cancel behind an order");
        assert!(error.condemns_block());
        let order = PayloadError::LaneOrder { command: 1 };
        assert_eq!(error, BlockError::Payload(order));
        let error = judged(set, &of_prices(50)).expect_err("prices above half");
        assert!(error.condemns_block());
    }
    // The genesis' word counts, and not what is built in.
    assert_eq!(judged(&sets[0], &of_prices(35)), Ok(()));
    assert!(judged(&sets[1], &of_prices(35)).is_err());
    assert_eq!(judged(&sets[1], &of_prices(20)), Ok(()));
}
