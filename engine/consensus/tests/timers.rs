//! The table of timers in docs/protocol.md says what the profiles have.

use quorate_consensus::machine::TimerConfig;

const DOCUMENT: &str = include_str!("../../../docs/protocol.md");

/// The cells of the row of a timer: `colo`, else, remark.
fn row(timer: &str) -> [&'static str; 3] {
    let head = format!("| {timer} | ");
    let mut rows = DOCUMENT.lines().filter(|line| line.starts_with(&head));
    let row = rows.next().unwrap_or_else(|| panic!("no row of {timer}"));
    assert_eq!(rows.next(), None, "two rows of {timer}");
    let cells: Vec<&str> = row.split('|').map(str::trim).collect();
    [cells[2], cells[3], cells[4]]
}

/// As the table writes it: seconds from half of one up.
fn shown(ns: u64) -> String {
    if ns >= 500_000_000 {
        format!("{} s", ns as f64 / 1e9)
    } else {
        format!("{} ms", ns as f64 / 1e6)
    }
}

#[test]
fn the_table_of_timers_has_the_values_of_the_profiles() {
    // Every field by name: a new one has to get its row.
    let TimerConfig {
        progress_ns,
        progress_max_ns,
        retransmit_ns,
        retransmit_max_ns,
        sign_ns,
        flush_ns,
        censor_ns,
        turn_ns,
        turn_censored_ns,
        final_holdoff_ns,
    } = TimerConfig::laptop();
    let (colo, lan) = (TimerConfig::colo(), TimerConfig::lan());
    for (timer, colo_ns, else_ns) in [
        ("T_prog", colo.progress_ns, progress_ns),
        ("T_sig", colo.sign_ns, sign_ns),
        ("t_flush", colo.flush_ns, flush_ns),
        ("T_censor", colo.censor_ns, censor_ns),
        ("T_turn", colo.turn_ns, turn_ns),
        ("final_holdoff", colo.final_holdoff_ns, final_holdoff_ns),
    ] {
        assert_eq!(row(timer)[..2], [shown(colo_ns), shown(else_ns)], "{timer}");
    }
    assert_eq!(row("T_hb")[..2], ["T_prog / 4", "T_prog / 4"]);
    assert_eq!(colo.heartbeat_ns(), colo.progress_ns / 4);
    let [retransmit_colo, retransmit_else, remark] = row("T_retx");
    assert_eq!(retransmit_colo, shown(colo.retransmit_ns));
    let (of_lan, of_laptop) = (shown(lan.retransmit_ns), shown(retransmit_ns));
    assert_eq!(
        retransmit_else,
        format!("{of_lan} (`lan`), {of_laptop} (`laptop`)")
    );
    assert!(remark.contains(&format!("up to {} ", shown(retransmit_max_ns))));
    assert!(row("T_prog")[2].ends_with(&format!("at most {}", shown(progress_max_ns))));
    assert!(row("T_turn")[2].starts_with(&format!("{} while", shown(turn_censored_ns))));

    // What the table has one column for is the same in both.
    assert_eq!(
        (
            colo.progress_max_ns,
            colo.retransmit_max_ns,
            colo.turn_censored_ns
        ),
        (progress_max_ns, retransmit_max_ns, turn_censored_ns)
    );
    assert_eq!(
        TimerConfig {
            retransmit_ns,
            ..lan
        },
        TimerConfig::laptop()
    );
}
