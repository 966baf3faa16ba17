//! What a client was told, proven to a third party that has the genesis and nothing else, from the
//! log of any validator of a running testnet.

use crate::common::{Folder, init, run, run_json, start_four, stop_four, text, wait_until};
use quorate::client::{Client, ClientOptions, PublicClient, PublicItem, PublicOptions};
use quorate::genesis::Genesis;
use quorate::keys::KeyPair;
use quorate::state_machine::Lane;
use quorate::streams::StreamPosition;
use quorate_consensus::payload::session_of_key;
use quorate_consensus::types::ValidatorIndex;
use serde_json::Value;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

/// Longest that one answer may take.
const PATIENCE: Duration = Duration::from_secs(60);

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// What somebody has who runs no validator.
struct Stranger {
    genesis: PathBuf,
    proof: PathBuf,
}

impl Stranger {
    fn check(&self, code: i32) -> Value {
        let (genesis, proof) = (text(&self.genesis), text(&self.proof));
        run_json(&["proof", "verify", "--genesis", genesis, proof], code)
    }
}

/// A command of a client, with what it was told.
struct Told {
    session: String,
    height: u64,
    index: u32,
    output: Vec<u8>,
}

fn submit(genesis: &Genesis) -> Told {
    let key = Arc::new(KeyPair::from_seed(&[77; 32]));
    let session = hex(&session_of_key(&key.public()));
    let options = ClientOptions {
        // A validator that is slow is not left: another one would tell less of the command.
        patience: PATIENCE,
        ..ClientOptions::default()
    };
    let mut client = Client::connect(genesis, key, options, PATIENCE).unwrap();
    // The venue does not know such a command, and says so.
    let result = client.submit_and_wait(Lane::Order, &[0xee; 40], PATIENCE);
    let result = result.unwrap();
    let place = result.applied.unwrap();
    let [output] = &result.outputs[..] else {
        panic!("{result:?}");
    };
    Told {
        session,
        height: place.height,
        index: place.index,
        output: output.clone(),
    }
}

fn load(dir: &Path) {
    let load = ["load", "--dir", text(dir), "--rate", "300"];
    run(&[&load[..], &["--seconds", "1"]].concat());
}

fn first_public(genesis: &Genesis) -> PublicItem {
    let options = PublicOptions {
        first: ValidatorIndex::new(0),
        only_first: false,
        from: StreamPosition::BEGIN,
        ..PublicOptions::default()
    };
    let key = Arc::new(KeyPair::from_seed(&[78; 32]));
    let mut reader = PublicClient::new(genesis, key, options).unwrap();
    reader.next(PATIENCE).unwrap()
}

/// Makes a proof from the log of a running validator, as soon as a state that can prove it is
/// attested.
fn make(dir: &Path, index: usize, height: u64, rest: &[&str], out: &Path) {
    let log = dir.join(format!("validator-{index:02}"));
    let height = height.to_string();
    let make = ["proof", "make", "--dir", text(&log), "--height", &height];
    let make = [&make[..], &["--out", text(out)], rest].concat();
    wait_until("a state above the block is attested", || {
        load(dir);
        run(&make).status.success()
    });
}

fn altered(stranger: &Stranger) {
    let good = fs::read(&stranger.proof).unwrap();
    let mut bad = good.clone();
    *bad.last_mut().unwrap() ^= 1;
    fs::write(&stranger.proof, &bad).unwrap();
    let refused = stranger.check(1);
    let message = refused["error"]["what"].to_string();
    assert!(message.contains("not what the block put out"), "{refused}");
    fs::write(&stranger.proof, &good[..good.len() / 2]).unwrap();
    assert_eq!(stranger.check(3)["error"]["kind"], "configuration");
    fs::write(&stranger.proof, good).unwrap();
}

#[test]
fn what_a_client_was_told_is_proven_by_any_log_and_the_genesis_alone() {
    let folder = Folder::new("outputs");
    let dir = folder.join("net");
    init(&dir, 4, &["--durability", "async", "--workload", "venue"]);
    let cluster = start_four(&dir);
    let genesis = Genesis::load(&dir.join("genesis.json")).unwrap();
    load(&dir);
    let told = submit(&genesis);
    let stranger = Stranger {
        genesis: folder.join("genesis.json"),
        proof: folder.join("proof"),
    };
    fs::copy(dir.join("genesis.json"), &stranger.genesis).unwrap();

    // By the log of two of them, while they run.
    let own = told.index.to_string();
    let own = ["--index", &own, "--output", "0"];
    for validator in [0, 3] {
        make(&dir, validator, told.height, &own, &stranger.proof);
        let good = stranger.check(0);
        let output = &good["output"];
        assert_eq!(output["output"], hex(&told.output), "{good}");
        assert_eq!(output["session"], told.session, "{good}");
        assert_eq!(output["command"], told.index, "{good}");
        assert_eq!(good["height"], told.height, "{good}");
        assert!(good["attested"].as_u64() >= Some(told.height), "{good}");
        altered(&stranger);
    }
    // The block that it names is the one of a proof of the command.
    let id = stranger.check(0)["id"].clone();
    let index = told.index.to_string();
    make(&dir, 1, told.height, &["--index", &index], &stranger.proof);
    let command = stranger.check(0);
    assert_eq!(command["id"], id);
    assert_eq!(command["command"]["session"], told.session);

    make(&dir, 1, told.height, &["--outcomes"], &stranger.proof);
    let outcomes = stranger.check(0)["outcomes"].clone();
    assert_eq!(outcomes[told.index as usize], "applied", "{outcomes}");

    let public = first_public(&genesis);
    let number = public.position.index.to_string();
    let counted = ["--public", "--output", &number];
    make(&dir, 2, public.position.height, &counted, &stranger.proof);
    let good = stranger.check(0);
    assert_eq!(good["output"]["output"], hex(&public.bytes), "{good}");
    assert_eq!(good["output"]["session"], Value::Null, "{good}");

    stop_four(cluster);
    let log = dir.join("validator-00");
    let (height, far) = (told.height.to_string(), "999999");
    let none = |height: &str, output: &str| {
        let make = ["proof", "make", "--dir", text(&log), "--height", height];
        let make = [&make[..], &["--output", output, "--out", "/dev/null"]].concat();
        run_json(&make, 1)["error"]["kind"] == "no"
    };
    assert!(none(&height, far), "no such output");
    assert!(none("999999999", "0"), "no state so high is attested");
}
