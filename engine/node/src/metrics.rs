//! What is counted, so that another thread can read it while the stages run.
//!
//! Owns the numbers and their OpenMetrics text. Each number has one writer, which stores without
//! any read-modify-write, so counting costs a plain store; readers may see numbers of different
//! moments. Never: a lock, a label made at run time, or an allocation while counting.

use crate::drift::DivergedStatus;
use crate::lanes::Rejection;
use crate::publication::Publication;
use crate::state_machine::Lane;
use quorate_net::CloseReason;
use serde::Serialize;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};

/// A number that one thread writes and any thread reads.
#[derive(Debug, Default)]
pub struct Number(AtomicU64);

impl Number {
    /// Adds. One thread alone may call this and [`set`](Self::set).
    pub fn add(&self, count: u64) {
        self.set(self.read().wrapping_add(count));
    }

    /// Replaces.
    pub fn set(&self, value: u64) {
        self.0.store(value, Ordering::Relaxed);
    }

    /// Reads.
    #[must_use]
    pub fn read(&self) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Steps of a histogram inside one doubling: a value is known to within 1/16.
const STEPS: usize = 16;
/// Doublings from 16 ns up: the last bucket begins beyond 17 minutes.
const DOUBLINGS: usize = 37;
const BUCKETS: usize = STEPS * (DOUBLINGS + 1);

/// Durations, by buckets of a sixteenth of a doubling. One writer.
#[derive(Debug)]
pub struct Durations {
    buckets: [Number; BUCKETS],
    sum_ns: Number,
    max_ns: Number,
}

impl Default for Durations {
    fn default() -> Self {
        Self {
            buckets: [const { Number(AtomicU64::new(0)) }; BUCKETS],
            sum_ns: Number::default(),
            max_ns: Number::default(),
        }
    }
}

/// Durations in few numbers, microseconds. Each is the upper edge of its bucket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, serde::Deserialize)]
pub struct DurationsSummary {
    /// How many.
    pub count: u64,
    /// Half are below.
    pub p50_us: f64,
    /// Nine in ten are below.
    pub p90_us: f64,
    /// 99 in 100 are below.
    pub p99_us: f64,
    /// 999 in 1,000 are below.
    pub p999_us: f64,
    /// The longest.
    pub max_us: f64,
}

/// Place of the bucket that holds a duration.
fn bucket_of(ns: u64) -> usize {
    if ns < STEPS as u64 {
        return ns as usize;
    }
    let doubling = (ns.ilog2() - STEPS.ilog2()) as usize;
    // The four bits below the highest one.
    let step = (ns >> doubling) as usize - STEPS;
    (STEPS * (doubling + 1) + step).min(BUCKETS - 1)
}

/// The first duration beyond a bucket.
const fn bucket_end_ns(bucket: usize) -> u64 {
    if bucket < STEPS {
        return bucket as u64 + 1;
    }
    let doubling = bucket / STEPS - 1;
    ((bucket % STEPS + STEPS + 1) as u64) << doubling
}

impl Durations {
    /// Counts one duration.
    pub fn record(&self, ns: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(ns)) {
            bucket.add(1);
        }
        self.sum_ns.add(ns);
        if ns > self.max_ns.read() {
            self.max_ns.set(ns);
        }
    }

    /// The durations in few numbers.
    #[must_use]
    pub fn summary(&self) -> DurationsSummary {
        let counts: Vec<u64> = self.buckets.iter().map(Number::read).collect();
        let count: u64 = counts.iter().sum();
        let max_us = self.max_ns.read() as f64 / 1000.0;
        let quantile = |per_mille: u64| {
            let wanted = count.saturating_mul(per_mille).div_ceil(1000);
            let mut seen = 0;
            let found = counts.iter().position(|&in_bucket| {
                seen += in_bucket;
                seen >= wanted.max(1)
            });
            found.map_or(0.0, |bucket| {
                (bucket_end_ns(bucket) as f64 / 1000.0).min(max_us)
            })
        };
        DurationsSummary {
            count,
            p50_us: quantile(500),
            p90_us: quantile(900),
            p99_us: quantile(990),
            p999_us: quantile(999),
            max_us,
        }
    }

