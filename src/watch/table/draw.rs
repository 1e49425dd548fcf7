//! Drawing the table: the title, the rows on screen, and what is known of the selected one.

use std::time::Duration;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table as Grid, TableState};

use super::super::consumers::consumer_lines;
use super::super::lines::{self, one_line};
use super::super::observation::Probe;
use super::super::state::State;
use super::super::{Connectivity, QueueModel};
use super::columns::{Column, fitting};
use super::pages::{help, overlay};
use super::{Mode, Table};
use crate::text::counted;
use crate::units::seconds;

impl Table {
    pub fn draw(&mut self, frame: &mut Frame<'_>, model: &QueueModel, started: Timestamp) {
        self.arrange(model);
        if self.position().is_none() {
            self.selected = self.order.first().cloned();
        }
        let about = self.about(model);
        let room = frame.area().height.saturating_sub(2);
        // Rows first; what is left is for the selected one.
        let rows = u16::try_from(self.order.len())
            .unwrap_or(u16::MAX)
            .saturating_add(1);
        let spare = room.saturating_sub(rows.clamp(2, (room / 2).max(2)));
        let pane = u16::try_from(about.len()).unwrap_or(u16::MAX).min(spare).max(1);
        let [top, middle, bottom, keys] = Layout::vertical([
            Constraint::Length(1),
            Constraint::Min(2),
            Constraint::Length(pane),
            Constraint::Length(1),
        ])
        .areas(frame.area());
        self.height = usize::from(middle.height.saturating_sub(1)).max(1);
        self.state.select(self.position());
        frame.render_widget(Paragraph::new(self.title(model)), top);
        self.draw_rows(frame, middle, model, started);
        frame.render_widget(Paragraph::new(about), bottom);
        frame.render_widget(Paragraph::new(self.keys()), keys);
        let all_but_the_edges = middle.union(bottom);
        match self.mode {
            Mode::Columns(at) => self.draw_columns(frame, middle, at),
            Mode::Help => overlay(frame, all_but_the_edges, help(), 0),
            Mode::Details(from) => {
                let lines = self.details(model, started, all_but_the_edges.width);
                let last = lines.len().saturating_sub(usize::from(all_but_the_edges.height));
                // So that one key up shows something else.
                let from = from.min(last);
                self.mode = Mode::Details(from);
                overlay(frame, all_but_the_edges, lines, from);
            }
            Mode::Rows | Mode::Filter => {}
        }
    }

