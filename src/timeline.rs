//! What was seen: every event of one run, from every source, in order.
//!
//! A timeline is the only thing the diagnosis looks at, so whatever is recorded can be diagnosed
//! again later without any service. The types here serialise as they stand: they are the recording
//! and the `timeline` of the JSON report.

mod attribution;
mod broker;
mod command;
mod container;
mod ended;
pub mod environment;
mod event;
pub mod isolation;
mod log_line;
mod masking;
pub mod place;
mod process;
pub mod recording;
mod row;
pub mod scrub;
mod setup;
mod source;

use crate::framework::{Framework, LineSubject, LogEvent};

pub use broker::{ClosedChannel, Connection, Consumer, Permission};
pub use command::CommandEnd;
pub use container::{Container, PublishedAt, Role};
pub use ended::Ended;
pub use event::{Event, EventKind, NoAnswer};
pub use log_line::{Level, LogLine};
pub use place::PlaceState;
pub use process::{Frame, Process, Stack, exit_words};
pub use row::{Blocker, DatabaseSession, LockWait, Row, Sessions, Xmax};
pub use setup::Setup;
pub use source::{Source, Tier};

/// The broker may tell of a message so much later than the API answers, which waited for it.
pub const TOLD_LATER_MS: u64 = 150;

/// All events of one run, in order.
#[derive(Debug, Clone)]
pub struct Timeline {
    pub setup: Setup,
    /// RFC 3339, UTC, milliseconds.
    pub started_at: String,
    pub events: Vec<Event>,
    /// A line of the worker's log came from a logger of the framework's.
    names_loggers: bool,
    /// What each log line means to the framework, in step with `events`: read once, asked often.
    marks: Vec<Option<LogEvent>>,
    /// Which message each log line is about, where it names one beside that.
    named: Vec<Option<Named>>,
}

impl Timeline {
    pub fn new(setup: Setup, started_at: String) -> Self {
        Self {
            setup,
            started_at,
            events: Vec::new(),
            names_loggers: false,
            marks: Vec::new(),
            named: Vec::new(),
        }
    }

