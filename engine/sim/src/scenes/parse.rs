//! The language of scripts: one command a line, `#` begins a comment.
//!
//! Owns the grammar. Never: whether what a command asks for is there; `director` finds out.

use quorate_consensus::types::{Index, ValidatorIndex};

use super::command::{Command, Expectation, Saying, ScriptLine, Setting, Spoken, Which};
use super::words::{Words, expected};

/// Kinds of messages that a script can pick.
pub(crate) const KINDS: &[&str] = &[
    "propose",
    "vote",
    "signed",
    "certificates",
    "get",
    "headers",
    "block",
    "history",
    "status",
    "signature",
    "evidence",
    "fence",
    "forward",
    "state",
];

/// Every line of a script. An error comes with the number of its line.
pub(crate) fn parse(text: &str) -> Result<Vec<ScriptLine>, (usize, String)> {
    let mut validators = 0;
    let mut lines = Vec::new();
    for (place, line) in text.lines().enumerate() {
        let number = place + 1;
        let (body, _) = line.split_once('#').unwrap_or((line, ""));
        let mut words = Words::new(body, validators);
        let command = match words.next() {
            None => None,
            Some(verb) => {
                let command = command(verb, &mut words).map_err(|what| (number, what))?;
                words.end().map_err(|what| (number, what))?;
                Some(command)
            }
        };
        if let Some(Command::Set(Setting::Weights(weights))) = &command {
            validators = u16::try_from(weights.len()).unwrap_or(u16::MAX);
        } else if validators == 0 && command.is_some() {
            let what = "expected \"validators\" or \"weights\" first".to_owned();
            return Err((number, what));
        }
        lines.push(ScriptLine {
            number,
            text: line.trim_end().to_owned(),
            command,
        });
    }
    Ok(lines)
}

fn command(verb: &str, words: &mut Words<'_>) -> Result<Command, String> {
    if let Some(setting) = setting(verb, words)? {
        return Ok(Command::Set(setting));
    }
    Ok(match verb {
        "propose" => {
            let by = words.validator()?;
            let names = words.names()?;
            if names.is_empty() {
                return expected("the name of a block", None);
            }
            Command::Propose(by, names)
        }
        "deliver" if words.takes("all") => Command::DeliverAll,
        "deliver" => Command::Deliver(which(words)?),
        "drop" => Command::Drop(which(words)?),
        "partition" => Command::Partition(sides(words)?),
        "heal" => Command::Heal,
        "lapse" => {
            let ns = words.time_ns()?;
            let who = match words.peek() {
                None => None,
                Some(_) => Some(words.validators()?),
            };
            Command::Lapse(who.unwrap_or_default(), ns)
        }
        "run" => Command::Run(words.time_ns()?),
        "crash" => Command::Crash {
            who: words.validator()?,
            power: words.takes("power"),
        },
        "restart" => Command::Restart(words.validator()?),
        "hold" => Command::Hold(words.validator()?),
        "sync" => Command::Sync(words.validators()?),
        "release" => Command::Release(words.validator()?),
        "copy" => Command::Copy(words.validator()?),
        "putback" => Command::PutBack(words.validator()?),
        "byzantine" => Command::Byzantine(words.validator()?),
        "say" => say(words)?,
        "expect" => Command::Expect(words.validators()?, expectation(words)?),
        _ => return expected("a command (see docs/verification.md)", Some(verb)),
    })
}

fn setting(verb: &str, words: &mut Words<'_>) -> Result<Option<Setting>, String> {
    Ok(Some(match verb {
        "validators" => {
            let count: u16 = words.number()?;
            Setting::Weights(vec![1; usize::from(count)])
        }
        "weights" => {
            let mut weights = vec![words.number()?];
            while words.peek().is_some() {
                weights.push(words.number()?);
            }
            Setting::Weights(weights)
        }
        "fault" => Setting::Fault(words.number()?),
        "slack" => Setting::Slack(words.number()?),
        "slots" => Setting::Slots(words.number()?),
        "turn" => Setting::Turn(words.number()?),
        "durability" => match words.next() {
            Some("sync") => Setting::IsAsync(false),
            Some("async") => Setting::IsAsync(true),
            found => return expected("sync or async", found),
        },
        _ => return Ok(None),
    }))
}

