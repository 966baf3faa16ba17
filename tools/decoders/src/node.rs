//! What clients and validators tell one another, entries of the journal, and what operators write.

use crate::consensus::{certificates, commands, evidence, headers, records};
use crate::decoder::{Cap, Decode, Decoder, Verdict};
use quorate::client_wire::{
    ClientFrame, ClientFrameWriter, Mark, Outcome, Place, Private, PrivateFrame, PrivateState,
    Public, PublicAsk, PublicFrame, PublicMark, PublicState, Refusal, Rejection, ResultItem,
    ResultsFrame, ServerFrame, StreamFrame, Verdict as Admission, Verdicts, VerdictsWriter,
    encode_answer, encode_busy, encode_private_ask, encode_public_ask, encode_public_mark,
    encode_public_stop, encode_public_subscribe, encode_query, encode_refused, encode_root,
    encode_root_ask, encode_session, encode_session_ask, encode_status, encode_status_ask,
};
use quorate::config::ConfigFile;
use quorate::drift::Trace;
use quorate::genesis::{
    Application, Auth, ChainLimits, Genesis, GenesisPlan, GenesisValidator, Hex32,
};
use quorate::journal::{self, JournalEntry};
use quorate::keys::KeyPair;
use quorate::results::{BlockResults, CommandResult};
use quorate::sessions::{LastResult, SessionTable};
use quorate::snapshot::{CHUNK_BYTES, Manifest, SECTIONS_MAX, SectionEntry};
use quorate::state_machine::SessionId;
use quorate::streams::StreamPosition;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::wire;
use quorate_log::{RecordKind, RecordRef};
use std::path::Path;

/// Views borrow from the frame; what is held is what is written again.
const CAP_FRAME: Cap = Cap {
    base_bytes: 1024,
    per_byte: 6,
};
/// A table of sessions: entries, and where to find them.
const CAP_TABLE: Cap = Cap {
    base_bytes: 4096,
    per_byte: 12,
};
/// Text into fields, a map of JSON, 64 validators with their keys, and 1,024 seats of leaders; an
/// error repeats a part of the text.
const CAP_FILE: Cap = Cap {
    base_bytes: 512 * 1024,
    per_byte: 64,
};
const SESSIONS_MAX: u32 = 64;

pub(crate) fn decoders() -> Vec<Decoder> {
    let binary = |name, share, corpus, cap, decode: fn(&[u8]) -> Verdict| Decoder {
        name,
        share,
        is_text: false,
        corpus,
        cap,
        decode: Box::new(decode) as Decode,
        mend: None,
    };
    let text = |name, share, corpus, decode: fn(&[u8]) -> Verdict| Decoder {
        is_text: true,
        ..binary(name, share, corpus, CAP_FILE, decode)
    };
    vec![
        binary(
            "node.client_frame",
            8,
            client_frames(),
            CAP_FRAME,
            decode_client,
        ),
        binary(
            "node.server_frame",
            8,
            server_frames(),
            CAP_FRAME,
            decode_server,
        ),
        binary("node.journal", 8, entries(), CAP_FRAME, decode_entry),
        binary("node.snapshot", 4, manifests(), CAP_FRAME, decode_manifest),
        binary("node.sessions", 4, tables(), CAP_TABLE, decode_table),
        Decoder {
            mend: Some(Box::new(mend_trace)),
            ..binary("node.trace", 4, traces(), CAP_FRAME, decode_trace)
        },
        text("node.genesis", 1, geneses(), decode_genesis),
        text("node.config", 1, configs(), decode_config),
    ]
}

fn made(write: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    let mut bytes = Vec::new();
    write(&mut bytes);
    bytes
}

fn submit(entries: &[Vec<u8>], bytes: &mut Vec<u8>) {
    let mut writer = ClientFrameWriter::submit(bytes);
    for entry in entries {
        assert!(writer.push(entry), "few and short ones");
    }
    writer.finish();
}

