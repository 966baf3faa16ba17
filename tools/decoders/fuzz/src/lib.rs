//! What every target shares: the decoder of a name, and its valid inputs as seeds.
//!
//! A target is one line. Never: a judgement of its own; that is `Decoder::must_hold`.

use quorate_decoders::decoder::Decoder;

pub use libfuzzer_sys;

/// The decoder of this name.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn decoder(name: &str) -> Decoder {
    quorate_decoders::all()
        .into_iter()
        .find(|decoder| decoder.name == name)
        .expect("a decoder of this name")
}

/// One target: each input as it is, and once more with its checksums made right.
#[macro_export]
macro_rules! target {
    ($name:literal) => {
        use std::sync::LazyLock;

        static DECODER: LazyLock<quorate_decoders::decoder::Decoder> =
            LazyLock::new(|| $crate::decoder($name));

        $crate::libfuzzer_sys::fuzz_target!(|input: &[u8]| {
            DECODER.must_hold(input);
            let mut mended = input.to_vec();
            DECODER.mend(&mut mended);
            if mended != input {
                DECODER.must_hold(&mended);
            }
        });
    };
}
