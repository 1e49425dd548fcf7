//! Results of tasks, where the framework stores them.

use super::{Fact, Story, WorkerLine, lives, workers};
use crate::framework::{Handling, LogEvent, Traceback, before_the_last, is_django_table, is_same_id};
use crate::timeline::Row;

impl Story<'_> {
    /// The table is the framework's own for results: a missing row says nothing of a task that has not begun.
    pub(in crate::diagnosis) fn keeps_results(&self) -> bool {
        let table = self.timeline.setup.table.as_deref().unwrap_or_default();
        let table = table.rsplit('.').next().unwrap_or_default();
        self.framework().result_tables.contains(&table)
    }

    /// The row may be the framework's own record of the result: that has the message's id.
    pub(in crate::diagnosis) fn row_may_be_a_result(&self) -> bool {
        let is_known = |task: &str| self.message_ids.is_empty() || self.is_my_messages_id(task);
        self.framework().unknown_result.is_some() && self.task_id().is_none_or(is_known)
    }

    /// … and has it: the API answered with the id of the task's message.
    pub(in crate::diagnosis) fn row_is_a_result(&self) -> bool {
        self.row_may_be_a_result() && self.task_id().is_some_and(|task| self.is_my_messages_id(task))
    }

    /// Results are stored under the message's own id, and the API answered with another one, which the message only
    /// carries: that message.
    pub(in crate::diagnosis) fn answered_with_another_id(&self) -> Option<Fact<&str>> {
        let task = self.task_id().filter(|_| self.keeps_results())?;
        if self.rows().iter().any(|row| row.present) || self.is_my_messages_id(task) {
            return None;
        }
        let ours = self.publishes().iter().chain(self.deliveries());
        let ids = ours.filter_map(|passage| Some((passage, passage.message.message_id.as_deref()?)));
        let mut ids = ids.filter(|(_, id)| self.is_my_message(id));
        ids.next()
            .map(|(passage, id)| Fact::new(passage.n, passage.at_ms, id))
    }

    /// In whichever spelling: an API may answer with one that has no dashes.
    pub(in crate::diagnosis) fn is_my_messages_id(&self, task: &str) -> bool {
        self.message_ids.iter().any(|id| is_same_id(id, task))
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
    let is_ours = |told: &&WorkerLine<'a>| {
        let is_mine = match names_beside(story, told) {
            Some(id) => story.is_my_message(id),
            None => is_the_only_one_in_hand(story, told),
        };
        story.counts(told) && is_mine
    };
    story
        .worker_lines()
        .iter()
        .filter(|told| matches!(told.mark, Some(LogEvent::NotStored { .. })))
        .find(is_ours)
}

/// The message that it names itself, or that its process speaks of before such a line, or at once behind it.
pub(in crate::diagnosis) fn names_beside<'a>(story: &Story<'a>, told: &WorkerLine<'a>) -> Option<&'a str> {
    if let Some(id) = told.message_id() {
        return Some(id);
    }
    let lines = story.worker_lines();
    // A process that takes messages in and runs them, too, speaks of both.
    let takes = |other: &WorkerLine<'a>| other.mark.and_then(LogEvent::handling) == Some(Handling::Delivered);
    let same_thread = |other: &&WorkerLine<'a>| other.line.thread == told.line.thread;
    let runs_only = !lines.iter().filter(same_thread).any(takes);
    let before = lines
        .iter()
        .filter(|other| other.n < told.n && runs_only)
        .filter(same_thread);
    // At once it says of which task that was the end.
    let after = lines
        .iter()
        .filter(same_thread)
        .find(|other| other.n > told.n && other.at_ms <= told.at_ms + ONE_MOMENT_MS && !takes(other));
    before
        .filter_map(WorkerLine::message_id)
        .next_back()
        .or_else(|| after.and_then(WorkerLine::message_id))
}

/// A process that has said nothing yet: its worker had taken this message, and no other that was not over.
fn is_the_only_one_in_hand(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    let pushed = story.line(|mark| matches!(mark, LogEvent::Pushed { .. }));
    let has_it = pushed.is_some_and(|pushed| pushed.n < told.n) && story.attempt_over().is_none();
    has_it && workers::running_before(story, told.n).is_empty()
}

