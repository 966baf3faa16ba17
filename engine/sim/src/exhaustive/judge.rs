//! The shipped rules and counts, asked about records of a small world.
//!
//! Owns one probe a validator and the tables of records. What a rule makes of a record is judged
//! at once: it must extend the record, must not contradict itself, and must rest on a block that
//! is here and that an honest validator stands behind. Never: decides what a rule allows.

use quorate_consensus::machine::Disposition;
use quorate_consensus::probe::Probe;
use quorate_consensus::record::Record;
use quorate_consensus::types::{Index, ValidatorIndex};

use super::facts::{Believed, Fault};
use super::said::{First, Said};
use super::table::{NOTHING, RecordNumber, Table};
use super::tree::{BlockMask, BlockNumber};
use super::verdict::Verdict;
use super::world::World;

const NO_FORM: Fault = "a rule makes a record outside its one form";
const INCONSISTENT: Fault = "a rule makes a record that contradicts itself";
const NOT_ORDERED: Fault = "a rule makes a record that does not extend the one before";
const NO_BODY: Fault = "a vote for a block whose body is not here";
const NOBODY_HONEST: Fault =
    "a vote for a block that neither its leader nor an honest vote brought";
const SUPPORT_FROM_NOWHERE: Fault =
    "fallback support for a block that no honest validator voted for";
const NO_STOP: Fault = "a fallback is due below or just above the tip, and no stop is called for";
const NOT_COUNTED: Fault = "a record that nothing speaks against is not counted";
const SUMS_DIFFER: Fault = "the running sums differ from a count from scratch";
const UNKNOWN_FACT: Fault = "a fact about a block that is not there";
const SIGNED_DIFFER: Fault = "signed records amount to something else than counted ones";
const PARENTS_DIFFER: Fault = "a window hands on other parents than its certificates allow";

/// What the rules and counts must keep however many validators are Byzantine.
#[cfg(test)]
pub(super) const ALWAYS: [Fault; 6] = [
    NO_FORM,
    INCONSISTENT,
    NOT_ORDERED,
    NO_BODY,
    NOT_COUNTED,
    SUMS_DIFFER,
];

/// A record that somebody showed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Heard {
    pub(super) from: ValidatorIndex,
    pub(super) window: usize,
    pub(super) record: RecordNumber,
}

/// Who judges what in a window: a place among the honest, its record, and how much of that its
/// own count has seen.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    pub(super) place: usize,
    pub(super) window: usize,
    pub(super) own: RecordNumber,
    pub(super) counted: RecordNumber,
}

/// The shipped rules over one world.
#[derive(Debug)]
pub(super) struct Judge<'a> {
    pub(super) world: &'a World,
    pub(super) tables: Vec<Table>,
    pub(super) verdict: Verdict,
    pub(super) probes: Vec<Probe>,
    /// What a Byzantine validator can show of its first votes in each window.
    lies: Vec<Vec<RecordNumber>>,
}

impl<'a> Judge<'a> {
    pub(super) fn new(world: &'a World) -> Self {
        let mut tables: Vec<Table> = world.trees.iter().map(Table::new).collect();
        let lies = tables
            .iter_mut()
            .zip(&world.trees)
            .map(|(table, tree)| table.first_votes(tree))
            .collect();
        let probe = |&(index, _): &(ValidatorIndex, u64)| Probe::new(world.set.clone(), index);
        Self {
            world,
            tables,
            verdict: Verdict::default(),
            probes: world.honest.iter().map(probe).collect(),
            lies,
        }
    }

    pub(super) fn number(&mut self, window: usize, said: &Said) -> RecordNumber {
        self.tables[window].number(&self.world.trees[window], said)
    }

    pub(super) fn said(&self, window: usize, number: RecordNumber) -> &Said {
        self.tables[window].said(number)
    }

