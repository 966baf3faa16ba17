//! `quorate prices`: a validator's observations for the venue, from a file or a program on this
//! machine.
//!
//! Never: judges a price; the venue refuses what it does not take, and the report counts that.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use clap::Args;
use quorate::client::{Client, ClientError, ClientOptions, Finalized};
use quorate::keys::KeyPair;
use quorate::lanes::Rejection;
use quorate::state_machine::Lane;
use quorate_bench::applications;
use quorate_bench::prices::{Feeder, FeederError, Next, PriceLine, PriceSource, SourceError};
use quorate_bench::testnet::Testnet;
use quorate_venue::{Command, SessionReport};
use serde::Serialize;

use crate::failure::{Code, Failure};
use crate::interrupt::Interrupt;
use crate::output::Report;
use crate::verdict;

/// How long a validator may take to answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// Observations that may wait for finality: what is older than that is stale anyway.
const PENDING_MAX: usize = 64;
/// How long at most a wait lasts before the interrupt is looked at.
const WAIT_MAX: Duration = Duration::from_millis(100);

/// Options of the command.
#[derive(Debug, Args)]
#[command(group = clap::ArgGroup::new("source").required(true))]
pub(crate) struct Options {
    /// Folder that `testnet init` wrote
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    /// Private key of the feed session; the genesis names its session
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Replay the lines of a file at the pace of their times
    #[arg(long, value_name = "FILE", group = "source")]
    file: Option<PathBuf>,
    /// Take lines from a program on this machine until it closes
    #[arg(long, value_name = "ADDR", group = "source")]
    connect: Option<SocketAddr>,
}

/// What was done.
#[derive(Debug, Default, Serialize)]
struct Fields {
    /// Prices read.
    prices: u64,
    /// Observations that the venue took.
    observed: u64,
    /// Prices of a feed and round that had one already.
    skipped: u64,
    /// Observations without an answer in time, or for which there was no room, or of which the
    /// validator that is asked after a loss of another one cannot say what became.
    unanswered: u64,
    /// Observations that the venue refused, by reason.
    refused: BTreeMap<String, u64>,
}

/// Reads prices and submits observations until the source ends or a signal comes.
///
/// # Errors
/// The chain takes no prices, the source fails or holds what is no price, or no validator answers.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let testnet = Testnet::open(&options.dir)?;
    let feeds = applications::feeds(&testnet.genesis().file().application).map_err(|error| {
        let path = testnet.dir().join("genesis.json");
        let what = format!("{}: field application: {error}", path.display());
        Failure::new(Code::Configuration, what)
            .remedy("name a testnet that takes prices (testnet init --workload exchange)")
    })?;
    let key = Arc::new(KeyPair::load(&options.key)?);
    let (mut source, replay) = match (&options.file, options.connect) {
        (Some(path), _) => (PriceSource::file(path)?, true),
        (None, Some(address)) => (PriceSource::connect(address)?, false),
        (None, None) => return Err(Failure::usage("neither --file nor --connect")),
    };
    let interrupt = Interrupt::install()?;
    let client_options = ClientOptions {
        pending_max: PENDING_MAX,
        ..ClientOptions::default()
    };
    let client = Client::connect(testnet.genesis(), key, client_options, PATIENCE)?;
    let mut observer = Observer {
        client,
        feeder: Feeder::new(&feeds),
        fields: Fields::default(),
    };
    while !interrupt.is_set() {
        observer.take(Duration::ZERO)?;
        let line = match source.next_price()? {
            Next::Price(line) => line,
            Next::Idle => continue,
            Next::End => break,
        };
        observer.fields.prices += 1;
        let line = if replay {
            let line = observer.feeder.replayed(line, now_ns());
            observer.wait_until(line.source_time_ns, &interrupt)?;
            line
        } else {
            line
        };
        observer.submit(&line)?;
    }
    observer.take_all_but(0)?;
    let Observer { client, fields, .. } = observer;
    let unanswered = client.pending() as u64;
    let fields = Fields {
        unanswered: fields.unanswered + unanswered,
        ..fields
    };
    let text = format!(
        "{} prices: {} observed, {} skipped, {} unanswered, refused {:?}",
        fields.prices, fields.observed, fields.skipped, fields.unanswered, fields.refused
    );
    let code = fields.code(interrupt.is_set());
    Ok(Report::new(&fields, text)?.with_code(code))
}

/// Submits observations, and counts what comes of them meanwhile: those of several feeds are of one
/// round, and none of them waits for the finality of another.
struct Observer {
    client: Client,
    feeder: Feeder,
    fields: Fields,
}

impl Observer {
    fn submit(&mut self, line: &PriceLine) -> Result<(), Failure> {
        self.take_all_but(PENDING_MAX - 1)?;
        let Some(command) = self.feeder.observe(line, now_ns())? else {
            self.fields.skipped += 1;
            return Ok(());
        };
        let mut bytes = Vec::new();
        Command::encode(&command, &mut bytes);
        match self.client.submit(Lane::Price, &bytes) {
            Ok(_) => {}
            // The latter where its session is asked for and nobody says where it stands.
            Err(ClientError::Full { .. } | ClientError::Timeout) => self.fields.unanswered += 1,
            Err(error) => return Err(error.into()),
        }
        Ok(())
    }

