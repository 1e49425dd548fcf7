//! What a log of any size holds of one task: searched backwards for its first trace, then read
//! forwards keeping only its lines. Memory is bounded by a chunk and by the number of lines kept.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Result, Seek, SeekFrom};

use memchr::memmem;

use super::fields::Parsed;
use super::folder::Folder;
use crate::framework::{Acknowledges, Framework, LogEvent, contains_token};

const CHUNK: u64 = 4 * 1024 * 1024;
/// Lines kept of one task.
const MOST: usize = 2000;
/// The first trace of a task is looked for no further back than after so much without one.
const GIVE_UP_AFTER: u64 = 8 * 1024 * 1024 * 1024;

/// The task's lines up to `end`, oldest first.
pub fn lines_of(
    file: &mut File,
    end: u64,
    task: &str,
    folder: Folder,
    framework: &'static Framework,
) -> Result<Vec<Parsed>> {
    match first_trace(file, end, task.as_bytes())? {
        Some(at) => collect(file, at, end, task, folder, framework),
        None => Ok(Vec::new()),
    }
}

/// Offset of the earliest occurrence, found by reading backwards.
fn first_trace(file: &mut File, end: u64, needle: &[u8]) -> Result<Option<u64>> {
    if needle.is_empty() {
        return Ok(None);
    }
    let finder = memmem::Finder::new(needle);
    let overlap = needle.len() as u64 - 1;
    let mut buffer = Vec::new();
    let mut found = None;
    let mut upper = end;
    while upper > 0 && end - upper < GIVE_UP_AFTER {
        let lower = upper.saturating_sub(CHUNK);
        file.seek(SeekFrom::Start(lower))?;
        buffer.clear();
        file.by_ref()
            .take((upper + overlap).min(end) - lower)
            .read_to_end(&mut buffer)?;
        if let Some(at) = finder.find(&buffer) {
            found = Some(lower + at as u64);
        }
        upper = lower;
    }
    Ok(found)
}

/// Reads on from the first trace, from hit to hit. Lines of the task are those that carry its id or
/// its message's, and what the same thread of the same process says in between.
fn collect(
    file: &mut File,
    from: u64,
    end: u64,
    task: &str,
    mut folder: Folder,
    framework: &'static Framework,
) -> Result<Vec<Parsed>> {
    let mut search = Search {
        framework,
        task: task.to_owned(),
        messages: HashSet::new(),
        active: HashSet::new(),
        kept: Vec::new(),
    };
    let mut at = line_start(file, from)?;
    while search.kept.len() < MOST {
        let Some(hit) = search.next_hit(file, at, end)? else {
            break;
        };
        at = line_start(file, hit)?.max(at);
        at += search.read_on(file, at, end, &mut folder)?;
    }
    Ok(search.kept)
}

struct Search {
    framework: &'static Framework,
    task: String,
    /// Ids of the task's messages, as the log names them.
    messages: HashSet<String>,
    /// Processes and threads that have the task in hand.
    active: HashSet<(Option<i32>, Option<String>)>,
    kept: Vec<Parsed>,
}

impl Search {
    /// Where the task, one of its messages or the death of a worker is named next.
    fn next_hit(&self, file: &mut File, from: u64, end: u64) -> Result<Option<u64>> {
        let words = std::iter::once(self.task.as_str())
            .chain(self.messages.iter().map(String::as_str))
            .chain(std::iter::once(self.framework.log.death));
        let finders: Vec<_> = words.map(|word| memmem::Finder::new(word.as_bytes())).collect();
        let overlap = finders
            .iter()
            .map(|finder| finder.needle().len())
            .max()
            .unwrap_or(1) as u64;
        let mut buffer = Vec::new();
        let mut lower = from;
        while lower < end {
            let upper = (lower + CHUNK).min(end);
            file.seek(SeekFrom::Start(lower))?;
            buffer.clear();
            file.by_ref()
                .take((upper + overlap).min(end) - lower)
                .read_to_end(&mut buffer)?;
            if let Some(at) = finders.iter().filter_map(|finder| finder.find(&buffer)).min() {
                return Ok(Some(lower + at as u64));
            }
            lower = upper;
        }
        Ok(None)
    }

    /// Reads lines as long as they concern the task; returns how many bytes that were.
    fn read_on(&mut self, file: &mut File, from: u64, end: u64, folder: &mut Folder) -> Result<u64> {
        file.seek(SeekFrom::Start(from))?;
        let mut reader = BufReader::with_capacity(1 << 16, file.by_ref().take(end - from));
        let mut line = Vec::new();
        let mut read = 0;
        // A wanted line may be followed by its traceback: two lines more decide that.
        let mut unwanted = 0;
        while unwanted < 3 && self.kept.len() < MOST {
            line.clear();
            let length = reader.read_until(b'\n', &mut line)?;
            if length == 0 {
                break;
            }
            read += length as u64;
            let mut wanted = !self.active.is_empty();
            for parsed in folder.feed(&line) {
                wanted |= self.keep(parsed);
            }
            unwanted = if wanted || folder.is_inside() {
                0
            } else {
                unwanted + 1
            };
        }
        for parsed in folder.flush() {
            self.keep(parsed);
        }
        Ok(read.max(1))
    }

