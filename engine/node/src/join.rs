//! Joining by a peer's snapshot: what is asked of whom, and what is kept of the answers.
//!
//! Owns one download: the certificate that makes a root believable, the manifest under the root,
//! and the chunks under the manifest, each checked before a byte of it is stored. Any peer may be a
//! source, several at once, and each can be replaced at any time. Never: reads a clock, opens a
//! socket, or knows what a validator does with the snapshot (`recovery`).
//!
//! A source that sends what it cannot prove is not asked again in this run. One that is silent, or
//! has not got the snapshot, is left for the others and asked again later. What has been stored is
//! found again after a restart and checked once more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use quorate_consensus::attestation::StateCertificate;
use quorate_consensus::effect::Destination;
use quorate_consensus::message::SnapshotPart;
use quorate_consensus::types::ValidatorIndex;
use quorate_consensus::validators::ValidatorSet;
use quorate_consensus::verify::{Claim, SignatureCheck, SignatureItem, check_claims, single};
use quorate_consensus::wire;

use crate::shadow::statement_of;
use crate::snapshot::{Manifest, Origin, PartialSnapshot, SnapshotError, SnapshotFolder};

/// How long a source may take for a chunk before another one is asked for it.
pub const CHUNK_WAIT_NS: u64 = 3_000_000_000;
/// How long a source that was silent, or had nothing, is left alone.
pub const AWAY_NS: u64 = 5_000_000_000;
/// How often all peers are asked what they have, while it is not known or nobody serves.
pub const ASK_NS: u64 = 2_000_000_000;
/// How often they are asked while somebody serves: others may serve too.
pub const ASK_SERVED_NS: u64 = 10_000_000_000;
/// How long better offers are waited for after the first good one.
pub const OFFER_WAIT_NS: u64 = 1_000_000_000;
/// Without a chunk for so long, another snapshot may take the place of the one being fetched.
pub const PATIENCE_NS: u64 = 15_000_000_000;
/// How often it is looked at how fast chunks come.
pub const PACE_NS: u64 = 60_000_000_000;
/// With fewer chunks in that time the snapshot hardly comes: a newer one may take its place, so
/// that no source can keep the joiner at an old one by a chunk now and then.
pub const PACE_CHUNKS: u32 = 20;
/// When others have offered nothing but older ones for so long, and nobody has given a chunk of the
/// one being fetched, its sources are gone, and an older one may take its place: longer than a
/// source is away that is started again.
pub const GONE_NS: u64 = 300_000_000_000;

/// What is known of a peer as a source.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Source {
    /// Nothing is asked of it now.
    Ready,
    /// A chunk was asked of it.
    Asked { chunk: u32, at_ns: u64 },
    /// It was silent, or had nothing; it is asked again from then on.
    Away { until_ns: u64 },
    /// It sent what it cannot prove.
    Liar,
}

/// A snapshot of which the root is believed.
#[derive(Debug)]
struct Believed {
    certificate: StateCertificate,
    manifest: Manifest,
}

/// The download of one snapshot.
#[derive(Debug)]
struct Download {
    certificate: StateCertificate,
    root: [u8; 32],
    stored: PartialSnapshot,
    /// When the last chunk came, or it began.
    progress_ns: u64,
    /// Since when chunks are counted, and how many have come since.
    pace: (u64, u32),
    /// Whether too few came in the time before.
    is_slow: bool,
    /// Since when older ones are offered while nothing comes of this one.
    gone_since_ns: Option<u64>,
}

impl Download {
    /// Counts anew when it is time.
    const fn look_at_pace(&mut self, now_ns: u64) {
        let (since_ns, chunks) = self.pace;
        if now_ns >= since_ns.saturating_add(PACE_NS) {
            self.is_slow = chunks < PACE_CHUNKS;
            self.pace = (now_ns, 0);
        }
    }

    /// Whether one of this height may take its place, where it is not served: what is older may not
    /// before its sources are gone. Whoever was cut off from them meanwhile has had no offer.
    fn gives_way_to(&mut self, height: u64, now_ns: u64) -> bool {
        if height > self.stored.manifest().height() {
            return true;
        }
        let since_ns = *self.gone_since_ns.get_or_insert(now_ns);
        since_ns.saturating_add(GONE_NS) <= now_ns
    }
}

/// A validator that joins.
#[derive(Debug)]
pub struct Joiner {
    set: Arc<ValidatorSet>,
    own: ValidatorIndex,
    folder: SnapshotFolder,
    sources: BTreeMap<ValidatorIndex, Source>,
    /// Who has answered the last question to all.
    answered: BTreeSet<ValidatorIndex>,
    /// The best offer so far, and when the first one came.
    offer: Option<(Box<Believed>, u64)>,
    download: Option<Download>,
    asked_ns: Option<u64>,
}

