//! A chain with real keys: what is proven, and every way in which a proof must fail.

use quorate_consensus::attestation::{StateCertificate, StateStatement};
use quorate_consensus::certificate::{Certificate, SignedRecord, Target};
use quorate_consensus::header::{HEADER_VERSION, Header};
use quorate_consensus::limits::{FRAME_BYTES_MAX, PAYLOAD_BYTES_MAX};
use quorate_consensus::payload::{Entry, Lane, PayloadBuilder, encode_entry, session_of_key};
use quorate_consensus::record::Record;
use quorate_consensus::signing::{self, Signer as _, ValidatorKey};
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Stake, ValidatorIndex, Window};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
use quorate_proof::outputs::{BlockOutputs, ListPath, OutputHistory};
use quorate_proof::{
    BlockProof, CommandProof, FormatError, OUTPUT_BYTES_MAX, OutputItem, OutputProof,
    PROOF_BYTES_MAX, PROOF_HEADERS_MAX, PROOF_VERSION, Proof, ProofError, Proven, decode, encode,
    verify,
};

const WINDOW: Window = Window::new(5);
const KEY: [u8; 32] = [7; 32];

struct World {
    set: ValidatorSet,
    keys: Vec<ValidatorKey>,
}

impl World {
    /// Four equal validators, F = 1: a quorum is three.
    fn new(chain_id: [u8; 32]) -> Self {
        let keys: Vec<ValidatorKey> = (1..=4)
            .map(|seed| ValidatorKey::from_seed(&[seed; 32]))
            .collect();
        let validators = keys.iter();
        let validators = validators.map(|key| Validator::new(key.public(), Stake::new(1)));
        let parameters = SetParameters {
            chain_id,
            genesis_hash: [2; 32],
            epoch: Epoch::new(0),
            fault: Stake::new(1),
            slack: Stake::new(0),
            window_slots: 16,
            turn_windows: 4,
            crash_only: false,
            genesis_time_ns: 1_000,
        };
        let set = ValidatorSet::new(parameters, validators.collect()).expect("admissible");
        Self { set, keys }
    }

    fn header(&self, parent: Option<&Header>, payload: &[u8]) -> Header {
        Header {
            version: HEADER_VERSION,
            flags: 0,
            chain_id: *self.set.chain_id(),
            epoch: self.set.epoch(),
            set_hash: *self.set.set_hash(),
            window: WINDOW,
            index: parent.map_or(Index::ZERO, |parent| parent.index.next()),
            height: parent.map_or(Height::new(70), |parent| parent.height.next()),
            time_ns: parent.map_or(2_000, |parent| parent.time_ns + 1),
            parent_id: parent.map_or(BlockId::new([9; 32]), Header::id),
            payload_hash: *blake3::hash(payload).as_bytes(),
            payload_bytes: payload.len() as u32,
        }
    }

    /// Finals of these validators for a block.
    fn certificate(&self, block: &Header, who: &[u16]) -> Certificate {
        let record = Record {
            tip: Some((block.index, block.id())),
            fin: Some(block.index),
            ..Record::default()
        };
        let records = who.iter().map(|&validator| {
            let mut message = Vec::new();
            let who = ValidatorIndex::new(validator);
            signing::record_message(&self.set, who, WINDOW, &record, &mut message);
            SignedRecord {
                validator: who,
                record: record.clone(),
                signature: self.keys[usize::from(validator)].sign(&message),
            }
        });
        Certificate {
            epoch: self.set.epoch(),
            window: WINDOW,
            target: Target::Final {
                index: block.index,
                id: block.id(),
            },
            records: records.collect(),
            headers: vec![*block],
        }
    }

    /// Three blocks, the last one certified; the command in question stands in the first.
    fn proof(&self) -> BlockProof {
        let payload = payload();
        let first = self.header(None, &payload);
        let second = self.header(Some(&first), &[0; 4]);
        let third = self.header(Some(&second), &[0; 4]);
        BlockProof {
            certificate: self.certificate(&third, &[0, 1, 3]),
            headers: vec![second, first],
            command: Some(CommandProof { index: 1, payload }),
        }
    }

    fn state(&self, who: &[u16]) -> StateCertificate {
        self.state_with(who, vec![[1; 32], [2; 32]])
    }