    /// Appends an OpenMetrics histogram in seconds, one bucket a doubling.
    fn render(&self, name: &str, help: &str, text: &mut String) {
        render_head(name, help, text);
        self.render_samples(name, "", text);
    }

    /// The samples of one label, which ends with a comma, or of none.
    fn render_samples(&self, name: &str, label: &str, text: &mut String) {
        let mut lines = String::new();
        let mut total = 0;
        for (place, bucket) in self.buckets.iter().enumerate() {
            total += bucket.read();
            if place % STEPS == STEPS - 1 && place > 8 * STEPS {
                let edge = bucket_end_ns(place) as f64 / 1e9;
                push(
                    &mut lines,
                    format_args!("{name}_bucket{{{label}le=\"{edge}\"}} {total}\n"),
                );
            }
        }
        push(
            &mut lines,
            format_args!("{name}_bucket{{{label}le=\"+Inf\"}} {total}\n"),
        );
        let braces = match label.trim_end_matches(',') {
            "" => String::new(),
            label => format!("{{{label}}}"),
        };
        push(&mut lines, format_args!("{name}_count{braces} {total}\n"));
        let sum = self.sum_ns.read() as f64 / 1e9;
        push(&mut lines, format_args!("{name}_sum{braces} {sum}\n"));
        text.push_str(&lines);
    }
}

fn render_head(name: &str, help: &str, text: &mut String) {
    push(
        text,
        format_args!("# TYPE {name} histogram\n# UNIT {name} seconds\n# HELP {name} {help}\n"),
    );
}

/// Formatting into a string cannot fail.
fn push(text: &mut String, arguments: std::fmt::Arguments<'_>) {
    if text.write_fmt(arguments).is_err() {
        tracing::error!("cannot write to a string");
    }
}

