//! Which rule moved a validator, read from what it asked of the outside.
//!
//! Owns the words for rules, certificates, alarms and evidence. A record that grew names its rule
//! by what grew: the tip R3, `fin` R4, the stop R5, `also` R6, `skipfb` R7. Never: decides
//! anything.

use quorate_consensus::effect::{Alarm, FinalPath};
use quorate_consensus::evidence::Evidence;
use quorate_consensus::machine::Counters;
use quorate_consensus::record::Record;
use quorate_consensus::types::{Index, ValidatorIndex, Window};

use super::line::{Line, all_of};
use super::names::{Names, v};
use super::view::Formed;

/// What an own record of one window became.
#[derive(Debug)]
pub(crate) struct Growth<'a> {
    pub(crate) who: ValidatorIndex,
    pub(crate) window: Window,
    pub(crate) before: &'a Record,
    pub(crate) after: &'a Record,
    /// The validator proposes in this window: its first votes are its own blocks.
    pub(crate) leads: bool,
    /// Why windows were stopped since the last line, if they were.
    pub(crate) reason: &'static str,
}

impl Growth<'_> {
    /// One line a rule.
    pub(crate) fn lines(&self, names: &Names) -> Vec<Line> {
        let (before, after) = (self.before, self.after);
        let at = self.window.number();
        let mut lines = Vec::new();
        let mut add = |rule: &str, text: String| lines.push(Line::new(self.who, rule, text));
        let index = |index: Option<Index>| index.map_or(0, Index::number);
        if before.tip != after.tip
            && let Some((_, tip)) = after.tip
            && !self.leads
        {
            add("R3", format!("first votes up to {}", names.name(tip)));
        }
        if before.stop != after.stop {
            let above = after.tip.map_or_else(
                || "from index 0".to_owned(),
                |(_, tip)| format!("above {}", names.name(tip)),
            );
            add("R5", format!("stops w{at} {above}: {}", self.reason));
        }
        if before.fin != after.fin {
            add("R4", format!("final up to index {}", index(after.fin)));
        }
        for &(_, id) in after
            .also
            .iter()
            .filter(|entry| !before.also.contains(entry))
        {
            add("R6", format!("supports {} too", names.name(id)));
        }
        if before.skip_fallback != after.skip_fallback {
            let from = index(after.skip_fallback);
            add("R7", format!("skips by fallback from index {from}"));
        }
        lines
    }
}

/// Why windows were stopped between two looks at the counters.
pub(crate) const fn stop_reason(before: &Counters, after: &Counters) -> &'static str {
    if after.stops_timer > before.stops_timer {
        "its timer has fired"
    } else if after.stops_predicate > before.stops_predicate {
        "a fallback may be needed"
    } else if after.stops_slow > before.stops_slow {
        "it has lost the fast path"
    } else {
        "its leader is suspected or at fault"
    }
}

pub(crate) const fn path_name(path: FinalPath) -> &'static str {
    match path {
        FinalPath::Fast => "fast",
        FinalPath::Slow => "slow",
        FinalPath::Proof => "proof",
    }
}

/// A block is final: R8 by own count, R9 by somebody's proof.
pub(crate) fn finalized(who: ValidatorIndex, name: String, path: FinalPath) -> Line {
    let (rule, how) = match path {
        FinalPath::Fast => ("R8", ", fast"),
        FinalPath::Slow => ("R8", ", slow"),
        FinalPath::Proof => ("R9", ", by proof"),
    };
    Line::about(who, rule, "finalized ", vec![name], how)
}

/// A certificate that formed by a validator's own count.
pub(crate) fn formed(
    who: ValidatorIndex,
    names: &Names,
    formed: Formed,
    by: Vec<ValidatorIndex>,
) -> Line {
    let what = match formed {
        Formed::Notarized(_, _, id) => format!("Notarized({})", names.name(id)),
        Formed::Certified(_, _, id) => format!("Certified({})", names.name(id)),
        Formed::FastFinal(_, _, id) => format!("FastFinal({})", names.name(id)),
        Formed::SlowFinal(_, _, id) => format!("SlowFinal({})", names.name(id)),
        Formed::Skip(window, from) => {
            format!("Skip(w{} from {})", window.number(), from.number())
        }
    };
    Line::new(who, "==", format!("{what} by {}", all_of(by)))
}

pub(crate) fn alarm(names: &Names, alarm: Alarm) -> (&'static str, String) {
    match alarm {
        Alarm::BadSignature(of) => ("!!", format!("alarm: bad signature of {}", v(of))),
        Alarm::Equivocation(of) => ("!!", format!("alarm: {} contradicts itself", v(of))),
        Alarm::TwoBlocks(of) => (
            "!!",
            format!("alarm: {} made two blocks for one slot", v(of)),
        ),
        Alarm::InvalidBlockSupported(id) => (
            "!!",
            format!("alarm: honest votes for {}, invalid here", names.name(id)),
        ),
        Alarm::DiskOlderThanSent(window) => {
            let at = window.number();
            (
                "R12",
                format!(
                    "the disk is older than what was said in w{at}: asks how far it has spoken"
                ),
            )
        }
        Alarm::Recovered(until) => (
            "R13",
            format!("says nothing up to w{}, and votes above", until.number()),
        ),
        Alarm::StateDiffers { height, .. } => (
            "!!",
            format!(
                "alarm: another state than honest at height {}",
                height.number()
            ),
        ),
        Alarm::StateUncompared(height) => (
            "!!",
            format!("alarm: snapshot too late at height {}", height.number()),
        ),
        Alarm::ForeignRecord(from) => (
            "!!",
            format!("alarm: {} holds a record that the log does not", v(from)),
        ),
    }
}

pub(crate) fn evidence(evidence: &Evidence) -> String {
    match evidence {
        Evidence::TwoHeaders(signed) => {
            let header = &signed[0].header;
            let (window, index) = (header.window.number(), header.index.number());
            format!("evidence E1: two signed blocks for w{window}.{index}")
        }
        Evidence::TwoRecords {
            validator, window, ..
        } => {
            let at = window.number();
            format!("evidence E2: two records of {} for w{at}", v(*validator))
        }
        Evidence::OneRecord { window, record, .. } => {
            let (who, at) = (v(record.validator), window.number());
            format!("evidence E3: a record of {who} for w{at} contradicts itself")
        }
    }
}
