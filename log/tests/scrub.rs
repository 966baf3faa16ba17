//! What the disk loses of complete segments while the log is open is found and brought back, and
//! nothing else is touched.

mod support;

use quorate_log::{
    Broken, DataFolder, LogOffset, MemoryBackend, Mended, Opened, RecordRef, ScrubError, Scrubbed,
    open, verify,
};
use rustix::io::Errno;
use support::{
    GENESIS, KIND, Random, SEGMENT_BYTES, TestFolder, append, config, durable, expected, filled,
    name, payload, payloads, second_of, sync, try_open,
};

const PAGE_BYTES: usize = 4096;

/// One pass; the segments that were not whole.
fn pass(log: &mut Opened) -> Vec<u32> {
    let mut faulty = Vec::new();
    loop {
        match log.scrubber.step(1024).expect("a read") {
            Scrubbed::PassEnd => return faulty,
            Scrubbed::Faulty { segment, .. } => faulty.push(segment),
            Scrubbed::More { .. } | Scrubbed::Whole { .. } => {}
        }
    }
}

#[test]
fn a_pass_reads_every_complete_segment_and_not_the_one_that_is_appended_to() {
    let memory = MemoryBackend::new();
    let (mut log, _) = filled(&memory);
    let mut whole = Vec::new();
    let mut read = 0;
    loop {
        match log.scrubber.step(5000).expect("a read") {
            Scrubbed::PassEnd => break,
            Scrubbed::Whole { segment, bytes } => {
                whole.push(segment);
                read += bytes;
            }
            Scrubbed::More { bytes } => read += bytes,
            Scrubbed::Faulty { segment, .. } => panic!("segment {segment}"),
        }
    }
    assert_eq!((whole, read), (vec![0, 1, 2], 3 * SEGMENT_BYTES as usize));
    assert_eq!(log.scrubber.is_direct(), Some(true));
    memory.rot(&name(3), 600, 1, false);
    assert_eq!(pass(&mut log), [0; 0]);
}

/// Row A: what memory still shows is written to the disk again, whatever byte it was.
#[test]
fn every_byte_that_the_disk_alone_lost_is_written_again_from_memory() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    let before = durable(&memory, 1);
    for offset in (0..SEGMENT_BYTES as usize).step_by(7) {
        memory.rot(&name(1), offset, 0xff, false);
        assert_eq!(pass(&mut log), [1], "byte {offset}");
        let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
        let mended = mend.finish().expect("a write");
        assert!(mended.repaired > 0 && mended.left.is_empty(), "{offset}");
        assert_eq!(durable(&memory, 1), before, "byte {offset}");
        assert_eq!(pass(&mut log), [0; 0]);
    }
    assert_eq!(payloads(&log.reader), expected(&places));
}

/// Also where many records are lost in a row, or the segment's header with the first of them.
#[test]
fn every_stretch_that_the_disk_alone_lost_is_written_again_from_memory() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    let before = durable(&memory, 1);
    for offset in (0..SEGMENT_BYTES as usize).step_by(301) {
        for at in offset..(offset + 512).min(SEGMENT_BYTES as usize) {
            memory.rot(&name(1), at, 0x5a, false);
        }
        assert_eq!(pass(&mut log), [1], "from byte {offset}");
        let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
        let mended = mend.finish().expect("a write");
        assert!(mended.repaired > 0 && mended.left.is_empty(), "{offset}");
        assert_eq!(durable(&memory, 1), before, "from byte {offset}");
        assert_eq!(pass(&mut log), [0; 0]);
    }
    assert_eq!(payloads(&log.reader), expected(&places));
}

