//! What is said of latency, of where the time goes, of throughput and cost, and of the peers.
//!
//! Never: says anything that is not in the measurements.

use serde_json::Value;

use super::chart::{Axis, Bar, Line, Scale, bars, lines};
use super::inputs::{Inputs, Kind, durabilities, leader_fate, signals, stopped};
use super::table::{Table, card, missing, note, numbers, section, text};
use super::text::{escape, figure, figure_or_dash, number, words};
use super::verdict::wrong;
use crate::stages::STAGE_NAMES;

/// Microseconds in a millisecond.
const US_PER_MS: f64 = 1_000.0;

/// An axis of microseconds, by their logarithm.
const MICROSECONDS: Axis<'_> = Axis {
    label: "microseconds",
    scale: Scale::Log,
};

/// The few numbers at the top.
pub(super) fn tiles(inputs: &Inputs) -> String {
    let mut tiles = String::new();
    let mut tile = |value: Option<f64>, unit: &str, what: &str| {
        if let Some(value) = value {
            tiles.push_str(&format!(
                "<div class=\"tile\"><b>{}{}</b><span>{}</span></div>\n",
                figure(value),
                escape(unit),
                escape(what)
            ));
        }
    };
    for (name, latency) in inputs.latency().into_iter().flat_map(durabilities) {
        let what = format!("ratio of finality to the floor, p50, {name}");
        tile(number(latency, "/ratio_p50"), "", &what);
        let what = format!("finality at the leader, p50, {name}");
        tile(number(latency, "/finality_us/p50"), " \u{b5}s", &what);
    }
    for throughput in inputs.all(Kind::Throughput) {
        for (name, one) in durabilities(throughput) {
            let auth = words(throughput, "/auth");
            let what = format!("commands finalized a second, {auth}, {name}, p99 below 50 ms");
            tile(number(one, "/throughput_per_s"), "/s", &what);
        }
    }
    for one in inputs.all(Kind::Failover).flat_map(signals) {
        let (rounds, signal) = (words(one, "/kills"), leader_fate(one));
        let what = format!("without finality when the leader {signal}, p99 of {rounds} losses");
        tile(number(one, "/resume_ms/p99"), " ms", &what);
    }
    if tiles.is_empty() {
        return note("No measurement with a headline number was given.");
    }
    format!("<div class=\"tiles\">\n{tiles}</div>\n")
}

/// Where, when and by which command each measurement was made.
pub(super) fn circumstances(inputs: &Inputs) -> String {
    let mut table = Table::new(&[
        text("command"),
        text("began"),
        text("machine"),
        text("file system of the validators"),
        text("build"),
    ]);
    for (kind, value) in inputs.iter() {
        let told = |pointer: &str| words(value, &format!("/measured{pointer}"));
        if value.get("measured").is_none() {
            let command = format!("{} (does not say where it was measured)", kind.command());
            table.row(&[
                command,
                words(value, "/date"),
                words(value, "/machine"),
                told("/folder/file_system"),
                told(""),
            ]);
            continue;
        }
        table.row(&[
            told("/command"),
            told("/date"),
            format!(
                "{} cores, {}, Linux {}; load average before: {}",
                told("/machine/cores"),
                told("/machine/cpu"),
                told("/machine/kernel"),
                told("/machine/load_average")
            ),
            told("/folder/file_system"),
            format!(
                "{} {}, program {}",
                told("/build/version"),
                told("/build/profile"),
                told("/build/program")
            ),
        ]);
    }
    let body = if inputs.iter().next().is_none() {
        "<p class=\"missing\">No measurement was given.</p>\n".to_owned()
    } else {
        card("What was measured where", &table.end())
    };
    section("circumstances", "Circumstances", &body)
}

