//! What every adapter needs: its command line, its configuration, the port to the load, and a
//! plain network for those that have none.
//!
//! Owns the protocol of `bench/peers/README.md` at the side of the system that is measured. Never:
//! knows any of the systems, or measures.

#![forbid(unsafe_code)]

pub mod frame;
mod gateway;
mod mesh;

use std::error::Error;
use std::io::Read as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;

use serde::{Deserialize, Serialize};

pub use gateway::{Command, Gateway};
pub use mesh::Mesh;

/// What an adapter's thread or node fails with.
pub type Failure = Box<dyn Error + Send + Sync>;

/// Who is handed a command.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Routing {
    /// The node that leads, as far as nodes have told.
    Leader,
    /// Every node; each tells when it is final.
    Everyone,
}

/// How durable a vote, or what stands for it, is before it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// In memory, or in a file that no one synced.
    Async,
    /// Synced to the disk.
    Sync,
}

/// What an adapter says of the system behind it, for the table.
#[derive(Clone, Copy, Debug, Serialize)]
pub struct About {
    /// The system and its version.
    pub system: &'static str,
    /// Nodes that a cluster has.
    pub nodes: u16,
    /// How many of them may fail and how.
    pub faults: &'static str,
    /// Who is handed a command.
    pub routing: Routing,
    /// The durabilities that it can have.
    pub durabilities: &'static [Durability],
    /// What it does about syncing.
    pub fsync: &'static str,
    /// What is signed and checked.
    pub signatures: &'static str,
    /// How commands become blocks.
    pub batching: &'static str,
    /// What it cannot do, or this adapter does not.
    pub cannot: &'static str,
}

/// What one node is told.
#[derive(Clone, Debug, Deserialize)]
pub struct Config {
    /// Which node this is, from 0.
    pub index: usize,
    /// Where the nodes reach each other, in their order.
    pub peers: Vec<SocketAddr>,
    /// Where this node listens for the load.
    pub client: SocketAddr,
    /// A folder of its own, which exists and is empty.
    pub folder: PathBuf,
    /// What a vote must be before it counts.
    pub durability: Durability,
}

/// The whole of an adapter's `main`: `about` prints what it says of itself, `run FILE` is one node
/// with the configuration in the file, which ends with its standard input.
pub fn main(about: &About, run: impl FnOnce(Config) -> Result<(), Failure>) -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let result = match arguments.as_slice() {
        ["about"] => print_about(about),
        ["run", file] => read_config(file).and_then(|config| {
            std::thread::spawn(end_with_standard_input);
            run(config)
        }),
        _ => Err("usage: about | run CONFIG.json".into()),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {error}", about.system);
            ExitCode::FAILURE
        }
    }
}

fn print_about(about: &About) -> Result<(), Failure> {
    println!("{}", serde_json::to_string(about)?);
    Ok(())
}

fn read_config(file: &str) -> Result<Config, Failure> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{file}: {error}"))?;
    let config: Config = serde_json::from_str(&text).map_err(|error| format!("{file}: {error}"))?;
    if config.index >= config.peers.len() {
        return Err(format!("{file}: there is no peer {}", config.index).into());
    }
    Ok(config)
}

/// A node whose harness is gone must not stay.
fn end_with_standard_input() {
    let mut byte = [0];
    while !matches!(std::io::stdin().read(&mut byte), Ok(0) | Err(_)) {}
    std::process::exit(0);
}
