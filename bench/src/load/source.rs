//! What is sent when, by whom: the flow behind the load, with one command looked ahead.

use std::num::NonZeroU64;
use std::path::PathBuf;

use quorate_consensus::payload::Lane;
use quorate_venue::InstrumentId;

use super::LoadError;
use crate::orders::{
    Generator, GeneratorConfig, Lobster, LobsterConfig, Noise, Opaque, OrderFlow, Planned, Sender,
};

/// Resting orders around which a generated book settles.
const ORDERS_TARGET: u32 = 4_000;

/// Where the commands come from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Flow {
    /// Bytes without a meaning, evenly spaced.
    Opaque {
        /// Bytes of one command.
        size: usize,
    },
    /// The same in the lane of cancels.
    Cancels {
        /// Bytes of one command.
        size: usize,
    },
    /// Generated orders.
    Orders,
    /// A recording in the LOBSTER format, over and over.
    Recording {
        /// The message file.
        messages: PathBuf,
        /// The order book file of the same recording.
        book: Option<PathBuf>,
    },
}

/// What load is to be driven.
#[derive(Clone, Debug)]
pub struct LoadPlan {
    /// Where the commands come from.
    pub flow: Flow,
    /// Commands a second.
    pub rate: NonZeroU64,
    /// How long commands are sent.
    pub seconds: u64,
    /// Sessions that send them; session c begins at validator c mod n.
    pub clients: u32,
    /// One seed, one flow.
    pub seed: u64,
    /// Whether every result is written down, for a check from outside: 40 bytes a command.
    pub keeps_acknowledged: bool,
    /// Who takes the next command.
    pub routing: Routing,
    /// Whether every command's times are written down: 56 bytes a command.
    pub keeps_trips: bool,
}

impl LoadPlan {
    /// What loads of measurements have in common, for each to change what it measures: opaque
    /// commands of `size` bytes from one session, of which nothing is written down. A rate of 0 is
    /// one of 1.
    #[must_use]
    pub fn opaque(size: usize, rate: u64, seconds: u64) -> Self {
        Self {
            flow: Flow::Opaque { size },
            rate: NonZeroU64::new(rate).unwrap_or(NonZeroU64::MIN),
            seconds,
            clients: 1,
            seed: 1,
            keeps_acknowledged: false,
            routing: Routing::Flow,
            keeps_trips: false,
        }
    }

    /// Looks at what the load is made of, before anything is started for it.
    ///
    /// # Errors
    /// [`LoadError::Orders`]: a recording cannot be read, or is none.
    pub fn check(&self) -> Result<(), LoadError> {
        Source::open(self).map(drop)
    }
}

/// Which session takes the next command.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Routing {
    /// The one that the flow names.
    #[default]
    Flow,
    /// One whose gateway leads, as far as validators have told: a client that holds a session at
    /// every validator. For flows whose commands mean the same in any session.
    Leader {
        /// Of so many commands one goes to a validator that does not lead; 0: none.
        aside_every: u64,
    },
}

impl Routing {
    /// The validator that the command after `taken` others goes to; none where the flow decides
    /// or the leader is not known.
    pub(super) fn gateway(
        self,
        leader: Option<u16>,
        taken: u64,
        validators: usize,
    ) -> Option<usize> {
        let (Self::Leader { aside_every }, Some(leader)) = (self, leader) else {
            return None;
        };
        let others = validators.saturating_sub(1) as u64;
        let aside = taken.checked_div(aside_every);
        // The others one after the other.
        let step = aside
            .filter(|_| taken % aside_every == aside_every - 1)
            .and_then(|aside| aside.checked_rem(others))
            .map_or(0, |turn| turn + 1);
        let step = usize::try_from(step).unwrap_or(0);
        (usize::from(leader) + step).checked_rem(validators)
    }
}

