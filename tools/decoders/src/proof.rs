//! Proofs for a third party.

use crate::consensus::{certificates, headers};
use crate::decoder::{Cap, Decode, Decoder, Verdict};
use quorate_consensus::types::BlockId;
use quorate_consensus::wire;
use quorate_proof::outputs::ListPath;
use quorate_proof::{BlockProof, CommandProof, OutputItem, OutputProof, Proof, decode, encode};

/// The certificate of a proof, what it encodes to, and headers and payload besides.
const CAP: Cap = Cap {
    base_bytes: 1024,
    per_byte: 10,
};

pub(crate) fn decoders() -> Vec<Decoder> {
    vec![Decoder {
        name: "proof.proof",
        share: 4,
        is_text: false,
        corpus: proofs(),
        cap: CAP,
        decode: Box::new(decode_proof) as Decode,
        mend: None,
    }]
}

fn decode_proof(input: &[u8]) -> Verdict {
    match decode(input) {
        Ok(proof) => Verdict::canonical(input, &encode(&proof)),
        Err(_) => Verdict::Refused,
    }
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
