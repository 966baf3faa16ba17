//! `quorate init`: the folder of one validator.
//!
//! Owns the order: the key first, since the genesis needs its public half; then, with a genesis,
//! the own seat in it, the question to the peers whether the key is in use, the configuration and
//! the data folder. Never: overwrites anything but a data folder that nothing was started from, or
//! takes a key that is known to have signed for one that never did.

use std::fs::{self, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf, absolute};
use std::time::Duration;

use clap::Args;
use quorate::config::{ConfigFile, NodeConfig};
use quorate::keys::{KeyPair, create_private_folder};
use quorate::node::{self, PeerWord};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::{Report, hex};
use crate::plan::{DurabilityArg, ProfileArg};

/// The private key, in the folder.
const KEY_FILE: &str = "key";
/// The configuration, in the folder.
const CONFIG_FILE: &str = "quorate.toml";
/// Longest time to wait for peers' answers, seconds.
const ASK_SECONDS_MAX: u64 = 600;
/// The data folder, in the folder.
const DATA_FOLDER: &str = "data";

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder of the validator; without --genesis its key is made there, and nothing else
    #[arg(long, value_name = "DIR", required_unless_present = "config")]
    dir: Option<PathBuf>,
    /// Genesis file of the chain: writes the configuration, and makes the data folder
    #[arg(long, value_name = "FILE", requires = "dir")]
    genesis: Option<PathBuf>,
    /// Private key to use where it is, instead of the one in the folder
    #[arg(long, value_name = "FILE", requires = "genesis")]
    key: Option<PathBuf>,
    /// Configuration that is there: makes the data folder that it names, and nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "dir")]
    config: Option<PathBuf>,
    /// Where to serve /metrics, /health, /ready, /status and /trace, for the configuration
    #[arg(long, value_name = "HOST:PORT", requires = "genesis")]
    metrics: Option<String>,
    /// Threads, idling, pinning and timers that go together, for the configuration
    #[arg(long, value_enum, requires = "genesis")]
    profile: Option<ProfileArg>,
    /// What a vote must be before it leaves, for the configuration
    #[arg(long, value_enum, requires = "genesis")]
    durability: Option<DurabilityArg>,
    /// This key has signed before, and what it signed is not here: the validator asks its peers
    /// before it votes
    #[arg(long)]
    signed_before: bool,
    /// How long to wait for what peers say of the key, seconds; 0 asks nobody
    #[arg(long, value_name = "S", default_value_t = 5)]
    #[arg(value_parser = clap::value_parser!(u64).range(..=ASK_SECONDS_MAX))]
    ask_seconds: u64,
}

/// What one peer said of the key.
#[derive(Serialize)]
struct Answer {
    peer: u16,
    /// `nothing`, `signed` or `runs`.
    word: &'static str,
    /// Of the vote that it holds.
    window: Option<u64>,
}

#[derive(Serialize)]
struct Fields {
    public_key: String,
    #[serde(serialize_with = "crate::output::path")]
    key: PathBuf,
    /// The seat in the genesis; none without one.
    index: Option<u16>,
    genesis_hash: Option<String>,
    #[serde(serialize_with = "crate::output::path")]
    config: Option<PathBuf>,
    #[serde(serialize_with = "crate::output::path")]
    data: Option<PathBuf>,
    peers: usize,
    answers: Vec<Answer>,
    /// Whether the data folder was one of another genesis, from which nothing was started.
    made_anew: bool,
    /// Whether the validator finds out what it has signed before it votes.
    recovers: bool,
}

