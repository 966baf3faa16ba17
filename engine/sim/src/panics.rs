//! Which run a thread is in, and which call of the application, for what a panic leaves.
//!
//! Owns the note of each thread, the line that a panic leaves by it, and the catching of a panic
//! where a sweep is to go on. Where a panic aborts nothing is caught, and the line is all there is.
//! Never: hides a panic.

use std::any::Any;
use std::cell::RefCell;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crate::determinism::Call;

/// What an application is asked for.
#[derive(Clone, Debug)]
pub(crate) enum Doing {
    /// To apply this.
    Call(Call),
    /// Anything else, about one of its sections if that has a name.
    Other {
        what: &'static str,
        section: Option<&'static str>,
        /// The last height of which something was applied.
        height: u64,
    },
}

impl fmt::Display for Doing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Call(call) => write!(f, "at height {}, {call}", call.height()),
            Self::Other {
                what,
                section,
                height,
            } => {
                write!(f, "at height {height}, {what}")?;
                section.map_or(Ok(()), |section| write!(f, " of section {section}"))
            }
        }
    }
}

#[derive(Debug, Default)]
struct Note {
    /// How to see the run again.
    again: Option<String>,
    doing: Option<Doing>,
}

thread_local! {
    static NOTE: RefCell<Note> = const { RefCell::new(Note { again: None, doing: None }) };
}

/// Runs one run, or a part of it on this thread: a panic in it says how to see it again.
pub(crate) fn running<R>(again: &str, run: impl FnOnce() -> R) -> R {
    tell_panics();
    let before = NOTE.replace(Note {
        again: Some(again.to_owned()),
        doing: None,
    });
    let done = run();
    NOTE.replace(before);
    done
}

/// The same, and has a panic come to what is to be said of it: in which call, and the message.
pub(crate) fn caught<R>(again: &str, run: impl FnOnce() -> R) -> Result<R, String> {
    let before = NOTE.take();
    let done = catch_unwind(AssertUnwindSafe(|| running(again, run)));
    let note = NOTE.replace(before);
    done.map_err(|panic| {
        let message = message_of(&*panic);
        match note.doing {
            Some(doing) => format!("the application panicked {doing}: {message}"),
            None => format!("outside of the application's calls: {message}"),
        }
    })
}

/// Calls the application.
pub(crate) fn calling<R>(doing: Doing, call: impl FnOnce() -> R) -> R {
    NOTE.with_borrow_mut(|note| note.doing = Some(doing));
    let done = call();
    NOTE.with_borrow_mut(|note| note.doing = None);
    done
}

fn message_of(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    let text = text.or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic without a message")
}

/// From now on a panic in a run says which one, before whatever told of panics so far does. Again
/// does nothing.
fn tell_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let before = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |panic| {
            if let Some(line) = line() {
                eprintln!("{line}");
            }
            before(panic);
        }));
    });
}

/// What is told of a panic on this thread; nothing outside of runs.
fn line() -> Option<String> {
    NOTE.with(|note| {
        let note = note.try_borrow().ok()?;
        let again = note.again.as_ref()?;
        Some(match &note.doing {
            Some(doing) => format!("the application panicked {doing}\nagain: {again}"),
            None => format!("a simulated run panicked\nagain: {again}"),
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const ASKED: Doing = Doing::Other {
        what: "asked for the root",
        section: Some("book"),
        height: 7,
    };

    #[test]
    fn a_panic_says_in_which_call_it_was_and_how_to_see_it_again() {
        assert_eq!(line(), None);
        let told = RefCell::new(None);
        let failed = caught("sim 9", || {
            calling(ASKED, || {
                *told.borrow_mut() = line();
                panic!("as {}", "planted");
            })
        });
        let where_to = "the application panicked at height 7, asked for the root of section book";
        assert_eq!(failed, Err::<(), _>(format!("{where_to}: as planted")));
        assert_eq!(told.take(), Some(format!("{where_to}\nagain: sim 9")));
        assert_eq!(line(), None, "it is over");
    }

    #[test]
    fn a_panic_elsewhere_in_a_run_is_not_called_the_application_s() {
        let failed = caught("sim 9", || {
            calling(ASKED, || ());
            assert_eq!(
                line().as_deref(),
                Some("a simulated run panicked\nagain: sim 9")
            );
            panic!("as planted");
        });
        let what = "outside of the application's calls: as planted".to_owned();
        assert_eq!(failed, Err::<(), _>(what));
        assert_eq!(caught("sim 9", || 1), Ok(1));
    }
}
