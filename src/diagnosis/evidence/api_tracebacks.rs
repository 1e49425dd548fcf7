//! Tracebacks in the API's log: which is of the task's request, and what it says.

use std::cell::LazyCell;

use super::api::{REQUEST_LOGGED_MS, broken_off};
use super::proofs::RequestLog;
use super::{Fact, Story};
use crate::diagnosis::premises::{EventId, Premise, State};
use crate::diagnosis::{Answer, Certainty};
use crate::framework::{FrameMatch, contains_token, exception_in, function_of};
use crate::text;
use crate::timeline::{EventKind, LogLine, Source};

/// A traceback that may be of the request, and the line that it stands below.
struct Found<'a> {
    is_proved: bool,
    told: Fact<&'a str>,
    line: &'a LogLine,
}

/// A traceback in the API's log since the submission that satisfies the question, of this request before any that
/// may be another's. What is concluded from it is given [`Premise::TracebackIsOurs`].
pub(in crate::diagnosis) fn of_the_request(
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
                let traceback = line.traceback.as_deref()?;
                let state = log.is_ours(event.n, event.at_ms, line);
                let is_proved = matches!(state, State::Proved(_));
                let found = Found {
                    is_proved,
                    told: Fact::of(event, traceback),
                    line,
                };
                (!matches!(state, State::Refuted(_))).then_some(found)
            }
            _ => None,
        });
    let mut found: Vec<Found<'_>> = found.collect();
    // What a failed request ended in is logged last, or says so itself. It went on after whatever another one came after.
    let failed = broken_off(story).is_some() || story.answer().is_some_and(|answer| answer.status >= 500);
    if failed && found.iter().any(|told| log.ended_in(told.line)) {
        found.retain(|told| log.ended_in(told.line));
    }
    let was_caught = |told: &&Found<'_>| {
        let exception = exception_in(&told.told).unwrap_or_default();
        let mut later = found.iter().filter(|later| later.told.n > told.told.n);
        failed && later.any(|later| later.is_proved >= told.is_proved && !later.told.contains(&exception))
    };
    let meant = found
        .iter()
        .filter(|told| wanted(&told.told) && !was_caught(told));
    // The first of the best.
    let best = meant.min_by_key(|told| (!told.is_proved, told.told.n))?;
    let (best, line) = (best.told, best.line);
    let traceback = best.value;
    let exception = exception_in(traceback)
        .filter(|text| !text.is_empty())
        .unwrap_or_else(|| line.text.clone());
    Some(best.with(text::excerpt(&exception)))
}

/// A server logs what a request ended in after its answer.
const CAUGHT_MS: u64 = 400;

/// A request that was answered well did not end in it, and sends the task later.
fn is_its_end(story: &Story<'_>, n: EventId) -> bool {
    let is_well = story.answer().is_some_and(|answer| answer.status < 500);
    let event = story.timeline.event(n);
    is_well
        || event.is_some_and(|event| match &event.kind {
            EventKind::Line(line) => RequestLog::of(story).ended_in(line),
            _ => false,
        })
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

/// Decides, if the traceback is this request's: some servers log the request after it, which shows that. One that was
/// logged on the way may have been caught, and the request have failed for another reason.
pub(in crate::diagnosis) fn by_traceback(story: &Story<'_>, answer: Answer, n: EventId) -> Answer {
    let premise = Premise::TracebackIsOurs(n);
    if !is_its_end(story, n) {
        return answer
            .at_most(Certainty::Likely)
            .given([premise])
            .terminal_after(CAUGHT_MS);
    }
    let wait_ms = match story.state(&premise) {
        State::Proved(_) => 0,
        _ => REQUEST_LOGGED_MS,
    };
    answer.given([premise]).terminal_after(wait_ms)
}
