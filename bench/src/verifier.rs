//! The bare verifier: how fast signatures of commands can be checked here, with nothing else.
//!
//! Owns one thread a validator, all at once on the cores that the validators have, each going
//! through the same signed commands in batches by the product's own check. A command counts once,
//! when all have checked it: what a chain of signed commands cannot be above. Never: the product's
//! stages.

use std::sync::Barrier;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use quorate::keys::KeyPair;
use quorate_consensus::verify::{SignatureCheck as _, SignatureItem, Zip215};
use rand_chacha::ChaCha20Rng;
use rand_core::SeedableRng as _;

/// Signatures of one batch, near where larger ones no longer help.
const BATCH: usize = 256;
/// Different commands; gone through over and over.
const COMMANDS: usize = 4 * BATCH;

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct VerifierPlan {
    /// Verifiers, at least one.
    pub validators: usize,
    /// Sessions whose commands they are, each with a key of its own, at least one. A batch costs
    /// less the fewer keys are in it.
    pub sessions: u32,
    /// Bytes of a command.
    pub command_bytes: usize,
    /// For how long.
    pub duration: Duration,
}

/// Why there is no rate.
#[derive(Debug, thiserror::Error)]
pub enum VerifierError {
    /// A good signature was refused.
    #[error("a verifier refused {0} good signatures")]
    Refused(usize),
    /// A verifier ended before its time.
    #[error("a verifier panicked")]
    Lost,
}

struct Signed {
    key: [u8; 32],
    message: Vec<u8>,
    signature: [u8; 64],
}

/// Commands a second that all verifiers have checked.
///
/// # Errors
/// [`VerifierError`].
pub fn measure(plan: &VerifierPlan) -> Result<f64, VerifierError> {
    let commands = signed(plan.sessions, plan.command_bytes);
    let validators = plan.validators.max(1);
    let (gate, is_over) = (Barrier::new(validators + 1), AtomicBool::new(false));
    std::thread::scope(|scope| {
        let verifiers: Vec<_> = (0..validators)
            .map(|_| scope.spawn(|| verify_until(&commands, &gate, &is_over)))
            .collect();
        gate.wait();
        let start = Instant::now();
        std::thread::park_timeout(plan.duration);
        // A park may end early.
        while let Some(left) = plan.duration.checked_sub(start.elapsed()) {
            std::thread::park_timeout(left);
        }
        is_over.store(true, Ordering::Relaxed);
        let mut least = u64::MAX;
        for verifier in verifiers {
            least = least.min(verifier.join().map_err(|_| VerifierError::Lost)??);
        }
        // The last batch of the slowest may end later than the time was over.
        #[expect(
            clippy::cast_precision_loss,
            reason = "counts of a run are far below 2^53"
        )]
        let count = least as f64;
        Ok(count / start.elapsed().as_secs_f64())
    })
}

/// Checks batch after batch; gives how many commands.
fn verify_until(
    commands: &[Signed],
    gate: &Barrier,
    is_over: &AtomicBool,
) -> Result<u64, VerifierError> {
    let mut check = Zip215::new(ChaCha20Rng::from_seed([7; 32]));
    let batches: Vec<Vec<_>> = commands.chunks(BATCH).map(items).collect();
    gate.wait();
    let mut checked = 0;
    for batch in batches.iter().cycle() {
        if is_over.load(Ordering::Relaxed) {
            break;
        }
        let verdicts = check.check(batch);
        let refused = verdicts.iter().filter(|&&is_good| !is_good).count();
        if refused > 0 {
            return Err(VerifierError::Refused(refused));
        }
        checked += batch.len() as u64;
    }
    Ok(checked)
}

fn items(commands: &[Signed]) -> Vec<SignatureItem<'_>> {
    let commands = commands.iter();
    commands
        .map(|command| SignatureItem {
            key: &command.key,
            message: &command.message,
            signature: &command.signature,
            abscissa: None,
        })
        .collect()
}

fn signed(sessions: u32, command_bytes: usize) -> Vec<Signed> {
    let key_of = |session: u32| {
        let mut seed = [7; 32];
        seed[..4].copy_from_slice(&session.to_le_bytes());
        KeyPair::from_seed(&seed)
    };
    let keys: Vec<KeyPair> = (0..sessions.max(1)).map(key_of).collect();
    let sign = |(number, key): (usize, &KeyPair)| {
        let mut message = vec![0; command_bytes.max(8)];
        message[..8].copy_from_slice(&(number as u64).to_le_bytes());
        Signed {
            key: key.public(),
            signature: key.sign(&message),
            message,
        }
    };
    let signers = keys.iter().cycle().take(COMMANDS).enumerate();
    signers.map(sign).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_verifiers_go_through_the_commands() {
        let rate = measure(&VerifierPlan {
            validators: 2,
            sessions: 4,
            command_bytes: 64,
            duration: Duration::from_millis(50),
        });
        assert!(rate.unwrap() > 0.0);
    }

    #[test]
    fn there_are_as_many_keys_as_sessions() {
        for (sessions, wanted) in [(0, 1), (1, 1), (4, 4), (300, 300)] {
            let commands = signed(sessions, 64);
            let keys: std::collections::BTreeSet<_> =
                commands.iter().map(|command| command.key).collect();
            assert_eq!(keys.len(), wanted);
        }
    }

    #[test]
    fn a_bad_signature_is_found() {
        let mut commands = signed(4, 64);
        commands[3].message[9] ^= 1;
        let (gate, is_over) = (Barrier::new(1), AtomicBool::new(false));
        let error = verify_until(&commands, &gate, &is_over).unwrap_err();
        assert!(matches!(error, VerifierError::Refused(1)), "{error}");
    }
}
