//! Records that the shadow cannot read, and who is told of them.

use super::*;

impl Scene {
    /// Changes a byte inside the record in what memory shows, and leaves the disk whole.
    fn rot_in_memory(&self, record: RecordRef) {
        let (segment, byte) = (record.offset.segment(), record.offset.bytes() as usize);
        let name = format!("segment-{segment:010}");
        self.memory.rot(&name, byte + 40, 0x5a, true);
        self.memory.rot(&name, byte + 40, 0x5a, false);
    }
}

/// Passes over the disk say that it is whole: who was shown something else has to say so.
#[test]
fn a_record_that_memory_alone_shows_damaged_is_read_from_the_disk_again() {
    let mut scene = Scene::new();
    let shadow = scene.shadow(64, None);
    scene.append_to(400);
    scene.sync();
    let marks = scene.places(KIND_FINALIZED);
    assert!(marks[60].offset.segment() < marks[399].offset.segment());
    scene.rot_in_memory(marks[60]);
    let scrubber = scene.scrubber.take().unwrap();
    let genesis = Arc::from(&b"genesis"[..]);
    let reader = scene.reader.clone();
    let mut scrub = crate::scrub::Scrub::new(scrubber, reader, genesis, Vec::new(), u64::MAX);
    let mut now_ns = 0;
    let mut pass = |scrub: &mut crate::scrub::Scrub| {
        loop {
            let turn = scrub.turn(now_ns, &mut Vec::new()).unwrap();
            now_ns += turn.pause_ns;
            if turn.is_pass {
                return now_ns;
            }
        }
    };
    let mut work = scene.work(shadow);
    let now = std::time::Instant::now();
    let mut looked = 0;
    for turn in 0..20 {
        let now_ns = pass(&mut scrub);
        let worked = work.turn(turn, now, true, &mut Vec::new()).unwrap();
        for segment in worked.look_at {
            looked += 1;
            scrub.look_at(segment, now_ns, &mut Vec::new()).unwrap();
        }
    }
    assert_eq!(looked, 1);
    assert!(work.shadow_mut().height() >= 64, "it reads on");
}

#[test]
fn a_record_that_stays_damaged_is_one_alarm_and_is_looked_at_now_and_then() {
    let mut scene = Scene::new();
    let shadow = scene.shadow(64, None);
    scene.append_to(100);
    scene.sync();
    let mark = scene.places(KIND_FINALIZED)[40];
    let mut work = scene.work(shadow);
    let start = std::time::Instant::now();
    // Height that is reached, alarms so far, and hints in this second.
    let mut turns_at = |second: u64| {
        let now = start + std::time::Duration::from_secs(second);
        let mut turn = |_| work.turn(second, now, true, &mut Vec::new()).unwrap();
        let hints: usize = (0..20).map(|number| turn(number).look_at.len()).sum();
        let height = work.shadow_mut().height();
        (height, work.metrics().alarms.read(), hints)
    };
    scene.rot(mark);
    assert_eq!(turns_at(0), (40, 0, 1));
    assert_eq!(turns_at(9), (40, 0, 0));
    assert_eq!(turns_at(10), (40, 0, 1));
    assert_eq!(turns_at(119), (40, 0, 1));
    assert_eq!(turns_at(120), (40, 1, 0));
    assert_eq!(turns_at(500), (40, 1, 1));
    scene.rot(mark);
    assert_eq!(turns_at(501).1, 1);
    assert!(
        turns_at(502).0 >= 64,
        "it goes on once the record is mended"
    );
}
