//! `quorate sim --nightly`: the long list of sweeps, each by its own command line.
//!
//! Owns which sweeps a night is made of and how many seeds each has. Never: judges a run.

use std::time::Instant;

use quorate_sim::{
    ActorName, Byzantine, Failure as RunFailure, ImagesSummary, Scenario, Shown, Summary,
    SweepOptions, images, sweep,
};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::output::{Report, progress};

/// Validators and seeds of the sweeps with every fault: 100,000 in all.
const MIXED: [(u16, u64); 5] = [
    (4, 60_000),
    (5, 15_000),
    (6, 15_000),
    (7, 5_000),
    (10, 5_000),
];
/// Validators and seeds of the sweeps with one or two kinds of Byzantine validators.
const DRAWN: [(u16, u64); 3] = [(4, 5_000), (6, 5_000), (7, 2_000)];
/// Validators and seeds of the sweeps with one kind of Byzantine validator: 20,000 of each kind.
const ACTORS: [(u16, u64); 3] = [(4, 14_000), (6, 3_000), (7, 3_000)];
/// Those who have more to say where another one shows two branches of its windows.
const BESIDE_FORKS: [ActorName; 3] = [
    ActorName::Conflicter,
    ActorName::RuleXBreaker,
    ActorName::Nuller,
];
/// Validators and seeds of the sweeps with such a pair: enough validators that two are Byzantine.
const PAIRS: [(u16, u64); 2] = [(7, 2_000), (10, 1_000)];
/// Validators and seeds of the sweeps in which logs are pruned and validators join. A run of them
/// has as many blocks as twenty others.
const JOINS: [(u16, u64); 3] = [(4, 2_000), (5, 1_000), (7, 500)];
/// Validators and seeds of the sweeps in which a whole site loses its power.
const SITES: [(u16, u64); 3] = [(4, 10_000), (5, 5_000), (7, 5_000)];
/// Validators and seeds of those that lie to whoever joins, or about what is on their disks.
const JOIN_ACTORS: [(u16, u64); 1] = [(4, 1_000)];
const SITE_ACTORS: [(u16, u64); 1] = [(4, 20_000)];
/// Validators and seeds of the sweeps with twins: more than a million steps in all.
const TWINS: [(u16, u64); 5] = [(4, 40), (5, 40), (6, 40), (7, 40), (10, 40)];
/// Crash images of a log.
const IMAGES: u64 = 100_000;
/// From so many seeds on a sweep has to show all that can happen in it.
pub(super) const SEEDS_FOR_ALL: u64 = 1_000;

/// How much of the night.
pub(super) struct Plan<'a> {
    /// Hundredths of the full numbers of seeds.
    pub(super) percent: f64,
    /// The first seed of every sweep.
    pub(super) from: u64,
    /// Only the sweeps whose names contain this.
    pub(super) part: &'a str,
    pub(super) threads: usize,
}

/// One sweep of the night.
pub(super) struct Sweep {
    pub(super) name: String,
    pub(super) options: SweepOptions,
    /// Everything has to happen in it when it is long enough.
    pub(super) wants_all: bool,
}

/// What came of one sweep.
#[derive(Serialize)]
struct Row {
    name: String,
    /// Shows it again.
    command: String,
    first: u64,
    seeds: u64,
    steps: u64,
    finalized: u64,
    violations: u64,
    stuck: u64,
    /// What should have happened and never did; of short sweeps nothing is asked.
    unreached: Vec<&'static str>,
    /// What those that were played often never did of all that they are for.
    inert: Vec<String>,
    wall_s: f64,
    /// What other pieces of the sweep can be added to.
    #[serde(flatten)]
    shown: Shown,
    failures: Vec<RunFailure>,
}

/// What came of all.
#[derive(Serialize)]
struct Night {
    seeds: u64,
    steps: u64,
    finalized: u64,
    violations: u64,
    stuck: u64,
    wall_s: f64,
    sweeps: Vec<Row>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<ImagesSummary>,
}

/// Runs the night, or a part of it.
///
/// # Errors
/// No sweep has such a name.
pub(super) fn run(plan: &Plan<'_>) -> Result<Report, Failure> {
    let begun = Instant::now();
    let sweeps: Vec<Sweep> = sweeps(plan)
        .into_iter()
        .filter(|sweep| sweep.name.contains(plan.part))
        .collect();
    let has_images = "images".contains(plan.part);
    if sweeps.is_empty() && !has_images {
        return Err(
            Failure::usage(format!("no sweep is called {}", plan.part)).remedy(
                "name mixed, drawn, join, site, twins, images or what a Byzantine validator plays",
            ),
        );
    }
    let rows: Vec<Row> = sweeps.iter().map(run_one).collect();
    let images = has_images.then(|| {
        let count = scaled(IMAGES, plan.percent);
        images(plan.from, count, plan.threads)
    });
    let sum = |of: fn(&Row) -> u64| rows.iter().map(of).sum::<u64>();
    let night = Night {
        seeds: sum(|row| row.seeds),
        steps: sum(|row| row.steps),
        finalized: sum(|row| row.finalized),
        violations: sum(|row| row.violations),
        stuck: sum(|row| row.stuck),
        wall_s: begun.elapsed().as_secs_f64(),
        images,
        sweeps: rows,
    };
    let code = if night.is_good() {
        Code::Done
    } else {
        Code::No
    };
    Ok(Report::new(&night, night.text())?.with_code(code))
}