/// Percentile curves with the floor in them.
pub(super) fn latency(inputs: &Inputs) -> String {
    let title = "Latency";
    let Some(latency) = inputs.latency() else {
        let body = missing("Latency", Kind::Latency.command());
        return section("latency", title, &body);
    };
    let mut body = note(&format!(
        "{} validators, {} commands a second of {} bytes, open loop. Finality is from the receipt of a \
         command at the leader to its finality there; the client's time counts from the moment in \
         which the command should have been sent. The floor is the same exchange of messages with \
         nothing in it, from the moment in which a proposal is sent, measured by turns in the same \
         run. {}",
        words(latency, "/validators"),
        words(latency, "/rate"),
        words(latency, "/size"),
        setting(latency),
    ));
    for (name, one) in durabilities(latency) {
        body.push_str(&wrong(&name, one));
        let chart = curves(one).unwrap_or_else(|| {
            "<p class=\"missing\">The distribution is missing: this measurement holds no curves, only \
             percentiles.</p>\n"
                .to_owned()
        });
        let heading = format!("Distribution of latency, {name}");
        body.push_str(&card(&heading, &(chart + &percentiles(one))));
    }
    body.push_str(&other_latencies(inputs));
    section("latency", title, &body)
}

/// What the ratios are of: finality of which validators, beside which floor.
fn setting(latency: &Value) -> String {
    let is = |key: &str| latency.pointer(key).and_then(Value::as_bool);
    let floor = match (is("/floor/gives_way"), is("/floor/lingers")) {
        (Some(gives_way), Some(lingers)) => {
            let poll = match lingers {
                true => "look for a moment before they block in their poll",
                false => "block in their poll at once",
            };
            let room = match gives_way {
                true => "give their cores up for one another",
                false => "make no room for one another",
            };
            format!("Members of the floor {poll} and {room}.")
        }
        _ => "It does not say what the floor's members do.".to_owned(),
    };
    format!(
        "{floor} Authentication of commands: {}; profile of the validators: {}; idle: {}.",
        words(latency, "/auth"),
        words(latency, "/profile"),
        words(latency, "/idle"),
    )
}

/// Those beside the first one of which nobody stood still, with what is wrong with them.
fn other_latencies(inputs: &Inputs) -> String {
    let mut text = String::new();
    let others = inputs.all(Kind::Latency).filter(|one| stopped(one) == 0);
    for latency in others.skip(1) {
        for (name, one) in durabilities(latency) {
            let name = format!(
                "{} validators, {} commands a second of {} bytes, {name}",
                words(latency, "/validators"),
                words(latency, "/rate"),
                words(latency, "/size"),
            );
            text.push_str(&wrong(&name, one));
            text.push_str(&card(&name, &(note(&setting(latency)) + &percentiles(one))));
        }
    }
    text
}

fn curves(latency: &Value) -> Option<String> {
    let points = |part: &str| -> Vec<(f64, f64)> {
        let list = latency.pointer(&format!("/curves_us/{part}"));
        let list = list.and_then(Value::as_array).into_iter().flatten();
        list.filter_map(|pair| Some((number(pair, "/0")?, number(pair, "/1")?)))
            .collect()
    };
    let line = |name, part, colour, is_dashed| Line {
        name,
        colour,
        is_dashed,
        points: points(part),
    };
    let across = Axis {
        label: "percent of commands at or below",
        scale: Scale::Nines,
    };
    lines(
        "Latency by percentile",
        across,
        MICROSECONDS,
        &[
            line("floor", "floor", 0, true),
            line("finality at the leader", "finality", 1, false),
            line("client, from the intended time", "client", 2, false),
        ],
    )
}

fn percentiles(latency: &Value) -> String {
    let mut table = Table::new(&[
        text("microseconds"),
        numbers("p50"),
        numbers("p90"),
        numbers("p99"),
        numbers("p99.9"),
        numbers("max"),
    ]);
    for (what, part) in [
        ("floor", "/floor_us"),
        ("finality at the leader", "/finality_us"),
        ("finality at other gateways", "/other_gateways/finality_us"),
        ("client, from the intended time", "/client_us"),
    ] {
        let mut cells = vec![what.to_owned()];
        for key in ["p50", "p90", "p99", "p999", "max"] {
            cells.push(figure_or_dash(number(latency, &format!("{part}/{key}"))));
        }
        table.row(&cells);
    }
    let spread =
        |key: &str, end: &str| figure_or_dash(number(latency, &format!("/spread/{key}/{end}")));
    let ratio = |key: &str| {
        format!(
            "{} (least to most of the runs: {} to {})",
            figure_or_dash(number(latency, &format!("/{key}"))),
            spread(key, "min"),
            spread(key, "max")
        )
    };
    table.end()
        + &note(&format!(
            "Medians of the runs, and of the largest the largest. Ratio to the floor: p50 {}, p99 \
             {}. Share of blocks on the fast path: {}. Windows stopped by a timer: {}.",
            ratio("ratio_p50"),
            ratio("ratio_p99"),
            figure_or_dash(number(latency, "/fast_path_fraction")),
            words(latency, "/windows_stopped"),
        ))
}

