//! What a load or a demo reports, key by key.
//!
//! Owns the names of the keys, which scripts read, and the way each number is computed from what
//! was counted. Never: prints.

use serde::Serialize;

use crate::histogram::Percentiles;

/// What was run.
#[derive(Clone, Debug, Serialize)]
pub struct Setting {
    /// How many validators.
    pub validators: usize,
    /// Weight of each.
    pub weights: Vec<u64>,
    /// F.
    pub fault_weight: u64,
    /// P.
    pub fast_slack: u64,
    /// How long commands were sent, seconds.
    pub seconds: u64,
    /// Commands a second that were intended.
    pub rate: u64,
    /// Sessions that sent them.
    pub clients: usize,
    /// `venue` or `opaque`.
    pub workload: &'static str,
    /// `sync` or `async`.
    pub durability: String,
    /// `shared` or `dedicated`.
    pub threads: String,
    /// `park`, `yield` or `spin`.
    pub idle: String,
}

/// What came of it.
#[derive(Clone, Debug, Serialize)]
pub struct Measured {
    /// Commands that were intended.
    pub offered: u64,
    /// Of these, never handed to a validator: the cluster did not take more in the time.
    pub unsent: u64,
    /// Commands that some validator accepted, each counted once.
    pub accepted: u64,
    /// Busy answers; a command may get several.
    pub busy: u64,
    /// Commands refused at admission. A refusal by the application is a result.
    pub rejected: u64,
    /// Commands whose result came back.
    pub finalized: u64,
    /// Commands that were handed over, or waited to be, and came to no result within a minute
    /// after the last send; those that were refused for good are not among them.
    pub missing: u64,
    /// Finalized commands a second, from the first send to the last result.
    pub throughput_per_s: f64,
    /// From the accepting validator's receipt to finality there.
    pub finality_us: Percentiles,
    /// From the intended send time to the client's receipt of the result.
    pub client_us: Percentiles,
    /// Share of blocks whose finality came first by the fast path, since the validators started,
    /// mean over those that answer.
    pub fast_path_fraction: Option<f64>,
    /// Blocks finalized, the most that any validator told.
    pub blocks: u64,
    /// Gateways lost while the load ran.
    pub gateways_lost: u64,
}

/// How far the validators agree; filled by whoever could look.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Agreement {
    /// All hold the same state root at the same height; `None` where nobody looked.
    pub state_roots_equal: Option<bool>,
    /// All finalized the same blocks, ids and payloads; `None` where nobody looked.
    pub logs_equal: Option<bool>,
    /// The height of the compared state roots.
    pub state_height: Option<u64>,
    /// The compared state root, when equal.
    pub state_root: Option<String>,
    /// Every difference and every failure to look.
    pub differences: Vec<String>,
}

/// The whole report.
#[derive(Clone, Debug, Serialize)]
pub struct LoadReport {
    /// What was run.
    #[serde(flatten)]
    pub setting: Setting,
    /// What came of it.
    #[serde(flatten)]
    pub measured: Measured,
    /// How far the validators agree.
    #[serde(flatten)]
    pub agreement: Agreement,
}

/// Events a second.
#[must_use]
#[expect(clippy::cast_precision_loss, reason = "counts are far below 2^53")]
pub fn per_second(count: u64, elapsed_ns: u64) -> f64 {
    if elapsed_ns == 0 {
        0.0
    } else {
        count as f64 * 1e9 / elapsed_ns as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The keys that scripts may rely on.
    const KEYS: &[&str] = &[
        "validators",
        "weights",
        "fault_weight",
        "fast_slack",
        "seconds",
        "offered",
        "accepted",
        "busy",
        "rejected",
        "finalized",
        "missing",
        "throughput_per_s",
        "finality_us",
        "client_us",
        "fast_path_fraction",
        "blocks",
        "state_roots_equal",
        "logs_equal",
        "durability",
        "threads",
        "idle",
    ];

    #[test]
    fn the_report_is_flat_and_has_every_documented_key() {
        let report = LoadReport {
            setting: Setting {
                validators: 4,
                weights: vec![1; 4],
                fault_weight: 1,
                fast_slack: 0,
                seconds: 1,
                rate: 10,
                clients: 4,
                workload: "venue",
                durability: "sync".into(),
                threads: "shared".into(),
                idle: "park".into(),
            },
            measured: Measured {
                offered: 10,
                unsent: 0,
                accepted: 10,
                busy: 0,
                rejected: 0,
                finalized: 10,
                missing: 0,
                throughput_per_s: per_second(10, 1_000_000_000),
                finality_us: Percentiles::default(),
                client_us: Percentiles::default(),
                fast_path_fraction: Some(1.0),
                blocks: 3,
                gateways_lost: 0,
            },
            agreement: Agreement::default(),
        };
        let value = serde_json::to_value(report).unwrap();
        for key in KEYS {
            assert!(value.get(key).is_some(), "{key} is missing");
        }
        assert_eq!(value["throughput_per_s"], 10.0);
        for key in ["p50", "p90", "p99", "p999", "max"] {
            assert!(
                value["finality_us"].get(key).is_some() && value["client_us"].get(key).is_some()
            );
        }
    }

    #[test]
    fn a_rate_over_no_time_is_zero() {
        assert!(per_second(5, 0).abs() < f64::EPSILON);
    }
}
