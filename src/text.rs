//! Text for people: cut, joined, on one line.

/// The start of a text, on one line.
pub fn excerpt(text: &str) -> String {
    let flat = text.split_whitespace().collect::<Vec<_>>().join(" ");
    match flat.char_indices().nth(200) {
        Some((at, _)) => format!("{}…", &flat[..at]),
        None if flat.is_empty() => "(empty)".into(),
        None => flat,
    }
}
