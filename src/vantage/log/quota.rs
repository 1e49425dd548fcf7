//! How much of a log is kept: a chatty worker must not fill memory and recording.
//!
//! Nothing is lost silently. Past the first limit the lines that tell something are kept on, past the
//! second none is; from then on the source sees in part, and says how much it left out.

use crate::framework::Framework;
use crate::timeline::{Level, LogLine, NO_SPACE};
use crate::vantage::{Phases, Tap};

/// So many lines are kept whatever they say.
const MOST: u64 = 10_000;
/// Of those that tell something so many more: a busy worker at DEBUG writes some 20 for each task.
const MOST_TELLING: u64 = 300_000;

/// One log's account.
#[derive(Default)]
pub(super) struct Quota {
    lines: u64,
    telling: u64,
    left_out: u64,
    /// Bytes that were gone before they could be read.
    unread: u64,
    full: bool,
    said: Option<String>,
}

impl Quota {
    /// Passes the line on, if there is room for it.
    pub fn line(&mut self, line: LogLine, stated: Option<String>, task_id: Option<&str>, tap: &Tap) {
        if self.takes(&line, task_id, tap.framework) {
            tap.line(line, stated);
        }
    }

    fn takes(&mut self, line: &LogLine, task_id: Option<&str>, framework: &Framework) -> bool {
        if self.lines < MOST {
            self.lines += 1;
            return true;
        }
        if self.telling < MOST_TELLING && tells(line, task_id, framework) {
            self.telling += 1;
            return true;
        }
        self.left_out += 1;
        false
    }

    /// Whoever writes it cannot write any more.
    pub fn full(&mut self) {
        self.full = true;
    }

    pub fn unread(&mut self, bytes: u64) {
        self.unread += bytes;
    }

    /// Everything that was read was passed on.
    pub fn is_complete(&self) -> bool {
        self.left_out == 0 && self.unread == 0 && !self.full
    }

    /// Says what was left out: once when it begins, and with the final figures at the end.
    pub fn say(&mut self, name: &str, at_the_end: bool, tap: &Tap) {
        if let Some(words) = self.words(name, at_the_end)
            && self.said.as_ref() != Some(&words)
        {
            tap.partial(words.clone());
            self.said = Some(words);
        }
    }

    fn words(&self, name: &str, at_the_end: bool) -> Option<String> {
        let mut parts = Vec::new();
        if self.left_out > 0 {
            let which = match (self.telling < MOST_TELLING, at_the_end) {
                (true, true) => format!("{} that are neither", self.left_out),
                (true, false) => "those that are neither".to_owned(),
                (false, true) => format!("{}, telling ones among them,", self.left_out),
                (false, false) => "telling ones too".to_owned(),
            };
            let kinds = match self.telling < MOST_TELLING {
                true => " the framework's, nor warnings, nor of this task",
                false => "",
            };
            parts.push(format!(
                "of the lines after the first {}, {which}{kinds} were left out",
                self.lines
            ));
        }
        if self.unread > 0 {
            let much = match at_the_end {
                true => format!("{} MiB of it", self.unread.div_ceil(1 << 20)),
                false => "part of it".to_owned(),
            };
            parts.push(format!("{much} came too fast to be read"));
        }
        if self.full {
            parts.push(NO_SPACE.to_owned());
        }
        (!parts.is_empty()).then(|| format!("{name}: {}", parts.join("; ")))
    }
}

/// Whether a cause could rest on it.
fn tells(line: &LogLine, task_id: Option<&str>, framework: &Framework) -> bool {
    line.entry
        || line.traceback.is_some()
        || line.level >= Some(Level::Warning)
        || task_id.is_some_and(|id| line.text.contains(id))
        || line.log_event(framework).is_some()
}

/// The task's id, once it is known.
pub(super) fn task_id(phases: &Phases) -> Option<String> {
    phases.now().task_id
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(text: &str, level: Level) -> LogLine {
        LogLine {
            text: text.into(),
            level: Some(level),
            ..LogLine::default()
        }
    }

    #[test]
    fn what_tells_something_is_kept_longer_and_nothing_goes_silently() {
        let mut quota = Quota::default();
        let chat = line("y", Level::Info);
        for _ in 0..MOST {
            assert!(quota.takes(&chat, None, Framework::usual()));
        }
        assert_eq!(quota.words("w.log", true), None);
        assert!(!quota.takes(&chat, Some("task_1"), Framework::usual()));
        assert!(quota.takes(
            &line("done with task_1", Level::Info),
            Some("task_1"),
            Framework::usual()
        ));
        assert!(quota.takes(&line("y", Level::Error), None, Framework::usual()));
        let words = quota.words("w.log", true).expect("words");
        assert!(
            words.contains("after the first 10000, 1 that are neither"),
            "{words}"
        );
        for _ in 0..MOST_TELLING {
            quota.takes(&line("y", Level::Error), None, Framework::usual());
        }
        assert!(!quota.takes(&line("y", Level::Error), None, Framework::usual()));
        quota.unread(3 << 20);
        let words = quota.words("w.log", true).expect("words");
        assert!(
            words.contains("telling ones among them, were left out; 3 MiB of it"),
            "{words}"
        );
    }
}