/// Where the time goes.
pub(super) fn stages(inputs: &Inputs) -> String {
    let title = "Where the time goes";
    let Some(latency) = inputs.latency() else {
        let body = missing("The attribution by stage", Kind::Latency.command());
        return section("stages", title, &body);
    };
    let all = durabilities(latency);
    let mean = |one: &Value, stage: &str| number(one, &format!("/stages_us/{stage}"));
    let parts = |one: &Value| {
        let named = STAGE_NAMES.iter().enumerate();
        named
            .filter_map(|(place, stage)| Some((*stage, place + 1, mean(one, stage)?)))
            .collect::<Vec<_>>()
    };
    // Each on a scale of its own: a slow disk would make the other one invisible.
    let chart = |(name, one): &(String, &Value)| {
        let bar = Bar {
            name,
            parts: parts(one),
        };
        bars("Means of the stages", "microseconds, mean", &[bar])
    };
    let charts: String = all.iter().filter_map(chart).collect();
    let mut columns = vec![text("mean, us")];
    columns.extend(STAGE_NAMES.map(numbers));
    columns.push(numbers("total"));
    columns.push(numbers("commands in the means"));
    columns.push(numbers("commands at the leader in none"));
    let mut table = Table::new(&columns);
    for (name, one) in &all {
        let mut cells = vec![name.clone()];
        cells.extend(STAGE_NAMES.map(|stage| figure_or_dash(mean(one, stage))));
        let beside = ["/stages_total_us", "/attributed", "/unattributed"];
        cells.extend(beside.map(|key| figure_or_dash(number(one, key))));
        table.row(&cells);
    }
    let body = note(
        "From the intended time to the result, of commands that became final by first votes; those \
         that did not, or whose way was not whole, are in none of the means. The stages of each \
         command sum to its total exactly, so the means do; they are those of one run: of the runs \
         that have such commands, the one whose mean total is the middle one.",
    ) + &card("Stages", &(charts + &table.end()));
    section("stages", title, &body)
}

/// The points of an array of steps: what two keys hold, the second divided.
fn steps(value: &Value, list: &str, (x, y): (&str, &str), divisor: f64) -> Vec<(f64, f64)> {
    let steps = value.get(list).and_then(Value::as_array);
    let mut points: Vec<(f64, f64)> = steps
        .into_iter()
        .flatten()
        .filter_map(|step| Some((number(step, x)?, number(step, y)? / divisor)))
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    points
}

/// Throughput against latency.
pub(super) fn throughput(inputs: &Inputs) -> String {
    let mut names = Vec::new();
    for one in inputs.all(Kind::Throughput) {
        let auth = words(one, "/auth");
        for (name, figures) in durabilities(one) {
            names.push((
                format!("search for the highest rate, {auth}, {name}: p99"),
                figures,
                "/p99_us",
            ));
        }
    }
    for one in inputs.all(Kind::Sweep) {
        let name = format!(
            "sweep, {}, {}",
            words(one, "/auth"),
            words(one, "/durability")
        );
        names.push((format!("{name}: p50"), one, "/p50_us"));
        names.push((format!("{name}: p99"), one, "/p99_us"));
    }
    let all: Vec<Line<'_>> = names
        .iter()
        .enumerate()
        .map(|(place, (name, one, key))| Line {
            name,
            colour: 1 + place % 9,
            is_dashed: false,
            points: steps(one, "steps", ("/throughput_per_s", key), US_PER_MS),
        })
        .collect();
    let across = Axis {
        label: "commands finalized a second",
        scale: Scale::Linear,
    };
    let up = Axis {
        label: "milliseconds, client's time",
        scale: Scale::Log,
    };
    let mut body = lines("Throughput against latency", across, up, &all).map_or_else(
        || missing("Throughput against latency", Kind::Throughput.command()),
        |chart| card("Latency at each rate", &chart),
    );
    for one in inputs.all(Kind::Throughput) {
        for (name, figures) in durabilities(one) {
            body.push_str(&wrong(&format!("{}, {name}", words(one, "/auth")), figures));
        }
    }
    if inputs.all(Kind::Throughput).next().is_some() {
        body.push_str(&borne(inputs));
    }
    section("throughput", "Throughput against latency", &body)
}

