//! The application that the simulated validators run: the world's own, or an embedder's.
//!
//! Owns the way in for an embedder: how an instance is made, how a client writes a command, and
//! the runs with the check of determinism after them. Never: knows what a command means.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use quorate::state_machine::StateMachine;

use crate::byzantine::Byzantine;
use crate::determinism::{self, Calls, Recorded};
use crate::dice::Dice;
use crate::plan::RunOptions;
use crate::run::{Failure, Outcome, Summary, SweepOptions, run_app, sweep_by};
use crate::tape::{self, Tape};

/// Appends the body of a session's command of this number.
pub(crate) type CommandSource = Arc<dyn Fn(&mut Dice, u64, &mut Vec<u8>) + Send + Sync>;

/// An application in the simulated world.
///
/// Its clients submit what `command` writes, its validators run what `make` makes, under all the
/// faults of a [`Scenario`](crate::Scenario). Beside everything that the world checks anyway, the
/// finalized commands are applied once more, in two fresh instances on two threads with different
/// hash seeds and heaps: after every block the roots of all sections, the outputs and the next
/// timer must be the same; and a snapshot restored into a fresh instance must have the roots of
/// the state that wrote it. Whom the application [keeps](StateMachine::keeps) must be the same in
/// all of them too.
///
/// What the world never does to an application, so that only tests of its own can try it: sessions
/// declare no time-out, so `TimedOut` is never told, and their table is never full, so nobody is
/// `Evicted`; there are two to four sessions, which begin with number 1 unless they are opened
/// anew; time begins ten seconds after 1970; and validators that come back or join execute the
/// chain from its beginning, without a snapshot, whatever the scenario.
///
/// ```
/// use quorate::state_machine::{Context, Output, StateMachine};
/// use quorate_sim::{App, SweepOptions};
///
/// #[derive(Default)]
/// struct Sum(u64);
///
/// impl StateMachine for Sum {
///     fn sections(&self) -> &'static [&'static str] {
///         &["sum"]
///     }
///     fn apply(&mut self, context: &Context, command: &[u8], output: &mut Output) {
///         self.0 = self.0.wrapping_add(command.iter().map(|&byte| u64::from(byte)).sum());
///         output.to_session(context.session, &self.0.to_le_bytes());
///     }
///     fn section_root(&mut self, _: usize) -> [u8; 32] {
///         *blake3::hash(&self.0.to_le_bytes()).as_bytes()
///     }
///     fn snapshot_section(&self, _: usize, bytes: &mut Vec<u8>) {
///         bytes.extend_from_slice(&self.0.to_le_bytes());
///     }
///     fn restore_section(&mut self, _: usize, bytes: &[u8]) -> Result<(), String> {
///         self.0 = u64::from_le_bytes(bytes.try_into().map_err(|_| "not eight bytes")?);
///         Ok(())
///     }
///     fn query(&self, _: &[u8], answer: &mut Vec<u8>) {
///         answer.extend_from_slice(&self.0.to_le_bytes());
///     }
/// }
///
/// let app = App::new(Sum::default, |seed| seed.to_le_bytes().to_vec());
/// let summary = app.sweep(&SweepOptions { seeds: 0..2, ..SweepOptions::default() });
/// assert_eq!(summary.failures, []);
/// assert!(summary.commands > 0);
/// ```
pub struct App<S> {
    make: Arc<dyn Fn() -> S + Send + Sync>,
    command: CommandSource,
    is_own: bool,
}

impl<S> Clone for App<S> {
    fn clone(&self) -> Self {
        Self {
            make: Arc::clone(&self.make),
            command: Arc::clone(&self.command),
            is_own: self.is_own,
        }
    }
}

impl<S> fmt::Debug for App<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("App").finish_non_exhaustive()
    }
}

impl Default for App<Tape> {
    /// The world's own application.
    fn default() -> Self {
        Self {
            make: Arc::new(Tape::default),
            command: Arc::new(tape::command),
            is_own: true,
        }
    }
}

impl App<Tape> {
    /// The same with a state of several chunks, for snapshots of it.
    pub(crate) fn laden() -> Self {
        Self {
            make: Arc::new(Tape::laden),
            ..Self::default()
        }
    }
}

impl<S> App<S> {
    /// An instance for a new life.
    pub(crate) fn make(&self) -> S {
        (self.make)()
    }

    /// Whether its chain may go on from another one. That of an embedder begins with nothing: what
    /// it computed is computed once more from there, and has to come to the same.
    pub(crate) const fn may_have_a_past(&self) -> bool {
        self.is_own
    }

    pub(crate) fn commands(&self) -> CommandSource {
        Arc::clone(&self.command)
    }
}

