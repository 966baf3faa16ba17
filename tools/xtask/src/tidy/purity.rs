//! What the consensus crate must not touch, and where `unsafe` may stand.
//!
//! The compiler holds most of it (`no_std`, `forbid(unsafe_code)`); this check holds that those
//! two lines stay, and the rest. Never: looks at tests, which may use all of `std`.

use super::finding::Finding;
use super::source::{Source, has_word};

/// Where the pure sources stand.
const PURE: &str = "engine/consensus/src/";

/// Words that must not occur in pure code, with the reason.
const IMPURE: &[(&str, &str)] = &[
    ("std::", "use core or alloc; the crate does no I/O"),
    (
        "extern crate std",
        "use core or alloc; the crate does no I/O",
    ),
    (
        "HashMap",
        "use BTreeMap or an array; the order of a hash map is not replicated",
    ),
    (
        "HashSet",
        "use BTreeSet or a bit set; the order of a hash set is not replicated",
    ),
    ("Instant", "time is an input of Consensus::handle"),
    ("SystemTime", "time is an input of Consensus::handle"),
    ("Mutex", "one thread owns the state"),
    ("RwLock", "one thread owns the state"),
    ("f32", "integers only; floats differ between builds"),
    ("f64", "integers only; floats differ between builds"),
];

/// The files that may hold `unsafe`, each with a `// SAFETY:` at every block (clippy holds that).
const UNSAFE_FILES: &[&str] = &[
    "log/src/map.rs", // the mapping itself: fixed length, one writer, never truncated
    "engine/curve/src/layout.rs", // the words of a point, proven at each build
    "log/src/bus_error.rs", // a signal handler of two system calls
    "tools/decoders/src/counting.rs", // an allocator that counts, in a program that ships nowhere
];

/// The attributes that the root of a crate must carry.
const ROOT_ATTRIBUTES: &[(&str, &[&str])] = &[
    (
        "engine/consensus/src/lib.rs",
        &["no_std", "forbid(unsafe_code)"],
    ),
    ("engine/curve/src/lib.rs", &["no_std", "deny(unsafe_code)"]),
    ("engine/node/src/lib.rs", &["forbid(unsafe_code)"]),
    ("engine/sim/src/lib.rs", &["forbid(unsafe_code)"]),
    ("engine/venue/src/lib.rs", &["forbid(unsafe_code)"]),
    ("net/src/lib.rs", &["forbid(unsafe_code)"]),
    ("bench/src/lib.rs", &["forbid(unsafe_code)"]),
    ("tools/decoders/src/lib.rs", &["forbid(unsafe_code)"]),
    ("tools/quorate/src/lib.rs", &["forbid(unsafe_code)"]),
    ("tools/quorate/src/main.rs", &["forbid(unsafe_code)"]),
    ("tools/xtask/src/main.rs", &["forbid(unsafe_code)"]),
];

/// Every complaint about the purity of `source`.
pub(crate) fn check(source: &Source, found: &mut Vec<Finding>) {
    if source.path.starts_with(PURE) {
        impure_words(source, found);
    }
    if !UNSAFE_FILES.contains(&source.path.as_str()) {
        unsafe_blocks(source, found);
    }
    for (path, attributes) in ROOT_ATTRIBUTES
        .iter()
        .filter(|(path, _)| *path == source.path)
    {
        for attribute in *attributes {
            let is_carried = source.lines.iter().any(|line| {
                let code = line.code.trim();
                code.starts_with("#![") && code.contains(attribute)
            });
            if !is_carried {
                let what = format!("the crate does not say {attribute}");
                found.push(Finding::new(path, 1, what, format!("add #![{attribute}]")));
            }
        }
    }
}

fn impure_words(source: &Source, found: &mut Vec<Finding>) {
    for (number, line) in source.numbered().filter(|(_, line)| !line.is_test) {
        for (word, remedy) in IMPURE {
            let is_there = match word.strip_suffix("::") {
                Some(head) => path_head(&line.code, head),
                None => has_word(&line.code, word),
            };
            if is_there {
                let what = format!("\"{word}\" in pure code");
                found.push(Finding::new(&source.path, number, what, *remedy));
            }
        }
    }
}

/// Whether `head::` stands in `code` as the beginning of a path.
fn path_head(code: &str, head: &str) -> bool {
    super::source::word_columns(code, head)
        .iter()
        .any(|at| code[at + head.len()..].starts_with("::"))
}

fn unsafe_blocks(source: &Source, found: &mut Vec<Finding>) {
    for (number, line) in source.numbered() {
        if has_word(&line.code, "unsafe") {
            found.push(Finding::new(
                &source.path,
                number,
                "unsafe outside the files that may hold it",
                "use a safe interface; the files are listed in tools/xtask/src/tidy/purity.rs",
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
    fn impure_words_are_found_in_pure_code_only() {
        for text in [
            "use std::fmt;\n",
            "extern crate std;\n",
            "let a: HashMap<u8, u8>;\n",
            "let a = HashSet::new();\n",
            "let a: Instant;\n",
            "let a: SystemTime;\n",
            "let a: f64 = 0.0;\n",
        ] {
            assert_eq!(
                findings("engine/consensus/src/a.rs", text).len(),
                1,
                "{text}"
            );
            assert!(findings("engine/node/src/a.rs", text).is_empty(), "{text}");
            let behind_test = format!("#[cfg(test)]\nmod tests {{\n{text}}}\n");
            assert!(
                findings("engine/consensus/src/a.rs", &behind_test).is_empty(),
                "{text}"
            );
        }
        assert!(findings("engine/consensus/src/a.rs", "// std::fmt\nmy_std::a();\n").is_empty());
    }

    #[test]
    fn unsafe_is_found_outside_its_files() {
        let text = "unsafe { a() }\n";
        assert_eq!(findings("net/src/a.rs", text).len(), 1);
        assert_eq!(findings("log/src/writer.rs", text).len(), 1);
        assert!(findings("log/src/map.rs", text).is_empty());
        assert!(findings("net/src/a.rs", "#![forbid(unsafe_code)]\n").is_empty());
    }

    #[test]
    fn a_root_without_its_attributes_is_found() {
        assert_eq!(findings("engine/consensus/src/lib.rs", "//! A.\n").len(), 2);
        let text = "//! A.\n#![no_std]\n#![forbid(unsafe_code)]\n";
        assert!(findings("engine/consensus/src/lib.rs", text).is_empty());
    }
}