fn at(height: u64, index: u32) -> StreamPosition {
    StreamPosition { height, index }
}

/// Three events of two blocks.
fn public_frame() -> Vec<u8> {
    let mut frame = PublicFrame::default();
    frame.begin(None, 11, at(5, 2));
    frame.begin_block(5, 50, 2);
    frame.push(b"trade");
    frame.push(b"");
    frame.begin_block(9, 90, 0);
    frame.push(b"price");
    frame.finish(at(10, 0));
    frame.bytes().to_vec()
}

fn public_mark() -> PublicMark {
    PublicMark {
        id: 11,
        state: PublicState::Cut,
        next: at(9, 0),
        oldest: at(10, 0),
        tip: at(77, 0),
    }
}

fn rewrite_public(leader: Option<ValidatorIndex>, public: &Public<'_>) -> Vec<u8> {
    let mut frame = PublicFrame::default();
    frame.begin(leader, public.id(), public.from());
    let mut height = None;
    for event in public.clone() {
        let position = event.position;
        if height != Some(position.height) {
            height = Some(position.height);
            frame.begin_block(position.height, event.time_ns, position.index);
        }
        frame.push(event.bytes);
    }
    frame.finish(public.end());
    frame.bytes().to_vec()
}

/// A result's output and one by a timer.
fn private_frame() -> Vec<u8> {
    let mut frame = PrivateFrame::new(None, 14);
    frame.push(at(5, 2), 50, Some(7), true, b"ack");
    frame.push(at(9, 0), 90, None, false, b"expiry");
    frame.finish(PrivateState::Done, at(9, 4), at(3, 0), at(10, 0));
    frame.into_bytes()
}

fn rewrite_private(leader: Option<ValidatorIndex>, private: &Private<'_>) -> Vec<u8> {
    let mut frame = PrivateFrame::new(leader, private.id());
    for item in private.clone() {
        let (command, is_in_result) = (item.command, item.is_in_result);
        frame.push(
            item.address,
            item.time_ns,
            command,
            is_in_result,
            item.bytes,
        );
    }
    let (oldest, tip) = (private.oldest(), private.tip());
    frame.finish(private.state(), private.end(), oldest, tip);
    frame.into_bytes()
}

fn client_frames() -> Vec<Vec<u8>> {
    vec![
        made(|bytes| submit(&commands(), bytes)),
        made(|bytes| submit(&commands()[..1], bytes)),
        made(|bytes| encode_query(7, b"question", bytes)),
        made(|bytes| encode_status_ask(8, bytes)),
        made(|bytes| encode_root_ask(9, bytes)),
        made(|bytes| encode_session_ask(10, bytes)),
        made(|bytes| encode_public_subscribe(11, at(5, 2), bytes)),
        made(|bytes| encode_public_ask(12, at(5, 2), at(9, 0), bytes)),
        made(|bytes| encode_public_stop(13, bytes)),
        made(|bytes| encode_private_ask(14, at(5, 2), at(9, 0), bytes)),
    ]
}

fn decode_client(input: &[u8]) -> Verdict {
    let Ok(frame) = ClientFrame::decode(input) else {
        return Verdict::Refused;
    };
    let again = made(|bytes| match frame {
        ClientFrame::Submit { commands, .. } => {
            // The writer bounds a frame more tightly than the reader, so this writes by hand.
            let count = commands.clone().count() as u32;
            bytes.extend_from_slice(&input[..4]);
            bytes.extend_from_slice(&count.to_le_bytes());
            commands.for_each(|command| bytes.extend_from_slice(command.entry));
        }
        ClientFrame::Query { id, question } => encode_query(id, question, bytes),
        ClientFrame::StatusAsk { id } => encode_status_ask(id, bytes),
        ClientFrame::RootAsk { id } => encode_root_ask(id, bytes),
        ClientFrame::SessionAsk { id } => encode_session_ask(id, bytes),
        ClientFrame::PrivateAsk { id, from, to } => encode_private_ask(id, from, to, bytes),
        ClientFrame::Public { id, ask } => match ask {
            PublicAsk::Subscribe { from } => encode_public_subscribe(id, from, bytes),
            PublicAsk::Range { from, to } => encode_public_ask(id, from, to, bytes),
            PublicAsk::Stop => encode_public_stop(id, bytes),
        },
    });
    Verdict::canonical(input, &again)
}

