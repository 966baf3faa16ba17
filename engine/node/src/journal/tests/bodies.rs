//! Blocks whose payload is chained by the hash that their header has of it.

use super::*;

/// Where a record of the log says how much of it stands before a body that is chained by its hash.
const LEAD_AT: usize = 22;

fn block_of(height: u64, payload: Vec<u8>) -> JournalOp {
    let header = Header {
        payload_hash: *blake3::hash(&payload).as_bytes(),
        payload_bytes: payload.len() as u32,
        ..header(height)
    };
    JournalOp::Block {
        id: header.id(),
        header,
        payload: payload.into(),
    }
}

/// Else each validator hashes each payload twice.
#[test]
fn the_log_does_not_hash_a_long_payload_again() {
    let mut fixture = fixture(Durability::Async);
    for (height, payload_bytes) in [(1, 100), (2, 4096), (3, 20_000)] {
        let from = fixture.journal.writer.end().offset.bytes() as usize;
        let payload = vec![height as u8; payload_bytes];
        fixture.append(0, block_of(height, payload.clone()));
        let bytes = fixture.memory.file("segment-0000000000").expect("it");
        let lead = &bytes[from + LEAD_AT..][..2];
        let lead = usize::from(u16::from_le_bytes([lead[0], lead[1]]));
        let is_long = payload_bytes >= 4096;
        assert_eq!(lead, if is_long { BLOCK_ENTRY_BYTES } else { 0 });
        let record = fixture.reader.iter().last().expect("one").expect("whole");
        let entry = decode(record.kind(), &record).expect("an entry");
        let JournalEntry::Block { payload: found, .. } = entry else {
            panic!("{entry:?}");
        };
        assert!(found == payload, "{payload_bytes}");
    }
}
