//! The consensus rules of Quorate as one deterministic state machine.
