//! The network between the validators: what becomes of a frame.
//!
//! Owns loss, doubling, delay, order and cuts of every direction of every link, and the
//! connections: who believes to be connected to whom, under which number. Never: reads a frame,
//! or knows what a validator is.

use std::collections::BTreeMap;

use crate::dice::Dice;
use crate::plan::Plan;
use crate::script::Scenario;

/// How one direction of a link treats frames.
#[derive(Clone, Copy, Debug, Default)]
struct Quality {
    loss_percent: u64,
    double_percent: u64,
    /// Frames of this share are held back and so overtaken by later ones.
    reorder_percent: u64,
    wire_ns: u64,
}

/// What became of frames, for the report.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct FrameCounts {
    pub(crate) sent: u64,
    pub(crate) lost: u64,
    pub(crate) cut: u64,
    pub(crate) clogged: u64,
    pub(crate) doubled: u64,
    pub(crate) reordered: u64,
}

/// All links.
#[derive(Debug)]
pub(crate) struct Network {
    len: usize,
    dice: Dice,
    qualities: Vec<Quality>,
    quiet: Quality,
    /// How many cuts lie over each direction.
    cuts: Vec<u32>,
    /// Until when each direction holds its frames back.
    clogs: Vec<u64>,
    /// When the last frame of each direction that was not held back arrives: the others follow.
    arrivals: Vec<u64>,
    /// When the last frame of each direction arrives that left before healing: a direction that was
    /// clogged brings what it held, and whatever follows, not before.
    held: Vec<u64>,
    /// The connection that each validator believes to have to each other one.
    connections: BTreeMap<(usize, usize), u64>,
    connection_count: u64,
    pub(crate) counts: FrameCounts,
}

impl Network {
    pub(crate) fn new(plan: &Plan, len: usize, scenario: Scenario, seed: u64) -> Self {
        let mut dice = Dice::new(seed, "network");
        let quiet = Quality {
            wire_ns: plan.wire_ns,
            ..Quality::default()
        };
        let is_lossy = scenario.has_lossy_links();
        let (loss_max, double_max, reorder_max) = if is_lossy {
            let loss_max = dice.one_of(&[0, 3, 10, 30]).unwrap_or(0);
            (
                loss_max,
                dice.one_of(&[0, 5, 50]).unwrap_or(0),
                dice.one_of(&[0, 5, 30]).unwrap_or(0),
            )
        } else {
            (0, 0, 0)
        };
        let qualities = (0..len * len)
            .map(|_| Quality {
                loss_percent: dice.between(0, loss_max),
                double_percent: dice.between(0, double_max),
                reorder_percent: dice.between(0, reorder_max),
                wire_ns: dice.between(plan.wire_ns / 2, plan.wire_ns * 2),
            })
            .collect();
        Self {
            len,
            dice,
            qualities,
            quiet,
            cuts: vec![0; len * len],
            clogs: vec![0; len * len],
            arrivals: vec![0; len * len],
            held: vec![0; len * len],
            connections: BTreeMap::new(),
            connection_count: 0,
            counts: FrameCounts::default(),
        }
    }

    const fn at(&self, from: usize, to: usize) -> usize {
        from * self.len + to
    }

    /// When the copies of a frame that leaves now arrive: none, one or two of them.
    pub(crate) fn send(&mut self, now_ns: u64, from: usize, to: usize) -> [Option<u64>; 2] {
        self.counts.sent += 1;
        let at = self.at(from, to);
        if self.cuts[at] > 0 {
            self.counts.cut += 1;
            return [None, None];
        }
        let quality = self.qualities[at];
        if self.dice.percent(quality.loss_percent) {
            self.counts.lost += 1;
            return [None, None];
        }
        let arrival = now_ns + self.dice.skewed(quality.wire_ns);
        let arrival = if self.clogs[at] > arrival {
            self.counts.clogged += 1;
            self.clogs[at]
        } else {
            arrival
        };
        let first = if self.dice.percent(quality.reorder_percent) {
            self.counts.reordered += 1;
            arrival + self.dice.below(20 * quality.wire_ns + 1)
        } else {
            let in_order = arrival.max(self.arrivals[at]);
            self.arrivals[at] = in_order;
            in_order
        };
        let second = self.dice.percent(quality.double_percent).then(|| {
            self.counts.doubled += 1;
            first + self.dice.below(20 * quality.wire_ns + 1)
        });
        [Some(first), second]
    }