fn server_frames() -> Vec<Vec<u8>> {
    let leader = Some(ValidatorIndex::new(2));
    let applied = Some(Place {
        height: 5,
        index: 1,
    });
    let item = |seq, outcome, applied| ResultItem {
        seq,
        outcome,
        applied,
        mark: applied.and_then(|_| Mark::from_wire(0x0102_0304)),
        finality_ns: 400_000,
    };
    let mut results = ResultsFrame::default();
    results.begin(None, 5, 77);
    results.push(
        item(1, Outcome::Applied, applied),
        [b"out".as_slice(), b""].into_iter(),
    );
    results.push(item(2, Outcome::Gap, None), std::iter::empty());
    results.push(item(3, Outcome::BadSignature, None), std::iter::empty());
    results.push(item(4, Outcome::SessionEnded, None), std::iter::empty());
    let mut stream = StreamFrame::default();
    stream.begin(leader, 5, 77);
    stream.push(3, b"fill");
    stream.push(9, b"");
    let verdicts = made(|bytes| {
        let mut writer = VerdictsWriter::new(leader, bytes);
        writer.push(1, Admission::Accepted);
        writer.push(2, Admission::Accepted);
        writer.push(
            3,
            Admission::Busy {
                retry_after_us: 250,
            },
        );
        writer.push(9, Admission::Rejected(Rejection::Conflict));
        writer.push(10, Admission::Rejected(Rejection::BadSignature));
        writer.finish();
    });
    let sections = [("sessions", [1; 32]), ("book", [2; 32])];
    vec![
        verdicts,
        results.finish().to_vec(),
        stream.finish().to_vec(),
        made(|bytes| encode_answer(leader, 7, b"answer", bytes)),
        made(|bytes| encode_status(leader, 8, "{}", bytes)),
        made(|bytes| encode_root(leader, 9, 64, &[5; 32], sections.into_iter(), bytes)),
        made(|bytes| encode_session(leader, 10, (3, true), bytes)),
        made(|bytes| encode_busy(leader, 11, 1000, bytes)),
        made(|bytes| encode_refused(leader, 12, Refusal::Diverged, bytes)),
        public_frame(),
        made(|bytes| encode_public_mark(leader, &public_mark(), bytes)),
        private_frame(),
    ]
}

/// Blocks with commands and without, and none.
fn traces() -> Vec<Vec<u8>> {
    let mut trace = Trace::default();
    let mut all = vec![trace.encode()];
    for height in 7..10 {
        let mut results = BlockResults::new();
        results.height = height;
        let commands = (0..height % 4).map(|seq| CommandResult {
            session: SessionId([1; 16]),
            seq,
            outcome: Outcome::Applied,
            applied: None,
            mark: None,
            finality_ns: 0,
        });
        results.commands.extend(commands);
        trace.note(&results);
        all.push(trace.encode());
    }
    all
}

fn decode_trace(input: &[u8]) -> Verdict {
    match Trace::decode(input) {
        Ok(trace) => Verdict::canonical(input, &trace.encode()),
        Err(_) => Verdict::Refused,
    }
}

/// The hash at the end, over all before it.
fn mend_trace(bytes: &mut [u8]) {
    let content = bytes.len().saturating_sub(32);
    let (content, hash) = bytes.split_at_mut(content);
    if let Ok(hash) = <&mut [u8; 32]>::try_from(hash) {
        *hash = *blake3::hash(content).as_bytes();
    }
}

