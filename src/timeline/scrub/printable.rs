//! Control characters, and the ones that reorder text, made visible.

use std::borrow::Cow;

use serde_json::Value as Json;

/// Names of variables and arguments come from outside as well.
pub fn printable_names(map: &mut serde_json::Map<String, Json>) {
    if map.keys().any(|name| printable(name) != *name) {
        *map = std::mem::take(map)
            .into_iter()
            .map(|(name, value)| (printable(&name), value))
            .collect();
    }
}

/// Control characters (but newline and tab) and the ones that reorder text become visible.
pub fn printable(text: &str) -> String {
    let is_visible = |c: char| c == '\n' || c == '\t' || is_harmless(c);
    if text.chars().all(is_visible) {
        return text.to_owned();
    }
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\r' => {}
            c if is_visible(c) => out.push(c),
            '\u{1b}' => out.push_str("\\e"),
            c => out.push_str(&format!("\\u{{{:x}}}", c as u32)),
        }
    }
    out
}

/// The same for JSON, without a change of what it says. JSON itself lets DEL, the C1 controls (of which
/// U+009B begins a sequence as ESC does) and what reorders text stand in a string as they are.
pub fn printable_json(json: String) -> String {
    // DEL, or anything beyond ASCII: nearly all JSON has neither.
    if json.bytes().all(|byte| byte < 0x7f) {
        return json;
    }
    let mut out = String::with_capacity(json.len());
    for c in json.chars() {
        // Below U+007F only the whitespace between values is left.
        if c < '\u{7f}' || is_harmless(c) {
            out.push(c);
        } else {
            out.push_str(&format!("\\u{:04x}", c as u32));
        }
    }
    out
}

/// It neither changes a terminal nor reorders text.
fn is_harmless(c: char) -> bool {
    !(c.is_control()
        || matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{200e}' | '\u{200f}' | '\u{2028}' | '\u{2029}'))
}

/// The same for what must stay on one line. Nearly everything is harmless, and borrowed.
pub fn printable_line(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return Cow::Borrowed(text);
    }
    Cow::Owned(printable(text).replace('\n', "\\n").replace('\t', " "))
}