/// The sweeps of a full night.
pub(super) fn whole() -> Vec<Sweep> {
    sweeps(&Plan {
        percent: 100.0,
        from: 0,
        part: "",
        threads: 1,
    })
}

/// The whole list.
fn sweeps(plan: &Plan<'_>) -> Vec<Sweep> {
    let entry = |name: &str, (validators, seeds), scenario, byzantine, wants_all| Sweep {
        name: format!("{name}-{validators}"),
        options: SweepOptions {
            seeds: plan.from..plan.from.saturating_add(scaled(seeds, plan.percent)),
            validators,
            scenario,
            byzantine,
            threads: plan.threads,
        },
        wants_all,
    };
    let honest = Byzantine::default();
    let mixed = MIXED.map(|size| entry("mixed", size, Scenario::Mixed, honest, true));
    let drawn = DRAWN.map(|size| entry("drawn", size, Scenario::Byzantine, honest, true));
    let twins = TWINS.map(|size| {
        let has_twins = Byzantine {
            has_twins: true,
            ..honest
        };
        entry("twins", size, Scenario::Mixed, has_twins, false)
    });
    let actors = ActorName::all().flat_map(|actor| {
        let acting = Byzantine {
            actors: [Some(actor), None],
            ..honest
        };
        let world = actor.world();
        let sizes: &[(u16, u64)] = match world {
            Scenario::Join => &JOIN_ACTORS,
            Scenario::BlackoutAsync => &SITE_ACTORS,
            _ => &ACTORS,
        };
        sizes.iter().map(move |&size| {
            // Turns are marked by censors alone, so a sweep of theirs has to show one.
            let is_long_censor = actor == ActorName::Censor && size == ACTORS[0];
            let wants_all = world != Scenario::Mixed || is_long_censor;
            entry(actor.name(), size, world, acting, wants_all)
        })
    });
    let pairs = BESIDE_FORKS.into_iter().flat_map(|voter| {
        let acting = Byzantine {
            actors: [Some(ActorName::Equivocator), Some(voter)],
            ..honest
        };
        let name = format!("equivocator-{voter}");
        PAIRS.map(|size| entry(&name, size, Scenario::Mixed, acting, false))
    });
    let joins = JOINS.map(|size| entry("join", size, Scenario::Join, honest, true));
    let sites = SITES.map(|size| entry("site", size, Scenario::BlackoutAsync, honest, true));
    let mut all: Vec<Sweep> = mixed.into_iter().chain(drawn).collect();
    all.extend(joins.into_iter().chain(sites));
    all.extend(actors);
    all.extend(pairs);
    all.extend(twins);
    all
}

/// Reads a part of the night: more than none of it, and no more than a hundred nights.
pub(super) fn parse_percent(text: &str) -> Result<f64, String> {
    let percent: f64 = text.parse().map_err(|error| format!("{text}: {error}"))?;
    if percent > 0.0 && percent <= 10_000.0 {
        Ok(percent)
    } else {
        Err(format!("{text}: give more than 0 and at most 10000"))
    }
}

/// A part of a number, at least one.
fn scaled(number: u64, percent: f64) -> u64 {
    // The numbers of seeds are far below 2^52.
    ((number as f64 * percent / 100.0).round() as u64).max(1)
}

fn run_one(sweep_of: &Sweep) -> Row {
    let begun = Instant::now();
    let options = &sweep_of.options;
    let summary = sweep(options, &|failure| progress(&super::line(failure)));
    let is_long = summary.seeds >= SEEDS_FOR_ALL;
    let shown = summary.shown();
    let Summary {
        seeds,
        steps,
        finalized,
        violations,
        stuck,
        mut unreached,
        inert,
        failures,
        ..
    } = summary;
    if !(sweep_of.wants_all && is_long) {
        unreached.clear();
    }
    let row = Row {
        name: sweep_of.name.clone(),
        command: command(options),
        first: options.seeds.start,
        seeds,
        steps,
        finalized,
        violations,
        stuck,
        unreached,
        inert,
        wall_s: begun.elapsed().as_secs_f64(),
        shown,
        failures,
    };
    progress(&row.text());
    row
}

/// The command line of one sweep.
pub(super) fn command(options: &SweepOptions) -> String {
    let SweepOptions {
        seeds,
        validators,
        scenario,
        byzantine,
        ..
    } = options;
    format!(
        "quorate sim --seeds {}..{} --validators {validators} --scenario {scenario}{byzantine}",
        seeds.start, seeds.end
    )
}

/// What should have been shown and was not.
pub(super) fn never(unreached: &[&str], inert: &[String]) -> String {
    let inert = inert.iter().map(String::as_str);
    let never: Vec<&str> = unreached.iter().copied().chain(inert).collect();
    if never.is_empty() {
        "-".to_owned()
    } else {
        never.join(", ")
    }
}

