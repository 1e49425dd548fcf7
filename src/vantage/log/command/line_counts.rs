//! Which lines of a log were read already: a command that is run again prints them anew.

use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};

use super::super::fields::Parsed;

/// Lines that are remembered; beyond them the oldest part of a log is not told from new lines, so
/// nothing more is.
const MOST: usize = 500_000;

/// How often each line was read. Equal lines are counted: every start of a program may say the same.
#[derive(Default)]
pub(super) struct LineCounts(HashMap<u64, u32>);

impl LineCounts {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub fn add(&mut self, line: &Parsed) {
        let key = key(line);
        if self.0.len() < MOST || self.0.contains_key(&key) {
            *self.0.entry(key).or_default() += 1;
        }
    }

    /// Those that were not read before, and how many were.
    pub fn new_among(&self, lines: Vec<Parsed>) -> (Vec<Parsed>, usize) {
        let mut left = self.0.clone();
        let all = lines.len();
        let new: Vec<Parsed> = lines
            .into_iter()
            .filter(|line| match left.get_mut(&key(line)) {
                Some(count) if *count > 0 => {
                    *count -= 1;
                    false
                }
                _ => true,
            })
            .collect();
        let known = all - new.len();
        (new, known)
    }
}

fn key((line, stated): &Parsed) -> u64 {
    let mut hasher = DefaultHasher::new();
    (&line.stream, &line.text, &line.pid, stated).hash(&mut hasher);
    // How much of a traceback was there when the line was read is chance; a time tells lines apart.
    if stated.is_none() {
        line.traceback.hash(&mut hasher);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::timeline::LogLine;

    #[test]
    fn what_is_printed_anew_is_known_and_each_start_counts() {
        let line = |text: &str| {
            let text = text.to_owned();
            (
                LogLine {
                    text,
                    ..LogLine::default()
                },
                None,
            )
        };
        let mut seen = LineCounts::default();
        [line("booting"), line("no module")]
            .iter()
            .for_each(|line| seen.add(line));
        let again = vec![
            line("booting"),
            line("no module"),
            line("booting"),
            line("no module"),
        ];
        let (new, known) = seen.new_among(again);
        assert_eq!((new.len(), known), (2, 2));
        assert_eq!(seen.new_among(vec![line("else")]).1, 0);
    }

    #[test]
    fn a_traceback_that_came_in_pieces_is_no_new_line() {
        let line = |traceback: Option<&str>| {
            let line = LogLine {
                text: "Failed to import module.".into(),
                traceback: traceback.map(str::to_owned),
                ..LogLine::default()
            };
            (line, Some("2026-01-01 00:00:00,007".to_owned()))
        };
        let mut seen = LineCounts::default();
        seen.add(&line(None));
        assert!(seen.new_among(vec![line(Some("Traceback"))]).0.is_empty());
    }
}
