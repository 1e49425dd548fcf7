//! Text for people: cut, joined, on one line.

use std::borrow::Cow;

use comfy_table::{ContentArrangement, Row, Table, presets};
use unicode_width::{UnicodeWidthChar, UnicodeWidthStr};

/// Columns without lines, in so many cells.
pub fn table(width: u16, header: impl Into<Row>) -> Table {
    let mut table = Table::new();
    table
        .load_style(presets::NOTHING)
        .set_content_arrangement(ContentArrangement::Dynamic)
        .set_width(width)
        .set_header(header);
    table
}

/// On one line, with single spaces.
pub fn flat(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

/// The text, cut after so many characters.
pub fn cut(text: &str, most: usize) -> String {
    match text.char_indices().nth(most) {
        Some((at, _)) => format!("{}…", &text[..at]),
        None => text.to_owned(),
    }
}

/// … and not within a word, unless that is a long one.
fn cut_at_a_word(text: &str, most: usize) -> String {
    let Some((at, _)) = text.char_indices().nth(most) else {
        return text.to_owned();
    };
    let start = &text[..at];
    let end = start
        .rfind(' ')
        .filter(|end| at - end < 30 && !text[at..].starts_with(' '));
    format!("{}…", start[..end.unwrap_or(at)].trim_end())
}

/// The start of a text, on one line; of a page of HTML what a reader would see of it.
pub fn excerpt(text: &str) -> String {
    excerpt_of(text, 200)
}

/// … of so many characters.
pub fn excerpt_of(text: &str, most: usize) -> String {
    match flat(&page(text)) {
        flat if flat.is_empty() => "(empty)".into(),
        flat => cut_at_a_word(&flat, most),
    }
}

/// A page of HTML without its tags, each piece once: proxies answer with one. Any other text as it is.
pub fn page(text: &str) -> Cow<'_, str> {
    let start = text.trim_start();
    let begins = |word: &str| {
        start
            .get(..word.len())
            .is_some_and(|start| start.eq_ignore_ascii_case(word))
    };
    if !begins("<!doctype html") && !begins("<html") {
        return text.into();
    }
    let mut pieces: Vec<String> = Vec::new();
    let mut hidden = false;
    for part in start.split('<') {
        let (tag, seen) = part.split_once('>').unwrap_or((part, ""));
        let name = tag.split_whitespace().next().unwrap_or_default().to_lowercase();
        match name.as_str() {
            "script" | "style" => hidden = true,
            "/script" | "/style" => hidden = false,
            _ => {}
        }
        let seen = flat(seen);
        if !hidden && !seen.is_empty() && !pieces.contains(&seen) {
            pieces.push(seen);
        }
    }
    pieces.join(", ").into()
}

/// With an ellipsis where it does not fit into so many cells of a terminal.
pub fn fitted(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let mut short = String::new();
    fit(text, cells, '…', &mut short);
    short
}

/// Cut at the end of a word, unless that leaves next to nothing.
pub fn fitted_to_words(text: &str, cells: usize) -> String {
    if width(text) <= cells {
        return text.to_owned();
    }
    let cut = fitted(text, cells.saturating_sub(1));
    let whole = cut.trim_end_matches('…');
    match whole.rsplit_once(' ') {
        Some((words, _)) if width(words) * 2 > cells => {
            format!("{} …", words.trim_end_matches([',', ':', ';']))
        }
        _ => cut,
    }
}

/// The start of a text and `end`, in so many cells together.
pub fn fit(text: &str, cells: usize, end: char, into: &mut String) {
    let mut used = 1;
    for c in text.chars() {
        used += c.width().unwrap_or(0);
        if used > cells {
            break;
        }
        into.push(c);
    }
    into.push(end);
}

/// Cells of a terminal.
pub fn width(text: &str) -> usize {
    if text.is_ascii() { text.len() } else { text.width() }
}

/// Lines of words; a word longer than a line is cut.
pub fn wrapped(text: &str, width: usize) -> Vec<String> {
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
pub fn packed(pieces: &[String], between: &str, width: usize) -> Vec<String> {
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

/// The line as no CI runner obeys it: a report shows what others wrote, and a line of a job's log may be a
/// command. GitHub's begin with `::` (spaces before it do not matter) or hold `##[`, Azure's `##vso[`, GitLab's
/// begin a section.
pub fn inert(line: &str) -> Cow<'_, str> {
    let start = line.trim_start();
    let begins = ["::", "section_start:", "section_end:"]
        .iter()
        .any(|word| start.starts_with(word));
    if !begins && !line.contains("##[") && !line.contains("##vso[") {
        return line.into();
    }
    let before = &line[..line.len() - start.len()];
    let mark = if begins { "\\" } else { "" };
    let rest = start.replace("##[", "#\\#[").replace("##vso[", "#\\#vso[");
    format!("{before}{mark}{rest}").into()
}

/// `1 event`, `2 events`.
pub fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{number} {}", if number == 1 { one } else { many })
}

/// Major and minor number of a version such as `4.3.6`.
pub fn version(text: &str) -> Option<(u32, u32)> {
    let mut numbers = text.split('.').map(|number| number.parse().ok());
    Some((numbers.next()??, numbers.next()??))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_is_read_as_a_browser_shows_it() {
        let nginx = "<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>\r\n<center><h1>502 Bad Gateway</h1></center>\r\n<hr><center>nginx/1.26.3</center>\r\n</body>\r\n</html>";
        assert_eq!(excerpt(nginx), "502 Bad Gateway, nginx/1.26.3");
        let debug = "<!DOCTYPE html><html><style>p { a: b }</style><title>KeyError at /tasks</title><script>x<y</script></html>";
        assert_eq!(excerpt(debug), "KeyError at /tasks");
        for text in ["a < b > c", "{\"detail\": \"<html>\"}", "<xml>no</xml>"] {
            assert_eq!(excerpt(text), text);
        }
    }

    #[test]
    fn a_text_is_cut_at_a_character() {
        assert_eq!(cut("Größe", 3), "Grö…");
        assert_eq!(cut("Größe", 5), "Größe");
        assert_eq!(excerpt(" a\n  b "), "a b");
        assert_eq!(excerpt(" \n "), "(empty)");
    }

    #[test]
    fn no_line_commands_a_runner() {
        for (line, shown) in [
            ("::error::x", "\\::error::x"),
            ("   ::stop-commands::x", "   \\::stop-commands::x"),
            ("section_start:1:a", "\\section_start:1:a"),
            ("a ##[group]b ##vso[task.x]", "a #\\#[group]b #\\#vso[task.x]"),
            ("std::io::Error", "std::io::Error"),
            ("## Cause", "## Cause"),
        ] {
            assert_eq!(inert(line), shown);
        }
    }

    #[test]
    fn what_does_not_fit_ends_in_an_ellipsis() {
        assert_eq!(fitted("queue", 5), "queue");
        assert_eq!(fitted("queues", 5), "queu…");
        // Each of these takes two cells.
        assert_eq!(fitted("日本語", 5), "日本…");
        assert_eq!(fitted("日本語", 4), "日…");
    }
}
