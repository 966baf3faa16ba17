//! `quorate bench syncs`: every place at which a validator syncs, as a point where the disk refuses
//! or the process dies, under load.
//!
//! Owns the series and its report. A first life under the tracer shows the places; then each is
//! visited with each fault. The calls are changed from outside, by `strace`, so what runs is what
//! ships. What clients were told and what validators voted is held against the logs as after any
//! other series of kills. Never: repairs.

mod places;
mod tracer;
mod visit;

use std::collections::BTreeMap;
use std::fs;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use self::places::{Place, Survey};
use self::visit::{FAULTS, Found, Visit, folder_of};
use super::background::Load;
use super::crash::{Series, Setting, under_load};
use super::toll::Toll;
use crate::failure::Failure;
use crate::interrupt::Interrupt;
use crate::output::{Report, progress, table};
use crate::plan::ClusterOptions;

/// Snapshots are taken as often as can be.
const EVERY_HEIGHTS: u64 = 64;
/// How long the traced life is, from when the validator takes part.
const SURVEY: Duration = Duration::from_secs(20);
/// How long a validator under the tracer may take to stop.
const STOP: Duration = Duration::from_secs(120);
/// How often a fault is tried that another place of the same thread has met.
const TRIES: u64 = 4;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Of each place, how many of its calls: the first, the second and so on
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    points: u64,
    /// Only places that are called so, as the report names them (`fsync of data/log by main`), or
    /// in part so; all when there is none
    #[arg(long, value_name = "WORDS")]
    only: Vec<String>,
    /// Commands a second
    #[arg(long, default_value_t = 200)]
    #[arg(value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: u64,
    /// Slots of a window; by default as many as any chain has: whose disk refused says nothing in
    /// the window that the others are in
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=4096))]
    window_slots: Option<u32>,
    /// Seed of the series: at whom it happens
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// Folder for the temporary folder of the cluster, such as one on the disk to be tested
    #[arg(long, value_name = "DIR")]
    pub(super) dir: Option<PathBuf>,
}

/// What came of one place.
#[derive(Clone, Debug, Default, Serialize)]
struct PlaceFields {
    thread: String,
    call: String,
    file: String,
    /// How often the traced life made the call there; 0 for a place that a fault has met and that
    /// life has not shown.
    traced: u64,
    /// Faults that were met here.
    met: u64,
    /// What came of them, by fault and end.
    ends: BTreeMap<String, u64>,
    /// Faults that no call here has met.
    not_met: Vec<String>,
    /// Why none can be.
    #[serde(skip_serializing_if = "Option::is_none")]
    obstacle: Option<String>,
}

/// What came of it.
#[derive(Debug, Default, Serialize)]
struct Fields {
    /// Faults that a call has met.
    points: u64,
    sync_places: Vec<PlaceFields>,
    /// Places of the traced life of which some fault was met by no call.
    unreached: Vec<String>,
    /// What came of all of them, by fault and end.
    ends: BTreeMap<String, u64>,
    #[serde(flatten)]
    toll: Toll,
}

