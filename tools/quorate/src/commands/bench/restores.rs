//! The rounds of `quorate bench crash --restores`: a validator goes on with an older copy of its
//! data folder, as one that was put back from a backup, while the others run.
//!
//! Owns the copy, when it is taken and put back, and how a disk that is too old shows: by the lease
//! file. What the validator said before and after is judged by the series. Never: repairs a copy.

use std::fs;
use std::io;
use std::path::Path;

use quorate_bench::cluster::Ended;
use quorate_consensus::types::Window;
use serde::Serialize;

use super::crash::Series;
use super::past::Doubts;
use crate::agreement::Status;
use crate::commands::recover::forget_disk;
use crate::failure::{Code, Failure};

/// Longest time between a return and the next copy, milliseconds.
const PAUSE_MS_MAX: u64 = 200;
/// Longest time that a validator goes on for after the copy, beside what its next block takes,
/// milliseconds.
const AGE_MS_MAX: u64 = 1_000;
/// Belongs to the process that holds the folder.
const LOCK_NAME: &str = "lock";

/// What came of the rounds.
#[derive(Clone, Copy, Debug, Default, Serialize)]
pub(super) struct Restores {
    /// Copies that were put back.
    restores: u64,
    /// Of those, the ones that the validator found to be an old disk: it asked its peers what it
    /// had said (R13).
    found_old: u64,
    /// Of those, the ones that the validator refused as damaged.
    refused: u64,
}

impl Restores {
    /// Copies the folder of one validator while it runs, lets it go on, kills it, and starts it
    /// with the copy.
    pub(super) fn round(&mut self, series: &mut Series<'_>) -> Result<(), Failure> {
        let turn = usize::try_from(self.restores).unwrap_or(usize::MAX);
        let victim = turn % series.validators();
        series.pause(PAUSE_MS_MAX);
        let data = series.config_path(victim).with_file_name("data");
        let backup = data.with_file_name("backup");
        take_copy(series, victim, &data, &backup)?;
        series.pause(AGE_MS_MAX);
        // A disk is old when something was said since: with a block more there was.
        let height = height_of(&series.statuses_until(|told| told[victim].is_ok())?[victim]);
        series.statuses_until(|told| height_of(&told[victim]) > height)?;
        series.end(victim)?;
        series.lose_log(victim)?;
        put_back(&data, &backup).map_err(|error| unusable(&data, &error))?;
        series.put_back(victim)?;
        let log = series.log_folder(victim)?;
        let before = recovered_until(&log)?;
        let started = series.start(&[victim])?;
        self.restores += 1;
        if let Some(ended) = series.voting_or_ended(&[victim])? {
            if !is_refusal(ended, victim) {
                return Err(series.died(ended));
            }
            self.refused += 1;
            return go_on_without(series, victim, &data);
        }
        series.time_return(&[victim], started)?;
        self.found_old += u64::from(recovered_until(&log)? > before);
        Ok(())
    }

    /// The part of the report for people that is of these rounds alone.
    pub(super) fn text(&self) -> String {
        format!(
            "{} copies put back, {} of them found to be old, {} refused as damaged",
            self.restores, self.found_old, self.refused
        )
    }
}

/// Copies the folder of a validator: half the times of one that goes on meanwhile, file after file
/// as a program for backups does, and half the times of one that stands still, as a snapshot of the
/// disk has it.
fn take_copy(
    series: &mut Series<'_>,
    victim: usize,
    data: &Path,
    backup: &Path,
) -> Result<(), Failure> {
    let stands_still = series.either();
    if stands_still {
        series.cluster.pause(victim)?;
    }
    let copied = copy_folder(data, backup);
    if stands_still {
        series.cluster.resume(victim)?;
    }
    copied.map_err(|error| unusable(data, &error))
}

/// Copies a folder in the order of its names, but for locks. What goes away meanwhile is left out.
fn copy_folder(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir(to)?;
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    let names = fs::read_dir(from)?.map(|entry| Ok(entry?.file_name()));
    let mut names = names.collect::<io::Result<Vec<_>>>()?;
    names.sort();
    for name in names.into_iter().filter(|name| name != LOCK_NAME) {
        let (source, copy) = (from.join(&name), to.join(&name));
        let copied = match fs::symlink_metadata(&source) {
            Ok(found) if found.is_dir() => copy_folder(&source, &copy),
            Ok(_) => fs::copy(&source, &copy).map(drop),
            Err(error) => Err(error),
        };
        match copied {
            Err(error) if error.kind() == io::ErrorKind::NotFound && !source.exists() => {}
            copied => copied?,
        }
    }
    Ok(())
}

/// Puts a copy in the place of a folder that nobody uses.
fn put_back(data: &Path, backup: &Path) -> io::Result<()> {
    fs::remove_dir_all(data)?;
    fs::rename(backup, data)
}

/// Whether a start refused the folder as one that is damaged.
fn is_refusal(ended: Ended, victim: usize) -> bool {
    ended.index == victim && ended.status.code() == Some(Code::Damaged as i32)
}

/// What an operator does with a folder that cannot be opened: the disk is lost, and said to be.
fn go_on_without(series: &mut Series<'_>, victim: usize, data: &Path) -> Result<(), Failure> {
    series.remove_log(victim);
    fs::remove_dir_all(data).map_err(|error| unusable(data, &error))?;
    forget_disk(&series.config_path(victim))?;
    let started = series.start(&[victim])?;
    series.time_return(&[victim], started)
}

/// The window up to which a validator has found out by its peers what it had said: each time that
/// it has done so leaves a later one in its lease file.
fn recovered_until(log: &Path) -> Result<Option<Window>, Failure> {
    let doubts = Doubts::read(log).map_err(|error| unusable(log, &error))?;
    Ok(doubts.and_then(|doubts| doubts.recovered_until))
}

fn height_of(status: &Status) -> Option<u64> {
    status.as_ref().ok()?["height"].as_u64()
}

fn unusable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(Code::TryAgain, format!("{}: {error}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_has_everything_but_the_locks() {
        let name = format!("quorate-restores-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
        let (data, backup) = (dir.join("data"), dir.join("backup"));
        fs::create_dir_all(data.join("log")).unwrap();
        for name in ["log/lock", "log/lease", "log/segment-0000000000", "mark"] {
            fs::write(data.join(name), name).unwrap();
        }
        copy_folder(&data, &backup).unwrap();
        fs::write(data.join("mark"), "later").unwrap();
        put_back(&data, &backup).unwrap();
        for name in ["log/lease", "log/segment-0000000000", "mark"] {
            assert_eq!(fs::read_to_string(data.join(name)).unwrap(), name);
        }
        assert!(!data.join("log/lock").exists() && !backup.exists());
        fs::remove_dir_all(dir).unwrap();
    }
}
