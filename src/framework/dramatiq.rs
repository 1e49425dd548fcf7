//! Dramatiq over RabbitMQ, 1.14 to 2.2: topology, message body and log lines.
//!
//! Verified on 1.14.2, 1.17.1 and 2.2.1 with pika. Line texts are matched anywhere in a line, not
//! at its start, so that applications with their own log format are understood too.

pub mod body;

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::{Captures, Regex, RegexSet};
use serde_json::Value as Json;

use super::{ArgumentValues, LogEvent, Message};
use crate::timeline::LogLine;

/// Delayed messages and retries wait here; the worker consumes it and moves them when due.
pub fn delay_queue(queue: &str) -> String {
    format!("{queue}.DQ")
}

/// Rejected messages end here, by the broker's dead-lettering; nobody consumes it.
pub fn dead_letter_queue(queue: &str) -> String {
    format!("{queue}.XQ")
}

/// The logical queue behind a companion's name.
pub fn base_queue(queue: &str) -> &str {
    queue
        .strip_suffix(".DQ")
        .or_else(|| queue.strip_suffix(".XQ"))
        .unwrap_or(queue)
}

/// Reads a message body. There is nothing else to go by: Dramatiq sets no AMQP property but
/// `delivery_mode` and `priority`.
pub fn decode(body: &[u8], show_args: bool) -> Message {
    let mut leaves = Vec::new();
    let mut wishes = body::Wishes {
        keep: show_args,
        leaves: Some(&mut leaves),
        ..body::Wishes::default()
    };
    let whole = || ArgumentValues(vec![String::from_utf8_lossy(body).into_owned()]);
    let read = match body::read(body, &mut wishes) {
        Ok(read) => read,
        Err(undecodable) => {
            return Message {
                undecodable: Some(undecodable),
                leaves: whole(),
                ..Message::default()
            };
        }
    };
    Message {
        message_id: read.message_id.map(Cow::into_owned),
        actor: read.actor.map(Cow::into_owned),
        queue_name: read.queue_name.map(Cow::into_owned),
        args: read.args,
        kwargs: read.kwargs,
        carries_task_id: false,
        timestamp_ms: read.timestamp_ms,
        eta_ms: read.eta_ms,
        retries: read.retries,
        max_retries: read.max_retries,
        traceback: read.traceback.map(Cow::into_owned),
        undecodable: (!read.known).then(|| NO_MESSAGE.to_owned()),
        leaves: if read.known {
            ArgumentValues(leaves)
        } else {
            whole()
        },
    }
}

/// JSON that is no message of Dramatiq's.
pub const NO_MESSAGE: &str = "JSON without actor_name and message_id";

/// A message body as Dramatiq's JSON encoder writes it, key order included.
pub fn encode(
    queue: &str,
    actor: &str,
    args: &Json,
    kwargs: &Json,
    message_id: &str,
    now_ms: i64,
) -> Vec<u8> {
    let body = serde_json::json!({
        "queue_name": queue,
        "actor_name": actor,
        "args": args,
        "kwargs": kwargs,
        "options": {},
        "message_id": message_id,
        "message_timestamp": now_ms,
    });
    body.to_string().into_bytes()
}

