//! Who is measured, and a cluster of it that runs.
//!
//! Owns the processes of a turn and their folders, and removes both. Quorate is driven over its
//! own client port, another system over the protocol of the adapters; the loop, the clock and the
//! commands are the same. Never: judges what was measured.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::profiles::Durability;
use quorate_bench::cluster::{Cluster, Launch};
use quorate_bench::load::peer::{self, Nodes, Routing};
use quorate_bench::load::{LoadPlan, Outcome};
use quorate_bench::machine::Folder;
use quorate_bench::testnet::{Plan, free_base_port};
use serde::Serialize;
use serde_json::json;

use super::super::bed::Bed;
use super::super::name as durability_name;
use super::QUORATE;
use super::workspace::{About, Adapter};
use crate::commands::demo::died;
use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::scratch::Scratch;

/// Validators of Quorate, and the clients of each load.
pub(super) const VALIDATORS: u32 = 4;
/// Where syncing costs nothing, for systems that sync always.
const MEMORY_FOLDER: &str = "/dev/shm";

/// A system with one durability.
#[derive(Clone, Debug)]
pub(super) struct Contestant {
    pub(super) name: String,
    pub(super) durability: Durability,
    pub(super) about: About,
    /// The adapter; none for Quorate.
    program: Option<PathBuf>,
}

/// A system that has not one of the durabilities that were asked for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct Lacking {
    pub(super) name: String,
    pub(super) durability: &'static str,
}

/// Quorate with each of these durabilities.
pub(super) fn quorate(durabilities: &[Durability]) -> Vec<Contestant> {
    let about = About {
        system: format!("quorate {}", env!("CARGO_PKG_VERSION")),
        nodes: 4,
        faults: "1 of 4 may lie".to_owned(),
        routing: Routing::Leader,
        durabilities: vec!["async".to_owned(), "sync".to_owned()],
        fsync: "async: a vote leaves when it is in the log's mapping; sync: when the log is \
                synced, all that waits with one call"
            .to_owned(),
        signatures: "votes are authenticated by the encrypted links (Noise), certificates are \
                     signed off the path; clients by their encrypted session"
            .to_owned(),
        batching: "all that waits goes into the next block; a lone command is proposed at once"
            .to_owned(),
        cannot: "no evidence of a vote for third parties before its certificate; the client \
                 trusts its gateway, as everywhere here"
            .to_owned(),
    };
    durabilities
        .iter()
        .map(|durability| Contestant {
            name: QUORATE.to_owned(),
            durability: *durability,
            about: about.clone(),
            program: None,
        })
        .collect()
}

/// The other systems, each with those of these durabilities that it has; and those that it lacks.
pub(super) fn peers(
    adapters: Vec<Adapter>,
    durabilities: &[Durability],
) -> (Vec<Contestant>, Vec<Lacking>) {
    let (mut contestants, mut lacking) = (Vec::new(), Vec::new());
    for adapter in adapters {
        for durability in durabilities {
            let (name, wanted) = (adapter.name.clone(), durability_name(*durability));
            if adapter.about.durabilities.iter().any(|one| one == wanted) {
                contestants.push(Contestant {
                    name,
                    durability: *durability,
                    about: adapter.about.clone(),
                    program: Some(adapter.program.clone()),
                });
            } else {
                let durability = wanted;
                lacking.push(Lacking { name, durability });
            }
        }
    }
    (contestants, lacking)
}

/// Refuses systems that were asked for by name and have none of the durabilities asked for.
///
/// # Errors
/// There is one: nothing of it would be measured.
pub(super) fn expect_some_of_each(
    names: &[String],
    contestants: &[Contestant],
    lacking: &[Lacking],
) -> Result<(), Failure> {
    let is_there = |name: &String| contestants.iter().any(|one| one.name == *name);
    let mut without = lacking.iter().filter(|one| !is_there(&one.name));
    let Some(one) = without.find(|one| names.contains(&one.name)) else {
        return Ok(());
    };
    let what = format!(
        "--only {}: this system has no durability {}",
        one.name, one.durability
    );
    Err(Failure::usage(what).remedy("ask for another one with --durability, or for both"))
}

