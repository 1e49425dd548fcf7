//! The output of a command, followed as a log.
//!
//! A command that ends is run again: `docker logs -f` ends whenever its container does, and what it
//! printed is the best evidence there is of why. Most such commands print the past anew, so lines that
//! were read before are passed over.

mod line_counts;
mod past;

use std::process::{ExitStatus, Stdio};
use std::time::{Duration, Instant};

use regex::Regex;
use tokio::io::AsyncReadExt;
use tokio::process::{Child, Command};
use tokio::sync::mpsc;

use super::boot::since_last_boot;
use super::fields::Parsed;
use super::folder::{FOLD, Folder};
use super::quota::{self, Quota};
use crate::error::Unavailable;
use crate::text;
use crate::timeline::EventKind;
use crate::vantage::{Phases, Tap, Watched};
use line_counts::LineCounts;
use past::Past;

/// What a command prints at once is the past; a lull says that the present has begun.
const LULL: Duration = Duration::from_millis(300);
/// A command may need so long for its first line; one that prints nothing has no past.
const FIRST_LINE: Duration = Duration::from_secs(3);
/// A command that prints without a pause prints what is new by then.
const LONGEST_PAST: Duration = Duration::from_secs(5);
/// Between a command's end and its next start, at first and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(500);
const AGAIN_AT_MOST: Duration = Duration::from_secs(5);
/// A command that fails says why in a line or two.
const MOST_WORDS: usize = 5;

/// Follows a command's standard output and error, as `docker logs -f` or `journalctl -f` need.
pub(super) async fn follow(words: &[String], entry: Option<Regex>, tap: &Tap, mut phases: Phases) -> Watched {
    let mut log = Log {
        text: words.join(" "),
        words,
        entry,
        tap,
        quota: Quota::default(),
        seen: LineCounts::default(),
        runs: 0,
        gaps: false,
    };
    let mut pause = AGAIN_AFTER;
    loop {
        let began = Instant::now();
        let Some(end) = log.run(&mut phases).await? else {
            tap.looked();
            return Ok(());
        };
        log.say_end(&end);
        // One that went on for a while has worked.
        pause = match began.elapsed() > AGAIN_AT_MOST {
            true => AGAIN_AFTER,
            false => (pause * 2).min(AGAIN_AT_MOST),
        };
        tokio::select! {
            () = tokio::time::sleep(pause) => {}
            _ = phases.ending() => {
                tap.looked();
                return Ok(());
            }
        }
    }
}

/// How the command ended.
struct End {
    status: Option<ExitStatus>,
    /// What it said of its own failure.
    reason: Option<String>,
}

struct Log<'a> {
    text: String,
    words: &'a [String],
    entry: Option<Regex>,
    tap: &'a Tap,
    quota: Quota,
    seen: LineCounts,
    runs: u32,
    /// Lines may have been missed between two of its runs.
    gaps: bool,
}