/// Row B: also when memory shows the same wrong byte.
#[test]
fn every_single_byte_of_a_segment_comes_back_from_the_chain_alone() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    let before = durable(&memory, 1);
    let mut random = Random(9);
    for offset in (0..SEGMENT_BYTES as usize).step_by(13) {
        let mask = 1 << random.below(8);
        memory.rot(&name(1), offset, mask, true);
        assert_eq!(pass(&mut log), [1], "byte {offset}");
        let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
        let mended = mend.finish().expect("a write");
        assert!(mended.left.is_empty(), "byte {offset}: {mended:?}");
        assert_eq!(durable(&memory, 1), before, "byte {offset}");
    }
    assert_eq!(payloads(&log.reader), expected(&places));
}

/// Loses `bytes` bytes of the disk and of memory.
fn lose(memory: &MemoryBackend, segment: u32, from: usize, bytes: usize) {
    for offset in from..from + bytes {
        memory.rot(&name(segment), offset, 0x5a, true);
    }
}

fn first_broken(log: &mut Opened, segment: u32) -> (quorate_log::Mend, Broken) {
    let mend = log
        .scrubber
        .mend(segment)
        .expect("a read")
        .expect("a fault");
    let broken = mend.broken();
    (mend, broken[0])
}

/// Half a second each: every pass over a log whose bytes nobody has would take that again.
#[test]
fn what_was_searched_in_vain_is_not_searched_again_while_it_is_the_same() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    let (_, place) = second_of(&places, 1);
    let at = place.offset.bytes() as usize;
    lose(&memory, 1, at + 40, 20);
    let searches = |log: &mut Opened| first_broken(log, 1).0.searches();
    assert_eq!(searches(&mut log), 1);
    assert_eq!(searches(&mut log), 0);
    assert_eq!(pass(&mut log), [1]);
    assert_eq!(searches(&mut log), 0);
    // Other bytes, and so another search.
    memory.rot(&name(1), at + 41, 1, true);
    assert_eq!(searches(&mut log), 1);
    // Now all but one of them are as they were.
    let mut lost: Vec<_> = (at + 40..at + 60).collect();
    memory.rot(&name(1), at + 41, 1, true);
    lost.retain(|&offset| offset != at + 47);
    for offset in lost {
        memory.rot(&name(1), offset, 0x5a, true);
    }
    let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
    assert_eq!(mend.searches(), 1);
    assert!(mend.finish().expect("a write").left.is_empty());
}

/// A segment that has lost everything does not hold up those that are asked for it.
#[test]
fn one_go_searches_a_few_records_and_the_next_goes_on_with_others() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    let here = |place: &&RecordRef| place.offset.segment() == 1;
    let lost: Vec<_> = places.iter().filter(here).collect();
    for place in &lost {
        lose(&memory, 1, place.offset.bytes() as usize + 40, 20);
    }
    let mut searched = Vec::new();
    while searched.last() != Some(&0) {
        let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
        assert_eq!(mend.broken().len(), lost.len());
        searched.push(mend.searches());
        assert!(searched.len() <= lost.len(), "{searched:?}");
    }
    assert_eq!(searched.iter().sum::<usize>(), lost.len(), "{searched:?}");
    assert!(searched.iter().all(|&count| count <= 8), "{searched:?}");
}

/// One segment of many small records, complete and synced.
fn filled_finely(memory: &MemoryBackend, bytes: u32) -> (Opened, Vec<usize>) {
    let (log, mut starts) = filled_finely_up_to(memory, bytes, 1);
    (log, starts.remove(0))
}

fn filled_finely_up_to(
    memory: &MemoryBackend,
    bytes: u32,
    segments: usize,
) -> (Opened, Vec<Vec<usize>>) {
    let mut config = config();
    config.segment_bytes = bytes;
    let mut log = open(&DataFolder::in_memory(memory), &config, GENESIS).expect("a log");
    let mut starts = vec![Vec::new(); segments];
    for number in 0.. {
        let place = append(&mut log, &payload(number, 60));
        let Some(starts) = starts.get_mut(place.offset.segment() as usize) else {
            break;
        };
        starts.push(place.offset.bytes() as usize);
    }
    sync(&mut log);
    (log, starts)
}

