//! The log of a worker: how its lines are formatted, and what they say in the framework's own words.

use regex::{Captures, Regex, RegexSet};

use super::LogEvent;

#[derive(Debug)]
pub struct LogShape {
    /// A line as the framework formats it: a regular expression with some of the groups `time`, `pid`,
    /// `thread`, `logger`, `level` and `text`.
    pub format: &'static str,
    /// What a line says, from its text, its logger and the traceback below it; `None` for anything that is
    /// not the framework's.
    pub read: fn(text: &str, logger: Option<&str>, traceback: Option<&str>) -> Option<LogEvent>,
    /// The message that a line is about, where lines name it beside what they mean.
    pub message_of: for<'t> fn(text: &'t str, traceback: Option<&'t str>) -> Option<LineSubject<'t>>,
    /// A line that holds one of these goes on until the next one with a head.
    pub blocks: &'static [&'static str],
    /// From where on it tells of each message that it takes and of what became of it.
    pub tells_at: Verbosity,
    /// A part of every line that tells of the death of a process.
    pub death: &'static str,
    /// A part of the line that follows the death of a process which had a message in hand: one that had none dies
    /// without it. `None`: nothing tells them apart.
    pub lost_job: Option<&'static str>,
    /// Its loggers' names begin so.
    pub logger: &'static str,
    /// The queue that a logger's name says its thread reads.
    pub reads: fn(logger: &str) -> Option<String>,
    /// A line of another logger may mean this, too.
    pub by_others: fn(text: &str, event: &LogEvent) -> bool,
    /// Task arguments where it prints them: a regular expression, and what stands in place of what it fits.
    pub argument_masks: &'static [(&'static str, &'static str)],
}

/// What a line is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LineSubject<'t> {
    /// The id of the message.
    pub id: &'t str,
    /// The task that it is for; empty where the line does not say.
    pub task: &'t str,
    /// It is written by the application's code, in the course of the task.
    pub by_the_task: bool,
}

/// How much a worker has to log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verbosity {
    Info,
    Debug,
}

/// What a line means whose text fits a pattern.
pub type LineMeaning = fn(&Captures<'_>) -> LogEvent;

/// What was to be started is not there, in the words of the interpreter, a shell, `env`, or a container's engine.
pub(in crate::framework) const NO_PROGRAM: &str = concat!(
    r"^(?:\S*python[\d.]*: (?:No module named \S+$|can't open file )",
    r"|(?:\S*/)?(?:ba|da|z|k)?sh: (?:(?:line )?\d+: )?(?:exec: )?[^:\s]+: (?:command )?not found$",
    r"|\S*env: .{0,200}No such file or directory$",
    r"|.{0,200}: bad interpreter: No such file or directory$",
    r"|.{0,200}executable file not found in \$PATH)"
);

/// The text of a group; none where the line has none.
pub(in crate::framework) fn group(captures: &Captures<'_>, index: usize) -> String {
    captures
        .get(index)
        .map_or_else(String::new, |found| found.as_str().to_owned())
}

/// Many patterns, searched at once.
#[derive(Debug)]
pub struct LogReader {
    set: RegexSet,
    each: Vec<(Regex, LineMeaning)>,
}

impl LogReader {
    pub fn new(lines: &[(&str, LineMeaning)]) -> Result<Self, regex::Error> {
        Ok(Self {
            set: RegexSet::new(lines.iter().map(|(pattern, _)| *pattern))?,
            each: lines
                .iter()
                .map(|(pattern, meaning)| Ok((Regex::new(pattern)?, *meaning)))
                .collect::<Result<_, regex::Error>>()?,
        })
    }

    /// What the first line that fits means.
    pub fn read(&self, text: &str) -> Option<LogEvent> {
        let first = self.set.matches(text).iter().next()?;
        let (pattern, meaning) = &self.each[first];
        pattern.captures(text).map(|captures| meaning(&captures))
    }
}
