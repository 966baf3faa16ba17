//! What stood in blocks for which nothing vouches, where commands are signed.

use super::*;

#[test]
fn what_stood_in_a_block_is_checked_before_it_is_kept_where_commands_are_signed() {
    let mut lanes = Lanes::new(LanesConfig {
        is_signed: true,
        ..LanesConfig::new(16, 20 * MS)
    });
    let block = |entry: &[u8]| {
        let mut builder = PayloadBuilder::new();
        builder.push_entry(entry).expect("room");
        builder.finish()
    };
    let unchecked = |lanes: &mut Lanes| lanes.take_unchecked().collect::<Vec<Arc<[u8]>>>();
    let forged = entry(1, 1, WireLane::Order, b"forged");
    lanes.take_abandoned(1, &block(&forged)).expect("a block");
    assert!(lanes.is_empty());
    assert_eq!(unchecked(&mut lanes), [Arc::from(&forged[..])]);
    // It stands in the next block as well, while its check is on its way.
    lanes.take_abandoned(2, &block(&forged)).expect("a block");
    assert!(unchecked(&mut lanes).is_empty(), "it is asked for once");
    lanes.take_checked(2, &forged, &[]).expect("entries");
    lanes.take_abandoned(2, &block(&forged)).expect("a block");
    assert_eq!(unchecked(&mut lanes).len(), 1, "and again once answered");
    // The client's own is taken all the same.
    lanes.chain_block(2, &block(&forged)).expect("a block");
    assert_eq!(submit(&mut lanes, 2, &[order(1, 1)]), [Verdict::Accepted]);
    lanes.take_abandoned(3, &block(&order(1, 1))).expect("held");
    assert!(unchecked(&mut lanes).is_empty(), "it was checked before");
    lanes
        .take_checked(4, &order(2, 1), &order(2, 1))
        .expect("entries");
    assert_eq!(lanes.len(), 2);
}

#[test]
fn what_is_on_its_way_to_the_check_is_bounded_until_it_is_answered() {
    let mut lanes = Lanes::new(LanesConfig {
        is_signed: true,
        ..LanesConfig::new(16, 20 * MS)
    });
    let body = vec![7; 60_000];
    let bytes = |lanes: &mut Lanes| -> usize { lanes.take_unchecked().map(|run| run.len()).sum() };
    let mut asked = 0;
    for seq in 1..=200 {
        let mut builder = PayloadBuilder::new();
        let entry = entry(1, seq, WireLane::Order, &body);
        builder.push_entry(&entry).expect("room");
        lanes.take_abandoned(1, &builder.finish()).expect("a block");
        asked += bytes(&mut lanes);
    }
    let bound = 4 * quorate_consensus::limits::FORWARD_BYTES_MAX;
    assert!((bound / 2..=bound).contains(&asked), "{asked}");
    let first = entry(1, 1, WireLane::Order, &body);
    lanes.take_checked(2, &first, &[]).expect("entries");
    let mut builder = PayloadBuilder::new();
    builder.push_entry(&first).expect("room");
    lanes.take_abandoned(3, &builder.finish()).expect("a block");
    assert_eq!(bytes(&mut lanes), first.len(), "an answer makes room");
}
