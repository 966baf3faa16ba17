//! The page's structure: well-formed, whole, with the numbers that it was given. Never: how it
//! looks.

use super::*;
use serde_json::{Value, json};

const SECTIONS: &[&str] = &[
    "circumstances",
    "latency",
    "stages",
    "throughput",
    "cost",
    "faults",
    "peers",
];
/// Elements that have no end tag.
const VOID: &[&str] = &["meta", "!doctype"];

fn page(values: &[Value]) -> String {
    let mut inputs = Inputs::default();
    for value in values {
        inputs.take("a.json", value.clone()).unwrap();
    }
    let heading = Heading {
        commit: Some("abc123"),
        date: "2026-01-02 03:04 UTC",
    };
    render(&inputs, heading)
}

fn measured() -> Value {
    json!({
        "command": "quorate bench latency --json",
        "date": "2026-01-01 00:00 UTC",
        "machine": {"cores": 2, "cpu": "A <b> CPU", "kernel": "6.1", "load_average": 0.5},
        "build": {"version": "0.1.0", "profile": "release", "program": "00ff"},
    })
}

fn latency() -> Value {
    let us = |p50: f64| {
        json!({"p50": p50, "p90": 2.0 * p50, "p99": 4.0 * p50, "p999": 5.0 * p50,
        "max": 6.0 * p50})
    };
    let mut stages = json!({});
    for (place, stage) in crate::stages::STAGE_NAMES.iter().enumerate() {
        stages[*stage] = json!(10.0 * (place as f64 + 1.0));
    }
    let mut figures = json!({
        "durability": "async", "validators": 4, "rate": 1000, "size": 128, "stopped": 0,
        "finality_us": us(259.0), "floor_us": us(209.0), "client_us": us(439.0),
        "other_gateways": {"commands": 5, "finality_us": us(303.0)},
        "ratio_p50": 1.223, "ratio_p99": 1.874, "fast_path_fraction": 0.875, "windows_stopped": 3,
        "spread": {"ratio_p50": {"min": 1.16, "max": 1.42}, "ratio_p99": {"min": 0.95, "max": 2.26}},
        "stages_us": stages, "stages_total_us": 451.0, "attributed": 2_917, "unattributed": 5_083,
        "measured": measured(),
        "curves_us": {
            "floor": [[0.0, 150.0], [50.0, 209.0], [99.0, 618.0], [100.0, 900.0]],
            "finality": [[0.0, 180.0], [50.0, 259.0], [99.0, 911.0], [100.0, 2000.0]],
            "client": [[0.0, 300.0], [50.0, 439.0], [99.0, 1500.0], [100.0, 4000.0]],
        },
    });
    let mut sync = figures.clone();
    sync["durability"] = json!("sync");
    sync["group_sync_us"] = json!({"p50_us": 393.0, "p99_us": 1016.0, "max_us": 7777.0});
    figures["sync"] = sync;
    figures
}

fn others() -> Vec<Value> {
    let mut straggler = latency();
    straggler["stopped"] = json!(1);
    straggler["validators"] = json!(6);
    let step = |percent: u64| {
        json!({"load_percent": percent, "throughput_per_s": 300 * percent, "p50_us": 500 + percent,
            "p99_us": 4000 + 10 * percent, "cpu_us_per_command": 90 - percent / 2,
            "messages_per_s": 20_000 + percent})
    };
    vec![
        straggler,
        json!({"auth": "session", "size": 512, "durability": "async", "rate": 29310,
            "throughput_per_s": 29304.0, "p99_us": 15900.0, "verifier_rate_per_s": 44774.0,
            "ratio_to_verifier": 0.654, "cpu_us_per_command": 53.0, "state_roots_equal": true,
            "logs_equal": true, "steps": [{"throughput_per_s": 25000.0, "p99_us": 9000.0},
            {"throughput_per_s": 95000.0, "p99_us": 370_000.0}]}),
        json!({"auth": "session", "durability": "async", "rate": 30000,
            "steps": [step(10), step(50), step(90)]}),
        json!({"signal": "kill", "kills": 200, "lost": 0, "open": 0,
            "resume_ms": {"p50": 12.4, "p99": 37.6, "max": 41.5}, "wait_ms": {"p99": 38.9},
            "wait_all_ms": {"p99": 543.0},
            "stop": {"signal": "stop", "kills": 200, "lost": 0, "open": 1,
                "resume_ms": {"p50": 13.3, "p99": 44.2, "max": 61.7}, "wait_ms": {"p99": 45.1}}}),
        json!({"systems": [
            // As `bench peers` prints it; that it does is a test of the command's.
            {"name": "other", "durability": "sync",
                "about": {"system": "other <script> 1.2", "nodes": 4, "faults": "1 of 4 may lie",
                    "routing": "leader", "durabilities": ["sync"], "fsync": "always, twice",
                    "signatures": "ed25519", "batching": "all", "cannot": "stop"},
                "client_us": {"p50": 4700.0, "p90": 5200.7, "p99": 7600.0},
                "cpu_us_per_command": 612.0, "spread_p50_us": {"min": 4650.0, "max": 4810.0},
                "spread_p99_us": null, "rate_borne": 61_000,
                "runs": [{"missing": 3}, {"missing": 4_321}]},
            {"name": "bare"}]}),
    ]
}