/// Else each place that comes back costs a look over the whole segment, while nobody can stop it.
#[test]
fn scattered_places_cost_what_they_are_long_and_not_the_segment_each() {
    const BYTES: usize = 512 * 1024;
    let memory = MemoryBackend::new();
    let (mut log, starts) = filled_finely(&memory, BYTES as u32);
    let before = durable(&memory, 0);
    let lost: Vec<_> = starts.iter().step_by(10).collect();
    assert!(lost.len() > 300, "{}", lost.len());
    lost.iter()
        .for_each(|&&start| memory.rot(&name(0), start + 40, 1, false));
    let mend = log.scrubber.mend(0).expect("a read").expect("a fault");
    assert_eq!(mend.found(), lost.len() as u64);
    assert!(mend.work_bytes() < 2 * BYTES, "{}", mend.work_bytes());
    let mended = mend.finish().expect("a write");
    assert_eq!(mended.repaired, lost.len() as u64);
    assert_eq!(durable(&memory, 0), before);
}

/// Each such place costs half a millisecond, and there can be half a million of them.
#[test]
fn one_go_tries_so_many_headers_and_the_next_goes_on_with_others() {
    let memory = MemoryBackend::new();
    let (mut log, starts) = filled_finely(&memory, 240 * 1024);
    // Two bytes of a header do not come back; the last one has lost one.
    let (last, others) = starts.split_last().expect("many");
    let lost: Vec<_> = others.iter().step_by(2).collect();
    assert!((900..1000).contains(&lost.len()), "{}", lost.len());
    lost.iter()
        .for_each(|&&start| lose(&memory, 0, start + 8, 2));
    lose(&memory, 0, last + 8, 1);
    let mut left = || {
        let mend = log.scrubber.mend(0).expect("a read").expect("a fault");
        assert!(mend.work_bytes() < 300 << 20, "{}", mend.work_bytes());
        mend.broken().len()
    };
    assert_eq!(left(), lost.len() + 1, "not reached");
    assert_eq!(left(), lost.len());
    assert_eq!(left(), lost.len() + 1, "from the beginning");
}

/// Else each go over one would make the other begin anew, and neither come to its end.
#[test]
fn where_a_go_ended_is_known_of_each_segment() {
    let memory = MemoryBackend::new();
    let (mut log, starts) = filled_finely_up_to(&memory, 240 * 1024, 2);
    let mut lost = [0; 2];
    for (segment, starts) in starts.iter().enumerate() {
        // One stands between that and the others.
        let odd = starts.len() - 1 + starts.len() % 2;
        let (last, others) = starts[..odd].split_last().expect("many");
        let others = others.iter().step_by(2);
        lost[segment] = others.len();
        others.for_each(|&start| lose(&memory, segment as u32, start + 8, 2));
        lose(&memory, segment as u32, last + 8, 1);
    }
    let left = |log: &mut Opened, segment| {
        let mend = log
            .scrubber
            .mend(segment)
            .expect("a read")
            .expect("a fault");
        mend.broken().len()
    };
    assert_eq!(left(&mut log, 0), lost[0] + 1, "not reached");
    assert_eq!(left(&mut log, 1), lost[1] + 1, "not reached");
    assert_eq!(left(&mut log, 0), lost[0]);
    assert_eq!(left(&mut log, 1), lost[1]);
}

