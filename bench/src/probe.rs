//! Questions to every validator of a chain at once, over the client port.
//!
//! Owns short-lived sessions that send no command. Never: decides what an answer means.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use quorate::client_wire::{ServerFrame, encode_root_ask, encode_status_ask};
use quorate::keys::KeyPair;
use quorate_net::{ClientLinks, CloseReason, Limits, LinkHandler, LinkId, NetError};
use serde_json::Value;

use crate::load::{Chain, LoadError, SessionKey};

/// Longest wait for anything.
const LOOK: Duration = Duration::from_millis(20);
/// Wait before a validator that refused a connection is dialed again.
const REDIAL: Duration = Duration::from_millis(20);

/// What to ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Question {
    /// How the validator is.
    Status,
    /// The state root.
    Root,
}

/// What a validator answered.
#[derive(Clone, Debug, PartialEq)]
pub enum Reply {
    /// Its status, as it told it.
    Status(Value),
    /// Its state root after the block of a height.
    Root {
        /// The height.
        height: u64,
        /// The root.
        root: [u8; 32],
    },
}

/// Why there is no answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Silence {
    /// In words.
    pub why: String,
    /// Its address takes no connections: nobody runs there. Who is merely slow may answer yet.
    pub is_refusal: bool,
}

/// One validator's answer, or why there is none.
pub type Answered = Result<Reply, Silence>;

#[derive(Debug)]
enum Stage {
    Down {
        dial_at: Instant,
        why: String,
        is_refusal: bool,
    },
    Dialing,
    Asked,
    Done(Reply),
}

struct Asking {
    question: Vec<u8>,
    stages: Vec<Stage>,
    by_link: BTreeMap<LinkId, usize>,
    to_send: Vec<LinkId>,
    to_close: Vec<LinkId>,
    redials: bool,
}

impl Asking {
    fn down(&mut self, validator: usize, why: String, is_refusal: bool) {
        if !matches!(self.stages[validator], Stage::Done(_)) {
            self.stages[validator] = Stage::Down {
                dial_at: Instant::now() + REDIAL,
                why,
                is_refusal,
            };
        }
    }

    /// Whether nothing more can come.
    fn is_over(&self) -> bool {
        self.stages.iter().all(|stage| match stage {
            Stage::Done(_) => true,
            Stage::Down { why, .. } => !self.redials && !why.is_empty(),
            Stage::Dialing | Stage::Asked => false,
        })
    }
}

impl LinkHandler for Asking {
    fn link_up(&mut self, link: LinkId, _: u16, _: u64) {
        if let Some(validator) = self.by_link.get(&link) {
            self.stages[*validator] = Stage::Asked;
            self.to_send.push(link);
        }
    }

    fn link_down(&mut self, link: LinkId, reason: CloseReason) {
        if let Some(validator) = self.by_link.remove(&link) {
            let is_refusal = reason == CloseReason::ConnectFailed;
            self.down(
                validator,
                format!("connection closed: {reason:?}"),
                is_refusal,
            );
        }
    }

    fn link_frame(&mut self, link: LinkId, frame: &[u8]) {
        let Some(validator) = self.by_link.get(&link).copied() else {
            return;
        };
        let reply = match ServerFrame::decode(frame) {
            Ok((_, ServerFrame::Status { json, .. })) => match serde_json::from_str(json) {
                Ok(value) => Reply::Status(value),
                Err(error) => return self.down(validator, format!("status: {error}"), false),
            },
            Ok((_, ServerFrame::Root { height, root, .. })) => Reply::Root { height, root },
            Ok((_, ServerFrame::Busy { .. })) => {
                self.down(validator, "busy".to_owned(), false);
                return self.to_close.push(link);
            }
            Ok(_) => return,
            Err(error) => return self.down(validator, error.to_string(), false),
        };
        self.stages[validator] = Stage::Done(reply);
        self.to_close.push(link);
    }
}

