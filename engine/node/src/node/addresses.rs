//! The addresses of a node. A start takes them before it reads the log, which may take minutes, so
//! that one in use is told of at once, and lets nobody connect before it has recovered.
//!
//! Owns what the message path is set up with. Never: accepts.

use super::StartError;
use crate::config::NodeConfig;
use crate::descriptors;
use crate::stages::identity::ValidatorIdentity;
use quorate_net::{ChainIds, Net, NetConfig, Ports, Reserved};
use std::sync::Arc;

/// Those of one node, taken.
pub(super) struct Addresses {
    /// Of which the number of this start is not known yet.
    net: NetConfig,
    ports: Ports,
    metrics: Option<(String, Reserved)>,
}

impl Addresses {
    pub(super) fn take(config: &NodeConfig) -> Result<Self, StartError> {
        let net = net_config(config, 0)?;
        let ports = Ports::reserve(&net)?;
        let take = |address: String| match Reserved::at(&address) {
            Ok(reserved) => Ok((address, reserved)),
            Err(source) => Err(StartError::Metrics { address, source }),
        };
        let metrics = config.listen_metrics.clone().map(take).transpose()?;
        Ok(Self {
            net,
            ports,
            metrics,
        })
    }

    /// Opens the ports of this start of the validator; that of the metrics is for the caller.
    pub(super) fn open(
        self,
        incarnation: u64,
        identity: ValidatorIdentity,
    ) -> Result<(Net, Option<(String, Reserved)>), StartError> {
        let config = NetConfig {
            incarnation,
            ..self.net
        };
        let net = Net::over(self.ports, config, Arc::new(identity))?;
        Ok((net, self.metrics))
    }
}

pub(super) fn net_config(config: &NodeConfig, incarnation: u64) -> Result<NetConfig, StartError> {
    let own = config.own.number();
    let members = config.genesis.file().validators.iter().zip(0_u16..);
    Ok(NetConfig {
        index: own,
        incarnation,
        chain: ChainIds {
            chain_id: *config.genesis.chain_id(),
            genesis_hash: *config.genesis.hash(),
        },
        peer_listen: config.listen_peers.clone(),
        client_listen: config.listen_clients.clone(),
        peers: members
            .filter(|(_, index)| *index != own)
            .map(|(member, index)| (index, member.peer_address.clone()))
            .collect(),
        limits: descriptors::limits(config)?,
        jitter_seed: u64::from_le_bytes(super::start::random()?),
    })
}
