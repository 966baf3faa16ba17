//! The state machines that a testnet can run, by the name in its genesis.
//!
//! Owns the names, the reading of their parameters and [`Opaque`]. Never: a rule of the venue.

use core::fmt;

use quorate::genesis::Application;
use quorate::state_machine::{Context, Output, SessionEvent, SessionId, StateMachine};
use quorate_venue::config::SESSIONS_PER_SIDE_MIN;
use quorate_venue::{FeedConfig, Instrument, Venue, VenueConfig, VenueLimits};
use serde::{Deserialize, Serialize};

mod accounts;
mod pages;
mod wrong;

pub use accounts::{AccountParameters, FeedParameters, FeedValidatorParameters, RuleParameters};
pub use pages::{Pages, PagesParameters};
pub use wrong::Wrong;

/// Name of the order book in a genesis.
pub const VENUE: &str = "venue";
/// Name of the state machine that only counts and mixes bytes.
pub const OPAQUE: &str = "opaque";

/// Name of the state machine that writes into a state of any length.
pub const PAGES: &str = "pages";

/// Why the application that a genesis names cannot be run.
#[derive(Debug, thiserror::Error)]
pub enum ApplicationError {
    /// The name is not known.
    #[error("field application.name = {0:?}: not an application of this program")]
    Name(String),
    /// The parameters cannot be read.
    #[error("field application.parameters: {0}")]
    Parameters(#[from] serde_json::Error),
    /// A state cannot have that length.
    #[error("field application.parameters.state_mib = {0}: not 1 to {max}", max = pages::STATE_MIB_MAX)]
    StateLength(u32),
    /// The venue refuses what they say.
    #[error("field application.parameters: {0}")]
    Venue(#[from] quorate_venue::ConfigError),
    /// An application that was added refuses what they say.
    #[error("field application.parameters: {0}")]
    Added(String),
    /// A session id is not 32 hex digits.
    #[error("field application.parameters.admins = {0:?}: not 32 lower-case hex digits")]
    Admin(String),
    /// A session id is not 32 hex digits.
    #[error(
        "field application.parameters.accounts.validators.session = {0:?}: not 32 lower-case hex \
         digits"
    )]
    FeedSession(String),
    /// The venue takes no prices.
    #[error("field application.parameters.accounts: left out, so the venue takes no prices")]
    NoAccounts,
}

/// A venue's parameters as they stand in a genesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VenueParameters {
    /// What is traded, in the order of the instruments' ids.
    pub instruments: Vec<InstrumentParameters>,
    /// Sessions that may halt and resume, 32 hex digits each.
    #[serde(default)]
    pub admins: Vec<String>,
    /// How much the venue holds at most.
    #[serde(default)]
    pub limits: LimitParameters,
    /// Accounts, feeds and option series; off if left out.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accounts: Option<AccountParameters>,
}

/// One instrument; prices in ticks, sizes in lots.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct InstrumentParameters {
    /// What people call it.
    pub symbol: String,
    /// Lowest price, in ticks.
    pub price_ticks_min: i64,
    /// Highest price, in ticks.
    pub price_ticks_max: i64,
    /// Largest order, in lots.
    pub size_lots_max: u64,
}

/// Bounds of the venue.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct LimitParameters {
    /// Resting orders in all books.
    pub orders_max: u32,
    /// Resting orders of one session.
    pub orders_per_session_max: u32,
    /// Price levels on one side of one book.
    pub levels_per_side_max: u32,
}

/// What a genesis that leaves limits out means. Never to change: they are in the state of such a
/// chain, and a genesis is never changed. New ones say what they mean.
impl Default for LimitParameters {
    fn default() -> Self {
        Self {
            orders_max: 1 << 20,
            orders_per_session_max: 1 << 16,
            levels_per_side_max: 1 << 16,
        }
    }
}

impl From<VenueLimits> for LimitParameters {
    fn from(limits: VenueLimits) -> Self {
        Self {
            orders_max: limits.orders_max,
            orders_per_session_max: limits.orders_per_session_max,
            levels_per_side_max: limits.levels_per_side_max,
        }
    }
}