    fn state_with(&self, who: &[u16], sections: Vec<[u8; 32]>) -> StateCertificate {
        let statement = StateStatement {
            height: Height::new(128),
            id: BlockId::new([3; 32]),
            sections,
            snapshot: None,
        };
        let signatures = who.iter().map(|&validator| {
            let mut message = Vec::new();
            let who = ValidatorIndex::new(validator);
            signing::state_message(&self.set, who, &statement, &mut message);
            (who, self.keys[usize::from(validator)].sign(&message))
        });
        StateCertificate {
            signatures: signatures.collect(),
            statement,
        }
    }

    /// Of 40 outputs of the block of height 70, number 33, or the outcomes.
    fn output(&self, of_outcomes: bool) -> OutputProof {
        self.output_of(70, of_outcomes)
    }

    /// The same of another block; the state is that after height 128.
    fn output_of(&self, shown: u64, of_outcomes: bool) -> OutputProof {
        let (mut history, mut way, mut list) =
            (OutputHistory::default(), None, ListPath::default());
        let mut root = [0; 32];
        for height in 1..=128 {
            let outputs = if height == shown { OUTPUTS } else { 0 };
            let block = block_outputs(outputs);
            let id = [height as u8; 32];
            if height == shown {
                way = history.way_to(128);
                let place = if of_outcomes { OUTPUTS } else { NUMBER };
                list = block.path(place).expect("there");
                root = block.root().hash;
            } else if let Some(way) = &mut way {
                way.push(&id, &block.root());
            }
            history.push(&id, &block.root());
        }
        let sections = vec![[1; 32], history.root(), [2; 32]];
        OutputProof {
            certificate: self.state_with(&[1, 2], sections),
            height: shown,
            id: BlockId::new([shown as u8; 32]),
            root,
            history: way.and_then(|way| way.finish()).expect("a way"),
            list,
            item: match of_outcomes {
                true => OutputItem::Outcomes(vec![0; 3]),
                false => OutputItem::Output {
                    number: NUMBER,
                    command: Some(2),
                    session: Some([6; 16]),
                    bytes: b"filled 33".to_vec(),
                },
            },
        }
    }

    fn output_fails(&self, change: impl FnOnce(&mut OutputProof)) -> ProofError {
        let mut proof = self.output(false);
        change(&mut proof);
        verify(&self.set, &Proof::Output(proof)).expect_err("a bad proof")
    }

    fn fails(&self, change: impl FnOnce(&mut BlockProof)) -> ProofError {
        let mut proof = self.proof();
        change(&mut proof);
        verify(&self.set, &Proof::Block(proof)).expect_err("a bad proof")
    }
}

const OUTPUTS: u32 = 40;
const NUMBER: u32 = 33;

fn block_outputs(outputs: u32) -> BlockOutputs {
    let mut block = BlockOutputs::default();
    for number in 0..outputs {
        let output = format!("filled {number}");
        block.push(Some(2), Some(&[6; 16]), output.as_bytes());
    }
    block.close([0; 3]);
    block
}

fn entry(seq: u64, body: &[u8]) -> Vec<u8> {
    let session = session_of_key(&KEY);
    let body = match seq {
        1 => [&KEY, body].concat(),
        _ => body.to_vec(),
    };
    let mut bytes = Vec::new();
    let entry = Entry {
        lane: Lane::Order,
        session: &session,
        seq,
        signature: None,
        body: &body,
    };
    encode_entry(&entry, &mut bytes);
    bytes
}

fn payload() -> Vec<u8> {
    let mut builder = PayloadBuilder::new();
    for seq in 1..=3 {
        builder.push_entry(&entry(seq, b"command")).expect("room");
    }
    builder.finish().to_vec()
}

#[test]
fn a_command_of_a_block_below_the_certified_one_is_proven_by_the_set_alone() {
    let world = World::new([1; 32]);
    let bytes = encode(&Proof::Block(world.proof()));
    let proven = verify(&world.set, &decode(&bytes).expect("a proof"));
    let Ok(Proven::Block(block)) = proven else {
        panic!("{proven:?}");
    };
    assert_eq!(block.header.height, Height::new(70));
    assert_eq!(block.id, block.header.id());
    let command = block.command.expect("asked for");
    assert_eq!((command.index, command.seq), (1, 2));
    assert_eq!(command.session, session_of_key(&KEY));
    assert_eq!(command.entry, entry(2, b"command"));
    // Without a command and a way down it is the certified block itself.
    let mut proof = world.proof();
    (proof.headers, proof.command) = (Vec::new(), None);
    let proven = verify(&world.set, &Proof::Block(proof));
    assert!(matches!(proven, Ok(Proven::Block(block)) if block.header.height == Height::new(72)));
}

