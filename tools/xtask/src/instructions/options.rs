//! What was asked for.

use anyhow::{Context, Result, bail};

/// The options of the task.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Options<'a> {
    /// One object on the standard output instead of a table.
    pub(super) as_json: bool,
    /// An earlier report to compare with.
    pub(super) against: Option<&'a str>,
}

impl<'a> Options<'a> {
    /// # Errors
    /// When a word is not known, or a file is missing behind `--against`.
    pub(super) fn parse(words: &[&'a str]) -> Result<Self> {
        let mut options = Self {
            as_json: false,
            against: None,
        };
        let mut words = words.iter();
        while let Some(word) = words.next() {
            match *word {
                "--json" => options.as_json = true,
                "--against" => {
                    let file = words.next().context("--against needs a FILE")?;
                    options.against = Some(file);
                }
                other => bail!("instructions does not know {other}: [--json] [--against FILE]"),
            }
        }
        Ok(options)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_taken_in_any_order_and_unknown_ones_are_named() {
        let both = Options {
            as_json: true,
            against: Some("a.json"),
        };
        let parse = Options::parse;
        assert_eq!(parse(&["--json", "--against", "a.json"]).unwrap(), both);
        assert_eq!(parse(&["--against", "a.json", "--json"]).unwrap(), both);
        assert!(!parse(&[]).unwrap().as_json);
        let error = parse(&["--jsn"]).unwrap_err();
        assert!(error.to_string().contains("--jsn"));
        assert!(parse(&["--against"]).is_err());
    }
}
