//! The handshake without sockets: who gets through, and every way not to.

use super::*;

const CHAIN: ChainIds = ChainIds {
    chain_id: [1; 32],
    genesis_hash: [2; 32],
};

/// "Signs" by writing down what was signed, under a key byte: enough to see what is bound to what.
struct Notary {
    own: u16,
    honest: bool,
}

fn note(hash: &[u8; 32], signer: u16, addressee: u16) -> [u8; 64] {
    let mut signature = [0; 64];
    signature[..32].copy_from_slice(hash);
    signature[32..34].copy_from_slice(&signer.to_le_bytes());
    signature[34..36].copy_from_slice(&addressee.to_le_bytes());
    signature
}

impl Authenticator for Notary {
    fn sign_hello(&self, hash: &[u8; 32], peer: u16) -> [u8; 64] {
        let mut signature = note(hash, self.own, peer);
        signature[63] = u8::from(!self.honest);
        signature
    }
    fn verify_hello(
        &self,
        hash: &[u8; 32],
        signer: u16,
        addressee: u16,
        signature: &[u8; 64],
    ) -> bool {
        *signature == note(hash, signer, addressee)
    }
    fn verify_login(&self, hash: &[u8; 32], key: &[u8; 32], signature: &[u8; 64]) -> bool {
        key[0] == 9 && *signature == note(hash, 999, self.own)
    }
}

struct ClientNotary {
    key: [u8; 32],
}

impl ClientAuthenticator for ClientNotary {
    fn key(&self) -> [u8; 32] {
        self.key
    }
    fn sign_login(&self, hash: &[u8; 32], validator: u16) -> [u8; 64] {
        note(hash, 999, validator)
    }
    fn verify_hello(&self, hash: &[u8; 32], signer: u16, signature: &[u8; 64]) -> bool {
        *signature == note(hash, signer, CLIENT_ADDRESSEE)
    }
}

fn local(index: u16) -> Arc<Local> {
    let authenticator = Arc::new(Notary {
        own: index,
        honest: true,
    });
    Arc::new(Local {
        index,
        incarnation: 70 + u64::from(index),
        chain: CHAIN,
        authenticator,
    })
}

fn take_message(wire: &mut Buffer) -> Option<Vec<u8>> {
    let prefix = wire.bytes().first_chunk::<2>()?;
    let bytes = usize::from(u16::from_le_bytes(*prefix));
    let message = wire.bytes()[2..2 + bytes].to_vec();
    wire.take(2 + bytes);
    Some(message)
}

struct Side {
    handshake: Handshake,
    out: Buffer,
    session: Option<Session>,
}

impl Side {
    fn accept(local: &Arc<Local>, port: Port) -> Self {
        Self {
            handshake: Handshake::accept(local, port),
            out: Buffer::new(),
            session: None,
        }
    }

    fn dial(local: &Arc<Local>, peer: u16) -> Self {
        let mut out = Buffer::new();
        let handshake = Handshake::dial_peer(local, peer, &mut out).unwrap();
        Self {
            handshake,
            out,
            session: None,
        }
    }

    fn dial_client(chain: &ChainIds, key: [u8; 32]) -> Self {
        let mut out = Buffer::new();
        let handshake =
            Handshake::dial_client(chain, Arc::new(ClientNotary { key }), &mut out).unwrap();
        Self {
            handshake,
            out,
            session: None,
        }
    }
}

/// Carries one message, if there is one. Says who was identified by it, or which side closed.
fn carry(
    name: char,
    from: &mut Side,
    to: &mut Side,
) -> Result<Option<Remote>, (char, CloseReason)> {
    if to.session.is_some() {
        return Ok(None);
    }
    let Some(message) = take_message(&mut from.out) else {
        return Ok(None);
    };
    assert!(message.len() <= crate::limits::MESSAGE_BYTES_MAX_UNAUTHENTICATED);
    let remote = to
        .handshake
        .message(&message, &mut to.out)
        .map_err(|reason| (name, reason))?;
    if remote.is_some() {
        let fresh = Handshake::accept(&local(0), Port::Peers);
        let done = std::mem::replace(&mut to.handshake, fresh);
        to.session = Some(done.finish(&mut to.out).unwrap());
    }
    Ok(remote)
}

/// Carries messages to and fro until both sides are identified or one closes.
fn run(a: &mut Side, b: &mut Side) -> Result<(Remote, Remote), (char, CloseReason)> {
    let (mut of_a, mut of_b) = (None, None);
    for _ in 0..10 {
        of_b = of_b.or(carry('b', a, b)?);
        of_a = of_a.or(carry('a', b, a)?);
        if let (Some(of_a), Some(of_b)) = (of_a, of_b) {
            return Ok((of_a, of_b));
        }
    }
    panic!("the handshake stands still");
}

