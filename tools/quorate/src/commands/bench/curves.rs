//! Whole distributions of `bench latency`: points for charts, and files for HdrHistogram's tools.
//!
//! Never: measures.

use std::fs::{self, File};
use std::io::{self, BufWriter, Write as _};
use std::path::Path;
use std::time::{Duration, SystemTime};

use quorate_bench::histogram::{Interval, Latencies, write_hlog};
use serde::Serialize;

use crate::failure::{Code, Failure};

/// What one run recorded.
#[derive(Clone, Debug)]
pub(super) struct Samples {
    /// When its floor began; the load followed.
    pub(super) began: SystemTime,
    /// How long each of both took.
    pub(super) seconds: u64,
    pub(super) floor: Latencies,
    /// At the leader.
    pub(super) finality: Latencies,
    pub(super) client: Latencies,
}

/// Points of a distribution: percent at or below, and microseconds.
type Curve = Vec<(f64, f64)>;

/// Distributions over all runs.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Curves {
    floor: Curve,
    finality: Curve,
    client: Curve,
}

/// One distribution of a run.
type Part = fn(&Samples) -> &Latencies;

/// The name of each distribution, and where it stands.
const PARTS: [(&str, Part); 3] = [
    ("floor", |samples| &samples.floor),
    ("finality", |samples| &samples.finality),
    ("client", |samples| &samples.client),
];

impl Curves {
    pub(super) fn of<'a>(samples: impl Iterator<Item = &'a Samples> + Clone) -> Self {
        let [floor, finality, client] = PARTS.map(|(_, part)| sum(samples.clone(), part).curve());
        Self {
            floor,
            finality,
            client,
        }
    }
}

fn sum<'a>(samples: impl Iterator<Item = &'a Samples>, part: Part) -> Latencies {
    let mut sum = Latencies::new();
    for one in samples {
        sum.merge(part(one));
    }
    sum
}

/// Makes the folder before anything is measured: what cannot be written would be lost after it.
///
/// # Errors
/// Configuration: there can be no such folder.
pub(super) fn prepare(folder: &Path) -> Result<(), Failure> {
    fs::create_dir_all(folder).map_err(|error| {
        let what = format!("--histograms {}: {error}", folder.display());
        let failure = Failure::of_refusal(what, &error, Code::Configuration);
        match failure.code {
            Code::Configuration => failure.remedy("name a folder with --histograms"),
            _ => failure,
        }
    })
}

/// Writes `floor-NAME.hgrm`, `finality-NAME.hgrm`, `client-NAME.hgrm` over all runs, and
/// `latency-NAME.hlog` with an interval of each a run.
///
/// # Errors
/// The folder or a file in it cannot be written.
pub(super) fn write<'a>(
    folder: &Path,
    name: &str,
    start: SystemTime,
    samples: impl Iterator<Item = &'a Samples> + Clone,
) -> Result<(), Failure> {
    let failed = |error: io::Error| {
        let what = format!("writing distributions into {}: {error}", folder.display());
        Failure::of_refusal(what, &error, Code::Configuration)
    };
    fs::create_dir_all(folder).map_err(failed)?;
    for (part, of) in PARTS {
        let latencies = sum(samples.clone(), of);
        let mut bytes = Vec::new();
        latencies.write_hgrm(&mut bytes).map_err(failed)?;
        fs::write(folder.join(format!("{part}-{name}.hgrm")), bytes).map_err(failed)?;
    }
    let mut intervals = Vec::new();
    for one in samples {
        let since = one.began.duration_since(start).unwrap_or_default();
        let duration = Duration::from_secs(one.seconds);
        for (part, of) in PARTS {
            let is_floor = part == "floor";
            intervals.push(Interval {
                tag: part,
                start: if is_floor { since } else { since + duration },
                duration,
                latencies: of(one),
            });
        }
    }
    let file = File::create(folder.join(format!("latency-{name}.hlog"))).map_err(failed)?;
    let mut out = BufWriter::new(file);
    write_hlog(&mut out, start, &intervals).map_err(failed)?;
    out.flush().map_err(failed)
}
