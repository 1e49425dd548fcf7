//! Lines of a worker's log.
//!
//! Texts are matched anywhere in a line, not at its start, so that applications with their own log
//! format are understood too.

use std::sync::LazyLock;

use crate::framework::log::{NO_PROGRAM, group};
use crate::framework::{LineMeaning, LogEvent, LogReader, LogShape, Verbosity};

pub(super) const LOG: LogShape = LogShape {
    // `[2025-01-01 00:00:00,000] [PID 1] [MainThread] [dramatiq.worker] [INFO] text`
    format: r"^\[(?P<time>[^\]]+)\] \[PID (?P<pid>\d+)\] \[(?P<thread>[^\]]*)\] \[(?P<logger>[^\]]*)\] \[(?P<level>[A-Z]+)\] (?P<text>.*)$",
    read,
    message_of: |_, _| None,
    blocks: &[],
    tells_at: Verbosity::Debug,
    death: "exited unexpectedly",
    lost_job: None,
    logger: "dramatiq",
    reads: |logger| consumer_queue(Some(logger)),
    // An actor's own logger is named by its module and itself.
    by_others: |text, event| match event {
        LogEvent::Called => text.starts_with("Received args="),
        LogEvent::Completed => text.starts_with("Completed after "),
        LogEvent::AddressInUse | LogEvent::NeverAwaited | LogEvent::UsageError | LogEvent::NoEventLoop => {
            true
        }
        _ => false,
    },
    argument_masks: &[
        (
            r"(?s)(?P<k>Received message [^(]+\().+(?P<e>\) with id ')",
            "$k…$e",
        ),
        (
            r"(?s)(?P<k>Failed to process message [^(]+\().+(?P<e>\) with )",
            "$k…$e",
        ),
        (
            r"(?s)(?P<k>Rate limit exceeded in message [^(]+\().+(?P<e>\))",
            "$k…$e",
        ),
        (r"(?s)(?P<k>Message [^('][^(]*\().+(?P<e>\) was skipped)", "$k…$e"),
        (r"(?s)(?P<k>Received args=).+", "$k(…) kwargs={…}."),
    ],
};

/// Every line a diagnosis uses. The first that matches wins.
const LINES: &[(&str, LineMeaning)] = &[
    // It also says that the others shut down.
    (
        r"Worker with PID (\d+) exited unexpectedly \(code (-?\d+)\)",
        |c| LogEvent::ChildDied {
            pid: group(c, 1).parse().unwrap_or(0),
            code: group(c, 2).parse().unwrap_or(0),
        },
    ),
    (r"Dramatiq '[^']*' is booting up", |_| LogEvent::BootingUp),
    (r"Worker process is ready for action", |_| LogEvent::Ready),
    (r"Failed to import module", |_| LogEvent::ImportFailed),
    (r"^(?:usage: dramatiq|dramatiq: error:)", |_| LogEvent::UsageError),
    (NO_PROGRAM, |_| LogEvent::UsageError),
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
    (r"Failed to decode message(?:\.| using encoder )", |_| {
        LogEvent::DecodeFailed
    }),
    (
        r"(?s)Received message ([^(\s][^(]*)\(.*\) with id '([^']+)'",
        |c| LogEvent::Received {
            actor: group(c, 1),
            id: group(c, 2),
        },
    ),
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
        r"(?s)Failed to process message ([^(\s][^(]*)\(.*\) with unhandled exception",
        |c| LogEvent::Failed { actor: group(c, 1) },
    ),
    (
        r"(?s)Failed to process message .* with expected exception (\S+)\.",
        |c| LogEvent::ExpectedException {
            declared: Some(group(c, 1)),
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
    (r"(?s)Message ([^('\s][^(]*)\(.*\) was skipped", |c| {
        LogEvent::Skipped { actor: group(c, 1) }
    }),
    (r"Unexpected failure in (before_\w+|after_\w+)", |c| {
        LogEvent::HookFailed { hook: group(c, 1) }
    }),
    (
        r"Time limit exceeded\. Raising exception in worker thread",
        |_| LogEvent::TimeLimit,
    ),
    (
        r"Failed to (?:ack message: not in known tags|post_process_message\()",
        |_| LogEvent::AckFailed,
    ),
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
];

/// The patterns are constants: a test compiles them all.
static READER: LazyLock<Option<LogReader>> = LazyLock::new(|| LogReader::new(LINES).ok());

fn read(text: &str, logger: Option<&str>, traceback: Option<&str>) -> Option<LogEvent> {
    Some(match READER.as_ref()?.read(text)? {
        // Its time has come, and it is put onto the work queue: no word on the run.
        LogEvent::Acknowledging { .. }
            if consumer_queue(logger).is_some_and(|queue| queue.ends_with(".DQ")) =>
        {
            return None;
        }
        LogEvent::ConnectionError { error, .. } => LogEvent::ConnectionError {
            queue: consumer_queue(logger),
            error: if error.is_empty() {
                last_line(traceback)
            } else {
                error
            },
        },
        other => other,
    })
}

/// The queue in a logger's name, `dramatiq.worker.ConsumerThread(default)`.
fn consumer_queue(logger: Option<&str>) -> Option<String> {
    let inside = logger?.split_once("ConsumerThread(")?.1;
    Some(inside.strip_suffix(')')?.to_owned())
}

fn last_line(text: Option<&str>) -> String {
    text.and_then(|text| text.trim_end().lines().next_back())
        .unwrap_or_default()
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_pattern_compiles() {
        assert!(READER.is_some());
    }

    #[test]
    fn the_delay_queues_acknowledgement_settles_no_run() {
        let acked = |queue: &str| {
            let logger = format!("dramatiq.worker.ConsumerThread({queue})");
            read("Acknowledging message '1-2'.", Some(&logger), None)
        };
        assert!(acked("default").is_some());
        assert_eq!(acked("default.DQ"), None);
    }

    #[test]
    fn an_actor_may_have_any_name() {
        for name in [
            "freight:book",
            "freight/book",
            "book the freight",
            "reports.rebuild-all",
        ] {
            assert_eq!(
                read(
                    &format!("Received message {name}('x', y=('z',)) with id '1-2'."),
                    None,
                    None
                ),
                Some(LogEvent::Received {
                    actor: name.into(),
                    id: "1-2".into()
                })
            );
        }
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
            assert_eq!(read(text, None, None), Some(mark), "{text}");
        }
        assert_eq!(read("order 7 received", None, None), None);
    }
}
