//! What is said of an application that is too slow, or puts out too much.

use super::*;
use crate::state_machine::{OUTPUT_BYTES_MAX, Output, SessionId};
use crate::testing::logged;

fn results(execution_ns: u64) -> BlockResults {
    let mut results = BlockResults::new();
    (results.height, results.execution_ns) = (7, execution_ns);
    results
}

#[test]
fn a_block_that_is_slow_to_execute_is_told_of_and_each_one_counts() {
    let metrics = Metrics::default();
    let tell = |execution_ns| {
        let results = results(execution_ns);
        count_block(&metrics, &results);
        logged(|| tell_block(&results))
    };
    assert_eq!(tell(SLOW_NS), <[String; 0]>::default());
    let told = tell(SLOW_NS + 500_000_000);
    assert_eq!(told.len(), 1);
    assert!(
        told[0].contains("height=7;commands=0;execution_ms=1500;"),
        "{told:?}"
    );
    assert!(told[0].contains("the application is slow"));
    // Replayed.
    tell(0);
    let text = metrics.render();
    assert!(text.contains("quorate_execution_seconds_count 2\n"));
}

#[test]
fn private_outputs_that_nobody_is_told_leave_a_line() {
    let mut results = results(1);
    let mut output = Output::new();
    let [alice, bob] = [1, 2].map(|client| SessionId([client; 16]));
    output.to_session(alice, &[0; OUTPUT_BYTES_MAX]);
    output.to_public(&[0; OUTPUT_BYTES_MAX + 1]);
    results.collect(Some(0), &output);
    let told = logged(|| tell_block(&results));
    assert_eq!(told, <[String; 0]>::default(), "of public ones others tell");
    output.to_session(bob, &[0; OUTPUT_BYTES_MAX + 1]);
    output.to_session(alice, &[0; OUTPUT_BYTES_MAX + 1]);
    results.collect(Some(1), &output);
    let told = logged(|| tell_block(&results));
    assert_eq!(told.len(), 1);
    let what = format!("height=7;left_out=2;session={bob:?};");
    assert!(told[0].contains(&what), "{told:?}");
    assert!(told[0].contains("private outputs are too long"));
    results.clear();
    let told = logged(|| tell_block(&results));
    assert_eq!(told, <[String; 0]>::default());
}
