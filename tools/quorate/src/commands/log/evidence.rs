//! `quorate log evidence`: what a log has of validators that are proven to misbehave.
//!
//! Owns the file in which it is given to others, who judge it by the genesis alone: their own
//! `quorate log evidence --file`, or any program that can check an Ed25519 signature, since what
//! was signed is shown byte for byte. Never: accuses anybody of what it has not checked.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use clap::Args;
use quorate::file_error::read_bounded;
use quorate::genesis::Genesis;
use quorate::journal::{JournalEntry, decode};
use quorate_consensus::certificate::{SignatureBytes, SignedRecord};
use quorate_consensus::evidence::Evidence;
use quorate_consensus::signing::{header_message, record_message};
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::Claim;
use quorate_consensus::wire;
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::files;
use crate::inspect::beside::verify_beside;
use crate::inspect::replay::genesis_of;
use crate::inspect::{chain, log_folder, records, require_beginning, unreadable};
use crate::output::{Report, hex, table};

/// How a file of evidence begins: its name, and the version of its form.
const MAGIC: &[u8; 8] = b"QREVID\x01\x00";
/// Bytes of the genesis hash behind it.
const HASH_BYTES: usize = 32;
/// Longest file that is read.
const FILE_BYTES_MAX: usize = 256 << 20;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Log folder, data folder or validator folder
    #[arg(value_name = "DIR", required_unless_present = "file")]
    dir: Option<PathBuf>,
    /// Write all that is found to this file, for others; what one that is there holds besides stays
    #[arg(long, value_name = "FILE", conflicts_with = "file")]
    out: Option<PathBuf>,
    /// Judge such a file of somebody else's instead, by the genesis alone
    #[arg(
        long,
        value_name = "FILE",
        conflicts_with = "dir",
        requires = "genesis"
    )]
    file: Option<PathBuf>,
    /// Genesis file of the chain
    #[arg(long, value_name = "FILE", requires = "file")]
    genesis: Option<PathBuf>,
}

/// Something that the accused has signed.
#[derive(Serialize)]
struct Statement {
    /// The exact bytes under the signature (protocol.md 5.2).
    message: String,
    /// The Ed25519 signature.
    signature: String,
}

#[derive(Serialize)]
struct Entry {
    /// `E1`, `E2` or `E3`, and what that is.
    what: &'static str,
    /// Who did it.
    validator: u16,
    /// Its public key.
    key: Option<String>,
    window: u64,
    /// Heights of the blocks that it names with their headers.
    heights: BTreeSet<u64>,
    /// Where its record stands; null in a file.
    segment: Option<u32>,
    offset: Option<u32>,
    /// Whether it proves that, and all its signatures are good.
    holds: bool,
    statements: Vec<Statement>,
    /// All of it, as docs/wire.md says.
    bytes: String,
}

#[derive(Serialize)]
struct Fields {
    /// The log or the file.
    #[serde(serialize_with = "crate::output::path")]
    from: PathBuf,
    /// Whether `quorate_log` found the log whole; what is listed stands before the first fault.
    whole: bool,
    evidence: Vec<Entry>,
    /// Where it was written.
    #[serde(serialize_with = "crate::output::path")]
    out: Option<PathBuf>,
    /// Where nothing was written, since nothing holds.
    #[serde(skip)]
    unwritten: Option<PathBuf>,
}

/// Lists and writes, or judges.
///
/// # Errors
/// There is no log or file, or it cannot be read, or it is of another chain.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    match (&options.file, &options.genesis, &options.dir) {
        (Some(file), Some(genesis), _) => judge(file, &Genesis::load(genesis)?),
        // A log names its genesis itself.
        (_, None, Some(dir)) => list(dir, options.out.as_deref()),
        _ => {
            let what = "neither a log alone nor --file with --genesis";
            Err(Failure::usage(what).remedy("name a log, or --file with --genesis"))
        }
    }
}

