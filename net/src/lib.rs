//! The message path of Quorate: mio loop, framing, authenticated sessions, back-pressure.
