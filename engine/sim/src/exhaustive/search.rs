//! The plain search: every state that any interleaving reaches.
//!
//! A state is what each honest validator has said. Owns the set of states reached and the walk.
//! Never: judges a rule.

use std::collections::HashSet;

use super::judge::Judge;
use super::knowledge::Knowledge;
use super::table::{NOTHING, RecordNumber};
use super::verdict::Verdict;
use super::world::World;

type State = Box<[RecordNumber]>;

/// Explores a world of one window to its end.
pub(super) fn search(world: &World) -> Verdict {
    let mut judge = Judge::new(world);
    let mut knowledge = Knowledge::new(&mut judge);
    let start: State = vec![NOTHING; world.honest.len()].into();
    let mut reached: HashSet<State> = HashSet::from([start.clone()]);
    let mut open = vec![start];
    while let Some(state) = open.pop() {
        let verdict = &mut knowledge.judge.verdict;
        verdict.states += world.permutations(&state);
        verdict.distinct += 1;
        if verdict.has_found(world.faults_max) {
            break;
        }
        let mut is_at_rest = true;
        for place in 0..state.len() {
            let is_twin = place > 0
                && state[place] == state[place - 1]
                && world.honest[place].1 == world.honest[place - 1].1;
            if is_twin {
                continue;
            }
            let next = knowledge.next(place, &state);
            is_at_rest &= !next.goes_on_alone;
            for record in next.records {
                let mut after = state.clone();
                after[place] = record;
                world.sort(&mut after);
                if !reached.contains(&after) {
                    reached.insert(after.clone());
                    open.push(after);
                }
            }
        }
        judge_state(knowledge.judge, &state, is_at_rest);
    }
    judge.verdict
}

/// Judges one state: what anybody may believe in it, and, where nobody can go on without the
/// Byzantine validators, that it hands something on.
pub(super) fn judge_state(judge: &mut Judge<'_>, state: &[RecordNumber], is_at_rest: bool) {
    let world = judge.world;
    let believed = judge.believed(0, state);
    for fault in believed.faults(&world.trees[0]) {
        let told = tell(judge, state);
        judge.verdict.violate(fault, || told);
    }
    for crashed in &world.crashes {
        let mut heard = judge.all(0, state);
        let mut place = 0;
        heard.retain(|_| {
            place += 1;
            !crashed.contains(&(place - 1))
        });
        let rests = if crashed.is_empty() {
            is_at_rest
        } else {
            judge.is_at_rest(&heard)
        };
        if rests && !judge.is_resolved(0, &heard) {
            let told = tell(judge, state);
            judge.verdict.note_stuck(|| told);
        }
    }
}

/// A state in words.
pub(super) fn tell(judge: &Judge<'_>, state: &[RecordNumber]) -> String {
    let said = state.iter().map(|&record| judge.said(0, record));
    let lines: Vec<String> = said.map(|said| format!("{said:?}")).collect();
    lines.join("; ")
}
