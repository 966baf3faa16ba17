//! What validators send and log.

use crate::decoder::{Cap, Decode, Decoder, Verdict};
use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::certificate::{Certificate, SignedRecord, Target};
use quorate_consensus::evidence::Evidence;
use quorate_consensus::message::Message;
use quorate_consensus::payload::{
    CommandView, Entry, FLAG_OPEN, FLAG_SESSION, Lane, PayloadBuilder, PayloadView, encode_entry,
    encode_flagged_entry, encode_session_entry, parse_entries, session_of_key,
};
use quorate_consensus::record::Record;
use quorate_consensus::restart::LeaseFile;
use quorate_consensus::signing::ValidatorKey;
use quorate_consensus::trust::Lease;
use quorate_consensus::types::{BlockId, Epoch, Index, Stake, ValidatorIndex, Window};
use quorate_consensus::validators::{SetParameters, Validator, ValidatorSet};
use quorate_consensus::verify::{check_evidence, judge, proves_ready};
use quorate_consensus::wire::{self, DecodeError};
use std::sync::LazyLock;

// One fixed value of every kind, which the frozen bytes of the wire are made from too.
#[path = "../../../engine/consensus/tests/wire/samples.rs"]
mod samples;

/// Every count is held against the bytes that are left before anything is allocated for it, so
/// what is held grows with the input: at most with the smallest certificate, of 29 bytes, which is
/// some 130 in memory.
const CAP: Cap = Cap {
    base_bytes: 1024,
    per_byte: 6,
};

pub(crate) fn decoders() -> Vec<Decoder> {
    vec![
        decoder("consensus.message", 20, messages(), decode_message),
        decoder("consensus.record", 8, records(), |input| {
            canonical(input, wire::decode_record(input), wire::encode_record)
        }),
        decoder("consensus.certificate", 8, certificates(), |input| {
            canonical(input, judged_certificate(input), wire::encode_certificate)
        }),
        decoder("consensus.evidence", 6, evidence(), |input| {
            canonical(input, judged_evidence(input), wire::encode_evidence)
        }),
        decoder(
            "consensus.state_certificate",
            4,
            vec![encoded(
                &samples::state_certificate(),
                wire::encode_state_certificate,
            )],
            |input| {
                canonical(
                    input,
                    wire::decode_state_certificate(input),
                    wire::encode_state_certificate,
                )
            },
        ),
        decoder("consensus.header", 4, headers(), |input| {
            canonical(input, wire::decode_header(input), wire::encode_header)
        }),
        decoder("consensus.payload", 8, payloads(), decode_payload),
        decoder("consensus.entries", 6, entry_runs(), decode_entries),
        decoder(
            "consensus.lease",
            4,
            leases(),
            |input| match LeaseFile::decode(input) {
                Some(lease) => Verdict::canonical(input, &lease.encode()),
                None => Verdict::Refused,
            },
        ),
    ]
}

fn decoder(
    name: &'static str,
    share: u32,
    corpus: Vec<Vec<u8>>,
    decode: fn(&[u8]) -> Verdict,
) -> Decoder {
    Decoder {
        name,
        share,
        is_text: false,
        corpus,
        cap: CAP,
        decode: Box::new(decode) as Decode,
        mend: None,
    }
}

/// The verdict of a format with one encoding a value.
fn canonical<T, E>(
    input: &[u8],
    decoded: Result<T, E>,
    encode: impl Fn(&T, &mut Vec<u8>),
) -> Verdict {
    let Ok(value) = decoded else {
        return Verdict::Refused;
    };
    let mut again = Vec::with_capacity(input.len());
    encode(&value, &mut again);
    Verdict::canonical(input, &again)
}

