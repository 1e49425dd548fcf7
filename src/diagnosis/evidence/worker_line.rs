//! One line of the watched worker's log, with what the framework's lines mean.

use super::Story;
use crate::framework::{LineSubject, LogEvent, WorkerLife, exception_in};
use crate::timeline::LogLine;

/// A line of the watched worker's log.
#[derive(Debug, Clone, Copy)]
pub struct WorkerLine<'a> {
    pub n: u32,
    pub at_ms: f64,
    pub line: &'a LogLine,
    /// The process of this machine that wrote it. The pid in the line itself may be a container's.
    pub pid: Option<i32>,
    pub mark: Option<&'a LogEvent>,
    /// What it is about, beside that.
    pub subject: Option<LineSubject<'a>>,
    pub stated: Option<&'a str>,
}

pub(super) const TRACEBACK: &str = "Traceback (most recent call last)";

/// Lines of one thread, as far as the log tells them apart.
pub type ThreadKey<'a> = (Option<&'a str>, Option<i32>, Option<&'a str>);

impl<'a> WorkerLine<'a> {
    /// The id of the message that it names.
    pub fn message_id(&self) -> Option<&'a str> {
        self.mark
            .and_then(LogEvent::message_id)
            .or(self.subject.map(|subject| subject.id))
    }

    /// The thread that wrote it: replicas that share a log may have the same pid and thread.
    pub fn thread(&self) -> ThreadKey<'a> {
        (
            self.line.stream.as_deref(),
            self.line.pid,
            self.line.thread.as_deref(),
        )
    }

    /// The actor that it names.
    pub fn task_name(&self) -> Option<&'a str> {
        self.mark.and_then(LogEvent::task_name)
    }

    /// The application says it, in the course of the task.
    pub fn is_by_the_task(&self) -> bool {
        self.mark.is_none() && self.subject.is_some_and(|subject| subject.by_the_task)
    }

    /// What was raised, by the traceback below it: the last of a chain, in one line.
    pub fn exception(&self) -> Option<String> {
        self.line.traceback.as_deref().and_then(exception_in)
    }

    /// The broker is told what became of the message.
    pub fn settles(&self) -> bool {
        self.mark.is_some_and(LogEvent::settles)
    }

    /// Its worker begins to consume this queue.
    pub(in crate::diagnosis) fn adds_consumer_of(&self, queue: &str) -> bool {
        matches!(self.mark, Some(LogEvent::AddingConsumer { queue: added }) if added == queue)
    }

    /// Its worker was started for other queues.
    pub(in crate::diagnosis) fn leaves_out(&self, story: &Story<'_>) -> bool {
        matches!(self.mark, Some(LogEvent::DroppingConsumer { queue }) if story.is_of_my_queue(queue))
    }

    /// Why its worker does not work.
    pub(in crate::diagnosis) fn is_about_its_writer(&self) -> bool {
        let says_why = |mark: &LogEvent| {
            matches!(
                mark,
                LogEvent::ChildDied { .. }
                    | LogEvent::GaveUp { .. }
                    | LogEvent::ConnectionError { .. }
                    | LogEvent::DroppingConsumer { .. }
            )
        };
        self.mark.is_some_and(says_why) || self.died_at_start()
    }

    /// The end of a worker that had not booted yet, by what nothing but the interpreter prints.
    pub(in crate::diagnosis) fn died_at_start(&self) -> bool {
        let line = self.line;
        let text = line.text.as_str();
        let is_bare = text.starts_with(TRACEBACK) || text.starts_with("Process ");
        match self.mark {
            Some(LogEvent::ImportFailed | LogEvent::UsageError) => true,
            // The exporter's port is taken: only its own process dies, the worker goes on. So a taken
            // port counts only as the end of a bare traceback. An application that logs an exception
            // in a format of its own has something else before it.
            None if is_bare && line.logger.is_none() => {
                let traceback = line.traceback.as_deref();
                traceback.is_some_and(|text| text.contains(TRACEBACK))
            }
            _ => false,
        }
    }

    /// What it says of the worker's own life.
    pub fn worker_life(&self) -> Option<WorkerLife> {
        self.mark.and_then(LogEvent::worker_life)
    }
}

impl<'a> Story<'a> {
    /// Without those of workers that consume other queues only: another service that writes to the same log has tasks of
    /// its own.
    pub(in crate::diagnosis) fn lines_of_our_queues(&self) -> Vec<WorkerLine<'a>> {
        let others = self.pids_of_other_queues();
        let is_ours = |told: &&WorkerLine<'_>| told.pid.is_none_or(|pid| !others.contains(&pid));
        self.worker_lines().iter().filter(is_ours).copied().collect()
    }

    /// By the log one of those that write to it was started for other queues: another service of the project, which
    /// says nothing of ours.
    pub(in crate::diagnosis) fn one_leaves_us_out(&self) -> bool {
        self.worker_lines().iter().any(|told| told.leaves_out(self))
    }

    /// The log tells of consumers, and of none on our queue: whatever happens to this worker, it is not what
    /// our message waits for.
    pub(in crate::diagnosis) fn consumes_others_only(&self) -> bool {
        let added = self.worker_lines().iter().filter_map(|told| match told.mark {
            Some(LogEvent::AddingConsumer { queue }) => Some(queue),
            _ => None,
        });
        let mut added = added.peekable();
        added.peek().is_some() && !added.any(|queue| self.is_of_my_queue(queue))
    }
}
