//! Latencies as they are recorded, summarised and written to disk.
//!
//! Owns: the range and resolution of every latency histogram of the harness, the percentiles that
//! reports name, and HdrHistogram's text layouts (`.hgrm`, and `.hlog` for several intervals).
//! Never: reads a clock.

use std::io::{self, Write};
use std::time::{Duration, SystemTime};

use hdrhistogram::Histogram;
use hdrhistogram::serialization::V2DeflateSerializer;
use hdrhistogram::serialization::interval_log::{
    IntervalLogWriterBuilder, IntervalLogWriterError, Tag,
};
use serde::Serialize;

/// Longest latency that is told apart from longer ones, nanoseconds (two minutes).
const LATENCY_NS_MAX: u64 = 120_000_000_000;
/// Decimal digits that a recorded value keeps.
const DIGITS: u8 = 3;
/// Lines of a `.hgrm` file per halving of the distance to 100 %.
const TICKS_PER_HALF_DISTANCE: u32 = 5;
/// Nanoseconds in the unit of every report.
const NS_PER_US: f64 = 1_000.0;

/// Latencies in nanoseconds; a value above two minutes counts as two minutes.
#[derive(Clone, Debug)]
pub struct Latencies {
    histogram: Histogram<u64>,
}

/// The named percentiles of a histogram in microseconds; `None` where nothing was recorded.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Percentiles {
    /// Median.
    pub p50: Option<f64>,
    /// 90 % are at or below this.
    pub p90: Option<f64>,
    /// 99 % are at or below this.
    pub p99: Option<f64>,
    /// 99.9 % are at or below this.
    pub p999: Option<f64>,
    /// The largest one.
    pub max: Option<f64>,
}

/// The middle of some values, the mean of the two middle ones of an even number; none of none.
#[must_use]
pub fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len() / 2;
    let upper = *values.get(middle)?;
    if values.len() % 2 == 1 {
        return Some(upper);
    }
    Some(f64::midpoint(upper, *values.get(middle.checked_sub(1)?)?))
}

impl Percentiles {
    /// Of each percentile the median over several runs, and of the largest one the largest; what
    /// no run has is none.
    #[must_use]
    pub fn medians(runs: &[Self]) -> Self {
        let of = |part: fn(&Self) -> Option<f64>| median(runs.iter().filter_map(part));
        Self {
            p50: of(|run| run.p50),
            p90: of(|run| run.p90),
            p99: of(|run| run.p99),
            p999: of(|run| run.p999),
            max: runs.iter().filter_map(|run| run.max).max_by(f64::total_cmp),
        }
    }
}

impl Latencies {
    /// An empty histogram.
    ///
    /// # Panics
    /// Never: the bounds are constants that the histogram takes, held by a test.
    #[must_use]
    pub fn new() -> Self {
        let histogram = Histogram::new_with_bounds(1, LATENCY_NS_MAX, DIGITS)
            .expect("the constant bounds are valid");
        Self { histogram }
    }

    /// The latencies of a list, nanoseconds.
    #[must_use]
    pub fn of(list_ns: &[u64]) -> Self {
        let mut latencies = Self::new();
        for latency_ns in list_ns {
            latencies.record_ns(*latency_ns);
        }
        latencies
    }

    /// Records one latency.
    pub fn record_ns(&mut self, latency_ns: u64) {
        self.histogram.saturating_record(latency_ns);
    }

