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
/// Shortest wait before one that was busy is asked again, whatever it says.
const RETRY_MIN: Duration = Duration::from_millis(1);

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
    /// It had no room for the question, and is asked again over the same connection.
    Busy {
        ask_at: Instant,
    },
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
            Stage::Dialing | Stage::Asked | Stage::Busy { .. } => false,
        })
    }

    /// Those that were busy are asked again when it is time.
    fn ask_again(&mut self, now: Instant) {
        for (&link, &validator) in &self.by_link {
            let stage = &mut self.stages[validator];
            if matches!(stage, Stage::Busy { ask_at } if *ask_at <= now) {
                *stage = Stage::Asked;
                self.to_send.push(link);
            }
        }
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
            Ok((_, ServerFrame::Busy { retry_after_us, .. })) => {
                let wait = Duration::from_micros(retry_after_us.into()).max(RETRY_MIN);
                let ask_at = Instant::now() + wait;
                self.stages[validator] = Stage::Busy { ask_at };
                return;
            }
            Ok(_) => return,
            Err(error) => return self.down(validator, error.to_string(), false),
        };
        self.stages[validator] = Stage::Done(reply);
        self.to_close.push(link);
    }
}

/// Asks every validator and waits for the answers until `deadline`. With `redials` a validator
/// that refuses is dialed again until then; without, its refusal is its answer. One that is busy is
/// there, and is asked again in either case.
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
        asking.ask_again(Instant::now());
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
        Stage::Busy { .. } => ("busy until the time was over".to_owned(), false),
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
    use quorate::client_wire::{ClientFrame, encode_busy, encode_status};
    use quorate::profiles::{Durability, Profile};
    use quorate_consensus::signing::hello_message;
    use quorate_consensus::validators::ValidatorSet;
    use quorate_net::{Authenticator, ClientId, Handler, Net, NetConfig};
    use std::sync::atomic::{AtomicBool, Ordering};

    /// A chain whose validators nobody started.
    fn deserted(name: &str) -> (std::path::PathBuf, Chain, Testnet) {
        let name = format!("quorate-probe-{name}-{}", std::process::id());
        let dir = std::env::temp_dir().join(name);
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
                segment_bytes: None,
            },
        )
        .unwrap();
        let chain = Chain::of(testnet.genesis());
        (dir, chain, testnet)
    }

    /// The one that serves.
    const BUSY: u16 = 2;

    /// Signs as that one.
    struct Identity(Arc<ValidatorSet>, KeyPair);

    impl Authenticator for Identity {
        fn sign_hello(&self, hash: &[u8; 32], to: u16) -> [u8; 64] {
            self.1.sign(&hello_message(&self.0, hash, BUSY, to))
        }

        fn verify_hello(&self, _: &[u8; 32], _: u16, _: u16, _: &[u8; 64]) -> bool {
            false
        }

        fn verify_login(&self, _: &[u8; 32], _: &[u8; 32], _: &[u8; 64]) -> bool {
            true
        }
    }

    /// Has no room for so many questions, and answers those that come later.
    struct Server {
        is_busy_for: usize,
        asked: Vec<ClientId>,
        replies: Vec<(ClientId, Vec<u8>)>,
    }

    impl Handler for Server {
        fn peer_up(&mut self, _: u16, _: u64) {}
        fn peer_down(&mut self, _: u16, _: CloseReason) {}
        fn peer_frame(&mut self, _: u16, _: &[u8]) {}
        fn client_up(&mut self, _: ClientId, _: [u8; 32]) {}
        fn client_down(&mut self, _: ClientId) {}

        fn client_frame(&mut self, client: ClientId, frame: &[u8]) {
            let Ok(ClientFrame::StatusAsk { id }) = ClientFrame::decode(frame) else {
                panic!("no question for a status");
            };
            let mut bytes = Vec::new();
            match self.asked.len() < self.is_busy_for {
                true => encode_busy(None, id, 30_000, &mut bytes),
                false => encode_status(None, id, "{\"height\":7}", &mut bytes),
            }
            self.asked.push(client);
            self.replies.push((client, bytes));
        }
    }

    /// Serves until it is stopped; gives which connections asked.
    fn serve(testnet: &Testnet, chain: &Chain, is_busy_for: usize) -> Serving {
        let index = usize::from(BUSY);
        let folder = testnet.config_path(index);
        let key = KeyPair::load(&folder.with_file_name("key")).unwrap();
        let config = NetConfig {
            index: BUSY,
            incarnation: 1,
            chain: chain.ids,
            peer_listen: "127.0.0.1:0".to_owned(),
            client_listen: Some(chain.addresses[index][0].clone()),
            peers: Vec::new(),
            limits: Limits::default(),
            jitter_seed: 1,
        };
        let identity = Identity(Arc::clone(&chain.set), key);
        let mut net = Net::bind(config, Arc::new(identity)).unwrap();
        let stop = Arc::<AtomicBool>::default();
        let is_over = Arc::clone(&stop);
        let thread = std::thread::spawn(move || {
            let mut server = Server {
                is_busy_for,
                asked: Vec::new(),
                replies: Vec::new(),
            };
            while !is_over.load(Ordering::Acquire) {
                net.turn(Instant::now(), Some(LOOK), &mut server).unwrap();
                for (client, frame) in server.replies.drain(..) {
                    net.send_client(client, &frame).unwrap();
                }
                net.flush();
            }
            server.asked
        });
        (stop, thread)
    }

    type Serving = (Arc<AtomicBool>, std::thread::JoinHandle<Vec<ClientId>>);

    #[test]
    fn a_busy_validator_is_asked_again_over_the_same_connection() {
        let (dir, chain, testnet) = deserted("busy");
        let (stop, thread) = serve(&testnet, &chain, 2);
        let far = Instant::now() + Duration::from_secs(60);
        let answers = ask_all(&chain, Question::Status, far, false).unwrap();
        assert!(Instant::now() < far);
        stop.store(true, Ordering::Release);
        let asked = thread.join().unwrap();
        assert_eq!(asked, [asked[0]; 3]);
        let status = serde_json::json!({"height": 7});
        assert_eq!(answers[usize::from(BUSY)], Ok(Reply::Status(status)));
        assert_eq!(answers.iter().filter(|answer| answer.is_err()).count(), 3);

        let (stop, thread) = serve(&testnet, &chain, usize::MAX);
        let soon = Instant::now() + Duration::from_millis(500);
        let answers = ask_all(&chain, Question::Status, soon, false).unwrap();
        stop.store(true, Ordering::Release);
        assert!(thread.join().unwrap().len() > 1);
        let silence = answers[usize::from(BUSY)].as_ref().unwrap_err();
        assert!(
            silence.why.contains("busy") && !silence.is_refusal,
            "{silence:?}"
        );
        std::fs::remove_dir_all(dir).unwrap();
    }

    #[test]
    fn validators_that_are_not_there_are_told_at_once_or_waited_for() {
        let (dir, chain, _) = deserted("deserted");
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
