//! Lines of a worker's log: `[2026-11-28 03:00:05,239: INFO/MainProcess] text`, without logger and pid.
//!
//! The process is its name: `MainProcess` is the master, which takes messages and hands them on, and
//! `ForkPoolWorker-2` a child; in other pools everything is `MainProcess`. Texts are matched anywhere in a line,
//! so that applications with a format of their own are understood too.

use std::sync::LazyLock;

use regex::Regex;

use crate::framework::log::{NO_PROGRAM, group};
use crate::framework::{
    LineMeaning, LineSubject, LogEvent, LogReader, LogShape, Verbosity, exception_in, function_of,
};

pub(super) const LOG: LogShape = LogShape {
    // The banner is printed, not logged.
    format: r"^(?:\[(?P<time>\d{4}-[^\]]*?): (?P<level>[A-Z]+)/(?P<thread>[^\]]+)\] (?P<text>.*)| -{10,} \S+@\S+ v\d.*|-- \*{7} -{4} \S+ (?P<printed>\d{4}-\d\d-\d\d \d\d:\d\d:\d\d)| +\.> \S+ +exchange=.*)$",
    read,
    message_of,
    blocks: &[
        "Received unregistered task of type",
        "Received invalid task message",
        "Can't decode message body",
        "Received and deleted unknown message",
    ],
    tells_at: Verbosity::Info,
    death: "exited with",
    lost_job: Some("WorkerLostError"),
    logger: "celery",
    reads: |_| None,
    by_others: |_, _| true,
    argument_masks: &[
        (
            r"(?s)(?P<k>TaskPool: Apply <function \w+ at 0x\w+> \(args:\('[^']*', '[^']*', ).+",
            "$k…)",
        ),
        (
            r"(?s)(?P<k>The full contents of the message body was:\s).+?(?P<e> \(\d+b\))",
            "$k…$e",
        ),
        (
            r"(?P<k>'(?:args|kwargs)repr': )(?:'(?:[^'\\]|\\.)*'|\x22(?:[^\x22\\]|\\.)*\x22)",
            "$k…",
        ),
        (r"(?s)(?P<k>\] succeeded in [\d.e-]+s: )['\x22\[{(].*", "$k…"),
    ],
};

/// A task and its id, as they stand in almost every line. A name may have colons, slashes and blanks.
macro_rules! task {
    ($before:literal, $after:literal) => {
        concat!(r"(?s)", $before, r"([^\[\]\n]+)\[([^\]\s]+)\]", $after)
    };
}

/// A line that begins with this, or, in an application's own format, with what names Celery's logger.
macro_rules! own {
    ($text:literal) => {
        concat!(r"^(?:.*\bcelery\.[\w.]+\b\W*)?", $text)
    };
}

