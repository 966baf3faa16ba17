//! Recorded order flow, and prices from outside.

use crate::decoder::{Cap, Decoder, Verdict};
use quorate_bench::orders::lobster::{Lobster, LobsterConfig};
use quorate_bench::prices::PriceLine;
use quorate_venue::InstrumentId;
use std::num::NonZeroU64;
use std::path::PathBuf;

/// Ends the message file in an input; the book follows. No such byte stands in either.
const BOUNDARY: u8 = 0;

const MESSAGES: &str = "34200.004241176,1,16113575,18,5853300,1
34200.025551909,1,16120456,18,5859100,-1
34200.201743232,3,16113575,18,5853300,1
34200.301743232,4,16120456,9,5859100,-1
34200.401743232,5,0,100,5859100,-1
34200.501743232,2,16120456,3,5859100,-1
34200.601743232,7,0,0,-1,-1
34200.701743232,7,0,0,1,1
";
const BOOK: &str =
    "5859400,200,5853300,18,5859800,200,5853000,150,9999999999,0,-9999999999,0\n1,1,1,1\n";

pub(crate) fn decoders() -> Vec<Decoder> {
    vec![lobster(), price_line()]
}

fn price_line() -> Decoder {
    Decoder {
        name: "bench.price_line",
        share: 2,
        is_text: true,
        corpus: vec![
            b"1 -5 3 1700000000000000000".to_vec(),
            b"# feed price confidence time".to_vec(),
        ],
        // Fields of a line of 128 bytes, and an error that repeats one of them.
        cap: Cap {
            base_bytes: 8 * 1024,
            per_byte: 1,
        },
        decode: Box::new(|input| match PriceLine::parse(input) {
            Ok(_) => Verdict::Accepted,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                Verdict::Refused
            }
        }),
        mend: None,
    }
}

fn lobster() -> Decoder {
    Decoder {
        name: "bench.lobster",
        share: 3,
        is_text: true,
        corpus: vec![
            [MESSAGES.as_bytes(), &[BOUNDARY], BOOK.as_bytes()].concat(),
            MESSAGES.as_bytes().to_vec(),
        ],
        // A line of at most 64 KiB; 40 bytes a message, which has twelve at least, in a list that
        // grows by doubling; the orders and what is open of them.
        cap: Cap {
            base_bytes: 256 * 1024,
            per_byte: 64,
        },
        decode: Box::new(decode),
        mend: None,
    }
}

fn decode(input: &[u8]) -> Verdict {
    let boundary = input.iter().position(|byte| *byte == BOUNDARY);
    let (messages, book) = match boundary {
        Some(at) => (&input[..at], Some(&input[at + 1..])),
        None => (input, None),
    };
    let config = LobsterConfig {
        messages: PathBuf::from("messages.csv"),
        book: book.map(|_| PathBuf::from("book.csv")),
        rate_per_s: NonZeroU64::MIN,
        clients: 8,
        instrument: InstrumentId(0),
    };
    match Lobster::read(&config, messages, book) {
        Ok(_) => Verdict::Accepted,
        Err(error) => {
            // The operator reads it, so it must be possible to write.
            assert!(!error.to_string().is_empty());
            Verdict::Refused
        }
    }
}
