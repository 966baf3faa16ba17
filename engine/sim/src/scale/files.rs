//! The two files of a prediction: how far places are apart, and what operations cost.
//!
//! Both are lines of words; `#` begins a comment. Owns their formats. Never: values.

use std::fmt;

/// Most places of a matrix.
const PLACES_MAX: usize = 64;
/// Longest one way between two places, microseconds: a minute.
const ONE_WAY_US_MAX: u64 = 60_000_000;
/// How many costs there are.
const COSTS: usize = 20;
/// Highest cost of one operation, nanoseconds: a second.
const COST_NS_MAX: u64 = 1_000_000_000;

/// A line that cannot be read, or is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FileError {
    /// Number of the line from 1; 0 for the file as a whole.
    pub line: usize,
    /// What is wrong.
    pub what: String,
}

impl fmt::Display for FileError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.line == 0 {
            f.write_str(&self.what)
        } else {
            write!(f, "line {}: {}", self.line, self.what)
        }
    }
}

impl std::error::Error for FileError {}

fn error(line: usize, what: impl Into<String>) -> FileError {
    let what = what.into();
    FileError { line, what }
}

/// Lines with their numbers, without comments and empty ones.
fn lines(text: &str) -> impl Iterator<Item = (usize, Vec<&str>)> {
    let words = text.lines().enumerate().map(|(number, line)| {
        let line = line.split('#').next().unwrap_or("");
        (number + 1, line.split_whitespace().collect::<Vec<_>>())
    });
    words.filter(|(_, words)| !words.is_empty())
}

fn number(line: usize, word: &str, max: u64) -> Result<u64, FileError> {
    let parsed = word.parse::<u64>().ok().filter(|value| *value <= max);
    parsed.ok_or_else(|| error(line, format!("{word}: not a whole number up to {max}")))
}

/// One-way latencies between places; validators stand in them in turn.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LatencyMatrix {
    places: usize,
    one_way_ns: Vec<u64>,
}

impl LatencyMatrix {
    /// Reads `places NAME..`, and after it a line a place: its name and the one way to each place
    /// in microseconds, 1 at least; to itself: between two machines there.
    ///
    /// # Errors
    /// [`FileError`] with the line.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let mut lines = lines(text);
        let Some((line, head)) = lines.next() else {
            return Err(error(0, "the matrix is empty"));
        };
        let Some(("places", names)) = head.split_first().map(|(first, rest)| (*first, rest)) else {
            return Err(error(line, "it begins with: places NAME.."));
        };
        let is_bad = names.is_empty() || names.len() > PLACES_MAX;
        if is_bad || (1..names.len()).any(|at| names[..at].contains(&names[at])) {
            return Err(error(line, format!("1 to {PLACES_MAX} different places")));
        }
        let mut one_way_ns = Vec::new();
        for name in names {
            let Some((line, row)) = lines.next() else {
                return Err(error(0, format!("there is no line for {name}")));
            };
            if row.first() != Some(name) {
                return Err(error(line, format!("the line of {name} is expected")));
            }
            if row.len() != names.len() + 1 {
                let what = format!("{} numbers, one for each place", names.len());
                return Err(error(line, what));
            }
            for word in &row[1..] {
                let us = number(line, word, ONE_WAY_US_MAX)?;
                if us == 0 {
                    return Err(error(line, "0: no way is without time"));
                }
                one_way_ns.push(us * 1_000);
            }
        }
        if let Some((line, _)) = lines.next() {
            return Err(error(line, "more lines than places"));
        }
        Ok(Self {
            places: names.len(),
            one_way_ns,
        })
    }

    /// One place, in which all ways take the same.
    #[must_use]
    pub fn uniform(one_way_ns: u64) -> Self {
        Self {
            places: 1,
            one_way_ns: vec![one_way_ns.clamp(1, ONE_WAY_US_MAX * 1_000)],
        }
    }

    /// From one validator to another, nanoseconds.
    pub(super) fn one_way_ns(&self, from: usize, to: usize) -> u64 {
        let at = (from % self.places) * self.places + to % self.places;
        self.one_way_ns[at]
    }

    pub(super) fn longest_ns(&self) -> u64 {
        self.one_way_ns.iter().copied().max().unwrap_or(1)
    }
}

/// What operations cost, nanoseconds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Costs {
    /// From the moment in which something comes for a thread that sleeps until it runs, on a free
    /// core.
    pub wake_ns: u64,
    /// The same on a core that has gone to rest, besides.
    pub rested_ns: u64,
    /// A turn that says something, of a thread that has rested, besides.
    pub rested_turn_ns: u64,
    /// The first write of a thread that has rested, besides.
    pub rested_send_ns: u64,
    /// A write to one who sleeps, besides: the system wakes its thread.
    pub waking_ns: u64,
    /// A core goes from a thread that sleeps to one that waited for it.
    pub switch_ns: u64,
    /// A validator's turn on a core where another thread has run since its last one, besides.
    pub cold_ns: u64,
    /// The sockets are asked what has come.
    pub poll_ns: u64,
    /// A turn that finds nothing to do.
    pub turn_ns: u64,
    /// A turn that does what the last one has left, instead.
    pub rest_ns: u64,
    /// One socket read, and what came decrypted.
    pub read_ns: u64,
    /// A frame taken in: decoded, counted.
    pub receive_ns: u64,
    /// A client's command taken in and put into a block.
    pub command_ns: u64,
    /// A frame that carries a block, besides: judged, and voted for.
    pub propose_ns: u64,
    /// What a turn that says something appends to the log.
    pub append_ns: u64,
    /// A block that becomes final: found to be, logged, executed.
    pub final_ns: u64,
    /// What goes to one peer, encrypted and written.
    pub send_ns: u64,
    /// Another thread is given something to do.
    pub hand_over_ns: u64,
    /// A group sync.
    pub sync_ns: u64,
    /// One signature made or checked, by another thread.
    pub verify_ns: u64,
}

