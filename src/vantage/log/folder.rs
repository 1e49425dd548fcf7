//! Lines out of a stream of bytes: decoration taken off, tracebacks folded into the line they belong to.

use std::borrow::Cow;
use std::sync::LazyLock;
use std::time::Duration;

use regex::Regex;

use super::fields::{Parsed, TRACEBACK, level, regex};
use super::format::{formats, has_head, parse};
use crate::framework;
use crate::timeline::{Level, scrub};

/// A line may still be followed by its traceback: wait this long before it is passed on.
pub(super) const FOLD: Duration = Duration::from_millis(12);
/// A line longer than this is cut; its end is rarely the news. It is more than is kept: what is kept is
/// masked before it is cut.
const LONGEST: usize = scrub::LINE + scrub::MARGIN;
const LONGEST_TRACEBACK: usize = 64 * 1024;

/// Turns chunks of bytes into whole lines with their continuations.
pub struct Folder {
    entry: Option<Regex>,
    rest: Vec<u8>,
    /// One for each name that stands before lines, in the order in which they came: replicas that share
    /// a log speak between each other's lines.
    streams: Vec<Stream>,
    /// Lines have a service's name before them.
    prefixed: bool,
    /// In a line that is too long, of which the beginning was passed on.
    beyond: bool,
}

/// The lines of one program.
#[derive(Default)]
struct Stream {
    name: Option<String>,
    open: Option<Parsed>,
    /// Lines now belong to a traceback.
    inside: bool,
    /// Something put name and time before each line: it need not have a head of its own.
    dated: bool,
    /// A line with a recognised head was seen: what has none then continues the one before.
    heads: bool,
}

/// Beyond these a name is no stream of its own: something else looks like one.
const MOST_STREAMS: usize = 64;

impl Folder {
    pub fn new(entry: Option<Regex>) -> Self {
        Self {
            entry,
            rest: Vec::new(),
            streams: Vec::new(),
            prefixed: false,
            beyond: false,
        }
    }

    /// Names stand before all lines: whoever prints the log puts them there.
    pub fn named(self, prefixed: bool) -> Self {
        Self { prefixed, ..self }
    }

    /// An empty one for the same log.
    pub fn fresh(&self) -> Self {
        Self::new(self.entry.clone()).named(self.prefixed)
    }

    /// Takes bytes as they come; returns the lines that are complete.
    pub fn feed(&mut self, bytes: &[u8]) -> Vec<Parsed> {
        let mut out = Vec::new();
        self.rest.extend_from_slice(bytes);
        let mut start = 0;
        while let Some(length) = self.rest[start..].iter().position(|&byte| byte == b'\n') {
            let line = String::from_utf8_lossy(&self.rest[start..start + length]).into_owned();
            start += length + 1;
            if std::mem::take(&mut self.beyond) {
                continue;
            }
            self.line(line.trim_end_matches('\r'), &mut out);
        }
        self.rest.drain(..start);
        if self.rest.len() > LONGEST_TRACEBACK {
            let line = String::from_utf8_lossy(&self.rest).into_owned();
            self.rest.clear();
            // A line of its own would begin in the middle of whatever stands there.
            if !std::mem::replace(&mut self.beyond, true) {
                self.line(&line, &mut out);
            }
        }
        out
    }

    /// An open line's traceback may go on.
    pub fn is_inside(&self) -> bool {
        self.streams.iter().any(|stream| stream.inside)
    }

    /// Passes on the lines that waited for a continuation.
    pub fn flush(&mut self) -> Vec<Parsed> {
        let open = self.streams.iter_mut().filter_map(|stream| {
            stream.inside = false;
            stream.open.take()
        });
        open.collect()
    }

    fn line(&mut self, text: &str, out: &mut Vec<Parsed>) {
        // Of millions of lines hardly any is dressed up.
        let plain = match text.contains('\u{1b}') {
            true => Cow::Owned(anstream::adapter::strip_str(text).to_string()),
            false => Cow::Borrowed(text),
        };
        let dated = without_date(&plain);
        let (name, text) = match dated {
            Some((name, bare)) => (Some(name), bare),
            None => self.without_name(&plain),
        };
        let is_entry = self.entry.as_ref().is_some_and(|pattern| pattern.is_match(text));
        let stream = self.stream(name);
        stream.dated = dated.is_some();
        let is_entry = is_entry && !stream.is_quoted(text);
        stream.line(text, is_entry, out);
    }

    /// Tables have bars, too: a name counts only in a log where a line with a head follows one.
    fn without_name<'t>(&mut self, text: &'t str) -> (Option<&'t str>, &'t str) {
        let (name, bare) = without_prefix(text);
        self.prefixed |= name.is_some() && (has_head(bare) || starts_traceback(bare));
        match self.prefixed {
            true => (name, bare),
            false => (None, text),
        }
    }

    fn stream(&mut self, name: Option<&str>) -> &mut Stream {
        let known = self
            .streams
            .iter()
            .position(|stream| stream.name.as_deref() == name);
        let at = known.unwrap_or_else(|| {
            let name = name.filter(|_| self.streams.len() < MOST_STREAMS);
            self.streams.push(Stream {
                name: name.map(str::to_owned),
                ..Stream::default()
            });
            self.streams.len() - 1
        });
        &mut self.streams[at]
    }
}

