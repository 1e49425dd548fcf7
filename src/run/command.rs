//! A run in which a command of the application sends the task.

use std::os::unix::process::ExitStatusExt;
use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use tokio::io::{AsyncRead, AsyncReadExt};
use tokio::process::Child;
use tokio::task::JoinHandle;

use crate::child::signal_group;
use crate::config::{Config, SubmitCommand};
use crate::error::Result;
use crate::supervise::{self, Prepared};
use crate::timeline::{CommandEnd, EventKind};
use crate::vantage::Tap;
use crate::vantage::process::command::masked;

/// Of what it prints the end is kept: an id comes last, and so does an exception.
const KEPT: usize = 256 << 10;
/// What it started itself may hold its output open: no longer than this after its end.
const REST: Duration = Duration::from_millis(200);

/// The command, looked up: everything that can be wrong with it is said before anything is sent.
pub struct Command {
    submit: SubmitCommand,
    prepared: Prepared,
    words: String,
    timeout: Duration,
}

impl Command {
    /// The configured one, if one is.
    pub fn of(config: &Config) -> Result<Option<Self>> {
        let Some(submit) = config.submit.clone() else {
            return Ok(None);
        };
        Ok(Some(Self {
            prepared: supervise::prepare(&submit.program, &[])?,
            words: masked(submit.program.command.clone()).join(" "),
            submit,
            timeout: config.timing.timeout.mul_f32(0.95),
        }))
    }

    /// Whether what it prints is to hold a task's id.
    pub fn names_tasks(&self) -> bool {
        self.submit.task_id_pattern.is_some()
    }

    /// Runs it, and says when it began and how it ended.
    pub(super) async fn send(&self, tap: &Tap) {
        tap.see(EventKind::Submitting {
            method: "RUN".into(),
            url: self.words.clone(),
        });
        tap.see(EventKind::CommandEnded(self.run().await));
    }

    /// Runs it to its end, or until it has taken too long.
    pub async fn run(&self) -> CommandEnd {
        let began = Instant::now();
        let end = |code: Option<i32>, streams: [String; 2]| {
            // What was ended may have been in the middle of a word.
            let is_whole = code.is_some_and(|code| code >= 0);
            let known = streams.iter().map(|text| match is_whole {
                true => text.as_str(),
                false => text.rsplit_once('\n').map_or("", |(lines, _)| lines),
            });
            CommandEnd {
                code,
                latency_ms: (began.elapsed().as_secs_f64() * 1e6).round() / 1e3,
                task_id: known.into_iter().find_map(|text| self.submit.task_id(text)),
                printed: streams.map(|text| text.trim_end().to_owned()).join("\n"),
            }
        };
        let mut command = self.prepared.command();
        command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .process_group(0);
        let mut child = match command.spawn() {
            Ok(child) => Group(child),
            // As a shell says it.
            Err(error) => return end(Some(126), [String::new(), format!("{}: {error}", self.words)]),
        };
        let (out, err) = (
            Printed::of(child.0.stdout.take()),
            Printed::of(child.0.stderr.take()),
        );
        let status = tokio::time::timeout(self.timeout, child.0.wait()).await;
        drop(child);
        let streams = [out.kept().await, err.kept().await];
        end(status.ok().and_then(|status| status.ok()).map(code_of), streams)
    }
}

/// The command and what it started: ended with this, unless it has ended by itself.
struct Group(Child);

impl Drop for Group {
    fn drop(&mut self) {
        signal_group(&self.0, Signal::SIGKILL);
    }
}

/// What comes from one of its streams: a line of one is never cut in two by the other.
struct Printed {
    tail: Arc<Mutex<Tail>>,
    reader: JoinHandle<()>,
}

impl Printed {
    fn of(from: Option<impl AsyncRead + Unpin + Send + 'static>) -> Self {
        let tail = Arc::new(Mutex::new(Tail::default()));
        let into = tail.clone();
        let reader = tokio::spawn(async move {
            let Some(mut from) = from else { return };
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = from.read(&mut buffer).await {
                into.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .add(&buffer[..count]);
            }
        });
        Self { tail, reader }
    }

    /// The reader goes on: whoever was left behind may print, and must not die of it.
    async fn kept(self) -> String {
        let _ = tokio::time::timeout(REST, self.reader).await;
        self.tail.lock().unwrap_or_else(PoisonError::into_inner).text()
    }
}

