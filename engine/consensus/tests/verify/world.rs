//! A small chain with real keys: sets, headers, records and signatures for the tests.

use quorate_consensus::certificate::{Certificate, SignatureBytes, SignedRecord, Target};
use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::record::Record;
use quorate_consensus::signing::{self, Signer, ValidatorKey};
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Stake, ValidatorIndex, Window};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};

pub(crate) struct World {
    pub(crate) set: ValidatorSet,
    keys: Vec<ValidatorKey>,
}

pub(crate) fn v(number: u16) -> ValidatorIndex {
    ValidatorIndex::new(number)
}

pub(crate) fn i(number: u32) -> Index {
    Index::new(number)
}

pub(crate) const W: Window = Window::new(5);

pub(crate) fn parameters(fault: u64, slack: u64) -> SetParameters {
    SetParameters {
        chain_id: [1; 32],
        genesis_hash: [2; 32],
        epoch: Epoch::new(3),
        fault: Stake::new(fault),
        slack: Stake::new(slack),
        window_slots: 16,
        turn_windows: 4,
        crash_only: false,
        genesis_time_ns: 1_000,
    }
}

impl World {
    pub(crate) fn new(stakes: &[u64], parameters: SetParameters) -> Self {
        let keys: Vec<ValidatorKey> = (1..=stakes.len())
            .map(|n| ValidatorKey::from_seed(&[n as u8; 32]))
            .collect();
        let validators = keys
            .iter()
            .zip(stakes)
            .map(|(key, &stake)| Validator::new(key.public(), Stake::new(stake)))
            .collect();
        Self {
            set: ValidatorSet::new(parameters, validators).expect("admissible"),
            keys,
        }
    }

    /// Six equal validators: F = P = 1, Q = 4, FAST = 5, FB = 3, AMP = 2.
    pub(crate) fn six() -> Self {
        Self::new(&[1; 6], parameters(1, 1))
    }

    pub(crate) fn key(&self, validator: u16) -> &ValidatorKey {
        &self.keys[usize::from(validator)]
    }

    /// A block of window `W` on `parent`, or at index 0. `salt` tells siblings apart.
    pub(crate) fn header(&self, parent: Option<&Header>, salt: u8) -> Header {
        Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: *self.set.chain_id(),
            epoch: self.set.epoch(),
            set_hash: *self.set.set_hash(),
            window: W,
            index: parent.map_or(Index::ZERO, |parent| parent.index.next()),
            height: parent.map_or(Height::new(70), |parent| parent.height.next()),
            time_ns: parent.map_or(2_000, |parent| parent.time_ns + 1),
            parent_id: parent.map_or(BlockId::new([9; 32]), Header::id),
            payload_hash: [salt; 32],
            payload_bytes: 4,
        }
    }

    /// A chain of `count` blocks from index 0.
    pub(crate) fn chain(&self, count: usize, salt: u8) -> Vec<Header> {
        let mut chain: Vec<Header> = Vec::new();
        for _ in 0..count {
            chain.push(self.header(chain.last(), salt));
        }
        chain
    }

    pub(crate) fn sign_record(
        &self,
        validator: u16,
        window: Window,
        record: &Record,
    ) -> SignatureBytes {
        let mut message = Vec::new();
        signing::record_message(&self.set, v(validator), window, record, &mut message);
        self.key(validator).sign(&message)
    }

    pub(crate) fn signed(&self, validator: u16, record: Record) -> SignedRecord {
        let signature = self.sign_record(validator, W, &record);
        SignedRecord {
            validator: v(validator),
            record,
            signature,
        }
    }

    pub(crate) fn sign_header(&self, header: &Header) -> SignatureBytes {
        let mut message = Vec::new();
        signing::header_message(&self.set, header, &mut message);
        self.key(self.set.leader(header.window).number())
            .sign(&message)
    }

    /// A certificate of window `W` with these validators' records, in the order given.
    pub(crate) fn certificate(
        &self,
        target: Target,
        records: Vec<(u16, Record)>,
        headers: &[Header],
    ) -> Certificate {
        let records = records
            .into_iter()
            .map(|(validator, record)| self.signed(validator, record))
            .collect();
        let epoch = self.set.epoch();
        Certificate {
            epoch,
            window: W,
            target,
            records,
            headers: headers.to_vec(),
        }
    }
}

pub(crate) fn named(header: &Header) -> (Index, BlockId) {
    (header.index, header.id())
}

pub(crate) fn certified(header: &Header) -> Target {
    Target::Certified {
        index: header.index,
        id: header.id(),
    }
}

pub(crate) fn final_target(header: &Header) -> Target {
    Target::Final {
        index: header.index,
        id: header.id(),
    }
}

pub(crate) fn tip(header: &Header) -> Record {
    Record {
        tip: Some(named(header)),
        ..Record::default()
    }
}

pub(crate) fn finals(header: &Header, fin: u32) -> Record {
    Record {
        fin: Some(i(fin)),
        ..tip(header)
    }
}

/// Stopped at `header`, or with nothing voted.
pub(crate) fn stopped(header: Option<&Header>) -> Record {
    Record {
        tip: header.map(named),
        stop: true,
        ..Record::default()
    }
}
