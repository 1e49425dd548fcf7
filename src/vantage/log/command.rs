//! The output of a command, followed as a log.

use std::process::Stdio;
use std::time::{Duration, Instant};

use regex::Regex;
use tokio::io::AsyncReadExt;
use tokio::process::Command;
use tokio::sync::mpsc;

use super::boot::since_last_boot;
use super::format::{FOLD, Folder};
use super::quota::{self, Quota};
use crate::error::Unavailable;
use crate::vantage::{Phases, Tap, Watched};

/// Follows a command's standard output and error, as `docker logs -f` or `journalctl -f` need.
pub(super) async fn follow(words: &[String], entry: Option<Regex>, tap: &Tap, mut phases: Phases) -> Watched {
    let text = words.join(" ");
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .process_group(0);
    let mut child = command.spawn().map_err(|error| {
        Unavailable::new(format!("cannot run `{text}`: {error}"))
            .hint("try it in a shell; its output must be the log")
    })?;
    let (sender, mut chunks) = mpsc::channel::<(usize, Vec<u8>)>(256);
    if let Some(stdout) = child.stdout.take() {
        pump(0, stdout, sender.clone());
    }
    if let Some(stderr) = child.stderr.take() {
        pump(1, stderr, sender);
    }
    let mut folders = [Folder::new(entry.clone()), Folder::new(entry)];
    // What the command prints at once is the past; a lull says that the present has begun.
    let began = Instant::now();
    let mut past = Vec::new();
    let mut live = false;
    let mut quota = Quota::default();
    loop {
        let lull = if live { FOLD } else { Duration::from_millis(300) };
        tokio::select! {
            chunk = chunks.recv() => match chunk {
                Some((stream, bytes)) => {
                    let lines = folders[stream].feed(&bytes);
                    if live {
                        let task = quota::task_id(&phases);
                        lines.into_iter().for_each(|(line, stated)| quota.line(line, stated, task.as_deref(), tap));
                        quota.say(&text, false, tap);
                    } else {
                        past.extend(lines);
                    }
                }
                None => {
                    for folder in &mut folders {
                        past.extend(folder.flush());
                    }
                    for (mut line, stated) in past.drain(..) {
                        line.before = !live;
                        tap.line(line, stated);
                    }
                    let status = child.wait().await.map_or_else(|error| error.to_string(), |status| status.to_string());
                    return Err(Unavailable::new(format!("`{text}` ended ({status})")).hint("the command must keep following the log, e.g. with -f"));
                }
            },
            () = tokio::time::sleep(lull) => {
                if !live && (began.elapsed() > Duration::from_millis(300)) {
                    live = true;
                    for folder in &mut folders {
                        past.extend(folder.flush());
                    }
                    for (mut line, stated) in since_last_boot(std::mem::take(&mut past), tap.framework) {
                        line.before = true;
                        tap.line(line, stated);
                    }
                    tap.watching(format!("`{text}`"));
                }
                if live {
                    let task = quota::task_id(&phases);
                    for folder in &mut folders {
                        folder.flush().into_iter().for_each(|(line, stated)| quota.line(line, stated, task.as_deref(), tap));
                    }
                }
            }
            phase = phases.ending() => {
                for folder in &mut folders {
                    folder.flush().into_iter().for_each(|(line, stated)| quota.line(line, stated, phase.task_id.as_deref(), tap));
                }
                quota.say(&text, true, tap);
                tap.looked();
                let _ = child.kill().await;
                return Ok(());
            }
        }
    }
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
