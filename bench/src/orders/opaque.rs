//! Commands without meaning.
//!
//! Owns a flow of commands of one size, evenly spaced: what measures the engine alone. Never:
//! anything the venue would take.

use super::{CLIENTS_MAX, Counters, OrderFlow, Planned, Sender, pace};
use quorate::state_machine::Lane;
use rand_chacha::ChaCha8Rng;
use rand_core::{Rng, SeedableRng};
use std::num::NonZeroU64;
use std::sync::Arc;

/// Places at which the noise of a command can begin.
const NOISE_BYTES: usize = 1 << 20;

/// The bytes of opaque commands: of any of them, as often as they are asked for. Cheap to clone.
///
/// A command starts with its index in the flow, little-endian, as far as it has room, so no two
/// of 8 bytes or more are alike; the rest is noise from the seed that does not compress. The noise
/// is made once and used from another place each time: made anew for each command it took a sixth
/// of the load's time, on the processors of what is measured.
#[derive(Clone, Debug)]
pub struct Noise {
    noise: Arc<[u8]>,
    command_bytes: usize,
}

impl Noise {
    /// Of commands of at least 1 byte.
    fn new(seed: u64, command_bytes: usize) -> Self {
        let command_bytes = command_bytes.max(1);
        let mut noise = vec![0; NOISE_BYTES + command_bytes];
        ChaCha8Rng::seed_from_u64(seed).fill_bytes(&mut noise);
        Self {
            noise: noise.into(),
            command_bytes,
        }
    }

    /// Bytes of one command.
    #[must_use]
    pub const fn command_bytes(&self) -> usize {
        self.command_bytes
    }

    /// Appends the command of this index in the flow.
    pub fn append(&self, index: u64, bytes: &mut Vec<u8>) {
        let step = self.command_bytes as u64 + 1;
        // The places are a power of two, so nothing is lost where the product wraps.
        let at = (index.wrapping_mul(step) % NOISE_BYTES as u64) as usize;
        let before = bytes.len();
        bytes.extend_from_slice(&self.noise[at..][..self.command_bytes]);
        for (byte, of_index) in bytes[before..].iter_mut().zip(index.to_le_bytes()) {
            *byte = of_index;
        }
    }
}

/// An endless flow of opaque commands, among the orders, from each client in turn.
#[derive(Debug)]
pub struct Opaque {
    noise: Noise,
    rate_per_s: NonZeroU64,
    clients: u32,
    lane: Lane,
    counters: Counters,
}

impl Opaque {
    /// A flow at this rate. A command has at least 1 byte, and there is at least 1 client and at
    /// most [`CLIENTS_MAX`]; what is out of bounds is brought to the nearest bound.
    #[must_use]
    pub fn new(seed: u64, rate_per_s: NonZeroU64, command_bytes: usize, clients: u32) -> Self {
        Self {
            noise: Noise::new(seed, command_bytes),
            rate_per_s,
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

    /// The bytes of its commands.
    #[must_use]
    pub const fn noise(&self) -> &Noise {
        &self.noise
    }

    /// The next command without its bytes: when and by whom it is to be sent, and its index.
    pub fn plan_index(&mut self) -> (Planned, u64) {
        let index = self.counters.opaques;
        self.counters.opaques += 1;
        let planned = Planned {
            offset_ns: pace::even_ns(index, self.rate_per_s),
            sender: Sender::Client((index % u64::from(self.clients)) as u32),
            lane: self.lane,
        };
        (planned, index)
    }
}

impl OrderFlow for Opaque {
    fn plan_next(&mut self, command: &mut Vec<u8>) -> Option<Planned> {
        let (planned, index) = self.plan_index();
        command.clear();
        self.noise.append(index, command);
        Some(planned)
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
    fn the_bytes_of_a_command_are_told_again_from_its_index() {
        // More of them than places: they begin at the first place again.
        let flow = || Opaque::new(5, NonZeroU64::MIN, 4095, 1);
        let (mut told, mut indexed) = (flow(), flow());
        let (mut command, mut again) = (Vec::new(), vec![7; 3]);
        let noise = told.noise().clone();
        assert_eq!(noise.command_bytes(), 4095);
        for _ in 0..600 {
            let planned = told.plan_next(&mut command).unwrap();
            let (planned_too, index) = indexed.plan_index();
            assert_eq!(planned, planned_too);
            again.truncate(3);
            noise.append(index, &mut again);
            assert_eq!((&again[..3], &again[3..]), (&[7; 3][..], &command[..]));
            // Where it began before: a command's length and one further each time.
            let begins = &noise.noise[(index as usize * 4096) % NOISE_BYTES..];
            assert_eq!(command[8..], begins[8..4095]);
        }
        // The place of an index whose product has wrapped.
        let (mut far, mut near) = (Vec::new(), Vec::new());
        noise.append(u64::MAX, &mut far);
        noise.append(NOISE_BYTES as u64 - 1, &mut near);
        assert_eq!(far[8..], near[8..]);
    }

    #[test]
    fn a_command_of_one_byte_is_possible() {
        let mut flow = Opaque::new(1, NonZeroU64::MIN, 0, 0);
        let mut command = Vec::new();
        flow.plan_next(&mut command).unwrap();
        assert_eq!(command, [0]);
    }
}
