//! Evidence on the first screen: a line or two for each event, in columns no wider than they need to be.

use unicode_width::UnicodeWidthStr;

use super::events::describe;
use super::paths;
use super::{Report, Style};
use crate::text::{fitted_to_words, flat, wrapped};
use crate::timeline::place::pid_words;
use crate::timeline::{Event, EventKind as Kind};

pub(super) struct Table<'r> {
    report: &'r Report,
    style: Style,
    number: usize,
    moment: usize,
    source: usize,
}

impl<'r> Table<'r> {
    pub fn of(report: &'r Report, events: &[&Event], style: Style) -> Self {
        let widest = |width: &dyn Fn(&Event) -> usize| events.iter().map(|event| width(event)).max();
        Self {
            report,
            style,
            number: widest(&|event| event.n.to_string().len()).unwrap_or(0),
            moment: widest(&|event| report.moment(event.at_ms, style).width()).unwrap_or(0),
            source: widest(&|event| event.source.name().len()).unwrap_or(0),
        }
    }

    /// Wrapped; what has no room goes at the end of a word.
    pub fn line(&self, event: &Event, summary: &str, most: usize) -> String {
        let (head, text) = self.text(event);
        let room = self.style.width().saturating_sub(head.width());
        let text = match wrapped(&text, room).len() > most {
            true => without_what_is_said(&text, &flat(summary)),
            false => text,
        };
        let lines = with_both_ends(&text, room, most);
        format!("{head}{}", lines.join(&format!("\n{}", " ".repeat(head.width()))))
    }

    /// What stands before it, and as few words as it takes.
    fn text(&self, event: &Event) -> (String, String) {
        let head = format!(
            "  #{:<number$} {:>moment$}  {:<source$}  ",
            event.n,
            self.report.moment(event.at_ms, self.style),
            event.source.name(),
            number = self.number,
            moment = self.moment,
            source = self.source,
        );
        let room = self.style.width().saturating_sub(head.width());
        let mut text = flat(&describe(event));
        if text.width() > room {
            text = with_short_ids(&flat(&self.brief(event)));
            text = paths::shortened(&text, self.report, self.style);
            // What is shown whole above.
            let raised = self.report.verdict.traceback.as_ref();
            if raised.is_some_and(|raised| raised.evidence == event.n) && text.width() > room {
                text = super::words::without_message(self.report, &text);
            }
        }
        (head, text)
    }
}

/// Shorter than that it is quicker read again than looked up.
const WORTH_LOOKING_UP: usize = 30;

/// The text without its end, if that stands in the summary above it.
fn without_what_is_said(text: &str, summary: &str) -> String {
    let whole = text.trim_end_matches('.');
    // Behind the level, or behind what introduces it: the end of a sentence may be that of others, too.
    let level = whole.find(' ').map(|at| at + 1);
    let starts = whole.match_indices(": ").map(|(at, _)| at + 2);
    let said = level
        .into_iter()
        .chain(starts)
        .filter(|at| whole.len() - at >= WORTH_LOOKING_UP)
        .find(|at| summary.contains(&whole[*at..]));
    match said {
        Some(at) => format!("{} as above", whole[..at].trim_end()),
        None => text.to_owned(),
    }
}

/// In so many lines. Where they do not hold all of it, the middle goes: what it is stands at the beginning of a text, and
/// why at its end.
fn with_both_ends(text: &str, room: usize, most: usize) -> Vec<String> {
    let lines = wrapped(text, room);
    if lines.len() <= most {
        return lines;
    }
    let words: Vec<&str> = text.split(' ').collect();
    let (mut first, mut last) = (1, words.len());
    let joined = |first: usize, last: usize| {
        let ends = [&words[..first], ["…"].as_slice(), &words[last..]].concat();
        wrapped(&ends.join(" "), room)
    };
    let fits = |first: usize, last: usize| joined(first, last).len() <= most;
    // A third of the words for the beginning, the rest for the end.
    let share = |first: usize, last: usize| first * 2 <= words.len() - last + 1;
    loop {
        let (longer, earlier) = (first + 1, last - 1);
        if earlier <= longer {
            break;
        }
        match (fits(longer, last), fits(first, earlier)) {
            (true, true) if share(first, last) => first = longer,
            (_, true) => last = earlier,
            (true, false) => first = longer,
            (false, false) => break,
        }
    }
    let mut lines = joined(first, last);
    // Words that are longer than a line.
    if lines.len() > most {
        let rest = lines.split_off(most - 1).join(" ");
        lines.push(fitted_to_words(&rest, room));
    }
    lines
}

impl Table<'_> {
    /// An event in fewer words than elsewhere: without what only tells connections and messages apart, and of stacks
    /// those threads that stand in the application's code.
    fn brief(&self, event: &Event) -> String {
        let Kind::Stacks { pid, threads } = &event.kind else {
            return brief(event);
        };
        let shape = &self.report.setup.framework().stack;
        let own = threads.iter().filter_map(|thread| {
            let mut frames = thread.frames.iter();
            let frame = frames.find(|frame| shape.is_application(&frame.file))?;
            let file = frame.file.rsplit('/').next().unwrap_or(&frame.file);
            Some(format!(
                "{} in {} ({file}:{})",
                thread.thread, frame.function, frame.line
            ))
        });
        let own: Vec<String> = own.collect();
        match own.is_empty() {
            true => brief(event),
            false => format!("stacks of pid {}: {}", pid_words(*pid), own.join("; ")),
        }
    }
}

