//! The reference application: a price-time-priority venue as a state machine.
