//! What is seen of validators comes to the checkers that it is for: something wrong, put into a
//! turn, is found.

use super::*;
use crate::app::App;
use crate::byzantine::{ActorName, Byzantine};
use crate::checks::SAMPLE;
use crate::plan::RunOptions;
use crate::script::Scenario;
use crate::tape::Tape;
use quorate::journal::JournalError;
use quorate::replica::ReplicaError;
use quorate::results::Place;
use quorate_consensus::certificate::{SignedRecord, Target};
use quorate_consensus::message::{HeldRecord, Propose, RecoverAnswer, Status, Vote};
use quorate_consensus::record::Record;
use quorate_consensus::signing::{Signer as _, record_message};
use quorate_consensus::types::{BlockId, Epoch, Height, Index, Point, Window};

const W: Window = Window::ZERO;

/// Calls `see` on a world in which nothing has happened, and says which checkers found something.
fn found(byzantine: Byzantine, see: impl FnOnce(&mut World<Tape>)) -> Vec<&'static str> {
    let options = RunOptions {
        seed: 1,
        scenario: Scenario::Calm,
        byzantine,
        ..RunOptions::default()
    };
    let mut world = World::new(&options, &App::default(), false).unwrap();
    see(&mut world);
    let found = world.checks.finish();
    found.iter().map(|violation| violation.check).collect()
}

fn beside_a_liar() -> Byzantine {
    Byzantine {
        actors: [Some(ActorName::Silent), None],
        ..Byzantine::default()
    }
}

fn liar_of(world: &World<Tape>) -> usize {
    (0..4).find(|&at| world.is_byzantine(at)).unwrap()
}

fn says(message: &Message, to: Destination) -> Turned {
    let mut bytes = Vec::new();
    wire::encode(message, &mut bytes);
    Turned {
        frames: vec![(to, bytes.into())],
        ..Turned::default()
    }
}

/// Nothing was voted for in this window, and nothing will be.
fn stopped() -> Record {
    Record {
        stop: true,
        ..Record::default()
    }
}

fn voted() -> Record {
    Record {
        tip: Some((Index::ZERO, BlockId::new([7; 32]))),
        ..Record::default()
    }
}

fn votes(record: Record) -> Turned {
    let vote = Vote {
        epoch: Epoch::ZERO,
        window: W,
        record,
        signature: None,
    };
    says(&Message::Vote(vote), Destination::All)
}

/// What a peer holds of the one that asks.
fn holds(asker: usize, record: Record) -> Turned {
    let held = HeldRecord {
        window: W,
        record,
        signature: None,
    };
    let answer = Message::FenceAnswer {
        incarnation: 1,
        held: vec![held],
    };
    says(&answer, Destination::Peer(index(asker)))
}

#[test]
fn a_record_without_a_tip_and_one_that_contradicts_it_are_found_in_votes() {
    let honest = Byzantine::default();
    let alone = found(honest, |world| {
        world.watch_turn(0, votes(stopped()));
    });
    assert_eq!(alone, [""; 0]);
    let both = found(honest, |world| {
        world.watch_turn(0, votes(stopped()));
        world.watch_turn(0, votes(voted()));
    });
    assert_eq!(both, ["records"]);
}

#[test]
fn what_an_answer_to_the_fence_shows_of_an_honest_validator_is_judged_and_of_a_liar_not() {
    let shown = |world: &mut World<Tape>, asker: usize| {
        world.watch_turn((asker + 1) % 4, holds(asker, stopped()));
        world.watch_turn((asker + 2) % 4, holds(asker, voted()));
    };
    assert_eq!(
        found(Byzantine::default(), |world| shown(world, 3)),
        ["records"]
    );
    let of_liar = found(beside_a_liar(), |world| {
        let liar = liar_of(world);
        shown(world, liar);
    });
    assert_eq!(of_liar, [""; 0]);
}

