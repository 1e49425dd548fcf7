//! What the API answered, and what its log says of it.

use std::cell::LazyCell;
use std::cmp::Reverse;

use super::proofs::RequestLog;
use super::{Fact, Story, broker, connections, lines};
use crate::diagnosis::Answer;
use crate::diagnosis::premises::{EventId, Premise, State};
use crate::framework::{FrameMatch, contains_token, exception_in, function_of};
use crate::text;
use crate::timeline::{CommandEnd, Event, EventKind, Level, LogLine, NoAnswer, Source, TOLD_LATER_MS};

/// A request's line comes so long after its traceback.
const REQUEST_LOGGED_MS: u64 = 150;

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

/// A refusal in the API's own words, or where a redirect points.
pub(in crate::diagnosis) fn rejection(story: &Story<'_>, response: Response<'_>) -> String {
    let Response { status, body } = response;
    let location = story.find(|event| match &event.kind {
        EventKind::Answered {
            location: Some(location),
            ..
        } => Some(location.as_str()),
        _ => None,
    });
    if let (300..400, Some(location)) = (status, location)
        && is_a_login(location)
    {
        return format!(
            "the API redirects to {location} with HTTP {status}: it wants a login (set `api.login`, or `api.headers` with a token)"
        );
    }
    if let (300..400, Some(location)) = (status, location) {
        return format!(
            "the API redirects to {location} with HTTP {status}, which drops method and body: set api.submit_path to that path"
        );
    }
    let detail = serde_json::from_str::<serde_json::Value>(body)
        .ok()
        .and_then(|body| {
            ["detail", "message", "error", "title"].iter().find_map(|key| {
                body.get(key).map(|value| match value {
                    serde_json::Value::String(text) => text.clone(),
                    other => other.to_string(),
                })
            })
        });
    format!(
        "the API refused the request with HTTP {status}: {}",
        text::excerpt(detail.as_deref().unwrap_or(body))
    )
}

/// The paths that take a POST, as the API's own document has them, once it knew none at the path that was asked.
pub(in crate::diagnosis) fn routes<'a>(story: &Story<'a>) -> &'a [String] {
    let found = story.find(|event| match &event.kind {
        EventKind::Answered { routes, .. } => Some(routes.as_slice()),
        _ => None,
    });
    found.unwrap_or_default()
}

/// Where a redirect leads whoever is not logged in.
fn is_a_login(location: &str) -> bool {
    let location = location.to_lowercase();
    let parts = || location.split(['/', '?', '&', '=', '.', '-', '_']);
    parts().any(|part| matches!(part, "login" | "signin" | "sso" | "auth" | "oauth" | "oauth2"))
}

/// A traceback in the API's log since the submission that satisfies the question, of this request before any that
/// may be another's. What is concluded from it is given [`Premise::TracebackIsOurs`].
pub(in crate::diagnosis) fn api_traceback(
    story: &Story<'_>,
    wanted: impl Fn(&str) -> bool,
) -> Option<Fact<String>> {
    let log = LazyCell::new(|| RequestLog::of(story));
    let found = story
        .timeline
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Line(line) if event.source == Source::ApiLog && !line.before => {
                let traceback = line.traceback.as_deref().filter(|text| wanted(text))?;
                let state = log.is_ours(event.n, event.at_ms, line);
                let is_proved = matches!(state, State::Proved(_));
                let fact = Fact::of(event, (line, traceback));
                (!matches!(state, State::Refuted(_))).then_some((is_proved, fact))
            }
            _ => None,
        });
    // The first of the best.
    let (_, best) = found.min_by_key(|(is_proved, fact)| (!is_proved, fact.n))?;
    let (line, traceback) = best.value;
    let exception = exception_in(traceback)
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| line.text.clone());
    Some(best.with(text::excerpt(&exception)))
}

/// A server speaks so of a request that failed, and ours did not.
pub(in crate::diagnosis) fn is_of_a_failed_request(story: &Story<'_>, n: EventId) -> bool {
    let event = story.timeline.event(n);
    event.is_some_and(|event| match &event.kind {
        EventKind::Line(line) => RequestLog::of(story).is_anothers(line),
        _ => false,
    })
}

/// The lines of source that the traceback quotes name the task's actor: it is its message that could not be sent, and
/// no other one of the request.
pub(in crate::diagnosis) fn is_of_the_actor(story: &Story<'_>, n: EventId) -> bool {
    let event = story.timeline.event(n);
    let traceback = event.and_then(|event| match &event.kind {
        EventKind::Line(line) => line.traceback.as_deref(),
        _ => None,
    });
    let actor = story.timeline.setup.actor.as_deref().map(function_of);
    actor.zip(traceback).is_some_and(|(actor, traceback)| {
        let mut quoted = traceback
            .lines()
            .filter(|line| !line.trim_start().starts_with("File \""));
        quoted.any(|line| line.starts_with(' ') && contains_token(line, actor))
    })
}

/// The traceback goes through the framework's own call of a task: the API ran it in its request.
pub(in crate::diagnosis) fn goes_through_a_task(story: &Story<'_>, n: EventId) -> bool {
    let event = story.timeline.event(n);
    let traceback = event.and_then(|event| match &event.kind {
        EventKind::Line(line) => story.framework().traceback(line.traceback.as_deref()?),
        _ => None,
    });
    let shape = &story.framework().stack;
    traceback.is_some_and(|trace| {
        let mut frames = trace.frames.iter();
        frames.any(|frame| {
            let is = |wanted: FrameMatch| wanted.fits(&frame.file, &frame.function);
            is(shape.worker_loop) || is(shape.call)
        })
    })
}

/// Decides, if the traceback is this request's: some servers log the request after it, which shows that.
pub(in crate::diagnosis) fn by_traceback(story: &Story<'_>, answer: Answer, n: EventId) -> Answer {
    let premise = Premise::TracebackIsOurs(n);
    let wait_ms = match story.state(&premise) {
        State::Proved(_) => 0,
        _ => REQUEST_LOGGED_MS,
    };
    answer.given([premise]).terminal_after(wait_ms)
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
    let only = if lines.len() > MOST_QUOTED { "" } else { " only" };
    lines.truncate(MOST_QUOTED);
    let said: Vec<String> = lines.iter().map(|said| said.value.clone()).collect();
    let lines = lines.iter().map(|said| said.n).collect();
    Some((
        format!("; of this task its log says{only} {}", said.join(" and ")),
        lines,
    ))
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
