//! One line of a trace, and how lines that say the same become one.
//!
//! Within one turn of a validator, lines that differ in their blocks or peers alone are joined; of
//! turns that follow one another, those that are alike but for who takes them are told once. Never:
//! what is told; `tell` and `carry` say that.

use std::collections::BTreeSet;

use quorate_consensus::types::ValidatorIndex;

use super::names::v;
use super::words::numbered;

/// Where the text of a line begins.
const WHO_COLUMNS: usize = 9;
const MARK_COLUMNS: usize = 4;

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    /// Whom it happens to.
    who: ValidatorIndex,
    /// A rule's number, or what kind of event it is.
    mark: String,
    before: String,
    /// Blocks it is about.
    names: Vec<String>,
    after: String,
    /// From whom it comes or to whom it goes, when it is not to all.
    peers: BTreeSet<ValidatorIndex>,
}

impl Line {
    pub(crate) fn new(who: ValidatorIndex, mark: &str, text: impl Into<String>) -> Self {
        Self::about(who, mark, text, Vec::new(), "")
    }

    /// A line about some blocks.
    pub(crate) fn about(
        who: ValidatorIndex,
        mark: &str,
        before: impl Into<String>,
        names: Vec<String>,
        after: &str,
    ) -> Self {
        Self {
            who,
            mark: mark.to_owned(),
            before: before.into(),
            names,
            after: after.to_owned(),
            peers: BTreeSet::new(),
        }
    }

    /// The same line, ending with whom it comes from or goes to.
    pub(crate) fn with(
        mut self,
        preposition: &str,
        peers: impl IntoIterator<Item = ValidatorIndex>,
    ) -> Self {
        self.after.push_str(preposition);
        self.peers.extend(peers);
        self
    }

    /// Whether two lines say the same but for blocks or peers.
    fn joins(&self, other: &Self) -> bool {
        let is_list = !self.names.is_empty() || !self.peers.is_empty();
        let differ_in_one = self.names == other.names || self.peers == other.peers;
        is_list
            && differ_in_one
            && (&self.mark, &self.before, &self.after) == (&other.mark, &other.before, &other.after)
    }

    fn join(&mut self, other: Self) {
        if self.names != other.names {
            self.names.extend(other.names);
        }
        self.peers.extend(other.peers);
    }

    /// Whether two lines of different validators say the same; a peer may be the other one.
    fn is_like(&self, other: &Self) -> bool {
        let same = (&self.mark, &self.before, &self.names, &self.after)
            == (&other.mark, &other.before, &other.names, &other.after);
        same && (self.peers == other.peers || self.circle() == other.circle())
    }

    /// The peers and the validator itself.
    fn circle(&self) -> BTreeSet<ValidatorIndex> {
        let mut circle = self.peers.clone();
        circle.insert(self.who);
        circle
    }

    fn text(&self, who: &[ValidatorIndex]) -> String {
        let peers = if who.len() > 1 && self.peers.iter().any(|peer| who.contains(peer)) {
            let others = self
                .peers
                .iter()
                .copied()
                .filter(|peer| !who.contains(peer));
            let others = all_of(others);
            let and = if others.is_empty() { "" } else { " and " };
            format!("{others}{and}each other")
        } else {
            all_of(self.peers.iter().copied())
        };
        let (mark, before, after) = (&self.mark, &self.before, &self.after);
        let (who, names) = (all_of(who.iter().copied()), ranges(&self.names));
        let line =
            format!("  {who:WHO_COLUMNS$} {mark:MARK_COLUMNS$} {before}{names}{after}{peers}");
        line.trim_end().to_owned()
    }
}

/// The lines of one turn, and who takes it.
type Turn = (Vec<ValidatorIndex>, Vec<Line>);

