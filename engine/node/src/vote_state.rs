//! What a validator has said, taken from one folder and merged into another: for moving it to
//! another machine.
//!
//! Owns the file and the merge, in which no limit falls and no record goes. Never: a running
//! validator, blocks, or a way to take a word back; there is no reset.

use std::collections::BTreeMap;
use std::io;

use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::restart::{self, StartFacts};
use quorate_consensus::trust::Lease;
use quorate_consensus::types::{Epoch, Window};
use quorate_consensus::wire;
use quorate_log::{CleanStopRead, DataFolder, LeaseFile, LeaseRead, Opened, Reader};
use serde::{Deserialize, Serialize};

use crate::genesis::{Hex32, hash_of};
use crate::hex;
use crate::journal::{JournalEntry, KIND_RECORD, decode, encode_record};
use crate::lease::own_lease;
use crate::recovery::{RecoveryConfig, RecoveryError};

/// Version of the file that is written and read.
pub const VOTE_STATE_FORMAT: u32 = 1;
/// Longest such file, bytes.
pub const VOTE_STATE_BYTES_MAX: usize = 16 * 1024 * 1024;

/// All that a validator must not forget when it moves.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VoteState {
    /// [`VOTE_STATE_FORMAT`].
    pub format: u32,
    /// Hash of the genesis file's bytes: the chain.
    pub genesis_hash: Hex32,
    /// The validator's public key.
    pub validator: Hex32,
    /// Number of its last start.
    pub incarnation: u64,
    /// Records and proposals may have been made up to this window.
    pub lease: Option<u64>,
    /// No record may be made up to this window.
    pub abstain_until: Option<u64>,
    /// No proposal may be made up to this window.
    pub no_proposals_until: Option<u64>,
    /// What was said is not known (R13).
    pub is_lost: bool,
    /// From this window on `records` holds all that was said; nothing may be said below it.
    pub complete_from: u64,
    /// The newest record of each such window.
    pub records: Vec<SaidRecord>,
}

/// What was said about one window.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SaidRecord {
    /// The window.
    pub window: u64,
    /// Canonical bytes of the record (docs/wire.md), as hex digits.
    pub record: String,
}