/// Asks every validator and waits for the answers until `deadline`. With `redials` a validator
/// that refuses is dialed again until then; without, its refusal is its answer.
///
/// # Errors
/// [`LoadError`]: nobody can be asked, since this machine lacks keys or sockets.
pub fn ask_all(
    chain: &Chain,
    question: Question,
    deadline: Instant,
    redials: bool,
) -> Result<Vec<Answered>, LoadError> {
    let mut links = ClientLinks::new(Limits::default())?;
    let key = Arc::new(KeyPair::generate().map_err(LoadError::Key)?);
    let mut bytes = Vec::new();
    match question {
        Question::Status => encode_status_ask(0, &mut bytes),
        Question::Root => encode_root_ask(0, &mut bytes),
    }
    let now = Instant::now();
    let mut asking = Asking {
        question: bytes,
        stages: chain
            .addresses
            .iter()
            .map(|_| Stage::Down {
                dial_at: now,
                why: String::new(),
                is_refusal: false,
            })
            .collect(),
        by_link: BTreeMap::new(),
        to_send: Vec::new(),
        to_close: Vec::new(),
        redials,
    };
    loop {
        let now = Instant::now();
        if asking.is_over() || now >= deadline {
            break;
        }
        dial(now, chain, &key, &mut links, &mut asking);
        let wait = LOOK.min(deadline.saturating_duration_since(now));
        links.turn(now, Some(wait), &mut asking)?;
        for link in std::mem::take(&mut asking.to_send) {
            if let Err(error) = links.send(link, &asking.question) {
                tracing::debug!(%error, "asking");
                links.close(link);
            }
        }
        links.flush();
        for link in asking.to_close.drain(..) {
            links.close(link);
        }
    }
    Ok(asking.stages.into_iter().map(answer).collect())
}

fn answer(stage: Stage) -> Answered {
    let (why, is_refusal) = match stage {
        Stage::Done(reply) => return Ok(reply),
        Stage::Down {
            why, is_refusal, ..
        } if !why.is_empty() => (why, is_refusal),
        Stage::Down { .. } | Stage::Dialing => ("no connection in time".to_owned(), false),
        Stage::Asked => ("no answer in time".to_owned(), false),
    };
    Err(Silence { why, is_refusal })
}

fn dial(
    now: Instant,
    chain: &Chain,
    key: &Arc<KeyPair>,
    links: &mut ClientLinks,
    asking: &mut Asking,
) {
    for (validator, addresses) in chain.addresses.iter().enumerate() {
        let is_due = match &asking.stages[validator] {
            Stage::Down { dial_at, why, .. } => {
                now >= *dial_at && (asking.redials || why.is_empty())
            }
            _ => false,
        };
        let Some(address) = addresses.first().filter(|_| is_due) else {
            continue;
        };
        let authenticator = Arc::new(SessionKey::new(key, chain, validator));
        match links.connect(now, address, chain.ids, authenticator) {
            Ok(link) => {
                asking.by_link.insert(link, validator);
                asking.stages[validator] = Stage::Dialing;
            }
            Err(error) => asking.down(validator, reason(&error), true),
        }
    }
}

/// An error with its cause.
fn reason(error: &NetError) -> String {
    use std::error::Error as _;
    error
        .source()
        .map_or_else(|| error.to_string(), |source| format!("{error}: {source}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testnet::{Plan, Testnet, Workload, free_base_port};
    use quorate::profiles::{Durability, Profile};

    /// A chain whose validators nobody started.
    fn deserted() -> (std::path::PathBuf, Chain) {
        let dir = std::env::temp_dir().join(format!("quorate-probe-{}", std::process::id()));
        let testnet = Testnet::create(
            &dir,
            &Plan {
                weights: vec![1; 4],
                fault_weight: None,
                fast_slack: None,
                crash_only: false,
                workload: Workload::Opaque,
                auth: quorate::genesis::Auth::Session,
                base_port: free_base_port(4).unwrap(),
                durability: Durability::Async,
                profile: Profile::Laptop,
                threads: None,
                idle: None,
                trace_stamps: 0,
                window_slots: None,
            },
        )
        .unwrap();
        let chain = Chain::of(testnet.genesis());
        (dir, chain)
    }

    #[test]
    fn validators_that_are_not_there_are_told_at_once_or_waited_for() {
        let (dir, chain) = deserted();
        let far = Instant::now() + Duration::from_secs(60);
        let answers = ask_all(&chain, Question::Status, far, false).unwrap();
        assert!(Instant::now() < far, "it waited although nobody will come");
        assert_eq!(answers.len(), 4);
        assert!(answers.iter().all(|answer| {
            answer
                .as_ref()
                .is_err_and(|silence| silence.is_refusal && !silence.why.is_empty())
        }));
        let soon = Instant::now() + Duration::from_millis(100);
        let answers = ask_all(&chain, Question::Root, soon, true).unwrap();
        assert!(Instant::now() >= soon && answers.iter().all(Result::is_err));
        std::fs::remove_dir_all(dir).unwrap();
    }
}
