//! What the runner of the benches prints: for each bench one object of JSON, on a line of its own.
//!
//! Owns how the names of a bench become `part::operation/size`: the group is the part, the function
//! the operation, and the id says the size, and how often the bench does it (`size_4_times_64`).

use anyhow::{Context, Result, ensure};
use serde_json::Value;

/// One operation and what it takes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Count {
    /// `part::operation/size`.
    pub(super) name: String,
    /// Of one operation; the mean, rounded, where the bench does several.
    pub(super) instructions: u64,
}

/// The counts in the order in which they were printed.
///
/// # Errors
/// When a line is not such an object, a name stands twice, or there is none.
pub(super) fn counts(printed: &str) -> Result<Vec<Count>> {
    let mut counts: Vec<Count> = Vec::new();
    for line in printed.lines().filter(|line| !line.trim().is_empty()) {
        let count = count(line).with_context(|| format!("the runner printed {line}"))?;
        let is_known = counts.iter().any(|other| other.name == count.name);
        ensure!(!is_known, "two benches are called {}", count.name);
        counts.push(count);
    }
    ensure!(!counts.is_empty(), "the benches counted nothing");
    Ok(counts)
}

fn count(line: &str) -> Result<Count> {
    let summary: Value = serde_json::from_str(line).context("it is not JSON")?;
    let text = |field: &str| {
        let value = summary[field].as_str();
        value.with_context(|| format!("it has no {field}"))
    };
    let (part, operation, id) = (text("group")?, text("function_name")?, text("id")?);
    let (size, times) = size_and_times(id)
        .with_context(|| format!("the id {id} is not size_N or size_N_times_K"))?;
    let instructions = instructions(&summary)?;
    Ok(Count {
        name: format!("{part}::{operation}/{size}"),
        instructions: (instructions + times / 2) / times,
    })
}

/// What callgrind counted between the beginning and the end of the bench.
fn instructions(summary: &Value) -> Result<u64> {
    let profiles = summary["profiles"].as_array();
    let callgrind = profiles
        .into_iter()
        .flatten()
        .find(|profile| profile["tool"] == "Callgrind")
        .context("it has no profile of callgrind")?;
    let count = &callgrind["data"]["total"]["metrics"]["Ir"]["values"]["new"];
    let count = count.as_u64().context("it has no new count Ir")?;
    // Where nothing was counted, the bench was not found in the program, not done in no time.
    ensure!(count > 0, "it counted no instruction");
    Ok(count)
}

/// The numbers in `size_4` (once) and `size_4_times_64`.
fn size_and_times(id: &str) -> Option<(u64, u64)> {
    let rest = id.strip_prefix("size_")?;
    let (size, times) = match rest.split_once("_times_") {
        Some((size, times)) => (size, times.parse().ok()?),
        None => (rest, 1),
    };
    let size = size.parse().ok()?;
    (times > 0).then_some((size, times))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn line(id: &str, count: u64) -> String {
        json!({
            "version": "7",
            "group": "decode",
            "function_name": "vote",
            "id": id,
            "profiles": [{
                "tool": "Callgrind",
                "data": {"total": {"metrics": {"Ir": {"values": {"new": count, "old": 7}}}}},
            }],
        })
        .to_string()
    }

    #[test]
    fn a_line_of_the_runner_is_a_name_and_a_count() {
        let printed = format!("{}\n\n{}\n", line("size_110", 321), line("size_9", 4));
        let counts = counts(&printed).unwrap();
        assert_eq!(counts[0].name, "decode::vote/110");
        assert_eq!(counts[0].instructions, 321);
        assert_eq!(counts[1].name, "decode::vote/9");
    }

    #[test]
    fn what_is_done_several_times_is_told_as_the_rounded_mean() {
        let mean = |count| counts(&line("size_4_times_64", count)).unwrap()[0].instructions;
        assert_eq!(mean(6_400), 100);
        assert_eq!(mean(6_431), 100);
        assert_eq!(mean(6_432), 101);
    }

    #[test]
    fn what_is_not_understood_is_an_error_and_never_a_count() {
        for id in ["110", "size_", "size_a", "size_4_times_0", "size_4_times_"] {
            let error = counts(&line(id, 1)).unwrap_err();
            assert!(format!("{error:#}").contains("is not size_N"), "{id}");
        }
        assert!(counts("").is_err(), "no bench");
        assert!(counts("decode vote 110\n").is_err(), "no JSON");
        assert!(counts("{}\n").is_err(), "no fields");
        assert!(counts(&line("size_110", 0)).is_err(), "nothing counted");
        let without = line("size_110", 1).replace("Ir", "Dr");
        assert!(counts(&without).is_err(), "another event");
        let twice = format!("{0}\n{0}\n", line("size_110", 1));
        let error = counts(&twice).unwrap_err().to_string();
        assert!(error.contains("two benches are called decode::vote/110"));
    }
}
