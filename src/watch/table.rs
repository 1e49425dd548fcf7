//! The live table: which rows, in which order, in which columns; drawn by ratatui.
//!
//! Pure: a key changes the table, drawing fills a frame.

use std::collections::HashMap;
use std::time::Duration;

use jiff::Timestamp;
use ratatui::Frame;
use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Cell, Paragraph, Row as TableRow, Table as Grid, TableState};

use super::family::{Family, Figure};
use super::lines::{self, Number, Rate, oldest, one_line, who_text};
use super::sight::Eye;
use super::state::{State, seconds};
use super::until::{dead, delayed};
use super::{Board, EyeState};

/// A column of the table.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Column {
    Queue,
    State,
    Ready,
    Unacked,
    Consumers,
    In,
    Deliver,
    Ack,
    Oldest,
    Delayed,
    Dead,
    Who,
}

impl Column {
    pub const ALL: [Column; 12] = [
        Column::Queue,
        Column::State,
        Column::Ready,
        Column::Unacked,
        Column::Consumers,
        Column::In,
        Column::Deliver,
        Column::Ack,
        Column::Oldest,
        Column::Delayed,
        Column::Dead,
        Column::Who,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Column::Queue => "queue",
            Column::State => "state",
            Column::Ready => "ready",
            Column::Unacked => "unacked",
            Column::Consumers => "consumers",
            Column::In => "in",
            Column::Deliver => "deliver",
            Column::Ack => "ack",
            Column::Oldest => "oldest",
            Column::Delayed => "delayed",
            Column::Dead => "dead",
            Column::Who => "who",
        }
    }

    fn heading(self) -> &'static str {
        match self {
            Column::In => "in/s",
            Column::Deliver => "out/s",
            Column::Ack => "ack/s",
            Column::Consumers => "cons.",
            other => other.name(),
        }
    }

    /// What it needs; queues and consumers take what is left.
    fn width(self) -> u16 {
        match self {
            Column::Queue => 16,
            Column::State => 22,
            Column::Who => 20,
            Column::Ready | Column::Unacked | Column::Delayed | Column::Dead => 9,
            Column::Consumers | Column::In | Column::Deliver | Column::Ack => 6,
            Column::Oldest => 7,
        }
    }

    fn constraint(self) -> Constraint {
        match self {
            Column::Queue => Constraint::Fill(3),
            Column::Who => Constraint::Fill(4),
            other => Constraint::Length(other.width()),
        }
    }
}

/// What is left out first where the terminal is narrow. The name never is: a row without it says nothing.
const DISPENSABLE: [Column; 11] = [
    Column::Oldest,
    Column::Deliver,
    Column::Who,
    Column::In,
    Column::Ack,
    Column::Delayed,
    Column::Dead,
    Column::Unacked,
    Column::Consumers,
    Column::Ready,
    Column::State,
];

/// A name is shortened to so much before the state is left out.
const SHORTEST: u16 = 8;

