//! What a validator has said, taken from one folder and merged into another: for moving it to
//! another machine.
//!
//! Owns the merge, in which no limit falls and no record goes. Never: a running
//! validator, blocks, or a way to take a word back; there is no reset.

mod file;

pub use file::{SaidRecord, VOTE_STATE_BYTES_MAX, VOTE_STATE_FORMAT, VoteState};

use std::collections::BTreeMap;
use std::io;

use quorate_consensus::record::{OwnRecord, Record};
use quorate_consensus::restart;
use quorate_consensus::trust::Lease;
use quorate_consensus::types::Window;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::wire;
use quorate_log::{
    DataFolder, LeaseFile, LeaseRead, LogError, OpenError, Opened, Reader, Syncer, Writer,
};

use crate::genesis::{Hex32, hash_of};
use crate::hex;
use crate::journal::{JournalEntry, KIND_RECORD, decode, encode_record};
use crate::lease::{note_failed_sync, open_log, own_lease, plan, read_lease};
use crate::recovery::{RecoveryConfig, RecoveryError};

/// Why a vote state is not where it was to be kept, and whether it can be found there after all:
/// two places must never have the right to vote.
#[derive(Debug, thiserror::Error)]
pub enum KeepError {
    /// Nothing that could be imported is left, also not after a loss of power.
    #[error("the vote state cannot be written: {0}; the folder keeps the right to vote")]
    Undone(#[source] io::Error),
    /// Some of it, or all, may be left.
    #[error(
        "the vote state cannot be written: {0}; part of it may be left, so the folder has no right \
         to vote any more: remove the file, then start the validator, which recovers from what its \
         peers know"
    )]
    Left(#[source] io::Error),
}

/// Why a vote state cannot be taken or merged. No limit has fallen and no record is gone then;
/// nothing at all was changed if the file is refused.
#[derive(Debug, thiserror::Error)]
pub enum VoteStateError {
    /// The folder is not one to start from.
    #[error(transparent)]
    Folder(#[from] RecoveryError),
    /// Written by another version.
    #[error(
        "format = {0}: this program reads format {VOTE_STATE_FORMAT}; merge the file with the version \
         that wrote it, then start this one over that folder"
    )]
    Format(u32),
    /// Not what was written.
    #[error(
        "check = {}: the fields have {}, so the file is damaged or was changed: copy it again from \
         where it was written. If that is gone, say `quorate recover disk` for the validator",
        hex::encode(found),
        hex::encode(expected)
    )]
    Damaged {
        /// The one in the file.
        found: [u8; 32],
        /// That of its other fields.
        expected: [u8; 32],
    },
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
    #[error(transparent)]
    Keep(#[from] KeepError),
    /// The log takes no more.
    #[error("the log takes nothing more")]
    Append(#[from] LogError),
}

/// What a log says of the own records.
struct Said {
    complete_from: Window,
    /// The window of the highest proof, or of what stands for one; none where nothing is proven.
    proven: Option<Window>,
    records: BTreeMap<Window, Record>,
    /// The highest window in which anything was said, over since or not.
    said_in: Option<Window>,
}

/// Reads the newest own record of each window from that of the newest finality proof on: below it
/// every window is over, and whoever knows only what stands here may say nothing there.
fn read_said(reader: &Reader) -> Result<Said, RecoveryError> {
    let mut said = Said {
        complete_from: Window::ZERO,
        proven: None,
        records: BTreeMap::new(),
        said_in: None,
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
            JournalEntry::Record { own, .. } => {
                said.said_in = said.said_in.max(Some(own.window));
                if own.window >= said.complete_from {
                    said.records.insert(own.window, own.record);
                }
            }
            JournalEntry::Base { header, .. } => {
                said.proven = said.proven.max(Some(header.window));
            }
            JournalEntry::Proof { point, .. } => {
                said.proven = said.proven.max(Some(point.window));
                said.complete_from = said.complete_from.max(point.window);
                said.records = said.records.split_off(&said.complete_from);
            }
            _ => {}
        }
    }
    Ok(said)
}