fn list(dir: &Path, out: Option<&Path>) -> Result<Report, Failure> {
    let folder = log_folder(dir)?;
    let found = verify_beside(&folder)?;
    require_beginning(&folder, &found)?;
    let genesis = genesis_of(&folder)?;
    // Whatever is found: that the file cannot be used is no surprise for the hour of need.
    let held = out.map(|out| held(out, &genesis)).transpose()?;
    let (mut entries, mut good) = (Vec::new(), Vec::new());
    records::visit(&folder, &found, &mut |record| {
        if let Ok(JournalEntry::Evidence(evidence)) = decode(record.kind, record.payload) {
            let place = (record.place.segment(), record.place.bytes());
            let entry = entry_of(genesis.validator_set(), &evidence, Some(place));
            if entry.holds {
                good.push(evidence);
            }
            entries.push(entry);
        }
    })
    .map_err(|error| unreadable(&folder, &error))?;
    let is_written = !good.is_empty();
    if let Some((out, held)) = out.zip(held).filter(|_| is_written) {
        add(out, &genesis, held, good)?;
    }
    let fields = Fields {
        from: folder,
        whole: found.faults.is_empty(),
        evidence: entries,
        out: out.filter(|_| is_written).map(Path::to_path_buf),
        unwritten: out.filter(|_| !is_written).map(Path::to_path_buf),
    };
    let is_good = fields.whole && fields.evidence.iter().all(|entry| entry.holds);
    report(&fields, if is_good { Code::Done } else { Code::Damaged })
}

fn judge(file: &Path, genesis: &Genesis) -> Result<Report, Failure> {
    let bytes = read_bounded(file, FILE_BYTES_MAX)?;
    let all = read(&bytes, genesis)
        .map_err(|what| Failure::new(Code::Configuration, format!("{}: {what}", file.display())))
        .map_err(|failure| {
            failure
                .remedy("name a file that quorate log evidence --out wrote for this chain, whole")
        })?;
    let set = genesis.validator_set();
    let entry = |evidence: &Evidence| entry_of(set, evidence, None);
    let fields = Fields {
        from: file.to_path_buf(),
        whole: true,
        evidence: all.iter().map(entry).collect(),
        out: None,
        unwritten: None,
    };
    let is_good = fields.evidence.iter().all(|entry| entry.holds);
    report(&fields, if is_good { Code::Done } else { Code::No })
}

/// What holds of the evidence in a file that is to be written: the segment of it may have been
/// removed since, and then the file is all that is left of it.
fn held(out: &Path, genesis: &Genesis) -> Result<Vec<Evidence>, Failure> {
    files::require_place(out)?;
    if !out.is_file() {
        return Ok(Vec::new());
    }
    let bytes = read_bounded(out, FILE_BYTES_MAX)?;
    // An empty one is a name alone.
    let found = match bytes.is_empty() {
        true => Ok(Vec::new()),
        false => read(&bytes, genesis),
    };
    let mut all = found.map_err(|what| {
        Failure::new(Code::Configuration, format!("{}: {what}", out.display()))
            .remedy("name a new file, or one that this command wrote for this chain")
    })?;
    let set = genesis.validator_set();
    all.retain(|evidence| chain::holds(set, Claim::Evidence(evidence.clone())));
    Ok(all)
}

/// Writes evidence that holds to a file, behind what holds of that which is there.
fn add(
    out: &Path,
    genesis: &Genesis,
    mut all: Vec<Evidence>,
    good: Vec<Evidence>,
) -> Result<(), Failure> {
    let unusable = |error| Failure::of_system(out, &error, Code::Configuration);
    for evidence in good {
        if !all.contains(&evidence) {
            all.push(evidence);
        }
    }
    let mut file = head(genesis);
    for evidence in &all {
        append(evidence, &mut file);
    }
    files::replace(out, &file).map_err(unusable)
}

fn head(genesis: &Genesis) -> Vec<u8> {
    [&MAGIC[..], genesis.hash()].concat()
}

fn append(evidence: &Evidence, file: &mut Vec<u8>) {
    let mut bytes = Vec::new();
    wire::encode_evidence(evidence, &mut bytes);
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX);
    file.extend_from_slice(&length.to_le_bytes());
    file.append(&mut bytes);
}

/// All that a file holds, of this chain.
fn read(bytes: &[u8], genesis: &Genesis) -> Result<Vec<Evidence>, String> {
    let rest = bytes.strip_prefix(MAGIC).ok_or("no file of evidence")?;
    let (hash, mut rest) = rest
        .split_at_checked(HASH_BYTES)
        .ok_or("no file of evidence")?;
    if hash != genesis.hash() {
        return Err("of another chain than the genesis".to_owned());
    }
    let mut all = Vec::new();
    while !rest.is_empty() {
        let (length, after) = rest.split_first_chunk::<4>().ok_or("cut short")?;
        let length = u32::from_le_bytes(*length) as usize;
        let (one, after) = after.split_at_checked(length).ok_or("cut short")?;
        all.push(wire::decode_evidence(one).map_err(|error| error.to_string())?);
        rest = after;
    }
    Ok(all)
}

