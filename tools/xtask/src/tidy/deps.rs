//! The dependency table: which crate may know which, and where a third-party crate may stand.
//!
//! Owns the table. It is closed: an edge that is not in it is a finding, so that a new dependency
//! is a line to review here and a paragraph in ARCHITECTURE.md. Never: looks at versions or
//! licences (deny.toml does).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Command;

use anyhow::{Context, Result, bail};
use serde_json::Value;

use super::finding::Finding;
use super::source::Source;
use super::unused;

/// What one crate of the workspace may depend on.
struct Row {
    name: &'static str,
    /// Crates of the workspace, for what ships.
    own: &'static [&'static str],
    /// Crates of the workspace that its tests and examples may use besides.
    own_in_tests: &'static [&'static str],
    /// Third-party crates, for what ships; `None` when the crate may choose.
    foreign: Option<&'static [&'static str]>,
}

const ANY: &[&str] = &[
    "quorate",
    "quorate-bench",
    "quorate-consensus",
    "quorate-log",
    "quorate-net",
    "quorate-proof",
    "quorate-sim",
    "quorate-venue",
];

const BENCH: &[&str] = &[
    "quorate",
    "quorate-consensus",
    "quorate-log",
    "quorate-net",
    "quorate-venue",
];

const DECODERS: &[&str] = &[
    "quorate",
    "quorate-bench",
    "quorate-consensus",
    "quorate-log",
    "quorate-net",
    "quorate-proof",
    "quorate-venue",
];

/// The table, pure to outermost.
const TABLE: &[Row] = &[
    Row {
        name: "quorate-curve",
        own: &[],
        own_in_tests: &[],
        foreign: Some(&["curve25519-dalek", "fiat-crypto"]),
    },
    Row {
        name: "quorate-consensus",
        own: &["quorate-curve"],
        own_in_tests: &[],
        foreign: Some(&[
            "blake3",
            "curve25519-dalek",
            "ed25519-dalek",
            "ed25519-zebra",
            "rand_core",
            "sha2",
        ]),
    },
    Row {
        name: "quorate-proof",
        own: &["quorate-consensus"],
        own_in_tests: &[],
        foreign: Some(&["blake3", "serde", "serde_json", "thiserror"]),
    },
    Row {
        name: "quorate-log",
        own: &[],
        own_in_tests: &[],
        foreign: Some(&[
            "blake3",
            "memmap2",
            "rustix",
            "signal-hook",
            "thiserror",
            "tracing",
        ]),
    },
    Row {
        name: "quorate-net",
        own: &[],
        own_in_tests: &[],
        foreign: Some(&["mio", "ring", "rustix", "snow", "thiserror", "tracing"]),
    },
    Row {
        name: "quorate",
        own: &[
            "quorate-consensus",
            "quorate-log",
            "quorate-net",
            "quorate-proof",
        ],
        own_in_tests: &[],
        foreign: Some(&[
            "blake3",
            "crc32fast",
            "crossbeam",
            "ed25519-dalek",
            "foldhash",
            "getrandom",
            "parking_lot",
            "polyval",
            "rand_chacha",
            "rand_core",
            "rustix",
            "serde",
            "serde_json",
            "thiserror",
            "toml",
            "tracing",
            "zeroize",
        ]),
    },
    Row {
        name: "quorate-venue",
        own: &["quorate"],
        own_in_tests: &[],
        foreign: Some(&["blake3", "thiserror"]),
    },
    Row {
        name: "quorate-sim",
        own: &[
            "quorate",
            "quorate-consensus",
            "quorate-log",
            "quorate-proof",
        ],
        own_in_tests: &["quorate-venue"],
        foreign: Some(&["blake3", "rand_chacha", "rand_core", "serde"]),
    },
    Row {
        name: "quorate-bench",
        own: BENCH,
        own_in_tests: &[],
        foreign: None,
    },
    // Sees the decoders of all, and ships nowhere.
    Row {
        name: "quorate-decoders",
        own: DECODERS,
        own_in_tests: &[],
        foreign: Some(&[
            "anyhow",
            "blake3",
            "rand_chacha",
            "rand_core",
            "serde",
            "serde_json",
        ]),
    },
    Row {
        name: "quorate-cli",
        own: ANY,
        own_in_tests: &[],
        foreign: None,
    },
    Row {
        name: "xtask",
        own: &[],
        own_in_tests: &[],
        foreign: Some(&["anyhow", "serde_json"]),
    },
];