    /// Keeps a line that is the task's; says whether it was.
    fn keep(&mut self, parsed: Parsed) -> bool {
        let line = &parsed.0;
        let mark = line.log_event(self.framework);
        let key = (line.pid, line.thread.clone());
        // A short id stands everywhere: only what the framework says of a message counts.
        let unmistakable = self.task.len() >= 6;
        let names_task = (contains_token(&line.text, &self.task)
            && (unmistakable || matches!(mark, Some(LogEvent::Received { .. }))))
            || unmistakable
                && line
                    .traceback
                    .as_deref()
                    .is_some_and(|text| contains_token(text, &self.task));
        if let Some(LogEvent::Received { id, .. }) = &mark {
            if names_task || self.messages.contains(id) {
                self.messages.insert(id.clone());
                self.active.insert(key.clone());
            } else {
                self.active.remove(&key);
            }
        }
        // A line of the task's own may name its message, of whose end the framework speaks.
        let subject = (self.framework.log.message_of)(&line.text, line.traceback.as_deref());
        if let Some(subject) = subject.filter(|subject| names_task && subject.by_the_task) {
            self.messages.insert(subject.id.to_owned());
        }
        let by_message = self.messages.iter().any(|id| line.text.contains(id.as_str()));
        let died = matches!(mark, Some(LogEvent::ChildDied { .. }));
        let mine = names_task || by_message || self.active.contains(&key) || died;
        if died {
            self.active.clear();
        }
        if self.framework.acknowledges == Acknowledges::AfterRun
            && let Some(settled) = mark.filter(LogEvent::settles)
            && settled.message_id().is_some_and(|id| self.messages.contains(id))
        {
            self.active.remove(&key);
        }
        if mine {
            self.kept.push(parsed);
        }
        mine
    }
}

/// Start of the line that holds the offset.
fn line_start(file: &mut File, at: u64) -> Result<u64> {
    let lower = at.saturating_sub(64 * 1024);
    file.seek(SeekFrom::Start(lower))?;
    let mut before = Vec::new();
    file.by_ref().take(at - lower).read_to_end(&mut before)?;
    Ok(before
        .iter()
        .rposition(|&byte| byte == b'\n')
        .map_or(lower, |newline| lower + newline as u64 + 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_the_message_that_a_line_of_the_task_names_is_kept() {
        let (ours, other) = (
            "0b7c6f1e-5d0a-4f59-9b31-7f3f0c1d2a77",
            "5d2a9c34-77f1-4c0e-8a56-2f1de0c4b9e1",
        );
        let text = format!(
            "[2025-01-01 10:00:00,000: INFO/ForkPoolWorker-1] shop.ship[{ours}]: shipping order_42\n\
            [2025-01-01 10:00:00,500: INFO/ForkPoolWorker-1] shop.ship[{other}]: shipping order_43\n\
            [2025-01-01 10:00:01,000: INFO/ForkPoolWorker-1] Task shop.ship[{ours}] succeeded in 1.0s: None\n"
        );
        let path = std::env::temp_dir().join(format!("taskdiag-search-by-{}", std::process::id()));
        std::fs::write(&path, &text).unwrap();
        let mut file = File::open(&path).unwrap();
        let celery = crate::framework::ALL
            .iter()
            .find(|framework| framework.name == "celery")
            .unwrap();
        let lines = lines_of(
            &mut file,
            text.len() as u64,
            "order_42",
            Folder::new(None),
            celery,
        )
        .unwrap();
        std::fs::remove_file(&path).unwrap();
        let texts: Vec<&str> = lines.iter().map(|(line, _)| line.text.as_str()).collect();
        assert_eq!(texts.len(), 2, "{texts:?}");
        assert!(texts[1].contains("succeeded"), "{texts:?}");
    }

    #[test]
    fn only_the_tasks_lines_are_kept_wherever_they_stand() {
        let line = |thread: u32, text: &str| {
            format!("[2025-01-01 10:00:00,000] [PID 7] [Thread-{thread}] [x] [INFO] {text}\n")
        };
        let mut text = String::new();
        for number in 0..2000 {
            text.push_str(&line(2, &format!("noise {number}")));
        }
        text.push_str(&line(4, "Received message act(task_id='task_42') with id 'm-1'."));
        text.push_str(&line(2, "noise in between"));
        text.push_str(&line(4, "my own line, without any id"));
        text.push_str("[2025-01-01 10:00:00,000] [PID 7] [Thread-4] [x] [ERROR] Failed\nTraceback (most recent call last):\n  File \"a.py\", line 1, in f\nValueError: no\n");
        text.push_str(&line(4, "Acknowledging message 'm-1'."));
        for number in 0..2000 {
            text.push_str(&line(2, &format!("noise {number}")));
        }
        text.push_str(&line(5, "Enqueueing message 'm-1' on queue 'default'."));
        let path = std::env::temp_dir().join(format!("taskdiag-search-{}", std::process::id()));
        std::fs::write(&path, &text).unwrap();
        let mut file = File::open(&path).unwrap();
        let lines = lines_of(
            &mut file,
            text.len() as u64,
            "task_42",
            Folder::new(None),
            Framework::usual(),
        )
        .unwrap();
        std::fs::remove_file(&path).unwrap();
        let texts: Vec<&str> = lines.iter().map(|(line, _)| line.text.as_str()).collect();
        assert_eq!(texts.len(), 5, "{texts:?}");
        assert!(lines[2].0.traceback.as_deref().unwrap().contains("ValueError"));
        assert!(texts[4].starts_with("Enqueueing"));
    }
}
