//! Which request a line of the API's log is about: other requests leave lines in it, too.

use std::sync::LazyLock;

use regex::Regex;

use super::proved;
use crate::diagnosis::evidence::Story;
use crate::diagnosis::premises::{EventId, State, is_common};
use crate::framework::{exception_in, names_another_of_its_series};
use crate::timeline::{EventKind, LogLine, Source};

/// Lines are read a moment after they were written, and a request that began before ours may fail beside it.
const BEFORE_MS: f64 = 500.0;

/// `"POST /tasks HTTP/1.1" 500`, as most servers write it.
static ACCESS: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r#"(?x) \b (?P<method> GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) \s (?P<path> /\S*) \s HTTP/[\d.]+ "? (?: \s (?P<status> \d{3}) \b )?"#).ok()
});

/// `500 POST /tasks (127.0.0.1) 12.03ms`, as Tornado writes it.
static STATUS_FIRST: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"\b(?P<status>\d{3}) (?P<method>GET|HEAD|POST|PUT|PATCH|DELETE|OPTIONS) (?P<path>/\S*) \(")
        .ok()
});

/// What servers write before the traceback of a request that failed, where they name its path: Django, Flask,
/// gunicorn, waitress, Tornado.
static FAILED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"(?:Internal Server Error:|Exception on|Error handling request|Exception while serving|Uncaught exception [A-Z]+) (?P<path>/[^\s:,]*)").ok()
});

/// And where they name none: uvicorn, hypercorn, aiohttp.
const FAILED_SOMEWHERE: [&str; 4] = [
    "Exception in ASGI application",
    "Error in ASGI Framework",
    "Error handling request",
    "Unhandled exception in",
];

/// What else is said of what nobody caught.
const ENDS: [&str; 3] = ["unhandled", "uncaught", "internal server error"];

/// A shorter text stands in many answers.
const QUOTED: usize = 8;

/// What runs beside the requests fails in its own words.
const BESIDE: [&str; 4] = [
    "Exception in thread",
    "never retrieved",
    "Exception in callback",
    "Job \"",
];

struct Access<'a> {
    method: &'a str,
    path: &'a str,
    status: Option<u16>,
}

fn access(text: &str) -> Option<Access<'_>> {
    let found = [&ACCESS, &STATUS_FIRST]
        .into_iter()
        .find_map(|pattern| pattern.as_ref()?.captures(text))?;
    Some(Access {
        method: found.name("method")?.as_str(),
        path: bare(found.name("path")?.as_str()),
        status: found
            .name("status")
            .and_then(|status| status.as_str().parse().ok()),
    })
}

fn failed(text: &str) -> Option<&str> {
    Some(bare(FAILED.as_ref()?.captures(text)?.name("path")?.as_str()))
}

/// Without its query.
fn bare(path: &str) -> &str {
    path.split(['?', '#']).next().unwrap_or(path)
}

/// Path of an address.
fn path_of(url: &str) -> &str {
    let behind = url.split_once("://").map_or(url, |(_, behind)| behind);
    behind.find('/').map_or("/", |at| bare(&behind[at..]))
}

/// The API's log from around the submission, read once: the questions about its tracebacks are many.
pub(in crate::diagnosis) struct RequestLog<'a> {
    story: &'a Story<'a>,
    /// When, and by which path, the task was submitted; `None`: by no request.
    submitted: Option<(f64, &'a str)>,
    /// Lines of requests like ours, by method, path and status.
    ours: Vec<EventId>,
    /// It was answered, and not with the status of a request that failed.
    answered_well: bool,
    /// There is another request, and one that failed.
    others: bool,
    others_failed: bool,
    /// So many lines tell of a failed request at our path, and of one without a path.
    failed_at_our_path: usize,
    failed_somewhere: usize,
}

impl<'a> RequestLog<'a> {
    pub fn of(story: &'a Story<'a>) -> Self {
        let mut log = Self {
            story,
            submitted: None,
            ours: Vec::new(),
            answered_well: story.answer().is_some_and(|answer| answer.status < 500),
            others: false,
            others_failed: false,
            failed_at_our_path: 0,
            failed_somewhere: 0,
        };
        let submitted = story.find(|event| match &event.kind {
            EventKind::Submitting { method, url, .. } => Some((event.at_ms, method.as_str(), path_of(url))),
            _ => None,
        });
        let Some((since, method, path)) = submitted else {
            return log;
        };
        log.submitted = Some((since, path));
        let answered = story.answer().map(|answer| answer.status);
        for event in &story.timeline.events {
            let EventKind::Line(line) = &event.kind else {
                continue;
            };
            if event.source != Source::ApiLog || line.before || event.at_ms < since - BEFORE_MS {
                continue;
            }
            if let Some(access) = access(&line.text) {
                let fits = access.status.is_none() || answered.is_none() || access.status == answered;
                if fits && access.method == method && access.path == path {
                    log.ours.push(event.n);
                } else if !log.names_the_task(line) {
                    log.others = true;
                    log.others_failed |= access.status.is_none_or(|status| status >= 500);
                }
            }
            log.failed_at_our_path += usize::from(failed(&line.text) == Some(path));
            log.failed_somewhere += usize::from(is_unhandled(&line.text));
        }
        log
    }