fn borne(inputs: &Inputs) -> String {
    let mut table = Table::new(&[
        text("how"),
        numbers("rate borne, a second"),
        numbers("finalized, a second"),
        numbers("client p99, us"),
        numbers("bare verifier, a second"),
        numbers("ratio to it"),
        numbers("processor time a command, us"),
        text("states and logs equal"),
    ]);
    for one in inputs.all(Kind::Throughput) {
        for (name, figures) in durabilities(one) {
            let mut cells = vec![format!(
                "{}, {name}, {} bytes",
                words(one, "/auth"),
                words(one, "/size")
            )];
            for key in [
                "/rate",
                "/throughput_per_s",
                "/p99_us",
                "/verifier_rate_per_s",
                "/ratio_to_verifier",
                "/cpu_us_per_command",
            ] {
                cells.push(figure_or_dash(number(figures, key)));
            }
            let (states, logs) = (
                words(figures, "/state_roots_equal"),
                words(figures, "/logs_equal"),
            );
            cells.push(format!("{states}, {logs}"));
            table.row(&cells);
        }
    }
    let body = note(
        "A rate is borne when all but one in a thousand commands were sent, every one that was sent \
         was finalized, and the client's p99 from the intended time is below 50 ms.",
    );
    card("The highest rate that was borne", &(body + &table.end()))
}

/// What a command costs at each load.
pub(super) fn cost(inputs: &Inputs) -> String {
    let title = "What a command costs";
    let sweeps: Vec<&Value> = inputs.all(Kind::Sweep).collect();
    let chart = |name: &str, label: &'static str, key: &str| {
        let named: Vec<(String, &Value)> = sweeps
            .iter()
            .map(|one| {
                let name = format!("{}, {}", words(one, "/auth"), words(one, "/durability"));
                (name, *one)
            })
            .collect();
        let all: Vec<Line<'_>> = named
            .iter()
            .enumerate()
            .map(|(place, (name, one))| Line {
                name,
                colour: 1 + place % 9,
                is_dashed: false,
                points: steps(one, "steps", ("/load_percent", key), 1.0),
            })
            .collect();
        let across = Axis {
            label: "load, percent of the full rate",
            scale: Scale::Linear,
        };
        let up = Axis {
            label,
            scale: Scale::Linear,
        };
        lines(name, across, up, &all).map(|svg| card(name, &svg))
    };
    let charts = [
        chart(
            "Processor time against load",
            "microseconds a command",
            "/cpu_us_per_command",
        ),
        chart(
            "Messages against load",
            "frames sent a second",
            "/messages_per_s",
        ),
    ];
    let charts: String = charts.into_iter().flatten().collect();
    let troubles = sweeps.iter().map(|one| {
        let name = format!("{}, {}", words(one, "/auth"), words(one, "/durability"));
        wrong(&name, one)
    });
    let troubles: String = troubles.collect();
    let body = if charts.is_empty() {
        missing("Processor time against load", Kind::Sweep.command())
    } else {
        let full: Vec<String> = sweeps.iter().map(|one| words(one, "/rate")).collect();
        note(&format!(
            "All validators together. Full load: {} commands a second.",
            full.join(" and ")
        )) + charts.as_str()
    };
    section("cost", title, &(troubles + &body))
}

