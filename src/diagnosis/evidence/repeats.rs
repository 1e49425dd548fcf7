//! Lines that were read twice.

use std::collections::HashSet;

use super::Story;

impl Story<'_> {
    /// The same words of the same thread at the same millisecond are one line, read again: a program that prints its
    /// log anew, or two handlers of one logger.
    pub(super) fn forget_repeated_lines(&mut self) {
        let mut seen = HashSet::new();
        self.worker_lines.retain(|told| {
            let line = told.line;
            match (told.stated, line.pid) {
                (Some(stated), Some(pid)) if has_fraction(stated) => seen.insert((
                    stated,
                    pid,
                    line.stream.as_deref(),
                    line.thread.as_deref(),
                    line.text.as_str(),
                )),
                _ => true,
            }
        });
    }
}

/// It is told to the millisecond: `12:00:00,123`.
fn has_fraction(stated: &str) -> bool {
    stated
        .rsplit_once([',', '.'])
        .is_some_and(|(_, rest)| rest.starts_with(|c: char| c.is_ascii_digit()))
}
