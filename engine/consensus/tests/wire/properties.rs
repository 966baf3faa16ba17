//! Any value comes back as it went; any bytes are an error or come back as they were.

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::*;
use quorate_consensus::attestation::{StateCertificate, StateStatement};
use quorate_consensus::certificate::{Certificate, SignedRecord, Target};
use quorate_consensus::evidence::{Evidence, SignedHeader};
use quorate_consensus::header::Header;
use quorate_consensus::message::{
    BlockRef, EventStretch, Get, HeldRecord, Message, Propose, RecoverAnswer, SnapshotPart, Status,
    Vote,
};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Point, ValidatorIndex, Window};
use quorate_consensus::wire;
use std::sync::Arc;

fn epoch() -> impl Strategy<Value = Epoch> {
    any::<u64>().prop_map(Epoch::new)
}

fn window() -> impl Strategy<Value = Window> {
    any::<u64>().prop_map(Window::new)
}

fn index() -> impl Strategy<Value = Index> {
    any::<u32>().prop_map(Index::new)
}

fn height() -> impl Strategy<Value = Height> {
    any::<u64>().prop_map(Height::new)
}

fn id() -> impl Strategy<Value = BlockId> {
    any::<[u8; 32]>().prop_map(BlockId::new)
}

fn signature() -> impl Strategy<Value = [u8; 64]> {
    any::<[[u8; 32]; 2]>().prop_map(|halves| {
        let mut signature = [0; 64];
        signature[..32].copy_from_slice(&halves[0]);
        signature[32..].copy_from_slice(&halves[1]);
        signature
    })
}

fn header() -> impl Strategy<Value = Header> {
    let names = (
        any::<[u8; 32]>(),
        any::<[u8; 32]>(),
        any::<[u8; 32]>(),
        id(),
    );
    let place = (epoch(), window(), index(), height());
    let numbers = (any::<u16>(), any::<u16>(), any::<u64>(), any::<u32>());
    (names, place, numbers).prop_map(|(names, place, numbers)| Header {
        version: numbers.0,
        flags: numbers.1,
        chain_id: names.0,
        epoch: place.0,
        set_hash: names.1,
        window: place.1,
        index: place.2,
        height: place.3,
        time_ns: numbers.2,
        parent_id: names.3,
        payload_hash: names.2,
        payload_bytes: numbers.3,
    })
}

fn record() -> impl Strategy<Value = Record> {
    (
        option::of((index(), id())),
        any::<bool>(),
        option::of(index()),
        option::of(index()),
        btree_set((index(), id()), 0..5),
    )
        .prop_map(|(tip, stop, fin, skip_fallback, also)| Record {
            tip,
            stop,
            fin,
            skip_fallback,
            also: also.into_iter().collect(),
        })
}

fn signed_record() -> impl Strategy<Value = SignedRecord> {
    (any::<u16>(), record(), signature()).prop_map(|(validator, record, signature)| SignedRecord {
        validator: ValidatorIndex::new(validator),
        record,
        signature,
    })
}

fn target() -> impl Strategy<Value = Target> {
    prop_oneof![
        (index(), id()).prop_map(|(index, id)| Target::Certified { index, id }),
        index().prop_map(|from| Target::Skip { from }),
        (index(), id()).prop_map(|(index, id)| Target::Final { index, id }),
    ]
}

fn certificate() -> impl Strategy<Value = Certificate> {
    (
        epoch(),
        window(),
        target(),
        vec(signed_record(), 0..4),
        vec(header(), 0..3),
    )
        .prop_map(|(epoch, window, target, mut records, headers)| {
            records.sort_by_key(|signed| signed.validator);
            records.dedup_by_key(|signed| signed.validator);
            Certificate {
                epoch,
                window,
                target,
                records,
                headers,
            }
        })
}

fn evidence() -> impl Strategy<Value = Evidence> {
    let signed_header = || {
        (header(), signature()).prop_map(|(header, signature)| SignedHeader { header, signature })
    };
    prop_oneof![
        [signed_header(), signed_header()].prop_map(|both| Evidence::TwoHeaders(Box::new(both))),
        (
            epoch(),
            window(),
            any::<u16>(),
            [signed_record(), signed_record()],
            vec(header(), 0..3)
        )
            .prop_map(|(epoch, window, validator, records, headers)| {
                Evidence::TwoRecords {
                    epoch,
                    window,
                    validator: ValidatorIndex::new(validator),
                    records: Box::new(records),
                    headers,
                }
            }),
        (epoch(), window(), signed_record()).prop_map(|(epoch, window, record)| {
            Evidence::OneRecord {
                epoch,
                window,
                record: Box::new(record),
            }
        }),
    ]
}

