//! The columns of the table: how wide they are, what stands in them, how they sort.

use std::time::Duration;

use ratatui::layout::Constraint;

use super::super::consumers::who_text;
use super::super::group::{Quantity, QueueGroup};
use super::super::lines::{Number, Row, one_line};
use super::super::observation::Stats;
use super::super::queue::Figure;
use super::super::{QueueModel, workers};
use crate::text::{fitted, width as cells};
use crate::units::seconds;

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Queue,
    State,
    Ready,
    Unacked,
    Consumers,
    Prefetch,
    Active,
    In,
    Deliver,
    Ack,
    Oldest,
    Delayed,
    Dead,
    Programs,
}

impl Column {
    pub const ALL: [Column; 14] = [
        Column::Queue,
        Column::State,
        Column::Ready,
        Column::Unacked,
        Column::Consumers,
        Column::Prefetch,
        Column::Active,
        Column::In,
        Column::Deliver,
        Column::Ack,
        Column::Oldest,
        Column::Delayed,
        Column::Dead,
        Column::Programs,
    ];

    /// Says something of every queue; the others need workers that speak by themselves.
    pub fn is_usual(&self) -> bool {
        !matches!(self, Column::Prefetch | Column::Active)
    }

    /// Its name, its heading, and how many cells it needs.
    fn layout(self) -> (&'static str, &'static str, u16) {
        match self {
            Column::Queue => ("queue", "queue", 16),
            Column::State => ("state", "state", 22),
            Column::Ready => ("ready", "ready", 9),
            Column::Unacked => ("unacked", "unacked", 9),
            Column::Consumers => ("consumers", "cons.", 6),
            Column::Prefetch => ("prefetch", "pref.", 6),
            Column::Active => ("active", "active", 8),
            Column::In => ("in", "in/s", 6),
            Column::Deliver => ("deliver", "out/s", 6),
            Column::Ack => ("ack", "ack/s", 6),
            Column::Oldest => ("oldest", "oldest", 7),
            Column::Delayed => ("delayed", "delayed", 9),
            Column::Dead => ("dead", "dead", 9),
            Column::Programs => ("who", "who", 20),
        }
    }

    pub fn name(self) -> &'static str {
        self.layout().0
    }

    pub fn heading(self) -> &'static str {
        self.layout().1
    }

    fn width(self) -> u16 {
        self.layout().2
    }

    /// Queues and consumers take what the others leave.
    pub fn constraint(self) -> Constraint {
        match self {
            Column::Queue => Constraint::Fill(3),
            Column::Programs => Constraint::Fill(4),
            other => Constraint::Length(other.width()),
        }
    }

    /// What stands in it, in so many cells.
    pub fn text(self, row: &Row, group: &QueueGroup, now: Duration, width: usize) -> String {
        let rate = |value: Option<f64>, age_ms| {
            // What the heading says already need not be said again.
            aged(value.map(|value| format!("{value:.1}")), age_ms, 13_000.0)
        };
        let companion = |quantity, number: &Number| match group.figure(quantity, now) {
            Figure::None => "-".to_owned(),
            _ => count(number),
        };
        let text = match self {
            Column::Queue => return fitted(&one_line(&row.queue), width),
            Column::State => row.state.word().to_owned(),
            Column::Ready => count(&row.ready),
            Column::Unacked => count(&row.unacked),
            Column::Consumers => count(&row.consumers),
            Column::Prefetch => row.prefetch.as_ref().map(count).unwrap_or_default(),
            Column::Active => row.active.as_ref().map(count).unwrap_or_default(),
            Column::In => rate(row.rates.publish.value, row.rates.publish.age_ms),
            Column::Deliver => rate(row.rates.deliver.value, row.rates.deliver.age_ms),
            Column::Ack => rate(row.rates.ack.value, row.rates.ack.age_ms),
            Column::Oldest => {
                let age = |age: i64| seconds(Duration::from_millis(age.unsigned_abs()));
                row.oldest_ms.map(age).unwrap_or_default()
            }
            Column::Delayed => companion(Quantity::Delayed, &row.delayed),
            Column::Dead => companion(Quantity::Dead, &row.dead),
            Column::Programs => row.who.as_deref().map(who_text).unwrap_or_default(),
        };
        cell(&one_line(&text), width)
    }

    /// What a row is sorted by; what is not known comes last.
    pub fn amount(self, group: &QueueGroup, model: &QueueModel) -> f64 {
        let now = model.now();
        let figure = |quantity| group.figure(quantity, now).value().map(|value| value as f64);
        let rate = |pick: fn(&Stats) -> Option<f64>| pick(&group.stats(now)?.value);
        let amount = match self {
            Column::Queue | Column::State => None,
            Column::Ready => figure(Quantity::Ready),
            Column::Unacked => figure(Quantity::Unacked),
            Column::Consumers => figure(Quantity::Consumers),
            Column::Prefetch => {
                let most = workers::prefetch(group.who_when(), now).value();
                most.map(|most| most as f64)
            }
            Column::Active => {
                let active = model.active(group).and_then(|active| active.value());
                active.map(|active| active as f64)
            }
            Column::Delayed => figure(Quantity::Delayed),
            Column::Dead => figure(Quantity::Dead),
            Column::In => rate(|stats| stats.publish_rate),
            Column::Deliver => rate(|stats| stats.deliver_rate),
            Column::Ack => rate(|stats| stats.ack_rate),
            Column::Oldest => {
                let head = group.details.as_ref().and_then(|seen| seen.value.head_timestamp);
                head.map(|head| -(head as f64))
            }
            Column::Programs => group.who().map(|who| who.len() as f64),
        };
        amount.unwrap_or(f64::MIN)
    }
}