fn which(words: &mut Words<'_>) -> Result<Which, String> {
    let from = words.validators()?;
    words.must("->")?;
    let to = words.validators()?;
    let kind = words.next();
    if kind.is_some_and(|kind| !KINDS.contains(&kind)) {
        return expected(&format!("one of {}", KINDS.join(", ")), kind);
    }
    let blocks = if kind == Some("propose") {
        words.names()?
    } else {
        Vec::new()
    };
    Ok(Which {
        from,
        to,
        kind: kind.map(str::to_owned),
        blocks,
    })
}

fn sides(words: &mut Words<'_>) -> Result<Vec<Vec<ValidatorIndex>>, String> {
    let mut sides = vec![words.validators()?];
    words.must("|")?;
    sides.push(words.validators()?);
    while words.takes("|") {
        sides.push(words.validators()?);
    }
    Ok(sides)
}

fn say(words: &mut Words<'_>) -> Result<Command, String> {
    let from = words.validator()?;
    words.must("->")?;
    let to = words.validators()?;
    let what = match words.next() {
        Some("propose") => {
            let name = words.name()?;
            let window = words.window()?;
            words.must("on")?;
            let parent = words.name()?;
            Saying::Propose {
                name,
                window,
                parent,
            }
        }
        Some("vote") => {
            let window = words.window()?;
            let record = record(words)?;
            Saying::Vote { window, record }
        }
        Some("signature") => Saying::Signature {
            name: words.name()?,
        },
        found => return expected("propose, vote or signature", found),
    };
    Ok(Command::Say { from, to, what })
}

/// A record in the words of a trace: `tip=a stop fin=0 skipfb=1 also=b,c`, or `nothing`.
fn record(words: &mut Words<'_>) -> Result<Spoken, String> {
    let mut spoken = Spoken::default();
    if words.takes("nothing") {
        return Ok(spoken);
    }
    if words.peek().is_none() {
        return expected("a record such as tip=a stop, or nothing", None);
    }
    while let Some(word) = words.next() {
        let index = |text: &str| match text.parse() {
            Ok(number) => Ok(Some(Index::new(number))),
            Err(_) => expected("an index such as fin=0", Some(word)),
        };
        match word.split_once('=') {
            None if word == "stop" => spoken.rest.stop = true,
            Some(("tip", name)) => spoken.tip = Some(name.to_owned()),
            Some(("fin", at)) => spoken.rest.fin = index(at)?,
            Some(("skipfb", at)) => spoken.rest.skip_fallback = index(at)?,
            Some(("also", names)) => {
                spoken.also = names.split(',').map(str::to_owned).collect();
            }
            _ => return expected("tip=, stop, fin=, skipfb= or also=", Some(word)),
        }
    }
    Ok(spoken)
}

fn expectation(words: &mut Words<'_>) -> Result<Expectation, String> {
    Ok(match words.next() {
        Some("finalized") => {
            let name = words.name()?;
            let path = words.next();
            if path.is_some_and(|path| !["fast", "slow", "proof"].contains(&path)) {
                return expected("fast, slow or proof", path);
            }
            let name = (name != "none").then_some(name);
            Expectation::Finalized(name, path.map(str::to_owned))
        }
        Some("proven") => Expectation::Proven(words.name()?),
        Some("window") => {
            Expectation::Window(words.number().map(quorate_consensus::types::Window::new)?)
        }
        Some("record") => {
            let window = words.window()?;
            Expectation::Record(window, record(words)?)
        }
        Some("votes") => Expectation::Votes(true),
        Some("silent") => Expectation::Votes(false),
        found => {
            return expected("finalized, proven, window, record, votes or silent", found);
        }
    })
}