/// Every line a diagnosis uses. The first that matches wins.
const LINES: &[(&str, LineMeaning)] = &[
    (r"^ ?-{10,} \S+@\S+ v\d", |_| LogEvent::BootingUp),
    (r"\S+@\S+ ready\.$", |_| LogEvent::Ready),
    (r"^ *\.> (\S+) +exchange=", |c| LogEvent::AddingConsumer {
        queue: group(c, 1),
    }),
    (
        r"(?:^|\| )(?:Usage: (?:python -m )?celery|Error: (?:Invalid value|No such option|Unable to parse)|Unable to load celery application|The module \S+ was not found|ERROR: Pidfile \(\S+\) already exists|Running a worker with superuser privileges when the)",
        |_| LogEvent::UsageError,
    ),
    (NO_PROGRAM, |_| LogEvent::UsageError),
    (
        r"^While trying to load the module \S+ the following error occurred",
        |_| LogEvent::ImportFailed,
    ),
    (own!(r"Connected to (\w+://\S+)$"), |c| LogEvent::Connected {
        url: group(c, 1),
    }),
    (
        r"(?s)consumer: Cannot connect to \S+: (.*?)\.?(?:\nTrying again.*)?$",
        |c| connection_error(group(c, 1)),
    ),
    (
        r"(?s)consumer: Connection to broker lost\. .*?(?:\((.*)\))?$",
        |c| connection_error(group(c, 1)),
    ),
    (r"(?s)Unrecoverable error: (.*inequivalent arg.*)$", |c| {
        connection_error(group(c, 1))
    }),
    // In an application's own format its level stands before it; an application may say the same of its own.
    (
        r"(?s)^(?:.*\b(?:CRITICAL|critical|celery)\b.*?)?Unrecoverable error: (.*)$",
        |c| LogEvent::GaveUp { error: group(c, 1) },
    ),
    (
        r"(?s)(Retrying to establish a connection to the message broker .*has been disabled.*)$",
        |c| LogEvent::GaveUp { error: group(c, 1) },
    ),
    (task!("Discarding revoked task: ", ""), |c| LogEvent::Discarded {
        id: group(c, 2),
    }),
    (own!(r"Terminating (\S+) \((?:Signals\.)?\w+\)$"), |c| {
        LogEvent::Terminating { id: group(c, 1) }
    }),
    (own!(r"Tasks flagged as revoked: (.+)$"), |c| LogEvent::Revoked {
        ids: group(c, 1).split(", ").map(str::to_owned).collect(),
    }),
    (
        r"pidbox command error: NotImplementedError\(.*does not implement kill_job",
        |_| LogEvent::CannotTerminate,
    ),
    (own!(r"Trying again in [\d.]+ seconds"), |_| {
        LogEvent::RestartingConsumer
    }),
    // It is no start: an ETA, a rate limit or busy children may still be before it.
    (task!("Task ", " received"), |c| LogEvent::Pushed {
        id: group(c, 2),
        delay: false,
    }),
    // Before 5.1.
    (task!("Received task: ", ""), |c| LogEvent::Pushed {
        id: group(c, 2),
        delay: false,
    }),
    (task!("Task accepted: ", ""), |c| LogEvent::Received {
        actor: group(c, 1),
        id: group(c, 2),
    }),
    (r"coroutine '[^']*' was never awaited", |_| LogEvent::NeverAwaited),
    (
        task!("Task ", r" succeeded in [\d.e-]+s: <coroutine object "),
        |_| LogEvent::NeverAwaited,
    ),
    (
        task!(
            "Task ",
            r" raised unexpected: EncodeError\(TypeError\('Object of type coroutine"
        ),
        |_| LogEvent::NeverAwaited,
    ),
    (task!("Task ", r" succeeded in [\d.e-]+s"), |c| {
        LogEvent::Succeeded {
            actor: group(c, 1),
            id: group(c, 2),
        }
    }),
    (task!("Task ", " raised unexpected: "), |c| LogEvent::Failed {
        actor: group(c, 1),
    }),
    (task!("Task ", r" raised expected: (\w+)"), |c| {
        LogEvent::ExpectedException {
            declared: Some(group(c, 3)),
        }
    }),
    (task!("Task ", " ignored"), |_| LogEvent::Ignored),
    (task!("Task ", " reject requeue=True"), |_| LogEvent::Requeued),
    (task!("Task ", " reject requeue="), |_| {
        LogEvent::ExpectedException { declared: None }
    }),
    (task!("Task ", r" retry: Retry (?:in (\d+)s)?"), |c| {
        LogEvent::Retrying {
            id: group(c, 2),
            in_ms: group(c, 3).parse::<u64>().unwrap_or(0) * 1000,
        }
    }),
    (task!(r"Soft time limit \([\d.]+s\) exceeded for ", ""), |_| {
        LogEvent::TimeLimit
    }),
    (task!(r"Hard time limit \([\d.]+s\) exceeded for ", ""), |_| {
        LogEvent::KilledAtTimeLimit
    }),
    (r"\.> concurrency: (\d+) \(", |c| LogEvent::Concurrency {
        slots: group(c, 1).parse().unwrap_or(0),
    }),
    (r"\.> results: +(\S+)$", |c| LogEvent::ResultStore {
        url: group(c, 1),
    }),
    (r"Received unregistered task of type '([^']*)'", |c| {
        LogEvent::UndefinedActor { actor: group(c, 1) }
    }),
    (r"Received invalid task message|Can't decode message body", |_| {
        LogEvent::DecodeFailed
    }),
    (r"Received and deleted unknown message", |_| {
        LogEvent::ForeignMessage
    }),
    (
        r"Process '[^']*' pid:(\d+) exited with '(signal|exitcode) (\d+)",
        |c| {
            let code: i32 = group(c, 3).parse().unwrap_or(0);
            LogEvent::ChildDied {
                pid: group(c, 1).parse().unwrap_or(0),
                code: if &c[2] == "signal" { -code } else { code },
            }
        },
    ),
    (
        r"(?s)RuntimeWarning: Exception raised outside body: (.*?):?$",
        |c| LogEvent::NotStored { error: group(c, 1) },
    ),
    (r"(?s)^Pool callback raised exception: (.*)$", |c| {
        LogEvent::NotStored { error: group(c, 1) }
    }),
    (r"(?s)\bChord '([^']+)' raised: (.*)$", |c| {
        LogEvent::ChordFailed {
            group: group(c, 1),
            error: group(c, 2),
        }
    }),
    (r"WorkerLostError\(.*Job: (\d+)\.", |c| LogEvent::JobLost {
        job: group(c, 1).parse().unwrap_or(usize::MAX),
    }),
    (r"Couldn't ack \d+", |_| LogEvent::AckFailed),
    (r"worker: (?:Warm|Cold) shutdown", |_| LogEvent::Stopping),
];

