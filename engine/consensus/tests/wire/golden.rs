//! The bytes are frozen. `QUORATE_BLESS=1` writes them anew, which is to approve a new format:
//! the wire version and the log's format version then change too.

use crate::samples::{certificate, header, messages, record, state_certificate, targets};
use quorate_consensus::message::Message;
use quorate_consensus::wire;
use std::fmt::Write as _;
use std::fs;
use std::path::PathBuf;

fn path(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("testdata")
        .join(format!("{name}.hex"))
}

/// 32 bytes a line, so that a change shows where it is.
fn to_hex(bytes: &[u8]) -> String {
    bytes.chunks(32).fold(String::new(), |mut text, line| {
        line.iter()
            .for_each(|byte| write!(text, "{byte:02x}").expect("a string"));
        text.push('\n');
        text
    })
}

/// All frozen values with their bytes as they come out now.
fn encoded() -> Vec<(String, Vec<u8>)> {
    let mut all = Vec::new();
    let mut put = |name: String, encode: &dyn Fn(&mut Vec<u8>)| {
        let mut bytes = Vec::new();
        encode(&mut bytes);
        all.push((name, bytes));
    };
    put("header".into(), &|bytes| {
        wire::encode_header(&header(0x77), bytes)
    });
    put("record".into(), &|bytes| {
        wire::encode_record(&record(), bytes)
    });
    for (name, target) in targets() {
        put(format!("certificate_{name}"), &|bytes| {
            wire::encode_certificate(&certificate(target), bytes);
        });
    }
    put("state_certificate".into(), &|bytes| {
        wire::encode_state_certificate(&state_certificate(), bytes);
    });
    for (name, message) in messages() {
        put(format!("message_{name}"), &|bytes| {
            wire::encode(&message, bytes)
        });
    }
    all
}

#[test]
fn the_bytes_of_every_kind_are_those_frozen_in_testdata() {
    let bless = std::env::var_os("QUORATE_BLESS").is_some_and(|value| value == "1");
    for (name, bytes) in encoded() {
        let found = to_hex(&bytes);
        if bless {
            fs::write(path(&name), &found).expect("testdata is writable");
        }
        let frozen = fs::read_to_string(path(&name)).unwrap_or_default();
        assert!(
            found == frozen,
            "{name} differs from testdata/{name}.hex:\n{found}"
        );
    }
}

#[test]
fn no_frozen_file_is_left_without_its_value() {
    let names: Vec<String> = encoded()
        .into_iter()
        .map(|(name, _)| format!("{name}.hex"))
        .collect();
    let directory = fs::read_dir(path("x").parent().expect("testdata")).expect("testdata");
    for entry in directory {
        let file = entry
            .expect("an entry")
            .file_name()
            .into_string()
            .expect("ASCII");
        assert!(
            names.contains(&file),
            "{file} is the frozen form of nothing"
        );
    }
}

#[test]
fn frozen_messages_decode_to_what_was_encoded() {
    for (name, message) in messages() {
        let mut bytes = Vec::new();
        wire::encode(&message, &mut bytes);
        let decoded = wire::decode(&bytes).map(wire::Unverified::into_message);
        assert_eq!(decoded, Ok(message), "{name}");
    }
    assert_eq!(
        wire::decode_header(&wire::header::to_array(&header(1))),
        Ok(header(1))
    );
}

#[test]
fn every_kind_of_message_has_a_frozen_form() {
    // Fails to compile when a kind is added, and says here when its sample is missing.
    let place = |message: &Message| match message {
        Message::Propose(_) => 0,
        Message::Vote(_) => 1,
        Message::Certificates(_) => 2,
        Message::Get(_) => 3,
        Message::Headers { .. } => 4,
        Message::Block { .. } => 5,
        Message::History(_) => 6,
        Message::Status(_) => 7,
        Message::HeaderSignature { .. } => 8,
        Message::Evidence(_) => 9,
        Message::FenceAsk { .. } => 10,
        Message::FenceAnswer { .. } => 11,
        Message::Forward(_) => 12,
        Message::Recover { .. } => 13,
        Message::RecoverAnswer(_) => 14,
        Message::Attestation { .. } => 15,
        Message::Snapshot(_) => 16,
        Message::Abscissas { .. } => 17,
    };
    let mut seen = [false; 18];
    messages()
        .iter()
        .for_each(|(_, message)| seen[place(message)] = true);
    assert_eq!(seen, [true; 18]);
}

#[test]
fn a_header_s_name_is_frozen() {
    let id = header(0x77).id();
    let text: String = id
        .as_bytes()
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    expect_test::expect!["d5bf44c86a4d39ae55a024ebab285d1d83d6663129aaa1def238f3a03c9f1b59"]
        .assert_eq(&text);
}
