//! `cargo xtask tidy`: the project's own rules, checked over every file of the repository.
//!
//! Owns the walk over the files and the order of the checks; each check is a module of its own
//! with a test that it fails on a bad sample. Never: changes a file.

mod citations;
pub(crate) mod deps;
mod finding;
mod markdown;
mod mutants;
mod purity;
mod rule_table;
mod rules;
mod scripts;
mod shape;
mod source;
mod switches;
mod trust;
mod unused;
mod words;

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use finding::Finding;
use source::Source;

/// Folders that hold nothing of the project.
const SKIPPED_FOLDERS: &[&str] = &["target", ".git", "node_modules"];

/// Endings of the files that are read.
const TEXT_ENDINGS: &[&str] = &[
    ".rs", ".md", ".toml", ".sh", ".yml", ".txt", ".ci/run", ".patch", ".script", ".trace",
];

/// Endings of the files that tools leave beside the one they change.
const LEFTOVER_ENDINGS: &[&str] = &[".orig", ".rej", ".bak", ".swp", "~"];

/// A file of the repository, read.
struct TextFile {
    path: String,
    text: String,
}

/// Runs every check below `root` and prints what it finds. True when there is nothing to find.
///
/// # Errors
/// When a file cannot be read or `cargo` cannot be run.
pub(crate) fn run(root: &Path) -> Result<bool> {
    let mut walk = Walk::default();
    walk.collect(root, "")?;
    let Walk {
        mut files,
        leftovers,
    } = walk;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    let sources = sources_of(&files);
    let mut found = check_files(root, &files, &sources);
    found.extend(leftovers);
    deps::check(root, &sources, &mut found)?;
    found.sort();
    found.dedup();
    for finding in &found {
        println!("{finding}");
    }
    if found.is_empty() {
        println!("tidy: {} files, nothing to complain about", files.len());
    } else {
        println!("tidy: {} findings in {} files", found.len(), files.len());
    }
    Ok(found.is_empty())
}

/// Writes the table of docs/protocol.md that says where each rule stands.
///
/// # Errors
/// When a file cannot be read or written, or the document lacks the marks of the table.
pub(crate) fn write_rules(root: &Path) -> Result<bool> {
    let mut walk = Walk::default();
    walk.collect(root, "")?;
    let files = walk.files;
    let path = root.join(rules::DOCUMENT);
    let document =
        fs::read_to_string(&path).with_context(|| format!("reading {}", rules::DOCUMENT))?;
    let text = rule_table::updated(&document, &sources_of(&files), &scripts_of(&files))
        .with_context(|| format!("{} has no place for the table", rules::DOCUMENT))?;
    fs::write(&path, text).with_context(|| format!("writing {}", rules::DOCUMENT))?;
    Ok(true)
}

/// The Rust files among `files`, scanned.
fn sources_of(files: &[TextFile]) -> Vec<Source> {
    let mut sources: Vec<Source> = files
        .iter()
        .filter(|file| file.path.ends_with(".rs"))
        .map(|file| Source::new(&file.path, &file.text))
        .collect();
    source::mark_test_files(&mut sources);
    sources
}

/// The scenario scripts among `files`.
fn scripts_of(files: &[TextFile]) -> Vec<scripts::Script> {
    scripts::scripts_of(
        files
            .iter()
            .map(|file| (file.path.as_str(), file.text.as_str())),
    )
}

fn check_files(root: &Path, files: &[TextFile], sources: &[Source]) -> Vec<Finding> {
    let mut found = Vec::new();
    let protocol = files.iter().find(|file| file.path == rules::DOCUMENT);
    let protocol = protocol.map_or("", |file| file.text.as_str());
    let roots = markdown::machine_roots(root);
    for file in files {
        // These checks quote what they look for in their own tests.
        if !file.path.starts_with("tools/xtask/src/tidy/") {
            markdown::check_paths(&file.path, &file.text, &roots, &mut found);
        }
        if file.path.ends_with(".md") {
            markdown::check(root, &file.path, &file.text, &mut found);
            citations::check_prose(protocol, &file.path, &file.text, &mut found);
        }
    }
    for source in sources {
        shape::check(source, &mut found);
        words::check(source, &mut found);
        purity::check(source, &mut found);
        trust::check(source, &mut found);
        switches::check(source, &mut found);
    }
    trust::check_domains(sources, &mut found);
    unused::files(sources, &mut found);
    mutants::check(files, &mut found);
    citations::check(protocol, sources, &mut found);
    let scripts = scripts_of(files);
    scripts::check(protocol, &scripts, &mut found);
    rule_table::check(protocol, sources, &scripts, &mut found);
    rules::check(protocol, sources, &mut found);
    found
}

