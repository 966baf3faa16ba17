//! Tests of the recorded order flow: what each message becomes, wrapping, and bad files.

use super::*;
use crate::orders::venue_check::Checked;
use quorate_venue::{ClientOrderId, OrderKind, Side};
use std::sync::atomic::{AtomicU32, Ordering};

/// A file that is gone with the test.
struct Scratch(PathBuf);

impl Scratch {
    fn new(text: &str) -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("quorate-orders-{}-{count}.csv", std::process::id());
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_file(&self.0) {
            eprintln!("{} stays behind: {error}", self.0.display());
        }
    }
}

pub(super) fn open(
    messages: &str,
    book: Option<&str>,
    clients: u32,
) -> Result<Lobster, LobsterError> {
    let messages = Scratch::new(messages);
    let book = book.map(Scratch::new);
    Lobster::open(&LobsterConfig {
        messages: messages.0.clone(),
        book: book.as_ref().map(|book| book.0.clone()),
        rate_per_s: NonZeroU64::new(1).unwrap(),
        clients,
        instrument: InstrumentId(0),
    })
}

/// The next command of a flow with when and by whom.
fn next(flow: &mut Lobster) -> (Command, Planned) {
    let mut bytes = Vec::new();
    let planned = flow.plan_next(&mut bytes).unwrap();
    assert_eq!(planned.lane, lane(&bytes));
    (Command::decode(&bytes).unwrap(), planned)
}

fn order(kind: OrderKind, side: Side, name: u64, price_ticks: i64, size_lots: u64) -> Command {
    Command::New {
        kind,
        side,
        self_trade: quorate_venue::SelfTrade::Permit,
        instrument: InstrumentId(0),
        client_order: ClientOrderId(name),
        price_ticks,
        size_lots,
    }
}

const SAMPLE: &str = "\
10.0,1,5,30,1000,1
10.5,1,9,20,1010,-1
11.0,2,5,10,1000,1
11.5,5,0,7,1005,-1
12.0,4,9,15,1010,-1
12.5,3,77,10,990,1
13.0,3,9,5,1010,-1
13.5,7,0,0,-1,-1
14.0,7,0,0,1,-1
14.0,3,5,20,1000,1
";

#[test]
fn each_message_becomes_what_is_documented() {
    let mut flow = open(SAMPLE, None, 1).unwrap();
    let instrument = InstrumentId(0);
    let client_order = ClientOrderId(5);
    let expected = [
        order(OrderKind::Limit, Side::Buy, 5, 1000, 30),
        order(OrderKind::Limit, Side::Sell, 9, 1010, 20),
        Command::Reduce {
            client_order,
            by_lots: 10,
        },
        order(OrderKind::ImmediateOrCancel, Side::Buy, 78, 1010, 15),
        Command::Cancel {
            client_order: ClientOrderId(9),
        },
        Command::Halt { instrument },
        Command::Resume { instrument },
        Command::Cancel { client_order },
    ];
    for (at, expected) in expected.into_iter().enumerate() {
        let (command, planned) = next(&mut flow);
        assert_eq!(command, expected);
        let admin = matches!(command, Command::Halt { .. } | Command::Resume { .. });
        let sender = if admin {
            Sender::Admin
        } else {
            Sender::Client(0)
        };
        assert_eq!(planned.sender, sender, "command {at}");
    }
    let expected = Counters {
        limits: 2,
        reduces: 1,
        cancels: 2,
        iocs: 1,
        halts: 2,
        skipped: 1,
        unknown: 1,
        ..Counters::default()
    };
    assert_eq!(*flow.counters(), expected);
}

#[test]
fn arrivals_are_stretched_to_the_target_rate() {
    // 8 commands, at 1 a second: the 4 s between the first and the last become 7.
    let mut flow = open(SAMPLE, None, 1).unwrap();
    let offsets: Vec<u64> = (0..8).map(|_| next(&mut flow).1.offset_ns).collect();
    let recorded = [0, 500, 1000, 2000, 3000, 3500, 4000, 4000_u64];
    assert_eq!(offsets, recorded.map(|ms| ms * 1_000_000 * 7 / 4));
    assert_eq!(
        next(&mut flow).1.offset_ns,
        8_000_000_000,
        "the next pass is one gap later"
    );
}

