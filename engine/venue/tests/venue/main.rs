//! The venue as its clients see it: commands in, events and refusals out.

mod accounts;
mod bytes;
mod feeds;
mod liquidation;
mod margin;
mod options;
mod properties;
mod refusals;
mod spoils;
mod state;
mod streams;
mod support;
mod trading;