#[test]
fn every_part_that_is_another_one_fails_and_says_which() {
    let world = World::new([1; 32]);
    let top = *world.proof().certificate.headers.first().expect("one");
    let too_few = world.fails(|proof| proof.certificate = world.certificate(&top, &[0, 1]));
    assert_eq!(too_few, ProofError::Certificate);
    let twice = world.fails(|proof| proof.certificate = world.certificate(&top, &[0, 1, 1]));
    assert_eq!(twice, ProofError::Certificate);
    let forged = world.fails(|proof| proof.certificate.records[1].signature[5] ^= 1);
    assert_eq!(forged, ProofError::Certificate);
    let stranger = World::new([4; 32]);
    let foreign = verify(&stranger.set, &Proof::Block(world.proof()));
    assert_eq!(foreign, Err(ProofError::Certificate));
    let other = world.fails(|proof| {
        let (index, id) = (top.index, top.id());
        proof.certificate.target = Target::Certified { index, id };
    });
    assert_eq!(other, ProofError::NotFinal);
    let gap = world.fails(|proof| proof.headers = vec![proof.headers[1]]);
    assert_eq!(gap, ProofError::Chain { place: 0 });
    let altered = world.fails(|proof| proof.headers[1].time_ns += 1);
    assert_eq!(altered, ProofError::Chain { place: 1 });
    let payload = world.fails(|proof| {
        let command = proof.command.as_mut().expect("there");
        *command.payload.last_mut().expect("bytes") ^= 1;
    });
    assert_eq!(payload, ProofError::Payload);
    let beyond = world.fails(|proof| proof.command.as_mut().expect("there").index = 3);
    assert_eq!(beyond, ProofError::NoCommand { count: 3, index: 3 });
}

/// A quorum of which more lie than may could certify it; whoever is shown a block of a height is
/// told which one, all the same.
#[test]
fn a_way_down_that_passes_a_height_or_stays_at_one_proves_nothing() {
    let world = World::new([1; 32]);
    let first = world.header(None, &payload());
    let verified = |height: u64| {
        let mut second = world.header(Some(&first), &[0; 4]);
        second.height = Height::new(height);
        let third = world.header(Some(&second), &[0; 4]);
        let proof = BlockProof {
            certificate: world.certificate(&third, &[0, 1, 3]),
            headers: vec![second, first],
            command: None,
        };
        verify(&world.set, &Proof::Block(proof))
    };
    assert!(verified(71).is_ok());
    for height in [69, 70, 72] {
        assert_eq!(verified(height), Err(ProofError::Chain { place: 1 }));
    }
}

#[test]
fn a_state_is_proven_by_more_weight_than_may_lie() {
    let world = World::new([1; 32]);
    let proof = Proof::State(world.state(&[1, 2]));
    let again = decode(&encode(&proof)).expect("a proof");
    assert_eq!(again, proof);
    let proven = verify(&world.set, &again);
    assert_eq!(proven, Ok(Proven::State(world.state(&[]).statement)));
    let alone = Proof::State(world.state(&[1]));
    assert_eq!(verify(&world.set, &alone), Err(ProofError::State));
    let mut forged = world.state(&[1, 2]);
    forged.statement.sections[1] = [9; 32];
    assert_eq!(
        verify(&world.set, &Proof::State(forged)),
        Err(ProofError::State)
    );
}

#[test]
fn an_output_is_proven_by_a_later_attested_state_and_shows_no_other_one() {
    let world = World::new([1; 32]);
    // It may be the first block, and the very one whose state is attested.
    for (height, of_outcomes) in [(70, false), (70, true), (128, false), (1, true)] {
        let made = world.output_of(height, of_outcomes);
        let bytes = encode(&Proof::Output(made.clone()));
        let other = b"filled 32";
        assert!(!bytes.windows(other.len()).any(|window| window == other));
        let proven = verify(&world.set, &decode(&bytes).expect("a proof"));
        let Ok(Proven::Output(output)) = proven else {
            panic!("{proven:?}");
        };
        assert_eq!((output.height, output.attested), (height, 128));
        assert_eq!((output.id, output.item), (made.id, made.item));
    }
}