    fn title(&self, model: &QueueModel) -> Line<'static> {
        let mut text = format!(
            "taskdiag watch: {} of {}",
            self.order.len(),
            counted(model.groups().len() as u64, "queue", "queues")
        );
        if !model.is_complete() {
            text.push_str(", not listed yet");
        }
        if !self.filter.is_empty() || self.mode == Mode::Filter {
            let cursor = if self.mode == Mode::Filter { "_" } else { "" };
            text.push_str(&format!(" · /{}{cursor}", self.filter));
        }
        let direction = if self.reverse { ", reversed" } else { "" };
        text.push_str(&format!(" · by {}{direction}", self.sort.name()));
        // Statistics are so old; where they are older, the cell says so.
        text.push_str(" · rates ≤ 10 s old");
        let mut spans = vec![Span::styled(
            text,
            self.style(Color::Reset).add_modifier(Modifier::BOLD),
        )];
        for probe in [Probe::Amqp, Probe::Management] {
            if let Connectivity::Closed { reason, .. } = model.connectivity(probe) {
                let text = format!(" · {} cannot be asked: {reason}", probe.name());
                spans.push(Span::styled(text, self.style(Color::Red)));
            }
        }
        Line::from(spans)
    }

    fn keys(&self) -> Line<'static> {
        let keys = match self.mode {
            Mode::Rows => "? help · q quit · Enter details · / filter · s sort · r reverse · c columns",
            Mode::Help => "? or Esc back · q quit",
            Mode::Details(_) => "Esc back · ↑↓ scroll · q quit",
            Mode::Filter => "type to filter by name or state · Enter keep · Esc clear",
            Mode::Columns(_) => "↑↓ column · space show or hide · Enter done",
        };
        // A colour of its own is invisible on some backgrounds.
        Line::styled(keys, self.style(Color::Reset).add_modifier(Modifier::DIM))
    }

    /// What has just happened, or all that is known of the selected row; the first line matters most.
    fn about(&self, model: &QueueModel) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        if let Some((at, notice)) = &self.notice
            && model.now().saturating_sub(*at) < Duration::from_secs(8)
        {
            lines.push(Line::from(one_line(notice)));
        }
        let Some((name, group)) = self
            .selected
            .as_ref()
            .and_then(|name| model.groups().get_key_value(name))
        else {
            return lines;
        };
        let (state, why) = model.state(name);
        lines.push(Line::from(one_line(&format!("{name}: {}: {why}", state.word()))));
        lines.push(Line::from(match group.stats(model.now()) {
            Some(stats) => format!(
                "broker statistics {} to {} old · {} acknowledged since the start",
                seconds(model.now().saturating_sub(stats.at)),
                seconds(model.now().saturating_sub(stats.at) + Duration::from_secs(10)),
                group.ledger.done()
            ),
            None => "statistics: none (yet)".to_owned(),
        }));
        match group.who() {
            None => lines.push(Line::from("consumers: not listed (yet)")),
            Some([]) => lines.push(Line::from("consumers: none listed; the list is 2 to 5 s late")),
            Some(who) => {
                let line = |text| Line::from(one_line(&format!("consumer: {text}")));
                lines.extend(consumer_lines(who).into_iter().map(line));
                let line = |text| Line::from(one_line(&format!("worker: {text}")));
                lines.extend(model.workers().words_of(who, model.now()).into_iter().map(line));
            }
        }
        lines
    }

    fn draw_rows(&mut self, frame: &mut Frame<'_>, area: Rect, model: &QueueModel, started: Timestamp) {
        if self.order.is_empty() && !self.filter.is_empty() {
            let text = format!("no queue matches /{} (Esc clears)", self.filter);
            return frame.render_widget(Paragraph::new(text), area);
        }
        let columns = fitting(&self.columns, area.width);
        let constraints: Vec<Constraint> = columns.iter().map(|column| column.constraint()).collect();
        let widths = Layout::horizontal(constraints.iter().copied())
            .spacing(1)
            .split(area);
        let heading = TableRow::new(columns.iter().map(|column| {
            let mark = match (*column == self.sort, self.reverse) {
                (true, false) => "▾",
                (true, true) => "▴",
                _ => "",
            };
            format!("{}{mark}", column.heading())
        }))
        .style(self.style(Color::Reset).add_modifier(Modifier::UNDERLINED));
        // Only what can be seen is laid out: with 10,000 rows the rest would cost.
        let selected = self.position().unwrap_or(0);
        let mut offset = self
            .state
            .offset()
            .min(self.order.len().saturating_sub(self.height));
        if selected < offset {
            offset = selected;
        } else if selected >= offset + self.height {
            offset = selected + 1 - self.height;
        }
        *self.state.offset_mut() = offset;
        let rows: Vec<TableRow<'static>> = self
            .visible()
            .iter()
            .filter_map(|name| {
                let group = model.groups().get(name)?;
                let (state, why) = model.state(name);
                let row = lines::row(name, group, state, why, model, started);
                let cells = columns.iter().zip(widths.iter()).map(|(column, place)| {
                    let width = usize::from(place.width);
                    let cell = Cell::from(column.text(&row, group, model.now(), width));
                    match column {
                        Column::State => cell.style(self.style(color(state))),
                        _ => cell,
                    }
                });
                Some(TableRow::new(cells.collect::<Vec<_>>()))
            })
            .collect();
        let grid = Grid::new(rows, constraints)
            .header(heading)
            .row_highlight_style(Style::default().add_modifier(Modifier::REVERSED))
            .column_spacing(1);
        let mut state = TableState::default();
        state.select(Some(selected.saturating_sub(offset)));
        frame.render_stateful_widget(grid, area, &mut state);
    }

    fn draw_columns(&self, frame: &mut Frame<'_>, area: Rect, at: usize) {
        let lines: Vec<Line<'static>> = Column::ALL
            .iter()
            .enumerate()
            .map(|(index, column)| {
                let mark = if self.columns.contains(column) {
                    "[x]"
                } else {
                    "[ ]"
                };
                let line = Line::from(format!(" {mark} {:<10}", column.name()));
                if index == at {
                    line.style(Style::default().add_modifier(Modifier::REVERSED))
                } else {
                    line
                }
            })
            .collect();
        let area = Rect {
            x: area.x + 2.min(area.width),
            y: area.y + 1.min(area.height),
            width: 18.min(area.width.saturating_sub(2)),
            height: (lines.len() as u16).min(area.height.saturating_sub(1)),
        };
        frame.render_widget(ratatui::widgets::Clear, area);
        frame.render_widget(Paragraph::new(lines), area);
    }

    fn style(&self, color: Color) -> Style {
        if self.colors {
            Style::default().fg(color)
        } else {
            Style::default()
        }
    }
}

fn color(state: State) -> Color {
    match state {
        State::NoConsumer | State::Held | State::Down | State::DeadGrowing => Color::Red,
        State::Backlog | State::Holding => Color::Yellow,
        State::Flowing => Color::Green,
        State::Delayed => Color::Cyan,
        State::Idle => Color::Reset,
        State::Missing | State::Unknown => Color::Magenta,
    }
}
