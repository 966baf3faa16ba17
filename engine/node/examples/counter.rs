//! Four validators in one process keep one counter: `cargo run --release --example counter`.
#![expect(clippy::disallowed_methods, reason = "an example may wait")]

use quorate::keys::KeyPair;
use quorate::node::{Admission, Node};
use quorate::state_machine::{Context, Lane, Output, StateMachine};
use std::error::Error;
use std::time::Duration;

#[derive(Default)]
struct Counter(u64);

impl StateMachine for Counter {
    fn sections(&self) -> &'static [&'static str] {
        &["counter"]
    }
    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.0 += command.iter().copied().map(u64::from).sum::<u64>();
        output.to_session(context.session, &self.0.to_le_bytes());
    }
    fn section_root(&mut self, _section: usize) -> [u8; 32] {
        let mut root = [0; 32];
        root[..8].copy_from_slice(&self.0.to_le_bytes());
        root
    }
    fn snapshot_section(&self, _section: usize, bytes: &mut Vec<u8>) {
        bytes.extend_from_slice(&self.0.to_le_bytes());
    }
    fn restore_section(&mut self, _section: usize, bytes: &[u8]) -> Result<(), String> {
        self.0 = u64::from_le_bytes(bytes.try_into().map_err(|_| "not eight bytes")?);
        Ok(())
    }
    fn query(&self, _question: &[u8], answer: &mut Vec<u8>) {
        answer.extend_from_slice(&self.0.to_le_bytes());
    }
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::temp_dir().join(format!("quorate-counter-{}", std::process::id()));
    let nodes: Vec<Node> = quorate::local::cluster(&folder, 4, "counter")?
        .into_iter()
        .map(|config| Node::start(config, Counter::default()))
        .collect::<Result<_, _>>()?;
    let finalized: Vec<_> = nodes.iter().map(Node::finalized).collect();
    let mut session = nodes[0].session(KeyPair::generate()?.public())?;
    for number in 1..=100 {
        while let Admission::Busy { retry_after_us } = session.submit(Lane::Order, &[number]) {
            std::thread::sleep(Duration::from_micros(retry_after_us.into()));
        }
    }
    for (node, blocks) in nodes.iter().zip(finalized) {
        while node.query(b"")? != 5_050_u64.to_le_bytes() {
            blocks.recv_timeout(Duration::from_secs(20))?;
        }
        println!("validator {}: counter 5050", node.index().number());
    }
    drop(nodes); // Not before the last one has caught up: it needs the others for that.
    Ok(std::fs::remove_dir_all(&folder)?)
}
