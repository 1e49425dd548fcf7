//! The API ran the task itself, and its own log says so in the framework's words.

use super::{Fact, Story};
use crate::framework::{LogEvent, exception_in};
use crate::timeline::{EventKind, LogLine, Source};

/// A log's line may come so long after the API's answer.
const LOGGED_MS: f64 = 1_000.0;

/// How a run in the API ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EagerEnd {
    Succeeded,
    Raised(String),
}

impl<'a> Story<'a> {
    /// No message of the task passed the broker, and between the request and its answer the API's log tells of the
    /// end of a run: of the configured actor, or one that names the task. It may be another request's.
    pub fn ran_in_the_api(&self) -> Option<Fact<EagerEnd>> {
        let since = self.submitted_at()?;
        let until = self.answered_at().map_or(f64::INFINITY, |at| at + LOGGED_MS);
        let ends = self.timeline.events.iter().filter_map(|event| match &event.kind {
            EventKind::Line(line) if event.source == Source::ApiLog && !line.before => {
                let is_in_time = (since..=until).contains(&event.at_ms);
                let end = is_in_time.then(|| self.end_of_a_run(line)).flatten()?;
                Some(Fact::of(event, (line.carries_task_id, end)))
            }
            _ => None,
        });
        // One that names the task before any that does not.
        let end = ends.max_by_key(|end| end.value.0)?;
        let (_, ended) = end.value.clone();
        self.is_without_message().then(|| end.with(ended))
    }

    pub(super) fn failed_in_the_api(&self) -> bool {
        let ran = self.ran_in_the_api();
        ran.is_some_and(|ran| matches!(ran.value, EagerEnd::Raised(_)))
    }

    fn end_of_a_run(&self, line: &LogLine) -> Option<EagerEnd> {
        let log = &self.framework().log;
        let traceback = line.traceback.as_deref();
        let end = match (log.read)(&line.text, None, traceback)? {
            LogEvent::Succeeded { .. } => EagerEnd::Succeeded,
            LogEvent::Failed { .. } => {
                let raised = traceback.and_then(exception_in).filter(|text| !text.is_empty());
                EagerEnd::Raised(raised.unwrap_or_else(|| line.text.clone()))
            }
            _ => return None,
        };
        let subject = (log.message_of)(&line.text, traceback)?;
        let is_ours = match self.timeline.setup.actor.as_deref() {
            Some(actor) => actor == subject.task,
            None => line.carries_task_id,
        };
        is_ours.then_some(end)
    }
}
