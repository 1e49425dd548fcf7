//! Nobody reads the worker's log pipe, and it is full.

use crate::diagnosis::evidence::stacks::Thread;
use crate::diagnosis::evidence::{broker, holding, workers};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::text::counted;
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-log-pipe-full",
    keeps_from: &[Stage::Received, Stage::Delivered],
    owner: &[Owner::DatabaseHost],
    explains: &[
        "workers-busy",
        "waiting-in-worker",
        "worker-blocked",
        "backlog",
        "no-consumer",
        "worker-still-booting",
    ],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Process]],
    page: include_str!("worker_log_pipe_full.md"),
    check,
    ..Cause::DEFAULT
};

/// What the stacks of a process, or of a child that writes to it, say of its writing.
enum Writes {
    /// A thread did not move while it logged.
    Stuck(u32),
    Logs,
    NoLog,
    Unseen,
}

fn writes(story: &Story<'_>, pid: i32) -> Writes {
    let shape = &story.framework().stack;
    let is_child = |other: i32| story.process(other).is_some_and(|child| child.ppid == pid);
    let logs = |thread: &Thread<'_>| {
        let innermost = thread.frames().first().zip(shape.log_writer);
        let mut frames = thread.frames().iter().take(4);
        innermost.is_some_and(|(frame, writer)| writer.fits(&frame.file, &frame.function))
            || frames.any(|frame| {
                ["logging/__init__.py", "/warnings.py"]
                    .iter()
                    .any(|file| frame.file.ends_with(file))
                    || shape.log_pipe.fits(&frame.file, &frame.function)
            })
    };
    let dumps = story.stacks().dumps().rev();
    let mut dumps = dumps
        .filter(|dump| dump.pid == pid || is_child(dump.pid))
        .peekable();
    if dumps.peek().is_none() {
        return Writes::Unseen;
    }
    let mut found = Writes::NoLog;
    for dump in dumps {
        let mut logging = dump.threads().filter(logs).peekable();
        if logging.peek().is_some() {
            found = Writes::Logs;
        }
        if logging.any(|thread| thread.is_still()) {
            return Writes::Stuck(dump.n);
        }
    }
    found
}

fn check(story: &Story<'_>) -> Answer {
    holding::unless_done_with(story, find(story))
}

fn find(story: &Story<'_>) -> Answer {
    if !story.closed() {
        return Answer::NotApplicable;
    }
    // It was done with before the pipe was full.
    if let Some(drained) = broker::drained(story) {
        return Answer::ruled_out("the broker holds the message no more", [drained]);
    }
    let holder = story
        .deliveries()
        .last()
        .and_then(|passage| story.peer(passage.connection))
        .map(|peer| peer.value);
    if holder.is_none() && !matches!(broker::has_consumer(story), Some(Answer::RuledOut { .. })) {
        return at_boot(story);
    }
    for event in story.timeline.events.iter().rev() {
        let EventKind::Process(process) = &event.kind else {
            continue;
        };
        let Some(threads) = process.pipe_write.filter(|count| *count > 0) else {
            continue;
        };
        // Whoever has the message; before anybody has it, the watched worker.
        let concerned = match holder {
            Some(pid) => pid == process.pid || process.ppid == pid,
            None => {
                workers::is_worker(process)
                    && story.is_watched(process.pid) != Some(false)
                    && !story.runs_for_another_service(process.pid)
            }
        };
        let still = story
            .process(process.pid)
            .is_some_and(|last| last.pipe_write.is_some_and(|threads| threads > 0));
        if !concerned || !still {
            continue;
        }
        let text = format!(
            "{} of pid {} {} to write to a pipe that nobody reads: its log",
            counted(u64::from(threads), "thread", "threads"),
            process.pid,
            if threads == 1 { "waits" } else { "wait" },
        );
        // A busy pipe is full for a moment, too: it was so from the start, or a thread stands still
        // in the write, and nothing has come out of it.
        let wrote = story.worker_lines().iter().any(|told| {
            let is_its = |pid: i32| {
                pid == process.pid || story.process(pid).is_some_and(|child| child.ppid == process.pid)
            };
            !told.line.before && told.line.pid.is_none_or(|_| told.pid.is_some_and(is_its))
        });
        // Where it is the master that writes for its children, it is they who take the messages.
        let children = story.all_processes().filter(|child| child.ppid == process.pid);
        let mut evidence = vec![event.n];
        evidence.extend(children.map(|child| child.n));
        return match writes(story, process.pid) {
            _ if wrote => Answer::possible(text, evidence),
            Writes::Stuck(stack) => {
                evidence.push(stack);
                Answer::shown(text, evidence)
            }
            // What it logs goes elsewhere: the pipe may be to a program that the application has started.
            Writes::NoLog if process.holds_log => Answer::possible(text, evidence),
            Writes::NoLog | Writes::Logs | Writes::Unseen => Answer::likely(text, evidence),
        };
    }
    Answer::NotApplicable
}

