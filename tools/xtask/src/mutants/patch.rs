//! Unified diffs, read and applied strictly.
//!
//! Owns what a mutant's patch file may look like and how it changes a text: every line of context
//! and every removed line must stand in the file exactly as the patch has it, at the place that the
//! patch names or at one other place alone. An applier of our own, because a machine that runs the
//! checks need not have `git` or `patch`, and because both forgive more than a mutant may be
//! forgiven: `patch` drops context until something fits. Never: files.

use std::ops::Range;

use anyhow::{Context, Result, bail, ensure};

/// The change of one file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FilePatch {
    /// The file, from the root of the repository.
    pub(crate) path: String,
    hunks: Vec<Hunk>,
}

/// One place of a file that changes.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Hunk {
    /// Line at which the old text stood when the patch was made, from 1.
    old_start: usize,
    old: Vec<String>,
    new: Vec<String>,
}

/// Divides a patch file into what stands before the diff and the diff.
pub(crate) fn split(text: &str) -> (&str, &str) {
    let at = if text.starts_with("--- ") {
        Some(0)
    } else {
        text.find("\n--- ").map(|at| at + 1)
    };
    text.split_at(at.unwrap_or(text.len()))
}

/// Reads a diff: the changes of one or more files that are there before and after.
///
/// # Errors
/// When it is no unified diff, makes or removes a file, or changes nothing.
pub(crate) fn parse(diff: &str) -> Result<Vec<FilePatch>> {
    let mut files: Vec<FilePatch> = Vec::new();
    let mut lines = diff.lines().peekable();
    while let Some(line) = lines.next() {
        if let Some(old) = line.strip_prefix("--- ") {
            let new = lines.next().and_then(|line| line.strip_prefix("+++ "));
            let new = new.with_context(|| format!("no line \"+++\" after \"{line}\""))?;
            let path = path_of(old, "a/")?;
            ensure!(
                path == path_of(new, "b/")?,
                "a file is renamed: \"{old}\" to \"{new}\""
            );
            ensure!(
                files.iter().all(|file| file.path != path),
                "{path} stands in it twice"
            );
            files.push(FilePatch {
                path: path.to_owned(),
                hunks: Vec::new(),
            });
        } else if line.starts_with("@@ ") {
            let file = files.last_mut().context("a hunk before any file")?;
            file.hunks.push(read_hunk(line, &mut lines)?);
        } else {
            // What git writes between files.
            let is_noise = line.starts_with("diff ") || line.starts_with("index ");
            ensure!(is_noise, "a line that belongs to no hunk: \"{line}\"");
        }
    }
    ensure!(!files.is_empty(), "it changes no file");
    for file in &files {
        ensure!(!file.hunks.is_empty(), "{} has no hunk", file.path);
    }
    Ok(files)
}

/// The path in a line `--- a/path` or `+++ b/path`, whatever a tool wrote behind a tab.
fn path_of<'a>(name: &'a str, prefix: &str) -> Result<&'a str> {
    let name = name.split('\t').next().unwrap_or(name);
    let path = name.strip_prefix(prefix);
    let path = path.with_context(|| format!("the name \"{name}\" does not begin with {prefix}"))?;
    let is_inside = !path.is_empty() && path.split('/').all(|part| part != "..");
    ensure!(is_inside, "the name \"{name}\" leaves the repository");
    Ok(path)
}

fn read_hunk<'a>(head: &str, lines: &mut impl Iterator<Item = &'a str>) -> Result<Hunk> {
    let (old_start, old_count, new_count) =
        ranges_of(head).with_context(|| format!("no head of a hunk: \"{head}\""))?;
    let (mut old, mut new) = (Vec::new(), Vec::new());
    while old.len() < old_count || new.len() < new_count {
        let line = lines
            .next()
            .with_context(|| format!("the hunk \"{head}\" ends early"))?;
        // An empty line of context has lost its blank to an editor.
        match line.split_at_checked(1).unwrap_or((" ", "")) {
            (" ", rest) => {
                old.push(rest.to_owned());
                new.push(rest.to_owned());
            }
            ("-", rest) => old.push(rest.to_owned()),
            ("+", rest) => new.push(rest.to_owned()),
            _ => bail!("no line of a hunk: \"{line}\""),
        }
    }
    ensure!(
        old.len() == old_count && new.len() == new_count,
        "the hunk \"{head}\" counts its lines wrongly"
    );
    ensure!(old != new, "the hunk \"{head}\" changes nothing");
    ensure!(!old.is_empty(), "the hunk \"{head}\" has no context");
    Ok(Hunk {
        old_start,
        old,
        new,
    })
}

/// First old line, number of old lines and number of new ones in `@@ -52,7 +52,7 @@ ...`.
fn ranges_of(head: &str) -> Option<(usize, usize, usize)> {
    let (ranges, _) = head.strip_prefix("@@ -")?.split_once(" @@")?;
    let (old, new) = ranges.split_once(" +")?;
    let range = |text: &str| -> Option<(usize, usize)> {
        match text.split_once(',') {
            Some((start, count)) => Some((start.parse().ok()?, count.parse().ok()?)),
            None => Some((text.parse().ok()?, 1)),
        }
    };
    let (old_start, old_count) = range(old)?;
    Some((old_start, old_count, range(new)?.1))
}