#[test]
fn two_validators_learn_index_and_incarnation_of_each_other() {
    let (mut a, mut b) = (
        Side::dial(&local(3), 5),
        Side::accept(&local(5), Port::Peers),
    );
    let seen = run(&mut a, &mut b).unwrap();
    let validator = |index: u16| Remote::Validator {
        index,
        incarnation: 70 + u64::from(index),
    };
    assert_eq!(seen, (validator(5), validator(3)));
    // The dialer's confirmation is the first message under the session.
    let (confirmation, mut plain) = (take_message(&mut a.out).unwrap(), Buffer::new());
    b.session.unwrap().open(&confirmation, &mut plain).unwrap();
    assert_eq!(plain.bytes(), frame::KEEPALIVE);
}

#[test]
fn a_client_logs_in_with_its_key() {
    let (mut a, mut b) = (
        Side::dial_client(&CHAIN, [9; 32]),
        Side::accept(&local(5), Port::Clients),
    );
    let (of_a, of_b) = run(&mut a, &mut b).unwrap();
    assert_eq!(
        of_a,
        Remote::Validator {
            index: 5,
            incarnation: 75
        }
    );
    assert_eq!(of_b, Remote::Client { key: [9; 32] });
}

#[test]
fn a_key_that_may_not_log_in_is_refused() {
    let (mut a, mut b) = (
        Side::dial_client(&CHAIN, [8; 32]),
        Side::accept(&local(5), Port::Clients),
    );
    assert_eq!(run(&mut a, &mut b), Err(('b', CloseReason::HelloSignature)));
}

#[test]
fn another_chain_genesis_or_port_kind_does_not_get_past_noise() {
    let other_chain = ChainIds {
        chain_id: [7; 32],
        ..CHAIN
    };
    let other_genesis = ChainIds {
        genesis_hash: [7; 32],
        ..CHAIN
    };
    for chain in [other_chain, other_genesis] {
        let (mut a, mut b) = (
            Side::dial_client(&chain, [9; 32]),
            Side::accept(&local(5), Port::Clients),
        );
        assert_eq!(run(&mut a, &mut b), Err(('a', CloseReason::Handshake)));
    }
    let (mut a, mut b) = (
        Side::dial_client(&CHAIN, [9; 32]),
        Side::accept(&local(5), Port::Peers),
    );
    assert_eq!(run(&mut a, &mut b), Err(('a', CloseReason::Handshake)));
}

#[test]
fn a_wrong_signature_is_refused_on_either_side() {
    let liar = |index| {
        let authenticator = Arc::new(Notary {
            own: index,
            honest: false,
        });
        Arc::new(Local {
            index,
            incarnation: 1,
            chain: CHAIN,
            authenticator,
        })
    };
    let (mut a, mut b) = (
        Side::dial(&liar(3), 5),
        Side::accept(&local(5), Port::Peers),
    );
    assert_eq!(run(&mut a, &mut b), Err(('b', CloseReason::HelloSignature)));
    let (mut a, mut b) = (
        Side::dial(&local(3), 5),
        Side::accept(&liar(5), Port::Peers),
    );
    assert_eq!(run(&mut a, &mut b), Err(('a', CloseReason::HelloSignature)));
}

/// What a side says of the Hello of validator 5, which is in order but for this range of message
/// versions: dialing it, dialing it as a client, dialed by it.
fn told_of_versions(version_min: u16, version_max: u16) -> [Result<(), CloseReason>; 3] {
    let hello = |hash: &[u8; 32], addressee| {
        let signature = note(hash, 5, addressee);
        let hello = Hello {
            version_min,
            version_max,
            index: 5,
            incarnation: 75,
            signature,
        };
        hello.encode()
    };
    let next = |wire: &mut Buffer| take_message(wire).unwrap();
    let dials = |mut side: Side, port, addressee| {
        let mut wire = Buffer::new();
        let prologue = CHAIN.prologue(port);
        let first = next(&mut side.out);
        let (mut session, hash) = noise::answer(&prologue, &first, &mut wire).unwrap();
        let open = side.handshake.message(&next(&mut wire), &mut side.out);
        assert_eq!(open, Ok(None));
        session.seal(&hello(&hash, addressee), &mut wire).unwrap();
        let end = side.handshake.message(&next(&mut wire), &mut side.out);
        end.map(drop)
    };
    let accepts = |mut side: Side| {
        let mut wire = Buffer::new();
        let state = noise::dial(&CHAIN.prologue(Port::Peers), &mut wire).unwrap();
        let open = side.handshake.message(&next(&mut wire), &mut side.out);
        assert_eq!(open, Ok(None));
        let (mut session, hash) = noise::complete(*state, &next(&mut side.out)).unwrap();
        session.seal(&hello(&hash, 3), &mut wire).unwrap();
        let end = side.handshake.message(&next(&mut wire), &mut side.out);
        end.map(drop)
    };
    [
        dials(Side::dial(&local(3), 5), Port::Peers, 3),
        dials(
            Side::dial_client(&CHAIN, [9; 32]),
            Port::Clients,
            CLIENT_ADDRESSEE,
        ),
        accepts(Side::accept(&local(3), Port::Peers)),
    ]
}