impl VenueParameters {
    /// A venue with one instrument of the widest bounds, and these administrators.
    #[must_use]
    pub fn one_instrument(symbol: &str, admins: &[SessionId]) -> Self {
        let instrument = Instrument::with_symbol(symbol);
        Self {
            instruments: vec![InstrumentParameters {
                symbol: instrument.symbol,
                price_ticks_min: instrument.price_ticks_min,
                price_ticks_max: instrument.price_ticks_max,
                size_lots_max: instrument.size_lots_max,
            }],
            admins: admins
                .iter()
                .map(|session| format!("{session:?}"))
                .collect(),
            limits: VenueLimits::default().into(),
            accounts: None,
        }
    }

    fn into_config(self) -> Result<VenueConfig, ApplicationError> {
        let admins = self
            .admins
            .into_iter()
            .map(|text| session_of(&text).ok_or(ApplicationError::Admin(text)));
        Ok(VenueConfig {
            instruments: self
                .instruments
                .into_iter()
                .map(|instrument| Instrument {
                    symbol: instrument.symbol,
                    price_ticks_min: instrument.price_ticks_min,
                    price_ticks_max: instrument.price_ticks_max,
                    size_lots_max: instrument.size_lots_max,
                })
                .collect(),
            admins: admins.collect::<Result<_, _>>()?,
            limits: VenueLimits {
                orders_max: self.limits.orders_max,
                orders_per_session_max: self.limits.orders_per_session_max,
                levels_per_side_max: self.limits.levels_per_side_max,
            },
            clearing: self
                .accounts
                .map(AccountParameters::into_config)
                .transpose()?,
        })
    }
}

/// The feeds of the venue that a genesis names.
///
/// # Errors
/// The application is no venue, its parameters are not a venue's, or it has no feeds.
pub fn feeds(application: &Application) -> Result<Vec<FeedConfig>, ApplicationError> {
    if application.name != VENUE {
        return Err(ApplicationError::Name(application.name.clone()));
    }
    let parameters = serde_json::Value::Object(application.parameters.clone());
    let parameters: VenueParameters = serde_json::from_value(parameters)?;
    let clearing = parameters.into_config()?.clearing;
    Ok(clearing.ok_or(ApplicationError::NoAccounts)?.feeds)
}

fn session_of(text: &str) -> Option<SessionId> {
    let is_hex = |c: u8| c.is_ascii_digit() || (b'a'..=b'f').contains(&c);
    if text.len() != 32 || !text.bytes().all(is_hex) {
        return None;
    }
    u128::from_str_radix(text, 16).ok().map(|number| {
        let mut bytes = [0; 16];
        for (place, byte) in bytes.iter_mut().enumerate() {
            *byte = (number >> (120 - 8 * place)) as u8;
        }
        SessionId(bytes)
    })
}

/// A state machine for measuring the engine rather than itself: it counts commands and mixes
/// their bytes into 256 bits.
///
/// The mixing tells two different histories apart by accident, not against an adversary; that the
/// bytes are the same everywhere is proven by the payload hashes of the blocks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Opaque {
    commands: u64,
    state: [u64; 4],
}

/// Odd constants with well spread bits, one a lane.
const FACTORS: [u64; 4] = [
    0x9e37_79b9_7f4a_7c15,
    0xc2b2_ae3d_27d4_eb4f,
    0x1656_67b1_9e37_79f9,
    0xff51_afd7_ed55_8ccd,
];
const SNAPSHOT_BYTES: usize = 5 * 8;

/// Mixes a word into another.
const fn mixed(state: u64, word: u64, lane: usize) -> u64 {
    (state ^ word).wrapping_mul(FACTORS[lane]).rotate_left(29)
}

impl Opaque {
    fn mix(&mut self, lane: usize, word: u64) {
        self.state[lane] = mixed(self.state[lane], word, lane);
    }

