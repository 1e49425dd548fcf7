//! The live table: which rows, in which order, in which columns; drawn by ratatui.
//!
//! Pure: a key changes the table, drawing fills a frame.

mod columns;
mod draw;
mod pages;

use std::collections::HashMap;
use std::time::Duration;

use ratatui::widgets::TableState;

use super::QueueModel;
use super::group::QueueGroup;
use super::state::State;
pub use columns::Column;

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
    Help,
    /// The selected queue alone, from this line on.
    Details(usize),
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
            Column::ALL.into_iter().filter(Column::is_usual).collect()
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
            Mode::Help | Mode::Details(_) => return self.press_in_page(key),
            Mode::Rows => match key {
                Key::Char('q') => return true,
                Key::Char('?' | 'h') => self.mode = Mode::Help,
                Key::Enter if self.selected.is_some() => self.mode = Mode::Details(0),
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

    /// `true`: the user wants to end.
    fn press_in_page(&mut self, key: Key) -> bool {
        let at = match self.mode {
            Mode::Details(at) => Some(at),
            _ => None,
        };
        self.mode = match (key, at) {
            (Key::Char('q'), _) => return true,
            (Key::Escape | Key::Enter | Key::Backspace, _) => Mode::Rows,
            (Key::Char('?' | 'h'), None) => Mode::Rows,
            (Key::Char('?' | 'h'), Some(_)) => Mode::Help,
            (Key::Up | Key::Char('k'), Some(at)) => Mode::Details(at.saturating_sub(1)),
            (Key::Down | Key::Char('j'), Some(at)) => Mode::Details(at + 1),
            (Key::PageUp, Some(at)) => Mode::Details(at.saturating_sub(self.height)),
            (Key::PageDown, Some(at)) => Mode::Details(at + self.height),
            (Key::Home, Some(_)) => Mode::Details(0),
            (Key::End, Some(_)) => Mode::Details(usize::MAX / 2),
            _ => self.mode,
        };
        false
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

    fn arrange(&mut self, model: &QueueModel) {
        let now = model.now();
        let groups = model.groups();
        let stale = self.ordered_at.is_none_or(|at| {
            let wait = if groups.len() > MANY { 1000 } else { 0 };
            now.saturating_sub(at) >= Duration::from_millis(wait)
        });
        if !stale && !self.order.is_empty() {
            return;
        }
        self.ordered_at = Some(now);
        let filter = self.filter.to_lowercase();
        let states: HashMap<&str, State> = if self.sort == Column::State || !filter.is_empty() {
            groups
                .keys()
                .map(|name| (name.as_str(), model.state(name).0))
                .collect()
        } else {
            HashMap::new()
        };
        let mut order: Vec<(&String, &QueueGroup)> = groups
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
                let (a, b) = (column.amount(a, model), column.amount(b, model));
                b.partial_cmp(&a).unwrap_or(std::cmp::Ordering::Equal)
            }),
        }
        if self.reverse {
            order.reverse();
        }
        self.order = order.into_iter().map(|(name, _)| name.clone()).collect();
    }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;
    use ratatui::Terminal;
    use ratatui::backend::TestBackend;

    use super::super::observation::Kind;
    use super::super::selector::QueueSelector;
    use super::super::testing::Scene;
    use super::*;

    fn screen(table: &mut Table, scene: &Scene, width: u16, height: u16) -> String {
        let mut terminal = Terminal::new(TestBackend::new(width, height)).expect("a terminal");
        terminal
            .draw(|frame| table.draw(frame, &scene.model, Timestamp::UNIX_EPOCH))
            .expect("drawn");
        terminal.backend().to_string()
    }

    fn scene(queues: usize) -> Scene {
        let mut scene = Scene::of(QueueSelector::all(), Kind::Classic);
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

    /// Whoever has never seen it presses `?` or Enter first.
    #[test]
    fn help_and_details_cover_the_rows_and_go_away() {
        let scene = scene(3);
        let mut table = Table::new(&[], Column::Queue, false);
        for key in ['?', 'h'] {
            assert!(!table.press(Key::Char(key)));
            let text = screen(&mut table, &scene, 80, 24);
            for word in ["filter by name or state", "stuck: no consumer", "docs/watch.md"] {
                assert!(text.contains(word), "{word}: {text}");
            }
            assert!(!text.contains("queue-00001"), "{text}");
            assert!(!table.press(Key::Escape));
        }
        table.press(Key::Down);
        assert!(!table.press(Key::Enter));
        let text = screen(&mut table, &scene, 80, 24);
        for word in [
            "queue-00001",
            "backlog",
            "ready      1",
            "consumers",
            "taskdiag trace --queue queue-00001",
        ] {
            assert!(text.contains(word), "{word}: {text}");
        }
        assert!(!text.contains("queue-00002"), "{text}");
        // A small terminal shows the rest on the way down, and no further.
        screen(&mut table, &scene, 60, 9);
        for _ in 0..99 {
            table.press(Key::Down);
        }
        let text = screen(&mut table, &scene, 60, 9);
        assert!(text.contains("taskdiag trace"), "{text}");
        table.press(Key::Up);
        assert_ne!(screen(&mut table, &scene, 60, 9), text);
        table.press(Key::Char('?'));
        assert!(
            screen(&mut table, &scene, 80, 24).contains("filter by name"),
            "help from everywhere"
        );
        assert!(table.press(Key::Char('q')));
    }

    /// A state without the name of its queue says nothing.
    #[test]
    fn the_name_is_the_last_column_to_go() {
        let mut scene = Scene::of(QueueSelector::all(), Kind::Classic);
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
            for key in [Key::Enter, Key::End, Key::Char('?')] {
                table.press(key);
                screen(&mut table, &scene, width, height);
            }
        }
        let mut table = Table::new(&[], Column::Queue, true);
        let text = screen(&mut table, &scene, 80, 24);
        assert!(text.contains("queue-00000") && text.contains("backlog"), "{text}");
    }
}
