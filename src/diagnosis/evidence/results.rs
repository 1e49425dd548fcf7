//! Results of tasks, where the framework stores them.

use super::{Story, WorkerLine};
use crate::framework::LogEvent;
use crate::timeline::Row;

impl Story<'_> {
    /// The row may be the framework's own record of the result: that has the message's id.
    pub(in crate::diagnosis) fn row_may_be_a_result(&self) -> bool {
        let is_known = |task: &str| self.message_ids.is_empty() || self.is_my_message(task);
        self.framework().unknown_result.is_some() && self.task_id().is_none_or(is_known)
    }

    /// … or says itself that it is one: what was raised stands in it, in parts.
    pub(in crate::diagnosis) fn is_a_result(&self, row: &Row) -> bool {
        let parts = |error: &String| error.contains("\"exc_type\"");
        self.row_may_be_a_result()
            || (self.framework().unknown_result.is_some() && row.error.as_ref().is_some_and(parts))
    }
}

/// The run is over, and its result was not stored: the line of the process that ran it, which names no message.
/// It is about the one that this process spoke of last.
pub(in crate::diagnosis) fn not_stored<'s, 'a>(story: &'s Story<'a>) -> Option<&'s WorkerLine<'a>> {
    let lines = story.worker_lines();
    let is_ours = |told: &&WorkerLine<'a>| {
        let before = lines
            .iter()
            .filter(|other| other.n < told.n && other.line.thread == told.line.thread);
        let last = before.filter_map(WorkerLine::message_id).next_back();
        story.counts(told) && last.is_some_and(|id| story.is_my_message(id))
    };
    lines
        .iter()
        .filter(|told| matches!(told.mark, Some(LogEvent::NotStored { .. })))
        .find(is_ours)
}