    /// Whether the traceback of this line is of the request that submitted the task.
    pub fn is_ours(&self, n: EventId, at_ms: f64, traceback: &LogLine) -> State {
        let Some((since, path)) = self.submitted else {
            return State::Assumed;
        };
        let stated = self
            .story
            .timeline
            .event(n)
            .and_then(|event| event.stated.as_deref());
        if self.story.written_ms(at_ms, stated) < since {
            return State::Refuted(vec![n]);
        }
        if self.names_the_task(traceback) {
            return proved([n]);
        }
        if let Some(id) = self.story.task_id()
            && names_another_of_its_series(&traceback.text, id)
        {
            return State::Refuted(vec![n]);
        }
        match failed(&traceback.text) {
            // So a server speaks of what it answers with an error.
            Some(_) if self.answered_well => return State::Refuted(vec![n]),
            Some(named) if named == path => {
                return match self.failed_at_our_path == 1 && self.ours.len() <= 1 {
                    true => proved([n].into_iter().chain(self.ours.iter().copied())),
                    false => State::Assumed,
                };
            }
            // A proxy may have taken a prefix away.
            Some(named) if !path.ends_with(named) => return State::Refuted(vec![n]),
            _ => {}
        }
        let others = match is_unhandled(&traceback.text) {
            true => self.others_failed,
            // One that is answered well may log an error, too.
            false => self.others,
        };
        // What was there before the request comes of something else.
        let is_old = self.story.find(|event| match &event.kind {
            EventKind::Line(line) if event.source == Source::ApiLog => {
                let is_earlier = line.before || event.at_ms < since;
                (is_earlier && line.traceback.is_some() && line.traceback == traceback.traceback)
                    .then_some(event.n)
            }
            _ => None,
        });
        if let Some(old) = is_old {
            return State::Refuted(vec![old]);
        }
        let is_beside = BESIDE.iter().any(|words| traceback.text.contains(words));
        match self.ours.as_slice() {
            [ours] if !others && !is_beside && self.failed_somewhere <= 1 && !self.is_anothers(traceback) => {
                proved([n, *ours])
            }
            _ => State::Assumed,
        }
    }

    /// The request ended in it: a server says so, the line names the request, or the answer quotes what was raised. What
    /// an application caught and logged on its way looks alike, and says none of that.
    pub fn ended_in(&self, line: &LogLine) -> bool {
        let names_it = |(_, path): (f64, &str)| path.len() > 1 && line.text.contains(path);
        let words = line.text.to_lowercase();
        let raised = line
            .traceback
            .as_deref()
            .and_then(exception_in)
            .unwrap_or_default();
        let said = raised.split_once(": ").map_or("", |(_, said)| said);
        let is_quoted = |body: &str| said.len() >= QUOTED && body.contains(said);
        failed(&line.text).is_some()
            || is_unhandled(&line.text)
            || ENDS.iter().any(|word| words.contains(word))
            || self.submitted.is_some_and(names_it)
            || self.story.answer().is_some_and(|answer| is_quoted(answer.body))
    }

    /// Of a request that failed, by the server's words, and ours did not: only what it does behind its answer may be
    /// told of so.
    pub fn is_anothers(&self, traceback: &LogLine) -> bool {
        self.answered_well && is_unhandled(&traceback.text)
    }

    /// A line of the API's log that holds the task's id. One of a request that failed was written before the id
    /// was known.
    fn names_the_task(&self, line: &LogLine) -> bool {
        let Some(id) = self.story.task_id() else {
            return false;
        };
        line.carries_task_id || (!is_common(id) && line.text.contains(id))
    }
}

fn is_unhandled(text: &str) -> bool {
    FAILED_SOMEWHERE.iter().any(|words| text.contains(words))
}

