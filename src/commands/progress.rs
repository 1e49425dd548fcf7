//! What is on stderr while a run goes on: a line per stage as it is reached, and a spinner on the
//! one awaited; plain lines where stderr is not a terminal.

use std::collections::HashSet;
use std::io::{IsTerminal, Write};
use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::diagnosis::{Reached, Stage, Verdict};

pub struct Progress {
    shown: HashSet<Stage>,
    spinner: Option<ProgressBar>,
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
            spinner,
        }
    }

    /// Shows what is new.
    pub fn update(&mut self, verdict: &Verdict) {
        for Reached { stage, reached, .. } in &verdict.stages {
            if *reached == Some(true) && self.shown.insert(*stage) {
                self.line(&format!("  {:<10} {}", stage.name(), stage.meaning()));
            }
        }
        if let Some(spinner) = &self.spinner {
            let awaited = verdict.stages.iter().find(|reached| {
                reached.reached != Some(true) && verdict.stage.is_none_or(|furthest| reached.stage > furthest)
            });
            if let Some(awaited) = awaited {
                spinner.set_message(format!("waiting for: {}", awaited.stage.name()));
            }
        }
    }

    fn line(&self, text: &str) {
        match &self.spinner {
            Some(spinner) => spinner.suspend(|| {
                let _ = writeln!(std::io::stderr(), "{text}");
            }),
            None => {
                let _ = writeln!(std::io::stderr(), "{text}");
            }
        }
    }

    pub fn finish(self) {
        if let Some(spinner) = self.spinner {
            spinner.finish_and_clear();
        }
    }
}