#[test]
fn every_part_of_an_output_s_proof_that_is_another_one_fails_and_says_which() {
    let world = World::new([1; 32]);
    let alone = world.state_with(&[1], vec![[1; 32], [2; 32]]);
    let fails = world.output_fails(|proof| proof.certificate = alone);
    assert_eq!(fails, ProofError::State);
    let bare = world.state_with(&[1, 2], vec![[1; 32]]);
    let fails = world.output_fails(|proof| proof.certificate = bare);
    assert_eq!(fails, ProofError::NoOutputs);
    let elsewhere = world.state(&[1, 2]);
    let fails = world.output_fails(|proof| proof.certificate = elsewhere);
    assert_eq!(fails, ProofError::History);
    for height in [0, 129] {
        let fails = world.output_fails(|proof| proof.height = height);
        let attested = 128;
        assert_eq!(fails, ProofError::Above { height, attested });
    }
    let fails = world.output_fails(|proof| proof.height = 71);
    assert_eq!(fails, ProofError::History);
    let fails = world.output_fails(|proof| proof.id = BlockId::new([71; 32]));
    assert_eq!(fails, ProofError::History);
    let fails = world.output_fails(|proof| proof.history[3] = [0; 32]);
    assert_eq!(fails, ProofError::History);
    let fails = world.output_fails(|proof| proof.history.push([0; 32]));
    let (height, attested) = (70, 128);
    assert_eq!(fails, ProofError::HistoryShape { height, attested });
    let fails = world.output_fails(|proof| proof.list.neighbours.truncate(4));
    let (place, count) = (NUMBER, OUTPUTS + 1);
    assert_eq!(fails, ProofError::ListShape { place, count });
    let fails = world.output_fails(|proof| proof.list.neighbours[0] = [0; 32]);
    assert_eq!(fails, ProofError::Item);
    let fails = world.output_fails(|proof| proof.root = [0; 32]);
    assert_eq!(fails, ProofError::Item);
    let fails = world.output_fails(|proof| {
        let OutputItem::Output { bytes, .. } = &mut proof.item else {
            panic!("an output");
        };
        bytes[0] ^= 1;
    });
    assert_eq!(fails, ProofError::Item);
    let fails = world.output_fails(|proof| proof.item = OutputItem::Outcomes(vec![0; 3]));
    assert_eq!(fails, ProofError::Item);
}

