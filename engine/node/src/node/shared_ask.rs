//! One question to the loop for everybody who asks it one after the other, with one wait for all of
//! them while the loop hangs.
//!
//! Owns the question that was not answered in time: as long as it has no answer the loop hangs, and
//! nobody need wait to be told so. Never: gives an answer that is older than who asks.

use super::{Asker, NodeFailure, wait_for};
use crate::stages::inlet::Control;
use crossbeam::channel::{Receiver, Sender, TryRecvError};
use std::cell::RefCell;
use std::time::Duration;

/// What the loop owes.
#[derive(Debug)]
enum Overdue<T> {
    /// Room for a question.
    Room,
    /// This answer.
    Answer(Receiver<T>),
}

/// See the module.
#[derive(Debug)]
pub(super) struct SharedAsk<T> {
    asker: Asker,
    question: fn(Sender<T>) -> Control,
    patience: Duration,
    overdue: RefCell<Option<Overdue<T>>>,
}

impl<T> SharedAsk<T> {
    /// Waits for `patience` for room, and for as long for an answer.
    pub(super) const fn new(
        asker: Asker,
        question: fn(Sender<T>) -> Control,
        patience: Duration,
    ) -> Self {
        Self {
            asker,
            question,
            patience,
            overdue: RefCell::new(None),
        }
    }

    /// Asks, and waits unless the loop hangs since somebody asked before.
    pub(super) fn ask(&self) -> Result<T, NodeFailure> {
        let mut overdue = self.overdue.borrow_mut();
        let patience = match overdue.take() {
            None => self.patience,
            Some(Overdue::Room) => Duration::ZERO,
            Some(Overdue::Answer(answer)) => match answer.try_recv() {
                // The loop goes on; that was how things stood then.
                Ok(_) => self.patience,
                Err(TryRecvError::Disconnected) => return Err(NodeFailure::Stopped),
                Err(TryRecvError::Empty) => {
                    *overdue = Some(Overdue::Answer(answer));
                    return Err(NodeFailure::NoAnswer);
                }
            },
        };
        let put = self.asker.put(patience, self.question);
        if matches!(put, Err(NodeFailure::NoAnswer)) {
            *overdue = Some(Overdue::Room);
        }
        let answer = put?;
        let told = wait_for(&answer, self.patience);
        if matches!(told, Err(NodeFailure::NoAnswer)) {
            *overdue = Some(Overdue::Answer(answer));
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crossbeam::channel::bounded;
    use std::time::Instant;

    const PATIENCE: Duration = Duration::from_millis(200);
    /// Long enough for a slow machine.
    const LONG: Duration = Duration::from_secs(30);

    fn question(reply: Sender<Vec<u8>>) -> Control {
        Control::Query(Vec::new(), reply)
    }

    fn shared(questions_max: usize, patience: Duration) -> (SharedAsk<Vec<u8>>, Receiver<Control>) {
        let links = quorate_net::ClientLinks::new(quorate_net::Limits::default()).unwrap();
        let (control, controls) = bounded(questions_max);
        let asker = Asker::new(control, links.waker());
        (SharedAsk::new(asker, question, patience), controls)
    }

    /// Who asked next.
    fn asked(controls: &Receiver<Control>) -> Sender<Vec<u8>> {
        match controls.recv_timeout(LONG) {
            Ok(Control::Query(_, reply)) => reply,
            other => panic!("{other:?}"),
        }
    }

    /// How long it took a hundred to be told that there is no answer.
    fn hundred_get_none(shared: &SharedAsk<Vec<u8>>) -> Duration {
        let began = Instant::now();
        for _ in 0..100 {
            assert!(matches!(shared.ask(), Err(NodeFailure::NoAnswer)));
        }
        began.elapsed()
    }

    #[test]
    fn however_many_ask_a_loop_that_hangs_they_wait_once_and_ask_one_question() {
        let (shared, controls) = shared(64, PATIENCE);
        let took = hundred_get_none(&shared);
        assert!((PATIENCE..10 * PATIENCE).contains(&took), "{took:?}");
        assert_eq!(controls.len(), 1);
        // It ends over that question.
        drop(asked(&controls));
        assert!(matches!(shared.ask(), Err(NodeFailure::Stopped)));
    }

    #[test]
    fn where_there_is_no_room_for_a_question_they_wait_once_as_well() {
        let (shared, controls) = shared(0, PATIENCE);
        let took = hundred_get_none(&shared);
        assert!((PATIENCE..10 * PATIENCE).contains(&took), "{took:?}");
        drop(controls);
        assert!(matches!(shared.ask(), Err(NodeFailure::Stopped)));
    }

    #[test]
    fn a_loop_that_goes_on_is_asked_anew_and_its_late_answer_is_nobody_s() {
        let (mut shared, controls) = shared(64, Duration::ZERO);
        assert!(matches!(shared.ask(), Err(NodeFailure::NoAnswer)));
        asked(&controls).send(b"late".to_vec()).unwrap();
        shared.patience = LONG;
        let answers = std::thread::spawn(move || asked(&controls).send(b"now".to_vec()).unwrap());
        assert_eq!(shared.ask().unwrap(), b"now");
        answers.join().unwrap();
    }
}
