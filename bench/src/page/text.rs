//! Text for HTML, and numbers for people.
//!
//! Never: rounds a number above one to fewer than three digits.

use serde_json::Value;

/// Text that HTML takes for text, in content and in attributes.
pub(super) fn escape(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for character in text.chars() {
        match character {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            other => safe.push(other),
        }
    }
    safe
}

/// A number with at least three digits and no more decimals than say something.
pub(super) fn figure(value: f64) -> String {
    let decimals = match value.abs() {
        large if large >= 100.0 || large == 0.0 => 0,
        large if large >= 10.0 => 1,
        large if large >= 1.0 => 2,
        _ => 3,
    };
    let text = format!("{value:.decimals$}");
    let (whole, fraction) = text.split_once('.').unwrap_or((&text, ""));
    let fraction = fraction.trim_end_matches('0');
    let (sign, digits) = whole
        .strip_prefix('-')
        .map_or(("", whole), |digits| ("-", digits));
    let mut grouped = String::from(sign);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    // A percentile such as 99.999 keeps its nines.
    if (99.0..100.0).contains(&value) {
        return trimmed(format!("{value:.3}"));
    }
    if fraction.is_empty() {
        grouped
    } else {
        format!("{grouped}.{fraction}")
    }
}

fn trimmed(text: String) -> String {
    if text.contains('.') {
        text.trim_end_matches('0').trim_end_matches('.').to_owned()
    } else {
        text
    }
}

/// A number, or a dash where there is none.
pub(super) fn figure_or_dash(value: Option<f64>) -> String {
    value.map_or_else(|| "\u{2013}".to_owned(), figure)
}

/// The number at a JSON pointer.
pub(super) fn number(value: &Value, pointer: &str) -> Option<f64> {
    value.pointer(pointer)?.as_f64()
}

/// Whatever stands at a JSON pointer, as text for people; a dash for nothing.
pub(super) fn words(value: &Value, pointer: &str) -> String {
    match value.pointer(pointer) {
        None | Some(Value::Null) => "\u{2013}".to_owned(),
        Some(Value::Bool(true)) => "yes".to_owned(),
        Some(Value::Bool(false)) => "no".to_owned(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Number(number)) => number.as_f64().map_or_else(|| number.to_string(), figure),
        Some(Value::Array(list)) => {
            let all: Vec<String> = list.iter().map(|one| words(one, "")).collect();
            all.join(", ")
        }
        Some(other @ Value::Object(_)) => other.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn what_could_be_markup_is_text() {
        assert_eq!(escape("<a b='\"&'>"), "&lt;a b=&#39;&quot;&amp;&#39;&gt;");
    }

    #[test]
    fn numbers_keep_three_digits_and_their_thousands_apart() {
        for (value, wanted) in [
            (0.0, "0"),
            (1.2249, "1.22"),
            (15.0, "15"),
            (15.96, "16"),
            (29_304.4, "29,304"),
            (-1_234_567.0, "-1,234,567"),
            (99.99, "99.99"),
            (99.0, "99"),
            (259.4, "259"),
        ] {
            assert_eq!(figure(value), wanted);
        }
        assert_eq!(figure_or_dash(None), "\u{2013}");
    }

    #[test]
    fn any_value_has_words() {
        let value = json!({"a": true, "b": [1, "x"], "c": null, "d": 2000});
        assert_eq!(words(&value, "/a"), "yes");
        assert_eq!(words(&value, "/b"), "1, x");
        assert_eq!(words(&value, "/c"), "\u{2013}");
        assert_eq!(words(&value, "/d"), "2,000");
        assert_eq!(words(&value, "/e"), "\u{2013}");
    }
}