#[test]
fn a_wrap_clears_the_book_and_gives_fresh_names() {
    let mut flow = open(SAMPLE, None, 3).unwrap();
    let first: Vec<Command> = (0..8).map(|_| next(&mut flow).0).collect();
    for client in 0..3 {
        let (command, planned) = next(&mut flow);
        assert_eq!(
            command,
            Command::MassCancel {
                instrument: Some(InstrumentId(0))
            }
        );
        assert_eq!(planned.sender, Sender::Client(client));
        assert_eq!(planned.offset_ns, 8_000_000_000);
    }
    // Ids up to 77 and one immediate order make 79 names with 0.
    for before in first {
        let (command, _) = next(&mut flow);
        assert_eq!(command.kind(), before.kind());
        if before.client_order().0 != 0 {
            assert_eq!(command.client_order().0, before.client_order().0 + 79);
        }
    }
    assert_eq!(
        (flow.counters().wraps, flow.counters().mass_cancels),
        (1, 3)
    );
}

#[test]
fn a_recording_that_ends_halted_is_resumed_before_it_is_repeated() {
    let mut flow = open("1.0,1,5,30,1000,1\n2.0,7,0,0,-1,-1\n", None, 1).unwrap();
    let mut checked = Checked::new(1);
    let mut command = Vec::new();
    for _ in 0..2 + 4 + 4 {
        let planned = flow.plan_next(&mut command).unwrap();
        checked.apply(&planned, &command);
    }
    assert_eq!(checked.refusals, []);
    assert_eq!((flow.counters().wraps, flow.counters().halts), (2, 5));
}

#[test]
fn the_venue_refuses_nothing_of_a_sound_recording_over_several_passes() {
    for clients in [1, 2, 5] {
        let mut flow = open(SAMPLE, None, clients).unwrap();
        let mut checked = Checked::new(1);
        let mut command = Vec::new();
        for _ in 0..4 * (8 + clients) {
            let planned = flow.plan_next(&mut command).unwrap();
            checked.apply(&planned, &command);
        }
        assert_eq!(checked.refusals, []);
        assert!(checked.traded_lots >= 4 * 2 * 15);
    }
}

#[test]
fn all_commands_about_an_order_come_from_the_client_that_entered_it() {
    let mut text = String::new();
    for id in 1..=50 {
        text.push_str(&format!("1.0,1,{id},10,1000,1\n"));
    }
    for id in 1..=50 {
        text.push_str(&format!(
            "2.0,2,{id},1,1000,1\n2.0,4,{id},1,1000,1\n2.0,3,{id},8,1000,1\n"
        ));
    }
    let mut flow = open(&text, None, 4).unwrap();
    let mut owners = std::collections::HashMap::new();
    let mut seen = [0; 4];
    for _ in 0..200 {
        let (command, planned) = next(&mut flow);
        let Sender::Client(client) = planned.sender else {
            panic!("no admin here")
        };
        seen[client as usize] += 1;
        let owner = *owners.entry(command.client_order()).or_insert(client);
        assert_eq!(owner, client);
    }
    assert!(seen.iter().all(|&count| count > 20), "{seen:?}");
}

const BOOK: &str = "\
1010,50,1000,40,1020,60,-9999999999,0,9999999999,0,-9999999999,0
1010,1,1000,1,1020,1,-9999999999,0,9999999999,0,-9999999999,0
";

#[test]
fn a_book_is_set_up_first_and_answers_for_orders_before_the_recording() {
    // The first message is in the book already: its 15 lots are taken off the level of 40.
    let messages = "\
1.0,1,5,15,1000,1
2.0,3,2,20,1010,-1
3.0,4,3,10,1010,-1
4.0,2,3,21,1010,-1
5.0,3,2,20,1010,-1
";
    let mut flow = open(messages, Some(BOOK), 1).unwrap();
    let commands: Vec<Command> = (0..7).map(|_| next(&mut flow).0).collect();
    assert_eq!(
        commands,
        [
            order(OrderKind::Limit, Side::Sell, 6, 1010, 50),
            order(OrderKind::Limit, Side::Buy, 7, 1000, 25),
            order(OrderKind::Limit, Side::Sell, 8, 1020, 60),
            order(OrderKind::Limit, Side::Buy, 5, 1000, 15),
            Command::Reduce {
                client_order: ClientOrderId(6),
                by_lots: 20
            },
            order(OrderKind::ImmediateOrCancel, Side::Buy, 9, 1010, 10),
            Command::Reduce {
                client_order: ClientOrderId(6),
                by_lots: 20
            },
        ]
    );
    let counters = flow.counters();
    assert_eq!(
        (counters.seeds, counters.limits, counters.unknown),
        (3, 1, 1)
    );
}