impl Stream {
    fn line(&mut self, text: &str, is_entry: bool, out: &mut Vec<Parsed>) {
        if self.is_the_end_of_another(text) {
            self.open.iter_mut().for_each(|(line, _)| line.traceback = None);
            out.extend(self.open.take());
            self.line(TRACEBACK, false, out);
        }
        if !is_entry
            && self.continues(text)
            && let Some((open, _)) = &mut self.open
        {
            let traceback = open.traceback.get_or_insert_with(String::new);
            if traceback.len() + text.len() < LONGEST_TRACEBACK {
                if !traceback.is_empty() {
                    traceback.push('\n');
                }
                traceback.push_str(text);
            }
            return;
        }
        if text.trim().is_empty() {
            return;
        }
        out.extend(self.open.take());
        let text: String = if text.len() > LONGEST {
            text.chars().take(LONGEST).collect()
        } else {
            text.to_owned()
        };
        let (mut line, stated, head) = parse(&text);
        line.entry = is_entry;
        line.stream = self.name.clone();
        self.heads |= head;
        let opens = |block: &&str| line.text.contains(block);
        self.inside = head
            && framework::ALL
                .iter()
                .any(|framework| framework.log.blocks.iter().any(opens));
        if starts_traceback(&text) {
            // A bare traceback, printed by an uncaught exception: it is its own line.
            line.level.get_or_insert(Level::Error);
            line.traceback = Some(text);
            self.inside = true;
        } else if text.trim_end().ends_with(TRACEBACK) {
            // It begins on the record's own line, as Falcon writes it: the frames come below.
            line.traceback = Some(TRACEBACK.to_owned());
            self.inside = true;
        }
        self.open = Some((line, stated));
    }

    /// A traceback prints it: a line of source below its frame, or the exception's own after the last
    /// frame.
    fn is_quoted(&self, text: &str) -> bool {
        let indented = |line: &str| line.starts_with([' ', '\t']);
        let last = self.open.as_ref().and_then(|(open, _)| open.traceback.as_deref());
        let after_frame = last
            .and_then(|text| text.lines().next_back())
            .is_some_and(indented);
        self.inside && (indented(text) || (after_frame && !has_head(text)))
    }

    /// The traceback that has just begun is a program's that ended, and stands behind a line that tells of no error and
    /// announces none: the last one of another program's life.
    fn is_the_end_of_another(&self, text: &str) -> bool {
        let Some((open, _)) = &self.open else {
            return false;
        };
        open.traceback.as_deref() == Some(TRACEBACK)
            && open.level < Some(Level::Warning)
            && !open.text.trim_end().ends_with(':')
            && framework::is_a_programs_first_frame(text)
    }

    /// Whether this line belongs to the one before.
    fn continues(&mut self, text: &str) -> bool {
        let Some((open, _)) = &self.open else {
            return false;
        };
        let chains = text.starts_with("During handling of") || text.starts_with("The above exception");
        if starts_traceback(text) || (chains && open.traceback.is_some()) {
            self.inside = true;
            return true;
        }
        let indented = text.starts_with([' ', '\t']) && !text.trim().is_empty();
        if self.inside {
            if indented || text.trim().is_empty() {
                return true;
            }
            // The exception's own lines: `pkg.Error: …`, `[SQL: …]`, until something with a head.
            let belongs = !has_head(text);
            self.inside = belongs && (self.heads || !self.dated);
            return belongs;
        }
        indented && self.heads && !formats().any(|format| format.is_match(text))
    }
}

/// What `docker compose logs` and `kubectl logs --prefix` put before each line.
pub(super) static PREFIX: LazyLock<Option<Regex>> =
    LazyLock::new(|| regex(r"^(?:(?P<service>[a-z0-9][a-z0-9_.-]*) +\| |\[(?P<pod>pod/[^\]\s]+)\] )"));

/// What syslog, the journal and Procfile runners put before each line: a time, and the program's name.
pub(super) static DATED: LazyLock<Option<Regex>> = LazyLock::new(|| {
    let syslog = r"(?:<\d{1,3}>)?(?:[A-Z][a-z]{2} [ \d]\d \d\d:\d\d:\d\d|\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d+)?(?:Z|[+-]\d\d:?\d\d))";
    regex(&format!(
        r"^(?:{syslog} (?:app\[(?P<dyno>[\w.-]+)\]|[\w.:-]+ (?P<program>[\w./@+-]+)(?:\[\d+\])?): |\d\d:\d\d:\d\d (?P<process>[A-Za-z][\w.-]*) +\| )"
    ))
});

/// The name before a line that has a time before it as well, and the line as the program wrote it.
fn without_date(text: &str) -> Option<(&str, &str)> {
    // Of millions of lines most begin otherwise.
    if !text.starts_with(|c: char| c == '<' || c.is_ascii_digit() || c.is_ascii_uppercase()) {
        return None;
    }
    let found = DATED.as_ref()?.captures(text)?;
    let names = ["dyno", "program", "process"];
    let name = names.iter().find_map(|name| found.name(name))?;
    Some((name.as_str(), &text[found.get(0)?.end()..]))
}

/// The name before a line, and the line as the program wrote it. A level before a bar is the program's own.
fn without_prefix(text: &str) -> (Option<&str>, &str) {
    if !text.contains("| ") && !text.starts_with("[pod/") {
        return (None, text);
    }
    let found = PREFIX.as_ref().and_then(|prefix| prefix.captures(text));
    let name = found.as_ref().and_then(|found| match found.name("service") {
        Some(service) => level(service.as_str()).is_none().then_some(service),
        None => found.name("pod"),
    });
    match (found.as_ref().and_then(|found| found.get(0)), name) {
        (Some(prefix), Some(name)) => (Some(name.as_str()), &text[prefix.end()..]),
        _ => (None, text),
    }
}

fn starts_traceback(text: &str) -> bool {
    let text = text.trim_start_matches([' ', '|', '+', '-']);
    text.starts_with("Traceback (most recent call last)") || text.starts_with("Exception Group Traceback")
}
