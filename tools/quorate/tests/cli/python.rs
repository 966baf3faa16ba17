//! The client in Python against real validators. Where there is no Python 3 with the packages
//! `cryptography` and `blake3` the test says that it was skipped; `QUORATE_PYTHON` names another
//! interpreter than `python3`, which has to have them.

use crate::common::{Folder, all_say, init, run, start_four, status, stop_four, text, wait_until};
use serde_json::Value;
use std::path::Path;
use std::process::Command;

const CLIENT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../python/quorate.py");

fn python() -> Command {
    Command::new(std::env::var_os("QUORATE_PYTHON").unwrap_or_else(|| "python3".into()))
}

fn has_python() -> bool {
    let probe = python()
        .args(["-c", "import blake3, cryptography"])
        .output();
    let has = probe.is_ok_and(|output| output.status.success());
    let is_named = std::env::var_os("QUORATE_PYTHON").is_some();
    assert!(
        has || !is_named,
        "the Python of QUORATE_PYTHON has to have both packages"
    );
    has
}

/// Submits through a validator; one JSON object a line.
fn submit(dir: &Path, key: &Path, validator: &str, texts: &[&str]) -> Vec<Value> {
    let genesis = dir.join("genesis.json");
    let output = python()
        .args([CLIENT, text(&genesis), text(key), validator])
        .args(texts)
        .output()
        .unwrap();
    let (out, err) = (
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr),
    );
    assert!(output.status.success(), "stdout: {out}\nstderr: {err}");
    let lines = out.lines().map(|line| serde_json::from_str(line).unwrap());
    lines.collect()
}

/// Runs a few lines with the client as the module `quorate`, and what they need as `argv[1:]`.
fn script(lines: &str, arguments: &[&str]) {
    let folder = Path::new(CLIENT).parent().unwrap();
    let output = python()
        .env("PYTHONPATH", folder)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .args(["-c", lines])
        .args(arguments)
        .output()
        .unwrap();
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{lines}\nstderr: {err}");
}

/// What the next command is numbered after one that is refused at the door.
const AFTER_A_REFUSAL: &str = r#"
import quorate, sys
genesis, key = sys.argv[1:]
client = quorate.Client(quorate.Chain(genesis), bytes.fromhex(open(key).read().split()[-1]), 3)
before = client.seq
try: client.command(before + 10_000, b"order", 1, 0)
except quorate.Rejected as refused: assert refused.args[1] == 4, refused
else: raise AssertionError("it is too far ahead")
client.channel.socket.settimeout(20)
told = client.submit(b"behind it")
assert (told["seq"], told["outcome"]) == (before + 1, "applied"), told
"#;

const NO_ROOM_AT_THE_DOOR: &str = r#"
import quorate
client, offered, slept = quorate.Client.__new__(quorate.Client), [], []
client.seq, client.opens, client.public = 0, True, bytes(32)
quorate.time.sleep = slept.append
def result(body, lane, flags):
    offered.append(client.seq)
    if len(offered) == 1: raise quorate.Rejected("no room", 5)
    if len(offered) == 2: return {"outcome": "table full"}
    if len(offered) == 3: return {"outcome": "applied"}
    raise quorate.Rejected("something else", 7)
client.result = result
client.open()
assert len(set(offered)) == 1 and len(offered) == 3, "the same number, until there is room"
assert slept == [1, 1] and client.seq == offered[0] and not client.opens
client.seq, client.opens = 7, True
try: client.open()
except quorate.Rejected as refused: assert refused.args[1] == 7
else: raise AssertionError("any other reason is told")
assert client.seq == 7
"#;

/// As docs/wire.md says, by what comes before and behind: REKEY of Noise after 2^20 messages.
const NEXT_KEY: &str = r#"
import functools, itertools, quorate
key = bytes(range(32))
sealed = lambda pair: pair[0].encrypt(pair[1], b"text", b"")
quorate.ChaCha20Poly1305 = functools.cache(quorate.ChaCha20Poly1305)
ciphers = quorate.ciphers(key)
last, first = itertools.islice(ciphers, (1 << 20) - 1, (1 << 20) + 1)
old = quorate.ChaCha20Poly1305(key)
new = quorate.ChaCha20Poly1305(old.encrypt(bytes(4) + b"\xff" * 8, bytes(32), b"")[:32])
assert sealed(last) == old.encrypt(last[1], b"text", b"")
assert sealed(first) == new.encrypt(first[1], b"text", b"")
assert first[1] == bytes(4) + (1 << 20).to_bytes(8, "little")
"#;

/// A validator may say that more follows than it may send: nobody waits for that, or keeps it.
const TOO_LONG: &str = r#"
import quorate
channel, client = quorate.Channel.__new__(quorate.Channel), quorate.Client.__new__(quorate.Client)
client.channel, client.chain = channel, None
longest = bytes((4, 0, 133, 0, 255, 255)) + bytes(2_097_152 - 6)
channel.plain = len(longest).to_bytes(4, "little") + longest
assert client.next(133) == longest[6:], "the longest one"
channel.plain = (2_097_153).to_bytes(4, "little")
channel.read = lambda: (_ for _ in ()).throw(AssertionError("it waits for more"))
channel.inn = iter([(None, None)] * 9)
try: client.next(133)
except ConnectionError: pass
else: raise AssertionError("no validator may send so much")
"#;

