//! Applications of embedders: good ones pass, and those that depend on more than their calls are
//! found, by height and section.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use quorate::state_machine::{Context, Output, SessionId, StateMachine};
use quorate_sim::{App, RunOptions, Scenario, SweepOptions};

/// Implements what the applications below share: two sections, a count and a hash.
macro_rules! state_machine {
    ($name:ident, $apply:expr) => {
        impl StateMachine for $name {
            fn sections(&self) -> &'static [&'static str] {
                &["count", "hash"]
            }

            fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
                self.count += 1;
                let apply: fn(&mut Self, &Context, &[u8]) = $apply;
                apply(self, context, command);
                output.to_session(context.session, &self.count.to_le_bytes());
            }

            fn section_root(&mut self, section: usize) -> [u8; 32] {
                let mut bytes = Vec::new();
                self.snapshot_section(section, &mut bytes);
                *blake3::hash(&bytes).as_bytes()
            }

            fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
                match section {
                    0 => bytes.extend_from_slice(&self.count.to_le_bytes()),
                    _ => bytes.extend_from_slice(&self.hash),
                }
            }

            fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
                match section {
                    0 => self.count = u64::from_le_bytes(bytes.try_into().map_err(|_| "count")?),
                    _ => self.hash = bytes.try_into().map_err(|_| "hash")?,
                }
                Ok(())
            }

            fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
        }
    };
}

/// Follows the rules.
#[derive(Default)]
struct Chain {
    count: u64,
    hash: [u8; 32],
}

state_machine!(Chain, |app, _, command| {
    let mut hasher = blake3::Hasher::new();
    app.hash = *hasher
        .update(&app.hash)
        .update(command)
        .finalize()
        .as_bytes();
});

/// Writes the order of a hash map into its state.
#[derive(Default)]
struct Unordered {
    count: u64,
    hash: [u8; 32],
    bodies: HashMap<u64, u64>,
}

state_machine!(Unordered, |app, context, _| {
    app.bodies.insert(context.seq, context.height);
    let mut hasher = blake3::Hasher::new();
    #[expect(clippy::iter_over_hash_type, reason = "the fault that is to be found")]
    for (seq, height) in &app.bodies {
        hasher
            .update(&seq.to_le_bytes())
            .update(&height.to_le_bytes());
    }
    app.hash = *hasher.finalize().as_bytes();
});

/// Reads the clock, from the tenth command on.
struct Clocked {
    count: u64,
    hash: [u8; 32],
    begun: Instant,
}

state_machine!(Clocked, |app, _, _| {
    if app.count >= 10 {
        let ns = app.begun.elapsed().as_nanos();
        app.hash = *blake3::hash(&ns.to_le_bytes()).as_bytes();
    }
});

fn command(seed: u64) -> Vec<u8> {
    seed.to_le_bytes().to_vec()
}

fn calm() -> RunOptions {
    RunOptions {
        seed: 1,
        validators: 4,
        scenario: Scenario::Calm,
        ..RunOptions::default()
    }
}

#[track_caller]
fn assert_found<S: StateMachine>(app: &App<S>, section: &str) -> String {
    let outcome = app.run(&calm(), false);
    let mut found = outcome.violations.iter();
    let what = found
        .find(|violation| violation.check == "determinism")
        .map(|violation| violation.what.clone());
    let what = what.expect("the application is not found out");
    assert!(what.starts_with("height "), "{what}");
    assert!(what.contains(&format!("section {section}")), "{what}");
    what
}

#[test]
fn an_application_that_depends_on_its_calls_alone_is_good_under_all_faults() {
    let app = App::new(Chain::default, command);
    let summary = app.sweep(&SweepOptions {
        seeds: 0..8,
        ..SweepOptions::default()
    });
    assert_eq!(summary.failures, []);
    assert!(summary.commands > 100);
}

#[test]
fn the_order_of_a_hash_map_in_the_state_is_found() {
    assert_found(&App::new(Unordered::default, command), "hash");
}

