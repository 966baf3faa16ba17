//! Time as an input. The consensus reads no clock; whoever calls it says what time it is.

/// Both clocks at the moment of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub struct Now {
    /// A clock that never falls, nanoseconds from an arbitrary start. Timers use this one alone.
    pub mono_ns: u64,
    /// The wall clock, nanoseconds since the Unix epoch. Only header time uses it, and no rule of
    /// safety does.
    pub wall_ns: u64,
}
