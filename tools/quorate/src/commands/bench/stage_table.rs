//! The stages of a run as text for people.
//!
//! Never: leaves out what no stage holds.

use quorate_bench::stages::{STAGE_NAMES, StageMeans};

use super::number;
use crate::output::table;

/// The stages, and what is not in them.
pub(super) fn text(means: &StageMeans) -> String {
    let mut stages = table(&["stage", "mean us"]);
    for stage in STAGE_NAMES {
        let us = means.stages.get(stage).copied();
        stages.add_row(vec![stage.to_owned(), number(us)]);
    }
    stages.add_row(vec!["total".to_owned(), number(means.total)]);
    let (attributed, left) = (means.attributed, means.unattributed);
    let told = if attributed == 0 {
        format!("the stages are not known: none of {left} commands became final by first votes")
    } else {
        format!(
            "the stages of one run, of {attributed} commands; {left} others at the leader did not \
             become final by first votes, or their way was not whole"
        )
    };
    format!("{stages}\n{told}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_stage_holds_is_told_below_the_stages() {
        let mut means = StageMeans {
            stages: STAGE_NAMES.map(|name| (name, 2.0)).into(),
            total: Some(18.0),
            attributed: 2_990,
            unattributed: 1_234,
        };
        let told = text(&means);
        for part in ["of 2990 commands", "1234 others", "18.0"] {
            assert!(told.contains(part), "{part} is missing in\n{told}");
        }
        means = StageMeans {
            unattributed: 77,
            ..StageMeans::default()
        };
        let told = text(&means);
        assert!(told.contains("not known: none of 77 commands"), "{told}");
    }
}