    /// Words in turn into the four lanes. What comes as whole rows goes through registers: this is
    /// run by every validator for every byte, and ought to be small beside the engine's own work.
    fn mix_all(&mut self, words: &[[u8; 8]]) {
        let (rows, rest) = words.as_chunks::<4>();
        let [mut a, mut b, mut c, mut d] = self.state;
        for row in rows {
            a = mixed(a, u64::from_le_bytes(row[0]), 0);
            b = mixed(b, u64::from_le_bytes(row[1]), 1);
            c = mixed(c, u64::from_le_bytes(row[2]), 2);
            d = mixed(d, u64::from_le_bytes(row[3]), 3);
        }
        self.state = [a, b, c, d];
        for (lane, word) in rest.iter().enumerate() {
            self.mix(lane, u64::from_le_bytes(*word));
        }
    }
}

impl StateMachine for Opaque {
    fn sections(&self) -> &'static [&'static str] {
        &["commands"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], _: &mut Output) {
        self.commands += 1;
        self.mix(0, context.seq);
        self.mix(1, command.len() as u64);
        let (words, rest) = command.as_chunks::<8>();
        self.mix_all(words);
        let mut last = [0; 8];
        last[..rest.len()].copy_from_slice(rest);
        self.mix(2, u64::from_le_bytes(last));
        let (head, tail) = context.session.0.split_at(8);
        for (lane, half) in [(2, head), (3, tail)] {
            let mut word = [0; 8];
            word.copy_from_slice(half);
            self.mix(lane, u64::from_le_bytes(word));
        }
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        let mut bytes = Vec::with_capacity(SNAPSHOT_BYTES);
        self.snapshot_section(section, &mut bytes);
        *blake3::hash(&bytes).as_bytes()
    }

    fn snapshot_section(&self, _: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.commands.to_le_bytes());
        for word in self.state {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
    }

    fn restore_section(&mut self, _: usize, bytes: &[u8]) -> Result<(), String> {
        let (words, rest) = bytes.as_chunks::<8>();
        let ([commands, state @ ..], []) = (words, rest) else {
            return Err(format!(
                "expected {SNAPSHOT_BYTES} bytes, got {}",
                bytes.len()
            ));
        };
        let state: &[[u8; 8]; 4] = state
            .try_into()
            .map_err(|_| format!("expected {SNAPSHOT_BYTES} bytes, got {}", bytes.len()))?;
        self.commands = u64::from_le_bytes(*commands);
        self.state = state.map(u64::from_le_bytes);
        Ok(())
    }

    fn query(&self, _: &[u8], answer: &mut Vec<u8>) {
        answer.extend_from_slice(&self.commands.to_le_bytes());
    }
}

/// Any application of this program.
pub enum Hosted {
    /// The order book.
    Venue(Box<Venue>),
    /// Counting and mixing.
    Opaque(Opaque),
    /// Writing into a state of any length.
    Pages(Pages),
    /// One that an embedder's program has added.
    Added(Box<dyn StateMachine>),
    /// One of these, computing wrongly on purpose.
    Wrong(Box<Wrong>),
}

impl fmt::Debug for Hosted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Venue(_) => VENUE,
            Self::Opaque(_) => OPAQUE,
            Self::Pages(_) => PAGES,
            Self::Added(_) => "added",
            Self::Wrong(_) => "wrong on purpose",
        })
    }
}

impl Hosted {
    /// The same application, which misses the first command from a height on. For tests of what
    /// becomes of a validator whose state is another than the others'.
    #[must_use]
    pub fn wrong_from(self, height: u64) -> Self {
        Self::Wrong(Box::new(Wrong::new(self, height)))
    }

