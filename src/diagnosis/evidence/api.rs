//! What the API answered, and what its log says of it.

use std::cmp::Reverse;

use super::{Fact, Story, broker, connections, lines};
use crate::diagnosis::Answer;
use crate::diagnosis::premises::EventId;
use crate::framework::exception_in;
use crate::text;
use crate::timeline::{CommandEnd, Event, EventKind, Level, LogLine, NoAnswer, Source, TOLD_LATER_MS};

/// A request's line comes so long after its traceback.
pub(super) const REQUEST_LOGGED_MS: u64 = 150;

/// Decides, where the answer names no task: but for a moment its message may still be told of.
pub(in crate::diagnosis) fn unless_its_message_comes(story: &Story<'_>, answer: Answer) -> Answer {
    match story.sees(Source::Firehose) {
        true => answer.terminal_after(TOLD_LATER_MS),
        false => answer.terminal(),
    }
}

/// The HTTP answer.
#[derive(Debug, Clone, Copy)]
pub struct Response<'a> {
    pub status: u16,
    pub body: &'a str,
}

impl<'a> Story<'a> {
    pub fn answer(&self) -> Option<Fact<Response<'a>>> {
        self.facts(|kind| match kind {
            EventKind::Answered { status, body, .. } => Some(Response {
                status: *status,
                body,
            }),
            _ => None,
        })
        .next()
    }

    /// How the command that sends the task ended.
    pub fn command_ended(&self) -> Option<Fact<&'a CommandEnd>> {
        self.facts(|kind| match kind {
            EventKind::CommandEnded(end) => Some(end),
            _ => None,
        })
        .next()
    }

    /// The API's answer, whatever it is, or the good end of the command that sends the task.
    pub fn accepted(&self) -> Option<EventId> {
        let command = || self.command_ended().filter(|end| end.code == Some(0));
        let answer = self.answer().map(|answer| answer.n);
        answer.or_else(|| command().map(|end| end.n))
    }

    /// Every publish since the submission was seen, and none of them can be this task's: they went to other queues.
    /// What goes to an exchange of the application's may be routed to any.
    pub fn sent_nothing(&self) -> bool {
        let Some(since) = self.submitted_at().filter(|_| broker::saw_every_publish(self)) else {
            return false;
        };
        let mut sent = self.timeline.events.iter().filter(|event| event.at_ms >= since);
        !sent.any(|event| match &event.kind {
            EventKind::Publish {
                exchange,
                routing_key,
                ..
            } => !exchange.is_empty() || self.is_of_my_queue(routing_key),
            _ => false,
        })
    }
}

/// The request failed, and by then the API had sent a message that may be the task's.
pub(in crate::diagnosis) fn sent_all_the_same(story: &Story<'_>) -> Option<u32> {
    let failed = story.find(|event| match &event.kind {
        EventKind::Answered { status, task_id, .. } => {
            Some(task_id.is_none() && !matches!(status, 200..300 | 401 | 403))
        }
        EventKind::NotAnswered { .. } => Some(true),
        _ => None,
    });
    if failed != Some(true) || story.recognised().is_some() {
        return None;
    }
    let ids = story.timeline.sent_meanwhile();
    // Whoever sent it: another client of the queue is none of the API's.
    let is_foreign = |connection: &str| {
        story.peer(connection).is_some()
            && story.is_the_apis(connection).is_none()
            && !story.api_processes().is_empty()
    };
    story.find(|event| match &event.kind {
        EventKind::Publish {
            message, connection, ..
        } => {
            let id = message.message_id.as_deref()?;
            (ids.contains(&id) && !is_foreign(connection)).then_some(event.n)
        }
        _ => None,
    })
}

/// … and what is said of that.
pub(in crate::diagnosis) fn unless_it_sent(
    story: &Story<'_>,
    mut text: String,
    evidence: &mut Vec<u32>,
) -> String {
    if let Some(sent) = sent_all_the_same(story) {
        evidence.push(sent);
        text.push_str("; by then it had sent a message: the task may run all the same, so look before you send it again");
    }
    text
}

/// What the application itself says of the task in the API's log, to stand at the end of a sentence, and
/// the lines. A line that only tells of a request, as access logs do, is none.
pub(in crate::diagnosis) fn own_words(story: &Story<'_>) -> Option<(String, Vec<u32>)> {
    // Afterwards all that the log had of it comes from before the run.
    let since = match story.post_mortem() {
        true => f64::MIN,
        false => story.submitted_at()?,
    };
    if let Some(end) = story.command_ended() {
        let printed = text::excerpt(end.printed.trim());
        return (!printed.is_empty()).then(|| (format!("; it printed \"{printed}\""), vec![end.n]));
    }
    let mut lines: Vec<Fact<String>> = story
        .timeline
        .events
        .iter()
        .filter(|event| event.source == Source::ApiLog && event.at_ms >= since)
        .filter_map(|event| match &event.kind {
            EventKind::Line(line)
                if line.carries_task_id
                    && (!line.before || story.post_mortem())
                    && !is_access(&line.text) =>
            {
                let bare = event
                    .stated
                    .as_deref()
                    .and_then(|time| line.text.strip_prefix(time));
                let said = text::excerpt(bare.unwrap_or(&line.text).trim_start());
                let raised = line.traceback.as_deref().and_then(exception_in);
                let raised = raised.filter(|raised| !raised.is_empty());
                let said = raised.map_or(format!("\"{said}\""), |raised| {
                    format!("\"{said}\" ({})", text::excerpt(&raised))
                });
                Some(Fact::of(event, said))
            }
            _ => None,
        })
        .take(MOST_QUOTED + 1)
        .collect();
    if lines.is_empty() {
        return None;
    }
    let first = lines.first().filter(|_| story.post_mortem());
    let failed = first.and_then(|first| failed_at_once(story, first.at_ms));
    let only = match lines.len() > MOST_QUOTED || failed.is_some() {
        true => "",
        false => " only",
    };
    lines.truncate(MOST_QUOTED);
    let said: Vec<String> = lines.iter().map(|said| said.value.clone()).collect();
    let mut evidence: Vec<u32> = lines.iter().map(|said| said.n).collect();
    let mut text = format!("; of this task its log says{only} {}", said.join(" and "));
    if let Some(failed) = failed {
        text.push_str(&format!(
            ", and at once then, of this request or another, {}",
            failed.value
        ));
        evidence.push(failed.n);
    }
    Some((text, evidence))
}

