//! `cargo xtask decoders`: damaged inputs to every decoder, counted and judged.
//!
//! Owns the command line, the counting allocator and what is printed. Never: a decoder.

#![deny(unsafe_code)]

mod counting;

use std::fs;
use std::panic;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result, bail};
use counting::{Counting, ThreadMeter};
use quorate_decoders::decoder::{Decoder, Outcome};
use quorate_decoders::sweep::{Report, SweepOptions, from_hex, sweep};

#[global_allocator]
static ALLOCATOR: Counting = Counting;

const USAGE: &str = "usage: cargo xtask decoders [options]

  --inputs N       damaged inputs in all (1000000)
  --seed S         where they come from (1)
  --threads T      threads (one a core)
  --only PART      decoders whose name contains PART
  --json           one JSON object
  --replay NAME HEX
                   one input to one decoder, with its panic
  --write-corpus FOLDER
                   the valid inputs as files, a folder for each decoder
";

/// What was asked for.
struct Arguments {
    options: SweepOptions,
    only: String,
    is_json: bool,
    replay: Option<(String, String)>,
    corpus: Option<PathBuf>,
}

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    match parsed(&words).and_then(run) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("decoders: {error:#}\n{USAGE}");
            ExitCode::from(2)
        }
    }
}

fn parsed(words: &[String]) -> Result<Arguments> {
    let mut arguments = Arguments {
        options: SweepOptions {
            inputs: 1_000_000,
            seed: 1,
            threads: std::thread::available_parallelism().map_or(1, usize::from),
        },
        only: String::new(),
        is_json: false,
        replay: None,
        corpus: None,
    };
    let mut words = words.iter();
    while let Some(word) = words.next() {
        let mut value = || {
            words
                .next()
                .with_context(|| format!("{word} needs a value"))
        };
        let options = &mut arguments.options;
        match word.as_str() {
            "--inputs" => {
                options.inputs = value()?.parse().context("--inputs")?;
                if options.inputs == 0 {
                    bail!("--inputs 0: nothing would be looked at, and nothing found");
                }
            }
            "--seed" => options.seed = value()?.parse().context("--seed")?,
            "--threads" => options.threads = value()?.parse().context("--threads")?,
            "--only" => arguments.only.clone_from(value()?),
            "--json" => arguments.is_json = true,
            "--replay" => arguments.replay = Some((value()?.clone(), value()?.clone())),
            "--write-corpus" => arguments.corpus = Some(PathBuf::from(value()?)),
            _ => bail!("{word} is no option"),
        }
    }
    Ok(arguments)
}

fn run(arguments: Arguments) -> Result<bool> {
    let mut decoders = quorate_decoders::all();
    if let Some((name, hex)) = arguments.replay {
        let decoder = quorate_decoders::named(&name);
        let decoder = decoder.with_context(|| format!("no decoder is called {name}"))?;
        let input = from_hex(&hex).context("the input is not in hexadecimal")?;
        let (outcome, peak_bytes) = decoder.judge(&input, &ThreadMeter);
        println!("{outcome:?}, at most {peak_bytes} bytes held");
        return Ok(matches!(outcome, Outcome::Accepted | Outcome::Refused));
    }
    if let Some(folder) = arguments.corpus {
        return write_corpus(&decoders, &folder).map(|()| true);
    }
    decoders.retain(|decoder| decoder.name.contains(&arguments.only));
    if decoders.is_empty() {
        bail!("no decoder has {} in its name", arguments.only);
    }
    // A panic is a finding, told with its input; a line of its own for each would hide the rest.
    panic::set_hook(Box::new(|_| {}));
    let start = Instant::now();
    let report = sweep(&decoders, &arguments.options, &ThreadMeter);
    let seconds = start.elapsed().as_secs_f64();
    if arguments.is_json {
        println!("{}", serde_json::to_string(&report)?);
    } else {
        print(&report);
    }
    eprintln!(
        "decoders: {} inputs in {seconds:.1} s, {:.0} a second",
        report.sum.inputs,
        report.sum.inputs as f64 / seconds
    );
    Ok(report.is_clean())
}

/// Names as those of the fuzz targets, which take dots for folders.
fn write_corpus(decoders: &[Decoder], folder: &Path) -> Result<()> {
    for decoder in decoders {
        let folder = folder.join(decoder.name.replace('.', "_"));
        fs::create_dir_all(&folder).with_context(|| format!("making {}", folder.display()))?;
        for (place, input) in decoder.corpus.iter().enumerate() {
            let path = folder.join(format!("valid-{place:02}"));
            fs::write(&path, input).with_context(|| format!("writing {}", path.display()))?;
        }
    }
    Ok(())
}

fn print(report: &Report) {
    let line = |name: &str, counts: &quorate_decoders::sweep::Counts| {
        println!(
            "{name:24} {:>12} inputs {:>11} accepted {:>4} panics {:>4} over cap {:>4} not canonical \
             {:>9} bytes held",
            counts.inputs,
            counts.accepted,
            counts.panics,
            counts.over_cap,
            counts.not_canonical,
            counts.peak_bytes_max
        );
    };
    for (name, counts) in &report.per_decoder {
        line(name, counts);
    }
    line("all", &report.sum);
    for finding in &report.findings {
        println!(
            "{}: {}\n  cargo xtask decoders --replay {} {}",
            finding.decoder, finding.what, finding.decoder, finding.input
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_inputs_at_all_are_refused() {
        let parsed = |count: &str| parsed(&["--inputs".to_owned(), count.to_owned()]);
        assert_eq!(parsed("7").unwrap().options.inputs, 7);
        let refused = parsed("0").err().unwrap().to_string();
        assert!(refused.contains("--inputs 0"), "{refused}");
    }
}