/// Takes the vote state out of a folder, whose validator must be stopped. The folder is marked as
/// one that does not know what was said (R13): the right to vote leaves it, durably, before `keep`
/// makes the state durable elsewhere. A crash in between leaves a folder that has to recover, and
/// never two that may vote.
///
/// # Errors
/// [`VoteStateError::Folder`], or [`VoteStateError::Keep`] when `keep` fails: then the mark is
/// taken back, unless something of the state may be left.
pub fn export(
    folder: &DataFolder,
    config: &RecoveryConfig<'_>,
    keep: &mut dyn FnMut(&VoteState) -> Result<(), KeepError>,
) -> Result<VoteState, VoteStateError> {
    let mut lease_file = LeaseFile::new(folder);
    let mut content = own_lease(folder, &lease_file, config)?;
    let Opened {
        reader, recovery, ..
    } = open_log(
        folder,
        &mut lease_file,
        &mut content,
        &config.log,
        config.genesis,
    )?;
    let said = read_said(&reader)?;
    // What a start from here would have to hold to.
    let content = plan(content, &recovery, said.said_in, config);
    let state = state_of(&content, said, config);
    let mut write = |content: &restart::LeaseFile| {
        lease_file
            .replace(&content.encode())
            .map_err(RecoveryError::from)
    };
    let mut left = content;
    left.lease.is_lost = true;
    write(&left)?;
    if let Err(error) = keep(&state) {
        if matches!(error, KeepError::Undone(_)) {
            write(&content)?;
        }
        return Err(error.into());
    }
    Ok(state)
}

/// What a file says of a folder.
fn state_of(content: &restart::LeaseFile, said: Said, config: &RecoveryConfig<'_>) -> VoteState {
    let number = |window: Option<Window>| window.map(Window::number);
    let records = said.records.into_iter().map(|(window, record)| {
        let mut bytes = Vec::new();
        wire::encode_record(&record, &mut bytes);
        SaidRecord {
            window: window.number(),
            record: hex::encode(&bytes),
        }
    });
    VoteState {
        format: VOTE_STATE_FORMAT,
        genesis_hash: Hex32(hash_of(config.genesis)),
        validator: Hex32(config.own),
        incarnation: content.incarnation,
        lease: number(content.lease.lease),
        abstain_until: number(content.lease.abstain_until),
        no_proposals_until: number(content.lease.no_proposals_until),
        is_lost: content.lease.is_lost,
        proofs_until: number(content.lease.proofs_elsewhere.max(said.proven)),
        complete_from: said.complete_from.number(),
        records: records.collect(),
        check: Hex32([0; 32]),
    }
    .sealed()
}

/// Merges a vote state into a folder, which is made when there is none: the larger of each limit,
/// and the record that says more of each window.
///
/// # Errors
/// [`VoteStateError`]: the file is of another chain or validator, or contradicts the folder.
pub fn import(
    folder: &DataFolder,
    config: &RecoveryConfig<'_>,
    set: &ValidatorSet,
    state: &VoteState,
) -> Result<(), VoteStateError> {
    let records = check(config, set, state)?;
    let mut lease_file = LeaseFile::new(folder);
    let mut content = held_lease(folder, &lease_file, config)?;
    let has_lease = matches!(read_lease(&lease_file)?, LeaseRead::Present(_));
    let Opened {
        mut writer,
        mut syncer,
        reader,
        recovery,
        ..
    } = open_log(
        folder,
        &mut lease_file,
        &mut content,
        &config.log,
        config.genesis,
    )?;
    let said = read_said(&reader)?;
    let unexplained = said_beside(&said, &records);
    let mut news = Vec::new();
    for own in records {
        match said.records.get(&own.window) {
            None => news.push(own),
            Some(held) if says_all_of(held, &own.record) => {}
            Some(held) if says_all_of(&own.record, held) => news.push(own),
            Some(_) => {
                let window = own.window.number();
                return Err(VoteStateError::Conflict { window });
            }
        }
    }
    content = plan(content, &recovery, unexplained, config);
    if has_lease {
        // What a start would find suspect: not any more behind what is appended now.
        lease_file
            .replace(&content.encode())
            .map_err(RecoveryError::from)?;
    }
    // The words come first: a lease allows to add to them.
    let written = write_words(set, &news, &mut writer, &mut syncer);
    written.map_err(|error| not_written(error, &mut lease_file, &mut content))?;
    merge(&mut content, state);
    lease_file
        .replace(&content.encode())
        .map_err(RecoveryError::from)?;
    Ok(())
}

