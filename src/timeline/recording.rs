//! A timeline as JSON Lines: one header, then one event a line.

use std::fs::File;
use std::io::{BufRead, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{Event, Setup, Timeline};
use crate::bounded;
use crate::error::{Error, Result};

/// Version of the format, in the first line of every recording.
pub const SCHEMA: &str = "taskdiag.timeline.v1";

#[derive(Serialize, Deserialize)]
struct Header {
    schema: String,
    started_at: String,
    /// Version of taskdiag that wrote it.
    taskdiag: String,
    setup: Setup,
}

/// The recording's text. Secrets were removed when the events arrived.
pub fn to_text(timeline: &Timeline) -> String {
    lines(&timeline.setup, &timeline.started_at, &timeline.events)
}

/// The same, from a timeline's parts.
pub fn lines(setup: &Setup, started_at: &str, events: &[Event]) -> String {
    let mut text = header(setup, started_at);
    for event in events {
        text.push_str(&serde_json::to_string(event).unwrap_or_default());
        text.push('\n');
    }
    text
}

fn header(setup: &Setup, started_at: &str) -> String {
    let header = Header {
        schema: SCHEMA.to_owned(),
        started_at: started_at.to_owned(),
        taskdiag: env!("CARGO_PKG_VERSION").to_owned(),
        setup: setup.clone(),
    };
    let mut text = serde_json::to_string(&header).unwrap_or_default();
    text.push('\n');
    text
}

/// Writes a recording that only its owner may read: logs and rows are somebody's data.
pub fn write(timeline: &Timeline, path: &Path) -> Result<()> {
    bounded::create(path)
        .and_then(|mut file| file.write_all(to_text(timeline).as_bytes()))
        .map_err(|source| failed(path, source))
}

fn failed(path: &Path, source: std::io::Error) -> Error {
    Error::Write {
        path: path.to_owned(),
        source,
    }
}

/// A recording that is written while things happen, for what is too long to be kept.
pub struct Writer {
    path: PathBuf,
    file: BufWriter<File>,
    n: u32,
}

impl Writer {
    pub fn create(path: &Path, setup: &Setup, started_at: &str) -> Result<Self> {
        let mut writer = Self {
            path: path.to_owned(),
            file: BufWriter::new(bounded::create(path).map_err(|source| failed(path, source))?),
            n: 0,
        };
        writer
            .file
            .write_all(header(setup, started_at).as_bytes())
            .map_err(|source| failed(path, source))?;
        Ok(writer)
    }

    /// Numbers the event and appends it.
    pub fn push(&mut self, mut event: Event) -> Result<()> {
        self.n += 1;
        event.n = self.n;
        event.at_ms = super::round(event.at_ms);
        serde_json::to_writer(&mut self.file, &event)
            .map_err(std::io::Error::from)
            .and_then(|()| self.file.write_all(b"\n"))
            .map_err(|source| failed(&self.path, source))
    }

    pub fn flush(&mut self) -> Result<()> {
        self.file.flush().map_err(|source| failed(&self.path, source))
    }
}

/// What a file holds.
pub struct Recording {
    pub timeline: Timeline,
    /// The number of a last line that breaks off: a run was killed while writing, or the file is not
    /// whole. What followed is lost.
    pub torn: Option<usize>,
}

pub fn read(path: &Path) -> Result<Recording> {
    let unreadable = |source| Error::ReadRecording {
        path: path.to_owned(),
        source,
    };
    let file = bounded::open_input(path).map_err(unreadable)?;
    let text = whole(BufReader::new(file)).map_err(unreadable)?;
    text.and_then(|bytes| take(&String::from_utf8_lossy(&bytes)))
        .map_err(|(line, seen)| Error::NotARecording {
            path: path.to_owned(),
            line,
            seen,
        })
}

/// The first line of a recording, and any other, is no longer; nor are all of them.
const LONGEST: [u64; 2] = [bounded::MIB, 64 * bounded::MIB];
const MOST: u64 = 1024 * bounded::MIB;

/// All of it, unless a line shows that it is something else: a device has no end.
fn whole(mut from: impl BufRead) -> std::io::Result<std::result::Result<Vec<u8>, (usize, String)>> {
    let mut bytes = Vec::new();
    for line in 1.. {
        let longest = LONGEST[usize::from(line > 1)];
        let length = from.by_ref().take(longest + 1).read_until(b'\n', &mut bytes)?;
        if length as u64 > longest {
            let seen = format!("it is longer than {} MiB", longest >> 20);
            return Ok(Err((line, seen)));
        }
        if bytes.len() as u64 > MOST {
            return Ok(Err((line, format!("the file is longer than {} MiB", MOST >> 20))));
        }
        if length == 0 {
            break;
        }
    }
    Ok(Ok(bytes))
}

/// The timeline of a recording's text; a last line that breaks off is left out.
pub fn parse(text: &str) -> std::result::Result<Timeline, (usize, String)> {
    take(text).map(|recording| recording.timeline)
}

/// Fails with the number of the line that is wrong and what is wrong with it.
pub(crate) fn take(text: &str) -> std::result::Result<Recording, (usize, String)> {
    let mut torn = None;
    let mut lines = text.lines().enumerate().peekable();
    let Some((_, first)) = lines.next() else {
        return Err((1, "the file is empty".into()));
    };
    let header: Header = read_line(first).map_err(|error| (1, error.to_string()))?;
    if header.schema != SCHEMA {
        return Err((
            1,
            format!(
                "its schema is \"{}\", this taskdiag reads \"{SCHEMA}\"",
                header.schema
            ),
        ));
    }
    let mut timeline = Timeline::new(header.setup, header.started_at);
    while let Some((index, line)) = lines.next() {
        if line.trim().is_empty() {
            continue;
        }
        match read_line::<Event>(line) {
            Ok(event) => {
                timeline.push(event);
            }
            Err(_) if lines.peek().is_none() && !text.ends_with('\n') => torn = Some(index + 1),
            Err(error) => return Err((index + 1, error.to_string())),
        }
    }
    timeline.adopt_queue();
    Ok(Recording { timeline, torn })
}

/// A recording may come from anybody: what our own events lost on arrival (control characters and
/// such as reorder text) is taken out of its texts as well.
fn read_line<T: serde::de::DeserializeOwned>(line: &str) -> serde_json::Result<T> {
    // JSON writes a control character as an escape; the others are no ASCII.
    if line.is_ascii() && !line.contains('\\') {
        return serde_json::from_str(line);
    }
    let mut value = serde_json::from_str(line)?;
    make_printable(&mut value);
    serde_json::from_value(value)
}

fn make_printable(value: &mut serde_json::Value) {
    use serde_json::Value as Json;
    match value {
        Json::String(text) => *text = super::scrub::printable(text),
        Json::Array(items) => items.iter_mut().for_each(make_printable),
        Json::Object(map) => {
            map.values_mut().for_each(make_printable);
            super::scrub::printable_names(map);
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn what_has_no_end_is_no_recording() {
        let endless = BufReader::new(std::io::repeat(0));
        let told = whole(endless).expect("read");
        assert_eq!(told.err(), Some((1, "it is longer than 1 MiB".into())));
        assert_eq!(whole(&b"a\nb"[..]).expect("read"), Ok(b"a\nb".to_vec()));
    }

    #[test]
    fn a_last_line_that_breaks_off_is_told() {
        let whole = to_text(&Scene::new().silence().timeline);
        let lines = whole.lines().count();
        let read = |text: &str| {
            let recording = take(text).expect("a recording");
            (recording.torn, recording.timeline.events.len())
        };
        assert_eq!(read(&whole), (None, lines - 1));
        // The line is all there, only its end is not.
        assert_eq!(read(whole.trim_end()), (None, lines - 1));
        assert_eq!(read(&whole[..whole.len() - 5]), (Some(lines), lines - 2));
        let broken = format!("{}\n", &whole[..whole.len() - 5]);
        assert_eq!(take(&broken).err().map(|(line, _)| line), Some(lines));
    }
}