#[test]
fn a_first_message_that_took_from_the_book_is_not_repeated() {
    let messages = "1.0,4,2,20,1010,-1\n2.0,1,5,15,1000,1\n";
    let mut flow = open(messages, Some(BOOK), 1).unwrap();
    let commands: Vec<Command> = (0..4).map(|_| next(&mut flow).0).collect();
    assert_eq!(commands[3], order(OrderKind::Limit, Side::Buy, 5, 1000, 15));
    assert_eq!(commands[1], order(OrderKind::Limit, Side::Buy, 7, 1000, 40));
    assert_eq!(flow.counters().skipped, 1);
}

#[test]
fn bad_files_are_told_apart() {
    let text = |result: Result<Lobster, LobsterError>| result.unwrap_err().to_string();
    let error = text(open("1.0,1,5,15,1000,1\n2.0,1,6,x,1000,1\n", None, 1));
    assert!(
        error.contains("line 2, column 4: expected a size"),
        "{error}"
    );
    assert!(error.contains("found \"x\""), "{error}");
    let error = text(open("1.0,5,0,15,1000,1\n2.0,6,-1,700,1000,1\n", None, 1));
    assert!(error.contains("no message"), "{error}");
    let error = text(open("", None, 1));
    assert!(error.contains("no message"), "{error}");
    let error = text(open(&format!("1.0,1,{},15,1000,1\n", u64::MAX), None, 1));
    assert!(error.contains("no room"), "{error}");
    let good = "1.0,1,5,15,1000,1\n";
    for (book, expected) in [
        ("", "line 1, column 0: expected the levels"),
        ("1010,50,1000\n", "line 1, column 4: expected a size"),
        ("1010,50\n", "line 1, column 3: expected a bid price"),
        ("1010,0,1000,40\n", "line 1, column 2: expected a size"),
        (
            "1010,50,-9999999999,1\n",
            "line 1, column 4: expected size 0",
        ),
        (
            "9999999999,50,1000,40\n",
            "line 1, column 2: expected size 0",
        ),
    ] {
        let error = text(open(good, Some(book), 1));
        assert!(error.contains(expected), "{book:?}: {error}");
    }
    let missing = Lobster::open(&LobsterConfig {
        messages: std::env::temp_dir().join("quorate-orders-that-never-was.csv"),
        book: None,
        rate_per_s: NonZeroU64::MIN,
        clients: 1,
        instrument: InstrumentId(0),
    });
    assert!(matches!(missing, Err(LobsterError::Read { .. })));
}

#[test]
fn bytes_that_are_no_text_and_endless_lines_are_refused() {
    let scratch = Scratch::new("");
    std::fs::write(&scratch.0, [b'1', 0xff, b'\n']).unwrap();
    let error = file::read_messages(file::opened(&scratch.0).unwrap(), &scratch.0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("line 1, column 0: expected text"), "{error}");
    std::fs::write(&scratch.0, vec![b'1'; 100_000]).unwrap();
    let error = file::read_messages(file::opened(&scratch.0).unwrap(), &scratch.0)
        .unwrap_err()
        .to_string();
    assert!(error.contains("expected a line of less"), "{error}");
}

#[test]
fn windows_line_ends_and_a_missing_last_one_are_read() {
    let scratch = Scratch::new("1.0,1,5,15,1000,1\r\n2.0,3,5,15,1000,1");
    assert_eq!(
        file::read_messages(file::opened(&scratch.0).unwrap(), &scratch.0)
            .unwrap()
            .len(),
        2
    );
}

/// Replays a real recording named by the environment, as `AAPL_..._message_50.csv` of the public
/// LOBSTER samples; without one there is nothing to do.
#[test]
fn a_real_recording_replays_with_few_refusals() {
    let Some(messages) = std::env::var_os("QUORATE_LOBSTER_MESSAGES") else {
        eprintln!("QUORATE_LOBSTER_MESSAGES is not set: nothing replayed");
        return;
    };
    let mut flow = Lobster::open(&LobsterConfig {
        messages: messages.into(),
        book: None,
        rate_per_s: NonZeroU64::new(100_000).unwrap(),
        clients: 8,
        instrument: InstrumentId(0),
    })
    .unwrap();
    let mut checked = Checked::new(1);
    let mut command = Vec::new();
    while flow.counters().wraps == 0 {
        let planned = flow.plan_next(&mut command).unwrap();
        checked.apply(&planned, &command);
    }
    let counters = *flow.counters();
    let count = checked.refusals.len() as u64;
    eprintln!(
        "{counters:?}, {count} refused, {} lots traded",
        checked.traded_lots
    );
    assert!(checked.traded_lots > 0);
    assert!(
        count * 50 < counters.commands(),
        "more than 2 % were refused"
    );
}