#[test]
fn a_validator_with_no_message_version_in_common_is_refused_by_its_peers_and_not_by_clients() {
    let (min, max) = (MESSAGES_VERSION_MIN, MESSAGES_VERSION_MAX);
    assert_eq!(told_of_versions(min, max), [Ok(()); 3]);
    assert_eq!(told_of_versions(max, u16::MAX), [Ok(()); 3]);
    // A client says nothing of what the versions are of.
    let by_a_peer = Err(CloseReason::HelloVersion);
    let refused = [by_a_peer, Ok(()), by_a_peer];
    assert_eq!(told_of_versions(max + 1, u16::MAX), refused);
    assert_eq!(told_of_versions(0, min - 1), refused);
}

#[test]
fn a_hello_for_another_addressee_is_refused() {
    // Validator 3 dials the address of 4, where 5 answers.
    let (mut a, mut b) = (
        Side::dial(&local(3), 4),
        Side::accept(&local(5), Port::Peers),
    );
    assert_eq!(run(&mut a, &mut b), Err(('b', CloseReason::HelloSignature)));
}

#[test]
fn who_is_dialed_as_one_validator_may_not_answer_as_another() {
    // Validator 3 dials 4, and 5 answers with a Hello of its own that is in order.
    let mut side = Side::dial(&local(3), 4);
    let mut wire = Buffer::new();
    let first = take_message(&mut side.out).unwrap();
    let (mut session, hash) =
        noise::answer(&CHAIN.prologue(Port::Peers), &first, &mut wire).unwrap();
    let second = take_message(&mut wire).unwrap();
    assert_eq!(side.handshake.message(&second, &mut side.out), Ok(None));
    session.seal(&local(5).hello(&hash, 3), &mut wire).unwrap();
    let hello = take_message(&mut wire).unwrap();
    let end = side.handshake.message(&hello, &mut side.out);
    assert_eq!(end, Err(CloseReason::HelloIndex));
}

#[test]
fn a_validator_does_not_speak_to_itself() {
    let (mut a, mut b) = (
        Side::dial(&local(5), 5),
        Side::accept(&local(5), Port::Peers),
    );
    assert_eq!(run(&mut a, &mut b), Err(('b', CloseReason::HelloIndex)));
}

#[test]
fn a_middleman_with_two_channels_cannot_pass_the_hello_on() {
    // 3 speaks to the middleman on one channel, the middleman to 5 on another; it opens 3's Hello
    // and seals it again for 5.
    let mut victim = Side::dial(&local(3), 5);
    let mut facade = Side::accept(&local(5), Port::Peers);
    let first = take_message(&mut victim.out).unwrap();
    facade.handshake.message(&first, &mut facade.out).unwrap();
    let second = take_message(&mut facade.out).unwrap();
    victim.handshake.message(&second, &mut victim.out).unwrap();
    let Stage::Open { session, .. } = &mut facade.handshake.stage else {
        panic!("not open")
    };
    let mut hello = Buffer::new();
    session
        .open(&take_message(&mut victim.out).unwrap(), &mut hello)
        .unwrap();

    let mut target = Side::accept(&local(5), Port::Peers);
    let mut out = Buffer::new();
    let state = noise::dial(&CHAIN.prologue(Port::Peers), &mut out).unwrap();
    target
        .handshake
        .message(&take_message(&mut out).unwrap(), &mut target.out)
        .unwrap();
    let (mut session, _) =
        noise::complete(*state, &take_message(&mut target.out).unwrap()).unwrap();
    session.seal(hello.bytes(), &mut out).unwrap();
    let relayed = take_message(&mut out).unwrap();
    let end = target.handshake.message(&relayed, &mut target.out);
    assert_eq!(end, Err(CloseReason::HelloSignature));
}

#[test]
fn no_bytes_in_place_of_any_message_get_through_or_panic() {
    let mut state = 1_u64;
    let mut random = move || {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        (state >> 33).to_le_bytes()[0]
    };
    for length in 0..=200 {
        for port in [Port::Peers, Port::Clients] {
            let mut bytes: Vec<u8> = (0..length).map(|_| random()).collect();
            let mut side = Side::accept(&local(5), port);
            let first = side.handshake.message(&bytes, &mut side.out);
            assert!(first.is_err() || length == noise::FIRST_BYTES);
            if let Some(suite) = bytes.first_mut() {
                *suite = 1;
            }
            let mut side = Side::accept(&local(5), port);
            if side.handshake.message(&bytes, &mut side.out).is_ok() {
                assert!(side.handshake.message(&bytes, &mut side.out).is_err());
            }
        }
        let bytes: Vec<u8> = (0..length).map(|_| random()).collect();
        let mut side = Side::dial(&local(3), 5);
        assert!(side.handshake.message(&bytes, &mut side.out).is_err());
        assert!(
            side.handshake.message(&bytes, &mut side.out).is_err(),
            "a failed handshake stays so"
        );
    }
}
