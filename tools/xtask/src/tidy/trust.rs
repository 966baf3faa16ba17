//! Who may make a trust type.
//!
//! `Authenticated`, `Verified` and `Durable` are proofs by type: whoever holds one may act on it.
//! A maker that has to be public because it lives in another crate than its caller is named
//! `assert_*`, and the table here lists the only places that may call it. A new maker without a
//! line in the table is a finding too. So is a domain string written in two places, since two
//! statements or hashes of one domain could pass for one another. The check of a batch of
//! signatures stands in the table as well: it is worth something only with coefficients that nobody
//! foresees. Never: judges whether the caller is right to assert.

use std::collections::BTreeMap;

use super::finding::Finding;
use super::source::{Source, word_columns};

/// A maker of a trust type, and where it may be called. Tests of the crate that owns it may call
/// it as well.
struct Maker {
    name: &'static str,
    owner: &'static str,
    callers: &'static [&'static str],
}

/// Where a channel or a journal stands, or what stands for them where nothing ships: the simulator,
/// and the rounds in memory that the benches measure.
const CALLERS: &[&str] = &[
    "engine/node/src/",
    "engine/sim/src/",
    "bench/benches/support/",
    "tools/decoders/src/machine",
];

/// Tests of every crate may call it.
const ANYBODY: &str = "";

/// The makers. A path that ends with `/` is a folder.
const MAKERS: &[Maker] = &[
    Maker {
        name: "assert_authenticated",
        owner: "engine/consensus/",
        callers: CALLERS,
    },
    Maker {
        name: "assert_durable",
        owner: "engine/consensus/",
        callers: CALLERS,
    },
    Maker {
        name: "assert_durable_answer",
        owner: "engine/consensus/",
        callers: CALLERS,
    },
    Maker {
        name: "assert_durable_lease",
        owner: "engine/consensus/",
        callers: CALLERS,
    },
    // Signatures can be forged for coefficients that are known beforehand.
    Maker {
        name: "assert_unpredictable",
        owner: "engine/node/",
        callers: &["engine/sim/src/"],
    },
    Maker {
        name: "Zip215::new",
        owner: ANYBODY,
        callers: &["engine/node/src/auth/seed.rs", "engine/sim/src/", "bench/"],
    },
];

/// Folders in which a `pub fn assert_*` must stand in the table.
const OWNERS: &[&str] = &[
    "engine/consensus/src/",
    "engine/node/src/",
    "net/src/",
    "log/src/",
];

/// How every domain of a signature or a hash begins.
const DOMAIN_START: &str = "\"bft/";

/// Domains that may be written in two places, with the reason.
const SHARED_DOMAINS: &[&str] = &[
    "bft/header/v1", // a header's id and the signature of its leader: a hash and a statement
];

/// The simulator's checks write down anew what they judge by: what they took from the product would
/// be wrong with it.
const CHECKS: &str = "engine/sim/src/checks/";

/// Every complaint about the makers that `source` defines or calls.
pub(crate) fn check(source: &Source, found: &mut Vec<Finding>) {
    for maker in MAKERS {
        calls(source, maker, found);
    }
    if OWNERS.iter().any(|owner| source.path.starts_with(owner)) {
        definitions(source, found);
    }
}

/// Complains about a domain that is written down in more than one place.
pub(crate) fn check_domains(sources: &[Source], found: &mut Vec<Finding>) {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    let makers = sources.iter().filter(|one| !one.path.starts_with(CHECKS));
    for source in makers {
        for (number, line) in source.numbered().filter(|(_, line)| !line.is_test) {
            let is_comment = line.comment.contains(DOMAIN_START);
            let Some((_, rest)) = line.text.split_once(DOMAIN_START).filter(|_| !is_comment) else {
                continue;
            };
            let Some((tail, _)) = rest.split_once('"') else {
                continue;
            };
            let start = line.text.len() - rest.len() - DOMAIN_START.len() + 1;
            let domain = &line.text[start..start + DOMAIN_START.len() - 1 + tail.len()];
            let first = seen.entry(domain).or_insert(&source.path);
            if *first != source.path && !SHARED_DOMAINS.contains(&domain) {
                let what = format!("the domain {domain} stands in {first} too");
                found.push(Finding::new(
                    &source.path,
                    number,
                    what,
                    "take one of its own",
                ));
            }
        }
    }
}

