//! Log lines of any usual format: level, logger, pid, thread, time and text.
//!
//! Dramatiq's, Celery's and `logging.basicConfig`'s formats, lines of fields, and for anything else a
//! level word and a leading time. Tracebacks and other continuation lines are folded into the line
//! they belong to. Lines are parsed one by one; nothing here looks at files.

use std::sync::LazyLock;

use regex::Regex;

use super::fields::{self, level, regex};
use crate::framework;
use crate::timeline::LogLine;

/// Of frameworks, as their own handlers write.
static FRAMEWORKS: LazyLock<Vec<Regex>> = LazyLock::new(|| {
    framework::ALL
        .iter()
        .filter_map(|framework| regex(framework.log.format))
        .collect()
});
/// `WARNING:logger:text`
static BASIC: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(r"^(?P<level>DEBUG|INFO|WARNING|ERROR|CRITICAL):(?P<logger>[\w.\-()]+):(?P<text>.*)$")
});
/// A leading time in any of the usual shapes.
static TIME: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        r"^\s*[\[(]?(?P<time>\d{4}[-/]\d\d[-/]\d\d[T ]\d\d:\d\d:\d\d(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?|\d\d:\d\d:\d\d(?:[.,]\d+)?)",
    )
});
/// The level as a word of its own, in the head of a line.
static LEVEL: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        r"(?i)(?:^|[\s\[(|<:/=])(?P<level>debug|info|notice|warn|warning|error|critical|fatal)(?:[\s\])|>:/,]|$)",
    )
});
/// `pid=12`, `[PID 12]`, `(pid:12)`; or before the thread's name, as in `12/MainThread` or `12:Thread-3`.
static PID: LazyLock<Option<Regex>> = LazyLock::new(|| {
    regex(
        r"(?i)\bpid[ =:]{1,2}(?P<pid>\d+)|(?:^|[\s|\[(])(?P<before>\d{1,7})[/:](?-i:Thread-\d|MainThread\b)",
    )
});
static THREAD: LazyLock<Option<Regex>> =
    LazyLock::new(|| regex(r"\b(?P<thread>Thread-\d+(?: \([\w.]+\))?|MainThread)\b"));

/// How far into a line its head may reach.
const HEAD: usize = 160;

/// Formats of whole lines: the first that fits is the line's.
pub(super) fn formats() -> impl Iterator<Item = &'static Regex> {
    FRAMEWORKS.iter().chain(&*BASIC)
}

pub(super) fn has_head(text: &str) -> bool {
    let head = head_of(text);
    formats().any(|format| format.is_match(text))
        || TIME.as_ref().is_some_and(|time| time.is_match(head))
        || (text.ends_with('}')
            && text
                .strip_prefix('{')
                .is_some_and(|text| text.trim_start().starts_with('"')))
        || fields::of_logfmt(text).is_some()
        || leading_level(head)
}

fn head_of(text: &str) -> &str {
    let mut end = text.len().min(HEAD);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}

fn leading_level(head: &str) -> bool {
    LEVEL
        .as_ref()
        .and_then(|level| level.captures(head))
        .is_some_and(|found| {
            found
                .name("level")
                .is_some_and(|word| word.start() <= 2 && word.as_str().chars().all(char::is_uppercase))
        })
}

/// One line; the flag says that its head was recognised.
pub(super) fn parse(text: &str) -> (LogLine, Option<String>, bool) {
    if let Some((line, stated)) = fields::read(text).and_then(|fields| fields::line(&fields)) {
        return (line, stated, true);
    }
    for format in formats() {
        let Some(found) = format.captures(text) else {
            continue;
        };
        let group = |name: &str| found.name(name).map(|part| part.as_str().to_owned());
        let line = LogLine {
            level: group("level").and_then(|word| level(&word)),
            logger: group("logger"),
            pid: group("pid").and_then(|pid| pid.parse().ok()),
            thread: group("thread"),
            text: group("text").unwrap_or_else(|| text.to_owned()),
            ..LogLine::default()
        };
        return (line, group("time").or_else(|| group("printed")), true);
    }
    let head = head_of(text);
    let time = TIME
        .as_ref()
        .and_then(|time| time.captures(head))
        .and_then(|found| found.name("time").map(|part| part.as_str().to_owned()));
    let word = LEVEL
        .as_ref()
        .and_then(|pattern| pattern.captures(head))
        .and_then(|found| found.name("level").map(|part| part.as_str().to_owned()));
    // A level word in the middle of prose is no level: it needs a time before it, or capitals.
    let level = word
        .filter(|word| time.is_some() || word.chars().all(char::is_uppercase))
        .and_then(|word| level(&word));
    let line = LogLine {
        level,
        logger: None,
        pid: PID
            .as_ref()
            .and_then(|pid| pid.captures(head))
            .and_then(|found| found.name("pid").or(found.name("before"))?.as_str().parse().ok()),
        thread: THREAD
            .as_ref()
            .and_then(|thread| thread.captures(head))
            .map(|found| found["thread"].to_owned()),
        text: text.to_owned(),
        ..LogLine::default()
    };
    let head = time.is_some() || leading_level(head);
    (line, time, head)
}