    /// Every way in which the Byzantine validators can speak up to a window, silence first.
    pub(super) fn lies(&self, window: usize) -> Vec<Vec<Heard>> {
        let mut ways = vec![Vec::new()];
        for at in 0..=window {
            for &from in &self.world.byzantine {
                let said = |way: &Vec<Heard>| {
                    let way = way.clone();
                    self.lies[at].iter().map(move |&record| {
                        let mut way = way.clone();
                        way.push(Heard {
                            from,
                            window: at,
                            record,
                        });
                        way
                    })
                };
                ways = ways.iter().flat_map(said).collect();
            }
        }
        ways
    }

    /// All that any single rule may make of the own record when exactly this was heard.
    pub(super) fn steps(&mut self, standing: &Standing, heard: &[Heard]) -> Vec<RecordNumber> {
        let world = self.world;
        let tree = &world.trees[standing.window];
        let own_index = world.honest[standing.place].0;
        let own_heard = Heard {
            from: own_index,
            window: standing.window,
            record: standing.counted,
        };
        self.hear(standing.place, heard.iter().chain([&own_heard]), false);
        let probe = &mut self.probes[standing.place];
        for earlier in &world.trees[..standing.window] {
            for block in &earlier.blocks {
                probe.set_body(&block.point(), true, true);
            }
        }
        if standing.window > 0 {
            let _parents = probe.parents(tree.window);
        }
        probe.stand(
            tree.window,
            self.tables[standing.window].record(standing.own),
        );
        let own = *self.said(standing.window, standing.own);
        let honest = self.honest_votes(standing, heard);
        let mut made = Vec::new();
        // A window that is still open allows no fallback: it is asked for all the same.
        self.fallbacks(standing, honest, &mut made);
        if own.is_closed(tree) {
            self.late_votes(standing, &mut made);
        } else {
            self.first_votes(standing, honest, &mut made);
        }
        let fin = self.probes[standing.place].final_vote(tree.window);
        made.extend(fin.and_then(|record| self.take(standing, &record)));
        made.sort_unstable();
        made.dedup();
        made
    }

    /// Blocks that honest validators are known to have voted for first.
    fn honest_votes(&self, standing: &Standing, heard: &[Heard]) -> BlockMask {
        let tree = &self.world.trees[standing.window];
        let is_honest = |heard: &&Heard| {
            heard.window == standing.window && !self.world.byzantine.contains(&heard.from)
        };
        let own = self.said(standing.window, standing.counted).chain(tree);
        heard.iter().filter(is_honest).fold(own, |mask, heard| {
            mask | self.said(heard.window, heard.record).chain(tree)
        })
    }

    fn first_votes(
        &mut self,
        standing: &Standing,
        honest: BlockMask,
        made: &mut Vec<RecordNumber>,
    ) {
        let tree = &self.world.trees[standing.window];
        let own = *self.said(standing.window, standing.own);
        let next = own.tip.map_or(0, |tip| tree.block(tip).slot + 1);
        for number in tree.numbers().filter(|&at| tree.block(at).slot == next) {
            for is_authentic in [true, false] {
                let probe = &mut self.probes[standing.place];
                probe.set_body(&tree.block(number).point(), true, is_authentic);
                let voted = probe.first_vote(tree.window);
                probe.set_body(&tree.block(number).point(), false, false);
                let Some(voted) = voted.and_then(|record| self.take(standing, &record)) else {
                    continue;
                };
                if self.said(standing.window, voted).tip != Some(number) {
                    self.violate(standing, NO_BODY);
                } else if !is_authentic && honest & (1 << number) == 0 {
                    self.violate(standing, NOBODY_HONEST);
                } else {
                    made.push(voted);
                }
            }
        }
        let stopped = self.probes[standing.place].stop(tree.window);
        let stopped = stopped.and_then(|record| self.take(standing, &record));
        if let Some(stopped) = stopped {
            made.push(stopped);
            self.check_stop(standing, stopped);
        }
    }

