//! What is on stderr while a run goes on: a line per stage as it is reached, and a spinner on the
//! one awaited, all erased once the report says it; plain lines where stderr is not a terminal.

use std::collections::HashSet;
use std::io::IsTerminal;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::printer::Printer;
use crate::cli::Global;
use crate::diagnosis::{Reached, Stage, Verdict};
use crate::text::counted;
use crate::timeline::{EventKind, Timeline, scrub::printable};
use crate::units::{moment, span};

pub struct Progress {
    shown: HashSet<Stage>,
    /// Events up to here were looked at for news of what was started.
    looked: usize,
    started: bool,
    ascii: bool,
    /// The last sign of life of the task, as the spinner counts from it.
    active_ms: Option<f64>,
    /// What ends the wait, as the spinner says it.
    limit: String,
    printer: Printer,
}

/// The prefix holds the lines of progress, each with its end.
const BUSY: &str = "{prefix}  {spinner} {msg} {elapsed:.dim}";

impl Progress {
    pub fn start(what: &str, global: &Global) -> Self {
        let spinner = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            arrange(&bar, BUSY);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar.set_message(what.to_owned());
            bar
        });
        Self {
            shown: HashSet::new(),
            looked: 0,
            started: false,
            ascii: global.ascii,
            active_ms: None,
            limit: String::new(),
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
        // While it runs the clock counts from before the submission.
        let mut events = timeline.events.iter();
        let sent = events.find(|event| matches!(event.kind, EventKind::Submitting { .. }));
        let origin = sent.map_or(0.0, |event| event.at_ms);
        for Reached {
            stage,
            reached,
            at_ms,
            observed,
            ..
        } in &verdict.stages
        {
            if *reached == Some(true) && self.shown.insert(*stage) {
                let sign = if self.ascii { "[ok]" } else { "✔" };
                let at = at_ms
                    .filter(|_| !timeline.setup.post_mortem)
                    .map(|at| moment(at - origin));
                let at = at.unwrap_or_default();
                self.printer.step(&format!(
                    "  {sign} {:<10} {at:>9}  {}",
                    stage.name(),
                    observed.as_deref().unwrap_or(stage.meaning())
                ));
            }
        }
        if awaits_start {
            // They get as long as the run.
            let limit = format!("{{elapsed}} of {}", span(timeline.setup.timeout_ms as f64));
            self.limit(limit);
            return self.message("waiting for API and worker to be ready");
        }
        let awaited = verdict.stages.iter().find(|reached| {
            reached.reached != Some(true) && verdict.stage.is_none_or(|furthest| reached.stage > furthest)
        });
        if let Some(awaited) = awaited {
            self.wait(awaited.stage, timeline, verdict);
        }
    }

    /// What is waited for, for how long nothing has happened, and when that is given up.
    fn wait(&mut self, stage: Stage, timeline: &Timeline, verdict: &Verdict) {
        let setup = &timeline.setup;
        let limit = match verdict.silence_counts {
            true => format!("gives up at {}", span(setup.silence_ms as f64)),
            false => format!("the run ends at {}", span(setup.timeout_ms as f64)),
        };
        self.limit(format!("quiet for {{elapsed}}, {limit}"));
        let Printer(Some(spinner)) = &self.printer else {
            return;
        };
        if self.active_ms != Some(verdict.last_activity_ms) {
            self.active_ms = Some(verdict.last_activity_ms);
            spinner.reset_elapsed();
        }
        self.message(&format!("waiting for {}", awaited(stage)));
    }

    fn limit(&mut self, limit: String) {
        if let Printer(Some(spinner)) = &self.printer
            && self.limit != limit
        {
            arrange(spinner, &format!("{{prefix}}  {{spinner}} {{msg}} ({limit})"));
            self.limit = limit;
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
            self.printer.step(&printable(&line));
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

fn arrange(bar: &ProgressBar, template: &str) {
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style);
    }
}

fn awaited(stage: Stage) -> &'static str {
    match stage {
        Stage::Submitted => "the API's answer",
        Stage::Recorded => "the row",
        Stage::Published => "the message to reach a queue",
        Stage::Delivered => "a consumer to get the message",
        Stage::Received => "a worker thread to take the message",
        Stage::Entered => "the actor to start",
        Stage::Finished => "the row's final status",
        Stage::Settled => "the message to be acknowledged or rejected",
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
        let consumers = counted(consumers, "consumer is", "consumers are");
        warnings.push(format!(
            "warning: {consumers} on queue `{queue}` already: the task may go there\nhint: stop them, or diagnose without [worker].command if they are the ones you mean"
        ));
    }
    if ready > 0 {
        let ready = counted(ready, "message waits", "messages wait");
        warnings.push(format!(
            "warning: {ready} on queue `{queue}` already: the worker that is started takes that, too\nhint: use a vhost of its own for this if they are not meant for this worker"
        ));
    }
    warnings
}
