//! One batch over every signature of one turn, and the only maker of [`Verified`].

use super::Verified;
use super::evidence::check_evidence;
use super::judge::{header_fits, judge, proves_ready};
use super::zip215::{SignatureCheck, SignatureItem};
use crate::attestation::{StateCertificate, StateStatement, judge_state};
use crate::certificate::{Certificate, SignatureBytes, SignedRecord};
use crate::evidence::{Evidence, SignedHeader};
use crate::header::Header;
use crate::message::{HeldRecord, OwnAnswer, RecoverAnswer};
use crate::signing;
use crate::types::{BlockId, Index, ValidatorIndex, Window};
use crate::validators::{Validator, ValidatorSet};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::mem::size_of;
use core::ops::Range;

/// Something whose signatures are to be checked.
#[derive(Clone, Debug)]
pub enum Claim {
    /// A signed record.
    Record {
        /// Its window.
        window: Window,
        /// The record, who says it, and the signature.
        signed: SignedRecord,
    },
    /// A header signed by its leader.
    Header {
        /// The header.
        header: Header,
        /// The leader's signature.
        signature: SignatureBytes,
    },
    /// Certificates: good only if each proves its target and every signature is good.
    Certificates {
        /// The certificates.
        certificates: Vec<Certificate>,
    },
    /// A record of this validator's own that a peer holds (R12).
    FenceRecord {
        /// What the peer holds.
        held: HeldRecord,
    },
    /// A peer's answer to this validator, which lost its disk (R13).
    RecoverAnswer {
        /// Who answers.
        answerer: ValidatorIndex,
        /// The answer.
        answer: RecoverAnswer,
    },
    /// Proof of misbehaviour.
    Evidence(Evidence),
    /// A validator's attested state (5.6).
    State {
        /// Whose.
        validator: ValidatorIndex,
        /// What it says.
        statement: StateStatement,
        /// Its signature.
        signature: SignatureBytes,
    },
    /// Attested states alike: good only if all signatures are, and weigh enough.
    StateCertificate(StateCertificate),
}

impl Claim {
    /// How many signatures it brings; each is checked at most once.
    #[must_use]
    pub fn signatures_len(&self) -> usize {
        let of_records = |certificates: &[Certificate]| -> usize {
            certificates.iter().map(|one| one.records.len()).sum()
        };
        match self {
            Self::Certificates { certificates } => of_records(certificates),
            // Its certificates are checked with it.
            Self::RecoverAnswer { answer, .. } => 1 + of_records(&answer.certificates),
            Self::StateCertificate(certificate) => certificate.signatures.len(),
            Self::Evidence(Evidence::TwoHeaders(_) | Evidence::TwoRecords { .. }) => 2,
            Self::Evidence(Evidence::OneRecord { .. })
            | Self::Record { .. }
            | Self::Header { .. }
            | Self::FenceRecord { .. }
            | Self::State { .. } => 1,
        }
    }

    /// About how many bytes it takes up while it waits.
    #[must_use]
    pub fn bytes_len(&self) -> usize {
        let certificates: &[Certificate] = match self {
            Self::Certificates { certificates } => certificates,
            Self::RecoverAnswer { answer, .. } => &answer.certificates,
            Self::StateCertificate(certificate) => {
                let one = size_of::<(ValidatorIndex, SignatureBytes)>();
                return size_of::<Self>() + certificate.signatures.len() * one;
            }
            Self::Record { .. }
            | Self::Header { .. }
            | Self::FenceRecord { .. }
            | Self::Evidence(_)
            | Self::State { .. } => &[],
        };
        let entry = size_of::<(Index, BlockId)>();
        let record =
            |signed: &SignedRecord| size_of::<SignedRecord>() + signed.record.also.len() * entry;
        let certificate = |one: &Certificate| {
            let records: usize = one.records.iter().map(record).sum();
            size_of::<Certificate>() + records + one.headers.len() * size_of::<Header>()
        };
        size_of::<Self>() + certificates.iter().map(certificate).sum::<usize>()
    }
}