#[test]
fn one_peer_s_answer_against_the_own_word_is_enough() {
    let found = found(Byzantine::default(), |world| {
        world.watch_turn(3, votes(stopped()));
        world.watch_turn(1, holds(3, voted()));
    });
    assert_eq!(found, ["records"]);
}

fn delivers(height: u64, id: Option<BlockId>, outputs: [u8; 32]) -> Turned {
    let block = Delivered {
        height,
        id,
        path: None,
        commands: Vec::new(),
        outputs,
    };
    Turned {
        delivered: vec![block],
        ..Turned::default()
    }
}

/// The payload of a block without commands.
const EMPTY: [u8; 4] = [0; 4];

/// The same header of such a block.
fn of_an_empty_block(header: Header) -> Header {
    Header {
        payload_hash: *blake3::hash(&EMPTY).as_bytes(),
        ..header
    }
}

#[test]
fn outputs_that_differ_between_two_validators_are_found() {
    let see = |other| {
        found(Byzantine::default(), |world| {
            world.watch_turn(0, delivers(1, None, [1; 32]));
            world.watch_turn(1, delivers(1, None, other));
        })
    };
    assert_eq!(see([1; 32]), [""; 0]);
    assert_eq!(see([2; 32]), ["results"]);
}

#[test]
fn the_time_of_a_block_is_judged_when_its_header_comes_after_its_delivery() {
    let see = |ahead_ns: u64| {
        let mut found = found(Byzantine::default(), |world| {
            let header = of_an_empty_block(Header {
                time_ns: crate::plan::WALL_START_NS + ahead_ns,
                height: Height::new(1),
                ..SAMPLE
            });
            world.see_payload(header.id(), &header, &EMPTY);
            world.watch_turn(0, delivers(1, Some(header.id()), [0; 32]));
            let history = Message::History(vec![header]);
            world.watch_turn(0, says(&history, Destination::Peer(index(1))));
        });
        // It stands on nothing.
        found.retain(|check| *check != "chain");
        found
    };
    assert_eq!(see(0), [""; 0]);
    assert_eq!(see(3_600_000_000_000), ["times"]);
}

#[test]
fn another_state_at_a_height_is_found_when_a_block_is_applied() {
    let stands = |root| Turned {
        root: Some((1, root)),
        ..Turned::default()
    };
    let see = |other| {
        found(Byzantine::default(), |world| {
            world.watch_turn(0, stands([1; 32]));
            world.watch_turn(1, stands(other));
        })
    };
    assert_eq!(see([1; 32]), [""; 0]);
    assert_eq!(see([2; 32]), ["roots"]);
}

#[test]
fn another_state_than_there_was_is_found_when_a_life_begins_with_it() {
    let see = |is_same: bool| {
        found(Byzantine::default(), |world| {
            world.start(0);
            let (height, root) = world.members[0].life.as_mut().unwrap().root();
            let root = if is_same { root } else { [9; 32] };
            world.checks.roots = crate::checks::roots::Roots::default();
            let turned = Turned {
                root: Some((height, root)),
                ..Turned::default()
            };
            world.watch_turn(1, turned);
            world.start(2);
        })
    };
    assert_eq!(see(true), [""; 0]);
    assert_eq!(see(false), ["roots"]);
}

#[test]
fn what_a_client_was_told_must_stand_in_the_chain() {
    let see = |is_in_the_chain: bool| {
        found(Byzantine::default(), |world| {
            let made = world.clients.tick(0, world.now_ns, &[2]).unwrap();
            let told = CommandResult {
                session: made.session,
                seq: 1,
                outcome: Outcome::Applied,
                applied: Some(Place {
                    height: 1,
                    index: 0,
                }),
                mark: None,
                finality_ns: 0,
            };
            let mut turned = delivers(1, None, [0; 32]);
            if is_in_the_chain {
                turned.delivered[0].commands.push(told);
            } else {
                turned.repeats.push(told);
            }
            world.watch_turn(made.gateway, turned);
        })
    };
    assert_eq!(see(true), [""; 0]);
    assert_eq!(see(false), ["acknowledged"]);
}