fn decode_server(input: &[u8]) -> Verdict {
    let Ok((leader, frame)) = ServerFrame::decode(input) else {
        return Verdict::Refused;
    };
    let again = match frame {
        ServerFrame::Verdicts(runs) => runs_again(leader, runs),
        ServerFrame::Results(results) => {
            let mut frame = ResultsFrame::default();
            frame.begin(leader, results.height(), results.time_ns());
            for result in results {
                frame.push(result.item, result.outputs);
            }
            frame.finish().to_vec()
        }
        ServerFrame::Stream(stream) => {
            let mut frame = StreamFrame::default();
            frame.begin(leader, stream.height(), stream.time_ns());
            for (number, output) in stream {
                frame.push(number, output);
            }
            frame.finish().to_vec()
        }
        ServerFrame::Answer { id, answer } => {
            made(|bytes| encode_answer(leader, id, answer, bytes))
        }
        ServerFrame::Status { id, json } => made(|bytes| encode_status(leader, id, json, bytes)),
        ServerFrame::Root {
            id,
            height,
            root,
            sections,
        } => made(|bytes| encode_root(leader, id, height, &root, sections, bytes)),
        ServerFrame::Session {
            id,
            seq_last,
            has_ended,
        } => made(|bytes| encode_session(leader, id, (seq_last, has_ended), bytes)),
        ServerFrame::Busy { id, retry_after_us } => {
            made(|bytes| encode_busy(leader, id, retry_after_us, bytes))
        }
        ServerFrame::Refused { id, reason } => {
            made(|bytes| encode_refused(leader, id, reason, bytes))
        }
        ServerFrame::Public(public) => rewrite_public(leader, &public),
        ServerFrame::Private(private) => rewrite_private(leader, &private),
        ServerFrame::PublicMark(mark) => made(|bytes| encode_public_mark(leader, &mark, bytes)),
    };
    Verdict::canonical(input, &again)
}

/// Runs that could be one are legal, and are written as they were.
fn runs_again(leader: Option<ValidatorIndex>, runs: Verdicts<'_>) -> Vec<u8> {
    let mut bytes = made(|bytes| {
        VerdictsWriter::new(leader, bytes).finish();
    });
    let mut count = 0_u32;
    for run in runs {
        let (tag, detail) = match run.verdict {
            Admission::Accepted => (0, 0),
            Admission::Busy { retry_after_us } => (1, retry_after_us),
            Admission::Rejected(reason) => (2, u32::from(reason as u8)),
        };
        bytes.extend_from_slice(&run.seq_first.to_le_bytes());
        bytes.extend_from_slice(&run.count.to_le_bytes());
        bytes.push(tag);
        bytes.extend_from_slice(&detail.to_le_bytes());
        count += 1;
    }
    bytes[6..10].copy_from_slice(&count.to_le_bytes());
    bytes
}

/// Entries by the table of docs/log-format.md, behind the number of their kind.
fn entries() -> Vec<Vec<u8>> {
    let entry = |kind: u16, parts: &[&[u8]]| {
        let (kind, version) = (kind.to_le_bytes(), 1_u16.to_le_bytes());
        [&kind[..], &version, &parts.concat()].concat()
    };
    let number = 9_u64.to_le_bytes();
    let mut all = Vec::new();
    for header in headers() {
        let payload_bytes = u32::from_le_bytes(*header.last_chunk().expect("172 bytes")) as usize;
        all.push(entry(1, &[&header, &vec![7; payload_bytes]]));
        all.push(entry(3, &[&header, &[3; 16], &[0], &[0; 16]]));
        all.push(entry(7, &[&header, &[8; 32]]));
        all.push(entry(3, &[&header, &[3; 16], &[1], &[4; 16]]));
    }
    for record in records() {
        all.push(entry(2, &[&number, &number, &record]));
    }
    all.push(entry(6, &[&number, &[3; 2], &[7; 32], &number]));
    for certificate in certificates() {
        all.push(entry(
            4,
            &[&number, &[5; 4], &number, &[6; 32], &certificate],
        ));
    }
    for evidence in evidence() {
        all.push(entry(5, &[&evidence]));
    }
    all
}

