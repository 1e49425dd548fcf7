//! Pages over the rows: what the keys and words mean, and all that is known of one queue.

use std::time::Duration;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::Rect;
use ratatui::text::Line;
use ratatui::widgets::{Clear, Paragraph};

use super::super::QueueModel;
use super::super::consumers::consumer_lines;
use super::super::group::{Quantity, QueueGroup};
use super::super::lines::{self, Number, Rate, Row, one_line};
use super::super::state::State;
use super::Table;
use crate::text::wrapped;
use crate::units::seconds;

/// Where the words of a line of details begin.
const INDENT: usize = 11;

const KEYS: [(&str, &str); 8] = [
    ("Enter", "all that is known of the selected queue"),
    ("↑ ↓", "select a row (also k, j, PgUp, PgDn, Home, End)"),
    ("/", "filter by name or state; Esc shows all again"),
    ("s r", "sort by the next column; reverse the order"),
    ("c", "choose the columns"),
    ("q", "quit; the last states stay on the terminal"),
    ("≤5s", "behind a figure: it is up to 5 s old"),
    ("?", "instead of a figure: it cannot be seen; Enter says why"),
];

/// The states that need a word, the worst first.
const EXPLAINED: [State; 8] = [
    State::NoConsumer,
    State::Held,
    State::Down,
    State::DeadGrowing,
    State::Backlog,
    State::Holding,
    State::Flowing,
    State::Delayed,
];

pub(super) fn help() -> Vec<Line<'static>> {
    let row = |name: &str, text: &str, width: usize| Line::from(format!(" {name:<width$} {text}"));
    let keys = KEYS.iter().map(|(key, text)| row(key, text, 6));
    let states = EXPLAINED
        .iter()
        .map(|state| row(state.word(), state.meaning(), 22));
    let more = Line::from(" docs/watch.md says exactly when a state is shown.");
    keys.chain([Line::default()])
        .chain(states)
        .chain([Line::default(), more])
        .collect()
}

/// Instead of what was drawn there.
pub(super) fn overlay(frame: &mut Frame<'_>, area: Rect, lines: Vec<Line<'static>>, from: usize) {
    frame.render_widget(Clear, area);
    let lines: Vec<Line<'static>> = lines.into_iter().skip(from).collect();
    frame.render_widget(Paragraph::new(lines), area);
}

impl Table {
    /// All that is known of the selected queue.
    pub(super) fn details(&self, model: &QueueModel, started: Timestamp, width: u16) -> Vec<Line<'static>> {
        let selected = self.selected.as_ref();
        let Some((name, group)) = selected.and_then(|name| model.groups().get_key_value(name)) else {
            return vec![Line::from("This queue is gone.")];
        };
        let (state, why) = model.state(name);
        let row = lines::row(name, group, state, why, model, started);
        let mut page = Page {
            lines: Vec::new(),
            width: usize::from(width).saturating_sub(INDENT).max(10),
        };
        page.say("queue", &row.queue);
        page.say("state", &format!("{}: {}", state.word(), row.why));
        page.say("", state.meaning());
        page.figures(&row, group, model.now());
        match row.who.as_deref() {
            None => page.say(
                "consumers",
                "the broker has not listed them yet, or may not be asked",
            ),
            Some([]) => page.say("consumers", "none listed; the list is 2 to 5 s late"),
            Some(who) => {
                for (nth, text) in consumer_lines(who).iter().enumerate() {
                    page.say(if nth == 0 { "by" } else { "" }, text);
                }
                let workers = model.workers().words_of(who, model.now());
                for (nth, text) in workers.iter().enumerate() {
                    page.say(if nth == 0 { "worker" } else { "" }, text);
                }
            }
        }
        page.say(
            "next",
            &format!("taskdiag trace --queue {name} shows each message as it goes to and from it"),
        );
        page.say("", "taskdiag diagnose --task ID explains one task that waits");
        page.lines
    }
}

struct Page {
    lines: Vec<Line<'static>>,
    width: usize,
}

impl Page {
    fn say(&mut self, name: &str, text: &str) {
        for (nth, line) in wrapped(&one_line(text), self.width).into_iter().enumerate() {
            let name = if nth == 0 { name } else { "" };
            self.lines.push(Line::from(format!("{name:<INDENT$}{line}")));
        }
    }

    fn figures(&mut self, row: &Row, group: &QueueGroup, now: Duration) {
        for (name, number) in [
            ("ready", &row.ready),
            ("unacked", &row.unacked),
            ("consumers", &row.consumers),
            ("delayed", &row.delayed),
            ("dead", &row.dead),
            ("done", &row.done),
        ]
        .into_iter()
        .chain(row.prefetch.iter().map(|number| ("prefetch", number)))
        .chain(row.active.iter().map(|number| ("active", number)))
        {
            let quantity = match name {
                "delayed" => Some(Quantity::Delayed),
                "dead" => Some(Quantity::Dead),
                _ => None,
            };
            let is_there = quantity.is_none_or(|quantity| {
                !matches!(group.figure(quantity, now), super::super::queue::Figure::None)
            });
            if is_there {
                self.say(name, &figure(number));
            }
        }
        let rates = [
            ("in", &row.rates.publish),
            ("out", &row.rates.deliver),
            ("acknowledged", &row.rates.ack),
        ];
        let known: Vec<String> = rates
            .iter()
            .filter_map(|(name, rate)| Some(format!("{name} {:.1}", rate.value?)))
            .collect();
        match known.is_empty() {
            false => {
                let age = rates
                    .iter()
                    .filter_map(|(_, rate)| rate.age_ms)
                    .fold(0.0, f64::max);
                self.say(
                    "per second",
                    &format!("{} (≤ {} old)", known.join(", "), span(age)),
                );
            }
            true => self.say("per second", &because(rates[0].1)),
        }
        if let Some(age) = row.oldest_ms {
            self.say("oldest", &format!("{} old", span(age as f64)));
        }
    }
}

/// `3`, `3 (≤ 2.1 s old)`, `?: why`.
fn figure(number: &Number) -> String {
    match &number.because {
        Some(because) => format!("?: {because}"),
        None => lines::count(number),
    }
}

fn because(rate: &Rate) -> String {
    format!("?: {}", rate.because.as_deref().unwrap_or("not seen"))
}

fn span(ms: f64) -> String {
    seconds(Duration::from_secs_f64((ms / 1000.0).max(0.0)))
}
