//! Blocks by name, and everything that is said in the words of the glossary.
//!
//! Owns which name belongs to which block. Never: who says it, or what comes of it.

use std::collections::BTreeMap;
use std::sync::Arc;

use quorate_consensus::certificate::{Certificate, Target};
use quorate_consensus::header::Header;
use quorate_consensus::message::{Get, Message, Propose, Status, Vote};
use quorate_consensus::payload::{Entry, Lane, PayloadBuilder, encode_entry, session_of_key};
use quorate_consensus::record::Record;
use quorate_consensus::types::{BlockId, ValidatorIndex, Window};

use super::command::Spoken;
use super::line::{all_of, ranges};

/// A block that has a name.
#[derive(Clone, Debug)]
pub(crate) struct NamedBlock {
    pub(crate) id: BlockId,
    pub(crate) header: Header,
    pub(crate) payload: Arc<[u8]>,
}

/// Every block of the scene.
#[derive(Debug)]
pub(crate) struct Names {
    genesis: BlockId,
    blocks: BTreeMap<String, NamedBlock>,
    of: BTreeMap<BlockId, String>,
}

/// The payload of a block: one command that opens a session and holds the name.
pub(crate) fn payload_named(name: &str) -> Arc<[u8]> {
    let key = *blake3::hash(name.as_bytes()).as_bytes();
    let session = session_of_key(&key);
    let entry = Entry {
        lane: Lane::Order,
        session: &session,
        seq: 1,
        signature: None,
        body: &key,
    };
    let mut bytes = Vec::new();
    encode_entry(&entry, &mut bytes);
    let mut builder = PayloadBuilder::new();
    // One small entry always fits; an empty block would still be one.
    builder.push_entry(&bytes).ok();
    builder.finish()
}

pub(crate) fn v(who: ValidatorIndex) -> String {
    format!("v{}", who.number())
}

fn w(window: Window) -> String {
    format!("w{}", window.number())
}

impl Names {
    pub(crate) const fn new(genesis: BlockId) -> Self {
        Self {
            genesis,
            blocks: BTreeMap::new(),
            of: BTreeMap::new(),
        }
    }

    /// Gives a block the name that its payload was made for.
    pub(crate) fn learn(&mut self, name: &str, block: NamedBlock) {
        self.of.insert(block.id, name.to_owned());
        self.blocks.insert(name.to_owned(), block);
    }

    pub(crate) fn block(&self, name: &str) -> Result<&NamedBlock, String> {
        let block = self.blocks.get(name);
        block.ok_or_else(|| format!("no block is called {name}"))
    }

    pub(crate) fn holds(&self, name: &str) -> bool {
        name == "genesis" || self.blocks.contains_key(name)
    }

    /// The name of a block; the beginning of its hash for one that the script did not name.
    pub(crate) fn name(&self, id: BlockId) -> String {
        if id == self.genesis {
            return "genesis".to_owned();
        }
        self.of.get(&id).cloned().unwrap_or_else(|| {
            let bytes = id.as_bytes();
            format!("x{:02x}{:02x}", bytes[0], bytes[1])
        })
    }

    /// A record as a script writes it, as the real thing.
    pub(crate) fn record_of(&self, spoken: &Spoken) -> Result<Record, String> {
        let place = |name: &String| {
            let block = self.block(name)?;
            Ok::<_, String>((block.header.index, block.id))
        };
        let mut record = spoken.rest.clone();
        record.tip = spoken.tip.as_ref().map(place).transpose()?;
        record.also = spoken.also.iter().map(place).collect::<Result<_, _>>()?;
        record.also.sort_unstable();
        Ok(record)
    }

    pub(crate) fn record(&self, record: &Record) -> String {
        let mut parts = Vec::new();
        if let Some((_, id)) = record.tip {
            parts.push(format!("tip={}", self.name(id)));
        }
        if record.stop {
            parts.push("stop".to_owned());
        }
        if let Some(fin) = record.fin {
            parts.push(format!("fin={}", fin.number()));
        }
        if let Some(from) = record.skip_fallback {
            parts.push(format!("skipfb={}", from.number()));
        }
        if !record.also.is_empty() {
            let also: Vec<String> = record.also.iter().map(|&(_, id)| self.name(id)).collect();
            parts.push(format!("also={}", also.join(",")));
        }
        if parts.is_empty() {
            parts.push("nothing".to_owned());
        }
        parts.join(" ")
    }

    /// A certificate with those whose records are in it.
    pub(crate) fn certificate(&self, certificate: &Certificate) -> String {
        let by = all_of(certificate.records.iter().map(|signed| signed.validator));
        let at = w(certificate.window);
        match certificate.target {
            Target::Certified { id, .. } => format!("Certified({}) by {by}", self.name(id)),
            Target::Skip { from } => format!("Skip({at} from {}) by {by}", from.number()),
            Target::Final { id, .. } => format!("Final({}) by {by}", self.name(id)),
        }
    }

    fn certificates(&self, certificates: &[Certificate]) -> String {
        let texts: Vec<String> = certificates
            .iter()
            .map(|one| self.certificate(one))
            .collect();
        texts.join(", ")
    }

    fn vote(&self, vote: &Vote) -> String {
        let signed = if vote.signature.is_some() {
            ", signed"
        } else {
            ""
        };
        format!(
            "vote {} {}{signed}",
            w(vote.window),
            self.record(&vote.record)
        )
    }