/// The columns that fit.
fn fitting(columns: &[Column], width: u16) -> Vec<Column> {
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

/// What the user has chosen, and where he is.
#[derive(Debug)]
pub struct Table {
    columns: Vec<Column>,
    sort: Column,
    reverse: bool,
    filter: String,
    mode: Mode,
    selected: Option<String>,
    state: TableState,
    /// Rows in their order, and how many of them fit.
    order: Vec<String>,
    ordered_at: Option<Duration>,
    height: usize,
    colors: bool,
    notice: Option<(Duration, String)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Mode {
    Rows,
    Filter,
    Columns(usize),
}

/// A key, as far as it means something here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    Char(char),
    Enter,
    Escape,
    Backspace,
    Up,
    Down,
    PageUp,
    PageDown,
    Home,
    End,
}

/// Of more rows the order is made anew once a second only.
const MANY: usize = 500;

impl Table {
    pub fn new(columns: &[Column], sort: Column, colors: bool) -> Self {
        let columns = if columns.is_empty() {
            Column::ALL.to_vec()
        } else {
            columns.to_vec()
        };
        Self {
            columns,
            sort,
            reverse: false,
            filter: String::new(),
            mode: Mode::Rows,
            selected: None,
            state: TableState::default(),
            order: Vec::new(),
            ordered_at: None,
            height: 20,
            colors,
            notice: None,
        }
    }

    /// `true`: the user wants to end.
    pub fn press(&mut self, key: Key) -> bool {
        match self.mode {
            Mode::Filter => self.press_in_filter(key),
            Mode::Columns(at) => self.press_in_columns(at, key),
            Mode::Rows => match key {
                Key::Char('q') => return true,
                Key::Char('/') => self.mode = Mode::Filter,
                Key::Char('c') => self.mode = Mode::Columns(0),
                Key::Char('s') => {
                    let at = self.columns.iter().position(|column| *column == self.sort);
                    let next = at.map_or(0, |at| (at + 1) % self.columns.len());
                    self.sort = self.columns.get(next).copied().unwrap_or(Column::Queue);
                    self.ordered_at = None;
                }
                Key::Char('r') => {
                    self.reverse = !self.reverse;
                    self.ordered_at = None;
                }
                Key::Escape => {
                    self.filter.clear();
                    self.ordered_at = None;
                }
                Key::Up | Key::Char('k') => self.step(-1),
                Key::Down | Key::Char('j') => self.step(1),
                Key::PageUp => self.step(-(self.height as isize)),
                Key::PageDown => self.step(self.height as isize),
                Key::Home => self.step(isize::MIN / 2),
                Key::End => self.step(isize::MAX / 2),
                _ => {}
            },
        }
        false
    }

    fn press_in_filter(&mut self, key: Key) {
        match key {
            Key::Char(c) => self.filter.push(c),
            Key::Backspace => drop(self.filter.pop()),
            Key::Escape => {
                self.filter.clear();
                self.mode = Mode::Rows;
            }
            Key::Enter => self.mode = Mode::Rows,
            _ => {}
        }
        self.ordered_at = None;
    }

    fn press_in_columns(&mut self, at: usize, key: Key) {
        let last = Column::ALL.len() - 1;
        match key {
            Key::Up | Key::Char('k') => self.mode = Mode::Columns(at.saturating_sub(1)),
            Key::Down | Key::Char('j') => self.mode = Mode::Columns((at + 1).min(last)),
            Key::Char(' ') => {
                let Some(column) = Column::ALL.get(at).copied() else {
                    return;
                };
                if self.columns.contains(&column) {
                    // A table without columns helps nobody.
                    if self.columns.len() > 1 {
                        self.columns.retain(|known| *known != column);
                    }
                } else {
                    self.columns.push(column);
                    self.columns
                        .sort_by_key(|column| Column::ALL.iter().position(|known| known == column));
                }
            }
            Key::Enter | Key::Escape | Key::Char('c' | 'q') => self.mode = Mode::Rows,
            _ => {}
        }
    }

    fn step(&mut self, by: isize) {
        let at = self.position().unwrap_or(0) as isize;
        let last = self.order.len().saturating_sub(1) as isize;
        let to = at.saturating_add(by).clamp(0, last);
        self.selected = self.order.get(to as usize).cloned();
    }

    fn position(&self) -> Option<usize> {
        let selected = self.selected.as_ref()?;
        self.order.iter().position(|name| name == selected)
    }

    /// The rows on screen.
    pub fn visible(&self) -> &[String] {
        let from = self.state.offset().min(self.order.len());
        let to = (from + self.height).min(self.order.len());
        &self.order[from..to]
    }

    /// Tells something that happened, for a while.
    pub fn notice(&mut self, at: Duration, text: String) {
        self.notice = Some((at, text));
    }

    fn arrange(&mut self, board: &Board) {
        let now = board.now();
        let families = board.families();
        let stale = self.ordered_at.is_none_or(|at| {
            let wait = if families.len() > MANY { 1000 } else { 0 };
            now.saturating_sub(at) >= Duration::from_millis(wait)
        });
        if !stale && !self.order.is_empty() {
            return;
        }
        self.ordered_at = Some(now);
        let filter = self.filter.to_lowercase();
        let states: HashMap<&str, State> = if self.sort == Column::State || !filter.is_empty() {
            families
                .keys()
                .map(|name| (name.as_str(), board.state(name).0))
                .collect()
        } else {
            HashMap::new()
        };
        let mut order: Vec<(&String, &Family)> = families
            .iter()
            .filter(|(name, _)| {
                filter.is_empty()
                    || name.to_lowercase().contains(&filter)
                    || states
                        .get(name.as_str())
                        .is_some_and(|state| state.word().contains(&filter))
            })
            .collect();
        // Names are in order already, and the sort is stable.
        match self.sort {
            Column::Queue => {}
            Column::State => order.sort_by_key(|(name, _)| states.get(name.as_str()).copied()),
            column => order.sort_by(|(_, a), (_, b)| {
                let (a, b) = (amount(a, column, now), amount(b, column, now));
                b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
            }),
        }
        if self.reverse {
            order.reverse();
        }
        self.order = order.into_iter().map(|(name, _)| name.clone()).collect();
    }

    pub fn draw(&mut self, frame: &mut Frame<'_>, board: &Board, started: Timestamp) {
        self.arrange(board);
        if self.position().is_none() {
            self.selected = self.order.first().cloned();
        }
        let about = self.about(board);
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
        frame.render_widget(Paragraph::new(self.title(board)), top);
        self.draw_rows(frame, middle, board, started);
        frame.render_widget(Paragraph::new(about), bottom);
        frame.render_widget(Paragraph::new(self.keys()), keys);
        if let Mode::Columns(at) = self.mode {
            self.draw_columns(frame, middle, at);
        }
    }

    fn title(&self, board: &Board) -> Line<'static> {
        let mut text = format!(
            "taskdiag watch: {} of {} queues",
            self.order.len(),
            board.families().len()
        );
        if !board.is_complete() {
            text.push_str(", not listed yet");
        }
        let direction = if self.reverse { ", reversed" } else { "" };
        text.push_str(&format!(" · by {}{direction}", self.sort.name()));
        // Statistics are so old; where they are older, the cell says so.
        text.push_str(" · rates ≤ 10 s old");
        if !self.filter.is_empty() || self.mode == Mode::Filter {
            let cursor = if self.mode == Mode::Filter { "_" } else { "" };
            text.push_str(&format!(" · /{}{cursor}", self.filter));
        }
        let mut spans = vec![Span::styled(
            text,
            self.style(Color::Reset).add_modifier(Modifier::BOLD),
        )];
        for eye in [Eye::Amqp, Eye::Management] {
            if let EyeState::Closed { reason, .. } = board.eye(eye) {
                let text = format!(" · {} cannot be asked: {reason}", eye.name());
                spans.push(Span::styled(text, self.style(Color::Red)));
            }
        }
        Line::from(spans)
    }

    fn keys(&self) -> Line<'static> {
        let keys = match self.mode {
            Mode::Rows => "q quit · / filter · s sort · r reverse · c columns · ↑↓ row",
            Mode::Filter => "type to filter by name or state · Enter keep · Esc clear",
            Mode::Columns(_) => "↑↓ column · space show or hide · Enter done",
        };
        Line::styled(keys, self.style(Color::DarkGray))
    }

    /// What has just happened, or all that is known of the selected row; the first line matters most.
    fn about(&self, board: &Board) -> Vec<Line<'static>> {
        let mut lines = Vec::new();
        if let Some((at, notice)) = &self.notice
            && board.now().saturating_sub(*at) < Duration::from_secs(8)
        {
            lines.push(Line::from(one_line(notice)));
        }
        let Some((name, family)) = self
            .selected
            .as_ref()
            .and_then(|name| board.families().get_key_value(name))
        else {
            return lines;
        };
        let (state, why) = board.state(name);
        lines.push(Line::from(one_line(&format!("{name}: {}: {why}", state.word()))));
        lines.push(Line::from(match family.stats(board.now()) {
            Some(stats) => format!(
                "statistics: read {} ago, and up to 10 s old then; {} done since the watch began",
                seconds(board.now().saturating_sub(stats.at)),
                family.motion.done
            ),
            None => "statistics: none (yet)".to_owned(),
        }));
        match family.who() {
            None => lines.push(Line::from("consumers: not listed (yet)")),
            Some([]) => lines.push(Line::from("consumers: none listed; the list is 2 to 5 s late")),
            Some(who) => {
                let mut groups: Vec<(String, usize)> = Vec::new();
                for consumer in who {
                    let text = format!(
                        "{} as {}, prefetch {}",
                        who_text(std::slice::from_ref(consumer)),
                        consumer.user,
                        consumer.prefetch
                    );
                    match groups.iter_mut().find(|(known, _)| *known == text) {
                        Some((_, count)) => *count += 1,
                        None => groups.push((text, 1)),
                    }
                }
                lines.extend(groups.into_iter().map(|(text, count)| {
                    let times = if count > 1 {
                        format!(" ×{count}")
                    } else {
                        String::new()
                    };
                    Line::from(one_line(&format!("consumer: {text}{times}")))
                }));
            }
        }
        lines
    }

    fn draw_rows(&mut self, frame: &mut Frame<'_>, area: Rect, board: &Board, started: Timestamp) {
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
                let family = board.families().get(name)?;
                let (state, why) = board.state(name);
                let row = lines::row(name, family, state, why, board.now(), started);
                let cells = columns.iter().zip(widths.iter()).map(|(column, place)| {
                    let width = usize::from(place.width);
                    self.cell(*column, &row, family, board.now(), started, width)
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

    fn cell(
        &self,
        column: Column,
        row: &lines::Row,
        family: &Family,
        now: Duration,
        started: Timestamp,
        width: usize,
    ) -> Cell<'static> {
        let absent = |figure: Figure<u64>, number: &Number| match figure {
            Figure::None => "-".to_owned(),
            _ => count(number),
        };
        let text = match column {
            Column::Queue => shortened(&one_line(&row.queue), width),
            Column::State => row.state.word().to_owned(),
            Column::Ready => count(&row.ready),
            Column::Unacked => count(&row.unacked),
            Column::Consumers => count(&row.consumers),
            Column::In => rate(&row.rates.publish),
            Column::Deliver => rate(&row.rates.deliver),
            Column::Ack => rate(&row.rates.ack),
            Column::Oldest => oldest(family, now, started)
                .map(|age| seconds(Duration::from_millis(age.unsigned_abs())))
                .unwrap_or_default(),
            Column::Delayed => absent(delayed(family, now), &row.delayed),
            Column::Dead => absent(dead(family, now), &row.dead),
            Column::Who => row.who.as_deref().map(who_text).unwrap_or_default(),
        };
        let cell = Cell::from(fitted(&one_line(&text), width));
        match column {
            Column::State => cell.style(self.style(color(row.state))),
            _ => cell,
        }
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

/// An age that does not fit is left out, with a mark: cut, it would be another number.
fn fitted(text: &str, width: usize) -> String {
    let value = match text.split_once(" ≤") {
        Some((value, _)) if Span::raw(text).width() > width => format!("{value} ≤…"),
        _ => text.to_owned(),
    };
    shortened(&value, width)
}

/// With an ellipsis where it does not fit into so many cells.
fn shortened(text: &str, width: usize) -> String {
    if Span::raw(text).width() <= width {
        return text.to_owned();
    }
    let mut short = text.to_owned();
    while short.pop().is_some() {
        if Span::raw(short.as_str()).width() < width {
            break;
        }
    }
    short.push('…');
    short
}

/// `3`, `3 ≤5s`: so old at most; `?`.
fn count(number: &Number) -> String {
    let text = number.value.map(|value| value.to_string());
    aged(text, number.age_ms, 1000.0)
}

fn rate(rate: &Rate) -> String {
    // What the heading says already need not be said again.
    aged(
        rate.value.map(|value| format!("{value:.1}")),
        rate.age_ms,
        13_000.0,
    )
}

fn aged(value: Option<String>, age_ms: Option<f64>, from: f64) -> String {
    match (value, age_ms) {
        (Some(value), Some(age)) if age >= from => format!("{value} ≤{:.0}s", (age / 1000.0).ceil()),
        (Some(value), _) => value,
        (None, _) => "?".into(),
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

/// What a row is sorted by; what is not known comes last.
fn amount(family: &Family, column: Column, now: Duration) -> f64 {
    let figure = |figure: Figure<u64>| figure.value().map_or(-1.0, |value| value as f64);
    let rate = |pick: fn(&super::sight::Stats) -> Option<f64>| {
        family
            .stats(now)
            .and_then(|stats| pick(&stats.value))
            .unwrap_or(-1.0)
    };
    match column {
        Column::Ready => figure(family.main.ready(now)),
        Column::Unacked => figure(family.main.unacked(now)),
        Column::Consumers => figure(family.consumers(now)),
        Column::Delayed => figure(delayed(family, now)),
        Column::Dead => figure(dead(family, now)),
        Column::In => rate(|stats| stats.publish_rate),
        Column::Deliver => rate(|stats| stats.deliver_rate),
        Column::Ack => rate(|stats| stats.ack_rate),
        Column::Oldest => family
            .details
            .as_ref()
            .and_then(|seen| seen.value.head_timestamp)
            .map_or(f64::MIN, |head| -(head as f64)),
        Column::Who => family.who().map_or(-1.0, |who| who.len() as f64),
        Column::Queue | Column::State => 0.0,
    }
}

#[cfg(test)]
mod tests {
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::pick::Pick;
    use super::super::sight::Kind;
    use super::super::testing::Scene;
    use super::*;

    #[test]
    fn no_number_is_cut_to_another_one() {
        assert_eq!(fitted("0.0 ≤12s", 8), "0.0 ≤12s");
        assert_eq!(fitted("0.0 ≤12s", 6), "0.0 ≤…");
        assert_eq!(fitted("120.0 ≤12s", 6), "120.0…");
        assert_eq!(fitted("1234567", 5), "1234…");
    }

    fn screen(table: &mut Table, scene: &Scene, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal
            .draw(|frame| table.draw(frame, &scene.board, Timestamp::UNIX_EPOCH))
            .expect("drawn");
        terminal.backend().to_string()
    }

    fn scene(queues: usize) -> Scene {
        let mut scene = Scene::of(Pick::all(), Kind::Classic);
        let names: Vec<String> = (0..queues).map(|n| format!("queue-{n:05}")).collect();
        let listed: Vec<(&str, u64, u64)> = names
            .iter()
            .enumerate()
            .map(|(n, name)| (name.as_str(), n as u64, 0))
            .collect();
        scene.listed(&listed);
        scene
    }

    #[test]
    fn keys_sort_filter_and_choose_columns() {
        let scene = scene(30);
        let mut table = Table::new(&[], Column::Queue, false);
        let text = screen(&mut table, &scene, 120, 12);
        assert!(
            text.contains("30 of 30 queues") && text.contains("queue-00000"),
            "{text}"
        );
        assert_eq!(table.visible().len(), 6);
        table.press(Key::Char('s'));
        table.press(Key::Char('s'));
        screen(&mut table, &scene, 120, 12);
        assert_eq!(table.order[0], "queue-00029", "the most ready first");
        table.press(Key::Char('r'));
        screen(&mut table, &scene, 120, 12);
        assert_eq!(table.order[0], "queue-00000");
        for key in [Key::Char('/'), Key::Char('0'), Key::Char('7'), Key::Enter] {
            assert!(!table.press(key));
        }
        let text = screen(&mut table, &scene, 120, 12);
        assert!(text.contains("1 of 30 queues"), "{text}");
        for key in [Key::Escape, Key::Char('c'), Key::Down, Key::Char(' '), Key::Enter] {
            assert!(!table.press(key));
        }
        let text = screen(&mut table, &scene, 120, 12);
        assert!(!text.contains("state") && text.contains("ready"), "{text}");
        assert!(table.press(Key::Char('q')));
    }

    /// `q` is a letter while a filter is typed.
    #[test]
    fn a_filter_may_hold_any_letter() {
        let scene = scene(3);
        let mut table = Table::new(&[], Column::Queue, false);
        table.press(Key::Char('/'));
        assert!(!table.press(Key::Char('q')));
        let text = screen(&mut table, &scene, 100, 8);
        assert!(text.contains("3 of 3") && text.contains("/q_"), "{text}");
    }

    #[test]
    fn the_selection_scrolls() {
        let scene = scene(2000);
        let mut table = Table::new(&[], Column::Queue, false);
        screen(&mut table, &scene, 120, 20);
        table.press(Key::End);
        let text = screen(&mut table, &scene, 120, 20);
        assert!(
            text.contains("queue-01999") && !text.contains("queue-00000"),
            "{text}"
        );
        table.press(Key::Home);
        table.press(Key::PageDown);
        let text = screen(&mut table, &scene, 120, 20);
        assert!(text.contains("queue-00016"), "{text}");
    }

    /// A state without the name of its queue says nothing.
    #[test]
    fn the_name_is_the_last_column_to_go() {
        let mut scene = Scene::of(Pick::all(), Kind::Classic);
        scene.listed(&[("a", 0, 0), ("orders-of-the-northern-region", 1, 0)]);
        for (width, name, state) in [
            (70, "orders-of-the-", true),
            (40, "orders-of-the-no…", true),
            (32, "orders-o…", true),
            (20, "orders-of-the-north…", false),
            (5, "orde…", false),
        ] {
            let text = screen(&mut Table::new(&[], Column::Queue, false), &scene, width, 10);
            assert!(text.contains(name), "{width}: {text}");
            assert_eq!(text.contains("backlog  "), state, "{width}: {text}");
        }
    }

    #[test]
    fn any_size_can_be_drawn() {
        let scene = scene(40);
        for (width, height) in [(1, 1), (5, 3), (20, 4), (60, 10), (80, 24), (300, 60)] {
            let mut table = Table::new(&[], Column::Queue, true);
            screen(&mut table, &scene, width, height);
            table.press(Key::Char('c'));
            screen(&mut table, &scene, width, height);
            table.press(Key::Escape);
            table.press(Key::End);
            screen(&mut table, &scene, width, height);
        }
        let mut table = Table::new(&[], Column::Queue, true);
        let text = screen(&mut table, &scene, 80, 24);
        assert!(text.contains("queue-00000") && text.contains("backlog"), "{text}");
    }
}