/// Other systems, as `bench peers` tells of them.
pub(super) fn peers(inputs: &Inputs) -> String {
    let title = "Beside other systems";
    let systems = |one: &Value| one.get("systems").and_then(Value::as_array).cloned();
    let systems: Vec<Value> = inputs
        .all(Kind::Peers)
        .filter_map(systems)
        .flatten()
        .collect();
    if systems.is_empty() {
        let body = missing("The table of other systems", Kind::Peers.command());
        return section("peers", title, &body);
    }
    let troubles = systems.iter().map(|one| {
        let name = format!("{}, {}", words(one, "/name"), words(one, "/durability"));
        wrong(&name, one)
    });
    let troubles: String = troubles.collect();
    let body = troubles
        + &lacking(inputs)
        + &card("What clients saw", &systems_measured(&systems))
        + &card("What the systems do", &systems_described(&systems));
    section("peers", title, &body)
}

/// What was asked for of systems that do not have it.
fn lacking(inputs: &Inputs) -> String {
    let of = |one: &Value| one.get("lacking").and_then(Value::as_array).cloned();
    let all = inputs.all(Kind::Peers).filter_map(of).flatten();
    let all: Vec<String> = all
        .map(|one| format!("{}, {}", words(&one, "/name"), words(&one, "/durability")))
        .collect();
    if all.is_empty() {
        return String::new();
    }
    note(&format!(
        "Not measured, since the system has no such durability: {}.",
        all.join("; ")
    ))
}

fn systems_measured(systems: &[Value]) -> String {
    let mut table = Table::new(&[
        text("system"),
        text("durability"),
        text("faults that it bears"),
        numbers("runs"),
        numbers("client p50, us"),
        numbers("client p90, us"),
        numbers("client p99, us"),
        numbers("p50 of the runs, least to most, us"),
        numbers("p99 of the runs, least to most, us"),
        numbers("processor time a command, us"),
        numbers("highest rate borne, a second"),
        numbers("commands without a result"),
    ]);
    for one in systems {
        let spread = |key: &str| {
            let end = |end: &str| figure_or_dash(number(one, &format!("/{key}/{end}")));
            format!("{} to {}", end("min"), end("max"))
        };
        let figure = |pointer: &str| figure_or_dash(number(one, pointer));
        table.row(&[
            words(one, "/name"),
            words(one, "/durability"),
            words(one, "/about/faults"),
            figure_or_dash(runs_of(one)),
            figure("/client_us/p50"),
            figure("/client_us/p90"),
            figure("/client_us/p99"),
            spread("spread_p50_us"),
            spread("spread_p99_us"),
            figure("/cpu_us_per_command"),
            figure("/rate_borne"),
            figure_or_dash(missing_of(one)),
        ]);
    }
    let body = note(
        "From the intended time of a command to the receipt of its result, medians of runs by turns \
         under the same commands. The highest rate is a dash where it was not looked for.",
    );
    body + &table.end()
}

/// Runs that a system's medians are of; none where it does not tell.
#[expect(clippy::cast_precision_loss, reason = "runs of a measurement are few")]
fn runs_of(one: &Value) -> Option<f64> {
    Some(one.get("runs")?.as_array()?.len() as f64)
}

/// Commands without a result, over all runs of a measurement; none where it has no runs.
fn missing_of(one: &Value) -> Option<f64> {
    let runs = one.get("runs")?.as_array()?;
    let missing = runs.iter().filter_map(|run| number(run, "/missing"));
    Some(missing.sum())
}

fn systems_described(systems: &[Value]) -> String {
    let mut table = Table::new(&[
        text("system"),
        numbers("nodes"),
        text("syncs"),
        text("signatures"),
        text("batching"),
        text("cannot"),
    ]);
    let mut described = Vec::new();
    for one in systems {
        let about = words(one, "/about");
        // One with two durabilities is the same system.
        if described.contains(&about) {
            continue;
        }
        described.push(about);
        table.row(&[
            words(one, "/about/system"),
            words(one, "/about/nodes"),
            words(one, "/about/fsync"),
            words(one, "/about/signatures"),
            words(one, "/about/batching"),
            words(one, "/about/cannot"),
        ]);
    }
    let body = note("As each adapter says of itself. A dash is what was not told.");
    body + &table.end()
}

/// A latency of which somebody stood still, in a few words.
pub(super) fn straggler_name(latency: &Value) -> String {
    format!(
        "{} validators, {} of them stopped",
        words(latency, "/validators"),
        stopped(latency)
    )
}