fn encoded<T>(value: &T, encode: impl Fn(&T, &mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode(value, &mut bytes);
    bytes
}

/// Four validators of the epoch that the samples of certificates name.
pub(crate) static SMALL_SET: LazyLock<ValidatorSet> = LazyLock::new(|| {
    let key = |seed| ValidatorKey::from_seed(&[seed; 32]).public();
    let validators = (1..=4).map(|seed| Validator::new(key(seed), Stake::new(1)));
    let parameters = SetParameters {
        chain_id: [7; 32],
        genesis_hash: [9; 32],
        epoch: Epoch::new(9),
        fault: Stake::new(1),
        slack: Stake::new(0),
        window_slots: 16,
        turn_windows: 1,
        crash_only: false,
        genesis_time_ns: 1_000,
    };
    ValidatorSet::new(parameters, validators.collect()).expect("a valid set")
});

/// What a certificate proves is judged before any signature of it is looked at.
fn judged_certificate(input: &[u8]) -> Result<Certificate, DecodeError> {
    let certificate = wire::decode_certificate(input)?;
    if let Err(error) = judge(&SMALL_SET, &certificate) {
        assert!(!error.to_string().is_empty());
    }
    let next = certificate.window.next();
    let is_alone = proves_ready(&SMALL_SET, next, std::slice::from_ref(&certificate));
    assert!(!is_alone || judge(&SMALL_SET, &certificate).is_ok());
    Ok(certificate)
}

fn judged_evidence(input: &[u8]) -> Result<Evidence, DecodeError> {
    let evidence = wire::decode_evidence(input)?;
    if let Err(error) = check_evidence(&SMALL_SET, &evidence) {
        assert!(!error.to_string().is_empty());
    }
    Ok(evidence)
}

fn decode_message(input: &[u8]) -> Verdict {
    let decoded = wire::decode(input).map(wire::Unverified::into_message);
    canonical(input, decoded, wire::encode)
}

fn decode_payload(input: &[u8]) -> Verdict {
    let Ok(view) = PayloadView::parse(input) else {
        return Verdict::Refused;
    };
    let mut again = Vec::with_capacity(input.len());
    again.extend_from_slice(&(view.len() as u32).to_le_bytes());
    view.iter().for_each(|command| put(&command, &mut again));
    Verdict::canonical(input, &again)
}

fn decode_entries(input: &[u8]) -> Verdict {
    let Ok(commands) = parse_entries(input) else {
        return Verdict::Refused;
    };
    let mut again = Vec::with_capacity(input.len());
    commands.for_each(|command| put(&command, &mut again));
    Verdict::canonical(input, &again)
}

fn put(command: &CommandView<'_>, bytes: &mut Vec<u8>) {
    let entry = Entry {
        lane: command.lane,
        session: command.session,
        seq: command.seq,
        signature: command.signature,
        body: command.body,
    };
    let open = if command.is_open() { FLAG_OPEN } else { 0 };
    let session = if command.is_session() {
        FLAG_SESSION
    } else {
        0
    };
    encode_flagged_entry(&entry, open | session, bytes);
}

/// A record with as many branches as there are validators.
fn wide_record() -> Record {
    Record {
        tip: None,
        stop: true,
        fin: None,
        skip_fallback: None,
        also: (0..64)
            .map(|place| (Index::new(place), BlockId::new([7; 32])))
            .collect(),
    }
}

/// A certificate of every validator.
fn wide_certificate() -> Certificate {
    Certificate {
        epoch: Epoch::new(0),
        window: Window::new(3),
        target: Target::Skip {
            from: Index::new(0),
        },
        records: (0..64)
            .map(|validator| SignedRecord {
                validator: ValidatorIndex::new(validator),
                record: Record {
                    also: Vec::new(),
                    ..wide_record()
                },
                signature: [9; 64],
            })
            .collect(),
        headers: Vec::new(),
    }
}

/// The smallest certificate there is.
fn bare_certificate() -> Certificate {
    Certificate {
        records: Vec::new(),
        ..wide_certificate()
    }
}

fn messages() -> Vec<Vec<u8>> {
    let mut all: Vec<Message> = samples::messages()
        .into_iter()
        .map(|(_, message)| message)
        .collect();
    all.push(Message::Certificates(vec![bare_certificate(); 32]));
    all.push(Message::Certificates(vec![
        wide_certificate(),
        bare_certificate(),
    ]));
    all.push(Message::History(vec![samples::header(5); 40]));
    for commands in entry_runs() {
        all.push(Message::Forward(commands.into()));
    }
    for payload in payloads() {
        all.push(Message::Block {
            header: samples::header(6),
            payload: payload.into(),
        });
    }
    all.iter()
        .map(|message| encoded(message, wire::encode))
        .collect()
}

pub(crate) fn state_certificate() -> StateCertificate {
    samples::state_certificate()
}

pub(crate) fn records() -> Vec<Vec<u8>> {
    [samples::record(), wide_record()]
        .iter()
        .map(|record| encoded(record, wire::encode_record))
        .collect()
}

pub(crate) fn certificates() -> Vec<Vec<u8>> {
    samples::targets()
        .into_iter()
        .map(|(_, target)| samples::certificate(target))
        .chain([wide_certificate(), bare_certificate()])
        .map(|certificate| encoded(&certificate, wire::encode_certificate))
        .collect()
}

pub(crate) fn evidence() -> Vec<Vec<u8>> {
    samples::messages()
        .into_iter()
        .filter_map(|(_, message)| match message {
            Message::Evidence(evidence) => Some(encoded(&evidence, wire::encode_evidence)),
            _ => None,
        })
        .collect()
}

pub(crate) fn headers() -> Vec<Vec<u8>> {
    [1, 0xfe]
        .iter()
        .map(|salt| encoded(&samples::header(*salt), wire::encode_header))
        .collect()
}

/// Commands of two sessions, one of which begins, in every lane.
fn about_session(session: &[u8; 16], seq: u64, body: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let entry = Entry {
        lane: Lane::Admin,
        session,
        seq,
        signature: None,
        body,
    };
    encode_session_entry(&entry, &mut bytes);
    bytes
}

pub(crate) fn commands() -> Vec<Vec<u8>> {
    let key = [3; 32];
    let (first, second) = (session_of_key(&key), [5; 16]);
    let signature = [4; 64];
    let opening: Vec<u8> = key.iter().chain(b"hello").copied().collect();
    let entry = |lane, session, seq, signature, body: &[u8]| {
        let mut bytes = Vec::new();
        let entry = Entry {
            lane,
            session,
            seq,
            signature,
            body,
        };
        encode_entry(&entry, &mut bytes);
        bytes
    };
    vec![
        entry(Lane::Cancel, &second, 9, None, b"cancel"),
        entry(Lane::Order, &first, 1, None, &opening),
        entry(Lane::Order, &first, 2, Some(&signature), b"an order"),
        entry(Lane::Order, &second, 10, None, b""),
        entry(Lane::Price, &second, 11, None, &[7; 100]),
        entry(Lane::Admin, &second, 12, Some(&signature), b"halt"),
        about_session(&second, 13, &[1, 0, 0xca, 0x9a, 0x3b, 0, 0, 0, 0]),
    ]
}

fn payloads() -> Vec<Vec<u8>> {
    let mut builder = PayloadBuilder::new();
    let mut all = vec![builder.finish().to_vec()];
    for command in commands() {
        // What does not fit is left out, and the rest is valid.
        if builder.push_entry(&command).is_ok() {
            all.push(builder.finish().to_vec());
            builder.clear();
        }
    }
    for command in commands() {
        builder.push_entry(&command).ok();
    }
    all.push(builder.finish().to_vec());
    all
}

fn entry_runs() -> Vec<Vec<u8>> {
    let commands = commands();
    vec![commands.concat(), commands[1].clone(), commands[5].clone()]
}

pub(crate) fn leases() -> Vec<Vec<u8>> {
    let file = |lease, abstain_until, no_proposals_until, suspect| {
        LeaseFile {
            lease: Lease {
                lease,
                abstain_until,
                no_proposals_until,
                is_lost: suspect,
                proofs_elsewhere: abstain_until,
            },
            boot_id: [8; 16],
            suspect,
            ran_async: !suspect,
            owner: [6; 32],
            incarnation: 0x0102_0304_0506_0708,
        }
        .encode()
        .to_vec()
    };
    let window = |number| Some(Window::new(number));
    vec![
        file(window(7), None, None, false),
        file(window(0), window(u64::MAX), window(3), true),
    ]
}
