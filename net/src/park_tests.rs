//! The park protocol on the processor at hand; tests/loom.rs has the model.

use crate::park::Park;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc;
use std::time::Duration;

#[test]
fn a_sleeping_consumer_is_woken_once() {
    let park = Park::default();
    let mut wakes = 0;
    let ((), rest) = park.wait(true, |sleeps| {
        assert!(sleeps);
        park.notify(|| wakes += 1);
        park.notify(|| wakes += 1);
    });
    assert!(rest.slept && rest.was_notified);
    assert_eq!(wakes, 1);
    park.wait(true, |sleeps| assert!(sleeps, "the notification was taken"));
}

#[test]
fn an_awake_consumer_costs_no_wake_up_and_does_not_go_to_sleep() {
    let park = Park::default();
    park.notify(|| panic!("nobody sleeps"));
    let ((), rest) = park.wait(true, |sleeps| assert!(!sleeps, "slept although work waits"));
    assert!(rest.was_notified && !rest.slept);
    let ((), rest) = park.wait(true, |sleeps| assert!(sleeps));
    assert!(rest.slept && !rest.was_notified, "it was taken");
    park.wait(false, |sleeps| {
        assert!(!sleeps, "slept although it must not")
    });
}

#[test]
fn who_looks_is_told_of_work_once_and_woken_by_nobody() {
    let park = Park::default();
    park.notify(|| panic!("nobody sleeps"));
    assert_eq!(park.look(|| 7), (7, true));
    assert_eq!(park.look(|| 8), (8, false), "it was taken");
    let told = park.look(|| park.notify(|| panic!("nobody sleeps"))).1;
    assert!(told, "announced while it looked");
    park.wait(true, |sleeps| assert!(sleeps));
}

#[test]
fn no_work_is_lost_between_two_threads() {
    const ITEMS: u64 = 200_000;
    let park = Park::default();
    let pushed = AtomicU64::new(0);
    let (wake, woken) = mpsc::channel();
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for item in 1..=ITEMS {
                pushed.store(item, Ordering::Relaxed);
                park.notify(|| wake.send(()).unwrap());
            }
        });
        let mut seen = 0;
        while seen < ITEMS {
            park.wait(true, |sleeps| {
                if sleeps {
                    let woke = woken.recv_timeout(Duration::from_secs(20));
                    assert!(
                        woke.is_ok(),
                        "slept although work was pushed after item {seen}"
                    );
                }
            });
            seen = pushed.load(Ordering::Relaxed);
        }
    });
}