fn code_of(status: ExitStatus) -> i32 {
    status
        .code()
        .unwrap_or_else(|| -status.signal().unwrap_or_default())
}

/// The end of what came.
#[derive(Default)]
struct Tail {
    bytes: Vec<u8>,
    is_cut: bool,
}

impl Tail {
    fn add(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        if self.bytes.len() > 2 * KEPT {
            self.bytes.drain(..self.bytes.len() - KEPT);
            self.is_cut = true;
        }
    }

    /// In whole lines: of a secret that was cut in two nothing could be known.
    fn text(&self) -> String {
        let text = String::from_utf8_lossy(&self.bytes);
        match self.is_cut {
            true => text
                .split_once('\n')
                .map_or(String::new(), |(_, rest)| rest.to_owned()),
            false => text.into_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_is_kept_in_whole_lines() {
        let mut tail = Tail::default();
        for n in 0..200_000 {
            tail.add(format!("line {n}\n").as_bytes());
        }
        let text = tail.text();
        assert!(text.len() <= 2 * KEPT && text.len() > KEPT / 2, "{}", text.len());
        assert!(text.starts_with("line ") && text.ends_with("line 199999\n"));
    }

    fn command(words: &str, timing: &str) -> Command {
        let text =
            format!("[submit]\ncommand = {words}\ntask_id_pattern = \"id=(\\\\w+)\"\n[timing]\n{timing}");
        let mut config = Config::from_text(&text).expect("it is right");
        if let Some(submit) = &mut config.submit {
            submit.program.cwd = std::env::temp_dir();
        }
        Command::of(&config)
            .expect("it is there")
            .expect("one is configured")
    }

    #[tokio::test]
    async fn its_end_and_its_words() {
        let end = command(r#"["sh", "-c", "echo id=a7; echo oh >&2; exit 3"]"#, "")
            .run()
            .await;
        assert_eq!((end.code, end.task_id.as_deref()), (Some(3), Some("a7")));
        assert!(end.printed.contains("oh"), "{}", end.printed);
        let end = command(r#"["sh", "-c", "kill -9 $$"]"#, "").run().await;
        assert_eq!(end.code, Some(-9));
    }

    /// The id's line is whole, and the one that was being written when it was ended tells nothing.
    #[tokio::test]
    async fn streams_are_not_mixed_and_half_a_line_names_nothing() {
        let mixed = r#"["sh", "-c", "printf id=a; sleep 0.2; echo oh >&2; sleep 0.2; echo 7"]"#;
        assert_eq!(command(mixed, "").run().await.task_id.as_deref(), Some("a7"));
        let unended = r#"["sh", "-c", "printf id=a7"]"#;
        assert_eq!(command(unended, "").run().await.task_id.as_deref(), Some("a7"));
        let half = r#"["sh", "-c", "printf id=a; sleep 60"]"#;
        assert_eq!(command(half, "timeout = \"1s\"").run().await.task_id, None);
    }

    /// As an interrupted run does it: what runs below the command's own process goes, too.
    #[tokio::test]
    async fn whoever_gives_up_ends_the_group() {
        let file = std::env::temp_dir().join(format!("taskdiag-command-{}", std::process::id()));
        let words = format!(r#"["sh", "-c", "sleep 60 & echo $! >{}; wait"]"#, file.display());
        let command = command(&words, "");
        let _ = tokio::time::timeout(Duration::from_secs(2), command.run()).await;
        let pid = std::fs::read_to_string(&file).expect("it was started");
        std::fs::remove_file(&file).expect("removed");
        let stat = format!("/proc/{}/stat", pid.trim());
        let lives = || std::fs::read_to_string(&stat).is_ok_and(|stat| !stat.contains(") Z "));
        for _ in 0..100 {
            if !lives() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        panic!("{stat} is there");
    }

    #[tokio::test]
    async fn one_that_hangs_is_ended_and_one_that_leaves_something_behind_is_not_waited_for() {
        let began = Instant::now();
        let end = command(r#"["sh", "-c", "echo id=a7; sleep 60"]"#, "timeout = \"1s\"")
            .run()
            .await;
        assert_eq!((end.code, end.task_id.as_deref()), (None, Some("a7")));
        let end = command(r#"["sh", "-c", "sleep 60 & echo id=b"]"#, "").run().await;
        assert_eq!((end.code, end.task_id.as_deref()), (Some(0), Some("b")));
        assert!(began.elapsed() < Duration::from_secs(30));
    }
}