#[test]
fn a_clock_in_the_state_is_found_at_the_height_where_it_is_read_first() {
    let make = || Clocked {
        count: 0,
        hash: [0; 32],
        begun: Instant::now(),
    };
    let what = assert_found(&App::new(make, command), "hash");
    assert!(!what.starts_with("height 1,"), "{what}");
}

#[test]
fn a_failed_run_says_how_to_see_it_again() {
    let app = App::new(Unordered::default, command);
    let summary = app.sweep(&SweepOptions {
        seeds: 1..2,
        ..SweepOptions::default()
    });
    let expected = "app.run(&RunOptions { seed: 1, validators: 4, scenario: Scenario::Mixed, \
                    ..RunOptions::default() }, true)";
    assert_eq!(
        summary
            .failures
            .first()
            .map(|failure| failure.replay.as_str()),
        Some(expected)
    );
}

/// A snapshot without all of the state.
struct Cut(Chain);

impl StateMachine for Cut {
    fn sections(&self) -> &'static [&'static str] {
        self.0.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.0.apply(context, command, output);
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.0.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        if section == 0 {
            self.0.snapshot_section(section, bytes);
        } else {
            bytes.extend_from_slice(&[0; 32]);
        }
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.0.restore_section(section, bytes)
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
}

#[test]
fn a_snapshot_that_does_not_hold_the_state_is_found() {
    let what = assert_found(&App::new(|| Cut(Chain::default()), command), "hash");
    assert!(what.contains("one restored from its snapshot"), "{what}");
}

/// Tells its clients which instance it is.
struct Telling {
    chain: Chain,
    instance: u64,
}

impl StateMachine for Telling {
    fn sections(&self) -> &'static [&'static str] {
        self.chain.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
        self.chain.apply(context, command, &mut Output::new());
        output.to_session(context.session, &self.instance.to_le_bytes());
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.chain.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        self.chain.snapshot_section(section, bytes);
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.chain.restore_section(section, bytes)
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
}

#[test]
fn outputs_that_differ_between_instances_of_equal_state_are_found() {
    let instances = AtomicU64::new(0);
    let make = move || Telling {
        chain: Chain::default(),
        instance: instances.fetch_add(1, Ordering::Relaxed),
    };
    let outcome = App::new(make, command).run(&calm(), false);
    let found = outcome.violations.iter();
    let found: Vec<(&str, &str)> = found
        .map(|violation| (violation.check, violation.what.as_str()))
        .collect();
    assert!(
        matches!(
            found[..],
            [.., ("determinism", what)] if what.contains("two instances of equal state give different outputs, first")
        ),
        "{found:?}"
    );
}

/// Keeps sessions by which instance it is.
struct Partial(Telling);

impl StateMachine for Partial {
    fn sections(&self) -> &'static [&'static str] {
        self.0.sections()
    }

    fn apply(&mut self, context: &Context, command: &[u8], _: &mut Output) {
        self.0.apply(context, command, &mut Output::new());
    }

    fn keeps(&self, _: SessionId) -> bool {
        self.0.instance.is_multiple_of(2)
    }

    fn section_root(&mut self, section: usize) -> [u8; 32] {
        self.0.section_root(section)
    }

    fn snapshot_section(&self, section: usize, bytes: &mut Vec<u8>) {
        self.0.snapshot_section(section, bytes);
    }

    fn restore_section(&mut self, section: usize, bytes: &[u8]) -> Result<(), String> {
        self.0.restore_section(section, bytes)
    }

    fn query(&self, _: &[u8], _: &mut Vec<u8>) {}
}

#[test]
fn instances_of_equal_state_that_keep_other_sessions_are_found() {
    let instances = AtomicU64::new(0);
    let make = move || {
        Partial(Telling {
            chain: Chain::default(),
            instance: instances.fetch_add(1, Ordering::Relaxed),
        })
    };
    let outcome = App::new(make, command).run(&calm(), false);
    let mut found = outcome.violations.iter();
    let found = found.find(|violation| violation.check == "determinism");
    let what = &found.expect("the application is not found out").what;
    assert!(what.contains("equal state keep other sessions"), "{what}");
}
