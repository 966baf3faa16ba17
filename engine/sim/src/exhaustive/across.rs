//! Two windows of one slot, the second built on the first: profiles across the hand-over.
//!
//! Who may vote for what in the second window is decided by the shipped ParentReady, counted from
//! what the honest said in the first and anything that Byzantine validators say. Owns the profiles
//! of both windows. Never: judges a rule.

use std::collections::BTreeSet;

use super::judge::{Heard, Judge, Standing};
use super::profiles::{closed_over, combinations, fall_back, first_profiles};
use super::table::{NOTHING, RecordNumber, closed_first_votes};
use super::verdict::Verdict;
use super::world::World;

/// What one validator said in both windows.
type Pair = (RecordNumber, RecordNumber);

/// Explores a world of two windows.
pub(super) fn across(world: &World) -> Verdict {
    let mut judge = Judge::new(world);
    for profile in first_profiles(&mut judge) {
        let lies = judge.lies(0);
        // Everything that can be shown of the first window, and the least that has to be.
        let most = closed_over(&mut judge, &profile, &[], &lies);
        let least = closed_over(&mut judge, &profile, &[], &lies[..1]);
        later_window(&mut judge, &most, true);
        if least != most {
            later_window(&mut judge, &least, false);
        }
        if judge.verdict.has_found(world.faults_max) {
            break;
        }
    }
    judge.verdict
}

/// Every profile of the second window over one state of the first. Profiles are counted where
/// they are most: each once.
fn later_window(judge: &mut Judge<'_>, first: &[RecordNumber], is_counted: bool) {
    let world = judge.world;
    let votes: Vec<Vec<Pair>> = (0..first.len())
        .map(|place| admissible(judge, place, first))
        .collect();
    for voted in combinations(world, &votes) {
        let finals: Vec<Vec<Pair>> = (0..voted.len())
            .map(|place| with_finals(judge, place, &voted))
            .collect();
        for profile in combinations(world, &finals) {
            if is_counted {
                judge.verdict.states += world.permutations(&profile);
            }
            judge.verdict.distinct += 1;
            judge_pair(judge, &profile, is_counted);
        }
    }
}

/// First votes that a validator may cast in the second window: Skip, and each block that R3 takes.
fn admissible(judge: &mut Judge<'_>, place: usize, first: &[RecordNumber]) -> Vec<Pair> {
    let tree = &judge.world.trees[1];
    let closed: BTreeSet<RecordNumber> = closed_first_votes(tree)
        .iter()
        .map(|said| judge.number(1, said))
        .collect();
    let mut found = BTreeSet::new();
    for way in judge.lies(0) {
        let mut heard = judge.all(0, first);
        heard.extend(way);
        let standing = Standing {
            place,
            window: 1,
            own: NOTHING,
            counted: NOTHING,
        };
        found.extend(judge.steps(&standing, &heard));
    }
    let votes = found.intersection(&closed);
    votes.map(|&vote| (first[place], vote)).collect()
}

/// The Finals that a validator may cast in the second window, none among them.
fn with_finals(judge: &mut Judge<'_>, place: usize, voted: &[Pair]) -> Vec<Pair> {
    let own = voted[place];
    let vote = *judge.said(1, own.1);
    let mut found = BTreeSet::from([own]);
    for way in judge.lies(1) {
        let standing = Standing {
            place,
            window: 1,
            own: own.1,
            counted: own.1,
        };
        let mut heard = others(judge, place, voted);
        heard.extend(way);
        let made = judge.steps(&standing, &heard);
        let finals = made.into_iter().filter(|&record| {
            let said = judge.said(1, record);
            said.fin.is_some() && said.bare() == vote && !said.has_fallback()
        });
        found.extend(finals.map(|record| (own.0, record)));
    }
    found.into_iter().collect()
}

/// What a validator hears of both windows: all the others, and its own of the first.
fn others(judge: &Judge<'_>, place: usize, said: &[Pair]) -> Vec<Heard> {
    let (first, later): (Vec<_>, Vec<_>) = said.iter().copied().unzip();
    let mut heard = judge.all(0, &first);
    let mut of_later = judge.all(1, &later);
    of_later.remove(place);
    heard.extend(of_later);
    heard
}

fn judge_pair(judge: &mut Judge<'_>, profile: &[Pair], is_most: bool) {
    let trees = &judge.world.trees;
    if is_most {
        let most = closed_later(judge, profile, false);
        let (first, later): (Vec<_>, Vec<_>) = most.iter().copied().unzip();
        let believed = [judge.believed(0, &first), judge.believed(1, &later)];
        let mut faults = believed[0].faults(&trees[0]);
        faults.extend(believed[1].faults(&trees[1]));
        faults.extend(believed[0].faults_across(&believed[1], trees));
        for fault in faults {
            let told = tell(judge, &most);
            judge.verdict.violate(fault, || told);
        }
    }
    let least = closed_later(judge, profile, true);
    let (first, later): (Vec<_>, Vec<_>) = least.iter().copied().unzip();
    let mut heard = judge.all(0, &first);
    heard.extend(judge.all(1, &later));
    if !judge.is_resolved(1, &heard) {
        let told = tell(judge, &least);
        judge.verdict.note_stuck(|| told);
    }
}

/// Adds every fallback of the second window that follows.
fn closed_later(judge: &mut Judge<'_>, profile: &[Pair], is_alone: bool) -> Vec<Pair> {
    let mut said = profile.to_vec();
    let ways = if is_alone {
        vec![Vec::new()]
    } else {
        judge.lies(1)
    };
    let mut is_changed = true;
    while is_changed {
        is_changed = false;
        for place in 0..said.len() {
            for way in &ways {
                let mut heard = others(judge, place, &said);
                heard.extend_from_slice(way);
                is_changed |= fall_back(judge, 1, &mut said[place].1, place, &heard);
            }
        }
    }
    said
}

fn tell(judge: &Judge<'_>, said: &[Pair]) -> String {
    let lines: Vec<String> = said
        .iter()
        .map(|&(first, later)| {
            format!("{:?} then {:?}", judge.said(0, first), judge.said(1, later))
        })
        .collect();
    lines.join("; ")
}
