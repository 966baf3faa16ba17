//! A second look over what was mended knows what a look over everything would.

use super::*;
use crate::identity::genesis_hash;
use crate::position::ChainHash;
use crate::record::{HASH_BYTES, RecordKind, encode_header, record_hash};
use crate::segment::FORMAT_VERSION;

const BYTES: usize = 16 * 1024;
const NUMBER: u32 = 3;

fn identity() -> Identity {
    Identity::new(genesis_hash(b"genesis"), [9; 32])
}

/// A whole segment, and where its records end.
fn segment() -> (Vec<u8>, Extent) {
    let header = SegmentHeader {
        version: FORMAT_VERSION,
        number: NUMBER,
        segment_bytes: BYTES as u32,
        first_index: RecordIndex::new(40),
        synced_index: RecordIndex::new(38),
        genesis_hash: identity().genesis_hash,
        salt: identity().salt,
        chain_start: ChainHash::from_bytes([7; 32]),
        gap: None,
    };
    let mut bytes = header.encode().to_vec();
    for number in 0..60 {
        let at = bytes.len();
        let payload = vec![number as u8; 40 + number * 61 % 200];
        let header = RecordHeader {
            kind: RecordKind::new(7),
            payload_bytes: payload.len() as u32,
            index: RecordIndex::new(40 + number as u64),
            synced_index: RecordIndex::new(39 + number as u64 / 3 * 3),
            // Every fourth one.
            lead: if number % 4 == 0 { 17 } else { 0 },
        };
        bytes.extend(encode_header(&identity(), NUMBER, at as u32, &header));
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(ALIGN_BYTES), 0);
        let hash = record_hash(&identity(), &header, &bytes[at - HASH_BYTES..]);
        bytes.extend(hash);
    }
    let extent = Extent {
        number: NUMBER,
        bytes_len: BYTES,
        end: bytes.len(),
        is_marked: false,
    };
    bytes.resize(BYTES, 0);
    (bytes, extent)
}

/// Numbers that look random (xorshift).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % bound as u64) as usize
    }
}

#[test]
fn a_second_look_finds_what_a_look_over_everything_does() {
    let (whole, extent) = segment();
    assert!(find_pieces(&identity(), &extent, &whole).is_empty());
    let mut random = Random(5);
    let (mut mended, mut examined_bytes) = (0, 0);
    for _ in 0..300 {
        let mut bytes = whole.clone();
        for _ in 0..=random.below(12) {
            let from = random.below(BYTES - 400);
            let lost = from..from + [1, 1, 8, 60, 400][random.below(5)];
            bytes[lost].iter_mut().for_each(|byte| *byte ^= 0x5a);
        }
        let mut pieces = find_pieces(&identity(), &extent, &bytes);
        while !pieces.is_empty() {
            let place = random.below(pieces.len());
            // Now and then the one right behind it comes back with it.
            let mut range = pieces[place].range.clone();
            let next = pieces.get(place + 1);
            let is_next = |it: &&Piece| it.range.start == range.end && it.what != What::Tail;
            if let Some(next) = next.filter(is_next)
                && random.below(2) == 0
            {
                range.end = next.range.end;
            }
            bytes[range.clone()].copy_from_slice(&whole[range]);
            let again = look_again(&identity(), &extent, &bytes, &pieces[place..]);
            mended += 1;
            examined_bytes += again.examined_bytes;
            pieces.splice(place..place + again.gone, again.pieces);
            assert_eq!(pieces, find_pieces(&identity(), &extent, &bytes));
        }
        assert_eq!(bytes, whole);
    }
    // Not all of it each time.
    assert!(mended > 500, "{mended}");
    assert!(
        examined_bytes / mended < BYTES / 8,
        "{examined_bytes} of {mended}"
    );
}
