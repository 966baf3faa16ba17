//! The prose of the repository: one title a file, no paths of a machine, links that lead somewhere.
//!
//! Never: judges the wording.

use std::path::Path;

use super::finding::Finding;

/// Beginnings of paths that exist on one machine only: where people and mounted disks have theirs.
const MACHINE_ROOTS: &[&str] = &[
    "/Users", "/home", "/media", "/mnt", "/root", "/scratch", "/tmp",
];

/// The same, and the folder in which the repository at `root` stands on this machine.
pub(crate) fn machine_roots(root: &Path) -> Vec<String> {
    let own = root.canonicalize().ok().and_then(|own| {
        let around = own.parent()?;
        let is_top = around.parent().is_none();
        Some(if is_top { own } else { around.to_path_buf() })
    });
    let fixed = MACHINE_ROOTS.iter().map(|&root| root.to_owned());
    fixed
        .chain(own.map(|own| own.to_string_lossy().into_owned()))
        .collect()
}

/// Every complaint about the Markdown `text` at `path`. `root` is where links are looked up.
pub(crate) fn check(root: &Path, path: &str, text: &str, found: &mut Vec<Finding>) {
    let mut titles = 0_usize;
    let mut is_fenced = false;
    for (index, line) in text.lines().enumerate() {
        if line.trim_start().starts_with("```") {
            is_fenced = !is_fenced;
        } else if !is_fenced {
            if line.starts_with("# ") {
                titles += 1;
            }
            links(root, path, index + 1, line, found);
        }
    }
    if titles != 1 {
        let what = format!("{titles} titles (lines that begin with one #)");
        found.push(Finding::new(path, 0, what, "a file has one"));
    }
}

/// Complains about the path of a machine, below one of `roots`, in any text of the repository.
pub(crate) fn check_paths(path: &str, text: &str, roots: &[String], found: &mut Vec<Finding>) {
    for (index, line) in text.lines().enumerate() {
        for root in roots.iter().filter(|root| has_path(line, root)) {
            let what = format!("a path of one machine ({root})");
            found.push(Finding::new(
                path,
                index + 1,
                what,
                "name it from the repository's root",
            ));
        }
    }
}

/// Whether `root` stands in `line` as the beginning of an absolute path.
fn has_path(line: &str, root: &str) -> bool {
    line.match_indices(root).any(|(at, _)| {
        let before = line[..at].chars().next_back();
        let after = line[at + root.len()..].chars().next();
        let begins = before.is_none_or(|c| !c.is_alphanumeric() && !"._-/})>".contains(c));
        let ends = after.is_none_or(|c| !c.is_alphanumeric() && !"_-".contains(c));
        begins && ends
    })
}

fn links(root: &Path, path: &str, number: usize, line: &str, found: &mut Vec<Finding>) {
    for part in line.split("](").skip(1) {
        let Some((target, _)) = part.split_once(')') else {
            continue;
        };
        let file = target.split('#').next().unwrap_or_default();
        if file.is_empty() || file.contains(':') || file.contains(' ') {
            continue;
        }
        let folder = root.join(path);
        let there = folder
            .parent()
            .is_some_and(|folder| folder.join(file).exists());
        if !there {
            let what = format!("the link to {file} leads nowhere");
            found.push(Finding::new(
                path,
                number,
                what,
                "link to a file that exists",
            ));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn findings(text: &str) -> Vec<String> {
        let mut found = Vec::new();
        check(
            Path::new(env!("CARGO_MANIFEST_DIR")),
            "NOTES.md",
            text,
            &mut found,
        );
        found.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_file_has_exactly_one_title() {
        assert!(findings("# One\n\n## Two\n").is_empty());
        assert_eq!(findings("# One\n# Two\n").len(), 1);
        assert_eq!(findings("## Two\n").len(), 1);
        assert!(findings("# One\n```sh\n# a comment\n```\n").is_empty());
    }

    #[test]
    fn a_link_that_leads_nowhere_is_found() {
        assert_eq!(findings("# One\nSee [it](gone.md).\n").len(), 1);
        let good = "# One\n[a](Cargo.toml#x) [b](https://a.example/b) [c](#one)\n";
        assert!(findings(good).is_empty());
    }

    #[test]
    fn a_path_of_a_machine_is_found() {
        let manifest = Path::new(env!("CARGO_MANIFEST_DIR"));
        let roots = machine_roots(manifest);
        for (text, count) in [
            ("see /home/somebody/log", 1),
            ("`/root`", 1),
            ("cd /mnt", 1),
            ("/tmp/x and /Users/y", 2),
            ("net/home", 0),
            ("/homestead", 0),
            ("https://a.example/home/b", 0),
            ("/usr/local/bin/quorate", 0),
        ] {
            let mut found = Vec::new();
            check_paths("NOTES.md", text, &roots, &mut found);
            assert_eq!(found.len(), count, "{text}");
        }
        let beside = manifest.with_file_name("elsewhere");
        let mut found = Vec::new();
        check_paths(
            "NOTES.md",
            &beside.display().to_string(),
            &roots,
            &mut found,
        );
        assert!(!found.is_empty(), "{}", beside.display());
    }
}