/// Makes the folder, as far as it can be made.
///
/// # Errors
/// Something is there already, the key has no seat in the genesis, a peer knows that it is in use,
/// or a file cannot be written.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    match (&options.config, &options.dir, &options.genesis) {
        (Some(path), ..) => {
            let config = NodeConfig::load(path)?;
            // A key that has signed is given nothing that forgets.
            let anew = !options.signed_before
                && lease_of(&config.data).is_some()
                && node::is_unused(&config)?;
            if !anew {
                refuse_used(&config.data)?;
            }
            // The path of the key is not kept in a loaded configuration.
            let file = ConfigFile::load(path)?;
            finish(options, &config, (&file.key, path), anew)
        }
        (None, Some(dir), Some(genesis)) => with_genesis(options, dir, genesis),
        (None, Some(_), None) if options.signed_before => {
            let what =
                "--signed-before: without --genesis a new key is made, which has signed nothing";
            Err(Failure::usage(what).remedy("name the genesis of the chain with --genesis"))
        }
        (None, Some(dir), None) => key_alone(dir),
        (None, None, _) => Err(Failure::usage("--dir or --config is needed")),
    }
}

/// The key, for the genesis that is still to be made.
fn key_alone(dir: &Path) -> Result<Report, Failure> {
    let path = dir.join(KEY_FILE);
    let key = KeyPair::create(&path)?;
    let fields = Fields {
        public_key: hex(&key.public()),
        key: path,
        index: None,
        genesis_hash: None,
        config: None,
        data: None,
        peers: 0,
        answers: Vec::new(),
        made_anew: false,
        recovers: false,
    };
    let text = format!(
        "public key {}\nprivate key in {}\nnext: give the public key to who makes the genesis, then \
         quorate init --dir {} --genesis FILE",
        fields.public_key,
        fields.key.display(),
        dir.display()
    );
    Report::new(&fields, text)
}

fn with_genesis(options: &Options, dir: &Path, genesis: &Path) -> Result<Report, Failure> {
    let dir = &absolute(dir).map_err(|error| refused(dir, &error))?;
    let genesis = absolute(genesis).map_err(|error| refused(genesis, &error))?;
    let path = dir.join(CONFIG_FILE);
    let data = dir.join(DATA_FOLDER);
    if path.symlink_metadata().is_ok() {
        let what = format!("{} is there already", path.display());
        let remedy = "nothing is overwritten: name another folder, or make the data folder that it \
                      names with --config";
        return Err(Failure::new(Code::Configuration, what).remedy(remedy));
    }
    refuse_used(&data)?;
    let (key, named) = match &options.key {
        Some(key) => {
            let key = absolute(key).map_err(|error| refused(key, &error))?;
            (key.clone(), key)
        }
        None => (dir.join(KEY_FILE), PathBuf::from(KEY_FILE)),
    };
    if options.key.is_none() && key.symlink_metadata().is_err() {
        let what = format!("{}: no key is there", key.display());
        let remedy = "make one first, since the genesis needs its public half: quorate init --dir \
                      DIR; or name the one in the genesis with --key";
        return Err(Failure::new(Code::Configuration, what).remedy(remedy));
    }
    let mut file = ConfigFile::new(&genesis, &key, &data);
    file.listen.metrics.clone_from(&options.metrics);
    file.profile = options.profile.map_or(file.profile, Into::into);
    file.durability = options.durability.map_or(file.durability, Into::into);
    let config = file.resolve(&path)?;
    file.validator = Some(config.own.number());
    file.key = named;
    file.data = PathBuf::from(DATA_FOLDER);
    let text = file.to_commented_toml();
    // What was written is what a start will read.
    ConfigFile::parse(&text, &path)?;
    let answers = ask(options, &config)?;
    create_private_folder(dir)?;
    write_new(&path, text.as_bytes()).map_err(|error| refused(&path, &error))?;
    make_data(options, &config).inspect_err(|_| drop(fs::remove_file(&path)))?;
    report(options, &config, (&key, &path), answers, false)
}

/// The data folder of a configuration.
fn finish(
    options: &Options,
    config: &NodeConfig,
    paths: (&Path, &Path),
    anew: bool,
) -> Result<Report, Failure> {
    let answers = ask(options, config)?;
    make_data(options, config)?;
    report(options, config, paths, answers, anew)
}

fn make_data(options: &Options, config: &NodeConfig) -> Result<(), Failure> {
    match options.signed_before {
        true => node::declare_lost(config)?,
        false => node::initialize(config)?,
    }
    Ok(())
}