fn whole() -> String {
    page(&[vec![latency()], others()].concat())
}

/// Every start tag has its end tag, in order.
fn check_nesting(html: &str) {
    let mut open: Vec<String> = Vec::new();
    let mut rest = html;
    while let Some(at) = rest.find('<') {
        let (tag, after) = rest[at + 1..].split_once('>').expect("a tag ends");
        rest = after;
        let name = |text: &str| {
            let end = text.find(|c: char| c.is_whitespace() || c == '/');
            text[..end.unwrap_or(text.len())].to_lowercase()
        };
        if let Some(closed) = tag.strip_prefix('/') {
            assert_eq!(
                open.pop().as_deref(),
                Some(closed),
                "near {}",
                &rest[..80.min(rest.len())]
            );
        } else if !tag.ends_with('/') && !VOID.contains(&name(tag).as_str()) {
            open.push(name(tag));
        }
    }
    assert_eq!(open, Vec::<String>::new());
}

#[test]
fn the_page_is_well_formed_and_every_section_stands_in_it_once_whatever_is_given() {
    for html in [whole(), page(&[latency()]), page(&[])] {
        check_nesting(&html);
        for id in SECTIONS {
            assert_eq!(
                html.matches(&format!("<section id=\"{id}\">")).count(),
                1,
                "{id}"
            );
        }
        assert!(html.starts_with("<!doctype html>") && html.contains("<code>abc123</code>"));
    }
}

#[test]
fn the_page_takes_nothing_from_elsewhere_and_runs_nothing() {
    let html = whole();
    for foreign in [
        "http:",
        "https:",
        "<script",
        "<link",
        "<img",
        "@import",
        "url(",
        "javascript:",
    ] {
        assert!(!html.contains(foreign), "{foreign}");
    }
    assert!(html.contains("prefers-color-scheme: dark"));
}

#[test]
fn every_brace_of_the_style_is_closed_and_none_before_it_was_opened() {
    let mut depth = 0_u32;
    for character in STYLE.chars() {
        match character {
            '{' => depth += 1,
            '}' => depth = depth.checked_sub(1).expect("a rule is open"),
            _ => {}
        }
        assert!(depth <= 2, "a rule stands in a rule");
    }
    assert_eq!(depth, 0);
}

#[test]
fn numbers_that_were_given_stand_in_the_page() {
    let html = whole();
    for number in [
        "259",
        "209",
        "439",
        "303",
        "1.22",
        "1.87",
        "0.875",
        "393",
        "1,016",
        "7,777",
        "29,304",
        "15,900",
        "44,774",
        "0.654",
        "37.6",
        "41.5",
        "44.2",
        "61.7",
        "38.9",
        "4,700",
        "5,201",
        "61,000",
        "7,600",
        "612",
        "4,650 to 4,810",
        "4,324",
        "543",
        "451",
        "2,917",
        "5,083",
    ] {
        assert!(
            html.contains(&format!(">{number}")) || html.contains(number),
            "{number}"
        );
    }
    for words in [
        "A &lt;b&gt; CPU",
        "other &lt;script&gt; 1.2",
        "1 of 4 may lie",
        "always, twice",
        "ed25519",
        ">client p50, us<",
        "6 validators, 1 of them stopped",
        "quorate bench latency --json",
        "2026-01-01 00:00 UTC",
        "microseconds a command",
        "percent of commands at or below",
    ] {
        assert!(html.contains(words), "{words}");
    }
    assert!(!html.contains("class=\"missing\""), "nothing is missing");
}

#[test]
fn both_ways_of_losing_the_leader_stand_at_the_top_each_with_its_name() {
    let html = whole();
    let (top, _) = html.split_once("<section ").unwrap();
    for (figure, fate) in [
        ("37.6", "dies (SIGKILL)"),
        ("44.2", "stands still (SIGSTOP)"),
    ] {
        let tile = format!(
            "<b>{figure} ms</b><span>without finality when the leader {fate}, p99 of 200 losses<"
        );
        assert!(top.contains(&tile), "{tile} is missing in\n{top}");
    }
}

