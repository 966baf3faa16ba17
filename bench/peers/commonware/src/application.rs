//! What the consensus engine asks of an application, answered by the chain.
//!
//! Owns the sending of blocks: the proposer sends its block to all beside its proposal. Never:
//! decides anything.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use commonware_actor::Feedback;
use commonware_consensus::simplex::Plan;
use commonware_consensus::simplex::scheme::ed25519::Scheme;
use commonware_consensus::simplex::types::{Activity, Context};
use commonware_consensus::{Automaton, CertifiableAutomaton, Relay, Reporter};
use commonware_cryptography::ed25519::PublicKey;
use commonware_cryptography::sha256::Digest;
use commonware_p2p::{Recipients, Sender};
use commonware_utils::channel::oneshot;

use crate::chain::Chain;

/// The chain, shared by the engine, the network and the load.
#[derive(Clone)]
pub(crate) struct Application<S> {
    chain: Arc<Mutex<Chain>>,
    blocks: S,
}

impl<S> Application<S> {
    pub(crate) fn new(chain: Arc<Mutex<Chain>>, blocks: S) -> Self {
        Self { chain, blocks }
    }

    fn chain(&self) -> MutexGuard<'_, Chain> {
        self.chain.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<S: Clone + Send + 'static> Automaton for Application<S>
where
    S: Sync,
{
    type Context = Context<Digest, PublicKey>;
    type Digest = Digest;

    async fn propose(&mut self, context: Self::Context) -> oneshot::Receiver<Digest> {
        self.chain().propose(context)
    }

    async fn verify(&mut self, context: Self::Context, payload: Digest) -> oneshot::Receiver<bool> {
        self.chain().verify(context.parent.1, payload)
    }
}

impl<S: Clone + Send + Sync + 'static> CertifiableAutomaton for Application<S> {}

impl<S: Sender<PublicKey = PublicKey>> Relay for Application<S> {
    type Digest = Digest;
    type PublicKey = PublicKey;
    type Plan = Plan<PublicKey>;

    fn broadcast(&mut self, payload: Digest, plan: Self::Plan) -> Feedback {
        let recipients = match plan {
            Plan::Forward { recipients, .. } => recipients,
            _ => Recipients::All,
        };
        let bytes = self.chain().bytes(&payload);
        if let Some(bytes) = bytes {
            self.blocks.send(recipients, bytes, true);
        }
        Feedback::Ok
    }
}

impl<S: Clone + Send + 'static> Reporter for Application<S> {
    type Activity = Activity<Scheme, Digest>;

    fn report(&mut self, activity: Self::Activity) -> Feedback {
        if let Activity::Finalization(finalization) = activity {
            self.chain().finalize(finalization.proposal.payload);
        }
        Feedback::Ok
    }
}