fn decode_entry(input: &[u8]) -> Verdict {
    let Some((kind, bytes)) = input.split_first_chunk::<2>() else {
        return Verdict::Refused;
    };
    let Ok(entry) = journal::decode(RecordKind::new(u16::from_le_bytes(*kind)), bytes) else {
        return Verdict::Refused;
    };
    let mut again = Vec::with_capacity(input.len());
    again.extend_from_slice(kind);
    again.extend_from_slice(&1_u16.to_le_bytes());
    match entry {
        JournalEntry::Block { header, payload } => {
            wire::encode_header(&header, &mut again);
            again.extend_from_slice(payload);
        }
        JournalEntry::Record { epoch, own } => {
            again.extend_from_slice(&epoch.number().to_le_bytes());
            again.extend_from_slice(&own.window.number().to_le_bytes());
            wire::encode_record(&own.record, &mut again);
        }
        JournalEntry::Finalized(mark) => {
            wire::encode_header(&mark.header, &mut again);
            put_place(mark.block, &mut again);
            again.push(u8::from(mark.below.is_some()));
            match mark.below {
                Some(below) => put_place(below, &mut again),
                None => again.extend_from_slice(&[0; 16]),
            }
        }
        JournalEntry::Proof { point, proof } => {
            again.extend_from_slice(&point.window.number().to_le_bytes());
            again.extend_from_slice(&point.index.number().to_le_bytes());
            again.extend_from_slice(&point.height.number().to_le_bytes());
            again.extend_from_slice(point.id.as_bytes());
            wire::encode_certificate(&proof, &mut again);
        }
        JournalEntry::Answer { epoch, answer } => {
            again.extend_from_slice(&epoch.number().to_le_bytes());
            again.extend_from_slice(&answer.asker.number().to_le_bytes());
            again.extend_from_slice(&answer.nonce);
            again.extend_from_slice(&answer.window.number().to_le_bytes());
        }
        JournalEntry::Evidence(evidence) => wire::encode_evidence(&evidence, &mut again),
        JournalEntry::Base { header, root } => {
            wire::encode_header(&header, &mut again);
            again.extend_from_slice(&root);
        }
    }
    Verdict::canonical(input, &again)
}

fn put_place(place: RecordRef, bytes: &mut Vec<u8>) {
    bytes.extend_from_slice(&place.offset.segment().to_le_bytes());
    bytes.extend_from_slice(&place.offset.bytes().to_le_bytes());
    bytes.extend_from_slice(&place.index.count().to_le_bytes());
}

/// Manifests without the hash behind them, as they travel.
fn manifests() -> Vec<Vec<u8>> {
    let section = |name: &str, bytes| SectionEntry {
        name: name.to_owned(),
        root: [bytes as u8; 32],
        bytes,
    };
    let manifest = |sections: Vec<SectionEntry>, chunks: usize| Manifest {
        genesis_hash: [1; 32],
        header: wire::decode_header(&headers()[0]).expect("a good sample"),
        sections,
        chunks: vec![[2; 32]; chunks],
    };
    let large = u64::from(CHUNK_BYTES) * 40;
    vec![
        manifest(vec![section("sessions", 0)], 0).encode(),
        manifest(vec![section("sessions", 9), section("book", large)], 41).encode(),
        manifest(vec![section("s", 1); SECTIONS_MAX], 1).encode(),
    ]
}

fn decode_manifest(input: &[u8]) -> Verdict {
    Manifest::decode(input).map_or(Verdict::Refused, |manifest| {
        Verdict::canonical(input, &manifest.encode())
    })
}

