//! Which sources could see, and how much.

use super::Story;
use crate::timeline::Source;

/// Whether a source could see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Visibility<'a> {
    Watching(&'a str),
    /// Sees, but not everything.
    Partial(&'a str),
    Blind(&'a str),
    /// Never said anything: it was not part of the run.
    Absent,
}

impl<'a> Story<'a> {
    pub fn visibility(&self, source: Source) -> Visibility<'a> {
        self.visibility
            .get(&source)
            .map_or(Visibility::Absent, |(visibility, _)| *visibility)
    }

    /// It could see, wholly or in part.
    pub fn sees(&self, source: Source) -> bool {
        matches!(
            self.visibility(source),
            Visibility::Watching(_) | Visibility::Partial(_)
        )
    }

    /// It could see everything it was asked to: absence counts.
    pub fn sees_all(&self, source: Source) -> bool {
        matches!(self.visibility(source), Visibility::Watching(_))
            && (source != Source::Firehose || self.missed_events() == 0)
    }

    /// Why the firehose shows only part of what passes: then what it does not show proves nothing.
    /// Tracing is a state of each node, and in a cluster others publish and deliver as well.
    pub fn firehose_in_part(&self) -> Option<&'a str> {
        match self.visibility(Source::Firehose) {
            Visibility::Partial(reason) => Some(reason),
            _ => None,
        }
    }

    /// Trace events that the broker or we had to drop.
    pub fn missed_events(&self) -> u64 {
        self.missed
    }
}
