//! The arithmetic of protocol.md section 1 against its own table, its inequalities, and a second
//! implementation that counts instead of calculating.

use quorate_consensus::thresholds::{ThresholdError, Thresholds, default_fault, default_slack};
use quorate_consensus::types::Stake;

fn stakes(amounts: &[u64]) -> Vec<Stake> {
    amounts.iter().copied().map(Stake::new).collect()
}

fn thresholds(n: u64, f: u64, p: u64) -> Thresholds {
    Thresholds::new(Stake::new(n), Stake::new(f), Stake::new(p)).expect("admissible")
}

/// Every admissible (N, F, P) with N below the bound.
fn admissible(total_max: u64) -> impl Iterator<Item = (u64, u64, u64)> {
    (1..=total_max)
        .flat_map(move |n| (0..=n).flat_map(move |f| (0..=n).map(move |p| (n, f, p))))
        .filter(|&(n, f, p)| n > 3 * f + 2 * p)
}

#[test]
fn each_row_of_the_table_comes_out() {
    // weights' total, F, P, then C, Q, FAST, FB, AMP
    let rows = [
        (4, 1, 0, [0, 3, 4, 2, 2]),
        (5, 1, 0, [0, 4, 5, 2, 2]),
        (6, 1, 1, [0, 4, 5, 3, 2]),
        (7, 2, 0, [0, 5, 7, 3, 3]),
        (7, 1, 1, [1, 5, 6, 3, 2]),
        (8, 1, 2, [0, 5, 6, 4, 2]),
        (10, 3, 0, [0, 7, 10, 4, 4]),
        (10, 2, 1, [1, 7, 9, 4, 3]),
        (10, 1, 3, [0, 6, 7, 5, 2]),
        (10, 1, 2, [2, 7, 8, 4, 2]),
        (3, 0, 1, [0, 2, 2, 2, 1]),
        (100, 33, 0, [0, 67, 100, 34, 34]),
        (100, 15, 27, [0, 58, 73, 43, 16]),
        (100, 15, 18, [18, 67, 82, 34, 16]),
    ];
    for (n, f, p, expected) in rows {
        let t = thresholds(n, f, p);
        let found = [t.crash, t.quorum, t.fast, t.fallback, t.amplify].map(Stake::amount);
        assert_eq!(found, expected, "N={n} F={f} P={p}");
    }
}

#[test]
fn the_inequalities_of_the_proofs_hold_for_every_small_triple() {
    for (n, f, p) in admissible(60) {
        let t = thresholds(n, f, p);
        let (q, fast, fb, c) = (
            t.quorum.amount(),
            t.fast.amount(),
            t.fallback.amount(),
            t.crash.amount(),
        );
        assert!(2 * q > n + f, "T1 N={n} F={f} P={p}");
        assert!(q - f >= fb, "T2 N={n} F={f} P={p}");
        assert_eq!(fast - q, f, "T3 N={n} F={f} P={p}");
        assert!(n - f - c > 2 * (f + p), "T4 N={n} F={f} P={p}");
        assert!(f + p < q, "T5 N={n} F={f} P={p}");
        assert!(q <= n - f - c, "T6 N={n} F={f} P={p}");
        assert!(q + fb > n, "T7 N={n} F={f} P={p}");
    }
}

#[test]
fn t1_t2_and_t4_are_tight_where_nothing_is_to_spare() {
    for f in 0..20 {
        for p in 0..20 {
            let n = 3 * f + 2 * p + 1;
            let t = thresholds(n, f, p);
            assert_eq!(2 * t.quorum.amount() - n, f + 1);
            assert_eq!(t.quorum.amount() - f, t.fallback.amount());
            assert_eq!(n - f - t.crash.amount(), 2 * (f + p) + 1);
        }
    }
}

/// The same weights by their meaning, found by search: the largest weight that still holds after
/// what may be missing is missing.
fn by_search(n: u64, f: u64, p: u64) -> [u64; 5] {
    let quorum = (0..=n).rev().find(|q| q + f + p == n).expect("quorum");
    let fast = (0..=n).rev().find(|fast| fast + p == n).expect("fast");
    // Evidence against fast finality: more than the Byzantine and the silent together.
    let fallback = (0..=n).find(|fb| *fb > f + p).expect("fallback");
    let amplify = (0..=n).find(|amp| *amp > f).expect("amplify");
    // The largest extra crash weight, not above P, with 3F + 2P + C + 1 still inside N.
    let crash = (0..=p)
        .rev()
        .find(|c| 3 * f + 2 * p + c < n)
        .expect("crash");
    [crash, quorum, fast, fallback, amplify]
}

#[test]
fn a_search_finds_the_same_weights_for_every_small_triple() {
    for (n, f, p) in admissible(40) {
        let t = thresholds(n, f, p);
        let found = [t.crash, t.quorum, t.fast, t.fallback, t.amplify].map(Stake::amount);
        assert_eq!(found, by_search(n, f, p), "N={n} F={f} P={p}");
    }
}

#[test]
fn exactly_the_inadmissible_triples_are_refused() {
    for n in 0..40_u64 {
        for f in 0..15 {
            for p in 0..22 {
                let result = Thresholds::new(Stake::new(n), Stake::new(f), Stake::new(p));
                if n > 3 * f + 2 * p {
                    assert!(result.is_ok(), "N={n} F={f} P={p}");
                } else {
                    let needed = u128::from(3 * f + 2 * p + 1);
                    let (total, fault, slack) = (Stake::new(n), Stake::new(f), Stake::new(p));
                    let error = ThresholdError::TotalTooSmall {
                        total,
                        fault,
                        slack,
                        needed,
                    };
                    assert_eq!(result, Err(error));
                }
            }
        }
    }
}

#[test]
fn the_defaults_are_those_of_the_text() {
    // F = (N-1)/5 where a validator fits in it, else (N-1)/3; P takes what is left.
    let rows: [(&[u64], u64, u64); 8] = [
        (&[1; 3], 0, 1),
        (&[1; 4], 1, 0),
        (&[1; 5], 1, 0),
        (&[1; 6], 1, 1),
        (&[1; 7], 1, 1),
        (&[1; 11], 2, 2),
        (&[40, 25, 15, 10, 10], 19, 21),
        (&[30, 30, 30], 29, 1),
    ];
    for (weights, fault, slack) in rows {
        let weights = stakes(weights);
        let total: Stake = weights.iter().copied().sum();
        let found = default_fault(&weights);
        assert_eq!(found.amount(), fault, "{weights:?}");
        assert_eq!(default_slack(total, found).amount(), slack, "{weights:?}");
    }
}

#[test]
fn the_defaults_are_always_admissible_and_leave_no_room_for_more_slack() {
    for n in 1..200_u64 {
        let weights = vec![Stake::new(1); n as usize];
        let fault = default_fault(&weights);
        let slack = default_slack(Stake::new(n), fault);
        assert!(
            Thresholds::new(Stake::new(n), fault, slack).is_ok(),
            "N={n}"
        );
        let more = slack.plus(Stake::new(1));
        assert!(
            Thresholds::new(Stake::new(n), fault, more).is_err(),
            "N={n}"
        );
    }
}

#[test]
fn a_refusal_names_what_would_be_needed() {
    let at = |n, f, p| Thresholds::new(Stake::new(n), Stake::new(f), Stake::new(p));
    let small = at(5, 1, 1).expect_err("3F + 2P + 1 is 6");
    assert!(small.to_string().contains("= 6"), "{small}");
    let large = at(1 << 62, 1, 1).expect_err("2^62");
    assert!(large.to_string().contains("2^62"), "{large}");
}