/// A message to be sent.
pub type Said = (Destination, SnapshotPart);

/// What came of an answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judged {
    /// It was used.
    Taken,
    /// Nobody asked for it, or it says nothing new.
    Idle,
    /// It cannot be what its sender says: nothing of it was stored.
    Lie(Lie),
}

/// Which part of an answer was not what its sender said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lie {
    /// The manifest is none, or not what the certificate names.
    Manifest,
    /// The certificate does not prove what it says, or is of another chain.
    Certificate,
    /// The chunk is not the one that the manifest names.
    Chunk,
}

/// How far a download has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct JoinProgress {
    /// Height of the snapshot; 0 while none is being fetched.
    pub height: u64,
    /// Chunks that are here.
    pub chunks: u64,
    /// Chunks that it has.
    pub chunks_all: u64,
    /// Peers that chunks can be asked of.
    pub sources: u64,
}

/// Checks one signature after the other: a certificate is rare.
struct OneByOne;

impl SignatureCheck for OneByOne {
    fn check(&mut self, items: &[SignatureItem<'_>]) -> Vec<bool> {
        let good = |item: &SignatureItem<'_>| single(item.key, item.message, item.signature);
        items.iter().map(good).collect()
    }
}

/// Whether a certificate proves under `set` that a manifest is of the state of its chain: signers
/// of weight AMP, every signature good, and the statement that of the manifest.
///
/// # Errors
/// [`Lie`] says which of the two is not what it should be.
pub fn believe(
    set: &ValidatorSet,
    certificate: &StateCertificate,
    manifest: &Manifest,
) -> Result<(), Lie> {
    if !is_proven(set, certificate) {
        return Err(Lie::Certificate);
    }
    if certificate.statement != statement_of(manifest) || !Origin::of(set).fits(manifest) {
        return Err(Lie::Manifest);
    }
    Ok(())
}

/// Whether signatures of AMP stand under a statement.
pub(crate) fn is_proven(set: &ValidatorSet, certificate: &StateCertificate) -> bool {
    let nobody = ValidatorIndex::new(0);
    let claim = Claim::StateCertificate(certificate.clone());
    let checked = check_claims(set, nobody, vec![(nobody, claim)], &mut OneByOne);
    checked.iter().all(Result::is_ok)
}

fn certificate_bytes(certificate: &StateCertificate) -> Vec<u8> {
    let mut bytes = Vec::new();
    wire::encode_state_certificate(certificate, &mut bytes);
    bytes
}

impl Joiner {
    /// Begins, with what an earlier run has stored of a snapshot that is still worth it: of a
    /// height from `above` on.
    ///
    /// # Errors
    /// [`SnapshotError`] when the folder cannot be read or written.
    pub fn new(
        set: Arc<ValidatorSet>,
        own: ValidatorIndex,
        folder: SnapshotFolder,
        above: u64,
        now_ns: u64,
    ) -> Result<Self, SnapshotError> {
        let mut joiner = Self {
            set,
            own,
            folder,
            sources: BTreeMap::new(),
            answered: BTreeSet::new(),
            offer: None,
            download: None,
            asked_ns: None,
        };
        let Some((stored, bytes)) = joiner.folder.resume()? else {
            return Ok(joiner);
        };
        let is_worth = stored.manifest().height() >= above;
        let certificate = wire::decode_state_certificate(&bytes).ok();
        let believed = certificate
            .filter(|certificate| is_worth && joiner.is_believed(certificate, stored.manifest()));
        match believed {
            Some(certificate) => {
                joiner.download = Some(Download {
                    certificate,
                    root: stored.manifest().root(),
                    stored,
                    progress_ns: now_ns,
                    pace: (now_ns, 0),
                    is_slow: false,
                    gone_since_ns: None,
                });
            }
            None => joiner.folder.forget()?,
        }
        Ok(joiner)
    }

    fn is_believed(&self, certificate: &StateCertificate, manifest: &Manifest) -> bool {
        believe(&self.set, certificate, manifest).is_ok()
    }

    /// How far it has come.
    #[must_use]
    pub fn progress(&self) -> JoinProgress {
        let serves = |source: &&Source| matches!(source, Source::Ready | Source::Asked { .. });
        let sources = self.sources.values().filter(serves).count() as u64;
        let Some(download) = &self.download else {
            return JoinProgress {
                sources,
                ..JoinProgress::default()
            };
        };
        let (chunks, chunks_all) = download.stored.progress();
        JoinProgress {
            height: download.stored.manifest().height(),
            chunks: chunks as u64,
            chunks_all: chunks_all as u64,
            sources,
        }
    }

