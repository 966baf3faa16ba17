//! Proofs for a third party.

use crate::consensus::{SMALL_SET, certificates, headers};
use crate::decoder::{Cap, Decode, Decoder, Verdict};
use quorate_consensus::types::BlockId;
use quorate_consensus::wire;
use quorate_proof::events::EventHistory;
use quorate_proof::outputs::{ListPath, OutputHistory};
use quorate_proof::{
    BlockProof, CommandProof, OutputItem, OutputProof, Proof, decode, encode, verify,
};

/// The certificate of a proof, what it encodes to, and headers and payload besides.
const CAP: Cap = Cap {
    base_bytes: 1024,
    per_byte: 10,
};

pub(crate) fn decoders() -> Vec<Decoder> {
    let decoder = |name, share, corpus, decode: fn(&[u8]) -> Verdict| Decoder {
        name,
        share,
        is_text: false,
        corpus,
        cap: CAP,
        decode: Box::new(decode) as Decode,
        mend: None,
    };
    vec![
        decoder("proof.proof", 4, proofs(), decode_proof),
        decoder("proof.history", 2, histories(), decode_history),
    ]
}

fn decode_proof(input: &[u8]) -> Verdict {
    match decode(input) {
        Ok(proof) => {
            // Whatever it proves or does not, saying so is all that may come of it.
            match verify(&SMALL_SET, &proof) {
                Ok(_) => {}
                Err(error) => assert!(!error.to_string().is_empty()),
            }
            Verdict::canonical(input, &encode(&proof))
        }
        Err(_) => Verdict::Refused,
    }
}

/// Sections of a snapshot: the trees over what blocks put out, and over their events.
fn histories() -> Vec<Vec<u8>> {
    [0, 1, 7, 64]
        .iter()
        .map(|blocks| {
            let mut history = EventHistory::default();
            (0..*blocks).for_each(|block| history.push(&[block; 32]));
            let mut bytes = Vec::new();
            history.encode(&mut bytes);
            bytes
        })
        .collect()
}

/// Both sections have the same bytes; what comes of them goes on by a block and to the end.
fn decode_history(input: &[u8]) -> Verdict {
    let (Ok(outputs), Ok(mut events)) = (OutputHistory::decode(input), EventHistory::decode(input))
    else {
        return Verdict::Refused;
    };
    let height = outputs.height();
    assert_eq!(height, events.height());
    let has_way = outputs.way_to(height.saturating_add(1)).is_some();
    assert_eq!(
        has_way,
        height < u64::MAX,
        "to the next block, if there can be one"
    );
    assert_ne!(outputs.root(), events.root());
    let mut again = Vec::with_capacity(input.len());
    events.encode(&mut again);
    events.be_silent_until(height.saturating_add(1000));
    Verdict::canonical(input, &again)
}

fn proofs() -> Vec<Vec<u8>> {
    let below = headers().into_iter();
    let below = below.filter_map(|bytes| wire::decode_header(&bytes).ok());
    let below: Vec<_> = below.collect();
    let mut all = Vec::new();
    for bytes in certificates() {
        let Ok(certificate) = wire::decode_certificate(&bytes) else {
            continue;
        };
        for (headers, command) in [
            (Vec::new(), None),
            (
                below.clone(),
                Some(CommandProof {
                    index: 1,
                    payload: vec![7; 40],
                }),
            ),
        ] {
            all.push(encode(&Proof::Block(BlockProof {
                certificate: certificate.clone(),
                headers,
                command,
            })));
        }
    }
    let state = crate::consensus::state_certificate();
    all.push(encode(&Proof::State(state.clone())));
    let output = OutputItem::Output {
        number: 33,
        command: Some(2),
        session: Some([6; 16]),
        bytes: vec![7; 40],
    };
    for item in [output, OutputItem::Outcomes(vec![0; 9])] {
        all.push(encode(&Proof::Output(OutputProof {
            certificate: state.clone(),
            height: 60,
            id: BlockId::new([3; 32]),
            root: [4; 32],
            history: vec![[5; 32]; 6],
            list: ListPath {
                count: 40,
                neighbours: vec![[6; 32]; 7],
                path: vec![[7; 32]],
            },
            item,
        })));
    }
    all
}