fn connection_error(error: String) -> LogEvent {
    LogEvent::ConnectionError { queue: None, error }
}

/// The patterns are constants: a test compiles them all.
static READER: LazyLock<Option<LogReader>> = LazyLock::new(|| LogReader::new(LINES).ok());

fn read(text: &str, _: Option<&str>, traceback: Option<&str>) -> Option<LogEvent> {
    // Whatever a task says of its own work is no word of its worker.
    if message_of(text, None).is_some_and(|subject| subject.by_the_task) {
        return None;
    }
    Some(match READER.as_ref()?.read(text)? {
        // Before 5.5 only the traceback below the line has it.
        // It is a generator that nobody goes through: of its function not a line ran.
        LogEvent::Succeeded { actor, .. } if returned_its_own_generator(text, &actor) => {
            LogEvent::NeverAwaited
        }
        LogEvent::ConnectionError { error, .. } if error.is_empty() => {
            connection_error(traceback.and_then(exception_in).unwrap_or_default())
        }
        // What the function returned cannot be stored: it has run.
        LogEvent::Failed { .. } if traceback.is_some_and(is_after_the_call) => LogEvent::NotStored {
            error: text
                .split_once(" raised unexpected: ")
                .map_or(text, |(_, error)| error)
                .to_owned(),
        },
        other => other,
    })
}

/// Raised while the end of a run was stored, and not below the call of its function.
fn is_after_the_call(traceback: &str) -> bool {
    let last = traceback.rsplit("Traceback (most recent call last)").next();
    last.is_some_and(|last| last.contains("in mark_as_done\n") && !last.contains("in __protected_call__\n"))
}

/// The value is the task's own function, called and not run: a generator expression is called otherwise.
fn returned_its_own_generator(text: &str, actor: &str) -> bool {
    let value = ["<generator object ", "<async_generator object "]
        .iter()
        .find_map(|object| text.split_once(object));
    let name = value
        .and_then(|(_, rest)| rest.split_once(" at 0x"))
        .map(|(name, _)| name);
    let function = name.map(|name| name.rsplit('.').next().unwrap_or(name));
    function.is_some_and(|function| function == function_of(actor) || function == "run")
}