/// Runs the series.
///
/// # Errors
/// There is no `strace`, the validators do not start, or one does not come back.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    tracer::find()?;
    let interrupt = Interrupt::install()?;
    let setting = Setting {
        interrupt: &interrupt,
        cluster: &options.cluster,
        dir: options.dir.as_deref(),
        rate: options.rate,
        seed: options.seed,
        window_slots: options.window_slots,
        every_heights: Some(EVERY_HEIGHTS),
    };
    let mut record = Record::default();
    let toll = under_load(setting, |series, load| {
        let survey = survey(series)?;
        load.wait_for_result()?;
        progress(&format!("{} places", survey.places.len()));
        record.note_places(&survey);
        for (place, &seen) in &survey.places {
            if !place.is_called(&options.only) {
                continue;
            }
            for fault in FAULTS {
                for point in 1..=options.points.min(seen.count) {
                    if series.interrupt.is_set() {
                        return Ok(record.points());
                    }
                    let visit = Visit {
                        place,
                        seen,
                        is_mixed: survey.is_mixed(place),
                        is_shared: survey.is_shared(place),
                        fault,
                        point,
                    };
                    record.reach(visit, series, load)?;
                }
            }
            progress(&record.line(place));
        }
        record.is_whole = true;
        Ok(record.points())
    })?;
    let fields = record.into_fields(toll);
    let (code, text) = (fields.toll.code(), text(&fields));
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// Has a validator live for a while under the tracer, with nothing changed.
fn survey(series: &mut Series<'_>) -> Result<Survey, Failure> {
    let victim = series.any();
    let folder = folder_of(series, victim);
    let told = std::env::temp_dir().join(format!("quorate-survey-{}", std::process::id()));
    let usual = series.cluster.launch(victim).cloned();
    series.kill(&[victim])?;
    if let Some(usual) = usual {
        series
            .cluster
            .start_as(victim, &tracer::watching(&usual, &told))?;
    }
    series.wait_until_voting(&[victim])?;
    if let Some(ended) = series.cluster.wait_ended(Instant::now() + SURVEY)? {
        return Err(series.died(ended));
    }
    let stop = fs::metadata(&told).map_or(0, |told| told.len());
    series.cluster.release(victim)?;
    let ended = series.cluster.wait_ended(Instant::now() + STOP)?;
    if let Some(ended) = ended.filter(|ended| !ended.status.success()) {
        return Err(series.died(ended));
    }
    if ended.is_none() {
        series.cluster.kill(victim)?;
    }
    let text = fs::read(&told).unwrap_or_default();
    // Of no use any more, whether or not it could be written.
    drop(fs::remove_file(&told));
    series.mark(victim)?;
    let started = series.start(&[victim])?;
    series.time_return(&[victim], started)?;
    let stop = usize::try_from(stop).unwrap_or(usize::MAX);
    Ok(Survey::of(&String::from_utf8_lossy(&text), stop, &folder))
}

/// What is written down over the series.
#[derive(Debug, Default)]
struct Record {
    places: BTreeMap<Place, PlaceFields>,
    unexpected: Vec<String>,
    is_whole: bool,
}

impl Record {
    fn note_places(&mut self, survey: &Survey) {
        for (place, seen) in &survey.places {
            self.fields(place).traced = seen.count;
        }
    }

    fn fields(&mut self, place: &Place) -> &mut PlaceFields {
        let new = || PlaceFields {
            thread: place.thread.clone(),
            call: place.call.clone(),
            file: place.file.clone(),
            ..PlaceFields::default()
        };
        self.places.entry(place.clone()).or_insert_with(new)
    }

    fn points(&self) -> u64 {
        self.places.values().map(|place| place.met).sum()
    }

    /// Visits a place until its own call has met the fault, a few times at most.
    fn reach(
        &mut self,
        visit: Visit<'_>,
        series: &mut Series<'_>,
        load: &Load,
    ) -> Result<(), Failure> {
        for more in 0..TRIES {
            let point = visit.point + more;
            let found = Visit { point, ..visit }.make(series)?;
            load.wait_for_result()?;
            let is_over = self.take(visit.place, &found) || found.met.is_none();
            if is_over && found.met.is_some() {
                return Ok(());
            }
            if is_over {
                break;
            }
        }
        let name = visit.fault.0.to_owned();
        self.fields(visit.place).not_met.push(name);
        Ok(())
    }

    /// Notes what came of a visit; whether the place itself met the fault.
    fn take(&mut self, place: &Place, found: &Found) -> bool {
        self.unexpected.extend(found.unexpected.iter().cloned());
        if let Some(obstacle) = &found.obstacle {
            self.fields(place).obstacle = Some(obstacle.clone());
        }
        let Some((met, end)) = &found.met else {
            return false;
        };
        let fields = self.fields(met);
        fields.met += 1;
        *fields.ends.entry(end.clone()).or_default() += 1;
        met == place
    }

    fn line(&self, place: &Place) -> String {
        let ends = self.places.get(place).map(|fields| words(&fields.ends));
        format!("{place}: {}", ends.unwrap_or_default())
    }