/// A claim that came to nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// Who sent it.
    pub from: ValidatorIndex,
    /// Whether it was the peer's own record on its own channel.
    pub own_record: bool,
}

/// Checks the claims of a turn, each with the peer it came from, in one batch.
///
/// A claim that does not hold by its structure costs no signature check. `own` is the validator
/// that runs this: the signer of fence records, and the asker of R13. Answers stand in the order of
/// the claims.
#[must_use]
pub fn check_claims(
    set: &ValidatorSet,
    own: ValidatorIndex,
    claims: Vec<(ValidatorIndex, Claim)>,
    check: &mut impl SignatureCheck,
) -> Vec<Result<(ValidatorIndex, Verified<Claim>), Refusal>> {
    let mut sheet = Sheet::default();
    let mut lines = Vec::with_capacity(claims.len());
    for (_, claim) in &claims {
        let first = sheet.entries.len();
        let stands = sheet.enter(set, own, claim).is_some();
        if !stands {
            sheet.entries.truncate(first);
        }
        lines.push(stands.then_some(first..sheet.entries.len()));
    }
    let verdicts = sheet.judge(check);
    let all_good = |line: Range<usize>| verdicts[line].iter().all(|&good| good);
    claims
        .into_iter()
        .zip(lines)
        .map(|((from, claim), line)| {
            if line.is_some_and(all_good) {
                Ok((from, Verified(claim)))
            } else {
                Err(Refusal {
                    from,
                    own_record: is_own_record(from, &claim),
                })
            }
        })
        .collect()
}

fn is_own_record(from: ValidatorIndex, claim: &Claim) -> bool {
    matches!(claim, Claim::Record { signed, .. } if signed.validator == from)
}

/// The signatures of a turn: messages in one buffer, entries that point into it.
#[derive(Default)]
struct Sheet {
    messages: Vec<u8>,
    entries: Vec<Entry>,
}

struct Entry {
    key: [u8; 32],
    message: Range<usize>,
    signature: SignatureBytes,
}

impl Sheet {
    /// Enters every signature of a claim; `None` when it fails without looking at any.
    fn enter(&mut self, set: &ValidatorSet, own: ValidatorIndex, claim: &Claim) -> Option<()> {
        match claim {
            Claim::Record { window, signed } => self.enter_record(set, *window, signed),
            Claim::Header { header, signature } => {
                header_fits(set, header).ok()?;
                self.enter_header(set, header, signature)
            }
            Claim::Certificates { certificates } => certificates
                .iter()
                .try_for_each(|one| self.enter_certificate(set, one)),
            Claim::FenceRecord {
                held:
                    HeldRecord {
                        window,
                        record,
                        signature,
                    },
            } => {
                let signature = signature.as_ref()?;
                self.enter_statement(set, own, signature, |out| {
                    signing::record_message(set, own, *window, record, out);
                })
            }
            Claim::RecoverAnswer { answerer, answer } => {
                self.enter_answer(set, own, *answerer, answer)
            }
            Claim::Evidence(evidence) => {
                check_evidence(set, evidence).ok()?;
                self.enter_evidence(set, evidence)
            }
            Claim::State {
                validator,
                statement,
                signature,
            } => self.enter_state(set, *validator, statement, signature),
            Claim::StateCertificate(certificate) => {
                judge_state(set, certificate).ok()?;
                let mut signatures = certificate.signatures.iter();
                signatures.try_for_each(|(validator, signature)| {
                    self.enter_state(set, *validator, &certificate.statement, signature)
                })
            }
        }
    }

