//! `quorate keygen`: a new private key in a file of its own.
//!
//! Never: overwrites a file, or prints a private key.

use std::path::PathBuf;

use clap::Args;
use quorate::keys::KeyPair;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Report, hex};

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// File to write; must not exist
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

#[derive(Serialize)]
struct Fields {
    file: PathBuf,
    public_key: String,
}

/// Makes the key.
///
/// # Errors
/// The file exists or cannot be written.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let key = KeyPair::create(&options.out)?;
    let fields = Fields {
        file: options.out.clone(),
        public_key: hex(&key.public()),
    };
    let text = format!(
        "public key {}\nprivate key in {}",
        fields.public_key,
        fields.file.display()
    );
    Report::new(&fields, text)
}
