//! What started programs print, shown on stderr as they print it: `api    |`, `worker |`.

use std::io::{Read, Seek, SeekFrom};
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use super::printer::Printer;
use crate::bounded;
use crate::timeline::scrub::Scrubber;

const EVERY: Duration = Duration::from_millis(50);
/// More than this at once is no reading matter: only its end is shown.
const MOST_AT_ONCE: u64 = 1024 * 1024;
/// A line without an end is shown in parts of this size.
const LONGEST: usize = 16 * 1024;
/// So much of a line is shown.
const MOST_OF_A_LINE: usize = 4 * 1024;

/// One log on its way to the terminal.
struct Tail {
    part: &'static str,
    path: PathBuf,
    offset: u64,
    rest: Vec<u8>,
}

/// Shows them until it is told to stop.
pub struct ChildOutput {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<()>,
}

impl ChildOutput {
    pub fn show(
        logs: Vec<(&'static str, PathBuf)>,
        scrubber: Scrubber,
        color: bool,
        printer: Printer,
    ) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let stopping = stop.clone();
        let task = tokio::spawn(async move {
            let mut tails: Vec<Tail> = logs
                .into_iter()
                .map(|(part, path)| Tail {
                    part,
                    path,
                    offset: 0,
                    rest: Vec::new(),
                })
                .collect();
            loop {
                // Read once more after the word to stop: what stands there by then is shown.
                let last = stopping.load(Ordering::Relaxed);
                for tail in &mut tails {
                    for line in tail.lines(last) {
                        printer.line(&prefixed(tail.part, &scrubber.outside_text(&line), color));
                    }
                }
                if last {
                    return;
                }
                tokio::time::sleep(EVERY).await;
            }
        });
        Self { stop, task }
    }

    /// Shows what is there, and no more.
    pub async fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        let _ = self.task.await;
    }
}

fn prefixed(part: &str, line: &str, color: bool) -> String {
    let prefix = format!("{part:<6} |");
    match (color, part) {
        (false, _) => format!("{prefix} {line}"),
        (true, "api") => format!("\u{1b}[36m{prefix}\u{1b}[0m {line}"),
        (true, _) => format!("\u{1b}[33m{prefix}\u{1b}[0m {line}"),
    }
}

impl Tail {
    /// Complete lines since the last look; with `all` also one without its end.
    fn lines(&mut self, all: bool) -> Vec<String> {
        let mut bytes = Vec::new();
        let length = std::fs::metadata(&self.path).map_or(0, |metadata| metadata.len());
        let mut lines = Vec::new();
        if length.saturating_sub(self.offset) > MOST_AT_ONCE {
            let skipped = length - MOST_AT_ONCE - self.offset;
            self.offset += skipped;
            self.rest.clear();
            lines.push(format!("… {} KiB are not shown", skipped >> 10));
        }
        if let Ok(mut file) = bounded::open(&self.path)
            && file.seek(SeekFrom::Start(self.offset)).is_ok()
            && let Ok(count) = file.take(MOST_AT_ONCE).read_to_end(&mut bytes)
        {
            self.offset += count as u64;
        }
        self.rest.append(&mut bytes);
        while let Some(at) = self.rest.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.rest.drain(..=at).collect();
            lines.push(shown(&line));
        }
        if self.rest.len() > LONGEST || (all && !self.rest.is_empty()) {
            let line = std::mem::take(&mut self.rest);
            lines.push(shown(&line));
        }
        lines
    }
}

fn shown(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(&line[..line.len().min(MOST_OF_A_LINE)]);
    let text = text.trim_end();
    match line.len().saturating_sub(MOST_OF_A_LINE) {
        0 => text.to_owned(),
        rest => format!("{text} … {rest} bytes more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_come_whole_and_the_last_one_at_the_end() {
        let path = std::env::temp_dir().join(format!("taskdiag-live-{}", std::process::id()));
        std::fs::write(&path, "one\ntw").expect("written");
        let mut tail = Tail {
            part: "api",
            path: path.clone(),
            offset: 0,
            rest: Vec::new(),
        };
        assert_eq!(tail.lines(false), ["one"]);
        std::fs::write(&path, "one\ntwo\r\nend").expect("written");
        assert_eq!(tail.lines(false), ["two"]);
        assert_eq!(tail.lines(true), ["end"]);
        std::fs::remove_file(path).expect("removed");
    }

    #[test]
    fn a_prefix_says_whose_line_it_is() {
        assert_eq!(prefixed("api", "x", false), "api    | x");
        assert!(prefixed("worker", "x", true).starts_with("\u{1b}[33mworker |"));
    }
}