/// What was found below the root.
#[derive(Default)]
struct Walk {
    files: Vec<TextFile>,
    /// A complaint about each file that a tool has left behind.
    leftovers: Vec<Finding>,
}

impl Walk {
    /// Reads every text file below `root`/`folder`.
    fn collect(&mut self, root: &Path, folder: &str) -> Result<()> {
        let place = root.join(folder);
        for entry in fs::read_dir(&place).with_context(|| format!("reading {}", place.display()))? {
            let entry = entry.with_context(|| format!("reading {}", place.display()))?;
            let name = entry.file_name().to_string_lossy().into_owned();
            let path = if folder.is_empty() {
                name.clone()
            } else {
                format!("{folder}/{name}")
            };
            let kind = entry
                .file_type()
                .with_context(|| format!("looking at {path}"))?;
            if kind.is_dir() {
                if !SKIPPED_FOLDERS.contains(&name.as_str()) {
                    self.collect(root, &path)?;
                }
            } else if kind.is_file() {
                self.take(&entry.path(), path)?;
            }
        }
        Ok(())
    }

    fn take(&mut self, place: &Path, path: String) -> Result<()> {
        self.leftovers.extend(leftover(&path));
        if TEXT_ENDINGS.iter().any(|ending| path.ends_with(ending)) {
            let bytes = fs::read(place).with_context(|| format!("reading {path}"))?;
            // A file that is not UTF-8 is still walked: the shape check reports the characters.
            let text = String::from_utf8_lossy(&bytes).into_owned();
            self.files.push(TextFile { path, text });
        }
        Ok(())
    }
}

fn leftover(path: &str) -> Option<Finding> {
    let is_left = LEFTOVER_ENDINGS.iter().any(|ending| path.ends_with(ending));
    let what = "a file that a tool has left behind";
    is_left.then(|| Finding::new(path, 0, what, "take it away"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(path: &str, text: &str) -> TextFile {
        TextFile {
            path: path.into(),
            text: text.into(),
        }
    }

    #[test]
    fn every_check_is_wired_in() {
        let files = [
            file(
                "engine/consensus/src/a.rs",
                "use std::fmt; // the ballot, see /home/x\n",
            ),
            file(
                "bench/src/b.rs",
                "//! B.\n#[cfg(loom)]\nlet a = unsafe { T::assert_durable(b) };\n",
            ),
            file("engine/sim/scripts/a.script", "validators 4\n"),
            file("docs/a.md", "no title, protocol.md 9.9\n"),
            file("engine/sim/mutants/c.patch", "# name: c\n"),
        ];
        let found = check_files(Path::new("."), &files, &sources_of(&files));
        for part in [
            "//!",
            "std::",
            "ballot",
            "/home",
            "unsafe",
            "assert_durable",
            "a switch for loom",
            "titles",
            "R1 ",
            "no module",
            "no section 9.9",
            "the mutant",
            "it has no trace",
        ] {
            assert!(
                found.iter().any(|f| f.what.contains(part)),
                "nothing found about {part}"
            );
        }
    }

    #[test]
    fn the_walk_reads_this_very_file() {
        let mut walk = Walk::default();
        walk.collect(&crate::repository_root(), "")
            .expect("the repository can be read");
        assert!(
            walk.files
                .iter()
                .any(|file| file.path == "tools/xtask/src/tidy/mod.rs")
        );
        let mut paths = walk.files.iter().map(|file| &file.path);
        assert!(paths.all(|path| !path.starts_with("target/")));
    }

    #[test]
    fn what_a_tool_leaves_behind_is_found() {
        for path in ["a.rs.orig", "net/b.toml.rej", "c.md~"] {
            assert!(leftover(path).is_some(), "{path}");
        }
        for path in ["a.rs", "origin.rs", "Cargo.lock", ".gitignore"] {
            assert!(leftover(path).is_none(), "{path}");
        }
    }
}
