//! The words of one line of a script, read from left to right.
//!
//! Owns the small things that every command is made of: numbers, times, validators, names, windows.
//! Never: what a command is; `parse` knows.

use quorate_consensus::types::{ValidatorIndex, Window};

/// What was expected in place of what was found.
pub(crate) fn expected<T>(what: &str, found: Option<&str>) -> Result<T, String> {
    match found {
        Some(found) => Err(format!("expected {what}, found \"{found}\"")),
        None => Err(format!("expected {what}, found the end of the line")),
    }
}

/// Words of one line.
#[derive(Debug)]
pub(crate) struct Words<'a> {
    words: Vec<&'a str>,
    at: usize,
    /// How many validators there are, for `v0` to `v3`, `*` and `all`.
    validators: u16,
}

impl<'a> Words<'a> {
    pub(crate) fn new(line: &'a str, validators: u16) -> Self {
        Self {
            words: line.split_whitespace().collect(),
            at: 0,
            validators,
        }
    }

    pub(crate) fn peek(&self) -> Option<&'a str> {
        self.words.get(self.at).copied()
    }

    pub(crate) fn next(&mut self) -> Option<&'a str> {
        let word = self.peek()?;
        self.at += 1;
        Some(word)
    }

    /// Takes the next word if it is this one.
    pub(crate) fn takes(&mut self, word: &str) -> bool {
        let is_it = self.peek() == Some(word);
        self.at += usize::from(is_it);
        is_it
    }

    pub(crate) fn must(&mut self, word: &str) -> Result<(), String> {
        if self.takes(word) {
            return Ok(());
        }
        expected(&format!("\"{word}\""), self.peek())
    }

    pub(crate) fn end(&self) -> Result<(), String> {
        match self.peek() {
            None => Ok(()),
            found => expected("the end of the line", found),
        }
    }

    pub(crate) fn number<T: std::str::FromStr>(&mut self) -> Result<T, String> {
        let word = self.next();
        match word.and_then(|word| word.parse().ok()) {
            Some(number) => Ok(number),
            None => expected("a number", word),
        }
    }

    /// A time such as `50ms`, in nanoseconds.
    pub(crate) fn time_ns(&mut self) -> Result<u64, String> {
        let word = self.next();
        let number = word.and_then(|word| word.strip_suffix("ms"));
        match number.and_then(|number| number.parse::<u64>().ok()) {
            Some(ms) => Ok(ms.saturating_mul(1_000_000)),
            None => expected("a time such as 50ms", word),
        }
    }

    /// A window such as `w0`.
    pub(crate) fn window(&mut self) -> Result<Window, String> {
        let word = self.next();
        let number = word.and_then(|word| word.strip_prefix('w'));
        match number.and_then(|number| number.parse().ok()) {
            Some(number) => Ok(Window::new(number)),
            None => expected("a window such as w0", word),
        }
    }

    fn as_validator(&self, word: &str) -> Option<ValidatorIndex> {
        let number: u16 = word.strip_prefix('v')?.parse().ok()?;
        (number < self.validators).then(|| ValidatorIndex::new(number))
    }

    pub(crate) fn validator(&mut self) -> Result<ValidatorIndex, String> {
        let word = self.next();
        match word.and_then(|word| self.as_validator(word)) {
            Some(validator) => Ok(validator),
            None => expected(&self.a_validator(), word),
        }
    }

    fn a_validator(&self) -> String {
        let last = self.validators.saturating_sub(1);
        format!("a validator, v0 to v{last}")
    }

    /// One or more validators; `*` and `all` are everybody.
    pub(crate) fn validators(&mut self) -> Result<Vec<ValidatorIndex>, String> {
        if self.takes("*") || self.takes("all") {
            return Ok((0..self.validators).map(ValidatorIndex::new).collect());
        }
        let mut found = vec![self.validator()?];
        while let Some(validator) = self.peek().and_then(|word| self.as_validator(word)) {
            found.push(validator);
            self.at += 1;
        }
        Ok(found)
    }

    /// The name of a block.
    pub(crate) fn name(&mut self) -> Result<String, String> {
        let word = self.next();
        match word.filter(|word| is_name(word)) {
            Some(name) => Ok(name.to_owned()),
            None => expected("the name of a block", word),
        }
    }

    /// Names of blocks up to the end of the line; `b0..b3` are four.
    pub(crate) fn names(&mut self) -> Result<Vec<String>, String> {
        let mut found = Vec::new();
        while let Some(word) = self.next() {
            match names_of(word) {
                Some(names) => found.extend(names),
                None => {
                    return expected("the name of a block, or names such as b0..b3", Some(word));
                }
            }
        }
        Ok(found)
    }
}

fn is_name(word: &str) -> bool {
    word.starts_with(|c: char| c.is_ascii_lowercase())
        && word
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit())
}

fn names_of(word: &str) -> Option<Vec<String>> {
    let Some((first, last)) = word.split_once("..") else {
        return is_name(word).then(|| vec![word.to_owned()]);
    };
    let (stem, from) = numbered(first)?;
    let (other, to) = numbered(last)?;
    (stem == other && from <= to && to - from < 1000).then(|| {
        (from..=to)
            .map(|number| format!("{stem}{number}"))
            .collect()
    })
}

/// A name such as `b12` taken apart.
pub(crate) fn numbered(name: &str) -> Option<(&str, u32)> {
    let stem = name.trim_end_matches(|c: char| c.is_ascii_digit());
    let number = name.strip_prefix(stem)?.parse().ok()?;
    is_name(stem).then_some((stem, number))
}