type Reader = fn(&Captures<'_>) -> LogEvent;

fn group(captures: &Captures<'_>, index: usize) -> String {
    captures
        .get(index)
        .map_or_else(String::new, |found| found.as_str().to_owned())
}

/// Every line a diagnosis uses. The first that matches wins.
const LINES: &[(&str, Reader)] = &[
    (r"Dramatiq '[^']*' is booting up", |_| LogEvent::BootingUp),
    (r"Worker process is ready for action", |_| LogEvent::Ready),
    (r"Failed to import module", |_| LogEvent::ImportFailed),
    (r"^(?:usage: dramatiq|dramatiq: error:)", |_| LogEvent::UsageError),
    (r"Address already in use", |_| LogEvent::AddressInUse),
    (r"Adding consumer for (?:delay )?queue '([^']*)'", |c| {
        LogEvent::AddingConsumer { queue: group(c, 1) }
    }),
    (
        r"Dropping consumer for (?:delay )?queue '([^']*)': not whitelisted",
        |c| LogEvent::DroppingConsumer { queue: group(c, 1) },
    ),
    (r"Consumer encountered a connection error: (.*)", |c| {
        LogEvent::ConnectionError {
            queue: None,
            error: group(c, 1),
        }
    }),
    (r"Consumer encountered an unexpected error", |_| {
        LogEvent::ConnectionError {
            queue: None,
            error: String::new(),
        }
    }),
    (r"Restarting consumer in", |_| LogEvent::RestartingConsumer),
    (r"Pushing message '([^']+)' onto (work|delay) queue", |c| {
        LogEvent::Pushed {
            id: group(c, 1),
            delay: &c[2] == "delay",
        }
    }),
    (r"Received message for undefined actor '([^']*)'", |c| {
        LogEvent::UndefinedActor { actor: group(c, 1) }
    }),
    (r"Failed to decode message", |_| LogEvent::DecodeFailed),
    (r"(?s)Received message ([\w.\-]+)\(.*\) with id '([^']+)'", |c| {
        LogEvent::Received {
            actor: group(c, 1),
            id: group(c, 2),
        }
    }),
    (r"Received args=", |_| LogEvent::Called),
    (r"Completed after [\d.]+ms", |_| LogEvent::Completed),
    (r"Acknowledging message '([^']+)'", |c| LogEvent::Acknowledging {
        id: group(c, 1),
    }),
    (r"Rejecting message '([^']+)'", |c| LogEvent::Rejecting {
        id: group(c, 1),
    }),
    (r"Actor '([^']*)' returned a value that is not None", |c| {
        LogEvent::ReturnedValue { actor: group(c, 1) }
    }),
    (
        r"(?s)Failed to process message ([\w.\-]+)\(.*\) with unhandled exception",
        |c| LogEvent::Failed { actor: group(c, 1) },
    ),
    (
        r"(?s)Failed to process message .* with expected exception (\S+)\.",
        |c| LogEvent::ExpectedException {
            exception: group(c, 1),
        },
    ),
    (r"Aborting message '([^']+)'", |c| LogEvent::Aborting {
        id: group(c, 1),
    }),
    (r"Rate limit exceeded in message", |_| LogEvent::RateLimited),
    (r"Retrying message '([^']+)' in (\d+) milliseconds", |c| {
        LogEvent::Retrying {
            id: group(c, 1),
            in_ms: group(c, 2).parse().unwrap_or(0),
        }
    }),
    (r"Enqueueing message '([^']+)' on queue '([^']+)'", |c| {
        LogEvent::Enqueueing {
            id: group(c, 1),
            queue: group(c, 2),
        }
    }),
    (r"Retries exceeded for message '([^']+)'", |c| {
        LogEvent::RetriesExceeded { id: group(c, 1) }
    }),
    (r"Message '([^']+)' has exceeded its age limit", |c| {
        LogEvent::TooOld { id: group(c, 1) }
    }),
    (r"(?s)Message ([\w.\-]+)\(.*\) was skipped", |c| {
        LogEvent::Skipped { actor: group(c, 1) }
    }),
    (r"Unexpected failure in (before_\w+|after_\w+)", |c| {
        LogEvent::HookFailed { hook: group(c, 1) }
    }),
    (
        r"Time limit exceeded\. Raising exception in worker thread",
        |_| LogEvent::TimeLimit,
    ),
    (r"Failed to ack message: not in known tags", |_| {
        LogEvent::AckFailed
    }),
    (r"Global event loop thread not set", |_| LogEvent::NoEventLoop),
    (r"coroutine '[^']*' was never awaited", |_| LogEvent::NeverAwaited),
    // The children's own "Stopping worker process..." is written in a signal handler, and may be lost.
    (
        r"(?:Stopping|Killing) worker process|Sending signal '[^']*' to subprocesses",
        |_| LogEvent::Stopping,
    ),
    (r"Worker has been shut down|Shutting down\.\.\.$", |_| {
        LogEvent::ShutDown
    }),
    (
        r"Worker with PID (\d+) exited unexpectedly \(code (-?\d+)\)",
        |c| LogEvent::ChildDied {
            pid: group(c, 1).parse().unwrap_or(0),
            code: group(c, 2).parse().unwrap_or(0),
        },
    ),
];

static SET: LazyLock<Option<(RegexSet, Vec<Regex>)>> = LazyLock::new(|| {
    // The patterns are constants: a test compiles them all.
    let set = RegexSet::new(LINES.iter().map(|(pattern, _)| *pattern)).ok()?;
    let each = LINES
        .iter()
        .map(|(pattern, _)| Regex::new(pattern))
        .collect::<Result<_, _>>()
        .ok()?;
    Some((set, each))
});

pub fn read_line(line: &LogLine) -> Option<LogEvent> {
    let (set, each) = SET.as_ref()?;
    // `Worker with PID … Shutting down...` is a death: its row stands below, so ask for it first.
    let matched = set.matches(&line.text);
    let mut indices: Vec<usize> = matched.iter().collect();
    if indices.len() > 1 {
        indices.sort_by_key(|&index| !LINES[index].0.starts_with("Worker with PID"));
    }
    let index = *indices.first()?;
    let captures = each[index].captures(&line.text)?;
    let mark = LINES[index].1(&captures);
    Some(match mark {
        LogEvent::ConnectionError { error, .. } => LogEvent::ConnectionError {
            queue: consumer_queue(line),
            error: if error.is_empty() {
                last_line(line.traceback.as_deref())
            } else {
                error
            },
        },
        other => other,
    })
}

/// The queue in a logger's name, `dramatiq.worker.ConsumerThread(default)`.
fn consumer_queue(line: &LogLine) -> Option<String> {
    let logger = line.logger.as_deref()?;
    let inside = logger.split_once("ConsumerThread(")?.1;
    Some(inside.strip_suffix(')')?.to_owned())
}

fn last_line(text: Option<&str>) -> String {
    text.and_then(|text| text.trim_end().lines().next_back())
        .unwrap_or_default()
        .to_owned()
}

/// One `File "…", line N, in NAME` of a traceback.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TraceFrame {
    pub file: String,
    pub line: u32,
    pub function: String,
}