/// An error that names no task, right behind its first word of this one: the request may have failed there.
fn failed_at_once(story: &Story<'_>, since: f64) -> Option<Fact<String>> {
    let until = since + REQUEST_LOGGED_MS as f64;
    story.find(|event| match &event.kind {
        EventKind::Line(line)
            if event.source == Source::ApiLog
                && (since..=until).contains(&event.at_ms)
                && line.level >= Some(Level::Error)
                && !line.carries_task_id =>
        {
            let raised = line.traceback.as_deref().and_then(exception_in)?;
            Some(Fact::of(event, format!("\"{}\"", text::excerpt(&raised))))
        }
        _ => None,
    })
}

/// A line of its log that is about the task, and no word of success: it did something else with it than usual.
pub(in crate::diagnosis) fn warned_of_the_task(story: &Story<'_>) -> Option<EventId> {
    let since = story.submitted_at()?;
    story.find(|event| match &event.kind {
        EventKind::Line(line) => {
            let is_of_the_run = event.source == Source::ApiLog && event.at_ms >= since && !line.before;
            let warns = line.carries_task_id && line.level >= Some(Level::Warning) && !is_access(&line.text);
            (is_of_the_run && warns).then_some(event.n)
        }
        _ => None,
    })
}

/// More are not read.
const MOST_QUOTED: usize = 2;

/// What it logged while it answered, the gravest line first of all: of this request or of another at the same time. Lines
/// that tell of a request, those of libraries, and tracebacks are none.
pub(in crate::diagnosis) fn said_meanwhile<'a>(story: &Story<'a>, least: Level) -> Option<Fact<&'a LogLine>> {
    let given_up = |event: &Event| matches!(event.kind, EventKind::NotAnswered { .. }).then_some(event.at_ms);
    let since = story.submitted_at()?;
    let until = story.answered_at().or_else(|| story.find(given_up))? + REQUEST_LOGGED_MS as f64;
    let lines = story
        .timeline
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Line(line)
                if event.source == Source::ApiLog
                    && !line.before
                    && (since..=until).contains(&event.at_ms)
                    && line.level >= Some(least)
                    && line.traceback.is_none()
                    && !is_access(&line.text)
                    && !lines::is_a_librarys(story, line) =>
            {
                Some(Fact::of(event, line))
            }
            _ => None,
        });
    lines.min_by_key(|line| (Reverse(line.level), line.n))
}

/// The task's id in the path of a request: `"GET /tasks/7 HTTP/1.1" 200`.
fn is_access(text: &str) -> bool {
    ["GET /", "POST /", "PUT /", "HEAD /", "HTTP/1."]
        .iter()
        .any(|part| text.contains(part))
}

impl<'a> Story<'a> {
    /// The request never left: for want of something here.
    pub fn unsent(&self) -> Option<&'a str> {
        not_answered(self, NoAnswer::OwnLimit).map(|error| error.value)
    }
}

/// The request was taken and the connection closed without an answer.
pub(in crate::diagnosis) fn broken_off<'a>(story: &Story<'a>) -> Option<Fact<&'a str>> {
    not_answered(story, NoAnswer::Broken)
}

fn not_answered<'a>(story: &Story<'a>, for_this: NoAnswer) -> Option<Fact<&'a str>> {
    let mut errors = story.facts(|kind| match kind {
        EventKind::NotAnswered { why, error, .. } if *why == for_this => Some(error.as_str()),
        _ => None,
    });
    errors.next()
}

/// What the API's log ends in, from before the request as well: an API that does not come up says why.
pub(in crate::diagnosis) fn last_exception(story: &Story<'_>) -> Option<Fact<String>> {
    let mut events = story.timeline.events.iter().rev();
    events.find_map(|event| match &event.kind {
        EventKind::Line(line) if event.source == Source::ApiLog => {
            let raised = exception_in(line.traceback.as_deref()?).filter(|raised| !raised.is_empty())?;
            Some(Fact::of(event, text::excerpt(&raised)))
        }
        _ => None,
    })
}

/// The API's port is published by an engine, and nothing listened behind it all the time: the engine's relay
/// accepts each connection, and drops it.
pub(in crate::diagnosis) fn nothing_behind_the_port(story: &Story<'_>) -> Option<Fact<String>> {
    // The broker's port may be published as well.
    let mut looks = story.facts(|kind| match kind {
        EventKind::PublishedPort { port, .. } if connections::is_brokers_port(story, *port) => None,
        EventKind::PublishedPort { to, listens, .. } => Some((to, *listens)),
        _ => None,
    });
    let first = looks.next()?;
    let (to, listens) = first.value;
    let closed = listens == Some(false) && looks.all(|look| look.value.1 == Some(false));
    closed.then(|| {
        first.with(format!("the port is published, and nothing listens on {to} in the container (a server on 127.0.0.1 there is reached from inside only)"))
    })
}