    /// R5 sees what R6 and R7 would do at or just above the tip after a stop.
    fn check_stop(&mut self, standing: &Standing, stopped: RecordNumber) {
        let tree = &self.world.trees[standing.window];
        let probe = &mut self.probes[standing.place];
        if probe.is_stop_called_for(tree.window) {
            return;
        }
        for block in &tree.blocks {
            probe.set_body(&block.point(), true, true);
        }
        probe.stand(tree.window, self.tables[standing.window].record(stopped));
        let skipped = probe.skip_fallback(tree.window);
        let supported = probe.also(tree.window);
        for block in &tree.blocks {
            probe.set_body(&block.point(), false, false);
        }
        probe.stand(
            tree.window,
            self.tables[standing.window].record(standing.own),
        );
        let above = self.said(standing.window, standing.own).tip;
        let above = above.map_or(0, |tip| u32::from(tree.block(tip).slot) + 1);
        let skips = skipped.and_then(|record| record.skip_fallback);
        let is_skip_due = skips.is_some_and(|index| index.number() <= above);
        let rivals = supported.map_or_else(Vec::new, |record| record.also);
        if is_skip_due || rivals.iter().any(|(index, _)| index.number() < above) {
            self.violate(standing, NO_STOP);
        }
    }

    fn fallbacks(&mut self, standing: &Standing, honest: BlockMask, made: &mut Vec<RecordNumber>) {
        let tree = &self.world.trees[standing.window];
        let cover = self.said(standing.window, standing.own).cover(tree);
        // Bodies come one by one: each block by itself can be the one that is here.
        for number in tree.numbers() {
            let probe = &mut self.probes[standing.place];
            probe.set_body(&tree.block(number).point(), true, true);
            let supported = probe.also(tree.window);
            probe.set_body(&tree.block(number).point(), false, false);
            let Some(supported) = supported.and_then(|record| self.take(standing, &record)) else {
                continue;
            };
            let new = self.said(standing.window, supported).cover(tree) & !cover;
            if new & !(1 << number) != 0 {
                self.violate(standing, NO_BODY);
            } else if new & !honest != 0 {
                self.violate(standing, SUPPORT_FROM_NOWHERE);
            } else {
                made.push(supported);
            }
        }
        let skipped = self.probes[standing.place].skip_fallback(tree.window);
        made.extend(skipped.and_then(|record| self.take(standing, &record)));
    }

    /// A closed window takes no first vote any more, whatever comes.
    fn late_votes(&mut self, standing: &Standing, made: &mut Vec<RecordNumber>) {
        let tree = &self.world.trees[standing.window];
        for block in &tree.blocks {
            self.probes[standing.place].set_body(&block.point(), true, true);
        }
        let late = self.probes[standing.place].first_vote(tree.window);
        made.extend(late.and_then(|record| self.take(standing, &record)));
    }

    /// Judges what a rule made of the own record; none when it must not be.
    fn take(&mut self, standing: &Standing, record: &Record) -> Option<RecordNumber> {
        let tree = &self.world.trees[standing.window];
        let Some(new) = Said::read(tree, record) else {
            self.violate(standing, NO_FORM);
            return None;
        };
        let own = *self.said(standing.window, standing.own);
        if !new.is_consistent(tree) {
            self.violate(standing, INCONSISTENT);
            return None;
        }
        if !own.may_become(&new, tree) || own == new {
            self.violate(standing, NOT_ORDERED);
            return None;
        }
        Some(self.number(standing.window, &new))
    }

    fn violate(&mut self, standing: &Standing, fault: Fault) {
        let own = *self.said(standing.window, standing.own);
        let tell = || format!("validator {} with {own:?}", standing.place);
        self.verdict.violate(fault, tell);
    }