fn entry_of(set: &ValidatorSet, evidence: &Evidence, place: Option<(u32, u32)>) -> Entry {
    let validator = evidence.accused(set);
    let mut bytes = Vec::new();
    wire::encode_evidence(evidence, &mut bytes);
    Entry {
        what: evidence.what(),
        validator: validator.number(),
        key: set.validator(validator).map(|member| hex(&member.key)),
        window: evidence.window().number(),
        heights: evidence
            .headers()
            .map(|header| header.height.number())
            .collect(),
        segment: place.map(|(segment, _)| segment),
        offset: place.map(|(_, offset)| offset),
        holds: chain::holds(set, Claim::Evidence(evidence.clone())),
        statements: statements(set, evidence),
        bytes: hex(&bytes),
    }
}

fn statements(set: &ValidatorSet, evidence: &Evidence) -> Vec<Statement> {
    let statement = |message: &[u8], signature: &SignatureBytes| Statement {
        message: hex(message),
        signature: hex(signature),
    };
    let record = |validator: ValidatorIndex, signed: &SignedRecord| {
        let (mut message, window) = (Vec::new(), evidence.window());
        record_message(set, validator, window, &signed.record, &mut message);
        statement(&message, &signed.signature)
    };
    match evidence {
        Evidence::TwoHeaders(signed) => {
            let header = |signed: &quorate_consensus::evidence::SignedHeader| {
                let mut message = Vec::new();
                header_message(set, &signed.header, &mut message);
                statement(&message, &signed.signature)
            };
            signed.iter().map(header).collect()
        }
        Evidence::TwoRecords {
            validator, records, ..
        } => records
            .iter()
            .map(|signed| record(*validator, signed))
            .collect(),
        Evidence::OneRecord { record: one, .. } => vec![record(one.validator, one)],
    }
}

fn report(fields: &Fields, code: Code) -> Result<Report, Failure> {
    Ok(Report::new(fields, text(fields))?.with_code(code))
}