/// The bytes of a command.
#[derive(Clone, Copy, Debug)]
pub(super) enum Body<'a> {
    /// These.
    Bytes(&'a [u8]),
    /// Those of the opaque command of this index, which need not be kept to be sent again.
    Opaque(&'a Noise, u64),
}

impl Body<'_> {
    pub(super) const fn len(&self) -> usize {
        match self {
            Self::Bytes(bytes) => bytes.len(),
            Self::Opaque(noise, _) => noise.command_bytes(),
        }
    }

    pub(super) fn append_to(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Bytes(own) => bytes.extend_from_slice(own),
            Self::Opaque(noise, index) => noise.append(*index, bytes),
        }
    }
}

impl<'a, T: AsRef<[u8]> + ?Sized> From<&'a T> for Body<'a> {
    fn from(bytes: &'a T) -> Self {
        Self::Bytes(bytes.as_ref())
    }
}

/// The next command of a flow.
#[derive(Clone, Copy, Debug)]
pub(super) struct Next<'a> {
    pub(super) offset_ns: u64,
    /// The session, where sessions 0 to clients - 1 are clients and `clients` is the
    /// administrator.
    pub(super) session: usize,
    pub(super) lane: Lane,
    pub(super) body: Body<'a>,
}

/// Where commands come from.
enum Commands {
    /// The last one planned has this index.
    Opaque(Opaque, u64),
    /// The last one planned has these bytes.
    Told(Box<dyn OrderFlow>, Vec<u8>),
}

impl Commands {
    fn told(flow: impl OrderFlow + 'static) -> Self {
        Self::Told(Box::new(flow), Vec::new())
    }

    fn plan_next(&mut self) -> Option<Planned> {
        match self {
            Self::Opaque(flow, last) => {
                let (planned, index) = flow.plan_index();
                *last = index;
                Some(planned)
            }
            Self::Told(flow, bytes) => flow.plan_next(bytes),
        }
    }

    fn body(&self) -> Body<'_> {
        match self {
            Self::Opaque(flow, index) => Body::Opaque(flow.noise(), *index),
            Self::Told(_, bytes) => Body::Bytes(bytes),
        }
    }
}

/// A flow with one command looked ahead, up to the end of the run.
pub(super) struct Source {
    commands: Commands,
    clients: u32,
    end_ns: u64,
    planned: Option<Planned>,
    /// Commands that were intended within the run, taken or not.
    offered: u64,
}

impl Source {
    /// # Errors
    /// [`LoadError::Orders`]: a recording cannot be read.
    pub(super) fn open(plan: &LoadPlan) -> Result<Self, LoadError> {
        let opaque = |size| Opaque::new(plan.seed, plan.rate, size, plan.clients);
        let commands = match &plan.flow {
            Flow::Opaque { size } => Commands::Opaque(opaque(*size), 0),
            Flow::Cancels { size } => {
                let flow = opaque(*size).in_lane(quorate::state_machine::Lane::Cancel);
                Commands::Opaque(flow, 0)
            }
            Flow::Orders => Commands::told(Generator::new(GeneratorConfig {
                seed: plan.seed,
                rate_per_s: plan.rate,
                clients: plan.clients,
                instruments: 1,
                orders_target: ORDERS_TARGET,
            })),
            Flow::Recording { messages, book } => Commands::told(Lobster::open(&LobsterConfig {
                messages: messages.clone(),
                book: book.clone(),
                rate_per_s: plan.rate,
                clients: plan.clients,
                instrument: InstrumentId(0),
            })?),
        };
        let end_ns = plan.seconds.saturating_mul(1_000_000_000);
        let mut source = Self {
            commands,
            clients: plan.clients,
            end_ns,
            planned: None,
            offered: 0,
        };
        source.advance();
        Ok(source)
    }

