use super::across::across;
use super::world::{Size, World};

#[test]
fn sizes() {
    for (stakes, f, p, blocks) in [
        (&[1_u64, 1, 1, 1][..], 1, 0, 2),
        (&[1, 1, 1, 1], 1, 0, 3),
        (&[1, 1, 1, 1, 1, 1], 1, 1, 2),
    ] {
        let size = Size { blocks, ..Size::new(stakes, f, p, 1) };
        let world = World::new(&size, &[0], 2).unwrap();
        let begun = std::time::Instant::now();
        let verdict = across(&world);
        println!("across {size:?}: {verdict:?} {:?}", begun.elapsed());
    }
}