/// A traceback, taken apart as far as "whose code was running?" needs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Trace {
    /// Exception as printed: `TypeError: …`, first line only.
    pub exception: String,
    pub frames: Vec<TraceFrame>,
}

static FRAME: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#"^\s*(?:\|\s*)*File "([^"]+)", line (\d+), in (.+)$"#).ok());

impl Trace {
    /// The last traceback of a chain: the one that was finally raised.
    pub fn parse(text: &str) -> Option<Self> {
        let frame = FRAME.as_ref()?;
        let start = text.rfind("Traceback (most recent call last)").unwrap_or(0);
        let mut frames = Vec::new();
        let mut exception = String::new();
        for line in text[start..].lines().skip(1) {
            if let Some(found) = frame.captures(line) {
                frames.push(TraceFrame {
                    file: found[1].to_owned(),
                    line: found[2].parse().unwrap_or(0),
                    function: found[3].trim().to_owned(),
                });
            } else if exception.is_empty() && !line.starts_with(char::is_whitespace) && !line.is_empty() {
                exception = line.trim_end().to_owned();
            }
        }
        (!frames.is_empty() || !exception.is_empty()).then_some(Self { exception, frames })
    }

    /// Frames below the framework's call of the actor that are not the framework's or the
    /// standard library's: the application's own code, entered.
    pub fn own_frames(&self) -> &[TraceFrame] {
        let called = self.frames.iter().rposition(|frame| {
            is_framework(&frame.file) && frame.function == "__call__" && frame.file.ends_with("actor.py")
        });
        match called {
            None => &[],
            Some(at) => {
                let below = &self.frames[at + 1..];
                match below
                    .iter()
                    .position(|frame| !is_framework(&frame.file) && !is_standard(&frame.file))
                {
                    Some(first) => &below[first..],
                    None => &[],
                }
            }
        }
    }

    /// Raised while the middleware's hooks before the actor ran.
    pub fn in_a_hook_before(&self) -> bool {
        !self.reached_the_call()
            && self
                .frames
                .iter()
                .any(|frame| is_framework(&frame.file) && frame.function == "emit_before")
    }

    /// Below the framework's call there are installed libraries only, and nothing that is named as
    /// the actor: what is wrapped around it (validation, a transaction) may have raised.
    pub fn only_libraries(&self, actor: &str) -> bool {
        let own = self.own_frames();
        !own.is_empty()
            && own.iter().all(|frame| {
                let installed = ["/site-packages/", "/dist-packages/"];
                installed.iter().any(|folder| frame.file.contains(folder)) && frame.function != actor
            })
    }

    /// The framework's call of the actor is on the stack.
    pub fn reached_the_call(&self) -> bool {
        self.frames.iter().any(|frame| {
            is_framework(&frame.file) && frame.function == "__call__" && frame.file.ends_with("actor.py")
        })
    }

    /// `TypeError` of a call that does not fit a signature; the name of what was called.
    pub fn arity_error_of(&self) -> Option<&str> {
        let text = self.exception.strip_prefix("TypeError: ")?;
        let (name, rest) = text.split_once("()")?;
        let fits = [
            " got an unexpected keyword argument",
            " missing ",
            " takes ",
            " got multiple values for",
            " got some positional-only",
        ];
        fits.iter().any(|start| rest.starts_with(start)).then_some(name)
    }

    /// The actor could not be called with these arguments, so not a line of its body ran. Frames
    /// of a wrapper above the failed call are not the actor's: the error names what was called.
    pub fn is_bad_call(&self, actor: &str) -> bool {
        let Some(name) = self.arity_error_of() else {
            return false;
        };
        let function = name.rsplit('.').next().unwrap_or(name);
        let own = self.own_frames();
        match own {
            [] => self.reached_the_call(),
            _ => function == actor && own.iter().all(|frame| frame.function != function),
        }
    }
}