    /// How many were recorded.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.len()
    }

    /// Takes in everything `other` holds.
    ///
    /// # Panics
    /// Never: both have the same bounds.
    pub fn merge(&mut self, other: &Self) {
        self.histogram
            .add(&other.histogram)
            .expect("both histograms have the same bounds");
    }

    /// The percentiles that reports name.
    #[must_use]
    pub fn percentiles(&self) -> Percentiles {
        if self.histogram.is_empty() {
            return Percentiles::default();
        }
        let at = |quantile: f64| Some(us(self.histogram.value_at_quantile(quantile)));
        Percentiles {
            p50: at(0.5),
            p90: at(0.9),
            p99: at(0.99),
            p999: at(0.999),
            max: Some(us(self.histogram.max())),
        }
    }

    /// The distribution as points: percent at or below, and microseconds. Denser towards 100.
    #[must_use]
    pub fn curve(&self) -> Vec<(f64, f64)> {
        let steps = self.histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE);
        steps
            .map(|step| {
                let percent = step.quantile_iterated_to() * 100.0;
                (percent, us(step.value_iterated_to()))
            })
            .collect()
    }

    /// Writes HdrHistogram's text layout, values in microseconds, as its plotters read it.
    ///
    /// # Errors
    /// Whatever `out` fails with.
    pub fn write_hgrm(&self, out: &mut impl Write) -> io::Result<()> {
        let histogram = &self.histogram;
        writeln!(
            out,
            "{:>12} {:>14} {:>10} {:>14}\n",
            "Value", "Percentile", "TotalCount", "1/(1-Percentile)"
        )?;
        let mut total = 0;
        for step in histogram.iter_quantiles(TICKS_PER_HALF_DISTANCE) {
            total += step.count_since_last_iteration();
            let (value, quantile) = (us(step.value_iterated_to()), step.quantile_iterated_to());
            write!(out, "{value:>12.3} {quantile:>14.12} {total:>10}")?;
            if quantile < 1.0 {
                write!(out, " {:>14.2}", 1.0 / (1.0 - quantile))?;
            }
            writeln!(out)?;
        }
        writeln!(
            out,
            "#[Mean    = {:>12.3}, StdDeviation   = {:>12.3}]",
            histogram.mean() / NS_PER_US,
            histogram.stdev() / NS_PER_US
        )?;
        writeln!(
            out,
            "#[Max     = {:>12.3}, Total count    = {:>12}]",
            us(histogram.max()),
            histogram.len()
        )?;
        writeln!(
            out,
            "#[Buckets = {:>12}, SubBuckets     = {:>12}]",
            histogram.buckets(),
            histogram.distinct_values() / usize::from(histogram.buckets()).max(1)
        )
    }
}

/// What was recorded in a stretch of time.
#[derive(Clone, Copy, Debug)]
pub struct Interval<'a> {
    /// What it is of: ASCII without commas, spaces and line ends.
    pub tag: &'a str,
    /// Since the log began.
    pub start: Duration,
    /// How long it was recorded.
    pub duration: Duration,
    /// What was recorded.
    pub latencies: &'a Latencies,
}

/// Writes HdrHistogram's interval log; largest values stand in it in milliseconds.
///
/// # Errors
/// Whatever `out` fails with, and a tag that cannot be one.
pub fn write_hlog(
    out: &mut impl Write,
    start: SystemTime,
    intervals: &[Interval<'_>],
) -> io::Result<()> {
    let mut serializer = V2DeflateSerializer::new();
    let mut log = IntervalLogWriterBuilder::new()
        .with_start_time(start)
        .with_base_time(start)
        .with_max_value_divisor(NS_PER_US * 1_000.0)
        .begin_log_with(out, &mut serializer)?;
    for interval in intervals {
        let tag = Tag::new(interval.tag).ok_or_else(|| {
            io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("{:?} is no tag", interval.tag),
            )
        })?;
        let histogram = &interval.latencies.histogram;
        log.write_histogram(histogram, interval.start, interval.duration, Some(tag))
            .map_err(|error| match error {
                IntervalLogWriterError::IoError(error) => error,
                IntervalLogWriterError::SerializeError(error) => io::Error::other(error),
            })?;
    }
    Ok(())
}

impl Default for Latencies {
    fn default() -> Self {
        Self::new()
    }
}

/// Nanoseconds as microseconds.
#[expect(
    clippy::cast_precision_loss,
    reason = "latencies are far below 2^53 ns"
)]
fn us(value_ns: u64) -> f64 {
    value_ns as f64 / NS_PER_US
}

#[cfg(test)]
mod tests {
    use super::*;

    fn filled() -> Latencies {
        let mut latencies = Latencies::new();
        for micros in 1..=1000 {
            latencies.record_ns(micros * 1000);
        }
        latencies
    }