/// Row C: bytes of a stranger are taken if they are the ones that stood there, and no others.
#[test]
fn offered_bytes_are_taken_if_the_chain_names_them_and_no_others() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    let before = durable(&memory, 1);
    let (number, place) = second_of(&places, 1);
    let right = &expected(&places)[number];
    let at = place.offset.bytes() as usize;
    // In the payload; the header as well; the hash at the end as well.
    for (from, bytes) in [
        (at + 40, 20),
        (at, 50),
        (at + 33, right.len().next_multiple_of(8) + 31),
    ] {
        lose(&memory, 1, from, bytes);
        let (mut mend, broken) = first_broken(&mut log, 1);
        assert_eq!(broken.place, place);
        // What chains on a hash that is lost seems faulty with it, and is not.
        assert!(mend.broken().len() <= 2);
        let mut wrong = right.clone();
        wrong[0] ^= 1;
        assert!(!mend.offer(place.offset, KIND, &[&wrong]));
        assert!(!mend.offer(place.offset, KIND, &[right, b"more"]));
        assert!(!mend.offer(LogOffset::new(1, 8), KIND, &[right]));
        assert!(mend.offer(place.offset, KIND, &[&right[..9], &right[9..]]));
        let repaired = mend.finish().expect("a write").repaired;
        assert!(repaired > 0);
        assert_eq!(durable(&memory, 1), before);
        assert_eq!(&log.reader.read(place).expect("whole")[..], &right[..]);
    }
}

/// Row D: what nobody can give stays as it is, nothing is cut, and the next start marks it.
#[test]
fn what_cannot_be_brought_back_is_kept_and_nothing_is_cut() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    let (_, place) = second_of(&places, 1);
    lose(&memory, 1, place.offset.bytes() as usize + 40, 20);
    let damaged = durable(&memory, 1);
    for _ in 0..2 {
        assert_eq!(pass(&mut log), [1]);
        let (mend, _) = first_broken(&mut log, 1);
        let Mended { repaired, left } = mend.finish().expect("nothing is written");
        assert_eq!((repaired, left.len()), (0, 1));
        assert_eq!(left[0].index, Some(place.index));
        assert_eq!(durable(&memory, 1), damaged);
    }
    // The log goes on meanwhile.
    append(&mut log, b"one more");
    sync(&mut log);
    drop(log);
    let log = try_open(&memory).expect("a log that is marked");
    assert_eq!(log.recovery.marked.len(), 1);
    assert!(log.recovery.cut.is_none());
    assert_eq!(durable(&memory, 1), damaged);
    // What is marked is known, and not looked at again.
    let mut log = log;
    assert_eq!(pass(&mut log), [0; 0]);
}

#[test]
fn a_segment_that_was_pruned_meanwhile_does_not_come_back() {
    let memory = MemoryBackend::new();
    let (mut log, _) = filled(&memory);
    memory.rot(&name(1), 700, 1, false);
    let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
    log.pruner.prune(2).expect("old segments go");
    mend.finish().expect("nothing to write");
    assert!(
        !memory
            .file_names()
            .iter()
            .any(|file| file.starts_with(&name(1)))
    );
    assert_eq!(pass(&mut log), [0; 0]);
}

#[test]
fn power_lost_at_every_step_of_mending_leaves_the_old_segment_or_the_mended_one() {
    for step in 0.. {
        let memory = MemoryBackend::new();
        let (mut log, places) = filled(&memory);
        memory.rot(&name(1), 700, 1, false);
        let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
        memory.power_off_after(step);
        let is_done = mend.finish().is_ok();
        for keeps in [false, true] {
            let after = memory.power_cut(|_| keeps);
            let found = after.file(&name(1)).expect("it has one of the two");
            assert_eq!(found.len(), SEGMENT_BYTES as usize);
            let after_open = try_open(&after).expect("a log");
            let is_old = after_open.recovery.marked.len() == 1;
            assert!(is_old || payloads(&after_open.reader) == expected(&places));
            assert!(after_open.recovery.cut.is_none());
        }
        if is_done {
            assert!(step > 2, "there are several steps");
            break;
        }
    }
}