fn brief(event: &Event) -> String {
    match &event.kind {
        Kind::Publish {
            routing_key, message, ..
        } => format!(
            "{} published to {routing_key}",
            message.actor.as_deref().unwrap_or("undecodable")
        ),
        Kind::Deliver {
            queue,
            redelivered,
            message,
            ..
        } => format!(
            "{} delivered from {queue}{}",
            message.actor.as_deref().unwrap_or("undecodable"),
            if *redelivered { " (redelivered)" } else { "" },
        ),
        Kind::Process(process) => {
            let mut command = process.command.iter();
            // Where its programs lie is no news.
            let programs = command.by_ref().take(2);
            let programs: Vec<&str> = programs
                .map(|word| word.rsplit('/').next().unwrap_or(word))
                .collect();
            let rest: Vec<&str> = command.map(String::as_str).collect();
            format!(
                "pid {} (state {}): {}",
                pid_words(process.pid),
                process.state,
                [programs, rest].concat().join(" ")
            )
        }
        // The exception stands beside it, or in the log.
        Kind::Line(line) => match line.level {
            Some(level) => {
                let level = format!("{level:?}").to_uppercase();
                format!("{level} {}", without_head(&line.text, &level))
            }
            None => line.text.clone(),
        },
        _ => describe(event),
    }
}

/// A line without the time and the level at its beginning, which stand beside it.
fn without_head<'t>(text: &'t str, level: &str) -> &'t str {
    let is_time = |word: &str| {
        word.starts_with(|c: char| c.is_ascii_digit())
            && word.chars().all(|c| c.is_ascii_digit() || "-:.,TZ+".contains(c))
            && word.len() > 7
    };
    let mut rest = text;
    while let Some((word, after)) = rest.split_once(' ') {
        let bare = word.trim_matches(['[', ']', ':']);
        if !is_time(bare) && bare != level && !word.is_empty() {
            break;
        }
        rest = after;
    }
    rest
}

/// Ids are for searching, which `-v` and the other formats are for: here their beginning tells them apart.
fn with_short_ids(text: &str) -> String {
    const KEPT: usize = 8;
    let is_of_id = |c: char| c.is_ascii_hexdigit() || c == '-';
    let mut short = String::with_capacity(text.len());
    let mut rest = text;
    while let Some(start) = rest.find(is_of_id) {
        let run = &rest[start..];
        let length = run.find(|c| !is_of_id(c)).unwrap_or(run.len());
        let digits = run[..length].bytes().filter(u8::is_ascii_hexdigit).count();
        short.push_str(&rest[..start]);
        match digits >= 32 {
            true => short.push_str(&format!("{}…", &run[..KEPT])),
            false => short.push_str(&run[..length]),
        }
        rest = &run[length..];
    }
    short.push_str(rest);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What it is and why it is stay; what is between goes.
    #[test]
    fn a_text_without_room_keeps_both_ends() {
        let text = "CRITICAL Worker with PID 4870 of the pool that serves queue default exited unexpectedly (code -9).";
        assert_eq!(with_both_ends(text, 200, 1), [text]);
        let one = with_both_ends(text, 60, 1);
        assert_eq!(one.len(), 1);
        assert!(
            one[0].starts_with("CRITICAL Worker") && one[0].ends_with("(code -9)."),
            "{one:?}"
        );
        assert!(one[0].contains(" … "), "{one:?}");
        let two = with_both_ends(text, 40, 2);
        assert!(two.len() == 2 && two[1].ends_with("(code -9)."), "{two:?}");
        assert!(two.iter().all(|line| line.chars().count() <= 40));
        // A word without end.
        let long = "x".repeat(200);
        assert_eq!(with_both_ends(&long, 40, 2).len(), 2);
        assert_eq!(with_both_ends("a b", 1, 1).len(), 1);
    }

    #[test]
    fn what_the_summary_says_is_not_said_again() {
        let summary = "the worker cannot connect (4 in its log): (404, \"NOT_FOUND - no queue 'default' in vhost 'shop'\")";
        let line = |queue: &str| {
            let text = format!(
                "CRITICAL Consumer encountered an error: (404, \"NOT_FOUND - no queue '{queue}' in vhost 'shop'\")"
            );
            without_what_is_said(&text, summary)
        };
        assert_eq!(
            line("default"),
            "CRITICAL Consumer encountered an error: as above"
        );
        // The end of it is the same, and it is another queue.
        assert!(line("default.DQ").ends_with("'default.DQ' in vhost 'shop'\")"));
        assert_eq!(without_what_is_said("INFO a: short", "short"), "INFO a: short");
    }

    #[test]
    fn a_line_does_not_say_its_time_and_level_again() {
        assert_eq!(
            without_head("2026-11-28 06:41:24,193 ERROR [9763] uvicorn: no", "ERROR"),
            "[9763] uvicorn: no"
        );
        assert_eq!(
            without_head("ERROR: Exception in ASGI", "ERROR"),
            "Exception in ASGI"
        );
        assert_eq!(without_head("404 was answered", "ERROR"), "404 was answered");
        assert_eq!(without_head("ERROR", "ERROR"), "ERROR");
    }

    #[test]
    fn an_id_is_cut_and_a_word_is_not() {
        assert_eq!(
            with_short_ids("task_id=task_1c1b25a12f834203afc42440312e120b status COMPLETED"),
            "task_id=task_1c1b25a1… status COMPLETED"
        );
        assert_eq!(
            with_short_ids("t[a941392b-6bec-4f7c-81d0-eb0123456789] decade - 2026-11-28"),
            "t[a941392b…] decade - 2026-11-28"
        );
    }
}
