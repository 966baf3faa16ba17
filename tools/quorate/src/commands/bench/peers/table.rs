//! The figures of all systems as text for people.
//!
//! Owns the two tables: what was measured, and what each system does and does not. Never: leaves
//! out a system.

use super::super::number;
use super::{Fields, Figures, Range, Run};
use crate::output::table;
use crate::verdict::{self, Losses};

/// Both tables.
pub(super) fn text(fields: &Fields) -> String {
    let mut figures = table(&[
        "system",
        "durability",
        "runs",
        "faults",
        "p50",
        "p90",
        "p99",
        "p50, least to most",
        "cpu us a command",
        "borne, a second",
    ]);
    for one in &fields.systems {
        let us = &one.client_us;
        let rate = one.rate_borne;
        figures.add_row([
            one.name.clone(),
            one.durability.to_owned(),
            one.runs.len().to_string(),
            one.about.faults.clone(),
            number(us.p50),
            number(us.p90),
            number(us.p99),
            spread(one.spread_p50_us),
            number(one.cpu_us_per_command),
            rate.map_or_else(|| "not tried".to_owned(), |rate| rate.to_string()),
        ]);
    }
    for one in &fields.lacking {
        let mut row = vec![one.name.clone(), one.durability.to_owned()];
        row.push("it has none such".to_owned());
        figures.add_row(row);
    }
    let mut text = format!(
        "microseconds at the client from the intended time, {} commands/s of {} bytes, {} cores, \
         medians of the runs by turns\n{figures}",
        fields.rate, fields.size, fields.cores,
    );
    text.push_str("\n\n");
    text.push_str(&abouts(&fields.systems));
    for one in &fields.systems {
        let (name, durability) = (&one.name, one.durability);
        let of = format!("{name}, {durability}: ");
        let lost = Losses::sum(one.runs.iter().map(Run::losses));
        text.push_str(&lost.text_of(&of));
        for failure in one.differences.iter().chain(&one.failures) {
            text.push_str(&verdict::failed(format_args!("{of}{failure}")));
        }
    }
    text
}

fn spread(range: Option<Range>) -> String {
    range.map_or_else(
        || "-".to_owned(),
        |range| format!("{:.1} to {:.1}", range.min, range.max),
    )
}

fn abouts(systems: &[Figures]) -> String {
    let mut text = String::new();
    let mut last = None;
    for one in systems {
        if last == Some(&one.name) {
            continue;
        }
        last = Some(&one.name);
        let about = &one.about;
        text.push_str(&format!(
            "{}: {}, {} nodes, {}\n  fsync: {}\n  signatures: {}\n  batching: {}\n  cannot: {}\n",
            one.name,
            about.system,
            about.nodes,
            about.faults,
            about.fsync,
            about.signatures,
            about.batching,
            about.cannot,
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::super::contestant::Lacking;
    use super::super::workspace::About;
    use super::*;
    use quorate_bench::histogram::Percentiles;
    use quorate_bench::load::peer::Routing;
    use quorate_bench::page::{Heading, Inputs, Kind, render};

    fn figures(name: &str, missing: u64) -> Figures {
        let client_us = Percentiles {
            p50: Some(10.0),
            ..Percentiles::default()
        };
        Figures {
            name: name.to_owned(),
            durability: "async",
            about: About {
                system: format!("{name} 1.0"),
                nodes: 4,
                faults: "1 of 4 may lie".to_owned(),
                routing: Routing::Everyone,
                durabilities: vec!["async".to_owned()],
                fsync: "never".to_owned(),
                signatures: "none".to_owned(),
                batching: "all".to_owned(),
                cannot: "fly".to_owned(),
            },
            client_us,
            cpu_us_per_command: Some(4.0),
            spread_p50_us: Some(Range {
                min: 9.0,
                max: 11.0,
            }),
            spread_p99_us: None,
            rate_borne: None,
            runs: vec![Run {
                client_us,
                finalized: 1,
                offered: 10_000,
                unsent: 0,
                missing,
                rejected: 0,
                throughput_per_s: 1.0,
                cpu_us_per_command: 4.0,
            }],
            steps: Vec::new(),
            differences: Vec::new(),
            failures: Vec::new(),
        }
    }

    #[test]
    fn every_system_has_its_figures_and_what_it_cannot_do() {
        let mut full = figures("full", 0);
        (full.runs[0].unsent, full.runs[0].rejected) = (5, 6);
        full.differences.push("7 of the warm-up".to_owned());
        full.runs.push(full.runs[0].clone());
        full.failures.push("a node died".to_owned());
        let fields = Fields {
            rate: 1_000,
            size: 128,
            seconds: 3,
            cores: 2,
            systems: vec![figures("one", 0), figures("two", 3), full],
            lacking: vec![Lacking {
                name: "three".to_owned(),
                durability: "sync",
            }],
        };
        let text = text(&fields);
        for part in [
            "1000 commands/s of 128 bytes",
            "| one ",
            "| 9.0 to 11.0 ",
            "not tried",
            "one: one 1.0, 4 nodes, 1 of 4 may lie",
            "fsync: never",
            "cannot: fly",
            "| full   | async      | 2 ",
            "| three  | sync       | it has none such ",
            "FAILED: two, async: 3 commands came to no result",
            "\nfull, async: 10 commands were never handed over",
            "FAILED: full, async: 12 commands were refused for good",
            "FAILED: full, async: 7 of the warm-up",
            "FAILED: full, async: a node died",
        ] {
            assert!(text.contains(part), "{part} is missing in\n{text}");
        }
        assert!(!text.contains("one, async: 0"), "{text}");
    }

    #[test]
    fn what_is_printed_stands_on_the_page() {
        let mut one = figures("one", 0);
        one.client_us.p50 = Some(4_321.0);
        one.rate_borne = Some(61_000);
        let mut other = figures("two", 7_654);
        other.runs[0].unsent = 4_242;
        other.durability = "sync";
        let fields = Fields {
            rate: 1_000,
            size: 128,
            seconds: 3,
            cores: 2,
            systems: vec![one, other],
            lacking: vec![Lacking {
                name: "three".to_owned(),
                durability: "sync",
            }],
        };
        let printed = serde_json::to_value(&fields).unwrap();
        let mut inputs = Inputs::default();
        assert_eq!(inputs.take("peers.json", printed), Ok(Kind::Peers));
        let html = render(&inputs, Heading::default());
        for part in [
            ">one<",
            ">sync<",
            ">4,321<",
            ">61,000<",
            ">9 to 11<",
            ">7,654<",
            ">never<",
            ">none<",
            ">fly<",
            ">1 of 4 may lie<",
            ">two 1.0<",
            "Not measured, since the system has no such durability: three, sync.",
            "never handed over, and stand in no percentile: 4,242",
        ] {
            assert!(html.contains(part), "{part} is missing in\n{html}");
        }
    }

    #[test]
    fn a_run_of_which_much_was_never_handed_over_is_not_whole() {
        let mut run = figures("one", 0).runs.remove(0);
        run.offered = 100;
        (run.finalized, run.unsent) = (100, 0);
        assert!(run.is_whole());
        (run.finalized, run.unsent) = (60, 40);
        assert!(!run.is_whole());
    }

    #[test]
    fn a_system_with_two_durabilities_is_described_once() {
        let text = abouts(&[figures("one", 0), figures("one", 0)]);
        assert_eq!(text.matches("cannot").count(), 1);
    }
}