/// A worker that has not come to consuming is still booting, whatever it waits for, unless it stands still while it
/// writes: a warning or its banner, before it has connected to anything.
fn at_boot(story: &Story<'_>) -> Answer {
    if broker::has_consumer(story).is_some() {
        return Answer::NotApplicable;
    }
    let waits = story.all_processes().find(|process| {
        process.is_configured
            && process.pipe_write.is_some_and(|threads| threads > 0)
            && process.sockets_seen
            && process.sockets.is_empty()
            && story.gone(process.pid).is_none()
    });
    let Some(process) = waits else {
        return Answer::NotApplicable;
    };
    // What it has written since was read by somebody.
    if story.worker_lines().iter().any(|told| !told.line.before) {
        return Answer::NotApplicable;
    }
    let Writes::Stuck(stack) = writes(story, process.pid) else {
        return Answer::NotApplicable;
    };
    let mut evidence = vec![process.n, stack];
    evidence.extend(story.depths_since(story.queue()).last().map(|depth| depth.n));
    Answer::likely(
        format!(
            "pid {} runs the configured worker command, has connected to nothing yet, and waits to write to a pipe that nobody reads: its log",
            process.pid
        ),
        evidence,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    fn waiting(pid: i32) -> Scene {
        Scene::new()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .peer(WORKER, 101)
            .process(pid, 100, "python dramatiq app", |process| {
                process.pipe_write = Some(3)
            })
    }

    fn writing() -> Scene {
        waiting(101).stack(
            101,
            "Thread-2",
            &[("StreamHandler.flush", "/usr/lib/python3.11/logging/__init__.py")],
        )
    }

    #[test]
    fn a_thread_stands_in_the_write() {
        assert_eq!(writing().silence().cause(), "certain worker-log-pipe-full");
        assert_eq!(waiting(101).silence().answer(&CAUSE), "likely");
    }

    /// The log is a file that it has open, and the pipe is to a program that the application has started.
    #[test]
    fn a_pipe_that_is_not_its_log() {
        let feeds = |holds_log: bool, top: (&str, &str)| {
            let scene = waiting(101).process(101, 100, "python dramatiq app", |process| {
                process.pipe_write = Some(1);
                process.holds_log = holds_log;
            });
            scene.stack(101, "Thread-4", &[top]).silence().answer(&CAUSE)
        };
        let soak = ("soak", "/app/lab.py");
        assert_eq!(feeds(true, soak), "possible");
        assert_eq!(feeds(false, soak), "likely");
        assert_eq!(
            feeds(true, ("emit", "/usr/lib/python3.11/logging/__init__.py")),
            "certain"
        );
    }

    /// The master writes for its children, which are at work yet: what it writes to is inherited.
    #[test]
    fn a_master_that_stands_in_the_write() {
        let stands = |frames: &[(&str, &str)]| {
            let scene = Scene::new()
                .depth("default", 0, 1)
                .submitted()
                .publish("default")
                .depth("default", 1, 1)
                .process(101, 100, "python dramatiq app", |process| {
                    process.pipe_write = Some(1)
                });
            let scene = scene.process(102, 101, "python dramatiq app", |_| {});
            scene
                .stack(101, "Thread-1 (watch_logs)", frames)
                .silence()
                .answer(&CAUSE)
        };
        let writer = ("watch_logs", "/v/site-packages/dramatiq/cli.py");
        assert_eq!(stands(&[writer]), "certain");
        let waits = ("wait", "/usr/lib/python3.11/multiprocessing/connection.py");
        assert_ne!(stands(&[waits, writer]), "certain");
    }

    #[test]
    fn a_log_that_goes_on_or_another_worker_is_a_near_miss() {
        assert_eq!(writing().pushed("other").silence().answer(&CAUSE), "possible");
        assert_eq!(waiting(900).silence().answer(&CAUSE), "not applicable");
    }

    /// Another service that writes to the same log stands still.
    #[test]
    fn a_neighbours_pipe_is_a_near_miss() {
        let full = |command: &str| {
            Scene::new()
                .setup(|setup| setup.worker_command = vec!["dramatiq".into(), "app".into()])
                .depth("default", 0, 1)
                .submitted()
                .publish("default")
                .depth("default", 1, 1)
                .process(101, 100, command, |process| process.pipe_write = Some(3))
                .stack(
                    101,
                    "Thread-2",
                    &[("StreamHandler.flush", "/usr/lib/python3.11/logging/__init__.py")],
                )
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(full("python dramatiq app"), "certain");
        assert_eq!(full("python dramatiq mail"), "not applicable");
    }

    /// Python writes its warnings to stderr, before the worker has opened any log.
    #[test]
    fn a_worker_that_is_blocked_at_boot() {
        let boots = |change: fn(&mut crate::timeline::Process), top: (&str, &str)| {
            Scene::new()
                .depth("default", 0, 0)
                .submitted()
                .row("PENDING")
                .publish("default")
                .depth("default", 1, 0)
                .process(101, 1, "python dramatiq app", |process| {
                    process.is_configured = true;
                    process.pipe_write = Some(1);
                    change(process);
                })
                .stack(101, "MainThread", &[top])
                .silence()
        };
        let warns = ("_showwarnmsg_impl", "/usr/lib/python3.11/warnings.py");
        let scene = boots(|_| {}, warns);
        assert_eq!(
            scene.cause(),
            "likely worker-log-pipe-full",
            "{}",
            scene.summary()
        );
        let near: [fn(&mut crate::timeline::Process); 3] = [
            |process| process.is_configured = false,
            |process| process.pipe_write = Some(0),
            |process| process.sockets = vec![WORKER.into()],
        ];
        for change in near {
            assert_eq!(boots(change, warns).answer(&CAUSE), "not applicable");
        }
        let imports = boots(|_| {}, ("<module>", "/app/heavy.py"));
        assert_eq!(imports.answer(&CAUSE), "not applicable");
    }

    #[test]
    fn without_processes_it_cannot_be_told() {
        assert_eq!(
            writing().silence().without(Source::Process).answer(&CAUSE),
            "cannot tell"
        );
    }

    /// A format without pids, or a master that writes for its children.
    #[test]
    fn lines_that_come_out_of_it() {
        let plain = writing().plain(Some(crate::timeline::Level::Info), "order 7 is paid");
        assert_eq!(plain.silence().answer(&CAUSE), "possible");
        let child = |ppid: i32| {
            writing()
                .process(102, ppid, "python dramatiq app", |_| {})
                .line("[PID 102] [Thread-4] [app] [INFO] order 7 is paid")
                .silence()
                .answer(&CAUSE)
        };
        assert_eq!(child(101), "possible");
        assert_eq!(child(99), "certain");
    }

    #[test]
    fn a_message_that_is_settled_waits_for_no_pipe() {
        let counted = |unacked: u64| {
            let scene = writing().totals("default", 0, unacked, serde_json::json!({}));
            scene.silence().answer(&CAUSE)
        };
        assert_eq!(counted(1), "certain");
        assert_eq!(counted(0), "ruled out");
    }
}
