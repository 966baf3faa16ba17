//! `quorate sim --sum FILE...`: what pieces of a night show together.
//!
//! Owns the reading of their reports and the question whether all of it happened: none of them is
//! asked alone when it is short. Never: runs a seed.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::{Path, PathBuf};

use quorate_sim::{Shown, SweepOptions};
use serde::{Deserialize, Serialize};

use super::nightly::{SEEDS_FOR_ALL, Sweep, command, never, whole};
use crate::failure::{Code, Failure};
use crate::output::Report;

const REMEDY: &str = "give what `quorate sim --nightly --json` of this version printed";

/// The report of a piece, as far as it is read.
#[derive(Deserialize)]
struct Piece {
    sweeps: Vec<Row>,
    images: Option<Images>,
}

/// What it says of one sweep.
#[derive(Clone, Deserialize)]
struct Row {
    name: String,
    command: String,
    first: u64,
    seeds: u64,
    steps: u64,
    violations: u64,
    stuck: u64,
    #[serde(flatten)]
    shown: Shown,
}

/// What it says of crash images.
#[derive(Clone, Deserialize)]
struct Images {
    images: u64,
    first: u64,
    end: u64,
    lost: u64,
    wrong_cuts: u64,
    mistaken_for_damage: u64,
}

/// What all pieces say of one sweep.
#[derive(Serialize)]
struct Sum {
    name: String,
    seeds: u64,
    steps: u64,
    violations: u64,
    stuck: u64,
    /// Whether it has so many seeds that everything which can happen has to have.
    is_asked: bool,
    /// What should have happened and never did in any piece; of few seeds nothing is asked.
    unreached: Vec<&'static str>,
    /// What those that were played often never did of all that they are for.
    inert: Vec<String>,
    #[serde(flatten)]
    shown: Shown,
    #[serde(skip)]
    spans: Vec<Range<u64>>,
}

/// What all pieces say of everything.
#[derive(Serialize)]
struct Sums {
    pieces: usize,
    seeds: u64,
    steps: u64,
    violations: u64,
    stuck: u64,
    images: u64,
    /// Images of which a start lost something, cut it wrongly or took it for damage.
    bad_images: u64,
    sweeps: Vec<Sum>,
    /// Sweeps of a night that are in no piece, and `images` where none has any.
    absent: Vec<String>,
}

/// Adds up the reports in these files.
///
/// # Errors
/// One of them is no report of a night of this version, or has seeds of a sweep that another one
/// has.
pub(super) fn run(files: &[PathBuf]) -> Result<Report, Failure> {
    let mut sums = Adding::new();
    for file in files {
        let wrong = |what: String| {
            let what = format!("{}: {what}", file.display());
            Failure::usage(what).remedy(REMEDY)
        };
        sums.add(read(file).map_err(wrong)?).map_err(wrong)?;
    }
    let sums = sums.finish(files.len());
    let code = if sums.is_good() { Code::Done } else { Code::No };
    Ok(Report::new(&sums, sums.text())?.with_code(code))
}

fn read(file: &Path) -> Result<Piece, String> {
    let text = fs::read(file).map_err(|error| error.to_string())?;
    let piece: Piece =
        serde_json::from_slice(&text).map_err(|error| format!("no report of a night: {error}"))?;
    if piece.sweeps.is_empty() && piece.images.is_none() {
        return Err("a report of nothing: no sweep and no crash images are in it".to_owned());
    }
    Ok(piece)
}

/// What was added so far.
struct Adding {
    /// The sweeps of a whole night, by their names.
    night: BTreeMap<String, Sweep>,
    sums: BTreeMap<String, Sum>,
    images: u64,
    bad_images: u64,
    /// Seeds of the histories whose images were counted.
    image_spans: Vec<Range<u64>>,
}

impl Adding {
    fn new() -> Self {
        let night = whole().into_iter();
        Self {
            night: night.map(|sweep| (sweep.name.clone(), sweep)).collect(),
            sums: BTreeMap::new(),
            images: 0,
            bad_images: 0,
            image_spans: Vec::new(),
        }
    }

    fn add(&mut self, piece: Piece) -> Result<(), String> {
        for row in piece.sweeps {
            self.add_row(row)?;
        }
        piece
            .images
            .map_or(Ok(()), |images| self.add_images(&images))
    }

    fn add_images(&mut self, images: &Images) -> Result<(), String> {
        let seeds = images.first..images.end;
        refuse_twice("images", &seeds, &self.image_spans)?;
        self.image_spans.push(seeds);
        self.images += images.images;
        self.bad_images += images.lost + images.wrong_cuts + images.mistaken_for_damage;
        Ok(())
    }

