//! Evidence on the first screen: a line or two for each event, in columns no wider than they need to be.

use unicode_width::UnicodeWidthStr;

use super::events::describe;
use super::{Report, Style};
use crate::text::{fitted_to_words, flat, wrapped};
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
    pub fn line(&self, event: &Event, most: usize) -> String {
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
            text = with_short_ids(&flat(&brief(event)));
        }
        let mut lines = wrapped(&text, room);
        if lines.len() > most {
            let rest = lines.split_off(most - 1).join(" ");
            lines.push(fitted_to_words(&rest, room));
        }
        format!("{head}{}", lines.join(&format!("\n{}", " ".repeat(head.width()))))
    }
}

/// An event in fewer words than elsewhere: without what only tells connections and messages apart.
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
        // The exception stands beside it, or in the log.
        Kind::Line(line) => match line.level {
            Some(level) => format!("{} {}", format!("{level:?}").to_uppercase(), line.text),
            None => line.text.clone(),
        },
        _ => describe(event),
    }
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
