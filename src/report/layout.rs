//! Texts in columns of a terminal.

use unicode_width::UnicodeWidthStr;

/// As many of the names as fit, and how many more there are.
pub(super) fn as_many(names: &[&str], room: usize) -> String {
    let mut text = String::new();
    for (index, name) in names.iter().enumerate() {
        let rest = names.len() - index - 1;
        let more = if rest > 0 {
            format!(" and {rest} more").width()
        } else {
            0
        };
        let comma = if index > 0 { ", " } else { "" };
        if index > 0 && text.width() + comma.width() + name.width() + more > room {
            return format!("{text} and {} more", rest + 1);
        }
        text.push_str(comma);
        text.push_str(name);
    }
    text
}

/// For terminals without Unicode. What has no likeness becomes a question mark; nothing gets
/// wider, so the layout holds.
pub fn ascii(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            c if c.is_ascii() => c,
            '…' => '~',
            '→' | '⟶' => '>',
            '·' | '•' | '–' | '—' | '‑' => '-',
            '“' | '”' | '„' | '«' | '»' => '"',
            '‘' | '’' => '\'',
            '×' => 'x',
            '≤' => '<',
            '▴' | '↑' => '^',
            '▾' | '↓' => 'v',
            '\u{a0}' => ' ',
            _ => '?',
        })
        .collect()
}
