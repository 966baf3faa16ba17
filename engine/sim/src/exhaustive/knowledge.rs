//! All that a validator may do next, whatever part of what was said has reached it.
//!
//! Owns the choice of what is heard: everything, or any earlier stage of anybody's first votes,
//! each with every Byzantine statement. Never: judges a rule.

use std::collections::HashMap;
use std::rc::Rc;

use super::judge::{Heard, Judge, Standing};
use super::table::RecordNumber;

/// Steps that are possible, and whether one is with Byzantine validators silent and everything
/// heard.
#[derive(Clone, Debug, Default)]
pub(super) struct Next {
    pub(super) records: Vec<RecordNumber>,
    pub(super) goes_on_alone: bool,
}

/// A validator by stake, its record, what it counted of it, and what it heard by stake: all that
/// the answer depends on.
type Key = Vec<(u64, RecordNumber)>;

/// Asks the judge, and remembers.
#[derive(Debug)]
pub(super) struct Knowledge<'j, 'a> {
    pub(super) judge: &'j mut Judge<'a>,
    lies: Vec<Vec<Heard>>,
    /// By what exactly was heard of first votes.
    heard: HashMap<Key, Rc<[RecordNumber]>>,
    /// By all that was said first, whatever of it was heard.
    said: HashMap<Key, Rc<[RecordNumber]>>,
}

impl<'j, 'a> Knowledge<'j, 'a> {
    pub(super) fn new(judge: &'j mut Judge<'a>) -> Self {
        Self {
            lies: judge.lies(0),
            judge,
            heard: HashMap::new(),
            said: HashMap::new(),
        }
    }

    /// What one validator may do next when everybody has said what the state says.
    pub(super) fn next(&mut self, place: usize, state: &[RecordNumber]) -> Next {
        let own = state[place];
        let mut others = self.judge.all(0, state);
        others.remove(place);
        let standing = Standing {
            place,
            window: 0,
            own,
            counted: own,
        };
        let mut next = Next::default();
        for way in 0..self.lies.len() {
            let mut heard = others.clone();
            heard.extend_from_slice(&self.lies[way]);
            let made = self.judge.steps(&standing, &heard);
            next.goes_on_alone |= way == 0 && !made.is_empty();
            next.records.extend(made);
        }
        next.records
            .extend_from_slice(&self.in_part(place, own, &others));
        next.records.sort_unstable();
        next.records.dedup();
        next
    }

    /// Steps possible when some part of the first votes was heard.
    fn in_part(&mut self, place: usize, own: RecordNumber, others: &[Heard]) -> Rc<[RecordNumber]> {
        let mut bare = others.to_vec();
        for heard in &mut bare {
            heard.record = self.judge.tables[0].bare(heard.record);
        }
        let key = self.key(place, &[own], &bare);
        if let Some(known) = self.said.get(&key) {
            return Rc::clone(known);
        }
        let mut made = Vec::new();
        let stages = self.judge.tables[0].stages(own).to_vec();
        for counted in stages {
            let standing = Standing {
                place,
                window: 0,
                own,
                counted,
            };
            for part in self.parts(&bare) {
                made.extend_from_slice(&self.exactly(&standing, &part));
            }
        }
        made.sort_unstable();
        made.dedup();
        let made: Rc<[RecordNumber]> = made.into();
        self.said.insert(key, Rc::clone(&made));
        made
    }

    /// Every choice of a stage of each record.
    fn parts(&self, bare: &[Heard]) -> Vec<Vec<Heard>> {
        let mut parts = vec![Vec::new()];
        for heard in bare {
            let stages = self.judge.tables[0].stages(heard.record);
            let staged = |part: &Vec<Heard>| {
                let part = part.clone();
                stages.iter().map(move |&record| {
                    let mut part = part.clone();
                    part.push(Heard { record, ..*heard });
                    part
                })
            };
            parts = parts.iter().flat_map(staged).collect();
        }
        parts
    }

    fn exactly(&mut self, standing: &Standing, part: &[Heard]) -> Rc<[RecordNumber]> {
        let key = self.key(standing.place, &[standing.own, standing.counted], part);
        if let Some(known) = self.heard.get(&key) {
            return Rc::clone(known);
        }
        let mut made = Vec::new();
        for way in 0..self.lies.len() {
            let mut heard = part.to_vec();
            heard.extend_from_slice(&self.lies[way]);
            made.extend(self.judge.steps(standing, &heard));
        }
        made.sort_unstable();
        made.dedup();
        let made: Rc<[RecordNumber]> = made.into();
        self.heard.insert(key, Rc::clone(&made));
        made
    }

    fn key(&self, place: usize, own: &[RecordNumber], heard: &[Heard]) -> Key {
        let world = self.judge.world;
        let stake = world.honest[place].1;
        let mut key: Key = own.iter().map(|&record| (stake, record)).collect();
        let others = heard
            .iter()
            .map(|heard| (world.set.stake(heard.from).amount(), heard.record));
        key.extend(others);
        key[own.len()..].sort_unstable();
        key
    }
}
