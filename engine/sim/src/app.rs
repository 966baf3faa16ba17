//! The application that the simulated validators run: the world's own, or an embedder's.
//!
//! Owns the way in for an embedder: how an instance is made, how a client writes a command, and
//! the runs with the check of determinism after them. Never: knows what a command means.

use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use quorate::state_machine::{Lane, StateMachine};

use crate::byzantine::Byzantine;
use crate::checks::Violation;
use crate::determinism::{self, Calls, Recorded};
use crate::dice::Dice;
use crate::panics::caught;
use crate::plan::RunOptions;
use crate::run::{Failure, Outcome, Summary, SweepOptions, run_app, sweep_by};
use crate::tape::{self, Tape};

/// Appends the body of a session's command of this number, and says its lane; without one that is
/// drawn.
pub(crate) type CommandSource =
    Arc<dyn Fn(&mut Dice, u64, &mut Vec<u8>) -> Option<Lane> + Send + Sync>;

/// An application in the simulated world.
///
/// Its clients submit what `command` writes, its validators run what `make` makes, under all the
/// faults of a [`Scenario`](crate::Scenario). Beside everything that the world checks anyway, the
/// finalized commands are applied once more, in two fresh instances on two threads with different
/// hash seeds and heaps: after every block the roots of all sections, the outputs, the next timer
/// and whom the application [keeps](StateMachine::keeps) must be the same. Snapshots of a few
/// heights, the first block's among them, are restored into fresh instances and into such as have
/// executed other blocks; these write the same snapshot again, and from there on all of that must
/// be the same as in an instance that never stopped: so what a snapshot lacks is found, and what
/// restoring leaves in its place, as soon as it shows in a root, an output or a timer.
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
            command: Arc::new(|dice, seq, body| {
                tape::command(dice, seq, body);
                None
            }),
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
    /// An application made by `make`, whose clients submit what `command` writes, in a lane that is
    /// drawn apart from it: an application that looks at [`Context::lane`] needs
    /// [`with_lanes`](Self::with_lanes).
    ///
    /// `make` gives an instance as it is at genesis, each time the same. `command` turns a number,
    /// drawn from the seed of the run, into the body of one command, of 4 KiB at most; the same
    /// number must give the same bytes. Bodies that the application refuses belong to a good mix.
    ///
    /// [`Context::lane`]: quorate::state_machine::Context::lane
    #[must_use]
    pub fn new(
        make: impl Fn() -> S + Send + Sync + 'static,
        command: impl Fn(u64) -> Vec<u8> + Send + Sync + 'static,
    ) -> Self {
        Self::of(make, move |number| (None, command(number)))
    }

    /// The same, with clients that submit each command in the lane that belongs to it: a cancel in
    /// that of cancels.
    #[must_use]
    pub fn with_lanes(
        make: impl Fn() -> S + Send + Sync + 'static,
        command: impl Fn(u64) -> (Lane, Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        Self::of(make, move |number| {
            let (lane, body) = command(number);
            (Some(lane), body)
        })
    }

    fn of(
        make: impl Fn() -> S + Send + Sync + 'static,
        command: impl Fn(u64) -> (Option<Lane>, Vec<u8>) + Send + Sync + 'static,
    ) -> Self {
        Self {
            make: Arc::new(make),
            command: Arc::new(move |dice: &mut Dice, _, body: &mut Vec<u8>| {
                let (lane, bytes) = command(dice.below(u64::MAX));
                body.extend_from_slice(&bytes);
                lane
            }),
            is_own: false,
        }
    }

    /// Runs one seed. With `is_told` everything that happens is told on standard error.
    ///
    /// An outcome that is not good names what went wrong in its `violations`. Those of the check
    /// `determinism` name the height, the section, and the first command after which two instances
    /// differ: its place, session, number and lane, and its bytes. One of the check `panic` names
    /// the command on which the application panicked; where a panic aborts, as with `panic =
    /// "abort"`, a line on standard error does, with the call that shows it again.
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
        let again = replay(options);
        let run = || run_app(options, &recorded, is_told);
        let mut outcome = match caught(&again, run) {
            Ok(outcome) => outcome,
            Err(panic) => return Outcome::failed(options, Violation::new("panic", panic)),
        };
        let calls = std::mem::take(&mut *calls.lock().unwrap_or_else(PoisonError::into_inner));
        let checked = || determinism::check(&*self.make, &calls, (options.seed, &again));
        let panicked = |panic| Err(Violation::new("determinism", panic));
        if let Err(violation) = caught(&again, checked).unwrap_or_else(panicked) {
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