fn block_ref() -> impl Strategy<Value = BlockRef> {
    (height(), id()).prop_map(|(height, id)| BlockRef { height, id })
}

fn get() -> impl Strategy<Value = Get> {
    prop_oneof![
        (window(), index(), id(), option::of(index())).prop_map(|(window, index, id, above)| {
            Get::Headers {
                window,
                index,
                id,
                above,
            }
        }),
        vec(block_ref(), 0..6).prop_map(Get::Bodies),
        (block_ref(), any::<u32>()).prop_map(|(top, count)| Get::History { top, count }),
        height().prop_map(|at_least| Get::Finality { at_least }),
        window().prop_map(|window| Get::Ready { window }),
    ]
}

fn point() -> impl Strategy<Value = Point> {
    (window(), index(), height(), id()).prop_map(|(window, index, height, id)| Point {
        window,
        index,
        height,
        id,
    })
}

fn status() -> impl Strategy<Value = Status> {
    (
        (epoch(), point(), point(), window(), record()),
        (
            option::of(window()),
            vec(id(), 0..4),
            height(),
            any::<[bool; 3]>(),
        ),
    )
        .prop_map(|((epoch, finalized, proven, window, record), rest)| {
            let (gap, ready, flushed, [abstains, recovering, no_proposals]) = rest;
            Status {
                epoch,
                finalized,
                proven,
                window,
                record,
                gap,
                ready,
                flushed,
                abstains,
                recovering,
                no_proposals,
            }
        })
}

fn payload() -> impl Strategy<Value = Arc<[u8]>> {
    vec(any::<u8>(), 0..300).prop_map(Arc::from)
}

fn propose() -> impl Strategy<Value = Propose> {
    (
        header(),
        payload(),
        vec(certificate(), 0..3),
        option::of(record()),
    )
        .prop_map(|(header, payload, justification, record)| Propose {
            header,
            payload,
            justification,
            record,
        })
}

fn vote() -> impl Strategy<Value = Vote> {
    (epoch(), window(), record(), option::of(signature())).prop_map(
        |(epoch, window, record, signature)| Vote {
            epoch,
            window,
            record,
            signature,
        },
    )
}

fn held() -> impl Strategy<Value = HeldRecord> {
    (window(), record(), option::of(signature())).prop_map(|(window, record, signature)| {
        HeldRecord {
            window,
            record,
            signature,
        }
    })
}

fn nonce() -> impl Strategy<Value = [u8; 32]> {
    any::<[u8; 32]>()
}

fn statement() -> impl Strategy<Value = StateStatement> {
    (
        any::<u64>().prop_map(Height::new),
        any::<[u8; 32]>().prop_map(BlockId::new),
        vec(any::<[u8; 32]>(), 0..5),
        option::of(any::<[u8; 32]>()),
    )
        .prop_map(|(height, id, sections, snapshot)| StateStatement {
            height,
            id,
            sections,
            snapshot,
        })
}

fn snapshot_part() -> impl Strategy<Value = SnapshotPart> {
    let certificate =
        (statement(), btree_set(any::<u16>(), 0..4)).prop_map(|(statement, signers)| {
            StateCertificate {
                statement,
                signatures: signers
                    .into_iter()
                    .map(|signer| (ValidatorIndex::new(signer), [3; 64]))
                    .collect(),
            }
        });
    let root = any::<[u8; 32]>;
    prop_oneof![
        Just(SnapshotPart::Ask),
        (certificate, payload()).prop_map(|(certificate, manifest)| SnapshotPart::Offer {
            certificate: Box::new(certificate),
            manifest,
        }),
        (height(), root(), any::<u32>()).prop_map(|(height, root, chunk)| SnapshotPart::Get {
            height,
            root,
            chunk,
        }),
        (root(), any::<u32>(), payload()).prop_map(|(root, chunk, bytes)| SnapshotPart::Chunk {
            root,
            chunk,
            bytes,
        }),
        (height(), option::of((height(), any::<u32>())))
            .prop_map(|(below, from)| SnapshotPart::GetEvents { below, from }),
        (height(), option::of(event_stretch()))
            .prop_map(|(below, stretch)| SnapshotPart::Events { below, stretch }),
    ]
}