    #[test]
    fn a_median_is_the_middle_of_what_is_there() {
        assert_eq!(median([]), None);
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0]), Some(2.5));
        let run = |p50| Percentiles {
            p50,
            ..Percentiles::default()
        };
        let medians = Percentiles::medians(&[run(Some(9.0)), run(None), run(Some(5.0))]);
        assert_eq!((medians.p50, medians.p90), (Some(7.0), None));
        assert_eq!(Latencies::of(&[5, 5]).count(), 2);
    }

    #[test]
    fn percentiles_are_in_microseconds_and_within_the_resolution() {
        let percentiles = filled().percentiles();
        for (got, wanted) in [
            (percentiles.p50, 500.0),
            (percentiles.p90, 900.0),
            (percentiles.p99, 990.0),
            (percentiles.p999, 999.0),
            (percentiles.max, 1000.0),
        ] {
            let got = got.unwrap();
            assert!(
                (got - wanted).abs() <= wanted / 500.0,
                "{got} is not near {wanted}"
            );
        }
    }

    #[test]
    fn an_empty_histogram_has_no_percentiles() {
        assert_eq!(Latencies::new().percentiles(), Percentiles::default());
        assert_eq!(
            serde_json::to_string(&Percentiles::default()).unwrap(),
            r#"{"p50":null,"p90":null,"p99":null,"p999":null,"max":null}"#
        );
    }

    #[test]
    fn merging_adds_the_counts() {
        let mut sum = filled();
        sum.merge(&filled());
        assert_eq!(sum.count(), 2000);
    }

    #[test]
    fn a_latency_beyond_the_range_still_counts() {
        let mut latencies = Latencies::new();
        latencies.record_ns(u64::MAX);
        latencies.record_ns(0);
        assert_eq!(latencies.count(), 2);
    }

    #[test]
    fn a_curve_rises_to_the_largest_value_at_a_hundred_percent() {
        let curve = filled().curve();
        assert!(curve.is_sorted());
        let (percent, us) = curve.last().copied().unwrap();
        assert!((percent - 100.0).abs() < 1e-9 && (us - 1000.0).abs() < 2.0);
        assert_eq!(Latencies::new().curve(), []);
    }

    #[test]
    fn an_interval_log_is_read_again_as_it_was_written() {
        use hdrhistogram::serialization::Deserializer;
        use hdrhistogram::serialization::interval_log::{IntervalLogIterator, LogEntry};
        let latencies = filled();
        let interval = |tag, start| Interval {
            tag,
            start: Duration::from_secs(start),
            duration: Duration::from_secs(3),
            latencies: &latencies,
        };
        let mut bytes = Vec::new();
        let intervals = [interval("floor", 0), interval("finality", 3)];
        write_hlog(&mut bytes, SystemTime::UNIX_EPOCH, &intervals).unwrap();
        let mut tags = Vec::new();
        for entry in IntervalLogIterator::new(&bytes) {
            let LogEntry::Interval(found) = entry.unwrap() else {
                continue;
            };
            tags.push((
                found.tag().unwrap().as_str().to_owned(),
                found.start_timestamp().as_secs(),
            ));
            let raw = decode_base64(found.encoded_histogram());
            let again: Histogram<u64> = Deserializer::new().deserialize(&mut &raw[..]).unwrap();
            assert_eq!(again.len(), 1000);
            assert_eq!(again.max(), latencies.histogram.max());
        }
        assert_eq!(tags, [("floor".to_owned(), 0), ("finality".to_owned(), 3)]);
        let bad = [interval("a,b", 0)];
        assert!(write_hlog(&mut Vec::new(), SystemTime::UNIX_EPOCH, &bad).is_err());
    }

    fn decode_base64(text: &str) -> Vec<u8> {
        const DIGITS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut bytes = Vec::new();
        let (mut bits, mut count) = (0_u32, 0);
        for byte in text.bytes().filter(|byte| *byte != b'=') {
            let digit = DIGITS.iter().position(|digit| *digit == byte).unwrap();
            bits = (bits << 6) | u32::try_from(digit).unwrap();
            count += 6;
            if count >= 8 {
                count -= 8;
                bytes.push(u8::try_from((bits >> count) & 0xff).unwrap());
            }
        }
        bytes
    }

    #[test]
    fn the_text_has_the_layout_that_plotters_parse() {
        let mut bytes = Vec::new();
        filled().write_hgrm(&mut bytes).unwrap();
        let text = String::from_utf8(bytes).unwrap();
        let mut lines = text.lines();
        let header: Vec<_> = lines.next().unwrap().split_whitespace().collect();
        assert_eq!(
            header,
            ["Value", "Percentile", "TotalCount", "1/(1-Percentile)"]
        );
        assert_eq!(lines.next(), Some(""));
        let rows: Vec<Vec<f64>> = lines
            .clone()
            .take_while(|line| !line.starts_with('#'))
            .map(|line| {
                line.split_whitespace()
                    .map(|cell| cell.parse().unwrap())
                    .collect()
            })
            .collect();
        assert!(rows.len() > 20);
        assert!(
            rows.windows(2)
                .all(|pair| pair[0][0] <= pair[1][0] && pair[0][2] <= pair[1][2])
        );
        let last = rows.last().unwrap();
        assert_eq!((last.len(), last[1], last[2]), (3, 1.0, 1000.0));
        let footer: Vec<_> = lines.filter(|line| line.starts_with("#[")).collect();
        assert_eq!(footer.len(), 3);
        assert!(footer[1].contains("Total count    =         1000]"));
    }
}