impl Log<'_> {
    fn start(&self) -> Result<Child, Unavailable> {
        Command::new(&self.words[0])
            .args(&self.words[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .process_group(0)
            .spawn()
            .map_err(|error| {
                Unavailable::new(format!("cannot run `{}`: {error}", self.text))
                    .hint("try it in a shell; its output must be the log")
            })
    }

    /// Runs it until it ends; `None`: until the run does.
    async fn run(&mut self, phases: &mut Phases) -> Result<Option<End>, Unavailable> {
        let mut child = self.start()?;
        self.runs += 1;
        let (sender, mut chunks) = mpsc::channel::<(usize, Vec<u8>)>(256);
        if let Some(stdout) = child.stdout.take() {
            pump(0, stdout, sender.clone());
        }
        if let Some(stderr) = child.stderr.take() {
            pump(1, stderr, sender);
        }
        let names = puts_names(self.words);
        let folder = || Folder::new(self.entry.clone()).named(names);
        let mut folders = [folder(), folder()];
        let began = Instant::now();
        let mut past = Past::default();
        let mut live = false;
        let mut printed = false;
        let mut silent = true;
        loop {
            let lull = if live { FOLD } else { LULL };
            tokio::select! {
                chunk = chunks.recv() => match chunk {
                    Some((stream, bytes)) => {
                        printed |= stream == 0;
                        silent = false;
                        let lines = folders[stream].feed(&bytes);
                        if live {
                            self.pass_on(lines, phases);
                        } else {
                            past.extend(lines);
                            if began.elapsed() > LONGEST_PAST {
                                live = true;
                                self.begin(past.take(), phases);
                            }
                        }
                    }
                    None => {
                        past.extend(folders.iter_mut().flat_map(Folder::flush));
                        let past = past.take();
                        let status = child.wait().await.ok();
                        let failed = !status.is_some_and(|status| status.success());
                        let is_own = |(line, _): &Parsed| line.level.is_none() && line.pid.is_none() && line.traceback.is_none();
                        // Not the log's words but the command's own.
                        let own = failed && !live && !printed && past.len() <= MOST_WORDS && past.iter().all(is_own);
                        let reason = past.last().filter(|_| own).map(|(line, _)| line.text.clone());
                        if !own && live {
                            self.pass_on(past, phases);
                        } else if !own {
                            self.pass_on_past(past, phases);
                        }
                        return Ok(Some(End { status, reason }));
                    }
                },
                () = tokio::time::sleep(lull) => {
                    // Nobody waits for a command that is run again: whatever it prints first is its past.
                    let empty = silent && self.runs == 1 && began.elapsed() > FIRST_LINE;
                    if !live && (empty || !silent) {
                        live = true;
                        past.extend(folders.iter_mut().flat_map(Folder::flush));
                        self.begin(past.take(), phases);
                    }
                    if live {
                        self.pass_on(folders.iter_mut().flat_map(Folder::flush).collect(), phases);
                    }
                }
                _ = phases.ending() => {
                    past.extend(folders.iter_mut().flat_map(Folder::flush));
                    match live {
                        true => self.pass_on(past.take(), phases),
                        false => self.pass_on_past(past.take(), phases),
                    }
                    self.quota.say(&self.text, true, self.tap);
                    let _ = child.kill().await;
                    return Ok(None);
                }
            }
        }
    }

    /// What was printed until now is the past.
    fn begin(&mut self, past: Vec<Parsed>, phases: &Phases) {
        self.pass_on_past(past, phases);
        match self.gaps {
            true => self.tap.partial(format!(
                "`{}`, run again: what was written in between may be missing",
                self.text
            )),
            false => self.tap.watching(format!("`{}`", self.text)),
        }
    }

    /// What stood there when the command was started: in its first run from the last boot on, and from
    /// before the submission; afterwards what was not read yet, which is new.
    fn pass_on_past(&mut self, past: Vec<Parsed>, phases: &Phases) {
        if self.runs == 1 {
            past.iter().for_each(|line| self.seen.add(line));
            for (mut line, stated) in since_last_boot(past, self.tap.framework) {
                line.before = true;
                self.tap.line(line, stated);
            }
            return;
        }
        let (new, known) = self.seen.new_among(past);
        self.gaps |= known == 0 && !self.seen.is_empty();
        self.pass_on(new, phases);
    }

    fn pass_on(&mut self, lines: Vec<Parsed>, phases: &Phases) {
        let task = quota::task_id(phases);
        for (line, stated) in lines {
            self.seen.add(&(line.clone(), stated.clone()));
            if let Some((container, exit)) = container_end(&line.text) {
                self.tap.see(EventKind::ContainerEvent {
                    container,
                    action: "die".into(),
                    exit: Some(exit),
                });
                continue;
            }
            self.quota.line(line, stated, task.as_deref(), self.tap);
        }
        self.quota.say(&self.text, false, self.tap);
    }

    fn say_end(&self, end: &End) {
        let how = end
            .status
            .map_or_else(|| "no status".to_owned(), |status| status.to_string());
        let what = match &end.reason {
            Some(reason) => format!("`{}` ended ({how}): {}", self.text, text::excerpt(reason)),
            None => format!("`{}` ended ({how})", self.text),
        };
        if self.seen.is_empty() {
            self.tap.blind(
                Unavailable::new(what)
                    .hint("try it in a shell; it must print the log, and keep following it, e.g. with -f"),
            );
        } else {
            self.tap.partial(format!(
                "{what}: its container or program may have stopped; it is run again"
            ));
        }
    }
}

/// Whether the command puts a name before each line.
fn puts_names(words: &[String]) -> bool {
    let has = |wanted: &str| words.iter().any(|word| word.rsplit('/').next() == Some(wanted));
    let compose = has("compose") || has("docker-compose") || has("podman-compose");
    (compose && has("logs") && !has("--no-log-prefix")) || (has("kubectl") && has("--prefix"))
}

/// Compose's own word for a container that ended: `worker-1 exited with code 2`.
fn container_end(text: &str) -> Option<(String, i32)> {
    let (name, code) = text.trim().split_once(" exited with code ")?;
    let code = code.split(' ').next()?.parse().ok()?;
    let is_name = !name.is_empty()
        && name
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || "._-".contains(c));
    is_name.then(|| (name.to_owned(), code))
}

fn pump(
    stream: usize,
    mut from: impl tokio::io::AsyncRead + Unpin + Send + 'static,
    to: mpsc::Sender<(usize, Vec<u8>)>,
) {
    tokio::spawn(async move {
        let mut buffer = vec![0; 64 * 1024];
        while let Ok(length) = from.read(&mut buffer).await {
            if length == 0 || to.send((stream, buffer[..length].to_vec())).await.is_err() {
                return;
            }
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn compose_puts_names_before_lines() {
        let puts = |text: &str| puts_names(&text.split(' ').map(str::to_owned).collect::<Vec<_>>());
        assert!(puts("docker compose logs -f worker"));
        assert!(puts("kubectl logs -f -l app=worker --prefix"));
        assert!(!puts("docker compose logs -f --no-log-prefix worker"));
        assert!(!puts("docker logs -f worker"));
    }

    #[test]
    fn compose_says_that_a_container_ended() {
        assert_eq!(
            container_end("worker-1 exited with code 2"),
            Some(("worker-1".into(), 2))
        );
        assert_eq!(
            container_end("worker-1 exited with code 137 (restarting)"),
            Some(("worker-1".into(), 137))
        );
        assert_eq!(container_end("the child exited with code 2"), None);
    }
}