/// Third-party crates that only the named crates may use, tests included.
const PLACES: &[(&str, &[&str])] = &[
    ("mio", &["quorate-net"]),
    ("snow", &["quorate-net"]),
    ("memmap2", &["quorate-log"]),
    ("ed25519-zebra", &["quorate-consensus"]),
    // The command line's tests forge signatures.
    (
        "curve25519-dalek",
        &["quorate-consensus", "quorate-curve", "quorate-cli"],
    ),
    ("sha2", &["quorate-consensus", "quorate-cli"]),
    ("clap", &["quorate-cli"]),
    ("anyhow", &["quorate-decoders", "xtask"]),
    ("criterion", &["quorate-bench"]),
    ("loom", &["quorate-net", "quorate-log"]),
];

/// Crates that must stand nowhere in the resolved graph: a runtime of its own would bring threads
/// and queues that the stages do not know.
const NOWHERE: &[&str] = &[
    "async-executor",
    "async-global-executor",
    "async-std",
    "compio",
    "embassy-executor",
    "futures-executor",
    "glommio",
    "monoio",
    "smol",
    "tokio",
    "tokio-uring",
];

/// The packages named and all that may be built on them, pure to outermost.
pub(crate) fn built_on(names: &[&str]) -> Vec<&'static str> {
    let mut reached: Vec<&'static str> = Vec::new();
    // A row names rows above it alone, so that one pass reaches all.
    for row in TABLE {
        let mut own = row.own.iter().chain(row.own_in_tests);
        if names.contains(&row.name) || own.any(|below| reached.contains(below)) {
            reached.push(row.name);
        }
    }
    reached
}

/// Every complaint about the dependencies of the workspace at `root`.
///
/// # Errors
/// When `cargo` cannot be run, or says something that is not JSON.
pub(crate) fn check(root: &Path, sources: &[Source], found: &mut Vec<Finding>) -> Result<()> {
    let text = match cargo(root, &["metadata", "--format-version", "1", "--locked"]) {
        Ok(text) => text,
        Err(error) => {
            let what = format!("cargo metadata --locked fails ({error})");
            found.push(Finding::new(
                "Cargo.lock",
                0,
                what,
                "run cargo check and keep Cargo.lock",
            ));
            return Ok(());
        }
    };
    let metadata: Value = serde_json::from_str(&text).context("reading cargo metadata")?;
    let edges = edges(&metadata);
    check_edges(&edges, found);
    for edge in &edges {
        unused::dependency(&edge.manifest, &edge.to, edge.is_test, sources, found);
    }
    check_graph(&metadata, found);
    manifests(root, &metadata, found)?;
    let features = cargo(
        root,
        &[
            "tree",
            "--locked",
            "--package",
            "quorate-consensus",
            "--edges",
            "normal",
            "--prefix",
            "none",
            "--format",
            "{p}|{f}",
        ],
    )?;
    check_features(&features, found);
    Ok(())
}

fn cargo(root: &Path, arguments: &[&str]) -> Result<String> {
    let program = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
    let output = Command::new(program)
        .args(arguments)
        .current_dir(root)
        .output()
        .context("running cargo")?;
    if !output.status.success() {
        let message = String::from_utf8_lossy(&output.stderr);
        bail!("{}", message.lines().next().unwrap_or("no message"));
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// One direct dependency of a crate of the workspace.
#[derive(Debug)]
struct Edge {
    manifest: String,
    from: String,
    to: String,
    is_test: bool,
}

fn text<'a>(value: &'a Value, key: &str) -> &'a str {
    value[key].as_str().unwrap_or_default()
}

fn items<'a>(value: &'a Value, key: &str) -> impl Iterator<Item = &'a Value> {
    value[key]
        .as_array()
        .map(Vec::as_slice)
        .unwrap_or_default()
        .iter()
}

/// The packages that stand in the workspace itself.
fn members(metadata: &Value) -> impl Iterator<Item = &Value> {
    let ids: BTreeSet<&str> = items(metadata, "workspace_members")
        .filter_map(Value::as_str)
        .collect();
    items(metadata, "packages").filter(move |package| ids.contains(text(package, "id")))
}

/// Where the manifest of `package` stands, from the root of the workspace.
fn manifest_of(metadata: &Value, package: &Value) -> String {
    let path = text(package, "manifest_path");
    path.strip_prefix(text(metadata, "workspace_root"))
        .unwrap_or(path)
        .trim_start_matches('/')
        .to_owned()
}

fn edges(metadata: &Value) -> Vec<Edge> {
    members(metadata)
        .flat_map(|package| {
            items(package, "dependencies").map(move |dependency| Edge {
                manifest: manifest_of(metadata, package),
                from: text(package, "name").to_owned(),
                to: text(dependency, "name").to_owned(),
                is_test: dependency["kind"] == "dev",
            })
        })
        .collect()
}