impl<S: StateMachine> App<S> {
    /// An application made by `make`, whose clients submit what `command` writes.
    ///
    /// `make` gives an instance as it is at genesis, each time the same. `command` turns a number,
    /// drawn from the seed of the run, into the body of one command, of 4 KiB at most; the same
    /// number must give the same bytes. Bodies that the application refuses belong to a good mix.
    #[must_use]
    pub fn new(
        make: impl Fn() -> S + Send + Sync + 'static,
        command: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self {
            make: Arc::new(make),
            command: Arc::new(move |dice: &mut Dice, _, body: &mut Vec<u8>| {
                body.extend_from_slice(&command(dice.below(u64::MAX)));
            }),
            is_own: false,
        }
    }

    /// Runs one seed. With `is_told` everything that happens is told on standard error.
    ///
    /// An outcome that is not good names what went wrong in its `violations`; those of the check
    /// `determinism` name the height and the section.
    #[must_use]
    pub fn run(&self, options: &RunOptions, is_told: bool) -> Outcome {
        let calls = Arc::new(Mutex::new(Calls::default()));
        let make = Arc::clone(&self.make);
        let recorder = Arc::clone(&calls);
        let recorded = App {
            make: Arc::new(move || Recorded::new(make(), Arc::clone(&recorder))),
            command: Arc::clone(&self.command),
            is_own: self.is_own,
        };
        let mut outcome = run_app(options, &recorded, is_told);
        let calls = std::mem::take(&mut *calls.lock().unwrap_or_else(PoisonError::into_inner));
        let seed = options.seed;
        if let Err(violation) = determinism::check(&*self.make, &calls, seed) {
            outcome.violations.push(violation);
            // A state that differs explains all that came of it.
            outcome.stuck = None;
        }
        outcome
    }

    /// Runs all seeds. Each failure of the summary holds the call that shows it again.
    #[must_use]
    pub fn sweep(&self, options: &SweepOptions) -> Summary {
        self.sweep_with(options, &|_| ())
    }

    /// As [`sweep`](Self::sweep); `failed` is called with each run that went wrong, as it ends.
    #[must_use]
    pub fn sweep_with(
        &self,
        options: &SweepOptions,
        failed: &(dyn Fn(&Failure) + Sync),
    ) -> Summary {
        sweep_by(
            options,
            &|options| self.run(options, false),
            &replay,
            failed,
        )
    }
}

/// The call that runs one seed again and tells everything.
fn replay(options: &RunOptions) -> String {
    let RunOptions {
        seed,
        validators,
        scenario,
        byzantine,
    } = options;
    let byzantine = if byzantine.is_any() {
        format!("byzantine: {}", source(byzantine))
    } else {
        "..RunOptions::default()".to_owned()
    };
    format!(
        "app.run(&RunOptions {{ seed: {seed}, validators: {validators}, scenario: \
         Scenario::{scenario:?}, {byzantine} }}, true)"
    )
}

/// The value as it is written in a program that uses what this crate exports.
fn source(byzantine: &Byzantine) -> String {
    let Byzantine {
        actors,
        is_drawn,
        has_twins,
        is_beyond,
    } = byzantine;
    let [first, second] = actors.map(|actor| match actor {
        Some(name) => format!("Some(ActorName::{name:?})"),
        None => "None".to_owned(),
    });
    format!(
        "Byzantine {{ actors: [{first}, {second}], is_drawn: {is_drawn}, has_twins: {has_twins}, \
         is_beyond: {is_beyond} }}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::byzantine::ActorName;
    use crate::script::Scenario;

    /// What `replay` writes, and the value that it becomes when a program holds it.
    macro_rules! written_as {
        ($($source:tt)*) => {
            (stringify!($($source)*), { $($source)* })
        };
    }

    fn words(text: &str) -> String {
        text.split_whitespace().collect()
    }

    #[test]
    fn the_call_that_shows_a_failure_again_is_a_program_s() {
        let (text, options) = written_as!(RunOptions {
            seed: 9,
            validators: 5,
            scenario: Scenario::Mixed,
            byzantine: Byzantine {
                actors: [Some(ActorName::Equivocator), None],
                is_drawn: true,
                has_twins: false,
                is_beyond: false
            }
        });
        let expected = format!("app.run(&{text}, true)");
        assert_eq!(words(&replay(&options)), words(&expected));
        let (text, options) = written_as!(RunOptions {
            seed: 9,
            validators: 5,
            scenario: Scenario::LostDisk,
            ..RunOptions::default()
        });
        let expected = format!("app.run(&{text}, true)");
        assert_eq!(words(&replay(&options)), words(&expected));
    }
}
