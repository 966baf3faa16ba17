//! The operator's program of an embedder: every command of `quorate`, with an application that
//! `quorate` does not know.
//!
//! `cargo run --example own_program -- log replay DIR` executes a log of it; the part that an
//! embedder writes for his own is `main` and `open`.

use std::collections::BTreeMap;
use std::process::ExitCode;

use quorate::genesis::Application;
use quorate::state_machine::{Context, Output, StateMachine};
use quorate_cli::Applications;
use serde_json::Value;

/// Accounts and transfers between them. One that is not there has what every account begins with.
pub(crate) struct Ledger {
    balance_at_genesis: u64,
    balances: BTreeMap<u8, u64>,
}

impl Ledger {
    fn balance(&self, account: u8) -> u64 {
        let moved = self.balances.get(&account);
        moved.copied().unwrap_or(self.balance_at_genesis)
    }

    /// Moves an amount, when the one has it and the other has room.
    pub(crate) fn transfer(&mut self, from: u8, to: u8, amount: u64) -> bool {
        let Some(left) = self.balance(from).checked_sub(amount) else {
            return false;
        };
        self.balances.insert(from, left);
        let more = self.balance(to).saturating_add(amount);
        self.balances.insert(to, more);
        true
    }
}

impl StateMachine for Ledger {
    fn sections(&self) -> &'static [&'static str] {
        &["accounts"]
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        let is_done = match command {
            [from, to, amount] => self.transfer(*from, *to, u64::from(*amount)),
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
        for (account, balance) in &self.balances {
            bytes.push(*account);
            bytes.extend_from_slice(&balance.to_le_bytes());
        }
    }

    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        self.balances.clear();
        for entry in bytes.chunks(9) {
            let (account, balance) = entry.split_first().ok_or("an empty entry")?;
            let balance = balance.try_into().map_err(|_| "an entry is cut short")?;
            self.balances.insert(*account, u64::from_le_bytes(balance));
        }
        Ok(())
    }

    fn query(&self, question: &[u8], answer: &mut Vec<u8>) {
        if let [account] = question {
            answer.extend_from_slice(&self.balance(*account).to_le_bytes());
        }
    }
}

/// A ledger in its first state, by what the genesis says in `application.parameters`.
pub(crate) fn open(application: &Application) -> Result<Ledger, String> {
    let balance = application.parameters.get("balance");
    let balance = balance
        .and_then(Value::as_u64)
        .ok_or("balance: no number")?;
    Ok(Ledger {
        balance_at_genesis: balance,
        balances: BTreeMap::new(),
    })
}

pub(crate) fn main() -> ExitCode {
    quorate_cli::run(&Applications::new().with("ledger", open))
}
