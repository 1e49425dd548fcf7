//! When a task's message is too old to be run.

use super::{Story, Transfer, WorkerLine, retries};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::diagnosis) enum Expiry {
    /// Its message was seen, and has no such time.
    Never,
    /// Unix milliseconds.
    At(i64),
    /// Its message was not seen.
    Unknown,
}

pub(in crate::diagnosis) fn of(story: &Story<'_>) -> Expiry {
    let mut seen = story.publishes().iter().chain(story.deliveries());
    let Some(first) = seen.next() else {
        return Expiry::Unknown;
    };
    let all = std::iter::once(first).chain(seen);
    all.filter_map(|passage| passage.message.expires_ms)
        .next_back()
        .map_or(Expiry::Never, Expiry::At)
}

/// A moment of our clock by the wall's, in Unix milliseconds. The expiry was set by the publisher's clock.
pub(in crate::diagnosis) fn wall_ms(story: &Story<'_>, at_ms: f64) -> i64 {
    (story.timeline.zero_ms() + at_ms).round() as i64
}

/// When its worker wrote the line, against this moment: by our clock, unless the log's own, by which the worker judges, says
/// otherwise.
pub(in crate::diagnosis) fn written_ms(story: &Story<'_>, told: &WorkerLine<'_>, against: i64) -> i64 {
    let ours = wall_ms(story, told.at_ms);
    let behind = story.behind_ms(told.at_ms, told.stated).unwrap_or(0.0);
    let own = ours - behind.round() as i64;
    match (ours >= against) == (own >= against) {
        true => ours,
        false => own,
    }
}

/// When the broker throws it away unless it was delivered before, on our clock: by a time to live of its own,
/// or of its queue.
pub(in crate::diagnosis) fn thrown_away_at(story: &Story<'_>, passage: &Transfer<'_>) -> Option<f64> {
    let of_the_queue = story
        .infos(passage.queue)
        .rev()
        .find_map(|info| info.setting("message-ttl")?.as_i64());
    let own = passage.message.expiration_ms;
    let lives = own.into_iter().chain(of_the_queue).min()?;
    Some(passage.at_ms + lives as f64)
}

/// How long before its time comes a time to live ends, where no worker holds it.
pub(in crate::diagnosis) fn ends_before_its_time(story: &Story<'_>, passage: &Transfer<'_>) -> Option<f64> {
    let due = story.timeline.events.last()?.at_ms + retries::eta_left_ms(story, passage)?;
    let gone = thrown_away_at(story, passage)?;
    (gone < due).then_some(due - gone)
}

impl Story<'_> {
    /// When the time comes of the message that was sent last.
    pub(in crate::diagnosis) fn due_time(&self) -> Option<String> {
        let eta_ms = self.publishes().last()?.message.eta_ms?;
        Some(self.due(eta_ms))
    }

    /// A time of the day, with its date where that is another than the run's.
    pub(super) fn due(&self, eta_ms: i64) -> String {
        let Ok(at) = jiff::Timestamp::from_millisecond(eta_ms) else {
            return "?".into();
        };
        let is_today = self
            .timeline
            .started_at
            .starts_with(&at.strftime("%Y-%m-%d").to_string());
        let form = match is_today {
            true => "%H:%M:%S UTC",
            false => "%Y-%m-%d %H:%M:%S UTC",
        };
        at.strftime(form).to_string()
    }
}
