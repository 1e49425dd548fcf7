//! What the API says of the task's status, and whether that is of now.

use super::{Fact, Story};
use crate::timeline::{EventKind, Source};

impl<'a> Story<'a> {
    /// The last status the API itself reports.
    pub fn api_status(&self) -> Option<Fact<&'a str>> {
        self.facts(|kind| match kind {
            EventKind::ApiStatus { value, .. } => value.as_deref(),
            _ => None,
        })
        .next_back()
    }

    /// What the API last said, if it was asked when the row already had its final status: a question from before
    /// may get the old answer in good faith.
    pub fn api_status_since_final(&self) -> Option<Fact<&'a str>> {
        let row = self.row_succeeded().or_else(|| self.row_failed())?;
        // It may have been so before, and another in between.
        let looks = self
            .rows
            .iter()
            .rev()
            .skip_while(|seen| seen.status != row.status);
        let since = looks.take_while(|seen| seen.status == row.status).last();
        let said = self.api_status()?;
        let latency = self.timeline.event(said.n).and_then(|event| match &event.kind {
            EventKind::ApiStatus { latency_ms, .. } => *latency_ms,
            _ => None,
        });
        let asked = said.at_ms - latency.unwrap_or(2.0);
        (asked >= since.map_or(0.0, |look| look.at_ms)).then_some(said)
    }

    /// The API is asked what it says of a final row, and has not answered yet.
    pub fn api_owes_an_answer(&self) -> bool {
        let is_final = self.row_succeeded().is_some() || self.row_failed().is_some();
        is_final && self.api_status().is_some() && self.api_status_since_final().is_none()
    }

    /// The API's word counts only where the row itself cannot be seen.
    pub(super) fn api_final(&self) -> Option<Fact<&'a str>> {
        let setup = &self.timeline.setup;
        let said = self.api_status().filter(|_| !self.sees(Source::Database))?;
        let mut words = setup.succeeded.iter().chain(&setup.failed);
        words.any(|word| word == said.value).then_some(said)
    }

    pub fn api_succeeded(&self) -> Option<u32> {
        let said = self.api_final()?;
        let mut words = self.timeline.setup.succeeded.iter();
        words.any(|word| word == said.value).then_some(said.n)
    }
}