/// Why a vote state cannot be taken or merged. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum VoteStateError {
    /// The folder is not one to start from.
    #[error(transparent)]
    Folder(#[from] RecoveryError),
    /// Written by another version.
    #[error("format = {0}: this program reads format {VOTE_STATE_FORMAT}")]
    Format(u32),
    /// Of another chain.
    #[error(
        "genesis_hash = {}: the folder is of the chain {}",
        hex::encode(found),
        hex::encode(own)
    )]
    OtherChain {
        /// The one in the file.
        found: [u8; 32],
        /// The one of the folder.
        own: [u8; 32],
    },
    /// Of another validator.
    #[error(
        "validator = {}: the folder is of {}",
        hex::encode(found),
        hex::encode(own)
    )]
    OtherValidator {
        /// The key in the file.
        found: [u8; 32],
        /// The key of the folder.
        own: [u8; 32],
    },
    /// A record that cannot be read, or stands where none may.
    #[error("records: that of window {window} {what}")]
    Record {
        /// Its window.
        window: u64,
        /// What is wrong.
        what: &'static str,
    },
    /// The folder holds words that do not fit those in the file: the key was used at two places.
    #[error("records: window {window}: the folder holds a record that does not fit the file's")]
    Conflict {
        /// The window.
        window: u64,
    },
    /// The state could not be written where it was to be kept.
    #[error("the vote state cannot be written")]
    Keep(#[source] io::Error),
    /// The log takes no more.
    #[error("the log takes nothing more")]
    Append(#[from] quorate_log::LogError),
}

/// What a log says of the own records.
struct Said {
    complete_from: Window,
    records: BTreeMap<Window, Record>,
}

/// Reads the newest own record of each window from that of the newest finality proof on: below it
/// every window is over, and whoever knows only what stands here may say nothing there.
fn read_said(reader: &Reader) -> Result<Said, RecoveryError> {
    let mut said = Said {
        complete_from: Window::ZERO,
        records: BTreeMap::new(),
    };
    for record in reader.iter() {
        let record = record?;
        if record.kind() == quorate_log::RecordKind::GENESIS {
            continue;
        }
        let place = record.place();
        let entry = decode(record.kind(), &record)
            .map_err(|source| RecoveryError::Entry { place, source })?;
        match entry {
            JournalEntry::Record { own, .. } if own.window >= said.complete_from => {
                said.records.insert(own.window, own.record);
            }
            JournalEntry::Proof { point, .. } => {
                said.complete_from = said.complete_from.max(point.window);
                said.records = said.records.split_off(&said.complete_from);
            }
            _ => {}
        }
    }
    Ok(said)
}

/// Takes the vote state out of a folder, whose validator must be stopped. The folder is marked as
/// one that does not know what was said (R13): the right to vote has left it. `keep` makes the
/// state durable elsewhere before.
///
/// # Errors
/// [`VoteStateError::Folder`], or [`VoteStateError::Keep`] when `keep` fails.
pub fn export(
    folder: &DataFolder,
    config: &RecoveryConfig<'_>,
    keep: &mut dyn FnMut(&VoteState) -> io::Result<()>,
) -> Result<VoteState, VoteStateError> {
    let mut lease_file = LeaseFile::new(folder);
    let content = own_lease(folder, &lease_file, config)?;
    let Opened {
        reader, recovery, ..
    } = quorate_log::open(folder, &config.log, config.genesis).map_err(RecoveryError::from)?;
    let said = read_said(&reader)?;
    // What a start from here would have to hold to.
    let facts = StartFacts {
        durability: config.durability,
        boot_id: config.boot_id,
        clean_stop: recovery.clean_stop == CleanStopRead::Matches,
        incarnation_min: config.incarnation_min,
    };
    let mut content = restart::LeaseFile {
        suspect: content.suspect || !recovery.has_watermark,
        ..content
    };
    content = restart::plan(content, &facts);
    let number = |window: Option<Window>| window.map(Window::number);
    let records = said.records.into_iter().map(|(window, record)| {
        let mut bytes = Vec::new();
        wire::encode_record(&record, &mut bytes);
        SaidRecord {
            window: window.number(),
            record: hex::encode(&bytes),
        }
    });
    let state = VoteState {
        format: VOTE_STATE_FORMAT,
        genesis_hash: Hex32(hash_of(config.genesis)),
        validator: Hex32(config.own),
        incarnation: content.incarnation,
        lease: number(content.lease.lease),
        abstain_until: number(content.lease.abstain_until),
        no_proposals_until: number(content.lease.no_proposals_until),
        is_lost: content.lease.is_lost,
        complete_from: said.complete_from.number(),
        records: records.collect(),
    };
    keep(&state).map_err(VoteStateError::Keep)?;
    content.lease.is_lost = true;
    lease_file
        .replace(&content.encode())
        .map_err(RecoveryError::from)?;
    Ok(state)
}

/// Merges a vote state into a folder, which is made when there is none: the larger of each limit,
/// and the record that says more of each window.
///
/// # Errors
/// [`VoteStateError`]: the file is of another chain or validator, or contradicts the folder.
pub fn import(
    folder: &DataFolder,
    config: &RecoveryConfig<'_>,
    epoch: Epoch,
    state: &VoteState,
) -> Result<(), VoteStateError> {
    let records = check(config, state)?;
    let mut lease_file = LeaseFile::new(folder);
    let mut content = held_lease(folder, &lease_file, config)?;
    let Opened {
        mut writer,
        mut syncer,
        reader,
        ..
    } = quorate_log::open(folder, &config.log, config.genesis).map_err(RecoveryError::from)?;
    let said = read_said(&reader)?;
    let mut news = Vec::new();
    for own in records {
        match said.records.get(&own.window) {
            None => news.push(own),
            Some(held) if *held == own.record || own.record.may_extend_to(held) => {}
            Some(held) if held.may_extend_to(&own.record) => news.push(own),
            Some(_) => {
                let window = own.window.number();
                return Err(VoteStateError::Conflict { window });
            }
        }
    }
    for own in &news {
        let mut bytes = Vec::new();
        encode_record(epoch, own, &mut bytes);
        writer.append(KIND_RECORD, &[&bytes])?;
    }
    // The words come first: a lease allows to add to them.
    syncer.sync(writer.unsynced())?;
    merge(&mut content, state, config);
    lease_file
        .replace(&content.encode())
        .map_err(RecoveryError::from)?;
    Ok(())
}

/// The larger of each limit. Nothing may be said in a window of which the file knows nothing.
fn merge(content: &mut restart::LeaseFile, state: &VoteState, config: &RecoveryConfig<'_>) {
    let held = content.lease;
    let window = |number: Option<u64>| number.map(Window::new);
    let unknown = Window::new(state.complete_from).previous();
    content.lease = Lease {
        lease: held.lease.max(window(state.lease)),
        abstain_until: held
            .abstain_until
            .max(window(state.abstain_until))
            .max(unknown),
        no_proposals_until: held
            .no_proposals_until
            .max(window(state.no_proposals_until))
            .max(unknown),
        is_lost: held.is_lost || state.is_lost,
    };
    content.incarnation = content.incarnation.max(state.incarnation);
    content.boot_id = config.boot_id;
}

/// The lease of the folder that is merged into; of one without any, the lease of a key that has
/// never signed, since the file brings what it has.
fn held_lease(
    folder: &DataFolder,
    lease_file: &LeaseFile,
    config: &RecoveryConfig<'_>,
) -> Result<restart::LeaseFile, RecoveryError> {
    let io = |action| move |source: io::Error| RecoveryError::Io { action, source };
    let read = lease_file.read().map_err(io("read the lease file"))?;
    let has_log = folder.has_log().map_err(io("list the folder"))?;
    if matches!(read, LeaseRead::Missing) && !has_log {
        return Ok(restart::LeaseFile {
            boot_id: config.boot_id,
            owner: config.own,
            ..restart::LeaseFile::default()
        });
    }
    own_lease(folder, lease_file, config)
}

/// The records of a file that is of this chain and validator.
fn check(config: &RecoveryConfig<'_>, state: &VoteState) -> Result<Vec<OwnRecord>, VoteStateError> {
    if state.format != VOTE_STATE_FORMAT {
        return Err(VoteStateError::Format(state.format));
    }
    let own = hash_of(config.genesis);
    if state.genesis_hash.0 != own {
        let found = state.genesis_hash.0;
        return Err(VoteStateError::OtherChain { found, own });
    }
    if state.validator.0 != config.own {
        let (found, own) = (state.validator.0, config.own);
        return Err(VoteStateError::OtherValidator { found, own });
    }
    let mut last = None;
    let mut records = Vec::with_capacity(state.records.len());
    for said in &state.records {
        let window = said.window;
        let refuse = |what| VoteStateError::Record { window, what };
        if window < state.complete_from || last.is_some_and(|last| last >= window) {
            return Err(refuse("is out of order"));
        }
        last = Some(window);
        let mut bytes = vec![0; said.record.len() / 2];
        if !hex::decode_into(said.record.as_bytes(), &mut bytes) {
            return Err(refuse("is not hex digits"));
        }
        let record = wire::decode_record(&bytes).map_err(|_| refuse("cannot be read"))?;
        records.push(OwnRecord {
            window: Window::new(window),
            record,
        });
    }
    Ok(records)
}
