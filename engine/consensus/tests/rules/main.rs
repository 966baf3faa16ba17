//! The rules of docs/protocol.md, each with a test that fails without it. One file a topic; a
//! test's name begins with the number of its rule.

mod chaos;
mod steady;
mod support;
