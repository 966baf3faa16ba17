//! The mutants: one small wrong change each, chosen because it breaks a rule or a promise.
//!
//! `cargo xtask tidy` complains about a mutant whose text does not stand in the code exactly once.
//! Never: a change that leaves the behaviour the same.

use super::Mutant;

const RULES: &[&str] = &["quorate-consensus"];

/// A mutant of the consensus crate.
const fn rule(
    name: &'static str,
    breaks: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> Mutant {
    Mutant {
        name,
        breaks,
        file,
        find,
        replace,
        packages: RULES,
    }
}

/// A mutant of the log crate.
const fn log(
    name: &'static str,
    breaks: &'static str,
    file: &'static str,
    find: &'static str,
    replace: &'static str,
) -> Mutant {
    Mutant {
        name,
        breaks,
        file,
        find,
        replace,
        packages: &["quorate-log"],
    }
}

const LOG_RECORD: &str = "log/src/record.rs";
const LOG_RECOVERY: &str = "log/src/recovery.rs";
const LOG_SYNC: &str = "log/src/sync.rs";
const THRESHOLDS: &str = "engine/consensus/src/thresholds.rs";
const PREDICATES: &str = "engine/consensus/src/window/predicates.rs";
const WINDOW_RULES: &str = "engine/consensus/src/window/rules.rs";
const RECORD: &str = "engine/consensus/src/record.rs";
const RESTART: &str = "engine/consensus/src/restart.rs";

/// All of them.
pub(super) const MUTANTS: &[Mutant] = &[
    rule(
        "quorum-minus-1",
        "Q",
        THRESHOLDS,
        "narrow(n - f - p)",
        "narrow(n - f - p - 1)",
    ),
    rule(
        "quorum-plus-1",
        "Q",
        THRESHOLDS,
        "quorum: narrow(n - f - p)",
        "quorum: narrow(n - f - p + 1)",
    ),
    rule(
        "fast-minus-1",
        "FAST",
        THRESHOLDS,
        "narrow(n - p)",
        "narrow(n - p - 1)",
    ),
    rule(
        "fallback-minus-1",
        "FB",
        THRESHOLDS,
        "narrow(f + p + 1)",
        "narrow(f + p)",
    ),
    rule(
        "fallback-plus-1",
        "FB",
        THRESHOLDS,
        "fallback: narrow(f + p + 1)",
        "fallback: narrow(f + p + 2)",
    ),
    rule(
        "amplify-minus-1",
        "AMP",
        THRESHOLDS,
        "narrow(f + 1)",
        "narrow(f.max(1))",
    ),
    rule(
        "total-one-less",
        "N >= 3F+2P+1",
        THRESHOLDS,
        "3 * f + 2 * p + 1;",
        "3 * f + 2 * p;",
    ),
    rule(
        "safe-to-skip-any-block",
        "SafeToSkip: A of the most voted block",
        PREDICATES,
        "known.minus(self.notar_max(index, None)) >= set",
        "known >= set",
    ),
    rule(
        "safe-to-notar-any-rival",
        "SafeToNotar: every other block of the slot",
        PREDICATES,
        "known.minus(self.notar_max(block.index, Some(place))) >= set.thresholds().fallback",
        "known >= set.thresholds().fallback",
    ),
    rule(
        "safe-to-notar-without-amp",
        "SafeToNotar: an honest validator behind it",
        PREDICATES,
        "if block.notar < set.thresholds().amplify {",
        "if block.notar < Stake::ZERO {",
    ),
    rule(
        "skip-by-less",
        "Skip needs stake Q",
        PREDICATES,
        "(weight >= set.thresholds().quorum).then_some(from)",
        "(weight >= set.thresholds().amplify).then_some(from)",
    ),
    rule(
        "r3-after-stop",
        "R3: no first vote after a stop",
        WINDOW_RULES,
        "while !self.own.stop\n            && let Some(place)",
        "while let Some(place)",
    ),
    rule(
        "r3-unauthentic",
        "R3: authentic, or AMP behind it",
        WINDOW_RULES,
        "if !block.has_body || !(block.authentic || supported) {",
        "if !block.has_body {",
    ),
    rule(
        "r3-without-body",
        "R3: the body is here",
        WINDOW_RULES,
        "if !block.has_body || !(block.authentic || supported) {",
        "if !(block.authentic || supported) {",
    ),
    rule(
        "r3-from-the-future",
        "R3: a header from the future has not arrived",
        WINDOW_RULES,
        "if header.time_ns > ahead && !supported {",
        "if header.time_ns == 0 && ahead == 0 {",
    ),
    rule(
        "r3-without-parent-ready",
        "R3: the parent of index 0 is in PR",
        WINDOW_RULES,
        "parent.point.id == header.parent_id\n                    && header.height",
        "header.height",
    ),
    rule(
        "r4-without-rule-x",
        "rule X",
        WINDOW_RULES,
        "if allowed && block.notar >= set.thresholds().quorum {",
        "if block.notar >= set.thresholds().quorum {",
    ),
    rule(
        "r4-rule-x-by-slot",
        "rule X, prefix-wise",
        WINDOW_RULES,
        "is_none_or(|fallback| block.index < fallback)",
        "is_none_or(|fallback| block.index != fallback)",
    ),
    rule(
        "r4-without-notarized",
        "R4: only what is notarized",
        WINDOW_RULES,
        "if allowed && block.notar >= set.thresholds().quorum {",
        "if allowed {",
    ),
    rule(
        "r6-on-an-open-window",
        "R6: the window is closed",
        WINDOW_RULES,
        "finalized: Point) -> bool {\n        if !self.is_closed(set.slots()) || ",
        "finalized: Point) -> bool {\n        if ",
    ),
    rule(
        "r6-without-base",
        "R6: every block from the fork",
        WINDOW_RULES,
        "if !parent_stands || !self.tally",
        "if !self.tally",
    ),
    rule(
        "r6-off",
        "R6: progress",
        WINDOW_RULES,
        "if self.r6_try(set, place, &supported, &final_blocks) {",
        "if set.slots() == 0 && self.r6_try(set, place, &supported, &final_blocks) {",
    ),
    rule(
        "r7-on-an-open-window",
        "R7: the window is closed",
        WINDOW_RULES,
        "fn r7_skip_fallback(&mut self, set: &ValidatorSet) -> bool {\n        if !self.is_closed(set.slots()) || ",
        "fn r7_skip_fallback(&mut self, set: &ValidatorSet) -> bool {\n        if ",
    ),
    rule(
        "r7-off",
        "R7: progress",
        WINDOW_RULES,
        "        if lowest.is_some() {\n            self.own.skip_fallback = lowest;\n        }\n        lowest.is_some()",
        "        lowest.is_some() && set.slots() == 0",
    ),
    rule(
        "record-without-rule-x",
        "rule X of a peer's record",
        RECORD,
        "(Some(fin), Some(skip)) => fin < skip,",
        "(Some(fin), Some(skip)) => fin <= skip,",
    ),
    rule(
        "record-fallback-while-open",
        "no fallback in an open window",
        RECORD,
        "&& (!has_fallback || self.is_closed(slots))",
        "&& (!has_fallback || slots > 0)",
    ),
    rule(
        "record-stop-taken-back",
        "a stop is for ever",
        RECORD,
        "let stop_holds = !self.stop || (newer.stop && self.tip == newer.tip);",
        "let stop_holds = !self.stop || self.tip == newer.tip;",
    ),
    rule(
        "record-fin-falls",
        "fin never falls",
        RECORD,
        "let fin_grows = self.fin <= newer.fin;",
        "let fin_grows = self.fin <= newer.fin || newer.fin.is_none();",
    ),
    rule(
        "restart-without-abstention",
        "R12: abstain after a loss of power",
        RESTART,
        "if lost_power || file.suspect {",
        "if file.suspect {",
    ),
    rule(
        "restart-unsuspecting",
        "R12: abstain after a failed sync",
        RESTART,
        "if lost_power || file.suspect {",
        "if lost_power {",
    ),
    rule(
        "restart-abstention-falls",
        "R12: abstain_until never falls",
        RESTART,
        "lease.abstain_until = lease.abstain_until.max(lease.lease);",
        "lease.abstain_until = lease.lease;",
    ),
    rule(
        "restart-proposes-again",
        "R12: no proposal where one may have left",
        RESTART,
        "if !facts.clean_stop {\n        // A proposal",
        "if file.suspect {\n        // A proposal",
    ),
    rule(
        "restart-own-records-of-abstention",
        "R12: the log's own records of abstention are ignored",
        RESTART,
        "if self.lease.abstain_until.is_some_and(|until| own.window <= until) {",
        "if self.lease.abstain_until.is_some_and(|until| own.window < until) {",
    ),
    rule(
        "act-without-lease",
        "R11: the lease comes first",
        RESTART,
        "&& !self.fence.is_failed && leased && !abstains",
        "&& !self.fence.is_failed && !abstains",
    ),
    rule(
        "act-while-abstaining",
        "R12: nothing of its own while abstaining",
        RESTART,
        "&& !self.fence.is_failed && leased && !abstains",
        "&& !self.fence.is_failed && leased",
    ),
    rule(
        "act-before-the-fence",
        "R12: the fence comes first",
        RESTART,
        "self.fence.is_passed && !self.fence.is_failed && leased",
        "!self.fence.is_failed && leased",
    ),
    rule(
        "fence-by-one-liar",
        "R12: one liar cannot silence a validator",
        RESTART,
        "if weight >= set.thresholds().amplify {",
        "if weight > Stake::ZERO {",
    ),
    log(
        "log-misdirected-segment",
        "a record copied to another segment is no record",
        LOG_RECORD,
        "input[..4].copy_from_slice(&segment.to_le_bytes());",
        "input[..4].copy_from_slice(&(segment & 0).to_le_bytes());",
    ),
    log(
        "log-misdirected-offset",
        "a record copied to another place is no record",
        LOG_RECORD,
        "input[4..8].copy_from_slice(&offset.to_le_bytes());",
        "input[4..8].copy_from_slice(&(offset & 0).to_le_bytes());",
    ),
    log(
        "log-unchecked-header",
        "the length is covered by a checksum",
        LOG_RECORD,
        "if check != array_at::<8>(header, CHECK_AT) {",
        "if check.is_empty() {",
    ),
    log(
        "log-unchecked-padding",
        "every byte of a record is checked",
        LOG_RECORD,
        "(bytes, hash_at) && is_zero(padding) {",
        "(bytes, hash_at) {",
    ),
    log(
        "log-cuts-what-was-synced",
        "damage below a proof of sync is never cut",
        LOG_RECOVERY,
        "let was_synced = walk.end.index < synced_index;",
        "let was_synced = walk.end.index < synced_index && walk.faults.is_empty();",
    ),
    log(
        "log-cuts-any-damage",
        "damage that no crash leaves is never cut",
        LOG_RECOVERY,
        "(true, false, _) => Row::NotACrash,",
        "(true, false, _) => Row::TornTail,",
    ),
    log(
        "log-lost-end-unnoticed",
        "a log that ends before what was synced is damaged",
        LOG_RECOVERY,
        "(false, _, true) => Row::LostEnd,",
        "(false, _, true) => Row::CleanEnd,",
    ),
    log(
        "log-without-watermark",
        "what cannot be told is damage",
        LOG_RECOVERY,
        "(true, true, false) if watermark.is_none() => Row::NoWatermark,",
        "(true, true, false) if watermark.is_none() => Row::TornTail,",
    ),
    log(
        "log-sync-tried-again",
        "after a failed sync nothing is believed",
        LOG_SYNC,
        "region.flush(start, end - start) { self.shared.poison();",
        "region.flush(start, end - start) {",
    ),
    log(
        "log-stop-without-sync",
        "a clean stop has synced everything",
        LOG_SYNC,
        "let end = self.sync(writer.unsynced())?;",
        "let end = writer.unsynced().end();",
    ),
];
