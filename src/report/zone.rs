//! Times of the day in the reader's zone.

use std::sync::LazyLock;

use jiff::Timestamp;
use regex::{Captures, Regex};

use super::Style;

/// As a verdict has them: without the date where it is that of the run.
static IN_UTC: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(?:(\d{4}-\d\d-\d\d) )?(\d\d:\d\d:\d\d) UTC\b").ok());

impl Style {
    /// The words of a verdict, which are in UTC, with times as the reader's clock shows them: two zones in one
    /// sentence make one moment look like two. `near`: a moment of the same day.
    pub(super) fn localised(self, text: &str, near: Timestamp) -> String {
        let (Some(_), Some(pattern)) = (self.zone, IN_UTC.as_ref()) else {
            return text.to_owned();
        };
        let local = |found: &Captures<'_>| {
            let date = found.get(1).map(|date| date.as_str().to_owned());
            let day = date
                .clone()
                .unwrap_or_else(|| near.strftime("%Y-%m-%d").to_string());
            match format!("{day}T{}Z", &found[2]).parse::<Timestamp>() {
                Ok(at) if date.is_some() => self.zoned(at, "%Y-%m-%d %H:%M:%S %Z"),
                Ok(at) => self.clock(at),
                Err(_) => found[0].to_owned(),
            }
        };
        pattern.replace_all(text, local).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use jiff::tz::{Offset, TimeZone};

    use super::*;

    #[test]
    fn one_sentence_has_one_zone() {
        let zone: &'static TimeZone = Box::leak(Box::new(TimeZone::fixed(Offset::constant(1))));
        let style = Style {
            zone: Some(zone),
            ..Style::PLAIN
        };
        let near: Timestamp = "2026-11-28T06:37:32Z".parse().expect("a time");
        let text = "held from `default.DQ` by pid 5832, due at 06:37:48 UTC";
        assert_eq!(
            style.localised(text, near),
            "held from `default.DQ` by pid 5832, due at 07:37:48 +01"
        );
        let other_day = style.localised("due at 2026-11-29 23:30:00 UTC", near);
        assert_eq!(other_day, "due at 2026-11-30 00:30:00 +01");
        assert_eq!(Style::PLAIN.localised(text, near), text);
        assert_eq!(style.localised("UTC is a zone", near), "UTC is a zone");
    }
}
