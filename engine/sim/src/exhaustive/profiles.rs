//! The monotone reduction: every profile of first votes and Finals, with all fallbacks that follow.
//!
//! Guards and certificates only ever gain by more records, so that of all states with the same
//! first votes and the same Finals the one with every possible fallback can show most, and the one
//! with those that honest records alone bring hands on least. Owns the profiles and the fixpoint.
//! Never: judges a rule.

use super::judge::{Heard, Judge, Standing};
use super::knowledge::Knowledge;
use super::search::tell;
use super::table::{RecordNumber, closed_first_votes};
use super::verdict::Verdict;
use super::world::World;

/// Explores a world of one window by profiles.
pub(super) fn profiles(world: &World) -> Verdict {
    let mut judge = Judge::new(world);
    for profile in first_profiles(&mut judge) {
        judge.verdict.states += world.permutations(&profile);
        judge.verdict.distinct += 1;
        if judge.verdict.has_found(world.faults_max) {
            break;
        }
        judge_profile(&mut judge, &profile);
    }
    judge.verdict
}

/// Every profile of the first window: closed first votes, and Finals on them.
pub(super) fn first_profiles(judge: &mut Judge<'_>) -> Vec<Vec<RecordNumber>> {
    let world = judge.world;
    let closed: Vec<RecordNumber> = closed_first_votes(&world.trees[0])
        .iter()
        .map(|said| judge.number(0, said))
        .collect();
    let mut knowledge = Knowledge::new(judge);
    let mut found = Vec::new();
    for votes in combinations(world, &vec![closed; world.honest.len()]) {
        let heights: Vec<Vec<RecordNumber>> = (0..votes.len())
            .map(|place| finals(&mut knowledge, place, &votes))
            .collect();
        found.extend(combinations(world, &heights));
    }
    found
}

/// Every way to choose one of each, counting once what differs only by validators of equal stake.
pub(super) fn combinations<T: Ord + Copy>(world: &World, choices: &[Vec<T>]) -> Vec<Vec<T>> {
    let mut found: Vec<Vec<T>> = vec![Vec::new()];
    for choice in choices {
        let with = |chosen: &Vec<T>| {
            let chosen = chosen.clone();
            choice.iter().map(move |&one| {
                let mut chosen = chosen.clone();
                chosen.push(one);
                chosen
            })
        };
        found = found.iter().flat_map(with).collect();
        for chosen in &mut found {
            world.sort(chosen);
        }
        found.sort_unstable();
        found.dedup();
    }
    found
}

/// The Finals that a validator may cast on its first votes, none among them.
fn finals(
    knowledge: &mut Knowledge<'_, '_>,
    place: usize,
    votes: &[RecordNumber],
) -> Vec<RecordNumber> {
    let own = *knowledge.judge.said(0, votes[place]);
    let next = knowledge.next(place, votes);
    let mut found = vec![votes[place]];
    let is_final = |&record: &RecordNumber| {
        let said = knowledge.judge.said(0, record);
        said.fin.is_some() && said.bare() == own && !said.has_fallback()
    };
    found.extend(next.records.iter().copied().filter(is_final));
    found
}

fn judge_profile(judge: &mut Judge<'_>, profile: &[RecordNumber]) {
    let world = judge.world;
    let all = judge.lies(0);
    let most = closed_over(judge, profile, &[], &all);
    let believed = judge.believed(0, &most);
    for fault in believed.faults(&world.trees[0]) {
        let told = tell(judge, &most);
        judge.verdict.violate(fault, || told);
    }
    for crashed in &world.crashes {
        // Who has crashed says no more, and nobody is sure to have heard it.
        let least = closed_over(judge, profile, crashed, &all[..1]);
        let heard = but(judge.all(0, &least), crashed);
        if !judge.is_resolved(0, &heard) {
            let told = tell(judge, &least);
            judge.verdict.note_stuck(|| told);
        }
    }
}

/// What is left without the validators at some places.
pub(super) fn but(heard: Vec<Heard>, places: &[usize]) -> Vec<Heard> {
    let numbered = heard.into_iter().enumerate();
    let left = numbered.filter(|(place, _)| !places.contains(place));
    left.map(|(_, heard)| heard).collect()
}

/// Adds every fallback that follows, to the end; Finals and first votes stay as they are.
pub(super) fn closed_over(
    judge: &mut Judge<'_>,
    profile: &[RecordNumber],
    crashed: &[usize],
    lies: &[Vec<Heard>],
) -> Vec<RecordNumber> {
    let mut state = profile.to_vec();
    let mut is_changed = true;
    while is_changed {
        is_changed = false;
        for place in (0..state.len()).filter(|place| !crashed.contains(place)) {
            for way in lies {
                let mut without = crashed.to_vec();
                without.push(place);
                let mut heard = but(judge.all(0, &state), &without);
                heard.extend_from_slice(way);
                is_changed |= fall_back(judge, 0, &mut state[place], place, &heard);
            }
        }
    }
    state
}

/// Adds the fallbacks that this knowledge allows. `true` when there were any.
pub(super) fn fall_back(
    judge: &mut Judge<'_>,
    window: usize,
    own: &mut RecordNumber,
    place: usize,
    heard: &[Heard],
) -> bool {
    let mut is_changed = false;
    loop {
        let standing = Standing {
            place,
            window,
            own: *own,
            counted: *own,
        };
        let fin = judge.said(window, *own).fin;
        let made = judge.steps(&standing, heard);
        let is_fallback = |record: &&RecordNumber| {
            let said = judge.said(window, **record);
            said.fin == fin && said.has_fallback()
        };
        let Some(&after) = made.iter().find(is_fallback) else {
            return is_changed;
        };
        *own = after;
        is_changed = true;
    }
}