/// `Task NAME[ID] …`.
static OF: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?:Task|task:|accepted:|exceeded for) (?P<task>[^\s\[\]]+)\[(?P<id>[^\]\s]{6,})\](?:$|[\s:.])",
    )
    .ok()
});
/// The same for a name with blanks, where what stands behind it cannot be the application's words.
static OF_SPACED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(
        r"(?:Task|task:|accepted:|exceeded for) (?P<task>[^\[\]\n]+)\[(?P<id>[[:xdigit:]]{8}(?:-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12})\](?:$|[\s:.])",
    )
    .ok()
});
/// `NAME[ID]: …`, as lines of `get_task_logger` begin. Behind a format of the application's own, a name with
/// blanks has no beginning.
static BY: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|\s)(?P<task>\w+(?:[.:/\-]\w+)+)\[(?P<id>[^\]\s]{6,})\]: ").ok());
static BY_SPACED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    Regex::new(r"^(?P<task>[^\[\]\n]+)\[(?P<id>[[:xdigit:]]{8}(?:-[[:xdigit:]]{4}){3}-[[:xdigit:]]{12})\]: ")
        .ok()
});
/// A message that was refused is printed with its headers.
static HEADER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"'id': '(?P<id>[^']{6,})'").ok());

fn message_of<'t>(text: &'t str, traceback: Option<&'t str>) -> Option<LineSubject<'t>> {
    let find = |pattern: &Option<Regex>, text: &'t str, by_the_task| {
        let found = pattern.as_ref()?.captures(text)?;
        Some(LineSubject {
            id: found.name("id")?.as_str(),
            task: found.name("task").map_or("", |task| task.as_str()),
            by_the_task,
        })
    };
    let refused = || traceback.filter(|_| text.contains("Received unregistered task of type"));
    find(&OF, text, false)
        .or_else(|| find(&OF_SPACED, text, false))
        .or_else(|| find(&BY, text, true))
        .or_else(|| find(&BY_SPACED, text, true))
        .or_else(|| refused().and_then(|below| find(&HEADER, below, false)))
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: &str = "74e8a6b3-f818-4502-9323-d4cd261dc391";

    #[test]
    fn every_pattern_compiles() {
        assert!(READER.is_some() && OF.is_some() && BY.is_some() && HEADER.is_some());
        assert!(OF_SPACED.is_some() && BY_SPACED.is_some());
    }

    /// With whatever stands before them, as long as that names the logger.
    #[test]
    fn lines_in_a_format_of_the_applications_own() {
        let read = |text: &str| (LOG.read)(text, None, None);
        let before = "17:48:19|16091|INFO|celery.worker.control|";
        let terminating = format!("Terminating {ID} (15)");
        let expected = Some(LogEvent::Terminating { id: ID.into() });
        assert_eq!(read(&terminating), expected);
        assert_eq!(read(&format!("{before}{terminating}")), expected);
        assert_eq!(read(&format!("17:48:19|INFO|app.pool|{terminating}")), None);
        let flagged = format!("{before}Tasks flagged as revoked: {ID}");
        assert_eq!(read(&flagged), Some(LogEvent::Revoked { ids: vec![ID.into()] }));
    }

    /// Lines of Celery 5.7.0 and 5.4.0.
    #[test]
    fn lines_of_a_life() {
        let pushed = LogEvent::Pushed {
            id: ID.into(),
            delay: false,
        };
        for (text, mark) in [
            (" -------------- celery@vm v5.7.0 (collider)", LogEvent::BootingUp),
            (
                "Retrying to establish a connection to the message broker after a connection loss has been disabled (app.conf.broker_connection_retry=False). Shutting down...",
                LogEvent::GaveUp {
                    error: "Retrying to establish a connection to the message broker after a connection loss has been disabled (app.conf.broker_connection_retry=False). Shutting down...".into(),
                },
            ),
            (
                "Chord '3f0c' raised: WorkerLostError('signal 9')",
                LogEvent::ChordFailed {
                    group: "3f0c".into(),
                    error: "WorkerLostError('signal 9')".into(),
                },
            ),
            (
                "                .> celery           exchange=celery(direct) key=celery",
                LogEvent::AddingConsumer {
                    queue: "celery".into(),
                },
            ),
            ("celery@vm ready.", LogEvent::Ready),
            ("Task shop.tasks.fulfil_order[ID] received", pushed.clone()),
            ("Received task: shop.tasks.fulfil_order[ID]  ", pushed),
            (
                "Task shop.tasks.fulfil_order[ID] succeeded in 0.20114556699991226s: None",
                LogEvent::Succeeded {
                    actor: "shop.tasks.fulfil_order".into(),
                    id: ID.into(),
                },
            ),
            (
                "Task shop.tasks.fulfil_order[ID] succeeded in 1.2e-05s: <coroutine object f at 0x7f>",
                LogEvent::NeverAwaited,
            ),
            (
                "Task shop.tasks.fulfil_order[ID] succeeded in 1.2e-05s: <generator object fulfil_order at 0x7f>",
                LogEvent::NeverAwaited,
            ),
            (
                "Task shop.tasks.fulfil_order[ID] succeeded in 1.2e-05s: <generator object fulfil_order.<locals>.<genexpr> at 0x7f>",
                LogEvent::Succeeded {
                    actor: "shop.tasks.fulfil_order".into(),
                    id: ID.into(),
                },
            ),
            (
                "Task shop.tasks.fulfil_order[ID] raised unexpected: CardDeclined('card 4242 was declined')",
                LogEvent::Failed {
                    actor: "shop.tasks.fulfil_order".into(),
                },
            ),
            (
                "Task a.b[ID] retry: Retry in 180s: CardDeclined('x')",
                LogEvent::Retrying {
                    id: ID.into(),
                    in_ms: 180_000,
                },
            ),
            (
                "Received unregistered task of type 'shop.tasks.renamed'.",
                LogEvent::UndefinedActor {
                    actor: "shop.tasks.renamed".into(),
                },
            ),
            (
                "Process 'ForkPoolWorker-4' pid:4711 exited with 'signal 9 (SIGKILL)'",
                LogEvent::ChildDied { pid: 4711, code: -9 },
            ),
            (
                "Process 'ForkPoolWorker-4' pid:4711 exited with 'exitcode 1'",
                LogEvent::ChildDied { pid: 4711, code: 1 },
            ),
            (
                "consumer: Cannot connect to amqp://lab:**@127.0.0.1:5//: [Errno 111] Connection refused.",
                connection_error("[Errno 111] Connection refused".into()),
            ),
            (
                "consumer: Connection to broker lost. Trying to re-establish the connection...",
                connection_error(String::new()),
            ),
            (
                "/v/celery/app/trace.py:809: RuntimeWarning: Exception raised outside body: ProgrammingError('no'):",
                LogEvent::NotStored {
                    error: "ProgrammingError('no')".into(),
                },
            ),
            (
                "Task handler raised error: WorkerLostError('Worker exited prematurely: exitcode 3 Job: 7.')",
                LogEvent::JobLost { job: 7 },
            ),
            (
                "2026-11-28 CRITICAL celery.worker: Unrecoverable error: AccessRefused(403)",
                LogEvent::GaveUp {
                    error: "AccessRefused(403)".into(),
                },
            ),
            ("worker: Warm shutdown (MainProcess)", LogEvent::Stopping),
            (
                "Received and deleted unknown message.  Wrong destination?!?",
                LogEvent::ForeignMessage,
            ),
            ("ERROR: Pidfile (w.pid) already exists.", LogEvent::UsageError),
            (
                "Running a worker with superuser privileges when the",
                LogEvent::UsageError,
            ),
            (
                "Discarding revoked task: a.b[ID]",
                LogEvent::Discarded { id: ID.into() },
            ),
            ("Terminating ID (15)", LogEvent::Terminating { id: ID.into() }),
            (
                "Tasks flagged as revoked: ID, 11111111-f818-4502-9323-d4cd261dc391",
                LogEvent::Revoked {
                    ids: vec![ID.into(), "11111111-f818-4502-9323-d4cd261dc391".into()],
                },
            ),
            (
                "pidbox command error: NotImplementedError(\"<class 'celery.concurrency.thread.TaskPool'> does not implement kill_job\")",
                LogEvent::CannotTerminate,
            ),
            (
                "Unrecoverable error: AccessRefused(403, 'x')",
                LogEvent::GaveUp {
                    error: "AccessRefused(403, 'x')".into(),
                },
            ),
            ("Soft time limit (1s) exceeded for a.b[ID]", LogEvent::TimeLimit),
            (
                "Hard time limit (2s) exceeded for a.b[ID]",
                LogEvent::KilledAtTimeLimit,
            ),
            (
                "- *** --- * --- .> concurrency: 2 (prefork)",
                LogEvent::Concurrency { slots: 2 },
            ),
            (
                "- ** ---------- .> results:     redis://:**@cache:6379/0",
                LogEvent::ResultStore {
                    url: "redis://:**@cache:6379/0".into(),
                },
            ),
        ] {
            let text = text.replace("ID", ID);
            assert_eq!(read(&text, None, None), Some(mark), "{text}");
        }
        for text in [
            "shop.tasks.fulfil_order[ID]: Unrecoverable error: card expired",
            "gateway: Unrecoverable error: card expired",
            "shop.tasks.fulfil_order[ID]: farm: Hard time limit (30s) exceeded for frame 7, trying another",
            "farm: Hard time limit (30s) exceeded for frame 7, trying another",
            "order 7 received",
            "shop.tasks.fulfil_order[ID]: packing order 7",
            "mingle: all alone",
            // Noise of every start, and of DEBUG.
            "/v/site-packages/celery/worker/consumer/consumer.py:508: CPendingDeprecationWarning: The broker_connection_retry configuration setting will no longer determine whether broker connection retries are made during startup in Celery 6.0 and above.",
            "/v/site-packages/celery/platforms.py:841: SecurityWarning: You're running the worker with superuser privileges: this is absolutely not recommended!",
            "Received method (60, 60)",
            "pidbox received method query_task(ids=['ID']) [reply_to:None ticket:None]",
            "- ** ---------- .> results:     ",
        ] {
            assert_eq!(read(text, None, None), None, "{text}");
        }
    }

    #[test]
    fn most_lines_name_their_message() {
        for (text, by_the_task) in [
            ("Task shop.tasks.fulfil_order[ID] received", false),
            ("Task a.b[ID] raised unexpected: KeyError('x[ABCDEFGH]')", false),
            ("shop.tasks.fulfil_order[ID]: packing order 7", true),
            ("2026-11-28 INFO app shop.tasks.fulfil_order[ID]: packing", true),
            ("Hard time limit (3s) exceeded for a.b[ID]", false),
            ("Discarding revoked task: a.b[ID]", false),
            ("Task booking:confirm[ID] raised unexpected: KeyError(1)", false),
            ("Task confirm a booking[ID] received", false),
            ("booking:confirm[ID]: packing", true),
            ("confirm a booking[ID]: packing", true),
        ] {
            let text = text.replace("ID", ID);
            let subject = message_of(&text, None).expect("it names one");
            assert_eq!((subject.id, subject.by_the_task), (ID, by_the_task), "{text}");
            assert!(text.contains(&format!("{}[", subject.task)) && !subject.task.is_empty());
        }
        for text in [
            "order items[1234567] packed",
            "celery@vm ready.",
            "Task done for items[1234567] of it",
            "values[3]: x",
            "d.get[7]: x",
        ] {
            assert_eq!(message_of(text, None), None, "{text}");
        }
        let below = format!(
            "The full contents of the message headers:\n{{'lang': 'py', 'task': 'a.b', 'id': '{ID}'}}"
        );
        let refused = "Received unregistered task of type 'a.b'.";
        assert_eq!(
            message_of(refused, Some(&below)).map(|subject| subject.id),
            Some(ID)
        );
        assert_eq!(message_of("packing", Some(&below)), None);
    }
}
