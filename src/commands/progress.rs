//! What is on stderr while a run goes on: a line per stage as it is reached, and a spinner on the
//! one awaited; plain lines where stderr is not a terminal.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::printer::Printer;
use crate::diagnosis::{Reached, Stage, Verdict};
use crate::timeline::{EventKind, Timeline, scrub::printable};

pub struct Progress {
    shown: HashSet<Stage>,
    /// Events up to here were looked at for news of what was started.
    looked: usize,
    started: bool,
    printer: Printer,
}

impl Progress {
    pub fn start(what: &str) -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template("  {spinner} {msg} {elapsed:.dim}") {
                bar.set_style(style);
            }
            bar.enable_steady_tick(Duration::from_millis(120));
            bar.set_message(what.to_owned());
            bar
        });
        Self {
            shown: HashSet::new(),
            looked: 0,
            started: false,
            printer: Printer(spinner),
        }
    }

    pub fn printer(&self) -> Printer {
        self.printer.clone()
    }

    /// What goes on now.
    pub fn message(&self, what: &str) {
        if let Printer(Some(spinner)) = &self.printer {
            spinner.set_message(what.to_owned());
        }
    }

    /// Shows what is new.
    pub fn update(&mut self, timeline: &Timeline, verdict: &Verdict) {
        let awaits_start = self.follow_start(timeline);
        for Reached { stage, reached, .. } in &verdict.stages {
            if *reached == Some(true) && self.shown.insert(*stage) {
                self.printer
                    .line(&format!("  {:<10} {}", stage.name(), stage.meaning()));
            }
        }
        if awaits_start {
            return self.message("waiting for what was started to be ready");
        }
        let awaited = verdict.stages.iter().find(|reached| {
            reached.reached != Some(true) && verdict.stage.is_none_or(|furthest| reached.stage > furthest)
        });
        if let Some(awaited) = awaited {
            self.message(&format!("waiting for: {}", awaited.stage.name()));
        }
    }

    /// A line for each thing that becomes of what was started; whether it is still on its way.
    fn follow_start(&mut self, timeline: &Timeline) -> bool {
        for event in &timeline.events[self.looked.min(timeline.events.len())..] {
            let line = match &event.kind {
                EventKind::Started {
                    part, pid, command, ..
                } => {
                    self.started = true;
                    if part == "worker" {
                        for warning in already_there(timeline) {
                            self.printer.line(&printable(&warning));
                        }
                    }
                    format!("  {:<10} {part}: {} (pid {pid})", "started", command.join(" "))
                }
                EventKind::Ready { part, after_ms, .. } => {
                    format!("  {:<10} {part}, after {:.1} s", "ready", after_ms / 1000.0)
                }
                EventKind::NotReady { part, reason, .. } => {
                    format!("  {:<10} {part}: {reason}", "not ready")
                }
                EventKind::Submitting { .. } => {
                    self.started = false;
                    continue;
                }
                _ => continue,
            };
            self.printer.line(&printable(&line));
        }
        self.looked = timeline.events.len();
        self.started
    }

    pub fn finish(self) {
        if let Printer(Some(spinner)) = self.printer {
            spinner.finish_and_clear();
        }
    }
}

/// What was on the queue before: others that might take the task, and messages that the worker takes
/// first. To be asked as soon as the worker has been started.
fn already_there(timeline: &Timeline) -> Vec<String> {
    let queue = &timeline.setup.queue;
    let last = timeline.events.iter().rev().find_map(|event| match &event.kind {
        EventKind::Depth {
            queue: name,
            ready,
            consumers,
            ..
        } if name == queue => Some((*ready, *consumers)),
        _ => None,
    });
    let (ready, consumers) = last.unwrap_or_default();
    let mut warnings = Vec::new();
    if consumers > 0 {
        warnings.push(format!(
            "warning: {consumers} consumer(s) are on queue `{queue}` already: the task may go to them\nhint: stop them, or diagnose without [worker].command if they are the ones you mean"
        ));
    }
    if ready > 0 {
        warnings.push(format!(
            "warning: {ready} message(s) wait on queue `{queue}` already: the worker that is started takes them, too\nhint: use a vhost of its own for this if they are not meant for this worker"
        ));
    }
    warnings
}
