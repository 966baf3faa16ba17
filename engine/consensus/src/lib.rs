//! The consensus of Quorate: one deterministic state machine.
//!
//! A tour in the order of the data:
//! - [`types`], [`limits`]: quantities and every bound.
//! - [`thresholds`], [`validators`], [`schedule`]: who votes, with what weight, who leads when.
//! - [`header`], [`payload`], [`record`], [`certificate`], [`evidence`], [`attestation`],
//!   [`message`]: plain data.
//! - [`wire`]: bytes to plain data and back, one encoding a value.
//! - [`trust`], [`signing`], [`verify`]: what a value is worth, as a type.
//! - `window`: one window: the tree of blocks, sums of votes, predicates, rules R3 to R8.
//! - `windows`: entering, proposing, jumping (R1, R2, R9); `repair` (R10), `timers`, `restart`
//!   (R11, R12), `recover` (R13).
//! - `proofs`, `showing`: certificates, and who is shown a parent by which of them.
//! - `attest`, `own_states`: roots of the state, beside the votes (5.6).
//! - `lacking`: whose votes are still to come, for who reads them together.
//! - [`input`], [`effect`], [`machine`]: the one call, `Consensus::handle(now, input, effects)`.
//! - [`probe`]: the same rules one at a time, for whoever explores them.
//!
//! Nothing here reads a clock, does I/O, spawns, or iterates a hash map; the same inputs give the
//! same effects, byte for byte. `docs/protocol.md` numbers the rules; each number stands at the
//! code that does it.

#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;

mod accuse;
mod attest;
pub mod attestation;
mod blocks;
pub mod certificate;
mod checks;
mod delivery;
pub mod effect;
pub mod evidence;
mod fetch;
mod hasten;
pub mod header;
pub mod input;
mod lacking;
mod last_words;
pub mod limits;
pub mod machine;
pub mod message;
mod own_states;
pub mod payload;
pub mod probe;
mod proofs;
mod propose;
pub mod record;
mod recover;
mod repair;
pub mod restart;
pub mod schedule;
mod settling;
mod showing;
pub mod signing;
mod slow_window;
pub mod thresholds;
mod timers;
pub mod trust;
pub mod types;
pub mod validators;
pub mod verify;
mod votes;
mod window;
mod windows;
pub mod wire;