/// A copy of what memory shows is no copy of what the disk has any more.
#[test]
fn no_segment_is_replaced_after_a_failed_sync() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    let (number, place) = second_of(&places, 1);
    lose(&memory, 1, place.offset.bytes() as usize + 40, 20);
    let damaged = durable(&memory, 1);
    append(&mut log, b"it never reaches the disk");
    memory.fail_sync_after(0);
    log.syncer
        .sync(log.writer.unsynced())
        .expect_err("it fails");
    let (mut mend, _) = first_broken(&mut log, 1);
    assert!(mend.offer(place.offset, KIND, &[&expected(&places)[number]]));
    let names = memory.file_names();
    let error = mend.finish().expect_err("the log is not to be relied on");
    assert!(matches!(error, ScrubError::Poisoned), "{error}");
    assert_eq!((durable(&memory, 1), memory.file_names()), (damaged, names));
}

#[test]
fn a_full_disk_leaves_the_faulty_segment_for_later() {
    let memory = MemoryBackend::new();
    let (mut log, _) = filled(&memory);
    let before = durable(&memory, 1);
    memory.rot(&name(1), 700, 1, false);
    memory.set_full(true);
    let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
    mend.finish().expect_err("no room");
    assert!(
        !memory
            .file_names()
            .iter()
            .any(|file| file.ends_with(".new"))
    );
    memory.set_full(false);
    assert_eq!(pass(&mut log), [1]);
    let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
    assert_eq!(mend.finish().expect("there is room").repaired, 1);
    assert_eq!(durable(&memory, 1), before);
}

/// On a real file system, under an open mapping: another process has written into the file.
#[test]
fn a_byte_changed_in_a_file_under_an_open_log_is_found_and_brought_back() {
    use std::os::unix::fs::FileExt;
    let temporary = TestFolder::new();
    let folder = DataFolder::open(temporary.path()).expect("a folder");
    let mut log = open(&folder, &config(), GENESIS).expect("a log");
    while log.writer.end().offset.segment() < 2 {
        let number = log.writer.end().index.count();
        append(&mut log, &payload(number, 300));
    }
    sync(&mut log);
    let path = temporary.path().join(name(0));
    let before = std::fs::read(&path).expect("the segment");
    let held = log.reader.iter().nth(1).expect("two").expect("whole");
    let bytes = held.to_vec();
    let file = std::fs::OpenOptions::new()
        .write(true)
        .open(&path)
        .expect("it opens");
    file.write_all_at(&[before[2000] ^ 0x40], 2000)
        .expect("a write");
    drop(file);
    assert_eq!(pass(&mut log), [0]);
    let mend = log.scrubber.mend(0).expect("a read").expect("a fault");
    let mended = mend.finish().expect("a write");
    assert!(mended.left.is_empty() && mended.repaired > 0);
    assert_eq!(std::fs::read(&path).expect("the segment"), before);
    assert_eq!(pass(&mut log), [0; 0]);
    // Who had the old file open reads on, and new reads come from the new one.
    assert_eq!(held[..], bytes[..]);
    assert!(log.reader.iter().all(|record| record.is_ok()));
}

/// The disk is right, and what readers are shown is not: they get the disk's.
#[test]
fn what_memory_alone_lost_is_read_from_the_disk_again() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled(&memory);
    let (_, place) = second_of(&places, 1);
    let at = place.offset.bytes() as usize + 40;
    memory.rot(&name(1), at, 0x10, true);
    memory.rot(&name(1), at, 0x10, false);
    log.reader.read(place).expect_err("memory is wrong");
    let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
    assert!(mend.finish().expect("a write").left.is_empty());
    log.reader.read(place).expect("it is right again");
}

/// Several pages a segment, so that one of them can be lost; one record in each, with nothing but
/// zeros in the last page.
fn filled_by_pages(memory: &MemoryBackend) -> (Opened, Vec<RecordRef>) {
    let mut config = config();
    config.segment_bytes = 4 * PAGE_BYTES as u32;
    let mut log = open(&DataFolder::in_memory(memory), &config, GENESIS).expect("a log");
    let places = (0..3).map(|number| append(&mut log, &payload(number, 9000)));
    let places: Vec<_> = places.collect();
    assert_eq!(
        places
            .iter()
            .map(|it| it.offset.segment())
            .collect::<Vec<_>>(),
        [0, 1, 2]
    );
    sync(&mut log);
    (log, places)
}