    /// Makes the application that a genesis names.
    ///
    /// # Errors
    /// The name is not known, or the parameters are not its own.
    pub fn open(application: &Application) -> Result<Self, ApplicationError> {
        let parameters = serde_json::Value::Object(application.parameters.clone());
        match application.name.as_str() {
            VENUE => {
                let parameters: VenueParameters = serde_json::from_value(parameters)?;
                let config = parameters.into_config()?;
                if config.limits.few_may_fill_a_side() {
                    tracing::warn!(
                        "application.parameters.limits: fewer than {SESSIONS_PER_SIDE_MIN} \
                         sessions may take all levels_per_side_max prices of a side and close it \
                         to everybody else (docs/venue.md, Limits)"
                    );
                }
                Ok(Self::Venue(Box::new(Venue::new(config)?)))
            }
            OPAQUE => {
                #[derive(Deserialize)]
                #[serde(deny_unknown_fields)]
                struct None {}
                let None {} = serde_json::from_value(parameters)?;
                Ok(Self::Opaque(Opaque::default()))
            }
            PAGES => PagesParameters::of(application)
                .map(|parameters| Self::Pages(Pages::new(parameters.state_mib))),
            other => Err(ApplicationError::Name(other.to_owned())),
        }
    }
}

/// Calls the same method of whichever application it is.
macro_rules! each {
    ($hosted:expr, $application:ident => $call:expr) => {
        match $hosted {
            Hosted::Venue($application) => $call,
            Hosted::Opaque($application) => $call,
            Hosted::Pages($application) => $call,
            Hosted::Added($application) => $call,
            Hosted::Wrong($application) => $call,
        }
    };
}

