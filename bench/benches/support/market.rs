//! A venue under a flow of orders like the one of a real market.
//!
//! Owns how the book is set up. Never: what of it is measured.

use std::num::NonZeroU64;

use quorate::genesis::Application;
use quorate::state_machine::{Context, Output, SessionId, StateMachine as _};
use quorate_bench::applications::{Hosted, VENUE, VenueParameters};
use quorate_bench::orders::{Generator, GeneratorConfig, OrderFlow as _, Planned, Sender};

/// Commands that set a book up before it is measured, for each order that it is to hold.
const SET_UP: u32 = 8;

/// The venue and what it is fed with.
pub(crate) struct Market {
    venue: Hosted,
    output: Output,
    height: u64,
}

/// What comes next: when and by whom, and its bytes.
pub(crate) type Next = (Planned, Vec<u8>);

/// A venue whose book holds about so many orders, and the flow that keeps it there.
pub(crate) fn market(orders_target: u32) -> (Market, impl FnMut() -> Next) {
    let mut flow = Generator::new(GeneratorConfig {
        seed: 1,
        rate_per_s: NonZeroU64::new(100_000).expect("not zero"),
        clients: 16,
        instruments: 1,
        orders_target,
    });
    let mut next = move || {
        let mut command = Vec::new();
        let planned = flow.plan_next(&mut command).expect("it has no end");
        (planned, command)
    };
    let mut market = Market::open();
    for _ in 0..orders_target * SET_UP {
        market.apply(&next());
    }
    (market, next)
}

impl Market {
    fn open() -> Self {
        let parameters = VenueParameters::one_instrument("QRT", &[]);
        let parameters = serde_json::to_value(parameters).expect("plain data");
        let application = Application {
            name: VENUE.to_owned(),
            parameters: parameters.as_object().cloned().expect("an object"),
        };
        Self {
            venue: Hosted::open(&application).expect("a venue"),
            output: Output::new(),
            height: 0,
        }
    }

    pub(crate) fn apply(&mut self, (planned, command): &Next) {
        let session = match planned.sender {
            Sender::Client(client) => u8::try_from(client + 1).expect("few clients"),
            Sender::Admin => 0,
        };
        self.height += 1;
        let context = Context {
            height: self.height,
            index: 0,
            time_ns: planned.offset_ns,
            session: SessionId([session; 16]),
            seq: self.height,
            lane: planned.lane,
        };
        self.output.clear();
        self.venue.apply(&context, command, &mut self.output);
    }
}
