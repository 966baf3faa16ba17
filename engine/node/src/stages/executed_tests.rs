//! What is said of an application that is too slow.

use super::*;
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