    /// Waits until so few are on their way, for as long as a validator may take to answer.
    fn take_all_but(&mut self, pending: usize) -> Result<(), Failure> {
        let end = Instant::now() + PATIENCE;
        while self.client.pending() > pending {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.take(left)?;
        }
        Ok(())
    }

    /// Takes what comes within this time, if anything does.
    fn take(&mut self, timeout: Duration) -> Result<(), Failure> {
        let (fields, mut failure) = (&mut self.fields, None);
        self.client.turn(timeout, |_, end| {
            let ended = fields.note(end);
            failure = failure.take().or_else(|| ended.err());
        })?;
        failure.map_or(Ok(()), |error| Err(error.into()))
    }

    /// Takes what comes until this time of the clock, or until a signal.
    fn wait_until(&mut self, time_ns: u64, interrupt: &Interrupt) -> Result<(), Failure> {
        let wait = Duration::from_nanos(time_ns.saturating_sub(now_ns()));
        let Some(end) = Instant::now().checked_add(wait) else {
            return Ok(());
        };
        while !interrupt.is_set() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                break;
            }
            self.take(left.min(WAIT_MAX))?;
        }
        Ok(())
    }
}

impl Fields {
    /// A source without a price is as good as none: only who has stopped it did not want one.
    const fn code(&self, is_stopped: bool) -> Code {
        let is_idle = self.prices == 0 && is_stopped;
        verdict::code(self.observed > 0 || is_idle)
    }

    /// Notes how an observation ended. What became of one is not always told: after a loss of its
    /// validator, or where another one has its number, or the session is another one. The next one
    /// is worth more than that.
    ///
    /// # Errors
    /// It was refused for good, and the next ones would be.
    fn note(&mut self, end: Result<Finalized, ClientError>) -> Result<(), ClientError> {
        match end {
            Ok(finalized) => self.count(&finalized.outputs),
            // The client finds its session again by itself.
            Err(
                ClientError::Unsure { .. }
                | ClientError::Rejected(
                    Rejection::Conflict | Rejection::SessionOpen | Rejection::SessionEnded,
                ),
            ) => self.unanswered += 1,
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// What the venue said of an observation.
    fn count(&mut self, outputs: &[Vec<u8>]) {
        for output in outputs {
            match SessionReport::decode(output) {
                Ok(SessionReport::Applied { .. }) => self.observed += 1,
                Ok(SessionReport::Refused { refusal, .. }) => {
                    *self.refused.entry(format!("{refusal:?}")).or_default() += 1;
                }
                _ => {}
            }
        }
    }
}

fn now_ns() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| {
        u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
    })
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        match error {
            SourceError::NotLocal(_) | SourceError::Line { .. } => Self::usage(error),
            SourceError::Io {
                is_file: true,
                ref source,
                ..
            } => Self::of_refusal(&error, source, Code::Usage),
            SourceError::Io { .. } => {
                Self::new(Code::TryAgain, error).remedy("start the program that serves the prices")
            }
        }
    }
}

impl From<FeederError> for Failure {
    fn from(error: FeederError) -> Self {
        Self::usage(error)
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Self {
        Self::new(Code::TryAgain, error)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_observation_of_which_nobody_knows_what_became_ends_nothing() {
        let mut fields = Fields::default();
        for end in [
            ClientError::Unsure { seq: 7 },
            ClientError::Rejected(Rejection::Conflict),
            ClientError::Rejected(Rejection::SessionOpen),
            ClientError::Rejected(Rejection::SessionEnded),
        ] {
            fields.note(Err(end)).unwrap();
        }
        assert_eq!((fields.unanswered, fields.observed), (4, 0));
        // No later one would be taken either.
        let ended = fields.note(Err(ClientError::Rejected(Rejection::OpeningTooOld)));
        assert!(matches!(ended, Err(ClientError::Rejected(_))), "{ended:?}");
    }

    #[test]
    fn where_the_venue_took_no_price_the_answer_is_no_unless_it_was_stopped_before_any() {
        for (prices, observed, is_stopped, expected) in [
            (0, 0, false, Code::No),
            (0, 0, true, Code::Done),
            (3, 0, false, Code::No),
            (3, 0, true, Code::No),
            (3, 1, false, Code::Done),
        ] {
            let fields = Fields {
                prices,
                observed,
                ..Fields::default()
            };
            assert_eq!(fields.code(is_stopped), expected, "{prices} {observed}");
        }
    }

    #[test]
    fn a_file_that_is_not_there_is_usage_and_a_program_that_does_not_answer_may_come() {
        let io = |is_file, source: std::io::Error| SourceError::Io {
            name: "prices".to_owned(),
            is_file,
            source,
        };
        crate::failure::tests::assert_promised(Code::Usage, |source| io(true, source).into());
        let missing = std::io::Error::from(std::io::ErrorKind::NotFound);
        assert_eq!(Failure::from(io(true, missing)).code, Code::Usage);
        let refused = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        assert_eq!(Failure::from(io(false, refused)).code, Code::TryAgain);
    }
}
