//! An application of one's own in the simulated world: accounts and transfers between them.
//!
//! `cargo run --example own_application` runs twenty seeds; the part that an embedder writes for
//! the simulator is `main` and `command`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use quorate::state_machine::{Context, Lane, Output, StateMachine};
use quorate_sim::{App, SweepOptions};

/// Balances by account. An account that is not there has what every account begins with.
#[derive(Default)]
struct Ledger(BTreeMap<u8, u64>);

const BALANCE_AT_GENESIS: u64 = 1_000;

impl Ledger {
    fn balance(&self, account: u8) -> u64 {
        self.0.get(&account).copied().unwrap_or(BALANCE_AT_GENESIS)
    }

    /// Moves an amount, when the one has it and the other has room.
    fn transfer(&mut self, from: u8, to: u8, amount: u64) -> bool {
        let Some(left) = self.balance(from).checked_sub(amount) else {
            return false;
        };
        self.0.insert(from, left);
        let more = self.balance(to).saturating_add(amount);
        self.0.insert(to, more);
        true
    }
}

impl StateMachine for Ledger {
    fn sections(&self) -> &'static [&'static str] {
        &["accounts"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        let is_done = match (context.lane, command) {
            (Lane::Order, [from, to, amount]) => self.transfer(*from, *to, u64::from(*amount)),
            (Lane::Admin, [account]) => self.0.insert(*account, 0).is_some(),
            _ => false,
        };
        output.to_session(context.session, &[u8::from(is_done)]);
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        let mut bytes = Vec::new();
        self.snapshot_section(section, &mut bytes);
        *blake3::hash(&bytes).as_bytes()
    }

    fn snapshot_section(&self, _section: usize, bytes: &mut Vec<u8>) {
        for (account, balance) in &self.0 {
            bytes.push(*account);
            bytes.extend_from_slice(&balance.to_le_bytes());
        }
    }

    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        self.0.clear();
        for entry in bytes.chunks(9) {
            let (account, balance) = entry.split_first().ok_or("an empty entry")?;
            let balance = balance.try_into().map_err(|_| "an entry is cut short")?;
            self.0.insert(*account, u64::from_le_bytes(balance));
        }
        Ok(())
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        if let [account] = question {
            answer.extend_from_slice(&self.balance(*account).to_le_bytes());
        }
    }
}

/// What clients submit: transfers between a few accounts, now and then a closing, which is an
/// administrator's, and something malformed.
fn command(number: u64) -> (Lane, Vec<u8>) {
    let [from, to, amount, kind, ..] = number.to_le_bytes();
    match kind {
        0..8 => (Lane::Order, vec![from, to, amount, kind]),
        8..16 => (Lane::Admin, vec![from % 8]),
        _ => (Lane::Order, vec![from % 8, to % 8, amount]),
    }
}

fn main() -> ExitCode {
    let app = App::with_lanes(Ledger::default, command);
    let summary = app.sweep(&SweepOptions {
        seeds: 0..20,
        ..SweepOptions::default()
    });
    for failure in &summary.failures {
        eprintln!("seed {}: {:?}", failure.seed, failure.what);
        eprintln!("again: {}", failure.replay);
    }
    println!(
        "{} commands in {} blocks",
        summary.commands, summary.finalized
    );
    if summary.failures.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

#[test]
fn twenty_seeds_of_a_ledger_are_good() {
    assert_eq!(main(), ExitCode::SUCCESS);
}