#[test]
fn bytes_that_are_cut_or_continued_or_of_another_kind_are_no_proof() {
    let world = World::new([1; 32]);
    for proof in [
        Proof::Block(world.proof()),
        Proof::State(world.state(&[1, 2])),
        Proof::Output(world.output(false)),
        Proof::Output(world.output(true)),
    ] {
        let bytes = encode(&proof);
        for cut in 0..bytes.len() {
            let cut = decode(&bytes[..cut]);
            // A payload has no length of its own: one that is cut is another one.
            assert!(cut.is_err() || cut.is_ok_and(|cut| verify(&world.set, &cut).is_err()));
        }
        let longer = [&bytes[..], &[0]].concat();
        let longer = decode(&longer);
        assert!(longer.is_err() || longer.is_ok_and(|proof| verify(&world.set, &proof).is_err()));
        for (place, error) in [
            (0, FormatError::Magic),
            (6, FormatError::Version(PROOF_VERSION ^ 0x80)),
            (8, FormatError::Kind(bytes[8] ^ 0x80)),
        ] {
            let mut bad = bytes.clone();
            bad[place] ^= 0x80;
            assert_eq!(decode(&bad), Err(error));
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_proves_nothing() {
    let world = World::new([1; 32]);
    let bytes = encode(&Proof::Block(world.proof()));
    for place in 0..bytes.len() {
        let mut bad = bytes.clone();
        bad[place] ^= 1;
        let proven = decode(&bad).map(|proof| verify(&world.set, &proof));
        match proven {
            Err(_) | Ok(Err(_)) => {}
            // The one thing that is asked and not claimed: which command is meant.
            Ok(Ok(Proven::Block(block))) => {
                let index = block.command.map(|command| command.index);
                assert_eq!(index, Some(0), "flipped at {place}");
            }
            Ok(Ok(other)) => panic!("flipped at {place}: {other:?}"),
        }
    }
}

#[test]
fn a_flipped_bit_anywhere_in_an_output_s_proof_proves_nothing() {
    let world = World::new([1; 32]);
    for of_outcomes in [false, true] {
        let bytes = encode(&Proof::Output(world.output(of_outcomes)));
        for place in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[place] ^= 1 << (place % 8);
            let proven = decode(&bad).map(|proof| verify(&world.set, &proof));
            assert!(!matches!(proven, Ok(Ok(_))), "flipped at {place}");
        }
    }
}

#[test]
fn counts_of_an_output_s_proof_are_held_against_their_bounds() {
    type Fill = fn(&mut OutputProof, usize);
    let fills: [(&str, usize, Fill); 5] = [
        ("the way from the block", 64, |proof, count| {
            proof.history = vec![[0; 32]; count];
        }),
        ("the number of neighbours", 31, |proof, count| {
            proof.list.neighbours = vec![[0; 32]; count];
        }),
        ("the way to the block", 32, |proof, count| {
            proof.list.path = vec![[0; 32]; count];
        }),
        ("the number of outcomes", 16_384, |proof, count| {
            proof.item = OutputItem::Outcomes(vec![0; count]);
        }),
        ("the output", OUTPUT_BYTES_MAX, |proof, count| {
            if let OutputItem::Output { bytes, .. } = &mut proof.item {
                bytes.resize(count, 0);
            }
        }),
    ];
    let world = World::new([1; 32]);
    for (what, max, fill) in fills {
        let filled = |count: usize| {
            let mut proof = world.output(false);
            fill(&mut proof, count);
            Proof::Output(proof)
        };
        let most = filled(max);
        assert_eq!(decode(&encode(&most)), Ok(most), "{what}");
        let many = decode(&encode(&filled(max + 1)));
        assert_eq!(many, Err(FormatError::Bound(what)));
    }
}

/// The bounds of docs/proof-format.md.
#[test]
fn a_proof_and_its_certificate_are_held_against_their_bounds_before_they_are_read() {
    assert_eq!(OUTPUT_BYTES_MAX, 1_048_576);
    // A frame, 65 536 headers of 172 bytes, a payload, and what stands between them.
    let parts = 2_097_152 + 65_536 * 172 + 1_048_576;
    assert_eq!(PROOF_BYTES_MAX, parts + 64);
    let zeros = vec![0; PROOF_BYTES_MAX + 1];
    let longest = decode(&zeros[..PROOF_BYTES_MAX]);
    assert_eq!(longest, Err(FormatError::Magic));
    assert_eq!(decode(&zeros), Err(FormatError::Bound("the proof")));
    let world = World::new([1; 32]);
    for (proof, what) in [
        (Proof::Block(world.proof()), "the certificate"),
        (Proof::Output(world.output(false)), "the state certificate"),
    ] {
        let announced = |bytes: usize| {
            // Behind the first bytes, the version and the kind.
            let count = u32::try_from(bytes).expect("short").to_le_bytes();
            decode(&[&encode(&proof)[..9], &count].concat())
        };
        assert_eq!(announced(FRAME_BYTES_MAX), Err(FormatError::Truncated));
        let many = announced(FRAME_BYTES_MAX + 1);
        assert_eq!(many, Err(FormatError::Bound(what)));
    }
}

#[test]
fn counts_of_a_block_s_proof_are_held_against_their_bounds() {
    let world = World::new([1; 32]);
    let with_headers = |count: usize| {
        let mut proof = world.proof();
        proof.headers = vec![proof.headers[0]; count];
        proof.command = None;
        decode(&encode(&Proof::Block(proof)))
    };
    assert!(with_headers(PROOF_HEADERS_MAX).is_ok());
    let many = with_headers(PROOF_HEADERS_MAX + 1);
    assert_eq!(many, Err(FormatError::Bound("the number of headers")));
    let with_payload = |bytes: usize| {
        let mut proof = world.proof();
        let payload = vec![0; bytes];
        proof.command = Some(CommandProof { index: 0, payload });
        decode(&encode(&Proof::Block(proof)))
    };
    assert!(with_payload(PAYLOAD_BYTES_MAX).is_ok());
    let long = with_payload(PAYLOAD_BYTES_MAX + 1);
    assert_eq!(long, Err(FormatError::Bound("the payload")));
}

/// The bytes of version 1 do not change.
#[test]
fn the_golden_proof_is_written_and_read_as_it_was() {
    let world = World::new([1; 32]);
    let bytes = encode(&Proof::Block(world.proof()));
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden: String = include_str!("golden/block.hex")
        .split_whitespace()
        .collect();
    assert_eq!(digits, golden);
}

/// Neither these bytes change nor what is hashed.
#[test]
fn the_golden_proof_of_an_output_is_written_and_read_as_it_was() {
    let world = World::new([1; 32]);
    let bytes = encode(&Proof::Output(world.output(false)));
    let digits: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let golden: String = include_str!("golden/output.hex")
        .split_whitespace()
        .collect();
    assert_eq!(digits, golden);
}
