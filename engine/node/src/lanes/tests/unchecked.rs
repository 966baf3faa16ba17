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
    // It stands in the next block as well, and the client's own is taken all the same.
    lanes.chain_block(2, &block(&forged)).expect("a block");
    assert_eq!(submit(&mut lanes, 2, &[order(1, 1)]), [Verdict::Accepted]);
    lanes.take_abandoned(3, &block(&order(1, 1))).expect("held");
    assert!(unchecked(&mut lanes).is_empty(), "it was checked before");
    lanes.take_checked(4, &order(2, 1)).expect("entries");
    assert_eq!(lanes.len(), 2);
}
