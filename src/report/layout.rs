//! How texts stand on a terminal: wrapped below a head, and on one that can show less.

use super::Style;
use crate::text::wrapped;

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

pub(super) fn bullet(text: &str, style: Style) -> String {
    let sign = if style.ascii { "-" } else { "•" };
    hanging(&format!("  {sign} "), text, 4, style)
}

/// A head, then the text wrapped at an indent that equals the head's width.
pub(crate) fn hanging(head: &str, text: &str, indent: usize, style: Style) -> String {
    let lines = wrapped(text, style.width().saturating_sub(indent).max(20));
    let pad = format!("\n{}", " ".repeat(indent));
    format!("{head}{}", lines.join(&pad))
}
