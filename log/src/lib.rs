//! The memory-mapped append-only log of Quorate.
