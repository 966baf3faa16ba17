//! What every target shares: the decoder of a name.
//!
//! A target is one line. Never: a judgement of its own; that is `Decoder::must_hold`, which the
//! tests of the decoders call too, so that they notice when it is not to be called like this.

use quorate_decoders::decoder::Decoder;

pub use libfuzzer_sys;

/// The decoder of this name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn decoder(name: &str) -> Decoder {
    quorate_decoders::named(name).expect("a decoder of this name")
}

/// One target.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        use std::sync::LazyLock;

        static DECODER: LazyLock<quorate_decoders::decoder::Decoder> =
            LazyLock::new(|| $crate::decoder($name));

        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            DECODER.must_hold(input);
        });
    };
}