impl Contestant {
    /// Starts a cluster.
    ///
    /// # Errors
    /// It does not start.
    pub(super) fn start(
        &self,
        parent: Option<&Path>,
        interrupt: &Interrupt,
    ) -> Result<Running, Failure> {
        match &self.program {
            None => {
                let plan = quorate_plan(self.durability)?;
                let bed = Bed::start(&plan, parent, interrupt)?;
                Ok(Running::Quorate(Box::new(bed)))
            }
            Some(program) => self.start_peer(program, parent),
        }
    }

    fn start_peer(&self, program: &Path, parent: Option<&Path>) -> Result<Running, Failure> {
        let parent = parent_of(self.durability, Path::new(MEMORY_FOLDER), parent)?;
        let scratch = Scratch::create(parent)?;
        let nodes = usize::from(self.about.nodes);
        let base = free_base_port(nodes)?;
        let address = |offset: usize| {
            let port = u16::try_from(offset).ok()?.checked_add(base)?;
            Some(SocketAddr::from((Ipv4Addr::LOCALHOST, port)))
        };
        let peers: Vec<SocketAddr> = (0..nodes).filter_map(address).collect();
        let clients: Vec<SocketAddr> = (nodes..2 * nodes).filter_map(address).collect();
        let mut launches = Vec::new();
        for (index, client) in clients.iter().enumerate() {
            let folder = scratch.path().join(index.to_string());
            std::fs::create_dir(&folder).map_err(|error| unwritable(&folder, &error))?;
            let config = json!({
                "index": index,
                "peers": peers,
                "client": client,
                "folder": folder,
                "durability": durability_name(self.durability),
            });
            let file = scratch.path().join(format!("{index}.json"));
            let written = std::fs::write(&file, config.to_string());
            written.map_err(|error| unwritable(&file, &error))?;
            launches.push(Launch {
                program: program.to_path_buf(),
                arguments: vec!["run".to_owned(), file.display().to_string()],
            });
        }
        let mut cluster = Cluster::new(launches, Arc::new(|_: usize, _: &str| ()));
        cluster.start_all()?;
        let routing = self.about.routing;
        Ok(Running::Peer {
            cluster,
            nodes: Nodes::new(clients, routing),
            _scratch: scratch,
        })
    }
}

/// Where the folders of a peer are made: without syncs in memory alone, whatever was asked for.
///
/// # Errors
/// There is no memory to make them in: on a disk it would be another system.
fn parent_of<'a>(
    durability: Durability,
    memory: &'a Path,
    parent: Option<&'a Path>,
) -> Result<Option<&'a Path>, Failure> {
    match durability {
        Durability::Sync => Ok(parent),
        Durability::Async if Folder::of(memory).is_memory() => Ok(Some(memory)),
        Durability::Async => {
            let what = format!(
                "{}: not in memory, so that it would sync to a disk where it is not to",
                memory.display()
            );
            Err(Failure::new(Code::No, what).remedy("mount tmpfs there, or give --durability sync"))
        }
    }
}

fn unwritable(path: &Path, error: &std::io::Error) -> Failure {
    Failure::new(Code::TryAgain, format!("{}: {error}", path.display()))
}

fn quorate_plan(durability: Durability) -> Result<Plan, Failure> {
    let validators = VALIDATORS as usize;
    Ok(Plan {
        durability,
        ..Plan::of_equals(validators, free_base_port(validators)?)
    })
}

/// A cluster that runs.
pub(super) enum Running {
    Quorate(Box<Bed>),
    Peer {
        // Dropped before the folder is removed: nothing is written into it any more then.
        cluster: Cluster,
        nodes: Nodes,
        _scratch: Scratch,
    },
}