fn unreadable_pages(memory: &MemoryBackend) -> usize {
    let found = verify(&DataFolder::in_memory(memory)).expect("it can be judged");
    found.unreadable_pages
}

/// The next start would have to mark it: nobody knows what stood there.
#[test]
fn a_page_of_zeros_that_the_disk_does_not_give_is_found_and_written_again() {
    let memory = MemoryBackend::new();
    let (mut log, _) = filled_by_pages(&memory);
    let before = durable(&memory, 1);
    assert!(before[3 * PAGE_BYTES..].iter().all(|&byte| byte == 0));
    memory.make_unreadable(&name(1), 3 * PAGE_BYTES..3 * PAGE_BYTES + 1);
    assert_eq!((pass(&mut log), unreadable_pages(&memory)), (vec![1], 1));
    let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
    let mended = mend.finish().expect("a write");
    assert!(mended.repaired > 0 && mended.left.is_empty());
    assert_eq!(pass(&mut log), [0; 0]);
    assert_eq!(
        (durable(&memory, 1), unreadable_pages(&memory)),
        (before, 0)
    );
}

/// Zeros in the place of such a page would end every hope of it.
#[test]
fn a_page_that_the_disk_does_not_give_is_kept_until_all_of_its_segment_is_back() {
    let memory = MemoryBackend::new();
    let (mut log, places) = filled_by_pages(&memory);
    let before = durable(&memory, 1);
    memory.make_unreadable(&name(1), PAGE_BYTES..PAGE_BYTES + 1);
    // What is lost elsewhere could be mended at once.
    memory.rot(&name(1), 3 * PAGE_BYTES + 5, 1, true);
    for _ in 0..2 {
        assert_eq!(pass(&mut log), [1]);
        let (mend, _) = first_broken(&mut log, 1);
        let Mended { repaired, left } = mend.finish().expect("nothing is written");
        assert_eq!((repaired, left.len()), (0, 1));
        assert_eq!(unreadable_pages(&memory), 1, "whoever can may read it yet");
    }
    let (mut mend, broken) = first_broken(&mut log, 1);
    assert_eq!(broken.place, places[1]);
    assert!(mend.offer(places[1].offset, KIND, &[&payload(1, 9000)]));
    let Mended { repaired, left } = mend.finish().expect("a write");
    assert_eq!((repaired, left.len()), (2, 0));
    assert_eq!(
        (durable(&memory, 1), unreadable_pages(&memory)),
        (before, 0)
    );
}

/// What memory holds may be whole where the disk is not: that it was asked is said, also when a
/// page of the piece could not be read and the others were read one by one.
/// A process that has no descriptor left for a moment has not lost its disk: what it was not given
/// would be kept as lost, asked of peers, and an alarm.
#[test]
fn a_read_that_is_refused_for_want_of_something_is_no_damage() {
    let errors = [Errno::MFILE, Errno::NFILE, Errno::NOMEM, Errno::ACCESS];
    for error in errors.map(Errno::raw_os_error) {
        let memory = MemoryBackend::new();
        let (mut log, _) = filled_by_pages(&memory);
        let refused = |error: ScrubError| match error {
            ScrubError::Io { source, .. } => source.raw_os_error(),
            other => panic!("{other}"),
        };
        memory.refuse_disk_read_after(0, error);
        let step = log.scrubber.step(1 << 20);
        assert_eq!(step.map_err(refused), Err(Some(error)));
        memory.refuse_disk_read_after(0, error);
        let mend = log.scrubber.mend(0).map(|mend| mend.is_some());
        assert_eq!(mend.map_err(refused), Err(Some(error)));
        assert_eq!(pass(&mut log), [0; 0]);
        // And beside a page that the disk has lost.
        memory.make_unreadable(&name(0), 0..1);
        memory.refuse_disk_read_after(2, error);
        let step = log.scrubber.step(1 << 20);
        assert_eq!(step.map_err(refused), Err(Some(error)));
        pass(&mut log);
        assert_eq!(pass(&mut log), [0]);
    }
}