#[test]
fn a_final_block_is_judged_by_its_payload_whatever_message_brought_it() {
    // In which message the payload of the block is shown, if it is, and what is told of it.
    let see = |shown: Option<fn(Header) -> Message>, is_told_more: bool| {
        let mut found = found(Byzantine::default(), |world| {
            assert!(!world.plan.is_signed);
            let header = of_an_empty_block(SAMPLE);
            if let Some(message) = shown {
                world.watch_turn(0, says(&message(header), Destination::All));
            }
            let mut turned = delivers(1, Some(header.id()), [0; 32]);
            if is_told_more {
                let session = world.clients.tick(0, world.now_ns, &[2]).unwrap().session;
                turned.delivered[0].commands.push(CommandResult {
                    session,
                    seq: 1,
                    outcome: Outcome::Applied,
                    applied: Some(Place {
                        height: 1,
                        index: 0,
                    }),
                    mark: None,
                    finality_ns: 0,
                });
            }
            world.watch_turn(1, turned);
        });
        found.retain(|check| *check != "chain");
        found
    };
    let proposes: fn(Header) -> Message = |header| proposes(header, Vec::new(), None);
    let serves: fn(Header) -> Message = |header| Message::Block {
        header,
        payload: EMPTY.into(),
    };
    for message in [proposes, serves] {
        assert_eq!(see(Some(message), false), [""; 0]);
        assert_eq!(see(Some(message), true), ["authors"], "of no command");
    }
    assert_eq!(see(None, false), ["authors"], "nobody has seen it");
}

/// A certificate that all of the window is skipped, by what each of these says.
fn skip_certificate(world: &World<Tape>, says: &[Record]) -> Certificate {
    let sign = |(place, record): (usize, &Record)| {
        let validator = index(place);
        let mut message = Vec::new();
        record_message(&world.set, validator, W, record, &mut message);
        SignedRecord {
            validator,
            record: record.clone(),
            signature: world.keyring.keys()[place].sign(&message),
        }
    };
    Certificate {
        epoch: Epoch::ZERO,
        window: W,
        target: Target::Skip { from: Index::ZERO },
        records: says.iter().enumerate().map(sign).collect(),
        headers: Vec::new(),
    }
}

#[test]
fn what_a_certificate_shows_of_an_honest_validator_is_judged_and_of_a_liar_not() {
    let skipped = Record {
        skip_fallback: Some(Index::ZERO),
        ..stopped()
    };
    let supported = Record {
        also: vec![(Index::ZERO, BlockId::new([7; 32]))],
        ..stopped()
    };
    // Neither says all that the other one says.
    let shown = |world: &mut World<Tape>, of: usize| {
        for record in [&skipped, &supported] {
            let mut all = vec![stopped(); 4];
            all[of] = record.clone();
            let proof = Message::Certificates(vec![skip_certificate(world, &all)]);
            world.watch_turn((of + 1) % 4, says(&proof, Destination::All));
        }
    };
    let of_honest = found(Byzantine::default(), |world| shown(world, 3));
    assert_eq!(of_honest, ["records"]);
    let of_liar = found(beside_a_liar(), |world| {
        let liar = liar_of(world);
        shown(world, liar);
    });
    assert_eq!(of_liar, [""; 0]);
}

/// A block of a leader with what may come beside it.
fn proposes(header: Header, justification: Vec<Certificate>, record: Option<Record>) -> Message {
    Message::Propose(Propose {
        header,
        payload: [0; 4].into(),
        justification,
        record,
    })
}

/// What a validator says of itself that is in the first window, with nothing but genesis final.
fn status(world: &World<Tape>, record: Record) -> Status {
    let genesis = world.set.genesis();
    Status {
        epoch: Epoch::ZERO,
        finalized: genesis,
        proven: genesis,
        window: W,
        record,
        gap: None,
        ready: Vec::new(),
        flushed: genesis.height,
        abstains: false,
        recovering: false,
        no_proposals: false,
    }
}