    /// Who has sent what it cannot prove.
    pub fn liars(&self) -> impl Iterator<Item = ValidatorIndex> {
        let all = self.sources.iter();
        all.filter(|(_, source)| **source == Source::Liar)
            .map(|(&peer, _)| peer)
    }

    /// Takes an answer of a peer.
    ///
    /// # Errors
    /// [`SnapshotError`] when the disk refuses.
    pub fn take(
        &mut self,
        now_ns: u64,
        from: ValidatorIndex,
        part: SnapshotPart,
    ) -> Result<Judged, SnapshotError> {
        let is_stranger = from == self.own || !self.set.contains(from);
        if is_stranger || self.sources.get(&from) == Some(&Source::Liar) {
            return Ok(Judged::Idle);
        }
        let judged = match part {
            SnapshotPart::Offer {
                certificate,
                manifest,
            } => self.take_offer(now_ns, from, *certificate, &manifest),
            SnapshotPart::Chunk { root, chunk, bytes } => {
                self.take_chunk(now_ns, from, &root, chunk, &bytes)?
            }
            SnapshotPart::Ask
            | SnapshotPart::Get { .. }
            | SnapshotPart::GetEvents { .. }
            | SnapshotPart::Events { .. } => Judged::Idle,
        };
        if let Judged::Lie(_) = judged {
            self.sources.insert(from, Source::Liar);
        }
        Ok(judged)
    }

    fn take_offer(
        &mut self,
        now_ns: u64,
        from: ValidatorIndex,
        certificate: StateCertificate,
        manifest: &[u8],
    ) -> Judged {
        // A manifest is a megabyte to hash: one answer a question.
        if self.asked_ns.is_none() || !self.answered.insert(from) {
            return Judged::Idle;
        }
        let Ok(manifest) = Manifest::decode(manifest) else {
            return Judged::Lie(Lie::Manifest);
        };
        // Who has a newer one may have this one too; what it sends is checked in any case.
        let is_new = !self.sources.contains_key(&from);
        self.sources.entry(from).or_insert(Source::Ready);
        let known = |root: [u8; 32]| {
            let offered = self.offer.as_ref().map(|(best, _)| best.manifest.root());
            let fetched = self.download.as_ref().map(|download| download.root);
            offered == Some(root) || fetched == Some(root)
        };
        if known(manifest.root()) {
            return if is_new { Judged::Taken } else { Judged::Idle };
        }
        let (height, is_served) = (manifest.height(), self.is_served(now_ns));
        let best = self.offer.as_ref().map(|(best, _)| best.manifest.height());
        if is_served || best >= Some(height) {
            return Judged::Idle;
        }
        if let Err(lie) = believe(&self.set, &certificate, &manifest) {
            return Judged::Lie(lie);
        }
        let fetched = self.download.as_mut();
        if fetched.is_some_and(|download| !download.gives_way_to(height, now_ns)) {
            return Judged::Idle;
        }
        let first_ns = self.offer.as_ref().map_or(now_ns, |&(_, at_ns)| at_ns);
        let believed = Believed {
            certificate,
            manifest,
        };
        self.offer = Some((Box::new(believed), first_ns));
        Judged::Taken
    }

    /// Whether the snapshot that is being fetched still comes, and not too slowly.
    fn is_served(&self, now_ns: u64) -> bool {
        self.download.as_ref().is_some_and(|download| {
            let patient_ns = download.progress_ns.saturating_add(PATIENCE_NS);
            now_ns < patient_ns && !download.is_slow
        })
    }

    fn take_chunk(
        &mut self,
        now_ns: u64,
        from: ValidatorIndex,
        root: &[u8; 32],
        chunk: u32,
        bytes: &[u8],
    ) -> Result<Judged, SnapshotError> {
        let asked = self.sources.get(&from).copied();
        let is_asked = matches!(asked, Some(Source::Asked { chunk: asked, .. }) if asked == chunk);
        // One that comes late from a slow source is as good as any.
        let is_late = matches!(asked, Some(Source::Away { .. } | Source::Ready));
        let Some(download) = self.download.as_mut().filter(|all| all.root == *root) else {
            return Ok(Judged::Idle);
        };
        let is_wanted = is_asked || (is_late && download.stored.lacks(chunk));
        if !is_wanted {
            return Ok(Judged::Idle);
        }
        if bytes.is_empty() {
            // It has the snapshot no more.
            let until_ns = now_ns.saturating_add(AWAY_NS);
            self.sources.insert(from, Source::Away { until_ns });
            return Ok(Judged::Idle);
        }
        if !download.stored.put(chunk, bytes)? {
            return Ok(Judged::Lie(Lie::Chunk));
        }
        download.progress_ns = now_ns;
        download.pace.1 += 1;
        download.gone_since_ns = None;
        self.sources.insert(from, Source::Ready);
        Ok(Judged::Taken)
    }