fn text(fields: &Fields) -> String {
    let from = fields.from.display();
    let warning = if fields.whole {
        ""
    } else {
        "\nFAULTY: run quorate log verify"
    };
    let unwritten = fields.unwritten.as_ref().map_or_else(String::new, |out| {
        format!("\n{} is not written", out.display())
    });
    if fields.evidence.is_empty() {
        return format!("{from}: no evidence{unwritten}{warning}");
    }
    let mut rows = table(&["validator", "what", "window", "heights", "at", "holds"]);
    for entry in &fields.evidence {
        let heights: Vec<String> = entry.heights.iter().map(u64::to_string).collect();
        let at = match (entry.segment, entry.offset) {
            (Some(segment), Some(offset)) => format!("{segment}:{offset}"),
            _ => "-".to_owned(),
        };
        rows.add_row(vec![
            entry.validator.to_string(),
            entry.what.to_owned(),
            entry.window.to_string(),
            heights.join(", "),
            at,
            if entry.holds { "yes" } else { "NO" }.to_owned(),
        ]);
    }
    let written = fields.out.as_ref().map_or_else(String::new, |out| {
        format!("\nwhat holds is written to {}", out.display())
    });
    format!("{from}:\n{rows}{written}{unwritten}{warning}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inspect::chain::tests::{genesis, header, written};
    use quorate::journal::KIND_EVIDENCE;
    use quorate_consensus::record::Record;
    use quorate_consensus::signing::{Signer as _, ValidatorKey};
    use quorate_consensus::types::{Epoch, Window};
    use quorate_log::{DataFolder, LogConfig, RecordKind, open};
    use serde_json::Value;
    use std::fs;
    use std::sync::atomic::{AtomicBool, Ordering};

    /// Two records of the only validator, with the key of this seed: it has stopped behind block 1,
    /// and without having voted for anything.
    fn two_records(genesis: &Genesis, seed: u8) -> Evidence {
        two_records_later(genesis, seed, 0)
    }

    /// The same of a block so much later.
    fn two_records_later(genesis: &Genesis, seed: u8, later_ns: u64) -> Evidence {
        let (set, validator) = (genesis.validator_set(), ValidatorIndex::new(0));
        let mut first = header(genesis, 1, set.genesis().id);
        first.time_ns += later_ns;
        let signed = |tip| {
            let record = Record {
                tip,
                stop: true,
                ..Record::default()
            };
            let mut message = Vec::new();
            record_message(set, validator, Window::ZERO, &record, &mut message);
            SignedRecord {
                validator,
                record,
                signature: ValidatorKey::from_seed(&[seed; 32]).sign(&message),
            }
        };
        Evidence::TwoRecords {
            epoch: Epoch::ZERO,
            window: Window::ZERO,
            validator,
            records: Box::new([signed(Some((first.index, first.id()))), signed(None)]),
            headers: vec![first],
        }
    }

    /// A data folder whose log has this evidence, by keys of these seeds.
    fn data_with(name: &str, seeds: &[u8]) -> PathBuf {
        let (data, _) = written(name, |writer, genesis| {
            for &seed in seeds {
                let mut bytes = vec![1, 0];
                wire::encode_evidence(&two_records(genesis, seed), &mut bytes);
                writer.append(KIND_EVIDENCE, &[&bytes]).unwrap();
            }
        });
        data
    }

    fn options() -> Options {
        Options {
            dir: None,
            out: None,
            file: None,
            genesis: None,
        }
    }

    fn run_json(options: &Options) -> (Code, Value) {
        let report = run(options).unwrap();
        (report.code, report.json)
    }

    #[test]
    fn evidence_in_a_log_is_listed_written_and_judged_by_the_genesis_alone() {
        let data = data_with("evidence", &[1]);
        let out = data.join("evidence");
        let (code, listed) = run_json(&Options {
            dir: Some(data.clone()),
            out: Some(out.clone()),
            ..options()
        });
        assert_eq!((code, &listed["whole"]), (Code::Done, &Value::Bool(true)));
        let [entry] = &listed["evidence"].as_array().unwrap()[..] else {
            panic!("{listed}")
        };
        assert_eq!(entry["validator"], 0);
        assert!(
            entry["what"]
                .as_str()
                .unwrap()
                .starts_with("E2: two signed")
        );
        assert_eq!(entry["heights"], serde_json::json!([1]));
        assert_eq!(
            (&entry["window"], &entry["segment"]),
            (&0.into(), &0.into())
        );
        assert_eq!(entry["statements"].as_array().unwrap().len(), 2);

        let genesis_file = data.join("genesis.json");
        fs::write(&genesis_file, genesis().bytes()).unwrap();
        let judge = Options {
            file: Some(out.clone()),
            genesis: Some(genesis_file),
            ..options()
        };
        // Nothing of the log is needed for that.
        fs::remove_dir_all(data.join("log")).unwrap();
        let (code, judged) = run_json(&judge);
        assert_eq!(code, Code::Done);
        let same = &judged["evidence"][0];
        for key in ["what", "validator", "key", "window", "statements", "bytes"] {
            assert_eq!(same[key], entry[key], "{key}");
        }
        assert_eq!(same["holds"], true);

        let whole = fs::read(&out).unwrap();
        for length in 0..whole.len() {
            fs::write(&out, &whole[..length]).unwrap();
            // Behind the head alone there is no evidence; anywhere else it is cut.
            let judged = run(&judge).map(|report| report.json["evidence"].clone());
            let is_head = length == MAGIC.len() + HASH_BYTES;
            assert_eq!(judged.ok(), is_head.then(|| serde_json::json!([])));
        }
        let mut foreign = whole;
        foreign[MAGIC.len()] ^= 1;
        fs::write(&out, &foreign).unwrap();
        let refused = run(&judge).unwrap_err();
        assert!(refused.to_string().contains("another chain"), "{refused}");
        // A file that is none, as a proof that is none.
        for bytes in [&b"notes"[..], b"", &foreign] {
            fs::write(&out, bytes).unwrap();
            assert_eq!(run(&judge).unwrap_err().code, Code::Configuration);
        }
        fs::remove_dir_all(data).unwrap();
    }

    /// A later run may find less: the segment of what is in the file was removed.
    #[test]
    fn evidence_in_a_file_stays_when_its_log_has_it_no_more() {
        let data = data_with("evidence-kept", &[1]);
        let (out, genesis) = (data.join("evidence"), genesis());
        let kept = two_records_later(&genesis, 1, 7);
        let mut file = head(&genesis);
        append(&kept, &mut file);
        append(&two_records(&genesis, 2), &mut file);
        fs::write(&out, &file).unwrap();
        let options = Options {
            dir: Some(data.clone()),
            out: Some(out.clone()),
            ..options()
        };
        for _ in 0..2 {
            assert_eq!(run_json(&options).0, Code::Done);
            let now = read(&fs::read(&out).unwrap(), &genesis).unwrap();
            assert_eq!(now, [kept.clone(), two_records(&genesis, 1)]);
        }
        // What is none of this chain is not overwritten.
        fs::write(&out, b"notes").unwrap();
        assert_eq!(run(&options).unwrap_err().code, Code::Configuration);
        assert_eq!(fs::read(&out).unwrap(), b"notes");
        fs::remove_dir_all(data).unwrap();
    }

    /// As where the disk is full.
    #[test]
    fn where_the_file_cannot_be_written_the_one_before_is_whole() {
        let data = data_with("evidence-refused", &[1]);
        // No name beside it is short enough for what is to take its place.
        let (out, genesis) = (data.join("e".repeat(250)), genesis());
        let mut file = head(&genesis);
        append(&two_records_later(&genesis, 1, 7), &mut file);
        fs::write(&out, &file).unwrap();
        let refused = run(&Options {
            dir: Some(data.clone()),
            out: Some(out.clone()),
            ..options()
        });
        assert_eq!(refused.unwrap_err().code, Code::Configuration);
        assert_eq!(fs::read(&out).unwrap(), file);
        fs::remove_dir_all(data).unwrap();
    }

    /// The alarm comes at a validator that runs, and its log grows while it is read.
    #[test]
    fn beside_a_validator_that_writes_its_evidence_is_listed_and_nothing_is_called_faulty() {
        let data = data_with("evidence-beside", &[1]);
        let folder = DataFolder::open(&data.join("log")).unwrap();
        let config = LogConfig {
            segment_bytes: 32 << 20,
            ..LogConfig::new([7; 32])
        };
        let mut log = open(&folder, &config, genesis().bytes()).unwrap();
        // Reading the last segment takes longer than a sync.
        for _ in 0..500 {
            log.writer
                .append(RecordKind::new(999), &[&[5; 32_000]])
                .unwrap();
        }
        let is_done = AtomicBool::new(false);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                // No more than is read in a moment.
                for _ in 0..20_000 {
                    if is_done.load(Ordering::Relaxed) {
                        return;
                    }
                    log.writer
                        .append(RecordKind::new(999), &[&[5; 40]])
                        .unwrap();
                    log.syncer.sync(log.writer.unsynced()).unwrap();
                }
            });
            let options = Options {
                dir: Some(data.clone()),
                ..options()
            };
            let listed: Vec<_> = (0..5).map(|_| run(&options)).collect();
            is_done.store(true, Ordering::Relaxed);
            for report in listed {
                let report = report.unwrap();
                assert_eq!(report.code, Code::Done, "{}", report.text);
                assert_eq!(report.json["evidence"].as_array().unwrap().len(), 1);
            }
        });
        drop(log);
        fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn evidence_that_does_not_hold_is_shown_as_such_and_accuses_nobody() {
        let data = data_with("forged-evidence", &[2]);
        let out = data.join("evidence");
        let (code, listed) = run_json(&Options {
            dir: Some(data.clone()),
            out: Some(out.clone()),
            ..options()
        });
        assert_eq!(code, Code::Damaged);
        assert_eq!(listed["evidence"][0]["holds"], false);
        assert!(!out.exists() && listed["out"].is_null());
        let genesis = genesis();
        let mut file = head(&genesis);
        append(&two_records(&genesis, 1), &mut file);
        append(&two_records(&genesis, 2), &mut file);
        let genesis_file = data.join("genesis.json");
        fs::write(&genesis_file, genesis.bytes()).unwrap();
        fs::write(&out, &file).unwrap();
        let (code, judged) = run_json(&Options {
            file: Some(out),
            genesis: Some(genesis_file),
            ..options()
        });
        assert_eq!(code, Code::No);
        assert_eq!(judged["evidence"][0]["holds"], true);
        assert_eq!(judged["evidence"][1]["holds"], false);
        fs::remove_dir_all(data).unwrap();
    }

    #[test]
    fn a_log_without_evidence_says_so_and_no_file_is_written() {
        let data = data_with("no-evidence", &[]);
        let out = data.join("evidence");
        let listed = |out: Option<&Path>| {
            run(&Options {
                dir: Some(data.clone()),
                out: out.map(Path::to_path_buf),
                ..options()
            })
        };
        let report = listed(None).unwrap();
        assert_eq!(report.code, Code::Done);
        assert!(report.text.ends_with("no evidence"), "{}", report.text);
        let report = listed(Some(&out)).unwrap();
        let told = format!("no evidence\n{} is not written", out.display());
        assert!(report.text.ends_with(&told), "{}", report.text);
        assert!(!out.exists());
        // What could not be written to is told all the same: there may be evidence one day.
        fs::write(&out, b"notes").unwrap();
        for wrong in [
            &out,
            &data,
            &data.join("none").join("evidence"),
            &data.join("e".repeat(250)),
        ] {
            let refused = listed(Some(wrong)).unwrap_err();
            assert_eq!(refused.code, Code::Configuration, "{refused}");
        }
        fs::remove_dir_all(data).unwrap();
    }
}