#[test]
fn a_record_is_judged_by_whatever_message_it_is_said() {
    let says_by: [fn(&World<Tape>, Record) -> Message; 2] = [
        |_, record| proposes(SAMPLE, Vec::new(), Some(record)),
        |world, record| Message::Status(status(world, record)),
    ];
    for (number, message) in says_by.into_iter().enumerate() {
        let see = |record: &Record| {
            found(Byzantine::default(), |world| {
                world.watch_turn(3, votes(stopped()));
                let said = message(world, record.clone());
                world.watch_turn(3, says(&said, Destination::All));
            })
        };
        assert_eq!(see(&stopped()), [""; 0], "{number}");
        assert_eq!(see(&voted()), ["records"], "{number}");
    }
}

#[test]
fn a_certificate_is_judged_by_whatever_message_it_is_shown() {
    let shows_by: [fn(Vec<Certificate>) -> Message; 3] = [
        Message::Certificates,
        |proofs| proposes(SAMPLE, proofs, None),
        |certificates| {
            Message::RecoverAnswer(RecoverAnswer {
                nonce: [0; 32],
                window: W,
                certificates,
                signature: [0; 64],
            })
        },
    ];
    for (number, message) in shows_by.into_iter().enumerate() {
        let see = |signers: usize| {
            found(Byzantine::default(), |world| {
                let proof = skip_certificate(world, &vec![stopped(); signers]);
                let shown = message(vec![proof]);
                world.watch_turn(0, says(&shown, Destination::Peer(index(1))));
            })
        };
        assert_eq!(see(4), [""; 0], "{number}");
        assert_eq!(see(1), ["certificates"], "{number}");
    }
}

#[test]
fn a_frame_that_is_no_message_is_found() {
    let frames: Vec<(Destination, std::sync::Arc<[u8]>)> =
        vec![(Destination::All, [0xff; 9].into())];
    let found = found(Byzantine::default(), |world| {
        let turned = Turned {
            frames,
            ..Turned::default()
        };
        world.watch_turn(0, turned);
    });
    assert_eq!(found, ["wire"]);
}

#[test]
fn a_block_is_judged_when_it_is_delivered_and_its_header_at_the_end() {
    // Of this height, on the genesis block or not, shown or not.
    let see = |height: u64, is_on_genesis: bool, is_shown: bool| {
        found(Byzantine::default(), |world| {
            let genesis = world.set.genesis();
            let header = of_an_empty_block(Header {
                height: Height::new(height),
                time_ns: crate::plan::WALL_START_NS,
                parent_id: if is_on_genesis {
                    genesis.id
                } else {
                    BlockId::new([7; 32])
                },
                ..SAMPLE
            });
            world.see_payload(header.id(), &header, &EMPTY);
            if is_shown {
                let history = Message::History(vec![header]);
                world.watch_turn(0, says(&history, Destination::Peer(index(1))));
            }
            world.watch_turn(0, delivers(height, Some(header.id()), [0; 32]));
        })
    };
    assert_eq!(see(1, true, true), [""; 0]);
    assert_eq!(see(2, true, true), ["chain"], "the first one is missing");
    assert_eq!(see(1, false, true), ["chain"], "it stands on nothing");
    assert_eq!(see(1, true, false), ["chain"], "nobody has proposed it");
}

#[test]
fn a_certificate_against_what_a_status_says_to_be_final_is_found() {
    let see = |is_first_final: bool| {
        found(Byzantine::default(), |world| {
            let proof = skip_certificate(world, &vec![stopped(); 4]);
            let proof = Message::Certificates(vec![proof]);
            world.watch_turn(0, says(&proof, Destination::All));
            let mut status = status(world, stopped());
            if is_first_final {
                status.finalized = Point {
                    window: W,
                    index: Index::ZERO,
                    height: Height::new(status.finalized.height.number() + 1),
                    id: BlockId::new([7; 32]),
                };
            }
            world.watch_turn(1, says(&Message::Status(status), Destination::All));
        })
    };
    assert_eq!(see(false), [""; 0]);
    assert_eq!(see(true), ["certificates"]);
}

