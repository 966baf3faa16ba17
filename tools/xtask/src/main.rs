//! Project chores and checks.
fn main() {}
