//! Texts for terminals that can show less.

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
