//! Work beside everything else, that a thread has to see done before it goes on.
//!
//! Owns the thread which it is done on. A thread may lower its priority and not raise it again, so
//! who is to give way for a while only cannot do so itself. Never: says what is done.

use std::panic::resume_unwind;
use std::thread::{Builder, scope};

use super::give_way;

/// Does it on a thread that gives way to all others of the process, and waits for that; here where
/// there is no thread to be had. A panic of it is one of the caller.
pub(crate) fn run<T: Send>(mut work: impl FnMut() -> T + Send) -> T {
    let done = scope(|scope| {
        let builder = Builder::new().name("quorate-taking".to_owned());
        let started = builder.spawn_scoped(scope, || {
            give_way();
            work()
        });
        started.map(|thread| thread.join())
    });
    match done {
        Ok(Ok(done)) => done,
        Ok(Err(panic)) => resume_unwind(panic),
        Err(error) => {
            tracing::warn!(%error, "there is no thread for what could give way");
            work()
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::process::getpriority_process;

    #[test]
    fn what_is_done_aside_gives_way_and_who_waits_for_it_keeps_its_priority() {
        let own = || getpriority_process(None).unwrap();
        let before = own();
        assert_eq!(
            run(own),
            (before + super::super::GIVES_WAY).min(super::super::LOWEST)
        );
        assert_eq!(own(), before);
    }

    #[test]
    fn a_panic_aside_is_one_of_who_waits() {
        let told = std::panic::catch_unwind(|| run(|| panic!("as it must")));
        assert_eq!(told.unwrap_err().downcast_ref(), Some(&"as it must"));
    }
}