    fn status(&self, status: &Status) -> String {
        let mut text = format!(
            "status {} {}, finalized {}, proven {}",
            w(status.window),
            self.record(&status.record),
            self.name(status.finalized.id),
            self.name(status.proven.id)
        );
        if let Some(gap) = status.gap {
            text.push_str(&format!(", gap {}", w(gap)));
        }
        for (is_so, word) in [
            (status.abstains, ", abstains"),
            (status.recovering, ", recovering"),
            (status.no_proposals, ", may not propose"),
        ] {
            text.push_str(if is_so { word } else { "" });
        }
        text
    }

    fn get(&self, get: &Get) -> (String, Vec<String>) {
        match get {
            Get::Headers { id, above, .. } => {
                let above =
                    above.map_or_else(String::new, |at| format!(" above index {}", at.number()));
                (
                    format!("get headers of the chain of {}{above}", self.name(*id)),
                    Vec::new(),
                )
            }
            Get::Bodies(blocks) => {
                let names = blocks.iter().map(|block| self.name(block.id)).collect();
                ("get blocks ".to_owned(), names)
            }
            Get::History { top, count } => {
                let top = self.name(top.id);
                (
                    format!("get history below {top}, {count} at most"),
                    Vec::new(),
                )
            }
            Get::Finality { at_least } => {
                let height = at_least.number();
                (
                    format!("get a proof of height {height} or above"),
                    Vec::new(),
                )
            }
            Get::Ready { window } => (
                format!("get the certificates behind {}", w(*window)),
                Vec::new(),
            ),
        }
    }

    fn propose(&self, propose: &Propose) -> (String, Vec<String>, String) {
        let names = vec![self.name(propose.header.id())];
        let mut after = String::new();
        if let Some(record) = &propose.record {
            after.push_str(&format!(", with record {}", self.record(record)));
        }
        if !propose.justification.is_empty() {
            let certificates = self.certificates(&propose.justification);
            after.push_str(&format!(", justified by {certificates}"));
        }
        ("propose ".to_owned(), names, after)
    }

    /// A message: what comes before the blocks it is about, the blocks, and what comes after.
    pub(crate) fn message(&self, message: &Message) -> (String, Vec<String>, String) {
        let plain = |text: String| (text, Vec::new(), String::new());
        match message {
            Message::Propose(propose) => self.propose(propose),
            Message::Vote(vote) => plain(self.vote(vote)),
            Message::Certificates(certificates) => {
                plain(format!("certificates {}", self.certificates(certificates)))
            }
            Message::Get(get) => {
                let (before, names) = self.get(get);
                (before, names, String::new())
            }
            Message::Headers { headers, .. } => {
                let names: Vec<_> = headers
                    .iter()
                    .map(|header| self.name(header.id()))
                    .collect();
                plain(format!("headers {}", ranges(&names)))
            }
            Message::Block { header, .. } => (
                "block ".to_owned(),
                vec![self.name(header.id())],
                String::new(),
            ),
            Message::History(headers) => {
                let names: Vec<_> = headers
                    .iter()
                    .map(|header| self.name(header.id()))
                    .collect();
                plain(format!("history {}", ranges(&names)))
            }
            Message::Status(status) => plain(self.status(status)),
            Message::HeaderSignature { header, .. } => {
                plain(format!("signature of {}", self.name(header.id())))
            }
            Message::Evidence(_) => plain("evidence".to_owned()),
            Message::FenceAsk { .. } => plain("what do you hold of me?".to_owned()),
            Message::FenceAnswer { held, .. } => plain(if held.is_empty() {
                "I hold nothing of you".to_owned()
            } else {
                let records = held.iter().map(|held| {
                    let record = self.record(&held.record);
                    format!("{} {record}", w(held.window))
                });
                let records: Vec<String> = records.collect();
                format!("I hold of you {}", records.join(" and "))
            }),
            Message::Recover { .. } => plain("how far have I spoken?".to_owned()),
            Message::RecoverAnswer(answer) => {
                plain(format!("nothing of mine stands above {}", w(answer.window)))
            }
            Message::Forward(_) => plain("forward".to_owned()),
            Message::Attestation { statement, .. } => {
                plain(format!("state at height {}", statement.height.number()))
            }
            Message::Snapshot(_) => plain("snapshot".to_owned()),
            Message::Abscissas { .. } => plain("abscissas".to_owned()),
        }
    }
}

/// The word by which a script picks messages of this kind.
pub(crate) const fn kind_of(message: &Message) -> &'static str {
    match message {
        Message::Propose(_) => "propose",
        Message::Vote(vote) if vote.signature.is_some() => "signed",
        Message::Vote(_) => "vote",
        Message::Certificates(_) => "certificates",
        Message::Get(_) => "get",
        Message::Headers { .. } => "headers",
        Message::Block { .. } => "block",
        Message::History(_) => "history",
        Message::Status(_) => "status",
        Message::HeaderSignature { .. } => "signature",
        Message::Evidence(_) => "evidence",
        Message::FenceAsk { .. } | Message::FenceAnswer { .. } => "fence",
        Message::Recover { .. } | Message::RecoverAnswer(_) => "recover",
        Message::Forward(_) => "forward",
        Message::Attestation { .. } => "state",
        Message::Snapshot(_) => "snapshot",
        Message::Abscissas { .. } => "abscissas",
    }
}
