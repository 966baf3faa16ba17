//! What nobody uses: a file that no `mod` names, a dependency that no source names.
//!
//! The compiler does not see such a file at all, and builds such a dependency all the same. Never:
//! judges what is used, however little.

use super::finding::Finding;
use super::source::{Source, has_word};

/// Complains about every file below a `src` folder that no module declares.
pub(crate) fn files(sources: &[Source], found: &mut Vec<Finding>) {
    for source in sources.iter().filter(|source| source.path.contains("src/")) {
        let Some((name, parents)) = declaration_of(&source.path) else {
            continue;
        };
        let is_declared = sources
            .iter()
            .filter(|parent| parents.contains(&parent.path))
            .any(|parent| parent.declared_modules().any(|(_, module)| module == name));
        if !is_declared && !is_included(&source.path, sources) {
            found.push(Finding::new(
                &source.path,
                0,
                "no module declares this file, so that it is never compiled",
                format!(
                    "add mod {name}; to {} or delete the file",
                    parents.join(" or ")
                ),
            ));
        }
    }
}

/// Whether a `#[path = "..."]` in the same folder names the file at `path`.
fn is_included(path: &str, sources: &[Source]) -> bool {
    let Some((folder, file)) = path.rsplit_once('/') else {
        return false;
    };
    let attribute = format!("#[path = \"{file}\"]");
    sources
        .iter()
        .filter(|source| {
            source
                .path
                .rsplit_once('/')
                .is_some_and(|(other, _)| other == folder)
        })
        .any(|source| {
            source
                .lines
                .iter()
                .any(|line| line.text.trim() == attribute)
        })
}

/// The module that the file at `path` is, and the files that may declare it. `None` for a root.
pub(crate) fn declaration_of(path: &str) -> Option<(String, Vec<String>)> {
    let (folder, file) = path.rsplit_once('/')?;
    let stem = file.strip_suffix(".rs")?;
    let is_root = (folder.ends_with("src") && matches!(stem, "lib" | "main"))
        || folder.ends_with("src/bin")
        || file == "build.rs";
    if is_root {
        return None;
    }
    let (name, parent) = match stem {
        "mod" => {
            let (parent, name) = folder.rsplit_once('/')?;
            (name, parent)
        }
        _ => (stem, folder),
    };
    let parents = if parent.ends_with("src") {
        vec![format!("{parent}/lib.rs"), format!("{parent}/main.rs")]
    } else {
        vec![format!("{parent}.rs"), format!("{parent}/mod.rs")]
    };
    Some((name.to_owned(), parents))
}

/// Complains if no source below `folder` names the crate `dependency`, which the manifest there
/// lists. `is_test` says that it is listed for tests, which may then stand anywhere.
pub(crate) fn dependency(
    manifest: &str,
    dependency: &str,
    is_test: bool,
    sources: &[Source],
    found: &mut Vec<Finding>,
) {
    let folder = manifest.trim_end_matches("Cargo.toml");
    let name = dependency.replace('-', "_");
    let mut own = sources
        .iter()
        .filter(|source| source.path.starts_with(folder));
    let is_named = own.any(|source| {
        source
            .lines
            .iter()
            .any(|line| (is_test || !line.is_test) && has_word(&line.code, &name))
    });
    if !is_named {
        let what = format!("no source names the dependency {dependency}");
        found.push(Finding::new(
            manifest,
            0,
            what,
            "take it out of the manifest",
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sources(files: &[(&str, &str)]) -> Vec<Source> {
        files
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect()
    }

    fn dead(list: &[(&str, &str)]) -> Vec<String> {
        let mut found = Vec::new();
        files(&sources(list), &mut found);
        found.into_iter().map(|finding| finding.path).collect()
    }

    #[test]
    fn a_file_that_no_module_declares_is_found() {
        assert_eq!(
            dead(&[("net/src/lib.rs", "//! N.\n"), ("net/src/a.rs", "")]),
            ["net/src/a.rs"]
        );
        let text = "// mod a;\nmod ab;\n";
        assert_eq!(
            dead(&[("net/src/lib.rs", text), ("net/src/a.rs", "")]),
            ["net/src/a.rs"]
        );
    }

    #[test]
    fn a_declared_file_passes_in_every_layout() {
        let list = [
            ("net/src/lib.rs", "pub mod a;\npub(crate) mod b;\n"),
            ("net/src/a.rs", "mod c;\n"),
            ("net/src/a/c.rs", ""),
            ("net/src/b/mod.rs", "#[cfg(test)]\nmod tests;\n"),
            ("net/src/b/tests.rs", ""),
            ("net/src/bin/tool.rs", ""),
            ("net/tests/all.rs", ""),
        ];
        assert!(dead(&list).is_empty());
    }

    #[test]
    fn a_file_included_by_its_path_passes() {
        let text = "#[cfg(test)]\n#[path = \"a_tests.rs\"]\nmod tests;\n";
        let list = [
            ("net/src/lib.rs", "mod a;\n"),
            ("net/src/a.rs", text),
            ("net/src/a_tests.rs", ""),
        ];
        assert!(dead(&list).is_empty());
        assert_eq!(dead(&list[..1]), Vec::<String>::new());
        assert_eq!(
            dead(&[list[0], ("net/src/a.rs", ""), list[2]]),
            ["net/src/a_tests.rs"]
        );
    }

    #[test]
    fn a_dependency_that_nobody_names_is_found() {
        let list = sources(&[
            (
                "net/src/lib.rs",
                "use mio::Poll; // snow\n#[cfg(test)]\nmod t { use a_b::c; }\n",
            ),
            ("log/src/lib.rs", "use snow::Builder;\n"),
        ]);
        let count = |name: &str, is_test: bool| {
            let mut found = Vec::new();
            dependency("net/Cargo.toml", name, is_test, &list, &mut found);
            found.len()
        };
        assert_eq!(count("mio", false), 0);
        assert_eq!(count("snow", false), 1);
        assert_eq!(count("a-b", true), 0);
        assert_eq!(count("a-b", false), 1);
    }
}