    /// R13: nonce, asker and window are signed; the certificates must prove ParentReady of the
    /// window, so that nobody sends an asker far ahead.
    fn enter_answer(
        &mut self,
        set: &ValidatorSet,
        asker: ValidatorIndex,
        answerer: ValidatorIndex,
        answer: &RecoverAnswer,
    ) -> Option<()> {
        let RecoverAnswer {
            nonce,
            window,
            ref certificates,
            ref signature,
        } = *answer;
        if !proves_ready(set, window, certificates) {
            return None;
        }
        certificates
            .iter()
            .try_for_each(|one| self.enter_certificate(set, one))?;
        let said = OwnAnswer {
            asker,
            nonce,
            window,
        };
        self.enter_statement(set, answerer, signature, |out| {
            signing::recover_message(set, answerer, &said, out);
        })
    }

    fn enter_state(
        &mut self,
        set: &ValidatorSet,
        validator: ValidatorIndex,
        statement: &StateStatement,
        signature: &SignatureBytes,
    ) -> Option<()> {
        self.enter_statement(set, validator, signature, |out| {
            signing::state_message(set, validator, statement, out);
        })
    }

    fn enter_certificate(&mut self, set: &ValidatorSet, certificate: &Certificate) -> Option<()> {
        judge(set, certificate).ok()?;
        let window = certificate.window;
        certificate
            .records
            .iter()
            .try_for_each(|signed| self.enter_record(set, window, signed))
    }

    fn enter_evidence(&mut self, set: &ValidatorSet, evidence: &Evidence) -> Option<()> {
        match evidence {
            Evidence::TwoHeaders(signed) => signed.iter().try_for_each(|one| {
                let SignedHeader { header, signature } = one;
                self.enter_header(set, header, signature)
            }),
            Evidence::TwoRecords {
                window, records, ..
            } => records
                .iter()
                .try_for_each(|signed| self.enter_record(set, *window, signed)),
            Evidence::OneRecord { window, record, .. } => self.enter_record(set, *window, record),
        }
    }

    fn enter_record(
        &mut self,
        set: &ValidatorSet,
        window: Window,
        signed: &SignedRecord,
    ) -> Option<()> {
        let SignedRecord {
            validator,
            record,
            signature,
        } = signed;
        self.enter_statement(set, *validator, signature, |out| {
            signing::record_message(set, *validator, window, record, out);
        })
    }

    fn enter_header(
        &mut self,
        set: &ValidatorSet,
        header: &Header,
        signature: &SignatureBytes,
    ) -> Option<()> {
        self.enter_statement(set, set.leader(header.window), signature, |out| {
            signing::header_message(set, header, out);
        })
    }

    fn enter_statement(
        &mut self,
        set: &ValidatorSet,
        validator: ValidatorIndex,
        signature: &SignatureBytes,
        write: impl FnOnce(&mut Vec<u8>),
    ) -> Option<()> {
        let Validator { key, .. } = *set.validator(validator)?;
        let first = self.messages.len();
        write(&mut self.messages);
        let message = first..self.messages.len();
        self.entries.push(Entry {
            key,
            message,
            signature: *signature,
        });
        Some(())
    }

    /// One verdict an entry. The same statement often stands in several certificates of a turn; it
    /// is checked once.
    fn judge(&self, check: &mut impl SignatureCheck) -> Vec<bool> {
        let mut items: Vec<SignatureItem<'_>> = Vec::with_capacity(self.entries.len());
        let mut known: BTreeMap<(&[u8], &SignatureBytes), usize> = BTreeMap::new();
        let mut item_of_entry = Vec::with_capacity(self.entries.len());
        for Entry {
            key,
            message,
            signature,
        } in &self.entries
        {
            // The message names its validator, so it stands for the key too.
            let message = &self.messages[message.clone()];
            let item = *known.entry((message, signature)).or_insert_with(|| {
                items.push(SignatureItem {
                    key,
                    message,
                    signature,
                    abscissa: None,
                });
                items.len() - 1
            });
            item_of_entry.push(item);
        }
        let verdicts = check.check(&items);
        // A check that answers less than it was asked has not found the rest good.
        item_of_entry
            .iter()
            .map(|&item| verdicts.get(item).copied().unwrap_or(false))
            .collect()
    }
}