#[test]
fn what_is_wrong_with_a_measurement_stands_in_its_section() {
    assert_eq!(
        page(&[latency()]).matches("<div class=\"wrong\">").count(),
        0
    );
    let differs = |value: &mut Value, what: &str| {
        value["logs_equal"] = json!(false);
        value["differences"] = json!([what]);
    };
    let mut all = vec![latency()];
    all.extend(others());
    differs(&mut all[0], "the chain differs");
    differs(&mut all[0]["sync"], "the synced chain differs");
    let names = ["straggler", "throughput", "sweep", "failover"];
    for (value, name) in all[1..].iter_mut().zip(names) {
        differs(value, &format!("the {name} differs"));
    }
    let html = page(&all);
    check_nesting(&html);
    let section = |id: &str| {
        let (_, rest) = html.split_once(&format!("<section id=\"{id}\">")).unwrap();
        rest.split_once("</section>").unwrap().0
    };
    for (id, what) in [
        ("latency", "<li>the chain differs</li>"),
        ("latency", "<li>the synced chain differs</li>"),
        ("throughput", "<li>the throughput differs</li>"),
        ("cost", "<li>the sweep differs</li>"),
        ("faults", "<li>the failover differs</li>"),
        ("faults", "<li>the straggler differs</li>"),
        ("peers", "commands that came to no result: 4,324"),
    ] {
        assert!(section(id).contains(what), "{what} in {id}");
    }
    assert!(section("latency").contains("logs are not equal"));
}

#[test]
fn each_chart_has_its_lines_and_the_floor_is_one_of_them() {
    let html = whole();
    // Two distributions, two of stages, throughput, and two of cost.
    assert_eq!(html.matches("<svg").count(), 7);
    assert_eq!(
        html.matches("class=\"line c0 dashed\"").count(),
        2,
        "the floor"
    );
    assert!(html.contains("<title>floor: 50 percent"), "a point of it");
    assert_eq!(
        html.matches("class=\"bar c").count(),
        18,
        "nine stages, twice"
    );
}

#[test]
fn what_is_missing_is_said_to_be_and_not_drawn() {
    let html = page(&[]);
    assert!(!html.contains("<svg"));
    for command in ["latency", "throughput", "sweep", "failover", "peers"] {
        assert!(
            html.contains(&format!("quorate bench {command} ")),
            "{command}"
        );
    }
    let mut bare = latency();
    bare.as_object_mut().unwrap().remove("curves_us");
    bare.as_object_mut().unwrap().remove("sync");
    let html = page(&[bare]);
    assert!(html.contains("The distribution is missing"));
    assert!(html.contains("The disk on the way is missing"));
    assert_eq!(html.matches("<svg").count(), 1, "the stages alone");
}

#[test]
fn an_object_that_no_measuring_command_prints_is_refused_by_its_name() {
    let mut inputs = Inputs::default();
    for value in [json!({}), json!([1]), json!(null), json!({"steps": []})] {
        let error = inputs.take("x.json", value).unwrap_err();
        assert!(error.to_string().contains("x.json"), "{error}");
    }
    assert_eq!(inputs.take("l", latency()), Ok(Kind::Latency));
    let kinds: Vec<Kind> = others().iter().filter_map(Kind::of).collect();
    assert_eq!(
        kinds,
        [
            Kind::Latency,
            Kind::Throughput,
            Kind::Sweep,
            Kind::Failover,
            Kind::Peers
        ]
    );
}

#[test]
fn numbers_of_the_wrong_kind_are_dashes_and_never_an_error() {
    let mut odd = latency();
    odd["finality_us"] = json!("fast");
    odd["curves_us"] = json!([1, 2, {"floor": null}]);
    odd["stages_us"] = json!(7);
    odd["spread"] = json!(null);
    let peers = json!({"systems": [7, null, {"name": {"a": 1}}]});
    check_nesting(&page(&[odd, peers]));
}

#[test]
fn every_latency_of_which_nobody_stood_still_is_on_the_page_with_what_is_wrong() {
    let mut six = latency();
    six["validators"] = json!(6);
    six["finality_us"]["p99"] = json!(76_543.0);
    six["differences"] = json!(["the six differ"]);
    let html = page(&[latency(), six]);
    for part in [
        "<li>the six differ</li>",
        ">76,543<",
        "6 validators, 1,000 commands a second of 128 bytes, async",
    ] {
        assert!(html.contains(part), "{part} is missing in\n{html}");
    }
}

#[test]
fn each_latency_says_beside_which_floor_its_ratios_are() {
    let with = |floor: Value| {
        let mut one = latency();
        one["floor"] = floor;
        (one["auth"], one["profile"]) = (json!("session"), json!("laptop"));
        one
    };
    let parks = with(json!({"gives_way": true, "lingers": false}));
    let lingers = with(json!({"gives_way": false, "lingers": true}));
    let html = page(&[parks, lingers, latency()]);
    for part in [
        "block in their poll at once and give their cores up for one another.",
        "look for a moment before they block in their poll and make no room for one another.",
        "It does not say what the floor&#39;s members do.",
        "Authentication of commands: session; profile of the validators: laptop;",
    ] {
        assert!(html.contains(part), "{part} is missing in\n{html}");
    }
}
