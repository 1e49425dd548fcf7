//! How a secret reads where somebody has encoded it.

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};

/// What RFC 3986 leaves as it is, and what Python's `quote` leaves besides.
const UNRESERVED: &AsciiSet = &NON_ALPHANUMERIC
    .remove(b'-')
    .remove(b'_')
    .remove(b'.')
    .remove(b'~');
const QUOTED: &AsciiSet = &UNRESERVED.remove(b'/');

/// It, and each other form: in a URL, in JSON, in a Python `repr`, in base64. Short ones in base64 are
/// left out: four characters of it are anybody's.
pub(super) fn all(secret: &str) -> Vec<String> {
    let encoded = |set: &'static AsciiSet| utf8_percent_encode(secret, set).to_string();
    let json = serde_json::to_string(secret).unwrap_or_default();
    let mut forms = vec![
        secret.to_owned(),
        encoded(UNRESERVED),
        encoded(QUOTED),
        encoded(UNRESERVED).replace("%20", "+"),
        json.trim_matches('"').to_owned(),
        secret.replace('\\', r"\\").replace('\'', r"\'"),
    ];
    // Some write the digits small.
    let small: Vec<String> = forms[1..4].iter().map(|form| with_small_digits(form)).collect();
    forms.extend(small);
    if secret.len() >= 8 {
        forms.push(STANDARD_NO_PAD.encode(secret));
        forms.push(URL_SAFE_NO_PAD.encode(secret));
        forms.extend(within_base64(secret));
    }
    forms.sort_unstable();
    forms.dedup();
    forms
}

/// In the middle of something that was encoded: behind a user's name of whatever length. Of each the part that
/// its neighbours do not change, unless it is so short that it may be anybody's.
fn within_base64(secret: &str) -> Vec<String> {
    let at = |before: usize| {
        let bytes = [&vec![0; before][..], secret.as_bytes()].concat();
        // Six bits a character.
        let (from, to) = ((before * 8).div_ceil(6), bytes.len() * 8 / 6);
        [STANDARD_NO_PAD.encode(&bytes), URL_SAFE_NO_PAD.encode(&bytes)].map(|text| text[from..to].to_owned())
    };
    let all = (0..3).flat_map(at);
    all.filter(|text| text.len() >= 12).collect()
}

/// `%2F` as `%2f`.
fn with_small_digits(text: &str) -> String {
    let mut rest = 0;
    text.chars()
        .map(|c| {
            rest = if c == '%' { 3 } else { i32::max(rest - 1, 0) };
            if rest > 0 { c.to_ascii_lowercase() } else { c }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_known_in_every_form() {
        let forms = all("p/W'Ö \"x9\\");
        for form in [
            "p/W'Ö \"x9\\",
            "p%2FW%27%C3%96%20%22x9%5C",
            "p/W%27%C3%96%20%22x9%5C",
            "p%2FW%27%C3%96+%22x9%5C",
            "p%2fW%27%c3%96%20%22x9%5c",
            "p/W'Ö \\\"x9\\\\",
            "p/W\\'Ö \"x9\\\\",
            "cC9XJ8OWICJ4OVw",
        ] {
            assert!(forms.contains(&form.to_owned()), "{form} in {forms:?}");
        }
        assert!(all("s3cretword-x").contains(&"czNjcmV0d29yZC14".to_owned()));
        for user in ["", "a", "ab", "abc"] {
            let header = STANDARD_NO_PAD.encode(format!("{user}:s3cretword-x!"));
            assert!(
                all("s3cretword-x").iter().any(|form| header.contains(form)),
                "{header}"
            );
        }
        assert_eq!(all("plain"), ["plain"]);
        assert_eq!(all("hunter22"), ["aHVudGVyMjI", "hunter22"]);
    }
}
