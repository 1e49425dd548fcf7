//! What a log of any size holds of one task: searched backwards for its first trace, then read
//! forwards keeping only its lines. Memory is bounded by a chunk and by the number of lines kept.

use std::collections::HashSet;
use std::fs::File;
use std::io::{BufRead, BufReader, Read, Result, Seek, SeekFrom};

use memchr::memmem;

use super::format::{Folder, Parsed};
use crate::framework::{Mark, contains_token, read_line};

const CHUNK: u64 = 4 * 1024 * 1024;
/// Lines kept of one task.
const MOST: usize = 2000;
/// The first trace of a task is looked for no further back than after so much without one.
const GIVE_UP_AFTER: u64 = 8 * 1024 * 1024 * 1024;

/// The task's lines up to `end`, oldest first.
pub fn lines_of(file: &mut File, end: u64, task: &str, folder: Folder) -> Result<Vec<Parsed>> {
    match first_trace(file, end, task.as_bytes())? {
        Some(at) => collect(file, at, end, task, folder),
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

/// Reads on from the first trace. Lines of the task are those that carry its id or its message's,
/// and what the same thread of the same process says in between.
fn collect(file: &mut File, from: u64, end: u64, task: &str, mut folder: Folder) -> Result<Vec<Parsed>> {
    // The line before may be the one that received the message, when the id stands in the next.
    let start = line_start(file, from)?;
    file.seek(SeekFrom::Start(start))?;
    let mut reader = BufReader::with_capacity(1 << 16, file.by_ref().take(end - start));
    let task_finder = memmem::Finder::new(task.as_bytes());
    let mut messages: HashSet<String> = HashSet::new();
    let mut active: HashSet<(Option<i32>, Option<String>)> = HashSet::new();
    let mut kept: Vec<Parsed> = Vec::new();
    let mut line = Vec::new();
    let mut wanted = false;
    loop {
        line.clear();
        if reader.read_until(b'\n', &mut line)? == 0 {
            break;
        }
        // Most lines are somebody else's: look before parsing. While the task is being worked on
        // every line is parsed, and so are lines that may continue a wanted one.
        let relevant = wanted
            || !active.is_empty()
            || task_finder.find(&line).is_some()
            || messages
                .iter()
                .any(|id| memmem::find(&line, id.as_bytes()).is_some())
            || memmem::find(&line, b"exited unexpectedly").is_some();
        if !relevant {
            continue;
        }
        let mut done = folder.feed(&line);
        if active.is_empty() && !wanted {
            done.extend(folder.flush());
        }
        wanted = false;
        for parsed in done {
            wanted |= keep(parsed, task, &mut messages, &mut active, &mut kept);
        }
        if kept.len() >= MOST {
            break;
        }
    }
    for parsed in folder.flush() {
        keep(parsed, task, &mut messages, &mut active, &mut kept);
    }
    Ok(kept)
}

/// Keeps a line that is the task's; says whether it was.
fn keep(
    parsed: Parsed,
    task: &str,
    messages: &mut HashSet<String>,
    active: &mut HashSet<(Option<i32>, Option<String>)>,
    kept: &mut Vec<Parsed>,
) -> bool {
    let line = &parsed.0;
    let mark = read_line(line);
    let key = (line.pid, line.thread.clone());
    let names_task = contains_token(&line.text, task)
        || line
            .traceback
            .as_deref()
            .is_some_and(|text| contains_token(text, task));
    if let Some(Mark::Received { id, .. }) = &mark {
        if names_task || messages.contains(id) {
            messages.insert(id.clone());
            active.insert(key.clone());
        } else {
            active.remove(&key);
        }
    }
    let by_message = messages.iter().any(|id| line.text.contains(id.as_str()));
    let died = matches!(mark, Some(Mark::ChildDied { .. }));
    let mine = names_task || by_message || active.contains(&key) || died;
    if let Some(Mark::Acknowledging { id } | Mark::Rejecting { id }) = &mark
        && messages.contains(id)
    {
        active.remove(&key);
    }
    if mine {
        kept.push(parsed);
    }
    mine
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