/// Asks the peers, unless it is known that the key has signed: then the start asks them.
fn ask(options: &Options, config: &NodeConfig) -> Result<Vec<Answer>, Failure> {
    if options.signed_before || options.ask_seconds == 0 {
        return Ok(Vec::new());
    }
    let words = node::ask_peers(config, Duration::from_secs(options.ask_seconds))?;
    let answer = |(peer, word): (quorate_consensus::types::ValidatorIndex, PeerWord)| Answer {
        peer: peer.number(),
        word: match word {
            PeerWord::Nothing => "nothing",
            PeerWord::Signed(_) => "signed",
            PeerWord::Runs => "runs",
        },
        window: match word {
            PeerWord::Signed(window) => Some(window.number()),
            PeerWord::Nothing | PeerWord::Runs => None,
        },
    };
    let answers: Vec<Answer> = words.into_iter().map(answer).collect();
    let used: Vec<String> = answers
        .iter()
        .filter(|one| one.word != "nothing")
        .map(|one| match one.window {
            Some(window) => format!(
                "validator {} holds a vote of it in window {window}",
                one.peer
            ),
            None => format!(
                "validator {} has seen a newer run of it, or refuses it",
                one.peer
            ),
        })
        .collect();
    if used.is_empty() {
        return Ok(answers);
    }
    let what = format!("this key is in use, or was: {}", used.join("; "));
    Err(Failure::new(Code::Safety, what).remedy(
        "never run one key twice. If it runs elsewhere, stop it and take along what it said \
         (quorate vote-state); if its disk is lost, say so with --signed-before",
    ))
}

fn report(
    options: &Options,
    config: &NodeConfig,
    (key, path): (&Path, &Path),
    answers: Vec<Answer>,
    anew: bool,
) -> Result<Report, Failure> {
    let fields = Fields {
        public_key: hex(&config.key.public()),
        key: key.to_path_buf(),
        index: Some(config.own.number()),
        genesis_hash: Some(hex(config.genesis.hash())),
        config: Some(path.to_path_buf()),
        data: Some(config.data.clone()),
        peers: config.genesis.validator_set().len() - 1,
        answers,
        made_anew: anew,
        recovers: options.signed_before,
    };
    let said = match (fields.recovers, options.ask_seconds) {
        (true, _) => "it asks its peers what it has signed before it votes; count it into F until \
                      then"
            .to_owned(),
        (false, 0) => "no peer was asked whether the key is in use".to_owned(),
        (false, _) => format!(
            "{} of {} peers answered: none knows a vote or a run of this key",
            fields.answers.len(),
            fields.peers
        ),
    };
    let anew = match anew {
        true => "\nthe data folder was made for another genesis and never used: it was made anew",
        false => "",
    };
    let text = format!(
        "validator {}, public key {}\ngenesis hash {}\n{}\n{said}{anew}\nnext: quorate node --config {}",
        config.own.number(),
        fields.public_key,
        hex(config.genesis.hash()),
        config.genesis.summary().join("\n"),
        path.display()
    );
    Report::new(&fields, text)
}

/// The lease of a data folder, if it has one.
fn lease_of(data: &Path) -> Option<PathBuf> {
    let lease = node::log_path(data).join("lease");
    lease.symlink_metadata().is_ok().then_some(lease)
}

/// A validator's data folder is not made twice. What an interrupted call has left is made whole.
fn refuse_used(data: &Path) -> Result<(), Failure> {
    if lease_of(data).is_none() {
        return Ok(());
    }
    let what = format!(
        "{} is the data folder of a validator already",
        data.display()
    );
    Err(Failure::new(Code::Configuration, what).remedy(
        "nothing is overwritten: start it, name another folder, or say quorate recover disk if what \
         it holds is old",
    ))
}

fn write_new(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path)?;
    let written = file.write_all(bytes).and_then(|()| file.sync_all());
    // An empty one would keep the next try out.
    written.inspect_err(|_| {
        fs::remove_file(path).ok();
    })
}

fn refused(path: &Path, error: &io::Error) -> Failure {
    Failure::of_system(path, error, Code::Configuration)
}