impl Row {
    const fn is_good(&self) -> bool {
        let is_right = self.violations == 0 && self.stuck == 0;
        is_right && self.unreached.is_empty() && self.inert.is_empty()
    }

    /// A line of a table.
    fn text(&self) -> String {
        format!(
            "| `{}` | {} seeds, {} steps, {} blocks | {} | {} | {} | {:.0} s |",
            self.command,
            self.seeds,
            self.steps,
            self.finalized,
            self.violations,
            self.stuck,
            never(&self.unreached, &self.inert),
            self.wall_s,
        )
    }
}

impl Night {
    fn is_good(&self) -> bool {
        let images = self.images.as_ref();
        let has_good_images = images.is_none_or(ImagesSummary::is_good);
        self.sweeps.iter().all(Row::is_good) && has_good_images
    }

    fn text(&self) -> String {
        let images = self.images.as_ref().map_or_else(String::new, |images| {
            format!(
                "; {} crash images, {} lost records, {} wrong cuts, {} taken for damage",
                images.images, images.lost, images.wrong_cuts, images.mistaken_for_damage
            )
        });
        format!(
            "{} sweeps in {:.0} s: {} seeds, {} steps, {} blocks, {} violations, {} stuck{images}",
            self.sweeps.len(),
            self.wall_s,
            self.seeds,
            self.steps,
            self.finalized,
            self.violations,
            self.stuck,
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_full_night_has_the_numbers_that_are_promised() {
        let plan = Plan {
            percent: 100.0,
            from: 7,
            part: "",
            threads: 1,
        };
        let all = sweeps(&plan);
        let seeds_of = |part: &str| -> u64 {
            let meant = all.iter().filter(|sweep| sweep.name.starts_with(part));
            meant.map(|sweep| sweep.options.seeds.end - 7).sum()
        };
        assert_eq!(seeds_of("mixed"), 100_000);
        for actor in ActorName::all().filter(|actor| *actor != ActorName::FalseSource) {
            assert!(seeds_of(actor.name()) >= 20_000, "{actor:?}");
        }
        assert!(seeds_of("join-") >= SEEDS_FOR_ALL);
        assert_eq!(seeds_of("site-"), 20_000);
        assert!(seeds_of(ActorName::FalseSource.name()) >= SEEDS_FOR_ALL);
        let names: std::collections::BTreeSet<&String> =
            all.iter().map(|sweep| &sweep.name).collect();
        assert_eq!(names.len(), all.len(), "each has a name of its own");
    }

    #[test]
    fn a_night_with_an_inert_actor_is_not_good() {
        let row = |inert: &[&str]| Row {
            name: "withholder".to_owned(),
            command: String::new(),
            first: 0,
            seeds: 40,
            steps: 0,
            finalized: 0,
            violations: 0,
            stuck: 0,
            unreached: Vec::new(),
            inert: inert.iter().map(|&one| one.to_owned()).collect(),
            wall_s: 0.0,
            shown: Shown::default(),
            failures: Vec::new(),
        };
        assert!(row(&[]).is_good());
        let idle = row(&["withholder: delayed vote"]);
        assert!(!idle.is_good() && idle.text().contains("withholder: delayed vote"));
    }

    #[test]
    fn every_actor_is_played_often_enough_to_be_asked_for_its_deeds() {
        for actor in ActorName::all() {
            let all = whole();
            let is_own = |sweep: &&Sweep| sweep.options.byzantine.actors == [Some(actor), None];
            let own: Vec<&Sweep> = all.iter().filter(is_own).collect();
            assert!(!own.is_empty(), "{actor}");
            for options in own.into_iter().map(|sweep| &sweep.options) {
                assert_eq!(options.scenario, actor.world(), "{actor}");
                let seeds = options.seeds.end - options.seeds.start;
                assert!(seeds >= actor.runs_for_deeds(), "{actor}");
            }
        }
    }

    #[test]
    fn who_votes_for_either_branch_is_played_beside_one_who_shows_two() {
        let all = whole();
        for voter in BESIDE_FORKS {
            let pair = [Some(ActorName::Equivocator), Some(voter)];
            let sizes = all
                .iter()
                .filter(|sweep| sweep.options.byzantine.actors == pair)
                .map(|sweep| sweep.options.validators);
            // One of four plays both parts by itself.
            assert_eq!(sizes.collect::<Vec<_>>(), [7, 10], "{voter}");
        }
    }

    #[test]
    fn a_part_is_a_positive_number() {
        assert_eq!(parse_percent("0.5"), Ok(0.5));
        for wrong in ["0", "-1", "NaN", "inf", "1e9", "", "half"] {
            assert!(parse_percent(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn a_part_of_a_night_still_runs_every_sweep() {
        let plan = Plan {
            percent: 0.001,
            from: 0,
            part: "",
            threads: 1,
        };
        assert!(
            sweeps(&plan)
                .iter()
                .all(|sweep| !sweep.options.seeds.is_empty())
        );
    }
}