    /// Moves on: what is to be asked now is appended to `say`. To be called after each answer, and
    /// now and then. A snapshot that is whole becomes one of the folder; its height is said then,
    /// and the joiner has done. One of a height below `above` is not worth it any more.
    ///
    /// # Errors
    /// [`SnapshotError`] when the disk refuses.
    pub fn turn(
        &mut self,
        now_ns: u64,
        above: u64,
        say: &mut Vec<Said>,
    ) -> Result<Option<u64>, SnapshotError> {
        if let Some(download) = &mut self.download {
            download.look_at_pace(now_ns);
        }
        self.choose(now_ns, above)?;
        if let Some(whole) = self.download.take_if(|all| all.stored.is_whole()) {
            let height = whole.stored.manifest().height();
            let certificate = certificate_bytes(&whole.certificate);
            self.folder.finish(whole.stored, &certificate)?;
            return Ok(Some(height));
        }
        for source in self.sources.values_mut() {
            match *source {
                Source::Asked { at_ns, .. } if at_ns.saturating_add(CHUNK_WAIT_NS) <= now_ns => {
                    let until_ns = now_ns.saturating_add(AWAY_NS);
                    *source = Source::Away { until_ns };
                }
                Source::Away { until_ns } if until_ns <= now_ns => *source = Source::Ready,
                _ => {}
            }
        }
        let pause = match self.is_served(now_ns) && !self.sources.is_empty() {
            true => ASK_SERVED_NS,
            false => ASK_NS,
        };
        let is_due = self
            .asked_ns
            .is_none_or(|at_ns| at_ns.saturating_add(pause) <= now_ns);
        if is_due {
            self.asked_ns = Some(now_ns);
            self.answered.clear();
            say.push((Destination::All, SnapshotPart::Ask));
        }
        self.ask_chunks(now_ns, say);
        Ok(None)
    }

    /// Begins with the best offer when it has been waited for long enough.
    fn choose(&mut self, now_ns: u64, above: u64) -> Result<(), SnapshotError> {
        let is_stale = |download: &mut Download| download.stored.manifest().height() < above;
        if self.download.take_if(is_stale).is_some() {
            self.folder.forget()?;
        }
        self.offer
            .take_if(|(best, _)| best.manifest.height() < above);
        if self.is_served(now_ns) {
            self.offer = None;
        }
        let is_ripe = |&mut (_, first_ns): &mut (_, u64)| {
            u64::saturating_add(first_ns, OFFER_WAIT_NS) <= now_ns
        };
        let Some((best, _)) = self.offer.take_if(is_ripe) else {
            return Ok(());
        };
        let Believed {
            certificate,
            manifest,
        } = *best;
        let root = manifest.root();
        let stored = self
            .folder
            .begin(manifest, &certificate_bytes(&certificate))?;
        for source in self.sources.values_mut() {
            if *source != Source::Liar {
                *source = Source::Ready;
            }
        }
        self.download = Some(Download {
            certificate,
            root,
            stored,
            progress_ns: now_ns,
            pace: (now_ns, 0),
            is_slow: false,
            gone_since_ns: None,
        });
        Ok(())
    }

    /// One chunk in flight a source, each chunk from one source at a time.
    fn ask_chunks(&mut self, now_ns: u64, say: &mut Vec<Said>) {
        let Some(download) = &self.download else {
            return;
        };
        let asked = |sources: &BTreeMap<ValidatorIndex, Source>, wanted: u32| {
            let mut all = sources.values();
            all.any(|source| matches!(source, Source::Asked { chunk, .. } if *chunk == wanted))
        };
        let ready: Vec<ValidatorIndex> = self
            .sources
            .iter()
            .filter(|(_, source)| **source == Source::Ready)
            .map(|(&peer, _)| peer)
            .collect();
        let mut missing = download.stored.missing();
        for peer in ready {
            let Some(chunk) = missing.find(|&chunk| !asked(&self.sources, chunk)) else {
                break;
            };
            let at_ns = now_ns;
            self.sources.insert(peer, Source::Asked { chunk, at_ns });
            let get = SnapshotPart::Get {
                height: download.certificate.statement.height,
                root: download.root,
                chunk,
            };
            say.push((Destination::Peer(peer), get));
        }
    }
}

#[cfg(test)]
#[path = "join_tests.rs"]
mod tests;
