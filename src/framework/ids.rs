//! Ids of tasks and messages, and how they are found in texts.

/// The same id: the same text, or the same UUID in another spelling (dashes, case, braces).
pub fn is_same_id(a: &str, b: &str) -> bool {
    a == b || matches!((uuid::Uuid::try_parse(a), uuid::Uuid::try_parse(b)), (Ok(a), Ok(b)) if a == b)
}

/// An id that many texts are compared with.
#[derive(Debug, Clone)]
pub struct WantedId {
    text: String,
    uuid: Option<uuid::Uuid>,
}

impl WantedId {
    pub fn new(id: &str) -> Self {
        Self {
            text: id.to_owned(),
            uuid: uuid::Uuid::try_parse(id).ok(),
        }
    }

    /// The same as `is_same_id`, without reading the id again each time.
    pub fn is(&self, text: &str) -> bool {
        // The shortest spelling of a UUID has 32 digits, the longest (`urn:uuid:…`) 45 characters.
        text == self.text
            || (self.uuid.is_some()
                && (32..=45).contains(&text.len())
                && uuid::Uuid::try_parse(text).ok() == self.uuid)
    }

    /// It stands somewhere in a body that cannot be read. A short id stands everywhere.
    pub fn is_in(&self, text: &str) -> bool {
        self.text.len() >= 6 && spellings(&self.text).iter().any(|id| contains_token(text, id))
    }
}

/// The spellings under which an id may stand in a text.
pub fn spellings(id: &str) -> Vec<String> {
    let mut all = vec![id.to_owned()];
    if let Ok(uuid) = uuid::Uuid::try_parse(id) {
        let (dashed, bare) = (uuid.hyphenated().to_string(), uuid.simple().to_string());
        all.extend([dashed.to_uppercase(), bare.to_uppercase(), dashed, bare]);
        all.sort();
        all.dedup();
    }
    all
}

/// The text names an id that was made as this one was, a moment before or after it: as long, and it begins alike. Random
/// ids do not.
pub fn names_another_of_its_series(text: &str, id: &str) -> bool {
    const LONG: usize = 12;
    const ALIKE: usize = 5;
    let part = |c: char| c.is_alphanumeric() || c == '_' || c == '-';
    let Some(start) = id.get(..ALIKE).filter(|_| id.len() >= LONG) else {
        return false;
    };
    text.split(|c: char| !part(c))
        .any(|token| token != id && token.len() == id.len() && token.starts_with(start))
}

/// Whether `word` stands in `text` with no letter, digit or underscore touching it.
pub fn contains_token(text: &str, word: &str) -> bool {
    stands_in(text, word, |_| false)
}

/// The same of an id: `ORD-1001-B` is another than `ORD-1001`. What hangs on a UUID is about that.
pub fn contains_id(text: &str, id: &str) -> bool {
    let is_uuid = uuid::Uuid::try_parse(id).is_ok();
    stands_in(text, id, |rest| !is_uuid && goes_on(rest))
}

/// An id goes on here with one short part more: `-2`, `-B`, `-v3`.
fn goes_on(rest: &str) -> bool {
    const SHORT: usize = 3;
    let part = rest.strip_prefix('-').unwrap_or_default();
    let length = part.chars().take_while(|c| c.is_alphanumeric() || *c == '_');
    (1..=SHORT).contains(&length.count())
}

fn stands_in(text: &str, word: &str, goes_on: impl Fn(&str) -> bool) -> bool {
    if word.is_empty() {
        return false;
    }
    let part = |c: char| c.is_alphanumeric() || c == '_';
    let mut from = 0;
    while let Some(at) = text[from..].find(word) {
        let start = from + at;
        let end = start + word.len();
        let before = text[..start].chars().next_back().is_none_or(|c| !part(c));
        let after = text[end..].chars().next().is_none_or(|c| !part(c));
        if before && after && !goes_on(&text[end..]) {
            return true;
        }
        from = start + text[start..].chars().next().map_or(1, char::len_utf8);
    }
    false
}

#[cfg(test)]
mod tests {
    use super::{contains_id, contains_token, names_another_of_its_series};

    #[test]
    fn a_longer_id_is_another() {
        for another in ["ORD-1001-B failed", "sent ORD-1001-2", "ORD-10012", "ORD-1001-v3"] {
            assert!(!contains_id(another, "ORD-1001"), "{another}");
        }
        for ours in [
            "ORD-1001 failed",
            "ORD-1001: no stock",
            "wrote ORD-1001-label.pdf",
            "ORD-1001-B belongs to ORD-1001",
        ] {
            assert!(contains_id(ours, "ORD-1001"), "{ours}");
        }
        let uuid = "6f1e2c3a-0d4b-4c5d-8e6f-7a8b9c0d1e2f";
        assert!(contains_id(&format!("{uuid}-1"), uuid));
        assert!(contains_token("ORD-1001-B", "ORD-1001"));
    }

    #[test]
    fn ids_of_one_series_begin_alike() {
        let ours = "3766590965681628910";
        assert!(names_another_of_its_series(
            "could not hand over 3766590965462684227",
            ours
        ));
        assert!(names_another_of_its_series(
            "01HZX4QK2M3N4P5Q6R7S8T9V0W failed",
            "01HZX4QK1A2B3C4D5E6F7G8H9J"
        ));
        for near in [
            "could not hand over 3766590965681628910",
            "took 1234567890123456789 ns",
            "request 6f1e2c3a-0d4b-4c5d-8e6f-7a8b9c0d1e2f",
            "3766590",
        ] {
            assert!(!names_another_of_its_series(near, ours), "{near}");
        }
        assert!(
            !names_another_of_its_series("order 1234", "1235"),
            "a short number is many things"
        );
        let random = [
            "6f1e2c3a-0d4b-4c5d-8e6f-7a8b9c0d1e2f",
            "9b2c4d6e-1f3a-4b5c-9d7e-8f0a1b2c3d4e",
        ];
        assert!(!names_another_of_its_series(random[0], random[1]));
    }
}
