//! Texts in columns of a terminal.

use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

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

/// The beginning of a text that fits.
pub(super) fn fitted(text: &str, room: usize) -> String {
    if text.width() <= room {
        return text.to_owned();
    }
    let mut cut = String::new();
    let mut used = 0;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used >= room {
            break;
        }
        cut.push(c);
    }
    cut.push('…');
    cut
}

/// Lines of words; a word longer than a line is cut.
pub(super) fn wrapped(text: &str, width: usize) -> Vec<String> {
    let mut words: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        let mut piece = String::new();
        for c in word.chars() {
            if piece.width() + c.width().unwrap_or(0) > width {
                words.push(std::mem::take(&mut piece));
            }
            piece.push(c);
        }
        words.push(piece);
    }
    packed(&words, " ", width)
}

/// Pieces joined into lines; none is torn.
pub(super) fn packed(pieces: &[String], between: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for piece in pieces {
        match lines.last_mut() {
            Some(line) if line.width() + between.width() + piece.width() <= width => {
                line.push_str(between);
                line.push_str(piece);
            }
            _ => lines.push(piece.clone()),
        }
    }
    lines
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
