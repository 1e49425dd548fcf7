//! The terminal of the live table: raw mode and back, keys, drawing.

use std::mem::ManuallyDrop;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use ratatui::backend::CrosstermBackend;
use ratatui::crossterm::event::{self, Event, KeyCode, KeyEventKind, KeyModifiers};
use ratatui::crossterm::{execute, terminal};
use ratatui::{DefaultTerminal, Terminal};
use tokio::sync::mpsc;

use crate::cli::{Global, Watch};
use crate::error::{Error, Result};
use crate::watch::QueueModel;
use crate::watch::lines;
use crate::watch::table::{Column, Key, Table};

/// From one drawing to the next, unless a key was pressed.
const FRAME: Duration = Duration::from_millis(25);

/// No screen has so many characters. What a terminal says of itself is believed up to here: it fills memory.
const MOST_CELLS: u32 = 1_000_000;

pub struct Screen {
    /// Its own `drop` says on stderr that it failed, and panics where that is gone as well.
    terminal: ManuallyDrop<DefaultTerminal>,
    table: Table,
    events: mpsc::UnboundedReceiver<Event>,
    started: Timestamp,
    drawn: Option<Instant>,
    touched: bool,
    ascii: bool,
}

impl Screen {
    /// The terminal is given back when this is dropped, and before a panic is told.
    pub fn open(args: &Watch, global: &Global, started: Timestamp, listens: bool) -> Result<Self> {
        has_a_size()?;
        let terminal = open_terminal().map_err(|source| failed(&source))?;
        let (sender, events) = mpsc::unbounded_channel();
        // Reading blocks. The thread ends with the process.
        let reader = move || {
            while let Ok(event) = event::read() {
                if sender.send(event).is_err() {
                    break;
                }
            }
        };
        let started_reader = std::thread::Builder::new().spawn(reader);
        if let Err(source) = started_reader {
            let _ = ratatui::try_restore();
            return Err(failed(&source));
        }
        let style = crate::commands::style(global, false);
        let columns = match listens && args.columns.is_empty() {
            true => &Column::ALL,
            false => args.columns.as_slice(),
        };
        Ok(Self {
            terminal: ManuallyDrop::new(terminal),
            table: Table::new(columns, args.sort, style.color),
            events,
            started,
            drawn: None,
            touched: true,
            ascii: global.ascii,
        })
    }

    /// Waits for a key or a new size; `true`: the user wants to end.
    pub async fn input(&mut self) -> bool {
        let Some(event) = self.events.recv().await else {
            // No keymodel: only signals end it.
            return std::future::pending().await;
        };
        self.touched = true;
        match event {
            Event::Key(key) if key.kind != KeyEventKind::Release => {
                if key.modifiers.contains(KeyModifiers::CONTROL) {
                    return matches!(key.code, KeyCode::Char('c' | 'd'));
                }
                let key = match key.code {
                    KeyCode::Char(c) => Key::Char(c),
                    KeyCode::Enter => Key::Enter,
                    KeyCode::Esc => Key::Escape,
                    KeyCode::Backspace => Key::Backspace,
                    KeyCode::Up => Key::Up,
                    KeyCode::Down => Key::Down,
                    KeyCode::PageUp => Key::PageUp,
                    KeyCode::PageDown => Key::PageDown,
                    KeyCode::Home => Key::Home,
                    KeyCode::End => Key::End,
                    _ => return false,
                };
                self.table.press(key)
            }
            _ => false,
        }
    }

    pub fn shown(&self) -> Vec<String> {
        self.table.visible().to_vec()
    }

    pub fn show(&mut self, model: &mut QueueModel, ticked: bool) -> Result<()> {
        for event in model.take_events() {
            self.table.notice(event.at, lines::event(&event.value).text);
            self.touched = true;
        }
        let changed = !model.take_dirty().is_empty();
        let early = self.drawn.is_some_and(|at| at.elapsed() < FRAME);
        if !self.touched && (early || !(changed || ticked)) {
            return Ok(());
        }
        has_a_size()?;
        let (table, started, ascii) = (&mut self.table, self.started, self.ascii);
        self.terminal
            .draw(|frame| {
                table.draw(frame, model, started);
                if ascii {
                    for cell in &mut frame.buffer_mut().content {
                        let plain = crate::report::ascii(cell.symbol());
                        cell.set_symbol(&plain);
                    }
                }
            })
            .map_err(|source| failed(&source))?;
        self.drawn = Some(Instant::now());
        self.touched = false;
        Ok(())
    }
}

impl Drop for Screen {
    fn drop(&mut self) {
        // The terminal may be gone, and stderr with it: then there is nobody to tell.
        let _ = self.terminal.show_cursor();
        let _ = ratatui::try_restore();
    }
}

/// As `ratatui::try_init` does it, whose answer to a panic panics itself where stderr is gone.
fn open_terminal() -> std::io::Result<DefaultTerminal> {
    let hook = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        let _ = ratatui::try_restore();
        hook(panic);
    }));
    terminal::enable_raw_mode()?;
    execute!(std::io::stdout(), terminal::EnterAlternateScreen)?;
    Terminal::new(CrosstermBackend::new(std::io::stdout()))
}

fn has_a_size() -> Result<()> {
    let (columns, lines) = terminal::size().map_err(|source| failed(&source))?;
    match u32::from(columns) * u32::from(lines) > MOST_CELLS {
        true => Err(failed(&std::io::Error::other(format!(
            "it is said to have {columns} columns and {lines} lines"
        )))),
        false => Ok(()),
    }
}

fn failed(source: &std::io::Error) -> Error {
    Error::Could {
        action: "draw",
        target: "the terminal".into(),
        seen: source.to_string(),
        hint: "--format lines needs no terminal".into(),
    }
}
