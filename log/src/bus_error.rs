//! The end of a process whose mapping cannot be read any more: SIGBUS.
//!
//! A store into a mapping cannot fail, so a page that the disk does not give back, or a file that
//! somebody cut short, comes as a signal. Owns the one answer to it: a line, and `_exit`. Never:
//! goes on, unwinds, or cleans up; what was in memory alone cannot be trusted to be there.
#![expect(
    unsafe_code,
    reason = "a signal handler; what it may call is argued at the block"
)]

use std::io;

use rustix::event::{PollFd, PollFlags, Timespec, poll};
use signal_hook::consts::SIGBUS;

/// The exit code of a process that ended for it.
pub const BUS_ERROR_EXIT_CODE: u8 = 71;

const LINE: &[u8] = b"quorate: SIGBUS: a page of the log cannot be read, or its file was cut \
    short; see exit code 71 in docs/operations.md\n";

/// A poll that does not wait.
const AT_ONCE: Timespec = Timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

/// From now on a SIGBUS, whoever touched the page, writes one line to standard error, if there is
/// room for it at once, and ends this process with [`BUS_ERROR_EXIT_CODE`]. For a program that is
/// nothing but a validator.
///
/// # Errors
/// The system refuses the handler.
pub fn end_on_bus_error() -> io::Result<()> {
    let end = || {
        // Whether anybody reads it or not, the process ends: a full pipe would keep it.
        let stderr = io::stderr();
        let mut room = [PollFd::new(&stderr, PollFlags::OUT)];
        if poll(&mut room, Some(&AT_ONCE)).is_ok_and(|ready| ready > 0) {
            rustix::io::write(&stderr, LINE).ok();
        }
        signal_hook::low_level::exit(i32::from(BUS_ERROR_EXIT_CODE));
    };
    // SAFETY: a handler may only do what is safe at any moment of any thread. This one makes three
    // system calls, poll(2), write(2) and _exit(2); the handle of standard error is the constant 2
    // behind a reference, and none of this takes a lock or allocates. Nothing returns from it, so
    // no code runs over the state that was interrupted.
    unsafe { signal_hook::low_level::register(SIGBUS, end) }.map(drop)
}
