//! Which measurement a JSON object is, by the keys that it has.
//!
//! Owns the measurements of one page. Never: changes a number.

use serde_json::Value;

use super::text::words;

/// Most objects of one kind.
const OBJECTS_MAX: usize = 64;

/// Why an object is not taken.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum InputError {
    /// Not the output of a measuring command.
    #[error(
        "{name}: a page shows what bench latency, throughput, sweep, failover and peers print with \
         --json, and this is none of these"
    )]
    Unknown {
        /// Where it came from.
        name: String,
    },
    /// There are more than a page takes.
    #[error("{name}: more than {OBJECTS_MAX} of one kind")]
    TooMany {
        /// Where it came from.
        name: String,
    },
}

/// A kind of measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// `bench latency`.
    Latency,
    /// `bench throughput`.
    Throughput,
    /// `bench sweep`.
    Sweep,
    /// `bench failover`.
    Failover,
    /// `bench peers`.
    Peers,
}

impl Kind {
    /// The kind of an object; none for anything else.
    #[must_use]
    pub fn of(value: &Value) -> Option<Self> {
        let has = |key: &str| value.get(key).is_some_and(|value| !value.is_null());
        let has_shares = || {
            let first = value.pointer("/steps/0/load_percent");
            first.is_some()
        };
        if has("systems") {
            Some(Self::Peers)
        } else if has("resume_ms") {
            Some(Self::Failover)
        } else if has("finality_us") && has("floor_us") {
            Some(Self::Latency)
        } else if has_shares() {
            Some(Self::Sweep)
        } else if value.get("throughput_per_s").is_some() && has("steps") {
            Some(Self::Throughput)
        } else {
            None
        }
    }

    /// The command that gives such an object.
    #[must_use]
    pub const fn command(self) -> &'static str {
        match self {
            Self::Latency => "quorate bench latency --json",
            Self::Throughput => "quorate bench throughput --json",
            Self::Sweep => "quorate bench sweep --json",
            Self::Failover => "quorate bench failover --json",
            Self::Peers => "quorate bench peers --json",
        }
    }
}

/// Everything that a page is made of.
#[derive(Clone, Debug, Default)]
pub struct Inputs {
    objects: Vec<(Kind, Value)>,
}

impl Inputs {
    /// Takes an object in. `name` says where it came from.
    ///
    /// # Errors
    /// [`InputError`].
    pub fn take(&mut self, name: &str, value: Value) -> Result<Kind, InputError> {
        let name = || name.to_owned();
        let kind = Kind::of(&value).ok_or_else(|| InputError::Unknown { name: name() })?;
        if self.all(kind).count() >= OBJECTS_MAX {
            return Err(InputError::TooMany { name: name() });
        }
        self.objects.push((kind, value));
        Ok(kind)
    }

    /// Every object, in the order in which they came.
    pub fn iter(&self) -> impl Iterator<Item = (Kind, &Value)> {
        self.objects.iter().map(|(kind, value)| (*kind, value))
    }

    pub(super) fn all(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        let objects = self.iter().filter(move |(found, _)| *found == kind);
        objects.map(|(_, value)| value)
    }

    /// The first latency of a cluster of which nobody stood still.
    pub(super) fn latency(&self) -> Option<&Value> {
        self.all(Kind::Latency).find(|one| stopped(one) == 0)
    }
}

/// Validators that stood still in a measurement of latency.
pub(super) fn stopped(latency: &Value) -> u64 {
    let stopped = latency.get("stopped").and_then(Value::as_u64);
    stopped.unwrap_or(0)
}

/// A measurement once for each durability in it: the object itself, and what stands under `sync`.
pub(super) fn durabilities(value: &Value) -> Vec<(String, &Value)> {
    let name = |value: &Value| {
        let name = value.get("durability").and_then(Value::as_str);
        name.unwrap_or("unknown").to_owned()
    };
    let nested = value.get("sync").filter(|nested| nested.is_object());
    [Some(value), nested]
        .into_iter()
        .flatten()
        .map(|one| (name(one), one))
        .collect()
}

/// A measurement of a lost leader once for each signal in it: the object itself, and what stands
/// under `stop`.
pub(super) fn signals(failover: &Value) -> Vec<&Value> {
    let nested = failover.get("stop").filter(|nested| nested.is_object());
    [Some(failover), nested].into_iter().flatten().collect()
}

/// What befell the leader in one of these.
pub(super) fn leader_fate(one: &Value) -> String {
    match one.get("signal").and_then(Value::as_str) {
        Some("kill") => "dies (SIGKILL)".to_owned(),
        Some("stop") => "stands still (SIGSTOP)".to_owned(),
        _ => words(one, "/signal"),
    }
}