    /// The framework of the API and the worker.
    pub fn framework(&self) -> &'static Framework {
        self.setup.framework()
    }

    /// Appends an event and numbers it.
    pub fn push(&mut self, mut event: Event) -> u32 {
        self.put_in_its_place(&mut event);
        let is_the_frameworks = self.is_by_the_frameworks_logger(&event);
        self.names_loggers |= is_the_frameworks == Some(true);
        let (mark, named) = match (&event.source, &event.kind) {
            (Source::WorkerLog, EventKind::Line(line)) => {
                let framework = self.framework();
                let named = line.message_of(framework);
                // Once loggers are known to be told, words of the application's are not taken for the framework's.
                let anothers = self.names_loggers && is_the_frameworks == Some(false);
                let mark = line.log_event(framework);
                let mark = mark.filter(|mark| !anothers || (framework.log.by_others)(&line.text, mark));
                (mark, named.map(Named::from))
            }
            _ => (None, None),
        };
        self.put(event, mark, named)
    }

    /// A line from before the run that states no time was written no later than the next one of its file that does, and
    /// is taken to be as old as the one before it.
    fn put_in_its_place(&mut self, event: &mut Event) {
        let Some(file) = file_of(event) else {
            return;
        };
        let above = self.events.iter_mut().rev();
        let mut above = above.filter(|other| file_of(other) == Some(file));
        if event.stated.is_none() {
            let before = above.next().map_or(event.at_ms, |other| other.at_ms);
            event.at_ms = event.at_ms.min(before);
            return;
        }
        for undated in above.take_while(|other| other.stated.is_none()) {
            undated.at_ms = undated.at_ms.min(event.at_ms);
        }
    }

    /// Nothing where the line names no logger, or is none of the worker's.
    fn is_by_the_frameworks_logger(&self, event: &Event) -> Option<bool> {
        match (&event.source, &event.kind) {
            (Source::WorkerLog, EventKind::Line(line)) => {
                let logger = line.logger.as_ref()?;
                Some(logger.starts_with(self.framework().log.logger))
            }
            _ => None,
        }
    }

    fn put(&mut self, mut event: Event, mark: Option<LogEvent>, named: Option<Named>) -> u32 {
        event.n = self.events.len() as u32 + 1;
        let n = event.n;
        self.marks.push(mark);
        self.named.push(named);
        self.events.push(event);
        n
    }

    /// Appends an event of another run, whose lines were read there.
    fn keep(&mut self, from: &Self, at: usize) {
        let event = from.events[at].clone();
        self.names_loggers |= self.is_by_the_frameworks_logger(&event) == Some(true);
        self.put(event, from.marks[at].clone(), from.named[at].clone());
    }

    /// It told something.
    pub fn heard(&self, source: Source) -> bool {
        self.events.iter().any(|event| event.source == source)
    }

    /// The same run as if this source had been blind from the start.
    pub fn without(&self, source: Source) -> Self {
        let mut less = Self::new(self.setup.clone(), self.started_at.clone());
        less.push(Event {
            n: 0,
            at_ms: self.events.first().map_or(0.0, |event| event.at_ms),
            source,
            stated: None,
            kind: EventKind::Blind {
                reason: "removed".into(),
                hint: None,
            },
        });
        for (at, event) in self.events.iter().enumerate() {
            if event.source != source {
                less.keep(self, at);
            }
        }
        less
    }

    /// The same run cut off after `len` events.
    pub fn prefix(&self, len: usize) -> Self {
        let mut less = Self::new(self.setup.clone(), self.started_at.clone());
        for at in 0..len.min(self.events.len()) {
            less.keep(self, at);
        }
        less
    }

    /// The task id is known from now on: marks every message and line that carries it.
    pub fn learn_task_id(&mut self, task_id: &str) {
        let nouns = self.setup.nouns();
        for event in &mut self.events {
            event.learn_task_id(task_id, &nouns);
        }
    }

    /// The ids of the messages for the task's queue, and its actor, that were sent between the request and
    /// its answer.
    pub fn sent_meanwhile(&self) -> Vec<&str> {
        let at = |is: fn(&EventKind) -> bool| {
            let mut events = self.events.iter();
            events.find(|event| is(&event.kind)).map(|event| event.at_ms)
        };
        let asked = at(|kind| matches!(kind, EventKind::Submitting { .. }));
        let answered = at(|kind| {
            matches!(
                kind,
                EventKind::Answered { .. } | EventKind::NotAnswered { .. } | EventKind::CommandEnded(_)
            )
        });
        let (Some(asked), Some(answered)) = (asked, answered) else {
            return Vec::new();
        };
        let actor = self.setup.actor.as_ref();
        let mut ids: Vec<&str> = Vec::new();
        for event in &self.events {
            if let EventKind::Publish {
                routing_key, message, ..
            } = &event.kind
                && (asked..=answered + TOLD_LATER_MS as f64).contains(&event.at_ms)
                && (self.framework().queues.base(routing_key) == self.setup.queue
                    || event.kind.is_put_on(&self.setup.queue))
                && actor.is_none_or(|actor| message.actor.as_ref() == Some(actor))
                && !message.is_retry()
                && let Some(id) = message.message_id.as_deref()
                && !ids.contains(&id)
            {
                ids.push(id);
            }
        }
        ids
    }

    /// A command sent the task, or was to, and no API.
    pub fn is_by_command(&self) -> bool {
        let how = self.events.iter().find_map(|event| match &event.kind {
            EventKind::Submitting { method, .. } => Some(method),
            _ => None,
        });
        how.is_some_and(|method| method == "RUN")
    }

    /// The same recording of a trace, as the story of this task. Which messages carry the id can be
    /// told from the arguments, where they were recorded, and from the id of a message itself.
    pub fn following(&self, task_id: &str) -> Self {
        let mut story = Self::new(self.setup.clone(), self.started_at.clone());
        let given = EventKind::Given {
            task_id: task_id.to_owned(),
        };
        story.push(Event {
            n: 0,
            at_ms: 0.0,
            source: Source::Api,
            stated: None,
            kind: given,
        });
        for event in &self.events {
            let mut event = event.clone();
            match &mut event.kind {
                EventKind::Given { .. } => continue,
                EventKind::Watching { .. } if event.source == Source::Firehose && !self.setup.show_args => {
                    event.kind = EventKind::Partial {
                        reason: "arguments were not recorded, so only message ids could be compared; record with trace --task ID or --show-args".into(),
                    };
                }
                EventKind::Publish { message, .. } | EventKind::Deliver { message, .. } => {
                    message.carries_task_id = message.is_of(task_id);
                }
                _ => {}
            }
            story.push(event);
        }
        story.adopt_queue();
        story
    }

    /// A trace may be of other queues than the configured one: the task's message says which it is.
    pub fn adopt_queue(&mut self) {
        if !self.setup.trace {
            return;
        }
        let queue = self.events.iter().find_map(|event| match &event.kind {
            EventKind::Publish {
                routing_key: queue,
                message,
                ..
            }
            | EventKind::Deliver { queue, message, .. }
                if message.carries_task_id =>
            {
                Some(message.queue_name.as_ref().unwrap_or(queue))
            }
            _ => None,
        });
        if let Some(queue) = queue {
            self.setup.queue = self.framework().queues.base(queue).to_owned();
            self.setup.actor = None;
        }
    }

    /// What this log line means to the framework.
    pub fn mark(&self, n: u32) -> Option<&LogEvent> {
        self.marks.get(n as usize - 1)?.as_ref()
    }

    /// What this log line is about, beside what it means.
    pub fn subject(&self, n: u32) -> Option<LineSubject<'_>> {
        let named = self.named.get(n as usize - 1)?.as_ref()?;
        Some(LineSubject {
            id: &named.id,
            task: &named.task,
            by_the_task: named.by_the_task,
        })
    }

    pub fn event(&self, n: u32) -> Option<&Event> {
        self.events.get((n as usize).checked_sub(1)?)
    }

    /// Unix milliseconds at which our clock's zero was. A recording says when it was begun, and counts
    /// from the submission: the first moment that was not read from a log's past came soon after. The publisher's own
    /// stamp on the message ties the two more closely, unless the message was made long before it was sent, or by
    /// another clock.
    pub fn zero_ms(&self) -> f64 {
        let started = self
            .started_at
            .parse::<jiff::Timestamp>()
            .map_or(0.0, |at| at.as_millisecond() as f64);
        let first = self
            .events
            .iter()
            .filter(|event| !matches!(&event.kind, EventKind::Line(line) if line.before))
            .map(|event| event.at_ms)
            .fold(0.0_f64, f64::min);
        let stamped = self.events.iter().find_map(|event| match &event.kind {
            EventKind::Publish { message, .. } if message.carries_task_id => {
                Some(message.timestamp_ms? as f64 - event.at_ms)
            }
            _ => None,
        });
        let guess = started - first;
        stamped
            .filter(|stamped| (-1_000.0..3_000.0).contains(&(stamped - guess)))
            .unwrap_or(guess)
    }

    /// A moment of our clock by the wall's, in UTC.
    pub fn wall_clock(&self, at_ms: f64) -> Option<String> {
        let at = jiff::Timestamp::from_millisecond((self.zero_ms() + at_ms).round() as i64).ok()?;
        Some(format!("{at:.3}"))
    }

    /// Moves the clock so that zero is the submission, once the run is over.
    pub fn rebase(&mut self) {
        let Some(origin) = self
            .events
            .iter()
            .find_map(|event| matches!(event.kind, EventKind::Submitting { .. }).then_some(event.at_ms))
        else {
            return;
        };
        for event in &mut self.events {
            event.at_ms = round(event.at_ms - origin);
            if let EventKind::Row(row) = &mut event.kind {
                row.asked_at_ms = row.asked_at_ms.map(|at| round(at - origin));
            }
            if let EventKind::RowCommitted {
                invisible_at_ms,
                visible_at_ms,
                ..
            } = &mut event.kind
            {
                *visible_at_ms = round(*visible_at_ms - origin);
                *invisible_at_ms = invisible_at_ms.map(|at| round(at - origin));
            }
        }
    }
}