impl Costs {
    /// Each with its name.
    fn fields(&mut self) -> [(&'static str, &mut u64); COSTS] {
        [
            ("wake_ns", &mut self.wake_ns),
            ("rested_ns", &mut self.rested_ns),
            ("rested_turn_ns", &mut self.rested_turn_ns),
            ("rested_send_ns", &mut self.rested_send_ns),
            ("waking_ns", &mut self.waking_ns),
            ("switch_ns", &mut self.switch_ns),
            ("cold_ns", &mut self.cold_ns),
            ("poll_ns", &mut self.poll_ns),
            ("turn_ns", &mut self.turn_ns),
            ("rest_ns", &mut self.rest_ns),
            ("read_ns", &mut self.read_ns),
            ("receive_ns", &mut self.receive_ns),
            ("command_ns", &mut self.command_ns),
            ("propose_ns", &mut self.propose_ns),
            ("append_ns", &mut self.append_ns),
            ("final_ns", &mut self.final_ns),
            ("send_ns", &mut self.send_ns),
            ("hand_over_ns", &mut self.hand_over_ns),
            ("sync_ns", &mut self.sync_ns),
            ("verify_ns", &mut self.verify_ns),
        ]
    }

    /// Reads a line for each cost: its name and nanoseconds.
    ///
    /// # Errors
    /// [`FileError`] with the line; a cost that is missing is named.
    pub fn parse(text: &str) -> Result<Self, FileError> {
        let mut costs = Self::default();
        let mut is_given = [false; COSTS];
        for (line, words) in lines(text) {
            let [name, value] = words[..] else {
                return Err(error(line, "a name and a number"));
            };
            let fields = costs.fields().into_iter().zip(&mut is_given);
            let mut of_name = fields.filter(|((known, _), _)| *known == name);
            let Some(((_, field), is_given)) = of_name.next() else {
                return Err(error(line, format!("{name}: no cost of this name")));
            };
            if std::mem::replace(is_given, true) {
                return Err(error(line, format!("{name}: given twice")));
            }
            *field = number(line, value, COST_NS_MAX)?;
        }
        let missing = is_given.iter().position(|is_given| !is_given);
        match missing.map(|at| costs.fields()[at].0) {
            Some(name) => Err(error(0, format!("{name} is missing"))),
            None => Ok(costs),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_that_come_along_are_read() {
        for (_, text) in crate::scale::LATENCY_FILES {
            let matrix = LatencyMatrix::parse(text).unwrap();
            for (from, to) in [(0, 1), (1, 2), (3, 0)] {
                assert_eq!(matrix.one_way_ns(from, to), matrix.one_way_ns(to, from));
            }
            assert!(matrix.longest_ns() >= matrix.one_way_ns(0, 0));
        }
        assert!(Costs::parse(crate::scale::COSTS_FILE).is_ok());
    }

    #[test]
    fn each_cost_that_comes_along_stands_below_the_bench_that_it_is_from() {
        let (mut comment, mut costs) = (String::new(), 0_usize);
        for line in crate::scale::COSTS_FILE.lines() {
            if line.starts_with('#') {
                comment.push_str(line);
                continue;
            }
            assert!(comment.contains("::"), "{line}: {comment}");
            comment.clear();
            costs += 1;
        }
        assert_eq!(costs, COSTS);
    }

    #[test]
    fn validators_stand_in_the_places_in_turn() {
        let matrix = LatencyMatrix::parse("places a b\na 1 5\nb 7 2 # back\n").unwrap();
        let ways = [(0, 1), (1, 0), (0, 2), (1, 3)].map(|(from, to)| matrix.one_way_ns(from, to));
        assert_eq!(ways, [5_000, 7_000, 1_000, 2_000]);
    }

    #[test]
    fn a_bad_line_is_named() {
        for (text, line) in [
            ("", 0),
            ("place a\n", 1),
            ("places a a\n", 1),
            ("places a\n", 0),
            ("places a\nb 1\n", 2),
            ("places a\na 1 2\n", 2),
            ("places a\na 0\n", 2),
            ("places a\na x\n", 2),
            ("places a\na 1\n\na 1\n", 4),
        ] {
            assert_eq!(LatencyMatrix::parse(text).unwrap_err().line, line, "{text}");
        }
        for (text, line) in [
            ("turn_ns", 1),
            ("turn_ns 1\nturn_ns 2", 2),
            ("what_ns 1", 1),
            ("turn_ns -1", 1),
            ("turn_ns 1", 0),
        ] {
            assert_eq!(Costs::parse(text).unwrap_err().line, line, "{text}");
        }
    }
}