impl Story<'_> {
    pub(super) fn traceback_is_ours(&self, n: EventId) -> State {
        let traceback = self.find(|event| match &event.kind {
            EventKind::Line(line) if event.n == n && event.source == Source::ApiLog => {
                Some((event.at_ms, line))
            }
            _ => None,
        });
        traceback.map_or(State::Assumed, |(at_ms, line)| {
            RequestLog::of(self).is_ours(n, at_ms, line)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::{State, Story};
    use crate::diagnosis::testing::Scene;

    const RAISED: &str = "Traceback (most recent call last):\n  File \"/app/main.py\", line 1, in create\nZeroDivisionError: no";
    const OTHER: &str =
        "Traceback (most recent call last):\n  File \"/app/main.py\", line 9, in pay\nKeyError: 'card'";
    const ASGI: &str = "Exception in ASGI application";

    /// Answered with 500, and that is in the access log.
    fn failed() -> Scene {
        Scene::refused(500, "").api_served("POST /tasks", 500)
    }

    #[test]
    fn the_only_request() {
        assert_eq!(failed().api_log(ASGI, RAISED).cause(), "certain api-failed");
        assert_eq!(
            failed().api_log("POST /tasks failed", RAISED).cause(),
            "certain api-failed"
        );
    }

    #[test]
    fn servers_that_name_the_path() {
        for text in [
            "Internal Server Error: /tasks",
            "[2026-11-28 10:34:52 +0000] [7] [ERROR] Error handling request /tasks?now=1",
            "ERROR in app: Exception on /tasks [POST]",
            "Uncaught exception POST /tasks (127.0.0.1)",
        ] {
            let alone = Scene::refused(500, "").api_log(text, RAISED);
            assert_eq!(alone.cause(), "certain api-failed", "{text}");
            let beside = alone.api_log("Internal Server Error: /pay", OTHER);
            assert_eq!(beside.cause(), "certain api-failed", "{text}");
            let twice = beside.api_log(text, OTHER);
            assert_eq!(twice.cause(), "likely api-failed", "{text}");
        }
    }

    #[test]
    fn another_requests_is_passed_over() {
        let scene = Scene::refused(500, "").api_log("Internal Server Error: /pay", OTHER);
        let verdict = scene.verdict();
        let cause = verdict.cause.expect("a cause");
        assert_eq!(scene.cause(), "likely api-failed");
        assert!(!cause.summary.contains("KeyError"), "{}", cause.summary);
    }

    #[test]
    fn another_request_at_the_same_time_is_a_near_miss() {
        for (request, status) in [("POST /pay", 500), ("POST /tasks", 500), ("GET /tasks", 503)] {
            let scene = failed().api_served(request, status).api_log(ASGI, OTHER);
            assert_eq!(scene.cause(), "likely api-failed", "{request}");
        }
        let fine = failed().api_served("GET /health", 200);
        assert_eq!(fine.clone().api_log(ASGI, RAISED).cause(), "certain api-failed");
        assert_eq!(
            fine.api_log("a call failed", OTHER).cause(),
            "likely api-failed",
            "a request that is answered may log one, too"
        );
    }

    #[test]
    fn what_runs_beside_the_requests_is_a_near_miss() {
        let scene = failed().api_log("Exception in thread Thread-7 (refresh):", OTHER);
        assert_eq!(scene.cause(), "likely api-failed");
    }

    /// What was read before we asked cannot be of our request, whatever its path.
    #[test]
    fn one_from_before_the_submission_is_a_near_miss() {
        let before = Scene::new()
            .at(-200.0)
            .api_log("Internal Server Error: /tasks", OTHER)
            .at(-10.0)
            .submitting()
            .answered(500, None, "busy");
        let cause = before.verdict().cause.expect("a cause");
        assert_eq!(before.cause(), "likely api-failed");
        assert!(!cause.summary.contains("KeyError"), "{}", cause.summary);
    }

    #[test]
    fn no_access_log() {
        let scene = Scene::refused(500, "").api_log(ASGI, RAISED);
        assert_eq!(scene.cause(), "likely api-failed");
    }

    /// A thread beside the requests has failed in the same way before.
    #[test]
    fn one_that_was_logged_before_the_request_is_a_near_miss() {
        let scene = |earlier: &str| {
            Scene::new()
                .api_log("cannot report", earlier)
                .at(-10.0)
                .submitting()
                .answered(500, None, "")
                .api_served("POST /tasks", 500)
                .api_log(ASGI, RAISED)
                .cause()
        };
        assert_eq!(scene(OTHER), "certain api-failed");
        assert_eq!(scene(RAISED), "likely api-failed");
    }

    /// Other clients' requests fail all the time, and each line says whose.
    #[test]
    fn a_line_that_names_another_task_is_anothers() {
        const OURS: &str = "3766590965681628910";
        let fails = |id: &str| {
            let scene = Scene::new()
                .submitting()
                .answered(200, Some(OURS), "")
                .api_log(&format!("could not hand over {id}"), RAISED);
            let n = scene.timeline.events.last().map_or(0, |event| event.n);
            Story::new(&scene.timeline).traceback_is_ours(n)
        };
        assert!(matches!(fails("3766590965462684227"), State::Refuted(_)));
        assert!(matches!(fails(OURS), State::Proved(_)));
        assert_eq!(fails("7"), State::Assumed);
    }
}
