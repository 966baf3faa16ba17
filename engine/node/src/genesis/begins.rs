//! What a chain goes on from when it replaces one that was lost at one stroke (protocol.md 3.4).
//!
//! Owns the fields of a genesis that name a block of the chain before, and the making of a genesis
//! with them: the same bytes from the same block, wherever it is made. Never: the state itself;
//! that is in [`begins`](crate::begins).

use super::{Genesis, GenesisFile, GenesisValidator, Hex32, Weights};
use crate::file_error::FileError;
use crate::hex;
use serde::{Deserialize, Serialize};
use std::path::Path;

/// Height that a chain may begin at, at most: its own must not run out.
const HEIGHT_MAX: u64 = u64::MAX / 2;

/// The block of another chain, with the state after it, that a chain goes on from. Its time is the
/// genesis time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Begins {
    /// How often the chain was begun anew: 1 for the first time. Makes another chain of one that
    /// begins with the same block again.
    pub generation: u32,
    /// Hash of the genesis of the chain that the block is of.
    pub of: Hex32,
    /// Height of the block, at least 1. This chain's first block has the next one.
    pub height: u64,
    /// Name of the block.
    pub block: Hex32,
    /// Root of the snapshot of the state after the block.
    pub snapshot: Hex32,
}

/// Who goes on, where these are not the validators of before. The fields are those of a genesis.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Successors {
    /// The validators; a validator's index is its place here.
    pub validators: Vec<GenesisValidator>,
    /// F; by default as the stakes make it.
    #[serde(default)]
    pub fault_weight: Option<u64>,
    /// P; by default as the stakes and F make it.
    #[serde(default)]
    pub fast_slack: Option<u64>,
    /// Whether F = 0 is meant.
    #[serde(default)]
    pub crash_only: bool,
}

impl Successors {
    /// Reads them from JSON; `path` stands in errors only.
    ///
    /// # Errors
    /// The bytes are not such an object.
    pub fn parse(bytes: &[u8], path: &Path) -> Result<Self, FileError> {
        serde_json::from_slice(bytes).map_err(|error| FileError::json(path, bytes, &error))
    }
}

impl Begins {
    pub(super) fn check(&self, path: &Path) -> Result<(), FileError> {
        if self.generation == 0 {
            let error = FileError::new(
                path,
                "begins.generation",
                "a first chain begins with nothing",
            );
            return Err(error
                .value(0)
                .remedy("use the genesis that `quorate recover site` wrote"));
        }
        if self.height == 0 || self.height > HEIGHT_MAX {
            let error = FileError::new(path, "begins.height", "out of range");
            return Err(error
                .value(self.height)
                .remedy("use the genesis that `quorate recover site` wrote"));
        }
        Ok(())
    }

    /// What an operator should know of it, one line.
    pub(super) fn remark(&self) -> String {
        format!(
            "generation {}: goes on after height {}, block {}, of the chain with genesis {}",
            self.generation,
            self.height,
            hex::encode(&self.block.0),
            hex::encode(&self.of.0),
        )
    }
}

impl Genesis {
    /// The genesis of the chain that goes on from `begins`, a block with the time `time_ns`: all
    /// else is as in this one, but who goes on if that is said.
    ///
    /// # Errors
    /// A field has a value that is not allowed; the file is named `genesis.json` there.
    pub fn succeed(
        &self,
        begins: Begins,
        time_ns: u64,
        successors: Option<Successors>,
    ) -> Result<Self, FileError> {
        let mut file = GenesisFile {
            begins: Some(begins),
            genesis_time_ns: time_ns,
            ..self.file.clone()
        };
        if let Some(successors) = successors {
            let Successors {
                validators,
                fault_weight,
                fast_slack,
                crash_only,
            } = successors;
            let given = (fault_weight, fast_slack);
            let weights = Weights::derive(&validators, crash_only, given);
            file.fault_weight = weights.fault;
            file.fast_slack = weights.slack;
            file.crash_only = crash_only;
            file.validators = validators;
        }
        Self::write_out(&file)
    }
}