#[cfg(test)]
mod tests {
    use super::super::fields::Parsed;
    use super::super::folder::{DATED, Folder, PREFIX};
    use super::*;
    use crate::timeline::Level;

    fn read(text: &str) -> Vec<Parsed> {
        let mut folder = Folder::new(regex("ENTRY"));
        let mut lines = folder.feed(text.as_bytes());
        lines.extend(folder.flush());
        lines
    }

    #[test]
    fn every_pattern_compiles() {
        assert_eq!(FRAMEWORKS.len(), framework::ALL.len());
        for pattern in [&*BASIC, &*TIME, &*LEVEL, &*PID, &*THREAD, &*PREFIX, &*DATED] {
            assert!(pattern.is_some());
        }
    }

    #[test]
    fn dramatiq_lines_with_a_traceback() {
        let lines = read(
            "[2025-01-01 10:00:00,123] [PID 7] [Thread-4] [dramatiq.worker.WorkerThread] [ERROR] Failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\n    x\nValueError: no\n[SQL: SELECT 1]\n[2025-01-01 10:00:01,000] [PID 7] [Thread-4] [x] [INFO] next\n",
        );
        assert_eq!(lines.len(), 2);
        let (line, stated) = &lines[0];
        assert_eq!(
            (line.pid, line.thread.as_deref(), line.level),
            (Some(7), Some("Thread-4"), Some(Level::Error))
        );
        assert_eq!(stated.as_deref(), Some("2025-01-01 10:00:00,123"));
        assert!(
            line.traceback
                .as_deref()
                .is_some_and(|text| text.ends_with("[SQL: SELECT 1]"))
        );
    }

    #[test]
    fn a_traceback_in_a_field_of_any_name() {
        let below = r#"Traceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: no"#;
        for field in ["exc", "error.stack", "exc_info"] {
            let lines = read(&format!(
                "{{\"msg\":\"Task x raised\",\"{field}\":\"{below}\",\"id\":\"7\"}}\n"
            ));
            let (line, _) = &lines[0];
            assert_eq!(line.text, "Task x raised id=7", "{field}");
            assert!(
                line.traceback
                    .as_deref()
                    .is_some_and(|text| text.ends_with("ValueError: no"))
            );
        }
        let (line, _) = &read("{\"msg\":\"x\",\"exc\":\"ValueError: no\"}\n")[0];
        assert_eq!(
            (line.text.as_str(), &line.traceback),
            ("x exc=ValueError: no", &None)
        );
    }