impl StateMachine for Hosted {
    fn sections(&self) -> &'static [&'static str] {
        each!(self, application => application.sections())
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        each!(self, application => application.apply(context, command, output));
    }

    fn timer_next_ns(&self) -> Option<u64> {
        each!(self, application => application.timer_next_ns())
    }

    fn apply_timers(&mut self, height: u64, time_ns: u64, output: &mut Output) {
        each!(self, application => application.apply_timers(height, time_ns, output));
    }

    fn apply_session(&mut self, context: &Context, event: SessionEvent, output: &mut Output) {
        each!(self, application => application.apply_session(context, event, output));
    }

    fn keeps(&self, session: SessionId) -> bool {
        each!(self, application => application.keeps(session))
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        each!(self, application => application.section_root(section))
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        each!(self, application => application.snapshot_section(section, bytes));
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        each!(self, application => application.restore_section(section, bytes))
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        each!(self, application => application.query(question, answer));
    }

    fn query_from(&self, asker: SessionId, question: &[u8], answer: &mut Vec<u8>) {
        each!(self, application => application.query_from(asker, question, answer));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use quorate::state_machine::Lane;
    use serde_json::json;

    fn context(seq: u64) -> Context {
        Context {
            height: 1,
            index: 0,
            time_ns: 1,
            session: SessionId([7; 16]),
            seq,
            lane: Lane::Order,
        }
    }

    fn root_after(commands: &[&[u8]]) -> [u8; 32] {
        let mut opaque = Opaque::default();
        let mut output = Output::new();
        for (at, command) in commands.iter().enumerate() {
            opaque.apply(&context(at as u64 + 1), command, &mut output);
        }
        opaque.section_root(0)
    }

    #[test]
    fn opaque_tells_contents_lengths_and_orders_apart() {
        let roots = [
            root_after(&[]),
            root_after(&[b""]),
            root_after(&[b"", b""]),
            root_after(&[b"\0"]),
            root_after(&[b"a", b"b"]),
            root_after(&[b"b", b"a"]),
            root_after(&[b"12345678abcdefgh"]),
            root_after(&[b"abcdefgh12345678"]),
        ];
        for (at, root) in roots.iter().enumerate() {
            assert!(!roots[at + 1..].contains(root), "history {at}");
        }
        assert_eq!(root_after(&[b"a", b"b"]), roots[4]);
    }

    #[test]
    fn opaque_comes_back_from_its_snapshot() {
        let mut opaque = Opaque::default();
        opaque.apply(&context(1), b"some command", &mut Output::new());
        let mut bytes = Vec::new();
        opaque.snapshot_section(0, &mut bytes);
        let mut other = Opaque::default();
        other.restore_section(0, &bytes).unwrap();
        assert_eq!(other, opaque);
        for cut in 0..bytes.len() {
            assert!(other.restore_section(0, &bytes[..cut]).is_err());
        }
        bytes.push(0);
        assert!(other.restore_section(0, &bytes).is_err());
    }

    fn open(name: &str, parameters: serde_json::Value) -> Result<Hosted, ApplicationError> {
        let serde_json::Value::Object(parameters) = parameters else {
            panic!("not an object")
        };
        Hosted::open(&Application {
            name: name.to_owned(),
            parameters,
        })
    }

    /// Another meaning would make a chain's own state another than the one its log proves.
    #[test]
    fn limits_that_a_genesis_leaves_out_are_those_of_the_first_version_and_new_ones_are_written() {
        let instruments = json!([
            {"symbol": "A", "price_ticks_min": 1, "price_ticks_max": 2, "size_lots_max": 1}
        ]);
        let left_out: VenueParameters =
            serde_json::from_value(json!({"instruments": instruments})).unwrap();
        let limits = left_out.into_config().unwrap().limits;
        let first = VenueLimits {
            orders_max: 1_048_576,
            orders_per_session_max: 65_536,
            levels_per_side_max: 65_536,
        };
        assert_eq!(limits, first);
        open("venue", json!({"instruments": instruments})).unwrap();
        let new = serde_json::to_value(VenueParameters::one_instrument("QRT", &[])).unwrap();
        assert_eq!(new["limits"]["orders_per_session_max"], json!(16_384));
    }

    #[test]
    fn applications_are_found_by_name_and_refuse_what_they_do_not_know() {
        assert!(matches!(open("opaque", json!({})), Ok(Hosted::Opaque(_))));
        let admin = SessionId([0xab; 16]);
        let parameters = VenueParameters::one_instrument("QRT", &[admin]);
        assert_eq!(parameters.admins, ["ab".repeat(16)]);
        assert_eq!(session_of(&parameters.admins[0]), Some(admin));
        let parameters = serde_json::to_value(parameters).unwrap();
        assert!(parameters.get("accounts").is_none(), "off and not written");
        let hosted = open("venue", parameters.clone()).unwrap();
        assert_eq!(hosted.sections().len(), 3);
        let with_accounts = |session: &str, feed: serde_json::Value| {
            let mut parameters = parameters.clone();
            parameters["accounts"] = json!({
                "validators": [{"session": session, "stake": 1}],
                "feeds": [feed],
            });
            parameters
        };
        let good = with_accounts(&"cd".repeat(16), json!({"symbol": "IDX"}));
        let hosted = open("venue", good).unwrap();
        assert_eq!(hosted.sections().len(), 6);
        let validator = SessionId([0xcd; 16]);
        assert!(hosted.keeps(admin) && hosted.keeps(validator));
        assert!(!hosted.keeps(SessionId([1; 16])));
        let wrong = hosted.wrong_from(3);
        assert!(wrong.keeps(admin) && wrong.keeps(validator));
        let application = |parameters: serde_json::Value| Application {
            name: VENUE.to_owned(),
            parameters: serde_json::from_value(parameters).unwrap(),
        };
        let good = with_accounts(&"cd".repeat(16), json!({"symbol": "IDX"}));
        let named = feeds(&application(good)).unwrap();
        assert_eq!(named, [FeedConfig::with_symbol("IDX")]);
        let none = feeds(&application(parameters.clone()));
        assert!(matches!(none, Err(ApplicationError::NoAccounts)));
        for (name, parameters, part) in [
            (
                "venue",
                with_accounts("cd", json!({"symbol": "IDX"})),
                "validators.session = \"cd\"",
            ),
            (
                "venue",
                with_accounts(&"cd".repeat(16), json!({"symbol": "IDX", "round_ns": 1})),
                "feed 0: round_ns",
            ),
            ("chess", json!({}), "application.name = \"chess\""),
            ("opaque", json!({"size": 1}), "unknown field `size`"),
            ("venue", json!({}), "missing field `instruments`"),
            ("venue", json!({"instruments": []}), "1 to"),
            (
                "venue",
                json!({"instruments": [], "admins": ["xy"]}),
                "admins = \"xy\"",
            ),
        ] {
            let error = open(name, parameters).unwrap_err().to_string();
            assert!(error.contains(part), "{error}");
        }
    }
}
