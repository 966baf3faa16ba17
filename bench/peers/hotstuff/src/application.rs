//! What the library asks of an application, answered by the pool.
//!
//! Owns the waiting of an idle leader: it proposes as soon as a command comes, so that replicas do
//! not race through empty views. Never: keeps a state of its own.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::Duration;

use hotstuff_rs::app::{
    App, ProduceBlockRequest, ProduceBlockResponse, ValidateBlockRequest, ValidateBlockResponse,
};
use hotstuff_rs::types::crypto_primitives::{CryptoHasher, Digest as _};
use hotstuff_rs::types::data_types::{CryptoHash, Data, Datum};

use crate::pool::Pool;
use crate::store::Memory;

/// How long an idle leader waits for a command, well below the longest view.
const IDLE: Duration = Duration::from_millis(250);

pub(crate) struct Application {
    pool: Arc<Mutex<Pool>>,
    waker: Arc<Condvar>,
}

impl Application {
    pub(crate) fn new(pool: Arc<Mutex<Pool>>, waker: Arc<Condvar>) -> Self {
        Self { pool, waker }
    }
}

fn hash(bytes: &[u8]) -> CryptoHash {
    CryptoHash::new(CryptoHasher::digest(bytes).into())
}

impl App<Memory> for Application {
    fn produce_block(&mut self, request: ProduceBlockRequest<'_, Memory>) -> ProduceBlockResponse {
        let parent = request.parent_block();
        let pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .waker
            .wait_timeout_while(pool, IDLE, |pool| pool.is_idle(parent));
        let (pool, _) = waited.unwrap_or_else(PoisonError::into_inner);
        let bytes = pool.fill(parent);
        ProduceBlockResponse {
            data_hash: hash(&bytes),
            data: Data::new(vec![Datum::new(bytes)]),
            app_state_updates: None,
            validator_set_updates: None,
        }
    }

    fn validate_block(
        &mut self,
        request: ValidateBlockRequest<'_, '_, Memory>,
    ) -> ValidateBlockResponse {
        self.validate_block_for_sync(request)
    }

    fn validate_block_for_sync(
        &mut self,
        request: ValidateBlockRequest<'_, '_, Memory>,
    ) -> ValidateBlockResponse {
        let block = request.proposed_block();
        let mut pool = self.pool.lock().unwrap_or_else(PoisonError::into_inner);
        let datum = block.data.vec().first();
        let is_whole = datum.is_some_and(|datum| hash(datum.bytes()) == block.data_hash);
        if is_whole && pool.know(block) {
            ValidateBlockResponse::Valid {
                app_state_updates: None,
                validator_set_updates: None,
            }
        } else {
            ValidateBlockResponse::Invalid
        }
    }
}