fn calls(source: &Source, maker: &Maker, found: &mut Vec<Finding>) {
    if maker
        .callers
        .iter()
        .any(|caller| source.path.starts_with(caller))
    {
        return;
    }
    for (number, line) in source.numbered() {
        if line.is_test && source.path.starts_with(maker.owner) {
            continue;
        }
        for at in word_columns(&line.code, maker.name) {
            let is_definition = line.code[..at].trim_end().ends_with("fn");
            if !is_definition {
                found.push(Finding::new(
                    &source.path,
                    number,
                    format!("{} is called here", maker.name),
                    format!("only {} may call it", maker.callers.join(", ")),
                ));
            }
        }
    }
}

fn definitions(source: &Source, found: &mut Vec<Finding>) {
    for function in source
        .functions()
        .iter()
        .filter(|function| !function.is_test)
    {
        let is_public = source.lines[function.first - 1]
            .code
            .trim_start()
            .starts_with("pub ");
        let is_listed = MAKERS.iter().any(|maker| maker.name == function.name);
        if is_public && function.name.starts_with("assert_") && !is_listed {
            found.push(Finding::new(
                &source.path,
                function.first,
                format!("fn {} is not in the table of trust makers", function.name),
                "list it with its callers in tools/xtask/src/tidy/trust.rs",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(path: &str, text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(&Source::new(path, text), &mut found);
        found.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_maker_called_from_elsewhere_is_found() {
        let text = "let a = Durable::assert_durable(record);\n";
        assert_eq!(findings("bench/src/load.rs", text).len(), 1);
        assert_eq!(findings("engine/consensus/src/machine.rs", text).len(), 1);
        assert!(findings("engine/node/src/stages/journal.rs", text).is_empty());
        assert!(findings("engine/consensus/tests/rules.rs", text).is_empty());
        assert_eq!(findings("engine/node/tests/cluster.rs", text).len(), 1);
    }

    #[test]
    fn a_check_of_batches_is_made_of_a_seed_of_the_system_alone() {
        let check = "let check = Zip215::new(ChaCha20Rng::from_seed([0; 32]));\n";
        let seed = "let seed = BatchSeed::assert_unpredictable([0; 32]);\n";
        for text in [check, seed] {
            assert_eq!(findings("tools/quorate/src/replay.rs", text).len(), 1);
            assert_eq!(findings("engine/node/src/auth.rs", text).len(), 1);
            assert!(findings("engine/sim/src/harm.rs", text).is_empty());
            assert!(findings("engine/node/tests/replica/world.rs", text).is_empty());
        }
    }

    #[test]
    fn a_definition_is_not_a_call() {
        let text = "pub const fn assert_durable(record: T) -> Self {\n}\n";
        assert!(findings("engine/consensus/src/durable.rs", text).is_empty());
    }

    #[test]
    fn a_domain_in_two_places_is_found() {
        let count = |text: &str, other: &str| {
            let sources = [
                Source::new("engine/consensus/src/signing.rs", text),
                Source::new("engine/node/src/keys.rs", other),
            ];
            let mut found = Vec::new();
            check_domains(&sources, &mut found);
            found.len()
        };
        let [record, price, header] = ["record", "price", "header"]
            .map(|name| format!("const A: &[u8] = b\"bft/{name}/v1\";\n"));
        assert_eq!(count(&record, &record), 1);
        assert_eq!(count(&record, &price), 0);
        assert_eq!(count(&header, &header), 0);
    }

    #[test]
    fn a_maker_that_the_table_does_not_know_is_found() {
        let text = "pub fn assert_verified(record: T) -> Self {\n}\n";
        assert_eq!(findings("engine/consensus/src/verify.rs", text).len(), 1);
        assert!(findings("engine/venue/src/book.rs", text).is_empty());
    }
}