/// What came of an entry with this number that the session never signed, and of its own.
const OF_ANOTHER: &str = r#"
import quorate, struct, zlib
client, sent = quorate.Client.__new__(quorate.Client), []
client.chain = quorate.Chain.__new__(quorate.Chain)
client.chain.file, client.public, client.seq, client.ours = {"auth": "session"}, bytes(32), 7, False
client.channel = quorate.Channel.__new__(quorate.Channel)
client.channel.send = sent.append
def tell(*results):
    "What validators tell of number 7, each (outcome, mark)."
    body = b"".join(struct.pack("<QBQIIQH", 7, outcome, 0, 0, mark, 0, 0) for outcome, mark in results)
    told = [struct.pack("<QQI", 5, 6, len(results)) + body]
    client.next = lambda kind: told.pop()
    return client.result(b"order", 1, 0)
entry = struct.pack("<BBHI16sQ", 1, 0, 0, 5, quorate.hash_of(bytes(32))[:16], 7) + b"order"
own = zlib.crc32(entry)
for outcome in range(2, 8):
    told = tell((outcome, own ^ 1), (0, own))
    assert told["outcome"] == "applied", told
assert tell((5, own))["outcome"] == "session ended" and tell((5, 0))["outcome"] == "session ended"
for outcome in (0, 1):
    try: tell((outcome, own ^ 1))
    except RuntimeError: pass
    else: raise AssertionError("another command was applied")
"#;

/// A duplicate of which the validator does not know any more what was applied.
const UNMARKED: &str = r#"
import quorate, struct, zlib
client = quorate.Client.__new__(quorate.Client)
client.chain = quorate.Chain.__new__(quorate.Chain)
client.chain.file, client.public, client.ours = {"auth": "session"}, bytes(32), False
client.send = lambda kind, content: None
def tell(outcome, mark, flags=0):
    "What comes of number 7 when a validator tells this of it."
    client.seq = 7
    told = [struct.pack("<QQIQBQIIQH", 5, 6, 1, 7, outcome, 0, 0, mark, 0, 0)]
    client.next = lambda kind: told.pop()
    try: return client.result(b"order", 1, flags)
    except RuntimeError as error: return str(error)
own = zlib.crc32(struct.pack("<BBHI16sQ", 1, 0, 0, 5, quorate.hash_of(bytes(32))[:16], 7) + b"order")
assert "nobody knows" in tell(1, 0), "it may be that of an earlier run"
assert tell(1, own)["mark"] == own and tell(0, own)["mark"] == own
assert tell(1, 0, flags=1)["outcome"] == "duplicate", "an opening does nothing twice"
client.command = lambda *told: {"outcome": "applied"}
client.open()
del client.command
assert tell(1, 0)["outcome"] == "duplicate", "of the session that was opened here"
assert "another" in tell(1, own ^ 1)
assert "nobody knows" in tell(1, 0), "since another process was met"
def conflict(kind): raise quorate.Rejected("it has this number", 3)
client.ours, client.next = True, conflict
try: client.command(7, b"order", 1, 0)
except quorate.Rejected: pass
assert "nobody knows" in tell(1, 0), "since it was told of"
"#;

/// A session that another process opened, or closed.
const ASTRAY: &str = r#"
import quorate, struct
client, stands = quorate.Client.__new__(quorate.Client), []
client.seq, client.opens, client.ours, client.public, results = 7, True, True, bytes(32), []
client.ask = lambda kind: struct.pack("<QB", *stands.pop())
def result(body, lane, flags):
    told = results.pop(0)
    if isinstance(told, int): raise quorate.Rejected("refused", told)
    return {"outcome": told, "seq": client.seq}
client.result = result
def ends():
    try: return client.submit(b"order")
    except quorate.Rejected as refused: return refused.args[1]
results, stands = [12], []
assert ends() == 12 and client.seq == 7
results, stands = ["applied"], [(40, 0)]
assert ends()["seq"] == 41, "it goes on in the one that is open"
assert not client.ours and not client.lost
for told in (8, "session ended"):
    before, results, stands = client.seq, [told], []
    ends()
    assert client.seq == before, "nothing was applied"
    results, stands = ["applied", "applied"], [(before, 1)]
    assert ends()["seq"] > 2**60 and client.ours, "it is opened anew"
before, results, stands = client.seq, [8], []
ends()
results, stands = ["applied"], [(before - 1, 0)]
assert ends()["seq"] == before + 1, "that validator has not come so far"
results = [4]
ends()
assert not client.lost
"#;

