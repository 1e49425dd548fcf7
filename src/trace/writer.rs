//! Texts written until a line is full: columns, colours, cuts.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// How lines are drawn. Columns grow with what they hold, and never shrink.
#[derive(Debug, Clone)]
pub struct LineStyle {
    pub color: bool,
    pub ascii: bool,
    /// Columns of the terminal; none where nothing is to be cut.
    pub width: Option<usize>,
    /// Seconds east of UTC.
    pub offset_s: i64,
    pub(super) queue: usize,
    pub(super) actor: usize,
    pub(super) peer: usize,
    pub(super) text: String,
}

impl LineStyle {
    pub fn new(color: bool, ascii: bool, width: Option<usize>, offset_s: i64) -> Self {
        Self {
            color,
            ascii,
            width,
            offset_s,
            queue: 8,
            actor: 8,
            peer: 12,
            text: String::new(),
        }
    }
}

/// Columns of queue, actor and process take no more than this, so that one long name does not push
/// everything else off the screen.
const MOST: usize = 28;

/// Writes texts until the line is full.
pub(super) struct LineWriter<'o> {
    pub out: &'o mut String,
    pub color: bool,
    pub ascii: bool,
    pub left: usize,
}

impl LineWriter<'_> {
    /// Appends a text, and blanks up to `pad` columns.
    pub fn put(&mut self, style: Option<&str>, text: &str, pad: usize) {
        let width = width(text);
        if self.left == 0 {
            return;
        }
        let style = style.filter(|_| self.color && !text.is_empty());
        if let Some(style) = style {
            self.out.push_str("\u{1b}[");
            self.out.push_str(style);
            self.out.push('m');
        }
        if width <= self.left {
            self.out.push_str(text);
            self.left -= width;
        } else {
            cut(text, self.left, self.ascii, self.out);
            self.left = 0;
        }
        if style.is_some() {
            self.out.push_str("\u{1b}[0m");
        }
        let blanks = pad.saturating_sub(width).min(self.left);
        self.out.extend(std::iter::repeat_n(' ', blanks));
        self.left -= blanks;
    }

    /// A text after a gap, where there is one.
    pub fn note(&mut self, style: Option<&str>, text: &str) {
        if !text.is_empty() {
            self.put(None, "  ", 0);
            self.put(style, text, 0);
        }
    }

    pub fn column(&mut self, style: Option<&str>, text: &str, widest: &mut usize) {
        let mut short = String::new();
        let text = if width(text) > MOST {
            cut(text, MOST, self.ascii, &mut short);
            &short
        } else {
            text
        };
        *widest = (*widest).max(width(text));
        self.put(style, text, *widest + 1);
    }
}

pub(super) fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

pub(super) fn cut(text: &str, most: usize, ascii: bool, into: &mut String) {
    let (end, taken) = if ascii { ("~", 1) } else { ("…", 1) };
    let mut used = 0;
    for c in text.chars() {
        let columns = c.width().unwrap_or(0);
        if used + columns + taken > most {
            break;
        }
        used += columns;
        into.push(c);
    }
    into.push_str(end);
}
