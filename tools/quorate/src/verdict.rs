//! Whether what was driven and measured counts, and how people are told what was not well: the same
//! in every command that judges.
//!
//! Owns the bound on commands that were never sent, the lines, and the exit code that follows.
//! Never: what a command looks at.

use std::fmt::Display;

use crate::failure::Code;

/// One command in so many may be left unsent.
const UNSENT_SHARE: u64 = 1_000;
/// What is said of commands that were not sent.
pub(crate) const UNSENT: &str = "were never handed over, and stand in no percentile";

/// The exit code of what ran to its end.
pub(crate) const fn code(is_well: bool) -> Code {
    if is_well { Code::Done } else { Code::No }
}

/// A line behind a report for people: something that makes the answer no.
pub(crate) fn failed(what: impl Display) -> String {
    format!("\nFAILED: {what}")
}

/// A line for each.
pub(crate) fn all_failed(found: &[String]) -> String {
    found.iter().map(failed).collect()
}

/// Whether all but the last few commands that were intended were handed over. Those that were not
/// are in no percentile, and they would be the ones that waited longest.
pub(crate) const fn are_sent(unsent: u64, offered: u64) -> bool {
    unsent.saturating_mul(UNSENT_SHARE) <= offered
}

/// Commands of a load that came to nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Losses {
    /// Intended and never handed over.
    pub(crate) unsent: u64,
    /// Handed over and without a result.
    pub(crate) missing: u64,
    /// Refused for good.
    pub(crate) rejected: u64,
}

impl Losses {
    /// Those of several loads.
    pub(crate) fn sum(loads: impl Iterator<Item = Self>) -> Self {
        loads.fold(Self::default(), |sum, one| Self {
            unsent: sum.unsent + one.unsent,
            missing: sum.missing + one.missing,
            rejected: sum.rejected + one.rejected,
        })
    }

    /// Whether nearly all of this many commands were handed over, and all of those have results.
    pub(crate) const fn are_few(self, offered: u64) -> bool {
        self.missing == 0 && self.rejected == 0 && are_sent(self.unsent, offered)
    }

    /// What to add to a report for people.
    pub(crate) fn text(self) -> String {
        self.text_of("")
    }

    /// The same where there are several of which it is told; `of` begins each line.
    pub(crate) fn text_of(self, of: &str) -> String {
        let mut text = String::new();
        if self.unsent > 0 {
            text.push_str(&format!("\n{of}{} commands {UNSENT}", self.unsent));
        }
        for (count, what) in [
            (self.missing, "came to no result"),
            (self.rejected, "were refused for good"),
        ] {
            if count > 0 {
                text.push_str(&failed(format_args!("{of}{count} commands {what}")));
            }
        }
        text
    }
}

/// What is wrong with a load that stands in no figure, since it warmed a cluster up.
pub(crate) fn of_warm_up(missing: u64, rejected: u64) -> Vec<String> {
    [
        (missing, "came to no result"),
        (rejected, "were refused for good"),
    ]
    .into_iter()
    .filter(|(count, _)| *count > 0)
    .map(|(count, what)| format!("{count} commands of the warm-up {what}"))
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_warm_up_is_well_when_all_of_it_has_results() {
        assert_eq!(of_warm_up(0, 0), Vec::<String>::new());
        let told = of_warm_up(3, 2);
        assert!(told[0].starts_with("3 ") && told[0].ends_with("came to no result"));
        assert!(told[1].starts_with("2 ") && told[1].ends_with("refused for good"));
    }

    #[test]
    fn one_command_in_a_thousand_may_be_left_unsent_and_none_without_a_result() {
        let losses = |unsent, missing, rejected| Losses {
            unsent,
            missing,
            rejected,
        };
        for (lost, offered, are_few) in [
            (losses(0, 0, 0), 0, true),
            (losses(1, 0, 0), 1_000, true),
            (losses(1, 0, 0), 999, false),
            (losses(u64::MAX, 0, 0), u64::MAX - 1, false),
            (losses(0, 1, 0), 1_000_000, false),
            (losses(0, 0, 1), 1_000_000, false),
        ] {
            assert_eq!(lost.are_few(offered), are_few, "{lost:?} of {offered}");
        }
        let sum = Losses::sum([losses(1, 2, 3), losses(10, 20, 30)].into_iter());
        assert_eq!(sum, losses(11, 22, 33));
    }

    #[test]
    fn what_makes_the_answer_no_stands_on_a_line_of_its_own() {
        assert_eq!(Losses::default().text(), "");
        let lost = Losses {
            unsent: 3,
            missing: 4,
            rejected: 5,
        };
        assert_eq!(
            lost.text(),
            "\n3 commands were never handed over, and stand in no percentile\
             \nFAILED: 4 commands came to no result\
             \nFAILED: 5 commands were refused for good"
        );
        let found = ["roots differ".to_owned(), "logs differ".to_owned()];
        assert_eq!(
            all_failed(&found),
            "\nFAILED: roots differ\nFAILED: logs differ"
        );
        assert_eq!((code(true), code(false)), (Code::Done, Code::No));
    }
}