    /// Lays a cut over these directions, or takes one away; whether any of them changed by it.
    pub(crate) fn set_cut(&mut self, links: &[(usize, usize)], is_cut: bool) -> bool {
        let mut has_changed = false;
        for &(from, to) in links {
            let at = self.at(from, to);
            let cuts = &mut self.cuts[at];
            let before = *cuts;
            *cuts = if is_cut {
                before + 1
            } else {
                before.saturating_sub(1)
            };
            has_changed |= (before == 0) != (*cuts == 0);
        }
        has_changed
    }

    /// What these directions carry arrives in one burst, not before `until_ns`; whether any of them
    /// holds longer for it.
    pub(crate) fn clog(&mut self, links: &[(usize, usize)], until_ns: u64) -> bool {
        let mut has_changed = false;
        for &(from, to) in links {
            let at = self.at(from, to);
            has_changed |= self.clogs[at] < until_ns;
            self.clogs[at] = self.clogs[at].max(until_ns);
        }
        has_changed
    }

    /// No cuts, no loss, nothing doubled or held back from here on. What is on its way stays so.
    pub(crate) fn heal(&mut self) {
        self.held.clone_from(&self.arrivals);
        self.cuts.fill(0);
        self.clogs.fill(0);
        self.qualities.fill(self.quiet);
    }

    /// Whether a direction holds back still what was said before healing, and what follows it.
    pub(crate) fn is_held(&self, now_ns: u64, from: usize, to: usize) -> bool {
        self.held[self.at(from, to)] > now_ns
    }

    /// Whether frames pass both ways, so that a connection can be made.
    pub(crate) fn is_open(&self, one: usize, other: usize) -> bool {
        self.cuts[self.at(one, other)] == 0 && self.cuts[self.at(other, one)] == 0
    }

    /// The connection that `own` believes to have to `peer`.
    pub(crate) fn connection(&self, own: usize, peer: usize) -> Option<u64> {
        self.connections.get(&(own, peer)).copied()
    }

    /// Makes a connection; both sides have it from now on.
    pub(crate) fn connect(&mut self, one: usize, other: usize) -> u64 {
        self.connection_count += 1;
        self.connections.insert((one, other), self.connection_count);
        self.connections.insert((other, one), self.connection_count);
        self.connection_count
    }

    /// `own` learns that its connection to `peer` is gone, if it still is this one.
    pub(crate) fn disconnect(&mut self, own: usize, peer: usize, connection: u64) -> bool {
        let is_this = self.connection(own, peer) == Some(connection);
        if is_this {
            self.connections.remove(&(own, peer));
        }
        is_this
    }

