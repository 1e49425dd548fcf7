//! Lines or table: where what is seen goes.

use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::Duration;

use jiff::Timestamp;
use jiff::tz::TimeZone;

use super::plan::Plan;
use super::screen::Screen;
use crate::cli::{Global, Watch, WatchFormat};
use crate::error::{Error, Result};
use crate::timeline::scrub::printable_json;
use crate::watch::QueueModel;
use crate::watch::lines::{self, End, Line, What};
use crate::watch::printer::Printer;
use crate::watch::state::State;

/// So many rows at once are told in full; of more, only those with something to say.
const MANY: usize = 50;

pub struct Output {
    screen: Option<Screen>,
    printer: Printer,
    json: bool,
    ascii: bool,
    /// Idle rows that were left out of what is being told.
    quiet: usize,
    zone: TimeZone,
    started: Timestamp,
}

impl Output {
    /// `listens`: workers may say something by themselves.
    pub fn new(
        plan: &Plan,
        args: &Watch,
        global: &Global,
        started: Timestamp,
        listens: bool,
    ) -> Result<Self> {
        // A terminal that knows no escape sequences shows lines.
        let is_dumb = std::env::var_os("TERM").is_none_or(|term| term == "dumb" || term.is_empty());
        let wants_table = args.format == WatchFormat::Terminal && std::io::stdout().is_terminal() && !is_dumb;
        Ok(Self {
            screen: wants_table
                .then(|| Screen::open(args, global, started, listens))
                .transpose()?,
            printer: Printer::new(started, plan.every),
            json: args.format == WatchFormat::Json,
            ascii: global.ascii,
            quiet: 0,
            zone: TimeZone::system(),
            started,
        })
    }

    /// Waits for the user; `true`: he wants to end.
    pub async fn input(&mut self) -> bool {
        match &mut self.screen {
            Some(screen) => screen.input().await,
            None => std::future::pending().await,
        }
    }

    /// Rows that are on screen, if there is a screen.
    pub fn shown(&self) -> Option<Vec<String>> {
        Some(self.screen.as_ref()?.shown())
    }

    /// `false`: nobody reads any more.
    pub fn show(&mut self, model: &mut QueueModel, ticked: bool) -> Result<bool> {
        if let Some(screen) = &mut self.screen {
            screen.show(model, ticked)?;
            return Ok(true);
        }
        if ticked {
            model.mark_dirty(self.printer.unsettled());
        }
        self.quiet = 0;
        loop {
            let lines = self.printer.due(model);
            if !self.print(&lines)? {
                return Ok(false);
            }
            if !self.printer.has_more() {
                break;
            }
        }
        if self.quiet == 0 {
            return Ok(true);
        }
        let text = format!(
            "{}  -- {} more queues are idle\n",
            self.of_day(model.now()),
            self.quiet
        );
        self.write(&text)
    }

    pub fn end(&mut self, model: &QueueModel, end: End) -> Result<bool> {
        // The table goes with its screen; what it showed last stays.
        if self.screen.take().is_some() {
            let mut text = lines::farewell(model, self.started).join("\n");
            text.push('\n');
            if !self.write(&if self.ascii {
                crate::report::ascii(&text)
            } else {
                text
            })? {
                return Ok(false);
            }
        }
        let line = self.printer.end(model.now(), end);
        self.print(&[line])
    }

    fn print(&mut self, lines: &[Line]) -> Result<bool> {
        if lines.is_empty() {
            return Ok(true);
        }
        let mut text = String::new();
        if self.json {
            for line in lines {
                text.push_str(&printable_json(serde_json::to_string(line).unwrap_or_default()));
                text.push('\n');
            }
        } else {
            self.add_text(lines, &mut text);
        }
        self.write(&text)
    }

    fn write(&self, text: &str) -> Result<bool> {
        let mut stdout = std::io::stdout().lock();
        match stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush()) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Ok(false),
            Err(source) => Err(Error::Write {
                path: PathBuf::from("stdout"),
                source,
            }),
        }
    }

    fn add_text(&mut self, lines: &[Line], text: &mut String) {
        let rows = lines
            .iter()
            .filter(|line| matches!(line.what, What::Queue(_)))
            .count();
        for line in lines {
            let is_quiet =
                matches!(&line.what, What::Queue(row) if matches!(row.state, State::Idle | State::Unknown));
            if rows > MANY && is_quiet {
                self.quiet += 1;
                continue;
            }
            let line_text = lines::text(line, &self.clock(line));
            text.push_str(&if self.ascii {
                crate::report::ascii(&line_text)
            } else {
                line_text
            });
            text.push('\n');
        }
    }

    fn clock(&self, line: &Line) -> String {
        let at = Duration::from_secs_f64(line.at_ms / 1000.0);
        self.of_day(at)
    }

    fn of_day(&self, at: Duration) -> String {
        lines::moment(self.started, at)
            .to_zoned(self.zone.clone())
            .strftime("%H:%M:%S%.3f")
            .to_string()
    }
}
