//! `quorate testnet init`: the files of a testnet.
//!
//! Never: starts a process, or writes into a folder that holds something.

use std::path::PathBuf;

use clap::Args;
use quorate_bench::testnet::Testnet;
use serde::Serialize;

use crate::failure::Failure;
use crate::output::{Report, hex, table};
use crate::plan::ClusterOptions;

/// Options of the command.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Folder to write; new or empty
    #[arg(long, value_name = "DIR")]
    dir: PathBuf,
    #[command(flatten)]
    cluster: ClusterOptions,
    /// First port: validator i uses P + 4i for validators, + 1 for clients, + 2 for metrics
    #[arg(long, value_name = "P", default_value_t = 7000)]
    base_port: u16,
}

#[derive(Serialize)]
struct Member {
    index: usize,
    weight: u64,
    public_key: String,
    #[serde(serialize_with = "crate::output::path")]
    config: PathBuf,
    peer_address: String,
    client_addresses: Vec<String>,
}

#[derive(Serialize)]
struct Fields {
    #[serde(serialize_with = "crate::output::path")]
    dir: PathBuf,
    chain_id: String,
    genesis_hash: String,
    fault_weight: u64,
    fast_slack: u64,
    application: String,
    validators: Vec<Member>,
    remarks: Vec<String>,
}

/// Writes the testnet.
///
/// # Errors
/// The plan is not allowed, or the folder cannot be written.
pub(crate) fn run(options: &Options) -> Result<Report, Failure> {
    let testnet = Testnet::create(&options.dir, &options.cluster.plan(options.base_port)?)?;
    let genesis = testnet.genesis();
    let file = genesis.file();
    let members = file
        .validators
        .iter()
        .enumerate()
        .map(|(index, member)| Member {
            index,
            weight: member.stake,
            public_key: hex(&member.key.0),
            config: testnet.config_path(index),
            peer_address: member.peer_address.clone(),
            client_addresses: member.client_addresses.clone(),
        });
    let fields = Fields {
        dir: options.dir.clone(),
        chain_id: hex(genesis.chain_id()),
        genesis_hash: hex(genesis.hash()),
        fault_weight: file.fault_weight,
        fast_slack: file.fast_slack,
        application: file.application.name.clone(),
        validators: members.collect(),
        remarks: genesis.summary(),
    };
    let text = text(&fields);
    Report::new(&fields, text)
}

fn text(fields: &Fields) -> String {
    let mut rows = table(&[
        "validator",
        "weight",
        "validators at",
        "clients at",
        "configuration",
    ]);
    for member in &fields.validators {
        rows.add_row(vec![
            member.index.to_string(),
            member.weight.to_string(),
            member.peer_address.clone(),
            member.client_addresses.join(" "),
            member.config.display().to_string(),
        ]);
    }
    format!(
        "chain {}\n{rows}\n{}\nnext: quorate testnet up --dir {}",
        fields.chain_id,
        fields.remarks.join("\n"),
        fields.dir.display()
    )
}