    /// `own` has died, and its ends of all its connections with it. Returns those of its peers.
    pub(crate) fn forget(&mut self, own: usize) -> Vec<(usize, u64)> {
        self.connections.retain(|&(one, _), _| one != own);
        let left = self.connections.iter();
        left.filter(|((_, other), _)| *other == own)
            .map(|(&(one, _), &connection)| (one, connection))
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::byzantine::Byzantine;
    use crate::plan::RunOptions;

    fn network(scenario: Scenario) -> Network {
        let options = RunOptions {
            seed: 11,
            validators: 4,
            scenario,
            byzantine: Byzantine::default(),
        };
        Network::new(&Plan::draw(&options), 4, scenario, 11)
    }

    #[test]
    fn a_quiet_link_delivers_each_frame_once_and_in_order() {
        let mut network = network(Scenario::Calm);
        let mut last = 0;
        for now_ns in 0..2_000 {
            let [Some(first), None] = network.send(now_ns * 1_000, 0, 1) else {
                panic!("lost or doubled");
            };
            assert!(first >= last && first > now_ns * 1_000);
            last = first;
        }
    }

    #[test]
    fn what_counts_as_lost_does_not_arrive_and_what_counts_as_doubled_arrives_twice() {
        let mut network = network(Scenario::Calm);
        let quality = Quality {
            loss_percent: 30,
            double_percent: 40,
            ..network.quiet
        };
        network.qualities.fill(quality);
        let mut arrived = [0_u64; 3];
        for now_ns in 0..2_000 {
            let copies = network.send(now_ns * 1_000, 0, 1).into_iter().flatten();
            arrived[copies.count()] += 1;
        }
        let [none, once, twice] = arrived;
        assert_eq!((network.counts.lost, network.counts.doubled), (none, twice));
        assert_eq!(network.counts.sent, none + once + twice);
        assert!((500..700).contains(&none), "{none} of 2,000");
        assert!((460..660).contains(&twice), "{twice} of 2,000");
    }

    #[test]
    fn a_cut_holds_in_its_direction_alone_until_it_is_taken_away() {
        let mut network = network(Scenario::Calm);
        assert!(network.set_cut(&[(0, 1)], true));
        assert!(!network.set_cut(&[(0, 1)], true), "it was cut");
        assert_eq!(network.send(0, 0, 1), [None, None]);
        assert!(network.send(0, 1, 0)[0].is_some());
        assert!(!network.is_open(0, 1));
        assert!(!network.set_cut(&[(0, 1)], false));
        assert_eq!(network.send(0, 0, 1), [None, None], "two cuts lay over it");
        assert!(network.set_cut(&[(0, 1)], false));
        assert!(network.send(0, 0, 1)[0].is_some());
    }

    #[test]
    fn a_clogged_direction_loses_nothing_and_brings_it_late_in_a_burst_and_in_order() {
        let mut network = network(Scenario::Calm);
        assert!(network.clog(&[(0, 1)], 1_000_000_000));
        assert!(!network.clog(&[(0, 1)], 1_000), "it holds for longer");
        for now_ns in [0, 10, 20] {
            assert_eq!(network.send(now_ns, 0, 1), [Some(1_000_000_000), None]);
        }
        assert!(
            network.send(30, 1, 0)[0] < Some(1_000_000_000),
            "the other direction"
        );
        assert!(network.send(1_000_000_000, 0, 1)[0] > Some(1_000_000_000));
        assert_eq!(network.counts.clogged, 3);
    }

    #[test]
    fn what_a_clogged_direction_held_at_healing_holds_up_what_follows_until_it_has_come() {
        let mut network = network(Scenario::Calm);
        network.clog(&[(0, 1)], 1_000_000_000);
        network.send(0, 0, 1);
        assert!(!network.is_held(10, 0, 1), "not healed yet");
        network.heal();
        assert_eq!(network.send(20, 0, 1), [Some(1_000_000_000), None]);
        assert!(network.is_held(20, 0, 1) && !network.is_held(20, 1, 0));
        assert!(!network.is_held(1_000_000_000, 0, 1));
    }

    #[test]
    fn a_dead_validator_leaves_its_peers_with_their_ends() {
        let mut network = network(Scenario::Calm);
        let connection = network.connect(0, 1);
        assert_eq!(network.forget(0), [(1, connection)]);
        assert_eq!(network.connection(0, 1), None);
        assert_eq!(network.connection(1, 0), Some(connection));
        let newer = network.connect(0, 1);
        assert!(!network.disconnect(1, 0, connection), "it is a newer one");
        assert!(network.disconnect(1, 0, newer));
    }
}