fn check_edges(edges: &[Edge], found: &mut Vec<Finding>) {
    for edge in edges {
        let remedy = "the table stands in tools/xtask/src/tidy/deps.rs";
        let Some(row) = TABLE.iter().find(|row| row.name == edge.from) else {
            let what = format!("{} is not in the dependency table", edge.from);
            found.push(Finding::new(&edge.manifest, 0, what, remedy));
            continue;
        };
        let to = edge.to.as_str();
        let is_own = TABLE.iter().any(|row| row.name == to);
        let is_allowed = if is_own {
            row.own.contains(&to) || (edge.is_test && row.own_in_tests.contains(&to))
        } else {
            edge.is_test || row.foreign.is_none_or(|list| list.contains(&to))
        };
        let place = PLACES.iter().find(|(name, _)| *name == to);
        let is_in_place = place.is_none_or(|(_, places)| places.contains(&row.name));
        if !is_allowed || !is_in_place {
            let what = format!("{} may not depend on {to}", edge.from);
            found.push(Finding::new(&edge.manifest, 0, what, remedy));
        }
    }
}

/// Complains about crates that must stand nowhere, with who brings them.
fn check_graph(metadata: &Value, found: &mut Vec<Finding>) {
    let names: BTreeMap<&str, &str> = items(metadata, "packages")
        .map(|package| (text(package, "id"), text(package, "name")))
        .collect();
    let name = |id: &str| names.get(id).copied().unwrap_or_default().to_owned();
    for node in items(&metadata["resolve"], "nodes") {
        for dependency in items(node, "dependencies").filter_map(Value::as_str) {
            let banned = name(dependency);
            if NOWHERE.contains(&banned.as_str()) {
                let what = format!("{} brings {banned}", name(text(node, "id")));
                let remedy = "no async runtime stands in the workspace: switch the feature off";
                found.push(Finding::new("Cargo.lock", 0, what, remedy));
            }
        }
    }
}

/// Complains about a crate that does not take the lints of the workspace, or whose benches cannot
/// be given options.
fn manifests(root: &Path, metadata: &Value, found: &mut Vec<Finding>) -> Result<()> {
    for package in members(metadata) {
        let path = manifest_of(metadata, package);
        let manifest =
            std::fs::read_to_string(root.join(&path)).with_context(|| format!("reading {path}"))?;
        check_manifest(&path, &manifest, found);
    }
    Ok(())
}

fn check_manifest(path: &str, manifest: &str, found: &mut Vec<Finding>) {
    let lines: Vec<&str> = manifest
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty())
        .collect();
    if !lines
        .windows(2)
        .any(|pair| pair == ["[lints]", "workspace = true"])
    {
        let what = "the crate does not take the lints of the workspace";
        found.push(Finding::new(path, 0, what, "add [lints] workspace = true"));
    }
    let has_benches = lines.contains(&"[[bench]]");
    let spares_library = lines
        .windows(2)
        .any(|pair| pair == ["[lib]", "bench = false"]);
    if has_benches && !spares_library {
        let what = "cargo bench -- OPTIONS runs the library too, which refuses them";
        found.push(Finding::new(path, 0, what, "add [lib] bench = false"));
    }
}