/// What a validator shows twice, of an honest leader and with another payload each time.
fn shows_two_blocks(
    byzantine: Byzantine,
    is_leader: bool,
    show: impl Fn(Header) -> Message,
) -> Vec<&'static str> {
    found(byzantine, |world| {
        let is_honest = |&at: &usize| !world.is_byzantine(at);
        let leads = |window: &Window| is_honest(&world.set.leader(*window).place());
        let window = (0..).map(Window::new).find(leads).unwrap();
        let leader = world.set.leader(window).place();
        let other = (0..4).filter(is_honest).find(|&at| at != leader);
        let from = if is_leader { leader } else { other.unwrap() };
        for mark in 1..=2 {
            let header = Header {
                window,
                payload_hash: [mark; 32],
                ..SAMPLE
            };
            world.watch_turn(from, says(&show(header), Destination::All));
        }
    })
}

#[test]
fn two_blocks_of_an_honest_leader_for_one_position_are_found_whoever_else_lies() {
    let proposes = |header| proposes(header, Vec::new(), None);
    let signs = |header| Message::HeaderSignature {
        header,
        signature: [0; 64],
    };
    let serves = |header| Message::Block {
        header,
        payload: [0; 4].into(),
    };
    let tells = |header| Message::History(vec![header]);
    let shows: [&dyn Fn(Header) -> Message; 4] = [&proposes, &signs, &serves, &tells];
    for (number, show) in shows.into_iter().enumerate() {
        let alone = shows_two_blocks(Byzantine::default(), true, show);
        assert_eq!(alone, ["proposals"], "{number}");
        // Served by another one a block may be one that a liar brought up.
        let is_own = number < 2;
        let beside = shows_two_blocks(beside_a_liar(), is_own, show);
        assert_eq!(beside.contains(&"proposals"), is_own, "{number}");
    }
}

#[test]
fn whoever_accuses_an_honest_validator_is_found_and_who_accuses_a_liar_is_not() {
    let accuse = |world: &mut World<Tape>, peer: usize| {
        let accused = index(peer);
        let events = vec![
            Event::PeerFault(accused),
            Event::Alarm(Alarm::BadSignature(accused)),
            Event::Alarm(Alarm::Equivocation(accused)),
        ];
        let turned = Turned {
            events,
            ..Turned::default()
        };
        world.watch_turn((peer + 1) % 4, turned);
    };
    let honest = found(Byzantine::default(), |world| accuse(world, 2));
    assert_eq!(honest, ["conduct"; 3]);
    let of_liar = found(beside_a_liar(), |world| {
        let liar = liar_of(world);
        accuse(world, liar);
    });
    assert_eq!(of_liar, [""; 0]);
}

#[test]
fn a_life_that_ends_itself_is_found_unless_its_disk_was_made_to_fail_in_that_life() {
    let ends = |harm: fn(&mut World<Tape>)| {
        found(Byzantine::default(), |world| {
            for _ in 0..2 {
                world.start(0);
                world.end_life(0, crate::disk::Ending::Process);
            }
            world.start(0);
            harm(world);
            let refused = ReplicaError::Journal(JournalError::Full);
            world.end_by_error(0, &refused);
        })
    };
    assert_eq!(ends(|_| ()), ["replica"]);
    // It waits for room.
    assert_eq!(ends(|world| world.members[0].full_life = 3), ["replica"]);
    let is_full: fn(&mut World<Tape>) = |world| world.members[0].disk.set_full(true);
    assert_eq!(ends(is_full), ["replica"]);
    assert_eq!(
        ends(|world| world.members[0].is_sync_failing = true),
        [""; 0]
    );
    assert_eq!(
        ends(|world| world.members[0].may_be_damaged = true),
        [""; 0]
    );
}
