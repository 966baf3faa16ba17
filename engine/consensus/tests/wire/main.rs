//! Bytes of messages: frozen, canonical, and harmless whatever they say.

mod golden;
mod hostile;
mod memory;
mod properties;
mod samples;