    /// The next command of the run; `None` when all were taken.
    pub(super) fn peek(&self) -> Option<Next<'_>> {
        let planned = self.planned?;
        let session = match planned.sender {
            Sender::Client(client) => client,
            Sender::Admin => self.clients,
        };
        Some(Next {
            offset_ns: planned.offset_ns,
            session: session as usize,
            lane: lane_of(planned.lane),
            body: self.commands.body(),
        })
    }

    /// Goes on to the command after that.
    pub(super) fn advance(&mut self) {
        let planned = self.commands.plan_next();
        self.planned = planned.filter(|planned| planned.offset_ns < self.end_ns);
        self.offered += u64::from(self.planned.is_some());
    }

    /// Goes through what was not taken, so that it counts as offered.
    pub(super) fn offer_rest(&mut self) {
        while self.planned.is_some() {
            self.advance();
        }
    }

    pub(super) const fn offered(&self) -> u64 {
        self.offered
    }
}

/// The same lane, as the entries of payloads name it.
const fn lane_of(lane: quorate::state_machine::Lane) -> Lane {
    use quorate::state_machine::Lane as Own;
    match lane {
        Own::Cancel => Lane::Cancel,
        Own::Order => Lane::Order,
        Own::Price => Lane::Price,
        Own::Admin => Lane::Admin,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(rate: u64) -> Source {
        Source::open(&LoadPlan {
            flow: Flow::Opaque { size: 16 },
            rate: NonZeroU64::new(rate).unwrap(),
            seconds: 2,
            clients: 3,
            seed: 1,
            keeps_acknowledged: false,
            routing: Routing::Flow,
            keeps_trips: false,
        })
        .unwrap()
    }

    #[test]
    fn a_run_offers_rate_times_seconds_however_much_is_taken() {
        let mut source = source(100);
        for taken in 0..50 {
            let next = source.peek().unwrap();
            assert_eq!(
                (next.offset_ns, next.session),
                (taken * 10_000_000, taken as usize % 3)
            );
            source.advance();
        }
        source.offer_rest();
        assert_eq!(source.offered(), 200);
        assert!(source.peek().is_none());
    }

    #[test]
    fn opaque_commands_have_the_bytes_of_their_flow() {
        let mut source = source(100);
        let mut flow = Opaque::new(1, NonZeroU64::new(100).unwrap(), 16, 3);
        let (mut expected, mut bytes) = (Vec::new(), Vec::new());
        while let Some(next) = source.peek() {
            flow.plan_next(&mut expected).unwrap();
            bytes.clear();
            next.body.append_to(&mut bytes);
            assert_eq!((&bytes, next.body.len()), (&expected, 16));
            source.advance();
        }
        assert_eq!(source.offered(), flow.counters().commands());
    }

    #[test]
    fn commands_follow_the_leader_and_one_in_so_many_goes_round_the_others() {
        let routing = Routing::Leader { aside_every: 2 };
        let gateways = |routing: Routing, validators| -> Vec<usize> {
            let taken = 0..8;
            taken
                .filter_map(|taken| routing.gateway(Some(3), taken, validators))
                .collect()
        };
        assert_eq!(gateways(routing, 4), [3, 0, 3, 1, 3, 2, 3, 0]);
        assert_eq!(gateways(routing, 1), [0; 8]);
        assert_eq!(gateways(Routing::Leader { aside_every: 0 }, 4), [3; 8]);
        assert!(gateways(Routing::Flow, 4).is_empty());
        assert_eq!(routing.gateway(None, 0, 4), None);
    }

    #[test]
    fn every_flow_stays_within_its_sessions() {
        for flow in [Flow::Orders, Flow::Opaque { size: 1 }] {
            let mut source = Source::open(&LoadPlan {
                flow,
                rate: NonZeroU64::new(5000).unwrap(),
                seconds: 1,
                clients: 4,
                seed: 9,
                keeps_acknowledged: false,
                routing: Routing::Flow,
                keeps_trips: false,
            })
            .unwrap();
            let mut last_ns = 0;
            while let Some(next) = source.peek() {
                assert!(next.session <= 4 && next.offset_ns >= last_ns && next.body.len() > 0);
                last_ns = next.offset_ns;
                source.advance();
            }
            assert!(source.offered() > 1000, "{}", source.offered());
        }
    }
}
