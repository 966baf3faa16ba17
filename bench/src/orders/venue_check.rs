//! A venue that a flow is applied to in its own order, for the tests of the flows.

use super::{Planned, Sender};
use quorate::state_machine::{Context, Output, SessionId, StateMachine};
use quorate_venue::{Instrument, Refusal, SessionReport, Venue, VenueConfig, VenueLimits};

/// The session of an administrator.
const ADMIN: SessionId = SessionId([0xad; 16]);

pub(super) struct Checked {
    pub(super) venue: Venue,
    /// What was refused.
    pub(super) refusals: Vec<Refusal>,
    /// Lots that were traded.
    pub(super) traded_lots: u64,
    seq: u64,
    offset_ns: u64,
    output: Output,
}

impl Checked {
    pub(super) fn new(instruments: u32) -> Self {
        let instrument = |at: u32| Instrument::with_symbol(&format!("I{at}"));
        let config = VenueConfig {
            instruments: (0..instruments).map(instrument).collect(),
            admins: vec![ADMIN],
            limits: VenueLimits::default(),
            clearing: None,
        };
        Self {
            venue: Venue::new(config).unwrap(),
            refusals: Vec::new(),
            traded_lots: 0,
            seq: 0,
            offset_ns: 0,
            output: Output::new(),
        }
    }

    pub(super) fn apply(&mut self, planned: &Planned, command: &[u8]) {
        assert!(planned.offset_ns >= self.offset_ns, "offsets never fall");
        self.offset_ns = planned.offset_ns;
        self.seq += 1;
        let session = match planned.sender {
            Sender::Admin => ADMIN,
            Sender::Client(client) => {
                let mut id = [0; 16];
                id[..4].copy_from_slice(&client.to_le_bytes());
                SessionId(id)
            }
        };
        let (height, seq, time_ns, lane) = (self.seq, self.seq, planned.offset_ns, planned.lane);
        let context = Context {
            height,
            index: 0,
            time_ns,
            session,
            seq,
            lane,
        };
        self.output.clear();
        self.venue.apply(&context, command, &mut self.output);
        for (_, bytes) in self.output.iter() {
            match SessionReport::decode(bytes) {
                Ok(SessionReport::Refused { refusal, .. }) => self.refusals.push(refusal),
                Ok(SessionReport::Executed { size_lots, .. }) => self.traded_lots += size_lots,
                _ => {}
            }
        }
    }
}
