//! What waits behind a missing number, and in whose way it is.

use super::*;

#[test]
fn what_waits_for_a_missing_number_makes_nobody_else_busy() {
    let mut lanes = pool();
    let behind: Vec<_> = (2..=4_000).map(|seq| order(9, seq)).collect();
    assert!(submit(&mut lanes, 0, &behind).contains(&Verdict::Accepted));
    assert!(lanes.len() > 3_000, "{}", lanes.len());
    for seq in 1..=20 {
        // A light load, and between two blocks of it long silence.
        let now_ns = seq * 400 * MS;
        assert_eq!(
            submit(&mut lanes, now_ns, &[order(1, seq)]),
            [Verdict::Accepted]
        );
        let block = build(&mut lanes).expect("it waits");
        assert_eq!(contents(&block), [(id(1), seq)]);
        finalize(&mut lanes, now_ns + MS, &block);
        assert_eq!(lanes.orders_hold_us(now_ns + 300 * MS), None);
    }
    // The number comes, and all of them are in the way like any others.
    submit(&mut lanes, 9_000 * MS, &[order(9, 1)]);
    let block = build(&mut lanes).expect("they wait");
    assert_eq!(contents(&block).len(), lanes.len());
    finalize(&mut lanes, 9_001 * MS, &block);
    assert!(lanes.is_empty());
}

#[test]
fn cancels_behind_a_missing_number_take_no_more_than_half_of_the_room() {
    let mut lanes = Lanes::new(LanesConfig {
        commands_max: 1_000,
        ..LanesConfig::new(16, 20 * MS)
    });
    let behind: Vec<_> = (2..=2_000).map(|seq| cancel(9, seq)).collect();
    let verdicts = submit(&mut lanes, 0, &behind);
    assert!(matches!(verdicts.last(), Some(Verdict::Busy { .. })));
    assert!(lanes.len() <= 501, "{}", lanes.len());
    let (order, cancel) = (order(1, 1), cancel(1, 2));
    let verdicts = submit(&mut lanes, 0, &[order, cancel]);
    assert_eq!(verdicts, [Verdict::Accepted; 2]);
}