/// Who is busy for more than an hour, which refusals are the last word, and where it dials.
const IN_DETAIL: &str = r#"
import quorate, struct
slept, dialed = [], []
quorate.time.sleep = slept.append
client = quorate.Client.__new__(quorate.Client)
client.channel, client.seq, client.sent = quorate.Channel.__new__(quorate.Channel), 7, b"sent"
client.channel.send = lambda sent: None
def frames(*all):
    plain = [struct.pack("<HBBH", 4, kind, 0, 65535) + content for kind, content in all]
    client.channel.plain = b"".join(len(one).to_bytes(4, "little") + one for one in plain)
busy = struct.pack("<IQIBI", 1, 7, 1, 1, 2**32 - 1)
frames((129, busy), (135, struct.pack("<QI", 5, 2**32 - 1)), (134, b"answer"))
assert client.next(134) == b"answer" and slept == [1, 1], f"no more than a second: {slept}"
for reason in range(1, 13):
    frames((129, struct.pack("<IQIBI", 1, 7, 1, 2, reason)))
    try: client.next(130)
    except quorate.Rejected as refused: told = (refused.args[1], refused.is_final)
    else: raise AssertionError("it is refused")
    assert told == (reason, reason not in (3, 4, 5, 6, 9)), told
def dial(address, timeout):
    dialed.append(address)
    raise OSError("nobody is there")
quorate.socket.create_connection = dial
for address in ("[::1]:7010", "127.0.0.1:7010"):
    try: quorate.Channel(None, address)
    except OSError: pass
assert dialed == [("::1", "7010"), ("127.0.0.1", "7010")], dialed
"#;

#[test]
fn the_python_client_waits_for_room_and_changes_its_key_in_time() {
    if !has_python() {
        eprintln!("skipped: no python3 with the packages cryptography and blake3");
        return;
    }
    script(NO_ROOM_AT_THE_DOOR, &[]);
    script(IN_DETAIL, &[]);
    script(NEXT_KEY, &[]);
}

#[test]
fn the_python_client_asks_for_a_session_that_is_not_as_it_was_thought_to_be() {
    if !has_python() {
        eprintln!("skipped: no python3 with the packages cryptography and blake3");
        return;
    }
    script(ASTRAY, &[]);
}

#[test]
fn the_python_client_takes_no_frame_longer_than_a_validator_may_send() {
    if !has_python() {
        eprintln!("skipped: no python3 with the packages cryptography and blake3");
        return;
    }
    script(TOO_LONG, &[]);
}

#[test]
fn the_python_client_goes_by_the_mark_of_what_it_is_told() {
    if !has_python() {
        eprintln!("skipped: no python3 with the packages cryptography and blake3");
        return;
    }
    script(OF_ANOTHER, &[]);
    script(UNMARKED, &[]);
}

fn serve(auth: &str, weights: &str) {
    let folder = Folder::new("python");
    let dir = folder.join("net");
    init(&dir, 4, &["--auth", auth, "--weights", weights]);
    let cluster = start_four(&dir);
    wait_until("all validators answer", || {
        let status = run(&["status", "--dir", text(&dir)]);
        status.status.success()
    });
    let key = folder.join("client.key");
    std::fs::write(&key, format!("quorate-key-v1 {}\n", "5a".repeat(32))).unwrap();
    let lines = submit(&dir, &key, "1", &["no order", "none either"]);
    assert_eq!(lines.len(), 3);
    // Behind the one that opens the session, with the time as its number.
    let base = lines[0]["seq"].as_u64().unwrap();
    for (line, seq) in lines.iter().zip(base..) {
        if line["outcome"].is_null() {
            break;
        }
        assert_eq!(line["seq"], seq, "{line}");
        assert_eq!(line["outcome"], "applied", "{line}");
        // The venue refuses it, which is an output.
        assert_eq!(line["outputs"].as_array().unwrap().len(), 1, "{line}");
    }
    // A heartbeat was the third; another validator knows where the session stands.
    assert_eq!(
        (&lines[2]["index"], &lines[2]["seq"]),
        (&1.into(), &(base + 2).into())
    );
    wait_until("all stand at one height", || {
        let height = status(&dir, 1)["state_height"].as_u64();
        height.is_some() && all_say(&dir, |one| one["state_height"].as_u64() == height)
    });
    let lines = submit(&dir, &key, "2", &["again"]);
    assert_eq!(
        (&lines[0]["seq"], &lines[0]["outcome"]),
        (&(base + 3).into(), &"applied".into())
    );
    let genesis = dir.join("genesis.json");
    script(AFTER_A_REFUSAL, &[text(&genesis), text(&key)]);
    stop_four(cluster);
}

#[test]
fn the_python_client_is_served_with_signed_commands_and_without() {
    if !has_python() {
        eprintln!("skipped: no python3 with the packages cryptography and blake3");
        return;
    }
    serve("signed", "1,1,1,1");
    // More than the 1,024 seats there are, of which two come by the largest remainders.
    serve("session", "4001,2503,2001,1498");
}