fn event_stretch() -> impl Strategy<Value = Box<EventStretch>> {
    let tops = vec(any::<[u8; 32]>(), 0..5);
    (height(), tops, payload())
        .prop_map(|(first, tops, frame)| Box::new(EventStretch { first, tops, frame }))
}

fn message() -> impl Strategy<Value = Message> {
    prop_oneof![
        propose().prop_map(Message::Propose),
        vote().prop_map(Message::Vote),
        vec(certificate(), 0..4).prop_map(Message::Certificates),
        get().prop_map(Message::Get),
        (window(), vec(header(), 0..4))
            .prop_map(|(window, headers)| Message::Headers { window, headers }),
        (header(), payload()).prop_map(|(header, payload)| Message::Block { header, payload }),
        vec(header(), 0..4).prop_map(Message::History),
        status().prop_map(Message::Status),
        (header(), signature())
            .prop_map(|(header, signature)| Message::HeaderSignature { header, signature }),
        evidence().prop_map(Message::Evidence),
        any::<u64>().prop_map(|incarnation| Message::FenceAsk { incarnation }),
        (any::<u64>(), vec(held(), 0..3))
            .prop_map(|(incarnation, held)| Message::FenceAnswer { incarnation, held }),
        payload().prop_map(Message::Forward),
        (id(), payload()).prop_map(|(block, told)| Message::Abscissas { block, told }),
        nonce().prop_map(|nonce| Message::Recover { nonce }),
        (nonce(), window(), vec(certificate(), 0..2), signature()).prop_map(
            |(nonce, window, certificates, signature)| {
                Message::RecoverAnswer(RecoverAnswer {
                    nonce,
                    window,
                    certificates,
                    signature,
                })
            },
        ),
        snapshot_part().prop_map(Message::Snapshot),
        (statement(), signature()).prop_map(|(statement, signature)| Message::Attestation {
            statement,
            signature,
        }),
    ]
}

fn encoded(message: &Message) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    bytes
}

proptest! {
    #[test]
    fn any_message_comes_back_as_it_went(message in message()) {
        let decoded = wire::decode(&encoded(&message)).map(wire::Unverified::into_message);
        prop_assert_eq!(decoded, Ok(message));
    }

    #[test]
    fn encoding_appends(message in message(), before in vec(any::<u8>(), 0..9)) {
        let mut bytes = before.clone();
        wire::encode(&message, &mut bytes);
        prop_assert_eq!(&bytes[..before.len()], &before[..]);
        prop_assert_eq!(&bytes[before.len()..], &encoded(&message)[..]);
    }

    #[test]
    fn what_the_log_holds_comes_back_as_it_went(
        header in header(),
        record in record(),
        certificate in certificate(),
    ) {
        let mut bytes = Vec::new();
        wire::encode_header(&header, &mut bytes);
        prop_assert_eq!(wire::decode_header(&bytes), Ok(header));
        bytes.clear();
        wire::encode_record(&record, &mut bytes);
        prop_assert_eq!(wire::decode_record(&bytes), Ok(record));
        bytes.clear();
        wire::encode_certificate(&certificate, &mut bytes);
        prop_assert_eq!(wire::decode_certificate(&bytes), Ok(certificate));
    }

    #[test]
    fn any_bytes_are_an_error_or_a_canonical_message(
        tag in 0..15_u8,
        rest in vec(prop_oneof![Just(0), Just(1), any::<u8>()], 0..400),
    ) {
        let bytes = [&[tag][..], &rest].concat();
        if let Ok(message) = wire::decode(&bytes) {
            prop_assert_eq!(encoded(message.as_ref()), bytes);
        }
    }

    #[test]
    fn a_spliced_message_is_an_error_or_a_canonical_message(
        one in message(),
        other in message(),
        cut in any::<prop::sample::Index>(),
        paste in any::<prop::sample::Index>(),
    ) {
        let (one, other) = (encoded(&one), encoded(&other));
        let (cut, paste) = (cut.index(one.len()), paste.index(other.len()));
        let bytes = [&one[..cut], &other[paste..]].concat();
        if let Ok(message) = wire::decode(&bytes) {
            prop_assert_eq!(encoded(message.as_ref()), bytes);
        }
    }

    #[test]
    fn two_headers_with_one_name_are_one_header(one in header(), other in header()) {
        prop_assert_eq!(one == other, one.id() == other.id());
    }
}
