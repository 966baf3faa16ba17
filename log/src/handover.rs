//! One thing made ready ahead of need, handed from whoever makes it to whoever needs it.
//!
//! Owns the lock and the condition between the two: never two things of one number, and nobody
//! sleeps while there is something to do. Never: what is made. Written over `crate::atomics`, so
//! that the model in `tests/loom.rs` is of this very file.

use std::sync::PoisonError;

use crate::atomics::{Condvar, Mutex, MutexGuard};

/// Where what is ready waits. One at a time.
#[derive(Debug)]
pub(crate) struct Handover<T> {
    state: Mutex<State<T>>,
    changed: Condvar,
}

#[derive(Debug)]
struct State<T> {
    ready: Option<T>,
    /// The number of what is ready or is to be made; `None` past the last number.
    number: Option<u32>,
    is_closed: bool,
}

impl<T> Handover<T> {
    /// `number` is that of the next thing; `ready` is it, if it was found ready.
    pub(crate) fn new(number: Option<u32>, ready: Option<T>) -> Self {
        Self {
            state: Mutex::new(State {
                ready,
                number,
                is_closed: false,
            }),
            changed: Condvar::new(),
        }
    }

    /// Takes what has the next number, by `make` if nobody has made it. `None` past the last
    /// number.
    ///
    /// # Errors
    /// That of `make`; the number is then still the next.
    pub(crate) fn take<E>(
        &self,
        make: impl FnOnce(u32) -> Result<T, E>,
    ) -> Result<Option<(u32, T)>, E> {
        let mut state = self.lock();
        let Some(number) = state.number else {
            return Ok(None);
        };
        let taken = match state.ready.take() {
            Some(ready) => ready,
            None => make(number)?,
        };
        state.number = number.checked_add(1);
        drop(state);
        self.changed.notify_all();
        Ok(Some((number, taken)))
    }

    /// Makes the next thing ready by `make`, unless it is or none will be needed. Says whether it
    /// did.
    ///
    /// # Errors
    /// That of `make`.
    pub(crate) fn prepare<E>(&self, make: impl FnOnce(u32) -> Result<T, E>) -> Result<bool, E> {
        // Held while it is made: a taker in need waits here rather than make a second one.
        let mut state = self.lock();
        match state.number {
            Some(number) if state.ready.is_none() && !state.is_closed => {
                state.ready = Some(make(number)?);
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    /// Blocks until something is to be made, or says that nothing ever will be.
    pub(crate) fn wait_until_needed(&self) -> bool {
        let mut state = self.lock();
        while !state.is_closed && (state.ready.is_some() || state.number.is_none()) {
            state = self
                .changed
                .wait(state)
                .unwrap_or_else(PoisonError::into_inner);
        }
        !state.is_closed
    }

    /// Nothing will be needed any more.
    pub(crate) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// A holder that panicked leaves consistent data: every critical section makes one change.
    fn lock(&self) -> MutexGuard<'_, State<T>> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
