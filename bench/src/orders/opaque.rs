//! Commands without meaning.
//!
//! Owns a flow of commands of one size, evenly spaced: what measures the engine alone. Never:
//! anything the venue would take.

use super::{CLIENTS_MAX, Counters, OrderFlow, Planned, Sender, pace};
use quorate::state_machine::Lane;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::num::NonZeroU64;

/// Places at which the noise of a command can begin.
const NOISE_BYTES: usize = 1 << 20;

/// An endless flow of opaque commands, among the orders, from each client in turn.
///
/// A command starts with its index in the flow, little-endian, as far as it has room, so no two
/// of 8 bytes or more are alike; the rest is noise from the seed that does not compress. The noise
/// is made once and used from another place each time: made anew for each command it took a sixth
/// of the load's time, on the processors of what is measured.
#[derive(Debug)]
pub struct Opaque {
    noise: Box<[u8]>,
    /// Where the noise of the next command begins.
    noise_at: usize,
    rate_per_s: NonZeroU64,
    command_bytes: usize,
    clients: u32,
    lane: Lane,
    counters: Counters,
}

impl Opaque {
    /// A flow at this rate. A command has at least 1 byte, and there is at least 1 client and at
    /// most [`CLIENTS_MAX`]; what is out of bounds is brought to the nearest bound.
    #[must_use]
    pub fn new(seed: u64, rate_per_s: NonZeroU64, command_bytes: usize, clients: u32) -> Self {
        let command_bytes = command_bytes.max(1);
        let mut noise = vec![0; NOISE_BYTES + command_bytes].into_boxed_slice();
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut noise);
        Self {
            noise,
            noise_at: 0,
            rate_per_s,
            command_bytes,
            clients: clients.clamp(1, CLIENTS_MAX),
            lane: Lane::Order,
            counters: Counters::default(),
        }
    }

    /// The same in another lane.
    #[must_use]
    pub const fn in_lane(mut self, lane: Lane) -> Self {
        self.lane = lane;
        self
    }
}

impl OrderFlow for Opaque {
    fn plan_next(&mut self, command: &mut Vec<u8>) -> Option<Planned> {
        let index = self.counters.opaques;
        self.counters.opaques += 1;
        command.clear();
        let noise = &self.noise[self.noise_at..];
        command.extend_from_slice(&noise[..self.command_bytes]);
        self.noise_at = (self.noise_at + self.command_bytes + 1) % NOISE_BYTES;
        for (byte, of_index) in command.iter_mut().zip(index.to_le_bytes()) {
            *byte = of_index;
        }
        Some(Planned {
            offset_ns: pace::even_ns(index, self.rate_per_s),
            sender: Sender::Client((index % u64::from(self.clients)) as u32),
            lane: self.lane,
        })
    }

    fn counters(&self) -> &Counters {
        &self.counters
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_have_the_size_the_rate_and_the_clients_asked_for() {
        let rate = NonZeroU64::new(1000).unwrap();
        let mut flow = Opaque::new(1, rate, 64, 3);
        let mut command = Vec::new();
        for index in 0..10_u64 {
            let planned = flow.plan_next(&mut command).unwrap();
            assert_eq!(planned.offset_ns, index * 1_000_000);
            assert_eq!(planned.sender, Sender::Client((index % 3) as u32));
            assert_eq!(command.len(), 64);
            assert_eq!(command[..8], index.to_le_bytes());
        }
        assert_eq!(flow.counters().commands(), 10);
    }

    #[test]
    fn the_noise_follows_the_seed() {
        let rate = NonZeroU64::new(1000).unwrap();
        let first = |seed| {
            let mut command = Vec::new();
            Opaque::new(seed, rate, 64, 1)
                .plan_next(&mut command)
                .unwrap();
            command
        };
        assert_eq!(first(1), first(1));
        assert_ne!(first(1), first(2));
    }

    #[test]
    fn a_command_of_one_byte_is_possible() {
        let mut flow = Opaque::new(1, NonZeroU64::MIN, 0, 0);
        let mut command = Vec::new();
        flow.plan_next(&mut command).unwrap();
        assert_eq!(command, [0]);
    }
}