/// Complains about a crate below `quorate-consensus` that is built with `std`. `tree` has lines
/// `name version|feature,feature`.
fn check_features(tree: &str, found: &mut Vec<Finding>) {
    for line in tree.lines() {
        let Some((package, features)) = line.split_once('|') else {
            continue;
        };
        // A macro runs in the compiler, which has std.
        if package.contains("(proc-macro)") {
            continue;
        }
        let features = features.trim_end_matches(" (*)");
        if features.split(',').any(|feature| feature == "std") {
            let name = package.split(' ').next().unwrap_or_default();
            let what = format!("{name} is built with std below quorate-consensus");
            let remedy = "use default-features = false";
            found.push(Finding::new("engine/consensus/Cargo.toml", 0, what, remedy));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn edge_findings(from: &str, to: &str, is_test: bool) -> usize {
        let edge = Edge {
            manifest: "Cargo.toml".into(),
            from: from.into(),
            to: to.into(),
            is_test,
        };
        let mut found = Vec::new();
        check_edges(&[edge], &mut found);
        found.len()
    }

    #[test]
    fn an_edge_outside_the_table_is_found() {
        for (from, to) in [
            ("quorate-consensus", "quorate-log"),
            ("quorate-consensus", "quorate-net"),
            ("quorate-net", "quorate-consensus"),
            ("quorate-log", "quorate-consensus"),
            ("quorate-log", "quorate-net"),
            ("quorate", "quorate-venue"),
            ("quorate", "quorate-bench"),
            ("quorate-sim", "quorate-bench"),
            ("quorate-venue", "quorate-consensus"),
            ("quorate-consensus", "getrandom"),
            ("quorate", "mio"),
            ("quorate", "memmap2"),
            ("quorate-bench", "snow"),
            ("quorate-bench", "clap"),
            ("a-new-crate", "serde"),
        ] {
            assert_eq!(edge_findings(from, to, false), 1, "{from} -> {to}");
        }
    }

    #[test]
    fn an_edge_of_the_table_passes() {
        for (from, to) in [
            ("quorate", "quorate-consensus"),
            ("quorate-sim", "quorate"),
            ("quorate-cli", "quorate-bench"),
            ("quorate-net", "mio"),
            ("quorate-log", "memmap2"),
        ] {
            assert_eq!(edge_findings(from, to, false), 0, "{from} -> {to}");
        }
    }

    #[test]
    fn a_row_names_rows_above_it_alone_and_all_that_is_built_on_one_is_found() {
        for (place, row) in TABLE.iter().enumerate() {
            for below in row.own.iter().chain(row.own_in_tests) {
                let is_above = TABLE[..place].iter().any(|above| above.name == *below);
                assert!(is_above, "{} names {below}", row.name);
            }
        }
        let of_log = built_on(&["quorate-log"]);
        assert_eq!(of_log[..2], ["quorate-log", "quorate"]);
        assert_eq!(of_log.last(), Some(&"quorate-cli"));
        // Its tests use the venue.
        assert_eq!(
            built_on(&["quorate-venue"])[..2],
            ["quorate-venue", "quorate-sim"]
        );
        assert_eq!(built_on(&["quorate-cli"]), ["quorate-cli"]);
    }

    #[test]
    fn tests_may_use_more_but_not_what_has_a_place() {
        assert_eq!(edge_findings("quorate-consensus", "proptest", true), 0);
        assert_eq!(edge_findings("quorate-sim", "quorate-venue", true), 0);
        assert_eq!(edge_findings("quorate-sim", "quorate-venue", false), 1);
        assert_eq!(edge_findings("quorate-consensus", "quorate", true), 1);
        assert_eq!(edge_findings("quorate-log", "mio", true), 1);
    }

    #[test]
    fn a_runtime_anywhere_in_the_graph_is_found_with_who_brings_it() {
        let metadata = json!({
            "packages": [{"id": "a", "name": "helper"}, {"id": "b", "name": "tokio"}],
            "resolve": {"nodes": [{"id": "a", "dependencies": ["b"]}, {"id": "b"}]},
        });
        let mut found = Vec::new();
        check_graph(&metadata, &mut found);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("helper brings tokio"));
    }

    #[test]
    fn edges_are_read_from_the_members_alone() {
        let metadata = json!({
            "workspace_root": "/r",
            "workspace_members": ["a"],
            "packages": [
                {"id": "a", "name": "quorate-net", "manifest_path": "/r/net/Cargo.toml",
                 "dependencies": [{"name": "mio", "kind": null}, {"name": "proptest", "kind": "dev"}]},
                {"id": "b", "name": "mio", "manifest_path": "/x/Cargo.toml",
                 "dependencies": [{"name": "log", "kind": null}]},
            ],
        });
        let read: Vec<(String, String, bool)> = edges(&metadata)
            .into_iter()
            .map(|edge| (edge.manifest, edge.to, edge.is_test))
            .collect();
        let expected = [("mio", false), ("proptest", true)]
            .map(|(to, is_test)| ("net/Cargo.toml".to_owned(), to.to_owned(), is_test));
        assert_eq!(read, expected);
    }

    #[test]
    fn std_below_the_pure_crate_is_found_but_macros_may_have_it() {
        let mut found = Vec::new();
        check_features(
            "blake3 v1|\nsyn v2 (proc-macro)|std\nx v1|alloc\n",
            &mut found,
        );
        assert!(found.is_empty());
        check_features("blake3 v1|alloc,std (*)\n", &mut found);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn a_manifest_without_the_lints_is_found() {
        let mut found = Vec::new();
        check_manifest("net/Cargo.toml", "[lints]\nworkspace = true\n", &mut found);
        assert!(found.is_empty());
        check_manifest("net/Cargo.toml", "[package]\nname = \"a\"\n", &mut found);
        assert_eq!(found.len(), 1);
    }

    #[test]
    fn benches_beside_a_library_that_takes_no_options_are_found() {
        let lints = "[lints]\nworkspace = true\n";
        let with = |library: &str| {
            let manifest = format!("{lints}\n{library}\n[[bench]]\nname = \"a\"\n");
            let mut found = Vec::new();
            check_manifest("bench/Cargo.toml", &manifest, &mut found);
            found.len()
        };
        assert_eq!(with("[lib]\nbench = false"), 0);
        assert_eq!(with(""), 1);
        assert_eq!(with("[lib]\nname = \"b\""), 1);
    }
}