impl FilePatch {
    /// The text of the file with the change in it.
    ///
    /// # Errors
    /// When a hunk's old lines do not stand in the text, or in more than one place and in none of
    /// them where the hunk says.
    pub(crate) fn apply(&self, text: &str) -> Result<String> {
        let lines: Vec<&str> = text.split('\n').collect();
        let mut changed: Vec<&str> = Vec::with_capacity(lines.len());
        let mut done = 0;
        for hunk in &self.hunks {
            let place = hunk.place(&lines, done)?;
            changed.extend_from_slice(&lines[done..place.start]);
            changed.extend(hunk.new.iter().map(String::as_str));
            done = place.end;
        }
        changed.extend_from_slice(&lines[done..]);
        Ok(changed.join("\n"))
    }
}

impl Hunk {
    /// Where the old lines stand, at or below the line `from`.
    fn place(&self, lines: &[&str], from: usize) -> Result<Range<usize>> {
        let named = self.old_start.saturating_sub(1);
        let all: Vec<usize> = lines
            .windows(self.old.len())
            .enumerate()
            .filter(|&(at, window)| at >= from && self.old == window)
            .map(|(at, _)| at)
            .collect();
        let at = match all.as_slice() {
            [only] => *only,
            several if several.contains(&named) => named,
            [] => bail!("the lines from {} on are not there", self.old_start),
            several => bail!(
                "the lines from {} on stand in {} places",
                self.old_start,
                several.len()
            ),
        };
        Ok(at..at + self.old.len())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DIFF: &str = "--- a/x.rs\n+++ b/x.rs\n@@ -2,3 +2,3 @@ fn f\n b\n-c\n+C\n d\n";

    fn applied(diff: &str, text: &str) -> Result<String> {
        parse(diff)?[0].apply(text)
    }

    fn refusal(diff: &str, text: &str) -> String {
        format!("{:#}", applied(diff, text).expect_err("it does not fit"))
    }

    #[test]
    fn a_hunk_changes_its_lines_and_nothing_else() {
        assert_eq!(
            applied(DIFF, "a\nb\nc\nd\ne\n").expect("it fits"),
            "a\nb\nC\nd\ne\n"
        );
    }

    #[test]
    fn lines_that_moved_are_found() {
        let text = "0\n0\n0\na\nb\nc\nd\n";
        assert_eq!(
            applied(DIFF, text).expect("it fits"),
            "0\n0\n0\na\nb\nC\nd\n"
        );
    }

    #[test]
    fn lines_that_differ_in_one_blank_are_not_there() {
        assert!(refusal(DIFF, "a\nb\nc \nd\n").contains("not there"));
        assert!(refusal(DIFF, "a\nb\nc\n").contains("not there"));
    }

    #[test]
    fn of_two_places_only_the_named_one_will_do() {
        let twice = "a\nb\nc\nd\nb\nc\nd\n";
        assert_eq!(
            applied(DIFF, twice).expect("named"),
            "a\nb\nC\nd\nb\nc\nd\n"
        );
        assert!(refusal(DIFF, &format!("0\n{twice}")).contains("2 places"));
    }

    #[test]
    fn hunks_follow_one_another() {
        let diff = "--- a/x\n+++ b/x\n@@ -1 +1,2 @@\n-a\n+A\n+B\n@@ -3,2 +4,1 @@\n c\n-d\n";
        assert_eq!(
            applied(diff, "a\nb\nc\nd\n").expect("it fits"),
            "A\nB\nb\nc\n"
        );
        // The second hunk's lines stand above those of the first.
        assert!(refusal(diff, "c\nd\na\n").contains("not there"));
    }

    #[test]
    fn an_empty_line_of_context_may_have_lost_its_blank() {
        let diff = "--- a/x\n+++ b/x\n@@ -1,2 +1,2 @@\n\n-a\n+b\n";
        assert_eq!(applied(diff, "\na\n").expect("it fits"), "\nb\n");
    }

    #[test]
    fn what_is_no_strict_diff_is_refused() {
        for (diff, why) in [
            ("", "no file"),
            ("--- a/x\n", "+++"),
            ("--- a/x\n+++ b/y\n@@ -1 +1 @@\n-a\n+b\n", "renamed"),
            ("--- /dev/null\n+++ b/y\n@@ -0,0 +1 @@\n+b\n", "begin with"),
            ("--- a/../x\n+++ b/../x\n@@ -1 +1 @@\n-a\n+b\n", "leaves"),
            ("--- a/x\n+++ b/x\n", "no hunk"),
            ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n a\n", "changes nothing"),
            ("--- a/x\n+++ b/x\n@@ -1,0 +1 @@\n+a\n", "no context"),
            ("--- a/x\n+++ b/x\n@@ -1,2 +1 @@\n-a\n+b\n", "ends early"),
            ("--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n+b\n+c\n", "no hunk"),
            (
                "--- a/x\n+++ b/x\n@@ -1 +1 @@\n-a\n\\ No newline\n",
                "no line",
            ),
            ("@@ -1 +1 @@\n-a\n+b\n", "before any file"),
        ] {
            let error = parse(diff).expect_err(diff);
            assert!(format!("{error:#}").contains(why), "{diff}: {error:#}");
        }
    }

    #[test]
    fn what_stands_before_the_diff_is_the_header() {
        assert_eq!(split("# a\n# b\n--- a/x\n"), ("# a\n# b\n", "--- a/x\n"));
        assert_eq!(split("--- a/x\n"), ("", "--- a/x\n"));
        assert_eq!(split("# a\n"), ("# a\n", ""));
    }
}