    /// Lets a probe forget all and hear this.
    fn hear<'b>(&mut self, place: usize, heard: impl Iterator<Item = &'b Heard>, signed: bool) {
        let probe = &mut self.probes[place];
        probe.forget();
        for block in self.world.trees.iter().flat_map(|tree| &tree.blocks) {
            probe.learn(&block.header, block.id);
        }
        for heard in heard.filter(|heard| heard.record != NOTHING) {
            let record = self.tables[heard.window].record(heard.record);
            let window = self.world.trees[heard.window].window;
            if signed {
                probe.hear_signed(heard.from, window, record);
            } else if probe.hear(heard.from, window, record) != Disposition::Applied {
                let tell = || format!("{record:?}");
                self.verdict.violate(NOT_COUNTED, tell);
            }
        }
    }

    /// What anybody may believe of a window when the honest validators have said this: for each
    /// end of a chain, and for Skip, every Byzantine validator says what serves it best.
    pub(super) fn believed(&mut self, window: usize, state: &[RecordNumber]) -> Believed {
        let tree = &self.world.trees[window];
        let vote = |tip: BlockNumber| Said {
            tip: Some(tip),
            fin: Some(tree.block(tip).slot),
            ..Said::default()
        };
        let skip = Said {
            stop: true,
            ..Said::default()
        };
        let best: Vec<Said> = tree.leaves().map(vote).chain([skip]).collect();
        let mut believed = Believed::default();
        for said in best {
            let record = self.number(window, &said);
            let lie = |&from: &ValidatorIndex| Heard {
                from,
                window,
                record,
            };
            let mut heard = self.all(window, state);
            heard.extend(self.world.byzantine.iter().map(lie));
            self.hear(0, heard.iter(), false);
            self.recount(window, &heard);
            match Believed::read(tree, &self.probes[0].facts(tree.window)) {
                Some(facts) => believed.join(&facts),
                None => self.verdict.violate(UNKNOWN_FACT, String::new),
            }
        }
        believed
    }

    /// All honest records of a window.
    pub(super) fn all(&self, window: usize, state: &[RecordNumber]) -> Vec<Heard> {
        let honest = self.world.honest.iter().zip(state);
        let heard = |(&(from, _), &record): (&(ValidatorIndex, u64), &RecordNumber)| Heard {
            from,
            window,
            record,
        };
        honest.map(heard).collect()
    }

    /// Counts everything from scratch and compares.
    pub(super) fn recount(&mut self, window: usize, heard: &[Heard]) {
        let tree = &self.world.trees[window];
        let weight = |holds: &dyn Fn(&Said) -> bool| -> u64 {
            let counted = heard
                .iter()
                .filter(|heard| holds(self.said(window, heard.record)));
            let stake = |heard: &Heard| self.world.set.stake(heard.from).amount();
            counted.map(stake).sum()
        };
        let mut is_same = true;
        for sums in self.probes[0].sums(tree.window) {
            let Some(number) = tree.number_of(sums.id) else {
                continue;
            };
            let slot = tree.block(number).slot;
            let voted = |said: &Said| said.first(tree, slot) == First::Block(number);
            let finals = |said: &Said| voted(said) && said.fin.is_some_and(|fin| fin >= slot);
            let backs = |said: &Said| voted(said) || said.cover(tree) & (1 << number) != 0;
            is_same &= sums.notar.amount() == weight(&voted)
                && sums.finals.amount() == weight(&finals)
                && sums.support.amount() == weight(&backs);
        }
        for slot in 0..tree.slots {
            let is_known = |said: &Said| said.first(tree, slot) != First::Unknown;
            let known = self.probes[0].known(tree.window, Index::new(u32::from(slot)));
            is_same &= known.amount() == weight(&is_known);
        }
        if !is_same {
            self.verdict.violate(SUMS_DIFFER, || format!("{heard:?}"));
        }
    }

    /// Whether the records of some validators, signed and heard by everyone, hand a parent on from
    /// a window, shown by signatures.
    pub(super) fn is_resolved(&mut self, window: usize, heard: &[Heard]) -> bool {
        self.hear(0, heard.iter(), true);
        let tree = &self.world.trees[window];
        let probe = &mut self.probes[0];
        let (counted, signed) = (probe.facts(tree.window), probe.signed_facts(tree.window));
        let facts = Believed::read(tree, &counted);
        if facts != Believed::read(tree, &signed) {
            self.verdict.violate(SIGNED_DIFFER, || format!("{heard:?}"));
        }
        let parents = probe.parents(tree.window.next());
        if window == 0 {
            let facts = facts.unwrap_or_default();
            let (mask, is_skipped) = facts.handed_on(tree);
            let named: Option<BlockMask> = parents
                .iter()
                .filter(|(id, _)| *id != self.world.set.genesis().id)
                .try_fold(0, |mask, &(id, _)| Some(mask | (1 << tree.number_of(id)?)));
            let has_genesis = parents.len() > mask.count_ones() as usize;
            if named != Some(mask) || has_genesis != is_skipped {
                self.verdict
                    .violate(PARENTS_DIFFER, || format!("{heard:?}"));
            }
        }
        parents.iter().any(|&(_, is_signed)| is_signed)
    }
}