/// The highest window in which the folder has said what the records of a file do not: what they do
/// may be there without its lease by an import of that file which was cut short.
fn said_beside(said: &Said, records: &[OwnRecord]) -> Option<Window> {
    let is_said_by_the_file = |window: &Window, held: &Record| {
        let mut of_the_window = records.iter().filter(|own| own.window == *window);
        of_the_window.any(|own| says_all_of(&own.record, held))
    };
    let mut held = said.records.iter().rev();
    let beside = held.find(|(window, held)| !is_said_by_the_file(window, held));
    beside.map(|(window, _)| *window)
}

fn write_words(
    set: &ValidatorSet,
    news: &[OwnRecord],
    writer: &mut Writer,
    syncer: &mut Syncer,
) -> Result<(), LogError> {
    for own in news {
        let mut bytes = Vec::new();
        encode_record(set.epoch(), own, &mut bytes);
        writer.append(KIND_RECORD, &[&bytes])?;
    }
    syncer.sync(writer.unsynced())?;
    Ok(())
}

/// R12: a failed sync or write is noted as that of a start is, so that the next start does not
/// believe what memory still shows.
fn not_written(
    error: LogError,
    lease_file: &mut LeaseFile,
    content: &mut restart::LeaseFile,
) -> VoteStateError {
    let name = String::new();
    let source = match error {
        LogError::SyncFailed { source } => OpenError::SyncFailed { name, source },
        LogError::WriteFailed { source } => OpenError::Io {
            action: "write",
            name: "the log".to_owned(),
            source,
        },
        error => return VoteStateError::Append(error),
    };
    VoteStateError::Folder(RecoveryError::NotSynced {
        is_noted: note_failed_sync(lease_file, content),
        source,
    })
}

/// Whether one record of a window says all that another does, as far as can be told without
/// headers. Where each might be the later one by its tips alone, the one counts that has every
/// word of the other.
fn says_all_of(newer: &Record, older: &Record) -> bool {
    let extends = |older: &Record, newer: &Record| {
        older.may_extend_to(newer) && older.also_may_grow_to(newer)
    };
    let is_either = extends(newer, older);
    let has_all = || older.also.iter().all(|entry| newer.also.contains(entry));
    extends(older, newer) && (!is_either || has_all())
}

/// The larger of each limit. Nothing may be said in a window of which the file knows nothing. The
/// proofs do not come along.
fn merge(content: &mut restart::LeaseFile, state: &VoteState) {
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
        proofs_elsewhere: held.proofs_elsewhere.max(window(state.proofs_until)),
    };
    content.incarnation = content.incarnation.max(state.incarnation);
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

/// The records of a file that is as it was written, and of this chain and validator.
fn check(
    config: &RecoveryConfig<'_>,
    set: &ValidatorSet,
    state: &VoteState,
) -> Result<Vec<OwnRecord>, VoteStateError> {
    if state.format != VOTE_STATE_FORMAT {
        return Err(VoteStateError::Format(state.format));
    }
    let sealed = state.check_now();
    if state.check != sealed {
        return Err(VoteStateError::Damaged {
            found: state.check.0,
            expected: sealed.0,
        });
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
        if !record.is_consistent(set.slots()) {
            return Err(refuse("contradicts itself"));
        }
        records.push(OwnRecord {
            window: Window::new(window),
            record,
        });
    }
    Ok(records)
}