fn tables() -> Vec<Vec<u8>> {
    [0, 1, 5]
        .iter()
        .map(|count| {
            let mut table = SessionTable::new(SESSIONS_MAX);
            for number in 1..=*count {
                let last = LastResult {
                    height: 3,
                    index: u32::from(number),
                    outputs_hash: [number; 32],
                };
                table.open(SessionId([number; 16]), ([number; 32], 9), last, 7);
            }
            // One that times out, one that has, and one that has ended.
            for (number, heard_ns) in [(1, 7), (2, 7)] {
                table.set_timeout(&SessionId([number; 16]), 1_000_000_000 * heard_ns);
            }
            table.time_out(7_000_000_007);
            table.end(&SessionId([3; 16]), 7);
            made(|bytes| table.encode(bytes))
        })
        .collect()
}

fn decode_table(input: &[u8]) -> Verdict {
    SessionTable::decode(input, SESSIONS_MAX).map_or(Verdict::Refused, |table| {
        Verdict::canonical(input, &made(|bytes| table.encode(bytes)))
    })
}

fn geneses() -> Vec<Vec<u8>> {
    let validator = |place: u8, stake| GenesisValidator {
        key: Hex32(KeyPair::from_seed(&[place + 1; 32]).public()),
        stake,
        leader_weight: (place == 1).then_some(3),
        peer_address: format!("127.0.0.1:{}", 7000 + u16::from(place)),
        client_addresses: vec![format!(
            "validator-{place}.example:{}",
            7100 + u16::from(place)
        )],
    };
    let parameters = serde_json::json!({"symbols": ["AAA", "BBB"], "depth": {"levels": 5.5}});
    [(1, 0), (4, 1), (6, 7)]
        .iter()
        .map(|&(count, step)| {
            let plan = GenesisPlan {
                chain_id: [9; 32],
                genesis_time_ns: 1_700_000_000_000_000_000,
                fault_weight: None,
                fast_slack: None,
                crash_only: count == 1,
                window_slots: Some(64),
                turn_windows: None,
                auth: Auth::Session,
                application: Application {
                    name: "opaque".to_owned(),
                    parameters: parameters.as_object().cloned().unwrap_or_default(),
                },
                limits: ChainLimits::default(),
                validators: (0..count)
                    .map(|place| validator(place, 10 + step * u64::from(place)))
                    .collect(),
            };
            let genesis = Genesis::build(plan).expect("a good plan");
            genesis.bytes().to_vec()
        })
        .collect()
}

fn decode_genesis(input: &[u8]) -> Verdict {
    match Genesis::parse(input, Path::new("genesis.json")) {
        Ok(genesis) => Verdict::canonical(input, genesis.bytes()),
        Err(error) => {
            // The operator reads it, so it must be possible to write.
            assert!(!error.to_string().is_empty());
            Verdict::Refused
        }
    }
}

fn configs() -> Vec<Vec<u8>> {
    let file = ConfigFile::new(
        Path::new("../genesis.json"),
        Path::new("key"),
        Path::new("data"),
    );
    let explained = file.to_commented_toml();
    let full = "genesis = 'g'\nkey = \"k\"\ndata = \"d\"\nvalidator = 3\nprofile = \"lan\"\n\
                durability = \"async\"\nthreads = \"shared\"\nidle = \"park\"\npin = []\n\
                [listen]\npeers = \"127.0.0.1:1\"\nmetrics = \"[::1]:2\"\n\
                [log]\nsegment_bytes = 67108864\n\
                [limits]\nclients_max = 1024\npool_commands_max = 1000\n";
    vec![explained.into_bytes(), full.as_bytes().to_vec()]
}

fn decode_config(input: &[u8]) -> Verdict {
    let Ok(text) = std::str::from_utf8(input) else {
        return Verdict::Refused;
    };
    match ConfigFile::parse(text, Path::new("quorate.toml")) {
        Ok(_) => Verdict::Accepted,
        Err(error) => {
            assert!(!error.to_string().is_empty());
            Verdict::Refused
        }
    }
}
