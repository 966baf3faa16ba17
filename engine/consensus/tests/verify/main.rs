//! What certificates and evidence prove, which signatures are good, and what `Verified` is worth.

mod claims;
mod evidence;
mod judge;
mod messages;
mod world;
mod zip215;