/// What is left out first where the terminal is narrow. The name never is: a row without it says nothing.
const DISPENSABLE: [Column; 13] = [
    Column::Prefetch,
    Column::Oldest,
    Column::Deliver,
    Column::Programs,
    Column::In,
    Column::Ack,
    Column::Delayed,
    Column::Dead,
    Column::Active,
    Column::Unacked,
    Column::Consumers,
    Column::Ready,
    Column::State,
];

/// A name is shortened to so much before the state is left out.
const SHORTEST: u16 = 8;

/// The columns that fit.
pub fn fitting(columns: &[Column], width: u16) -> Vec<Column> {
    let mut fitting = columns.to_vec();
    let needed = |columns: &[Column]| columns.iter().map(|column| column.width() + 1).sum::<u16>();
    for column in DISPENSABLE {
        let spare = match column {
            Column::State => Column::Queue.width() - SHORTEST,
            _ => 0,
        };
        if needed(&fitting) <= width.saturating_add(1 + spare) {
            break;
        }
        if fitting.len() > 1 {
            fitting.retain(|known| *known != column);
        }
    }
    fitting
}

/// An age that does not fit is left out, with a mark: cut, it would be another number.
fn cell(text: &str, width: usize) -> String {
    match text.split_once(" ≤") {
        Some((value, _)) if cells(text) > width => fitted(&format!("{value} ≤…"), width),
        _ => fitted(text, width),
    }
}

/// `3`, `3 ≤5s`: so old at most; `?`.
fn count(number: &Number) -> String {
    aged(number.value.map(|value| value.to_string()), number.age_ms, 1000.0)
}

fn aged(value: Option<String>, age_ms: Option<f64>, from: f64) -> String {
    match (value, age_ms) {
        (Some(value), Some(age)) if age >= from => format!("{value} ≤{:.0}s", (age / 1000.0).ceil()),
        (Some(value), _) => value,
        (None, _) => "?".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_number_is_cut_to_another_one() {
        assert_eq!(cell("0.0 ≤12s", 8), "0.0 ≤12s");
        assert_eq!(cell("0.0 ≤12s", 6), "0.0 ≤…");
        assert_eq!(cell("120.0 ≤12s", 6), "120.0…");
        assert_eq!(cell("1234567", 5), "1234…");
    }
}
