//! Bits that rot on a disk while its validator runs, and the scrubber that finds them.
//!
//! Owns the turns of every validator's scrubber in runs that have rot, and the judgement of it:
//! what the disk has lost and memory still shows is back before the run has come to a good end.
//! Never: the scrubber itself, which is the product's; its thread is what stands here.
//!
//! A run lasts about a second and so does a scrubber's shortest pause, so its clock runs faster.

use quorate::replica::Event;
use quorate::scrub::Turn;
use quorate::state_machine::StateMachine;
use quorate_consensus::input::Input;

use crate::member::Member;
use crate::queue::Due;
use crate::world::{US, World};

/// So many times as fast runs the clock of a scrubber.
const CLOCK_SPEED: u64 = 64;
/// Bytes a second of a scrubber's clock.
pub(crate) const SCRUB_BYTES_PER_S: u64 = 64 << 20;
/// Between two turns at least.
const PAUSE_MIN_NS: u64 = 200 * US;
/// After the system has refused.
const RETRY_NS: u64 = 10_000_000_000;

/// Bytes that the disk has otherwise than they were written, while memory shows what was.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Rot {
    pub(crate) name: String,
    pub(crate) offset: usize,
    pub(crate) was: Vec<u8>,
}

impl<S> Member<S> {
    /// Bits of so many bytes of a complete segment change; whether there was such a segment.
    /// `place` chooses the first one.
    pub(crate) fn rot(&mut self, place: u64, mask: u8, bytes: usize, in_memory: bool) -> bool {
        let Some(rot) = self.disk.rot(place, mask, bytes, in_memory) else {
            return false;
        };
        if in_memory {
            // Whatever a start finds of it, or the process now, is no surprise; and it may be what
            // rotted before on the disk alone.
            self.may_be_damaged = true;
            self.rots.clear();
        } else if !self.may_be_damaged {
            self.rots.push(rot);
        }
        true
    }

    /// Forgets what is as it was written again.
    fn forget_mended(&mut self) {
        let disk = &self.disk;
        self.rots.retain(|rot| !disk.is_mended(rot));
    }
}

impl<S: StateMachine> World<S> {
    /// The scrubber looks on.
    pub(crate) fn scrub(&mut self, at: usize) {
        let now_ns = self.now(at).mono_ns.saturating_mul(CLOCK_SPEED);
        let pause_ns = self.scrub_by(at, |scrub, inputs| scrub.turn(now_ns, inputs));
        let Some(pause_ns) = pause_ns else { return };
        let delay_ns = (pause_ns / CLOCK_SPEED).max(PAUSE_MIN_NS);
        let life = self.members[at].lives;
        self.schedule(delay_ns, Due::Scrub { at, life });
    }

    /// What a turn brought that concerns the scrubber.
    pub(crate) fn tell_scrubber(&mut self, at: usize, events: &[Event]) {
        let now_ns = self.now(at).mono_ns.saturating_mul(CLOCK_SPEED);
        for event in events {
            match event {
                Event::Faulty(fault) => {
                    let segment = fault.segment;
                    self.scrub_by(at, |scrub, inputs| scrub.look_at(segment, now_ns, inputs));
                }
                Event::Mended(block) => {
                    let life = self.members[at].life.as_mut();
                    if let Some(scrub) = life.and_then(|life| life.scrub.as_mut()) {
                        scrub.take(block);
                    }
                }
                _ => {}
            }
        }
    }

    fn scrub_by(
        &mut self,
        at: usize,
        turn: impl FnOnce(
            &mut quorate::scrub::Scrub,
            &mut Vec<Input>,
        ) -> Result<Turn, quorate_log::ScrubError>,
    ) -> Option<u64> {
        let life = self.members[at].life.as_mut()?;
        let mut inputs = Vec::new();
        let turned = turn(life.scrub.as_mut()?, &mut inputs).unwrap_or_else(|_| Turn {
            pause_ns: RETRY_NS,
            ..Turn::default()
        });
        let reached = self.reached_of(at);
        reached.note("scrub_found", turned.found);
        reached.note("scrub_repaired", turned.repaired);
        reached.note("scrub_asked", inputs.len() as u64);
        if turned.is_pass {
            self.members[at].forget_mended();
        }
        if !inputs.is_empty() {
            self.with_life(at, |life, now| {
                for input in inputs {
                    life.replica.input(now, input);
                }
            });
        }
        Some(turned.pause_ns)
    }
}

#[cfg(test)]
mod tests {
    use crate::byzantine::Byzantine;
    use crate::counts::FaultCounts;
    use crate::plan::{Plan, RunOptions};
    use crate::reached::Reached;
    use crate::run::run;
    use crate::script::Scenario;

    #[test]
    fn what_rots_on_a_disk_alone_is_found_and_brought_back() {
        let all = (0..).map(|seed| RunOptions {
            seed,
            ..RunOptions::default()
        });
        let rotten = all.filter(|options| Plan::draw(options).has_rot);
        let (mut reached, mut faults) = (Reached::default(), FaultCounts::default());
        // Until all of it has happened; a peer is asked only for what memory does not have.
        for options in rotten.take(100) {
            let outcome = run(&options, false);
            assert!(outcome.is_good(), "{outcome:?}");
            reached.add(&outcome.reached);
            faults.add(&outcome.faults);
            let missing = reached.missing(&faults, Scenario::Mixed, &Byzantine::default());
            let names = ["rots", "scrub_found", "scrub_repaired", "scrub_asked"];
            if names.iter().all(|name| !missing.contains(name)) {
                return;
            }
        }
        panic!("something of it never happened");
    }
}