    /// A line of source, or the exception's own, that reads like an entry: no line of its own.
    #[test]
    fn what_a_traceback_prints_is_no_entry() {
        let head = "[2025-01-01 10:00:00,123] [PID 7] [Thread-4] [x] [ERROR] Failed\nTraceback (most recent call last):\n";
        let source = format!("{head}  File \"a.py\", line 1, in f\n    log(\"ENTRY\")\nValueError: no\n");
        let lines = read(&source);
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0]
                .0
                .traceback
                .as_deref()
                .is_some_and(|text| text.ends_with("ValueError: no"))
        );
        let exception = format!("{head}  File \"a.py\", line 1, in f\n    x\nValueError: ENTRY twice\n");
        assert_eq!(read(&exception).len(), 1);
        // A program that prints its entries without a head, after the traceback.
        let printed =
            format!("{head}  File \"a.py\", line 1, in f\n    x\nValueError: no\nENTRY of task 7\n");
        let lines = read(&printed);
        assert_eq!(lines.len(), 2);
        assert!(lines[1].0.entry);
    }

    #[test]
    fn other_formats() {
        let lines = read(
            "WARNING:root:careful\n2025-01-01T10:00:00Z [warning  ] disk pid=12 is full\n{\"level\":\"error\",\"msg\":\"boom\",\"task_id\":\"t1\",\"ts\":\"x\"}\nplain words about an error\n[2025-01-01 10:00:00,000: ERROR/ForkPoolWorker-1] Task x raised\n",
        );
        let levels: Vec<_> = lines.iter().map(|(line, _)| line.level).collect();
        assert_eq!(
            levels,
            [
                Some(Level::Warning),
                Some(Level::Warning),
                Some(Level::Error),
                None,
                Some(Level::Error)
            ]
        );
        assert_eq!(lines[1].0.pid, Some(12));
        assert_eq!(lines[2].0.text, "boom task_id=t1");
    }

    #[test]
    fn a_table_is_no_service() {
        let table = read("id | status\n7  | PENDING\n");
        assert_eq!(table[0].0.text, "id | status");
        let service = read("worker-1  | WARNING:a:late\nworker-1  | id | status\n");
        assert_eq!(service[1].0.text, "id | status");
    }

    #[test]
    fn a_printed_entry_line_is_never_folded_away() {
        let lines = read(
            "[2025-01-01 10:00:00,123] [PID 7] [T] [x] [ERROR] Failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: no\n!!! ENTRY\n",
        );
        assert_eq!(lines.len(), 2);
        assert!(lines[1].0.entry);
    }

    #[test]
    fn what_compose_and_a_terminal_add_is_taken_off() {
        let plain = "[2025-01-01 10:00:00,123] [PID 7] [Thread-4] [x] [ERROR] Failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: no\n";
        let dressed = |prefix: &str, level: &str| -> String {
            let lines = plain
                .lines()
                .map(|line| format!("{prefix}{}\n", line.replace("ERROR", level)));
            lines.collect()
        };
        for prefix in [
            "worker-1  | ",
            "\u{1b}[2K\u{1b}[36mmy_worker | \u{1b}[0m",
            "[pod/worker-7d9f/worker] ",
            "Jan  1 10:00:00 shop01 worker[7]: ",
            "2025-01-01T10:00:00.123456+01:00 shop01 shop-worker.service: ",
            "2025-01-01T10:00:00.123456+00:00 app[worker.1]: ",
            "10:00:00 worker.1 | ",
        ] {
            let text = dressed(prefix, "\u{1b}[1;31mERROR\u{1b}[0m");
            let mut lines = read(&text);
            for (line, _) in &mut lines {
                assert!(line.stream.take().is_some(), "{prefix}");
            }
            assert_eq!(lines, read(plain), "{prefix}");
        }
        // A program's own bars are its own.
        let own = read("info | worker | started\n2025-01-01 10:00:00 | WARNING  | app:f:1 - careful\n");
        assert_eq!(own[0].0.text, "info | worker | started");
        assert_eq!(own[1].0.level, Some(Level::Warning));
    }

    /// Journal and syslog put a time before each line: what the program writes may have none.
    #[test]
    fn lines_without_a_head_of_their_own_behind_a_dated_prefix() {
        let said = [
            "working",
            "Traceback (most recent call last):",
            "  File \"a.py\", line 1, in f",
            "KeyError: 7",
            "",
            "During handling of the above exception, another exception occurred:",
            "",
            "Traceback (most recent call last):",
            "  File \"a.py\", line 2, in f",
            "ValueError: no",
            "going on",
        ];
        let of = |program: &str| -> String {
            let lines = said
                .iter()
                .map(|line| format!("Dec 01 00:12:03 lab01 {program}: {line}\n"));
            lines.collect()
        };
        let lines = read(&of("lab[9181]"));
        let texts: Vec<&str> = lines.iter().map(|(line, _)| line.text.as_str()).collect();
        assert_eq!(texts, ["working", "going on"]);
        assert!(
            lines
                .iter()
                .all(|(line, _)| line.stream.as_deref() == Some("lab"))
        );
        let traceback = lines[0].0.traceback.as_deref().expect("a traceback");
        assert!(traceback.ends_with("ValueError: no"), "{traceback}");
        // Dramatiq's own time is the program's, and no journal's.
        let own = read("2025-01-01T10:00:00Z shop: on its way\n");
        assert_eq!(own[0].0.stream, None);
    }

    #[test]
    fn replicas_do_not_break_each_others_tracebacks() {
        let head =
            |pid: u32, text: &str| format!("[2025-01-01 10:00:00,123] [PID {pid}] [T] [x] [ERROR] {text}");
        let text = format!(
            "worker-1  | {}\nworker-1  | Traceback (most recent call last):\nworker-2  | {}\nworker-1  |   File \"a.py\", line 1, in f\nworker-2  | Traceback (most recent call last):\nworker-1  | ValueError: one\nworker-2  | KeyError: 'two'\n",
            head(7, "first"),
            head(7, "second"),
        );
        let lines = read(&text);
        let told: Vec<_> = lines
            .iter()
            .map(|(line, _)| {
                (
                    line.stream.as_deref(),
                    line.traceback.as_deref().and_then(|text| text.lines().last()),
                )
            })
            .collect();
        assert_eq!(
            told,
            [
                (Some("worker-1"), Some("ValueError: one")),
                (Some("worker-2"), Some("KeyError: 'two'"))
            ]
        );
    }

    #[test]
    fn a_line_torn_between_two_chunks_is_one_line() {
        let mut folder = Folder::new(None);
        assert!(folder.feed(b"WARNING:a:fir").is_empty());
        assert!(folder.feed(b"st\n").is_empty());
        assert_eq!(folder.flush()[0].0.text, "first");
    }

    #[test]
    fn a_bare_traceback_is_a_line_of_its_own() {
        let lines = read(
            "Process Process-1:\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: no\n",
        );
        assert_eq!(lines.len(), 1);
        assert!(
            lines[0]
                .0
                .traceback
                .as_deref()
                .is_some_and(|text| text.contains("ValueError"))
        );
    }

    /// As loguru's users and others write it.
    #[test]
    fn a_pid_before_the_name_of_its_thread() {
        let pid = |text: &str| parse(text).0.pid;
        assert_eq!(
            pid("2026-01-01 14:40:34.831 | DEBUG    | 15588/Thread-11 | dramatiq.worker:run:554 - Received"),
            Some(15588)
        );
        assert_eq!(pid("2026-01-01 14:40:34 [15588:MainThread] INFO up"), Some(15588));
        for other in [
            "2026-01-01 14:40:34 INFO 3/4 done in MainThread",
            "2026-01-01 14:40:34:MainThread INFO up",
            "2026-01-01 14:40:34 INFO 12/threads",
        ] {
            assert_eq!(pid(other), None, "{other}");
        }
    }

    /// Falcon puts what went before on the same line.
    #[test]
    fn a_traceback_that_begins_on_the_line_of_its_record() {
        let lines = read(
            "2026-01-01 14:38:28 [FALCON] [ERROR] POST /rpc => Traceback (most recent call last):\n  File \"a.py\", line 1, in f\n    g()\nTypeError: no\n2026-01-01 14:38:29 [FALCON] [ERROR] next\n",
        );
        assert_eq!(lines.len(), 2);
        let traceback = lines[0].0.traceback.as_deref().expect("a traceback");
        assert_eq!(
            crate::framework::exception_in(traceback).as_deref(),
            Some("TypeError: no")
        );
        // Who speaks of one has none.
        let spoken =
            read("2026-01-01 14:38:28 [ERROR] no Traceback (most recent call last): was kept\nfoo: bar\n");
        assert_eq!(spoken[0].0.traceback, None);
    }

    /// The next process, which died as it began, writes to the same log.
    #[test]
    fn a_programs_end_is_not_the_traceback_of_a_line_before_it() {
        let end = |first: &str| {
            format!(
                "Traceback (most recent call last):\n  File \"/v/bin/celery\", line 8, in {first}\n    sys.exit(main())\nKeyError: 'TOKEN'\n"
            )
        };
        let told = |line: &str, first: &str| -> Vec<bool> {
            let head = "[2025-01-01 10:00:00,000: INFO/MainProcess] celery@vm ready.\n";
            let lines = read(&format!("{head}{line}\n{}", end(first)));
            lines[1..]
                .iter()
                .map(|(line, _)| line.traceback.is_some())
                .collect()
        };
        let warm = "worker: Warm shutdown (MainProcess)";
        assert_eq!(told(warm, "<module>"), [false, true]);
        let done = "[2025-01-01 10:00:01,000: INFO/ForkPoolWorker-1] Task a.b[x] succeeded in 0.1s: None";
        assert_eq!(told(done, "<module>"), [false, true]);
        assert_eq!(told(done, "_run_module_as_main"), [false, true]);
        // A record's own, by its level, its words, or where it was caught.
        let failed = done.replace("INFO", "ERROR");
        for own in [
            told(&failed, "<module>"),
            told("Process worker-1:", "<module>"),
            told(done, "handle"),
        ] {
            assert_eq!(own, [true]);
        }
        let (line, stated) =
            &read("-- ******* ---- Linux-6.1-x86_64-with-glibc2.36 2025-01-01 10:00:00\n")[0];
        assert_eq!(stated.as_deref(), Some("2025-01-01 10:00:00"));
        assert!(line.text.ends_with("10:00:00"));
    }
}