/// What a line is about, kept.
#[derive(Debug, Clone)]
struct Named {
    id: Box<str>,
    task: Box<str>,
    by_the_task: bool,
}

impl From<LineSubject<'_>> for Named {
    fn from(subject: LineSubject<'_>) -> Self {
        Self {
            id: subject.id.into(),
            task: subject.task.into(),
            by_the_task: subject.by_the_task,
        }
    }
}

/// In what a log's source says of its sight, if what is started cannot write it any more.
pub const NO_SPACE: &str = "no space is left where it is written";

/// Microseconds are more than any of our clocks can promise.
pub(crate) fn round(ms: f64) -> f64 {
    (ms * 1000.0).round() / 1000.0
}

/// Of a line from before the run: its log, and how old that is, which tells its files apart.
fn file_of(event: &Event) -> Option<(Source, Option<u64>)> {
    match &event.kind {
        EventKind::Line(line) if line.before => Some((event.source, line.age_s)),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::{API, Scene};
    use crate::framework::Message;
    use crate::timeline::{EventKind, LogLine, Source};

    /// An outbox sent it late, or it came back from a dead-letter queue: its stamp is not the time of its publish.
    #[test]
    fn a_message_that_was_made_earlier_does_not_move_the_clock() {
        let zero = |stamp_s: f64| {
            let mut scene = Scene::new().submitted().at(100.0);
            let begun: jiff::Timestamp = "2026-11-28T06:35:47Z".parse().expect("a time");
            scene.timeline.started_at = begun.to_string();
            let begun = begun.as_millisecond() as f64;
            let message = Message {
                timestamp_ms: Some((begun + stamp_s * 1000.0) as i64),
                ..Scene::message("m-1")
            };
            let scene = scene.publish_as("default", API, message);
            scene.timeline.zero_ms() - begun
        };
        // A moment after the first thing that was seen: by the stamp.
        assert!((zero(0.3) - 190.0).abs() < 1.0, "{}", zero(0.3));
        let unstamped = zero(-58.0);
        assert!(unstamped.abs() < 5_000.0, "{unstamped}");
        assert_eq!(zero(40.0), unstamped);
    }

    /// Read one after another, some without a time of their own.
    #[test]
    fn a_line_without_a_time_stands_between_its_neighbours() {
        let told = |lines: &[(bool, f64)], before: bool| -> Vec<f64> {
            let mut scene = Scene::new();
            for (states, at_ms) in lines {
                let line = LogLine {
                    before,
                    age_s: Some(5),
                    ..LogLine::default()
                };
                scene = scene
                    .at(at_ms - 10.0)
                    .see(Source::WorkerLog, EventKind::Line(line));
                if *states {
                    let mut event = scene.timeline.events.pop().expect("the line");
                    scene.timeline = scene.timeline.prefix(usize::MAX);
                    event.stated = Some("10:00".into());
                    event.at_ms = *at_ms;
                    scene.timeline.push(event);
                }
            }
            let is_line = |kind: &EventKind| matches!(kind, EventKind::Line(_));
            let events = scene.timeline.events.iter().filter(|event| is_line(&event.kind));
            events.map(|event| event.at_ms).collect()
        };
        let lines = [
            (false, 500.0),
            (true, -900.0),
            (false, 510.0),
            (true, -300.0),
            (false, 520.0),
        ];
        assert_eq!(told(&lines, true), [-900.0, -900.0, -900.0, -300.0, -300.0]);
        assert_eq!(told(&lines, false), [500.0, -900.0, 510.0, -300.0, 520.0]);
    }
}