macro_rules! numbers {
    ($($(#[doc = $doc:literal])+ $kind:ident $name:ident;)*) => {
        /// Every number of a node.
        #[derive(Debug, Default)]
        pub struct Metrics {
            $($(#[doc = $doc])+ pub $name: Number,)*
            /// From a command's receipt here to its finality here.
            pub finality: Durations,
            /// The same by lane: how long this gateway's clients wait in each.
            pub inclusion: [Durations; Lane::COUNT],
            /// From a block's finality here to its results and events on their way to the
            /// sockets.
            pub publish: Durations,
            /// The execution of one block, the application's part most of all.
            pub execution: Durations,
            /// When which block was published here.
            pub publication: Publication,
            /// One sync of the log.
            pub sync: Durations,
            /// One turn of the loop that had work, without waiting.
            pub turn: Durations,
            /// Names of the state's sections in root order, for what is said of one.
            pub sections: Vec<&'static str>,
            /// What differs from the others, once something does.
            pub diverged: OnceLock<DivergedStatus>,
            /// Connections that ended, by reason.
            pub closed: [Number; CloseReason::ALL.len()],
            /// Commands refused for good, by reason.
            pub rejected: [Number; REJECTIONS.len()],
        }

        impl Metrics {
            /// Every plain number by its name, in order.
            fn plain(&self) -> impl Iterator<Item = (Kind, &'static str, &'static str, u64)> {
                [$((Kind::$kind, stringify!($name), concat!($($doc),+), self.$name.read()),)*]
                    .into_iter()
            }
        }
    };
}

/// What a number does over time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    /// It only grows.
    Counter,
    /// It goes up and down.
    Gauge,
}

/// Every lane's label, by number.
const LANES: [&str; Lane::COUNT] = ["cancel", "order", "price", "admin"];

/// Every rejection, with its label.
const REJECTIONS: &[(Rejection, &str)] = &[
    (Rejection::ForeignSession, "foreign_session"),
    (Rejection::TooLarge, "too_large"),
    (Rejection::Conflict, "conflict"),
    (Rejection::TooFarAhead, "too_far_ahead"),
    (Rejection::TableFull, "table_full"),
    (Rejection::Stopping, "stopping"),
    (Rejection::BadSignature, "bad_signature"),
    (Rejection::SessionEnded, "session_ended"),
    (Rejection::Diverged, "diverged"),
    (Rejection::OpeningTooOld, "opening_too_old"),
    (Rejection::OpeningTooFarAhead, "opening_too_far_ahead"),
    (Rejection::SessionOpen, "session_open"),
];

numbers! {
    /// Height of the highest finalized block here.
    Gauge height;
    /// Height up to which blocks are provable to others.
    Gauge height_proven;
    /// Height up to which blocks survive the loss of the site.
    Gauge height_durable;
    /// Exit code of the failure that this validator ends for; 0 while there is none. Told before
    /// it has ended, by whichever thread saw the failure, so that a process can end in spite of
    /// a thread that hangs.
    Gauge ending_code;
    /// Window that this validator is in.
    Gauge window;
    /// Index of the validator that leads it.
    Gauge leader;
    /// Whether this validator may vote now.
    Gauge voting;
    /// Whether this validator has lost what it said, and asks its peers before it votes again.
    Gauge recovering;
    /// Whether nothing can be logged for want of room on the disk.
    Gauge disk_full;
    /// Other validators that are connected.
    Gauge peers_connected;
    /// Clients that are connected.
    Gauge clients_connected;
    /// Connections that have not proved who they are.
    Gauge connections_unauthenticated;
    /// Commands of clients here that their keys have not signed; each ends its connection.
    Counter client_signatures_bad;
    /// Commands that peers forwarded without a signature that holds.
    Counter forwarded_signatures_bad;
    /// Runs of commands that peers forwarded and that found no room on their way to the check; they
    /// come again.
    Counter forwards_left_out;
    /// Commands in finalized blocks without a signature that holds; they did nothing.
    Counter block_signatures_bad;
    /// Commands that wait here for a block or for finality.
    Gauge pool_commands;
    /// Bytes of these commands.
    Gauge pool_bytes;
    /// Height of the newest state that weight AMP attests alike.
    Gauge height_attested;
    /// Greatest height that peers, an honest one among them, say is final.
    Gauge height_peers;
    /// 1 once peers, an honest one among them, have said that in this run.
    Gauge peers_heard;
    /// First height whose state is known to be another than the others'; 0 while all agree.
    Gauge diverged_height;
    /// Height of the newest snapshot, taken or started from.
    Gauge snapshot_height;
    /// Height of the snapshot that is being fetched from peers; 0 for none.
    Gauge joining_height;
    /// Chunks of it that are here.
    Gauge joining_chunks;
    /// Chunks that it has.
    Gauge joining_chunks_all;
    /// Peers that its chunks can be asked of.
    Gauge joining_sources;
    /// Parts of snapshots from peers that were not what they were said to be.
    Counter joining_lies;
    /// Height of the oldest block whose public events are archived here; 0 while nobody knows.
    Gauge events_first;
    /// Stretches of older public events from peers that were not those of the chain.
    Counter events_lies;
    /// Chunks of snapshots sent to peers that join.
    Counter snapshot_chunks_served;
    /// Bytes of the log's segments.
    Gauge log_bytes;
    /// Bytes that the log may have before old segments go; 0 when they never do.
    Gauge log_bytes_max;
    /// Bytes that the log's file system had left when something was synced last; 0 before.
    Gauge log_free_bytes;
    /// Bytes of log segments that were removed.
    Counter log_pruned_bytes;
    /// Bytes of the log that were read to see whether the disk still has them.
    Counter scrub_bytes;
    /// Times that all complete segments of the log were looked at.
    Counter scrub_passes;
    /// Places of the log that were found faulty so.
    Counter scrub_faults;
    /// Of these, places that are again as they were written.
    Counter scrub_repaired;
    /// Places that are faulty now and could not be repaired so far.
    Gauge scrub_faulty;
    /// Whether the log is read past the memory of the system; 0 also before the first look.
    Gauge scrub_direct;
    /// Commands admitted.
    Counter commands_accepted;
    /// Commands that found no room.
    Counter commands_busy;
    /// Commands refused unread by the pool, because their session has sent too much.
    Counter commands_over_rate;
    /// Commands refused unread by the pool, because orders would find no room.
    Counter commands_turned_away;
    /// Questions of clients that were told to come again.
    Counter questions_busy;
    /// Times that a client was not read from for a while, because it did not wait when told to.
    Counter clients_held;
    /// After how many microseconds orders may come again; 0 while there is room.
    Gauge orders_hold_us;
    /// Commands in finalized blocks.
    Counter commands_finalized;
    /// Blocks finalized first by first votes.
    Counter blocks_finalized_fast;
    /// Blocks finalized first by Finals.
    Counter blocks_finalized_slow;
    /// Blocks finalized first by a proof from others.
    Counter blocks_finalized_proof;
    /// Blocks proposed.
    Counter proposals;
    /// Windows entered.
    Counter windows_entered;
    /// Windows stopped because their leader was silent.
    Counter stops_timer;
    /// Own windows given up because stops of others had cost them the fast path.
    Counter stops_slow;
    /// Times that first votes and proposals were held because execution was behind.
    Counter votes_held;
    /// Rules broken by peers on their own channels.
    Counter peer_faults;
    /// Dials that the peer ended when it had seen which validator, and which run of it, dialed.
    Counter refused_by_peers;
    /// Frames of peers that were no messages.
    Counter peer_frames_malformed;
    /// Frames of clients that were no requests.
    Counter client_frames_malformed;
    /// Things that an operator must see; each is in the log.
    Counter alarms;
    /// Frames from peers and clients.
    Counter frames_in;
    /// Frames to peers and clients.
    Counter frames_out;
    /// Bytes read from sockets.
    Counter net_bytes_in;
    /// Bytes written to sockets.
    Counter net_bytes_out;
    /// Frames that were dropped or not taken because a queue was full.
    Counter frames_dropped;
    /// Messages of peers that can be sent again, dropped since too much of that peer waited.
    Counter peer_frames_dropped;
    /// Batches of signatures checked.
    Counter signature_batches;
    /// Claims whose signatures were checked.
    Counter claims_checked;
    /// Claims that were refused.
    Counter claims_refused;
    /// Records and headers signed.
    Counter signatures_made;
    /// Turns of the loop that had work.
    Counter turns;
    /// Subscriptions to the public stream.
    Gauge public_subscriptions;
    /// Subscriptions that were cut since their readers were too slow.
    Counter public_cuts;
    /// Height of the oldest block of the public stream that is kept.
    Gauge public_oldest;
    /// Height of the oldest block whose private outputs are kept; 0 where none are kept on disk.
    Gauge private_oldest;
    /// Finalized blocks that the embedding program did not take in time.
    Counter finalized_lagged;
}

impl Metrics {
    /// Whether clients are served: not with a state that is another than the others'.
    #[must_use]
    pub fn is_serving(&self) -> bool {
        self.diverged_height.read() == 0
    }

    /// What is called by this place in a root; without a place it is the snapshot alone.
    pub(crate) fn section_name(&self, place: Option<u16>) -> &'static str {
        let Some(place) = place else {
            return "none: the snapshot alone";
        };
        let name = self.sections.get(usize::from(place));
        name.copied().unwrap_or("one that is not here")
    }

    /// Everything as OpenMetrics text.
    #[must_use]
    pub fn render(&self) -> String {
        let mut text = String::with_capacity(16 * 1024);
        for (kind, name, help, value) in self.plain() {
            let help = help.trim();
            let (kind, suffix) = match kind {
                Kind::Counter => ("counter", "_total"),
                Kind::Gauge => ("gauge", ""),
            };
            push(
                &mut text,
                format_args!(
                    "# TYPE quorate_{name} {kind}\n# HELP quorate_{name} {help}\n\
                     quorate_{name}{suffix} {value}\n"
                ),
            );
        }
        self.render_labelled(&mut text);
        render_resident(&mut text);
        self.finality.render(
            "quorate_finality_seconds",
            "From a command's receipt here to its finality here.",
            &mut text,
        );
        self.render_inclusion(&mut text);
        self.publish.render(
            "quorate_publish_seconds",
            "From a block's finality here to its results and events on their way to the sockets.",
            &mut text,
        );
        self.execution.render(
            "quorate_execution_seconds",
            "The execution of one finalized block here, roots included.",
            &mut text,
        );
        self.sync
            .render("quorate_sync_seconds", "One sync of the log.", &mut text);
        self.turn.render(
            "quorate_turn_seconds",
            "One turn of the loop with work.",
            &mut text,
        );
        text.push_str("# EOF\n");
        text
    }

    fn render_inclusion(&self, text: &mut String) {
        let name = "quorate_inclusion_seconds";
        let help = "From a command's receipt here to its finality here, by lane.";
        render_head(name, help, text);
        for (lane, durations) in LANES.iter().zip(&self.inclusion) {
            durations.render_samples(name, &format!("lane=\"{lane}\","), text);
        }
    }

    fn render_labelled(&self, text: &mut String) {
        text.push_str("# TYPE quorate_connections_closed counter\n");
        text.push_str("# HELP quorate_connections_closed Connections that ended, by reason.\n");
        for (reason, count) in CloseReason::ALL.iter().zip(&self.closed) {
            let (reason, count) = (reason.name(), count.read());
            push(
                text,
                format_args!("quorate_connections_closed_total{{reason=\"{reason}\"}} {count}\n"),
            );
        }
        text.push_str("# TYPE quorate_commands_rejected counter\n");
        text.push_str("# HELP quorate_commands_rejected Commands refused for good, by reason.\n");
        for ((_, reason), count) in REJECTIONS.iter().zip(&self.rejected) {
            let count = count.read();
            push(
                text,
                format_args!("quorate_commands_rejected_total{{reason=\"{reason}\"}} {count}\n"),
            );
        }
    }

    /// Counts a command that was refused for good.
    pub fn count_rejection(&self, rejection: Rejection) {
        let place = REJECTIONS.iter().position(|(known, _)| *known == rejection);
        if let Some(number) = place.and_then(|place| self.rejected.get(place)) {
            number.add(1);
        }
    }

    /// Takes over what the message path has counted.
    pub fn copy_net(&self, counters: &quorate_net::Counters) {
        self.clients_connected.set(counters.clients_now);
        self.connections_unauthenticated
            .set(counters.unauthenticated_now);
        self.clients_held.set(counters.clients_held);
        self.frames_in.set(counters.frames_in);
        self.frames_out.set(counters.frames_out);
        self.net_bytes_in.set(counters.bytes_in);
        self.net_bytes_out.set(counters.bytes_out);
        let dropped: u64 = quorate_net::Class::ALL
            .into_iter()
            .map(|class| counters.dropped(class) + counters.refused(class))
            .sum();
        self.frames_dropped.set(dropped);
        for (reason, number) in CloseReason::ALL.iter().zip(&self.closed) {
            number.set(counters.closed_by(*reason));
        }
    }

    /// Everything that went wrong so far, by name; what did not is left out.
    #[must_use]
    pub fn faults(&self) -> BTreeMap<String, u64> {
        let plain = [
            ("peer_faults", &self.peer_faults),
            ("refused_by_peers", &self.refused_by_peers),
            ("peer_frames_malformed", &self.peer_frames_malformed),
            ("peer_frames_dropped", &self.peer_frames_dropped),
            ("client_frames_malformed", &self.client_frames_malformed),
            ("client_signatures_bad", &self.client_signatures_bad),
            ("commands_over_rate", &self.commands_over_rate),
            ("clients_held", &self.clients_held),
            ("forwarded_signatures_bad", &self.forwarded_signatures_bad),
            ("forwards_left_out", &self.forwards_left_out),
            ("block_signatures_bad", &self.block_signatures_bad),
            ("claims_refused", &self.claims_refused),
            ("alarms", &self.alarms),
            ("joining_lies", &self.joining_lies),
            ("events_lies", &self.events_lies),
            ("scrub_faulty", &self.scrub_faulty),
            ("frames_dropped", &self.frames_dropped),
            ("finalized_lagged", &self.finalized_lagged),
            ("stops_timer", &self.stops_timer),
            ("votes_held", &self.votes_held),
        ];
        let closed = CloseReason::ALL
            .iter()
            .zip(&self.closed)
            .map(|(reason, number)| (format!("closed_{}", reason.name()), number.read()));
        plain
            .into_iter()
            .map(|(name, number)| (name.to_owned(), number.read()))
            .chain(closed)
            .filter(|(_, count)| *count > 0)
            .collect()
    }

    /// Blocks finalized first by first votes, as a share of all.
    #[must_use]
    pub fn fast_path_fraction(&self) -> f64 {
        let fast = self.blocks_finalized_fast.read();
        let all = fast + self.blocks_finalized_slow.read() + self.blocks_finalized_proof.read();
        if all == 0 {
            0.0
        } else {
            fast as f64 / all as f64
        }
    }
}

/// Asks the system, so when somebody reads alone; nothing where it does not say.
fn render_resident(text: &mut String) {
    let Ok(statm) = std::fs::read_to_string("/proc/self/statm") else {
        return;
    };
    // Pages: all, those in memory, and more.
    let pages = statm.split_whitespace().nth(1);
    let Some(pages) = pages.and_then(|pages| pages.parse::<u64>().ok()) else {
        return;
    };
    let bytes = pages.saturating_mul(rustix::param::page_size() as u64);
    push(
        text,
        format_args!(
            "# TYPE quorate_resident_bytes gauge\n# HELP quorate_resident_bytes Memory of the \
             process that is in RAM, pages of the log included.\nquorate_resident_bytes {bytes}\n"
        ),
    );
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn buckets_follow_one_another_without_gap() {
        for bucket in 0..BUCKETS - 1 {
            let end = bucket_end_ns(bucket);
            assert_eq!(bucket_of(end - 1), bucket);
            assert_eq!(bucket_of(end), bucket + 1);
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
    }

    #[test]
    fn a_quantile_is_within_a_sixteenth_of_the_true_one() {
        let durations = Durations::default();
        for us in 1..=10_000_u64 {
            durations.record(us * 1000);
        }
        let summary = durations.summary();
        assert_eq!(summary.count, 10_000);
        for (found, expected) in [
            (summary.p50_us, 5_000.0),
            (summary.p90_us, 9_000.0),
            (summary.p99_us, 9_900.0),
            (summary.p999_us, 9_990.0),
        ] {
            assert!(
                found >= expected && found <= expected * (1.0 + 1.0 / 16.0),
                "{found}"
            );
        }
        assert!((summary.max_us - 10_000.0).abs() < 1e-6);
        assert_eq!(Durations::default().summary(), DurationsSummary::default());
    }

    #[test]
    fn the_text_has_every_number_once_and_ends_as_it_must() {
        let metrics = Metrics::default();
        metrics.commands_accepted.add(5);
        metrics.commands_accepted.add(2);
        metrics.count_rejection(Rejection::Conflict);
        metrics.finality.record(400_000);
        let text = metrics.render();
        assert!(text.contains("\nquorate_commands_accepted_total 7\n"));
        assert!(text.contains("quorate_commands_rejected_total{reason=\"conflict\"} 1\n"));
        assert!(text.contains("quorate_finality_seconds_count 1\n"));
        assert!(text.contains("quorate_connections_closed_total{reason=\"silent\"} 0\n"));
        let resident = text
            .lines()
            .find_map(|line| line.strip_prefix("quorate_resident_bytes "));
        let resident: u64 = resident.and_then(|bytes| bytes.parse().ok()).unwrap();
        assert!((1 << 20..1 << 40).contains(&resident), "{resident}");
        assert!(text.ends_with("# EOF\n"));
        let mut names: Vec<&str> = text
            .lines()
            .filter(|line| !line.starts_with('#'))
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, _)| name)
            .collect();
        let count = names.len();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), count, "a number stands twice");
    }

    #[test]
    fn every_rejection_is_counted_under_its_own_label() {
        let metrics = Metrics::default();
        for (place, (rejection, _)) in REJECTIONS.iter().enumerate() {
            metrics.count_rejection(*rejection);
            assert_eq!(metrics.rejected[place].read(), 1);
        }
    }

    #[test]
    fn the_fast_share_is_of_all_blocks() {
        let metrics = Metrics::default();
        assert!(metrics.fast_path_fraction().abs() < 1e-9);
        metrics.blocks_finalized_fast.add(3);
        metrics.blocks_finalized_slow.add(1);
        assert!((metrics.fast_path_fraction() - 0.75).abs() < 1e-9);
    }
}
