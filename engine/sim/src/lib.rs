//! The seeded world: the shipped consensus, journal and node logic under faults.
