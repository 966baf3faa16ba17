//! What is said of faults: the leader is lost, a validator stands still, the disk is on the way.
//!
//! Never: draws a fault that nobody made.

use serde_json::Value;

use super::inputs::{Inputs, Kind, durabilities, leader_fate, signals, stopped};
use super::sections::straggler_name;
use super::table::{Table, card, missing, note, numbers, section, text};
use super::text::{figure_or_dash, number, words};
use super::verdict::wrong;

/// The section.
pub(super) fn faults(inputs: &Inputs) -> String {
    let body = [leader(inputs), straggler(inputs), disk(inputs)].concat();
    section("faults", "Faults", &body)
}

fn leader(inputs: &Inputs) -> String {
    let mut table = Table::new(&[
        text("the leader"),
        text("profile, durability, threads, idle"),
        numbers("rounds"),
        numbers("nothing final, p50, ms"),
        numbers("p99, ms"),
        numbers("longest, ms"),
        numbers("longest wait at the others, p99, ms"),
        numbers("longest wait of all, p99, ms"),
        numbers("rounds in which it was not back in time"),
        numbers("results told and lost"),
    ]);
    let mut is_there = false;
    let mut troubles = String::new();
    let with_whole = |whole| signals(whole).into_iter().map(move |one| (whole, one));
    for (whole, one) in inputs.all(Kind::Failover).flat_map(with_whole) {
        is_there = true;
        let what = leader_fate(one);
        troubles.push_str(&wrong(&what, one));
        let setting = ["/profile", "/durability", "/threads", "/idle"];
        let setting = setting.map(|key| words(whole, key)).join(", ");
        let mut cells = vec![what, setting];
        for key in [
            "/kills",
            "/resume_ms/p50",
            "/resume_ms/p99",
            "/resume_ms/max",
            "/wait_ms/p99",
            "/wait_all_ms/p99",
            "/open",
            "/lost",
        ] {
            cells.push(figure_or_dash(number(one, key)));
        }
        table.row(&cells);
    }
    if !is_there {
        return missing("The loss of the leader", Kind::Failover.command());
    }
    let explained = note(
        "Under open-loop load, as clients of the other validators see it: the longest time between \
         two finalized commands around the loss, and the longest time from the moment in which a \
         command should have been sent to its result; that of all holds the commands, too, which \
         the leader had been handed. How long that is depends on the timers, which are those of \
         the profile.",
    );
    troubles + &card("The leader is lost under load", &(explained + &table.end()))
}

fn straggler(inputs: &Inputs) -> String {
    let slow: Vec<&Value> = inputs
        .all(Kind::Latency)
        .filter(|one| stopped(one) > 0)
        .collect();
    if slow.is_empty() {
        let command = "quorate bench latency --validators 6 --stopped 1 --json";
        return missing("A validator that stands still", command);
    }
    let mut table = Table::new(&[
        text("cluster"),
        numbers("blocks on the fast path, percent"),
        numbers("finality p50, us"),
        numbers("p99, us"),
        numbers("ratio to the floor, p50"),
    ]);
    let mut troubles = String::new();
    let is_beside = |one: &&Value| {
        let validators = one.get("validators");
        stopped(one) > 0 || slow.iter().any(|slow| slow.get("validators") == validators)
    };
    for latency in inputs.all(Kind::Latency).filter(is_beside) {
        for (name, one) in durabilities(latency) {
            if stopped(latency) > 0 {
                troubles.push_str(&wrong(&format!("{}, {name}", straggler_name(latency)), one));
            }
            let share = number(one, "/fast_path_fraction").map(|share| share * 100.0);
            table.row(&[
                format!("{}, {name}", straggler_name(latency)),
                figure_or_dash(share),
                figure_or_dash(number(one, "/finality_us/p50")),
                figure_or_dash(number(one, "/finality_us/p99")),
                figure_or_dash(number(one, "/ratio_p50")),
            ]);
        }
    }
    troubles + &card("A validator stands still (SIGSTOP)", &table.end())
}

/// The disk as it is: none is made slower than it is.
fn disk(inputs: &Inputs) -> String {
    let synced = inputs.all(Kind::Latency).find_map(|latency| {
        let mut all = durabilities(latency).into_iter();
        all.find_map(|(_, one)| Some((latency, one, one.get("group_sync_us")?)))
    });
    let Some((latency, one, sync)) = synced else {
        let command = "quorate bench latency --durability both --json";
        return missing("The disk on the way", command);
    };
    let mut table = Table::new(&[
        text("microseconds"),
        numbers("p50"),
        numbers("p99"),
        numbers("max"),
    ]);
    table.row(&[
        "one group sync".to_owned(),
        figure_or_dash(number(sync, "/p50_us")),
        figure_or_dash(number(sync, "/p99_us")),
        figure_or_dash(number(sync, "/max_us")),
    ]);
    let mut figures = vec![("finality with every vote on the disk", one)];
    if latency.get("durability").and_then(Value::as_str) == Some("async") {
        figures.push(("finality with votes in the log's mapping", latency));
    }
    for (what, figures) in figures {
        table.row(&[
            what.to_owned(),
            figure_or_dash(number(figures, "/finality_us/p50")),
            figure_or_dash(number(figures, "/finality_us/p99")),
            figure_or_dash(number(figures, "/finality_us/max")),
        ]);
    }
    let explained = note(
        "The disk of the machine as it is, beside the same cluster that does not wait for it. A \
         disk that is slower than that was not measured.",
    );
    card("The disk on the way of a vote", &(explained + &table.end()))
}