impl Running {
    /// Drives one load to its end.
    ///
    /// # Errors
    /// A node ended, the load did, or somebody interrupted.
    pub(super) fn drive(
        &mut self,
        plan: &LoadPlan,
        interrupt: &Interrupt,
    ) -> Result<Outcome, Failure> {
        let (cluster, nodes) = match self {
            Self::Quorate(bed) => return bed.drive(plan, interrupt),
            Self::Peer { cluster, nodes, .. } => (cluster, nodes),
        };
        let outcome = peer::run(plan, nodes, &interrupt.flag());
        if let Some(ended) = cluster.wait_ended(Instant::now())? {
            return Err(died(cluster, ended));
        }
        let outcome = outcome?;
        if outcome.is_interrupted {
            return Err(Failure::new(Code::No, "interrupted"));
        }
        Ok(outcome)
    }

    /// Processor time of all nodes since they started.
    pub(super) fn cpu(&self) -> Duration {
        match self {
            Self::Quorate(bed) => bed.cpu(),
            Self::Peer { cluster, nodes, .. } => {
                let of = |index| cluster.processor_time(index);
                (0..nodes.addresses.len()).filter_map(of).sum()
            }
        }
    }

    /// Ends the cluster. Quorate's validators are compared first: a figure of a cluster that
    /// disagrees is none.
    ///
    /// # Errors
    /// Processes that cannot be waited for; validators of Quorate that disagree.
    pub(super) fn stop(self) -> Result<(), Failure> {
        let Self::Quorate(bed) = self else {
            return Ok(());
        };
        let agreement = bed.conclude()?;
        if agreement.differences.is_empty() {
            return Ok(());
        }
        Err(Failure::new(Code::Safety, "validators disagree")
            .detail(agreement.differences.join("\n")))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn adapter(name: &str, durabilities: &[&str]) -> Adapter {
        let mut about = quorate(&[Durability::Async]).remove(0).about;
        about.durabilities = durabilities.iter().map(|one| (*one).to_owned()).collect();
        Adapter {
            name: name.to_owned(),
            program: PathBuf::from("/nowhere"),
            about,
        }
    }

    #[test]
    fn a_system_without_a_durability_is_told_and_refused_where_it_was_asked_for_and_has_none() {
        let adapters = || {
            vec![
                adapter("both", &["async", "sync"]),
                adapter("one", &["async"]),
            ]
        };
        let wanted = [Durability::Async, Durability::Sync];
        let (contestants, lacking) = peers(adapters(), &wanted);
        let names = |all: &[Contestant]| -> Vec<String> {
            let of = |one: &Contestant| format!("{} {}", one.name, durability_name(one.durability));
            all.iter().map(of).collect()
        };
        assert_eq!(
            names(&contestants),
            ["both async", "both sync", "one async"]
        );
        let lacks = Lacking {
            name: "one".to_owned(),
            durability: "sync",
        };
        assert_eq!(lacking, [lacks]);
        let one = ["one".to_owned()];
        assert!(expect_some_of_each(&one, &contestants, &lacking).is_ok());
        let (contestants, lacking) = peers(adapters(), &[Durability::Sync]);
        assert_eq!(names(&contestants), ["both sync"]);
        // Nobody asked for it.
        assert!(expect_some_of_each(&[], &contestants, &lacking).is_ok());
        let refused = expect_some_of_each(&one, &contestants, &lacking).unwrap_err();
        assert_eq!(refused.code, Code::Usage);
        assert!(refused.to_string().contains("--only one: "), "{refused}");
    }

    #[test]
    fn a_peer_that_is_not_to_sync_has_its_folders_in_memory_or_is_not_measured() {
        let (memory, disk) = (Path::new(MEMORY_FOLDER), Path::new("/"));
        for asked in [None, Some(disk)] {
            let found = parent_of(Durability::Async, memory, asked).unwrap();
            assert_eq!(found, Some(memory));
            let found = parent_of(Durability::Sync, memory, asked).unwrap();
            assert_eq!(found, asked);
        }
        for nowhere in ["/nowhere/at/all", "/proc"] {
            let refused = parent_of(Durability::Async, Path::new(nowhere), Some(disk));
            let refused = refused.unwrap_err();
            assert_eq!(refused.code, Code::No);
            assert!(refused.to_string().contains(nowhere), "{refused}");
        }
    }
}
