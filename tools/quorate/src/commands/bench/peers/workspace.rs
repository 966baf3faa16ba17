//! The workspace of the adapters: built here, and asked what is in it.
//!
//! Owns the calls of cargo. An adapter is a member whose package is called `peer-NAME` and has a
//! program of that name. Never: changes the workspace, or its lock file.

use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use quorate_bench::load::peer::Routing;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::failure::{Code, Failure};
use crate::output::progress;

/// What adapters' packages begin with.
const PREFIX: &str = "peer-";

/// What a system says of itself, for the table: as the adapters print it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct About {
    /// The system and its version.
    pub(super) system: String,
    /// Nodes that a cluster has.
    pub(super) nodes: u16,
    /// How many of them may fail and how.
    pub(super) faults: String,
    /// Who is handed a command.
    pub(super) routing: Routing,
    /// The durabilities that it can have.
    pub(super) durabilities: Vec<String>,
    /// What it does about syncing.
    pub(super) fsync: String,
    /// What is signed and checked.
    pub(super) signatures: String,
    /// How commands become blocks.
    pub(super) batching: String,
    /// What it cannot do, or its adapter does not.
    pub(super) cannot: String,
}

/// An adapter that was built.
#[derive(Clone, Debug)]
pub(super) struct Adapter {
    pub(super) name: String,
    pub(super) program: PathBuf,
    pub(super) about: About,
}

/// Builds the workspace, and gives the adapters of these names, all where none are given. All are
/// built in any case: a part would choose other features of what they share, and build that anew.
///
/// # Errors
/// There is no workspace, no such adapter, no cargo; or it does not build.
pub(super) fn build(workspace: &Path, names: &[&str]) -> Result<Vec<Adapter>, Failure> {
    let manifest = workspace.join("Cargo.toml");
    if !manifest.is_file() {
        let what = format!("{}: no workspace of adapters", workspace.display());
        return Err(Failure::usage(what)
            .remedy("run this in the root of the repository, or give --workspace"));
    }
    let known = adapters(&manifest)?;
    let is_known = |name: &str| known.iter().any(|one| one == name);
    if let Some(name) = names.iter().find(|name| !is_known(name)) {
        let what = format!("--only {name}: there is no adapter of that name");
        return Err(Failure::usage(what).remedy("bench/peers/README.md names them"));
    }
    let wanted = match names {
        [] => known,
        names => names.iter().map(|name| (*name).to_owned()).collect(),
    };
    progress("building the other systems, which takes minutes the first time");
    let target = workspace.join("target");
    let mut cargo = cargo(&manifest, &["build", "--release", "--locked"]);
    cargo.arg("--target-dir").arg(&target);
    run(cargo.stdout(Stdio::null()).stderr(Stdio::inherit()))?;
    wanted
        .into_iter()
        .map(|name| {
            let program = target.join("release").join(format!("{PREFIX}{name}"));
            let about = about(&program)?;
            Ok(Adapter {
                name,
                program,
                about,
            })
        })
        .collect()
}

fn cargo(manifest: &Path, verb: &[&str]) -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(verb).arg("--manifest-path").arg(manifest);
    command.stdin(Stdio::null());
    command
}

/// Runs cargo to its end.
fn run(command: &mut Command) -> Result<Vec<u8>, Failure> {
    let output = command.output().map_err(no_cargo)?;
    if output.status.success() {
        return Ok(output.stdout);
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let what = format!("cargo {}", output.status);
    Err(Failure::new(Code::TryAgain, what)
        .remedy("its messages say why; cargo fetches the other systems the first time")
        .detail(said.trim_end()))
}

fn no_cargo(error: io::Error) -> Failure {
    let what = format!("cargo cannot be run: {error}");
    Failure::new(Code::TryAgain, what)
        .remedy("install Rust with cargo: the other systems are built from source")
}

/// Names of the adapters in the workspace, in order.
fn adapters(manifest: &Path) -> Result<Vec<String>, Failure> {
    let verb = ["metadata", "--no-deps", "--format-version", "1"];
    let bytes = run(&mut cargo(manifest, &verb))?;
    let metadata: Value = serde_json::from_slice(&bytes)
        .map_err(|error| Failure::new(Code::TryAgain, format!("cargo metadata: {error}")))?;
    Ok(names(&metadata))
}

fn names(metadata: &Value) -> Vec<String> {
    let packages = metadata["packages"].as_array();
    let packages = packages.map(Vec::as_slice).unwrap_or_default();
    let mut names: Vec<String> = packages
        .iter()
        .filter(|package| {
            let targets = package["targets"].as_array();
            let targets = targets.map(Vec::as_slice).unwrap_or_default();
            let is_program = |target: &Value| target["kind"][0] == "bin";
            targets.iter().any(is_program)
        })
        .filter_map(|package| package["name"].as_str()?.strip_prefix(PREFIX))
        .map(str::to_owned)
        .collect();
    names.sort();
    names
}

/// What an adapter says of its system.
fn about(program: &Path) -> Result<About, Failure> {
    let output = Command::new(program).arg("about").output();
    let wrong = |why: String| {
        let what = format!("{}: {why}", program.display());
        Failure::new(Code::No, what).remedy("bench/peers/README.md says what `about` prints")
    };
    let output = output.map_err(|error| wrong(error.to_string()))?;
    serde_json::from_slice(&output.stdout).map_err(|error| wrong(error.to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn adapters_are_the_programs_that_are_called_so() {
        let program = json!([{"kind": ["bin"]}]);
        let metadata = json!({"packages": [
            {"name": "peer-raft", "targets": program},
            {"name": "peer-kit", "targets": [{"kind": ["lib"]}]},
            {"name": "other", "targets": program},
            {"name": "peer-hotstuff", "targets": program},
        ]});
        assert_eq!(names(&metadata), ["hotstuff", "raft"]);
        assert!(names(&json!({})).is_empty());
    }

    #[test]
    fn a_missing_workspace_is_named_with_what_to_do() {
        let failure = build(Path::new("/nowhere"), &[]).unwrap_err();
        assert_eq!(failure.code, Code::Usage);
        assert!(failure.to_string().contains("--workspace"), "{failure}");
    }

    #[test]
    fn what_an_adapter_says_is_read() {
        let text = r#"{"system":"s","nodes":3,"faults":"f","routing":"leader",
            "durabilities":["async"],"fsync":"none","signatures":"none","batching":"b",
            "cannot":"c"}"#;
        let about: About = serde_json::from_str(text).unwrap();
        assert_eq!((about.nodes, about.routing), (3, Routing::Leader));
        assert!(serde_json::from_str::<About>(r#"{"system":"s"}"#).is_err());
    }
}