/// Appends lines to a trace.
pub(crate) fn write(lines: Vec<Line>, trace: &mut String) {
    let mut turns: Vec<Turn> = Vec::new();
    for line in lines {
        match turns.last_mut() {
            Some((who, turn)) if who[..] == [line.who] => add(turn, line),
            _ => turns.push((vec![line.who], vec![line])),
        }
    }
    let mut told: Vec<Turn> = Vec::new();
    for (who, turn) in turns {
        match told.last_mut() {
            Some((all, first)) if is_alike(first, &turn) => all.extend(who),
            _ => told.push((who, turn)),
        }
    }
    for (who, turn) in &told {
        for line in turn {
            trace.push_str(&line.text(who));
            trace.push('\n');
        }
    }
}

fn add(turn: &mut Vec<Line>, line: Line) {
    match turn.iter_mut().find(|held| held.joins(&line)) {
        Some(held) => held.join(line),
        None => turn.push(line),
    }
}

fn is_alike(first: &[Line], turn: &[Line]) -> bool {
    first.len() == turn.len() && first.iter().zip(turn).all(|(a, b)| a.is_like(b))
}

/// Validators in a row, runs written short.
pub(crate) fn all_of(who: impl IntoIterator<Item = ValidatorIndex>) -> String {
    let names: Vec<String> = who.into_iter().map(v).collect();
    ranges(&names)
}

/// Names with runs such as `b0 b1 b2` written `b0..b2`.
pub(crate) fn ranges(names: &[String]) -> String {
    let mut written: Vec<String> = Vec::new();
    let mut rest = names;
    while let Some(first) = rest.first() {
        let mut length = 1;
        while follows(rest, length) {
            length += 1;
        }
        written.push(match (length, rest.get(length - 1)) {
            (3.., Some(last)) => format!("{first}..{last}"),
            _ => rest[..length].join(" "),
        });
        rest = &rest[length..];
    }
    written.join(" ")
}

/// Whether the name at `place` has the next number after the one before it.
fn follows(names: &[String], place: usize) -> bool {
    let number = |at: usize| names.get(at).and_then(|name| numbered(name));
    match (number(place - 1), number(place)) {
        (Some((stem, number)), Some((other, next))) => stem == other && number + 1 == next,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<String> {
        text.split_whitespace().map(str::to_owned).collect()
    }

    fn written(lines: Vec<Line>) -> String {
        let mut trace = String::new();
        write(lines, &mut trace);
        trace
    }

    fn who(number: u16) -> ValidatorIndex {
        ValidatorIndex::new(number)
    }

    #[test]
    fn runs_of_names_are_written_short() {
        let short = [
            ("a", "a"),
            ("b0 b1", "b0 b1"),
            ("b0 b1 b2 b4 c5", "b0..b2 b4 c5"),
            ("a b9 b10 b11", "a b9..b11"),
        ];
        for (long, expected) in short {
            assert_eq!(ranges(&names(long)), expected);
        }
    }

    #[test]
    fn lines_of_a_turn_that_differ_in_their_blocks_alone_are_one() {
        let line = |of, name: &str| Line::about(who(of), "R8", "finalized ", names(name), ", fast");
        let trace = written(vec![line(0, "b0"), line(0, "b1"), line(1, "b0")]);
        let expected =
            "  v0        R8   finalized b0 b1, fast\n  v1        R8   finalized b0, fast\n";
        assert_eq!(trace, expected);
    }

    #[test]
    fn turns_that_are_alike_are_told_once() {
        let heard = |of, from: &[u16]| {
            let from = from.iter().map(|&from| who(from));
            Line::new(who(of), "<-", "vote").with(" from ", from)
        };
        let from_each_other = written(vec![heard(0, &[1, 2]), heard(1, &[0, 2])]);
        assert_eq!(
            from_each_other,
            "  v0 v1     <-   vote from v2 and each other\n"
        );
        let from_one = written(vec![heard(1, &[0]), heard(2, &[0]), heard(3, &[0])]);
        assert_eq!(from_one, "  v1..v3    <-   vote from v0\n");
        let unlike = written(vec![heard(1, &[0]), heard(2, &[3])]);
        assert_eq!(unlike.lines().count(), 2, "{unlike}");
        // Not alike: the third stands in nobody's circle.
        let partly = written(vec![heard(0, &[1]), heard(1, &[0]), heard(2, &[0])]);
        assert_eq!(partly.lines().count(), 2, "{partly}");
    }
}
