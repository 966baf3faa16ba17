//! Tables and the frame of a section.
//!
//! Never: knows what a number means.

use super::text::escape;

/// A table under construction.
#[derive(Debug)]
pub(super) struct Table {
    columns: Vec<Column>,
    html: String,
}

/// A column: its head, and whether it holds words.
#[derive(Clone, Copy, Debug)]
pub(super) struct Column {
    head: &'static str,
    is_text: bool,
}

/// A column of numbers.
pub(super) const fn numbers(head: &'static str) -> Column {
    Column {
        head,
        is_text: false,
    }
}

/// A column of words.
pub(super) const fn text(head: &'static str) -> Column {
    Column {
        head,
        is_text: true,
    }
}

impl Table {
    pub(super) fn new(columns: &[Column]) -> Self {
        let mut table = Self {
            columns: columns.to_vec(),
            html: String::from("<div class=\"scroll\"><table>\n"),
        };
        let heads: Vec<String> = columns.iter().map(|column| escape(column.head)).collect();
        table.line("th", &heads);
        table
    }

    /// A row of texts, which are escaped here.
    pub(super) fn row(&mut self, cells: &[String]) {
        let safe: Vec<String> = cells.iter().map(|cell| escape(cell)).collect();
        self.line("td", &safe);
    }

    fn line(&mut self, tag: &str, cells: &[String]) {
        self.html.push_str("<tr>");
        for (cell, column) in cells.iter().zip(&self.columns) {
            let class = if column.is_text {
                " class=\"text\""
            } else {
                ""
            };
            self.html.push_str(&format!("<{tag}{class}>{cell}</{tag}>"));
        }
        self.html.push_str("</tr>\n");
    }

    pub(super) fn end(mut self) -> String {
        self.html.push_str("</table></div>\n");
        self.html
    }
}

/// A section with its heading; `id` is what a link points at.
pub(super) fn section(id: &str, title: &str, body: &str) -> String {
    format!(
        "<section id=\"{id}\">\n<h2>{}</h2>\n{body}</section>\n",
        escape(title)
    )
}

/// A card with a heading of its own; `body` is HTML.
pub(super) fn card(title: &str, body: &str) -> String {
    format!(
        "<div class=\"card\">\n<h3>{}</h3>\n{body}\n</div>\n",
        escape(title)
    )
}

/// Says that something is not there, and what would bring it.
pub(super) fn missing(what: &str, command: &str) -> String {
    format!(
        "<p class=\"missing\">{} is missing from this page: no output of <code>{}</code> was given.</p>\n",
        escape(what),
        escape(command)
    )
}

/// A paragraph in smaller letters.
pub(super) fn note(text: &str) -> String {
    format!("<p class=\"soft\">{}</p>\n", escape(text))
}