fn is_framework(file: &str) -> bool {
    file.contains("/dramatiq/")
}

fn is_standard(file: &str) -> bool {
    let standard = [
        "/asyncio/",
        "/concurrent/futures/",
        "/threading.py",
        "/contextlib.py",
        "/functools.py",
        "/contextvars.py",
    ];
    file.starts_with('<')
        || (!file.contains("/site-packages/")
            && file.contains("/lib/python")
            && standard.iter().any(|part| file.contains(part)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str) -> LogLine {
        LogLine {
            text: text.into(),
            ..LogLine::default()
        }
    }

    #[test]
    fn every_pattern_compiles() {
        assert!(SET.is_some());
        assert!(FRAME.is_some());
    }

    #[test]
    fn lines_of_a_life() {
        for (text, mark) in [
            (
                "Received message act('x') with id '1-2'.",
                LogEvent::Received {
                    actor: "act".into(),
                    id: "1-2".into(),
                },
            ),
            (
                "2025 INFO something Received args=(1,) kwargs={}.",
                LogEvent::Called,
            ),
            (
                "Worker with PID 12 exited unexpectedly (code -9). Shutting down...",
                LogEvent::ChildDied { pid: 12, code: -9 },
            ),
            (
                "Retrying message 'a' in 15342 milliseconds.",
                LogEvent::Retrying {
                    id: "a".into(),
                    in_ms: 15342,
                },
            ),
            (
                "Failed to process message act(a='b\nc') with unhandled exception.",
                LogEvent::Failed { actor: "act".into() },
            ),
        ] {
            assert_eq!(read_line(&line(text)), Some(mark), "{text}");
        }
        assert_eq!(read_line(&line("order 7 received")), None);
    }

    #[test]
    fn a_body_is_read_and_its_leaves_compared_as_text() {
        let body = br#"{"queue_name":"default","actor_name":"a","args":[7],"kwargs":{"x":{"y":"t_1"}},"options":{"eta":5},"message_id":"m","message_timestamp":1}"#;
        let mut message = decode(body, false);
        assert_eq!(message.args, None);
        assert_eq!(message.eta_ms, Some(5));
        message.learn_task_id("t");
        assert!(!message.carries_task_id);
        message.learn_task_id("7");
        assert!(message.carries_task_id);
    }

    #[test]
    fn what_is_not_a_message_says_why() {
        assert!(decode(b"\x80\x04pickle", false).undecodable.is_some());
        assert!(decode(b"{\"a\":1}", false).undecodable.is_some());
    }

    const CALL: &str = "Traceback (most recent call last):\n  File \"/v/site-packages/dramatiq/worker.py\", line 5, in process_message\n    res = actor(*message.args, **message.kwargs)\n  File \"/v/site-packages/dramatiq/actor.py\", line 9, in __call__\n    return self.fn(*args, **kwargs)\n";

    #[test]
    fn a_call_that_does_not_fit_is_not_an_entry() {
        let trace = Trace::parse(&format!(
            "{CALL}TypeError: act() got an unexpected keyword argument 'x'"
        ))
        .expect("trace");
        assert!(trace.is_bad_call("act"));
        assert!(trace.own_frames().is_empty());
    }

    #[test]
    fn a_type_error_inside_the_actor_is_an_entry() {
        let trace = Trace::parse(&format!("{CALL}  File \"/app/tasks.py\", line 3, in act\n    helper(1)\nTypeError: helper() takes 0 positional arguments but 1 was given")).expect("trace");
        assert!(!trace.is_bad_call("act"));
        assert_eq!(trace.own_frames().len(), 1);
    }

    #[test]
    fn a_wrapper_around_a_bad_call_is_not_the_actor() {
        let trace = Trace::parse(&format!("{CALL}  File \"/app/deco.py\", line 3, in wrapper\n    return fn(*a, **k)\nTypeError: act() missing 1 required positional argument: 'x'")).expect("trace");
        assert!(trace.is_bad_call("act"));
    }

    #[test]
    fn a_chain_is_read_from_its_last_traceback() {
        let trace = Trace::parse(&format!("Traceback (most recent call last):\n  File \"/x.py\", line 1, in f\nKeyError: 1\n\nDuring handling of the above exception, another exception occurred:\n\n{CALL}  File \"/app/t.py\", line 3, in act\nValueError: no\n[SQL: x]")).expect("trace");
        assert_eq!(trace.exception, "ValueError: no");
    }
}
