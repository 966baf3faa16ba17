//! A pruned log that has lost what stands beside it: its genesis, or its beginning.

use super::*;
use crate::inspect::chain::tests::{genesis, written_pruned};
use serde_json::Value;
use std::fs;

fn verified(data: &Path, genesis: Option<&Path>) -> (Code, Value, String) {
    let report = run(&Options {
        dir: data.to_path_buf(),
        genesis: genesis.map(Path::to_path_buf),
    });
    let report = report.unwrap();
    (report.code, report.json, report.text)
}

#[test]
fn a_pruned_log_without_its_genesis_is_judged_by_another_copy_and_wants_a_start() {
    let (data, chain) = written_pruned("verify-genesis");
    let (code, whole, text) = verified(&data, None);
    assert_eq!(
        (code, &whole["has_genesis"]),
        (Code::Done, &true.into()),
        "{text}"
    );
    let (kept, given) = (data.join("log").join("genesis"), data.join("genesis.json"));
    fs::write(&given, genesis().bytes()).unwrap();
    let mut flipped = fs::read(&kept).unwrap();
    flipped[20] ^= 1;
    for loss in [None, Some(flipped)] {
        match loss {
            None => fs::remove_file(&kept).unwrap(),
            Some(bytes) => fs::write(&kept, bytes).unwrap(),
        }
        let (code, found, text) = verified(&data, None);
        assert_eq!(
            (code, &found["has_genesis"]),
            (Code::Damaged, &false.into())
        );
        assert!(
            found["next"]
                .as_str()
                .unwrap()
                .starts_with("start the validator"),
            "{text}"
        );
        assert!(text.contains("NOT JUDGED"), "{text}");
        let (code, found, text) = verified(&data, Some(&given));
        assert_eq!(
            (code, &found["has_genesis"]),
            (Code::Damaged, &false.into())
        );
        assert_eq!(found["blocks"], chain.blocks.len(), "{text}");
        assert_eq!(found["faulty"], serde_json::json!([]), "{text}");
        assert!(!text.contains("NOT JUDGED"), "{text}");
    }
    // Another chain's is no help.
    let other = String::from_utf8(genesis().bytes().to_vec()).unwrap();
    let other = other.replace("127.0.0.1:7000", "127.0.0.1:7009");
    fs::write(&given, other).unwrap();
    let (code, found, _) = verified(&data, Some(&given));
    assert_eq!(code, Code::Configuration);
    assert_eq!(found["faulty"][0]["kind"], "foreign");
    fs::remove_dir_all(data).unwrap();
}

/// The system gives no byte of the file, and a start needs none of it.
#[test]
fn a_pruned_log_whose_genesis_cannot_be_read_is_judged_by_another_copy_too() {
    let (data, chain) = written_pruned("verify-unreadable-genesis");
    let (kept, given) = (data.join("log").join("genesis"), data.join("genesis.json"));
    fs::write(&given, genesis().bytes()).unwrap();
    fs::remove_file(&kept).unwrap();
    // Its first page is nobody's: a plain read of it is an error of input or output.
    std::os::unix::fs::symlink("/proc/self/mem", &kept).unwrap();
    assert!(fs::read(&kept).is_err());
    for (given, blocks) in [(None, 0), (Some(given.as_path()), chain.blocks.len())] {
        let (code, found, text) = verified(&data, given);
        assert_eq!(
            (code, &found["has_genesis"], &found["blocks"]),
            (Code::Damaged, &false.into(), &blocks.into()),
            "{text}"
        );
    }
    fs::remove_dir_all(data).unwrap();
}

/// A validator that removes its oldest segments has said so before: to try again is no help.
#[test]
fn commands_that_read_a_log_without_its_beginning_call_it_damaged() {
    use crate::applications::Applications;
    use crate::commands::log::{evidence, show};
    use crate::commands::proof;
    use clap::Parser;

    #[derive(Parser)]
    struct Line<O: Args> {
        #[command(flatten)]
        options: O,
    }

    #[derive(Parser)]
    struct Proof {
        #[command(subcommand)]
        command: proof::Command,
    }

    let (data, _) = written_pruned("verify-beginning");
    let (dir, out) = (data.to_str().unwrap(), data.join("proof"));
    let out = out.to_str().unwrap();
    let make = |more: &[&str]| {
        let line = ["", "make", "--dir", dir, "--height", "400", "--out", out];
        let line = Proof::try_parse_from(line.iter().chain(more)).unwrap();
        proof::run(&Applications::new(), &line.command)
    };
    let commands = || {
        let line = Line::<show::Options>::try_parse_from(["", dir]).unwrap();
        let shown = show::run(&line.options);
        let line = Line::<evidence::Options>::try_parse_from(["", dir]).unwrap();
        [
            shown,
            evidence::run(&line.options),
            make(&[]),
            make(&["--state"]),
        ]
    };
    let [shown, listed, made, _] = commands();
    assert!(shown.is_ok() && listed.is_ok() && made.is_ok());
    for name in ["segment-0000000002", "base"] {
        let path = data.join("log").join(name);
        let bytes = fs::read(&path).unwrap();
        fs::remove_file(&path).unwrap();
        for refused in commands() {
            let refused = refused.unwrap_err();
            assert_eq!(refused.code, Code::Damaged, "{name}: {refused}");
            assert!(
                refused.to_string().contains("quorate log verify"),
                "{refused}"
            );
        }
        fs::write(&path, bytes).unwrap();
    }
    fs::remove_dir_all(data).unwrap();
}

/// Every segment is whole then: nobody finds a missing one. And one that is, is no validator that
/// removes its oldest segments.
#[test]
fn a_pruned_log_whose_base_is_damaged_names_it_and_is_whole_with_a_copy() {
    let (data, _) = written_pruned("verify-base");
    let (base, segment) = ("base", "segment-0000000002");
    let next = [(base, "the file base"), (segment, "missing or cut file")];
    for (name, says) in next {
        let path = data.join("log").join(name);
        let bytes = fs::read(&path).unwrap();
        let mut flipped = bytes.clone();
        flipped[40] ^= 1;
        match name == base {
            true => fs::write(&path, flipped).unwrap(),
            false => fs::remove_file(&path).unwrap(),
        }
        let (code, found, text) = verified(&data, None);
        assert_eq!(code, Code::Damaged, "{text}");
        assert!(found["next"].as_str().unwrap().contains(says), "{text}");
        assert!(text.contains("its beginning is missing"), "{text}");
        fs::write(&path, bytes).unwrap();
        let (code, found, text) = verified(&data, None);
        let whole = (Code::Done, &"nothing".into());
        assert_eq!((code, &found["next"]), whole, "{text}");
    }
    fs::remove_dir_all(data).unwrap();
}
