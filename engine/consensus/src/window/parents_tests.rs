//! Parents come in any order and are found by theirs; each change is handed on once.

use super::*;
use alloc::vec;

fn parent(window: u64, height: u64, signed: bool) -> ReadyParent {
    let mut id = [0; 32];
    id[..8].copy_from_slice(&height.to_le_bytes());
    id[8] = u8::try_from(window).expect("a small number");
    ReadyParent {
        point: Point {
            window: Window::new(window),
            index: Index::ZERO,
            height: Height::new(height),
            id: BlockId::new(id),
        },
        time_ns: height,
        signed,
    }
}

fn handed(parents: &mut Parents, is_signed: bool) -> Vec<(u64, bool)> {
    let mut handed = Vec::new();
    parents.hand_on(is_signed, &mut handed);
    parents.note_handed(is_signed);
    let of = |parent: &ReadyParent| (parent.point.height.number(), parent.signed);
    handed.iter().map(of).collect()
}

#[test]
fn parents_are_told_by_window_and_height_whatever_the_order_in_which_they_came() {
    let mut parents = Parents::default();
    assert!(parents.is_empty() && !parents.has_signed());
    for (window, height, signed) in [(1, 4, true), (2, 3, false), (0, 9, false), (1, 5, false)] {
        assert_eq!(
            parents.add(parent(window, height, signed), false),
            (true, true)
        );
    }
    let heights = |parents: &Parents| -> Vec<u64> {
        let all = parents
            .downward()
            .map(|parent| parent.point.height.number());
        all.collect()
    };
    assert_eq!(heights(&parents), [3, 5, 4, 9]);
    assert_eq!(parents.signed_downward().count(), 1);
    assert_eq!(parents.height_max(), Some(Height::new(9)));
    // What is here already adds nothing but its evidence, and that once.
    assert_eq!(parents.add(parent(2, 3, false), false), (false, false));
    assert_eq!(parents.add(parent(2, 3, true), false), (true, false));
    assert_eq!(parents.add(parent(2, 3, true), false), (false, false));
    assert_eq!(parents.add(parent(2, 3, false), false), (false, false));
    assert_eq!(heights(&parents), [3, 5, 4, 9]);
    let highest = parents.signed_downward().next();
    assert_eq!(highest, Some(parent(2, 3, true)));
    let wanted = parent(1, 5, false);
    let found = parents.find(wanted.point.height, wanted.point.id);
    assert_eq!(found, Some(wanted));
    assert_eq!(parents.find(Height::new(6), wanted.point.id), None);
    assert!(!parents.follows_full() && parents.has_signed_other());
}

#[test]
fn what_follows_a_full_window_is_no_failure() {
    let mut parents = Parents::default();
    parents.add(parent(1, 4, false), true);
    assert!(parents.follows_full() && !parents.has_signed_other());
    parents.add(parent(1, 4, true), true);
    assert!(!parents.has_signed_other());
    parents.add(parent(1, 3, false), false);
    assert!(!parents.has_signed_other());
    parents.add(parent(1, 3, true), false);
    assert!(parents.has_signed_other());
}

#[test]
fn what_changes_is_handed_on_once_and_all_of_it_when_the_skip_is_signed() {
    let mut parents = Parents::default();
    parents.add(parent(0, 1, true), false);
    parents.add(parent(0, 2, false), false);
    assert_eq!(handed(&mut parents, false), [(2, false), (1, false)]);
    assert_eq!(handed(&mut parents, false), []);
    parents.add(parent(0, 3, true), false);
    parents.add(parent(0, 2, true), false);
    parents.add(parent(0, 4, false), false);
    let expected = vec![(3, true), (2, true), (1, true), (4, false)];
    assert_eq!(handed(&mut parents, true), expected);
    assert_eq!(handed(&mut parents, true), []);
    parents.add(parent(0, 4, true), false);
    assert_eq!(handed(&mut parents, true), [(4, true)]);
    // A skip that is signed no more is seen as it is, and nothing is lost by that.
    parents.add(parent(0, 5, true), false);
    assert_eq!(handed(&mut parents, false), [(5, false)]);
    let all = [5, 4, 3, 2, 1].map(|height| (height, true));
    assert_eq!(handed(&mut parents, true), all);
}
