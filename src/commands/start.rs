//! `--start`: the system's part of `diagnose`, before the run and after it.

use std::sync::Arc;

use super::child_output::ChildOutput;
use super::progress::Progress;
use crate::cli::Global;
use crate::config::Config;
use crate::error::Result;
use crate::supervise::System;
use crate::timeline::{EventKind, Timeline};

/// Brings up what the run needs; the configuration returned watches its output, too.
pub async fn prepare(config: &Config, keep: bool, progress: &Progress) -> Result<(Arc<System>, Config)> {
    let printer = progress.printer();
    let system = System::prepare(config, keep, &|text| printer.step(&format!("  {text}"))).await?;
    let config = system.configure(config);
    Ok((Arc::new(system), config))
}

/// Shows what the started programs print, for whoever wants to read it all.
pub fn show(
    system: &System,
    config: &Config,
    show_args: bool,
    verbose: bool,
    global: &Global,
    progress: &Progress,
) -> Option<ChildOutput> {
    let color = super::is_colored(global, &std::io::stderr());
    let logs = system
        .programs
        .iter()
        .map(|prepared| (prepared.part, system.log(prepared.part)));
    verbose.then(|| {
        let scrubber = crate::scrubber::scrubber(config, show_args);
        ChildOutput::show(logs.collect(), scrubber, color, progress.printer())
    })
}

/// Says how what was left running is stopped.
pub async fn keep(system: &System, config: &Config, timeline: &Timeline) {
    let kept = match system.guardian.keep().await {
        Ok(kept) => kept,
        Err(seen) => {
            super::warn(&format!("nothing is kept: {seen}"), "what was started has ended");
            return;
        }
    };
    let mut lines = Vec::new();
    for event in &timeline.events {
        if let EventKind::Started { part, pid, .. } = &event.kind {
            let log = system.log(part);
            let state = match system.guardian.exit(*pid) {
                Some(exit) => format!("has ended with {}", crate::timeline::exit_words(exit.code)),
                None => format!("runs on as pid {pid}"),
            };
            lines.push(format!("{part} {state}; log: {}", log.display()));
        }
    }
    if !kept.roots.is_empty() {
        // The topmost ones only: a Dramatiq worker whose children are asked as well, after their master
        // has asked them, takes that for "at once", and may hang in the middle of it.
        let words = |pids: &[i32], sign: &str| -> String {
            let words: Vec<String> = pids.iter().map(|pid| format!(" {sign}{pid}")).collect();
            words.concat()
        };
        lines.push(format!("to stop what runs: kill{}", words(&kept.roots, "")));
        // This form any shell knows.
        lines.push(format!(
            "if anything of it is left after 10 s: kill -s KILL --{}",
            words(&kept.groups, "-")
        ));
    }
    if !config.services.up.is_empty() && !config.services.down.is_empty() {
        lines.push(format!(
            "to bring the services down: {}",
            config.services.down.join(" ")
        ));
    }
    lines.push(format!("to remove the logs: rm -r {}", system.folder.display()));
    super::note(&lines);
}
