//! `quorate keygen`: a new private key in a file of its own.
//!
//! Never: overwrites a file, or prints a private key.

use std::path::{Path, PathBuf};

use clap::Args;
use quorate::keys::KeyPair;
use serde::Serialize;

use crate::failure::{Code, Failure};
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
    #[serde(serialize_with = "crate::output::path")]
    file: PathBuf,
    public_key: String,
}

/// Makes the key.
///
/// # Errors
/// The file exists or cannot be written, or its folder does not exist.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let parent = options
        .out
        .parent()
        .filter(|parent| *parent != Path::new(""));
    if let Some(parent) = parent.filter(|parent| !parent.is_dir()) {
        let what = format!("{}: no such folder", parent.display());
        return Err(Failure::new(Code::Configuration, what).remedy("make it, or correct --out"));
    }
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