    fn add_row(&mut self, row: Row) -> Result<(), String> {
        let name = &row.name;
        let Some(sweep) = self.night.get(name) else {
            return Err(format!("a night of this version has no sweep {name}"));
        };
        let end = row.first.checked_add(row.seeds);
        let seeds = row.first..end.ok_or_else(|| format!("{name}: seeds without end"))?;
        let options = SweepOptions {
            seeds: seeds.clone(),
            ..sweep.options.clone()
        };
        if row.command != command(&options) {
            let what = format!(
                "{name}: `{}` is not what a night of this version",
                row.command
            );
            return Err(format!("{what} runs: `{}`", command(&options)));
        }
        let sum = self.sums.entry(name.clone()).or_insert_with(|| Sum {
            name: name.clone(),
            seeds: 0,
            steps: 0,
            violations: 0,
            stuck: 0,
            is_asked: false,
            unreached: Vec::new(),
            inert: Vec::new(),
            shown: Shown::default(),
            spans: Vec::new(),
        });
        refuse_twice(name, &seeds, &sum.spans)?;
        sum.spans.push(seeds);
        sum.seeds += row.seeds;
        sum.steps += row.steps;
        sum.violations += row.violations;
        sum.stuck += row.stuck;
        sum.shown.add(&row.shown);
        Ok(())
    }

    /// Asks for everything.
    fn finish(mut self, pieces: usize) -> Sums {
        let absent = |name: &&String| !self.sums.contains_key(*name);
        let mut absent: Vec<String> = self.night.keys().filter(absent).cloned().collect();
        if self.image_spans.is_empty() {
            absent.push("images".to_owned());
        }
        for (name, sum) in &mut self.sums {
            let Some(Sweep {
                options, wants_all, ..
            }) = self.night.get(name)
            else {
                continue;
            };
            sum.is_asked = *wants_all && sum.seeds >= SEEDS_FOR_ALL;
            if sum.is_asked {
                sum.unreached = sum.shown.unreached(options.scenario, &options.byzantine);
            }
            sum.inert = sum.shown.inert(options.scenario);
        }
        let sweeps: Vec<Sum> = self.sums.into_values().collect();
        let total = |of: fn(&Sum) -> u64| sweeps.iter().map(of).sum::<u64>();
        Sums {
            pieces,
            seeds: total(|sum| sum.seeds),
            steps: total(|sum| sum.steps),
            violations: total(|sum| sum.violations),
            stuck: total(|sum| sum.stuck),
            images: self.images,
            bad_images: self.bad_images,
            sweeps,
            absent,
        }
    }
}

/// Seeds that two reports have count once, so that none is taken.
fn refuse_twice(name: &str, seeds: &Range<u64>, spans: &[Range<u64>]) -> Result<(), String> {
    let is_twice = |span: &&Range<u64>| span.start < seeds.end && seeds.start < span.end;
    let Some(span) = spans.iter().find(is_twice) else {
        return Ok(());
    };
    let what = format!("{name}: seeds {}..{} and", seeds.start, seeds.end);
    let other = format!("{}..{}", span.start, span.end);
    Err(format!(
        "{what} {other} of another row are in part the same"
    ))
}

impl Sum {
    const fn has_all(&self) -> bool {
        self.unreached.is_empty() && self.inert.is_empty()
    }
}

impl Sums {
    fn is_good(&self) -> bool {
        let is_right = self.violations == 0 && self.stuck == 0 && self.bad_images == 0;
        is_right && self.sweeps.iter().all(Sum::has_all)
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} pieces: {} seeds, {} steps, {} violations, {} stuck; {} crash images, {} bad\n",
            self.pieces,
            self.seeds,
            self.steps,
            self.violations,
            self.stuck,
            self.images,
            self.bad_images,
        );
        for sum in &self.sweeps {
            let never = never(&sum.unreached, &sum.inert);
            let asked = if sum.is_asked {
                ""
            } else {
                " (too few, or not of a kind, to be asked for everything)"
            };
            text.push_str(&format!(
                "{}: {} seeds{asked}, never: {never}\n",
                sum.name, sum.seeds
            ));
        }
        if !self.absent.is_empty() {
            text.push_str(&format!("in no piece: {}\n", self.absent.join(", ")));
        }
        text
    }
}

#[cfg(test)]
#[path = "sum_tests.rs"]
mod tests;