/// A disk tells of a bad place by one of several errors, by how it is asked and what lies between.
#[test]
fn every_error_of_the_medium_is_one_of_the_page_that_it_is_of() {
    let errors = [
        Errno::IO,
        Errno::NODATA,
        Errno::ILSEQ,
        Errno::REMOTEIO,
        Errno::BADMSG,
        Errno::UCLEAN,
        Errno::TIMEDOUT,
        Errno::NOLINK,
    ];
    for error in errors {
        let memory = MemoryBackend::new();
        let (mut log, _) = filled_by_pages(&memory);
        // Of the piece; what is read of it page by page is there.
        memory.refuse_disk_read_after(0, error.raw_os_error());
        let step = log.scrubber.step(1 << 20).expect("a read");
        assert!(
            matches!(step, Scrubbed::Whole { segment: 0, .. }),
            "{error}: {step:?}"
        );
        assert_eq!(log.scrubber.is_direct(), Some(true));
    }
}

#[test]
fn a_pass_that_memory_answered_says_so_page_by_page_too() {
    let memory = MemoryBackend::new();
    let (mut log, _) = filled_by_pages(&memory);
    memory.make_unreadable(&name(1), PAGE_BYTES..PAGE_BYTES + 1);
    let mut said = |bytes: usize| {
        let mut said = Vec::new();
        loop {
            match log.scrubber.step(bytes).expect("a read") {
                Scrubbed::PassEnd => return said,
                _ => said.push(log.scrubber.is_direct()),
            }
        }
    };
    let segment = 4 * PAGE_BYTES;
    assert_eq!(said(segment), [Some(true); 2]);
    memory.refuse_direct_reads();
    assert_eq!(said(segment), [Some(false); 2]);
    // A step that read nothing changes nothing of it.
    assert_eq!(said(PAGE_BYTES), [Some(false); 8]);
    // Rot of the disk alone is not seen now.
    memory.rot(&name(0), 600, 1, false);
    assert_eq!(pass(&mut log), [1]);
}

/// Whatever is lost, nothing is ever brought back otherwise than it was.
#[test]
fn random_damage_is_mended_right_or_not_at_all() {
    let mut random = Random(77);
    for _ in 0..60 {
        let memory = MemoryBackend::new();
        let (mut log, _) = filled(&memory);
        let before = durable(&memory, 1);
        for _ in 0..=random.below(4) {
            let from = random.below(u64::from(SEGMENT_BYTES) - 64) as usize;
            lose(&memory, 1, from, 1 + random.below(64) as usize);
        }
        let damaged = durable(&memory, 1);
        if pass(&mut log).is_empty() {
            assert_eq!(damaged, before);
            continue;
        }
        let mend = log.scrubber.mend(1).expect("a read").expect("a fault");
        let mended = mend.finish().expect("a write");
        let after = durable(&memory, 1);
        for ((&was, &lost), &is) in before.iter().zip(&damaged).zip(&after) {
            assert!(is == was || is == lost, "a third byte");
        }
        assert_eq!(mended.left.is_empty(), after == before);
    }
}

#[test]
fn a_pass_goes_on_above_a_segment_that_was_pruned_under_it() {
    let memory = MemoryBackend::new();
    let (mut log, _) = filled_by_pages(&memory);
    let begun = log.scrubber.step(1).expect("a page of the first segment");
    assert!(matches!(begun, Scrubbed::More { bytes } if bytes > 0));
    memory.rot(&name(1), 700, 1, false);
    log.pruner.prune(1).expect("old segments go");
    assert_eq!(pass(&mut log), [1], "the rest of the pass");
    assert_eq!(pass(&mut log), [1], "and the next one");
}
