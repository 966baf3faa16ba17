//! What `cargo xtask mutants` is asked for.
//!
//! Owns the words of its command line and how the catalogue is cut into slices. Never: reads files.

use anyhow::{Context, Result, bail, ensure};

use super::catalog::Mutant;

/// What is done with the mutants that are named, or with reports of them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Task {
    /// Each is put to the tests.
    #[default]
    Run,
    /// They are told, and nothing is run.
    List,
    /// Reports are added up.
    Sum,
    /// What reports say is written into the patches.
    Note,
}

/// What the words after `mutants` say.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Options<'a> {
    /// Parts of names, paths of patch files, or the reports to be added up.
    pub(crate) parts: Vec<&'a str>,
    pub(crate) as_json: bool,
    pub(crate) task: Task,
    /// Which of how many slices, the first being 1.
    slice: Option<(usize, usize)>,
}

impl<'a> Options<'a> {
    /// # Errors
    /// When a word is no option, or says nothing that could be done.
    pub(crate) fn parse(words: &[&'a str]) -> Result<Self> {
        let mut options = Self::default();
        let mut words = words.iter().copied();
        while let Some(word) = words.next() {
            match word {
                "--json" => options.as_json = true,
                "--list" => options.ask(Task::List)?,
                "--sum" => options.ask(Task::Sum)?,
                "--note" => options.ask(Task::Note)?,
                "--slice" => {
                    let slice = words.next().context("--slice K/N: which of how many?")?;
                    let numbers = slice_from(slice);
                    options.slice = Some(numbers.with_context(|| {
                        format!("--slice {slice}: it takes K/N with K from 1 to N, like 2/10")
                    })?);
                }
                word if word.starts_with("--") => bail!("mutants has no option \"{word}\""),
                part => options.parts.push(part),
            }
        }
        if let Task::Sum | Task::Note = options.task {
            let none = options.slice.is_none();
            ensure!(none, "reports are asked for, and no --slice is run");
            ensure!(!options.parts.is_empty(), "--sum or --note: which reports?");
        }
        Ok(options)
    }

    fn ask(&mut self, task: Task) -> Result<()> {
        let is_first = self.task == Task::Run;
        ensure!(is_first, "one of --list, --sum and --note at a time");
        self.task = task;
        Ok(())
    }

    /// What is to be run of what was chosen. Mutants that are put to the same tests stand together,
    /// so that few slices build the same.
    pub(crate) fn slice_of(&self, mut chosen: Vec<Mutant>) -> Vec<Mutant> {
        let Some((which, slices)) = self.slice else {
            return chosen;
        };
        chosen.sort_by(|a, b| (&a.tests, &a.name).cmp(&(&b.tests, &b.name)));
        let end = |slice: usize| chosen.len() * slice / slices;
        let (from, to) = (end(which - 1), end(which));
        chosen.drain(from..to).collect()
    }
}

fn slice_from(text: &str) -> Option<(usize, usize)> {
    let (which, slices) = text.split_once('/')?;
    let (which, slices) = (which.parse().ok()?, slices.parse().ok()?);
    (1..=slices).contains(&which).then_some((which, slices))
}

#[cfg(test)]
mod tests {
    use super::super::catalog::Kind;
    use super::*;

    fn mutant(name: &str, tests: &str) -> Mutant {
        Mutant {
            name: name.to_owned(),
            breaks: "not said".to_owned(),
            kind: Kind::Safety,
            tests: vec![tests.to_owned()],
            built_on_it: Vec::new(),
            caught_by: None,
            files: Vec::new(),
        }
    }

    #[test]
    fn slices_are_disjoint_and_together_all() {
        let all = || (0..23).map(|n| mutant(&format!("m{n:02}"), ["q", "p"][n % 2]));
        for slices in [1, 2, 5, 23, 40] {
            let mut seen = Vec::new();
            for which in 1..=slices {
                let words = format!("{which}/{slices}");
                let options = Options::parse(&["--slice", &words]).expect("a slice");
                let slice = options.slice_of(all().collect());
                seen.extend(slice.into_iter().map(|mutant| mutant.name));
            }
            // Those of the same tests one after the other, each once.
            let (p, q): (Vec<Mutant>, Vec<Mutant>) = all().partition(|one| one.tests == ["p"]);
            let sorted: Vec<String> = p.into_iter().chain(q).map(|mutant| mutant.name).collect();
            assert_eq!(seen, sorted, "{slices} slices");
        }
    }

    #[test]
    fn words_that_cannot_be_meant_are_refused() {
        for words in [
            &["--help"][..],
            &["--slice"],
            &["--slice", "0/3"],
            &["--slice", "4/3"],
            &["--slice", "1/0"],
            &["--slice", "two"],
            &["--sum"],
            &["--sum", "--slice", "1/2", "x.json"],
            &["--note"],
            &["--note", "--sum", "x.json"],
            &["--list", "--note", "x.json"],
        ] {
            assert!(Options::parse(words).is_err(), "{words:?}");
        }
        let options = Options::parse(&["r1-", "--json", "r2-"]).expect("parts");
        assert!(options.as_json && options.parts == ["r1-", "r2-"]);
    }
}