impl Judge<'_> {
    /// Whether none of these validators of the first window can go on by what they heard of one
    /// another alone.
    pub(super) fn is_at_rest(&mut self, heard: &[Heard]) -> bool {
        (0..heard.len()).all(|at| {
            let mut others = heard.to_vec();
            let own = others.remove(at);
            let honest = self.world.honest.iter();
            let place = honest
                .map(|member| member.0)
                .position(|index| index == own.from);
            let standing = Standing {
                place: place.unwrap_or(0),
                window: own.window,
                own: own.record,
                counted: own.record,
            };
            self.steps(&standing, &others).is_empty()
        })
    }
}

#[cfg(test)]
mod tests {
    use super::super::world::Size;
    use super::*;

    #[test]
    fn a_record_that_a_rule_makes_extends_the_one_before_and_does_not_contradict_itself() {
        // Blocks 0 and 1 in the first slot, 2 and 3 on the first of them.
        let world = World::new(&Size::new(&[1; 4], 1, 0, 2), &[], 1).unwrap();
        let tree = &world.trees[0];
        let own = Said {
            tip: Some(0),
            stop: true,
            skip_fallback: Some(1),
            also: 0b10,
            ..Said::default()
        };
        let cases = [
            (
                None,
                Said {
                    skip_fallback: Some(0),
                    ..own
                },
            ),
            (None, Said { also: 0b110, ..own }),
            (Some(NOT_ORDERED), own),
            (Some(NOT_ORDERED), Said { tip: None, ..own }),
            (
                Some(NOT_ORDERED),
                Said {
                    tip: Some(2),
                    ..own
                },
            ),
            (
                Some(NOT_ORDERED),
                Said {
                    tip: Some(2),
                    stop: false,
                    ..own
                },
            ),
            (
                Some(NOT_ORDERED),
                Said {
                    skip_fallback: None,
                    ..own
                },
            ),
            (Some(NOT_ORDERED), Said { also: 0b100, ..own }),
            (Some(INCONSISTENT), Said { stop: false, ..own }),
            (
                Some(INCONSISTENT),
                Said {
                    fin: Some(0),
                    ..own
                },
            ),
        ];
        for (fault, made) in cases {
            let mut judge = Judge::new(&world);
            let number = judge.number(0, &own);
            let standing = Standing {
                place: 0,
                window: 0,
                own: number,
                counted: number,
            };
            let taken = judge.take(&standing, &made.record(tree));
            let taken = taken.map(|number| *judge.said(0, number));
            let found: Vec<Fault> = judge.verdict.violations.into_keys().collect();
            assert_eq!(found, Vec::from_iter(fault), "{made:?}");
            assert_eq!(taken, Some(made).filter(|_| fault.is_none()));
        }
    }
}