    fn into_fields(self, toll: Toll) -> Fields {
        let (points, mut unexpected) = (self.points(), self.unexpected);
        if !self.is_whole {
            unexpected.push("interrupted before the last place".to_owned());
        } else if points == 0 {
            let what = "no call was made to fail or to kill: nothing was tested";
            unexpected.push(what.to_owned());
        }
        let mut ends = BTreeMap::new();
        for (end, count) in self.places.values().flat_map(|place| &place.ends) {
            *ends.entry(end.clone()).or_default() += count;
        }
        let unreached = self.places.iter();
        let unreached = unreached.filter(|(_, fields)| !fields.not_met.is_empty());
        let mut fields = Fields {
            points,
            unreached: unreached
                .map(|(place, fields)| format!("{place}: {}", fields.not_met.join(", ")))
                .collect(),
            sync_places: self.places.into_values().collect(),
            ends,
            toll,
        };
        fields.toll.differences.extend(unexpected);
        fields
    }
}

fn words(ends: &BTreeMap<String, u64>) -> String {
    let ends = ends.iter().map(|(end, count)| format!("{end}: {count}"));
    ends.collect::<Vec<_>>().join(", ")
}

fn text(fields: &Fields) -> String {
    let mut places = table(&["thread", "call", "file", "traced", "ends", "not met"]);
    for place in &fields.sync_places {
        let not_met = place.obstacle.clone();
        places.add_row(vec![
            place.thread.clone(),
            place.call.clone(),
            place.file.clone(),
            place.traced.to_string(),
            words(&place.ends),
            not_met.unwrap_or_else(|| place.not_met.join(", ")),
        ]);
    }
    format!(
        "{places}\n{}\n{} points; {}",
        fields.toll.text(),
        fields.points,
        words(&fields.ends)
    )
}

#[cfg(test)]
mod tests {
    use super::places::Seen;
    use super::*;
    use crate::failure::Code;

    fn place(file: &str) -> Place {
        Place {
            thread: "quorate-sync".to_owned(),
            call: "msync".to_owned(),
            file: file.to_owned(),
        }
    }

    fn met(file: &str) -> Found {
        Found {
            met: Some((place(file), "eio exit 70".to_owned())),
            ..Found::default()
        }
    }

    #[test]
    fn a_fault_counts_where_it_was_met_and_a_place_that_met_none_is_told() {
        let mut survey = Survey::default();
        for (file, count) in [("one", 3), ("two", 1)] {
            let seen = Seen {
                count,
                ..Seen::default()
            };
            survey.places.insert(place(file), seen);
        }
        let mut record = Record::default();
        record.note_places(&survey);
        assert!(record.take(&place("one"), &met("one")));
        assert!(!record.take(&place("two"), &met("one")));
        assert!(!record.take(&place("two"), &met("three")));
        record.fields(&place("two")).not_met.push("eio".to_owned());
        record.is_whole = true;
        let fields = record.into_fields(Toll::default());
        assert_eq!((fields.points, fields.ends["eio exit 70"]), (3, 3));
        let told: Vec<_> = fields
            .sync_places
            .iter()
            .map(|one| (one.traced, one.met))
            .collect();
        assert_eq!(told, [(3, 2), (0, 1), (1, 0)]);
        assert_eq!(fields.unreached, ["msync of two by quorate-sync: eio"]);
        assert_eq!(fields.toll.code(), Code::Done);
    }

    #[test]
    fn a_series_that_met_nothing_was_cut_short_or_saw_what_should_not_be_is_not_well() {
        let code = |points: u64, is_whole, unexpected: &[&str]| {
            let mut record = Record {
                is_whole,
                unexpected: unexpected.iter().map(|&what| what.to_owned()).collect(),
                ..Record::default()
            };
            record.fields(&place("one")).met = points;
            record.into_fields(Toll::default()).toll.code()
        };
        assert_eq!(code(1, true, &[]), Code::Done);
        assert_eq!(code(0, true, &[]), Code::No);
        assert_eq!(code(1, false, &[]), Code::No);
        assert_eq!(code(1, true, &["it went on"]), Code::No);
    }
}