/// What comes after a run failed because the run had: the body's own exception stands before it in the chain.
pub(in crate::diagnosis) fn raised_by_the_body<'s, 'a>(
    story: &'s Story<'a>,
) -> Option<(&'s WorkerLine<'a>, &'a str, Traceback)> {
    let told = not_stored(story)?;
    let text = before_the_last(told.line.traceback.as_deref()?)?;
    let trace = story.framework().traceback(text)?;
    (!trace.own_frames().is_empty()).then_some((told, text, trace))
}

/// Two lines of one process about one end.
const ONE_MOMENT_MS: f64 = 500.0;

/// What could not be stored is that it has begun: that comes before the task's function.
pub(in crate::diagnosis) fn is_of_the_start(story: &Story<'_>, told: &WorkerLine<'_>) -> bool {
    let stores_at_once = |trace: &Traceback| {
        let shape = &story.framework().stack;
        trace.frames.windows(2).any(|pair| {
            // The end of a run is marked by a function of its own, which stores it.
            shape.worker_loop.fits(&pair[0].file, &pair[0].function) && pair[1].function == "store_result"
        })
    };
    let trace = told
        .line
        .traceback
        .as_deref()
        .and_then(|text| story.framework().traceback(text));
    told.line.text.contains("state:STARTED") || trace.as_ref().is_some_and(stores_at_once)
}

/// What comes after a run failed: the task's function had returned. Of a generator or a coroutine not a line has run.
pub(in crate::diagnosis) fn failed_behind_its_run<'s, 'a>(
    story: &'s Story<'a>,
) -> Option<&'s WorkerLine<'a>> {
    let is_of_a_run = |told: &&WorkerLine<'a>| match told.mark {
        Some(LogEvent::NotStored { error }) => {
            !["generator", "coroutine"].iter().any(|kind| error.contains(kind))
        }
        _ => false,
    };
    let told = not_stored(story).filter(is_of_a_run)?;
    (told.message_id().is_some() && !is_of_the_start(story, told)).then_some(told)
}

/// Where the watched worker says that it stores results, credentials left out. `None`: it does not say, or two
/// workers that write this log say different things.
pub(in crate::diagnosis) fn store_of_the_worker(story: &Story<'_>) -> Option<Fact<String>> {
    let lines = story.worker_lines().iter().enumerate();
    // The banner of a worker for other queues is about another.
    let mut said = lines.filter_map(|(at, told)| match told.mark {
        Some(LogEvent::ResultStore { url }) if !lives::is_anothers(story, at) => {
            Some(Fact::new(told.n, told.at_ms, place(url)))
        }
        _ => None,
    });
    let store = said.next()?;
    said.all(|other| other.value == store.value).then_some(store)
}

/// Scheme, host, port and path.
fn place(url: &str) -> String {
    let url = url.split(['?', '#']).next().unwrap_or_default();
    match url.split_once("://") {
        Some((scheme, rest)) => {
            let at = rest.rsplit_once('@').map_or(rest, |(_, at)| at);
            format!("{scheme}://{at}")
        }
        None => url.to_owned(),
    }
}

/// The store is the very database that is looked at.
pub(in crate::diagnosis) fn is_the_database(story: &Story<'_>, store: &str) -> bool {
    let at = store.split_once("://").map(|(_, at)| at);
    at.is_some() && at == story.timeline.setup.database.as_deref()
}

/// What is stored there cannot be a row of this table of PostgreSQL.
pub(in crate::diagnosis) fn cannot_be(store: &str, table: &str) -> bool {
    let scheme = store.split("://").next().unwrap_or_default();
    let is_postgres = scheme.starts_with("postgres");
    let is_djangos = table.rsplit('.').next().is_some_and(is_django_table);
    // Another scheme may be an application's own backend, which stores wherever it likes.
    let elsewhere = [
        "redis",
        "rediss",
        "sentinel",
        "rpc",
        "memcached",
        "cache",
        "memory",
        "disabled",
        "file",
        "mongodb",
        "sqlite",
        "mysql",
        "s3",
        "dynamodb",
        "elasticsearch",
        "cassandra",
    ];
    (is_postgres && is_djangos) || elsewhere.contains(&scheme.split('+').next().unwrap_or_default())
}
