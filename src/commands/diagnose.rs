//! `taskdiag diagnose`: the whole thing.

use super::discover::{Discovered, discover, is_wanted};
use super::{export, history, load, print_text, progress::Progress, start, style};
use std::sync::Arc;
use std::time::Instant;

use crate::cli::{Diagnose, Expect, Global};
use crate::config::Config;
use crate::error::{Error, Result, exit};
use crate::guardian;
use crate::interrupt::another_interrupt;
use crate::isolate::{Isolator, Original};
use crate::report::Report;
use crate::run::{Command, Observed, Plan, observe};
use crate::supervise::System;
use crate::timeline::{Event, EventKind, Source, recording};
use crate::vantage::dead_letters::Peek;
use crate::vantage::firehose::PublishedBodies;
use tokio::task::JoinHandle;

const CONNECTING: &str = "connecting to every source";

pub async fn run(args: &Diagnose, global: &Global) -> Result<u8> {
    export::ready(&args.export, args.record.as_deref())?;
    let shortcuts = [
        ("broker.queue", args.queue.as_ref()),
        ("timing.silence", args.silence.as_ref()),
        ("timing.timeout", args.timeout.as_ref()),
    ];
    let Some((config, discovered)) = configured(args, global, &shortcuts).await? else {
        return Ok(exit::STOPPED);
    };
    if args.task.is_none() {
        config.need_submission()?;
        Command::of(&config)?;
    }
    warn_of(args, &config);
    let what = if args.start { "preparing" } else { CONNECTING };
    let mut progress = Progress::start(what, global);
    let (system, config) = match args.start {
        true => {
            let (system, config) = start::prepare(&config, args.keep, &progress).await?;
            (Some(system), config)
        }
        false => (None, config),
    };
    progress.message(CONNECTING);
    let plan = plan(args, system.clone());
    let live = system
        .as_deref()
        .and_then(|system| start::show(system, &config, args.show_args, args.verbose, global, &progress));
    let observed = observe(&config, &plan, &mut |timeline, verdict| {
        progress.update(timeline, verdict)
    })
    .await;
    if let Some(live) = live {
        live.stop().await;
    }
    let mut observed = match observed {
        Ok(observed) => observed,
        Err(error) => {
            if let Some(system) = &system {
                complain_of(&config, system.guardian.end().await);
            }
            return Err(error);
        }
    };
    let isolated = match &plan.bodies {
        Some(bodies) => isolate(&config, &plan, args, &observed, bodies, &progress)
            .await
            .map(Some),
        None => Ok(None),
    };
    progress.finish();
    let isolated = isolated.map(|isolated| {
        if let Some(event) = isolated {
            observed.timeline.push(event);
        }
    });
    let report = Report::new(&observed.timeline, &observed.verdict);
    // The verdict is out before anything else is waited for; but whoever does not read it holds nothing up.
    let restoring = (!args.keep).then(|| observed.restoring());
    let style = style(global, args.verbose);
    let printed = print_text(&(args.format.render)(&report, style));
    if let Some(system) = system.as_ref().filter(|_| args.keep) {
        start::keep(system, &config, &observed.timeline).await;
    }
    let exit_code = observed.verdict.exit_code;
    let restoring = restoring.unwrap_or_else(|| observed.restoring());
    let is_clean = clean_up(restoring, system.filter(|_| !args.keep), &config, global).await;
    let written = export::write(&report, args.format, &args.export, style);
    if !args.forget {
        history::keep(&observed.timeline, &observed.verdict);
    }
    let recorded = match &args.record {
        Some(path) => recording::write(&observed.timeline, path),
        None => Ok(()),
    };
    printed?;
    written?;
    recorded?;
    isolated?;
    export::send(&report, &args.export).await;
    if let Some(discovered) = discovered {
        discovered.offer_to_save(args);
    }
    // A success that leaves the broker tracing is none.
    if exit_code == exit::OK && !is_clean {
        super::warn(
            "the task succeeded, and the exit code is 30: the broker may still trace every message (see above)",
            "taskdiag check --restore-tracing switches it off, once the broker answers",
        );
        return Ok(exit::COULD_NOT);
    }
    Ok(exit_code)
}

/// From a file, or from what the folder shows, which whoever runs it has agreed to; `None`: he has not.
async fn configured(
    args: &Diagnose,
    global: &Global,
    shortcuts: &[(&str, Option<&String>)],
) -> Result<Option<(Config, Option<Discovered>)>> {
    if !is_wanted(args, global, shortcuts)? {
        match load(global, shortcuts) {
            Err(Error::NoConfig { .. }) => {}
            config => return Ok(Some((config?, None))),
        }
    }
    let discovered = discover(args, global, shortcuts).await?;
    Ok(discovered.map(|discovered| (discovered.config.clone(), Some(discovered))))
}

/// What whoever asked for it may not expect.
fn warn_of(args: &Diagnose, config: &Config) {
    if args.task.is_none() && config.timing.silence >= config.timing.timeout {
        super::warn(
            "timing.silence is not shorter than timing.timeout: silence can never be concluded",
            "make the timeout longer, or the silence shorter",
        );
    }
    if args.peek {
        super::warn_of_peek();
    }
    if args.peek_main {
        super::warn(
            "--peek-main gets and requeues messages of the work queue: they will be marked redelivered, and a worker that starts this very moment gets them later",
            "without --peek-main nothing is touched",
        );
    }
    if args.isolate {
        super::warn(
            "if the task fails, --isolate submits and publishes up to seven more like it",
            "each is listed in the report; leave --isolate out to send one task only",
        );
    }
}

fn plan(args: &Diagnose, system: Option<Arc<System>>) -> Plan {
    Plan {
        post_mortem: args.task.clone(),
        wait_retries: args.wait_retries,
        expect_entered: args.expect == Expect::Entered,
        show_args: args.show_args,
        peek: Peek {
            companions: args.peek,
            main: args.peek_main,
        },
        look_only: false,
        system,
        direct: None,
        bodies: args.isolate.then(Arc::default),
    }
}

/// Undoes what the run did; `false`: a vhost still traces. `system`: what was started, and is not to be kept.
async fn clean_up(
    restoring: JoinHandle<Vec<String>>,
    system: Option<Arc<System>>,
    config: &Config,
    global: &Global,
) -> bool {
    let ending = system
        .is_some()
        .then(|| Progress::start("ending what was started", global));
    // Whoever asks to end once more does not want to wait; what is left to do is done all the same.
    let is_clean = tokio::select! {
        complaints = restoring => {
            let complaints = complaints.unwrap_or_default();
            let is_clean = !complaints.iter().any(|complaint| guardian::leaves_tracing(complaint));
            complain_of(config, complaints);
            is_clean
        }
        () = another_interrupt() => {
            super::note(&["the rest is cleaned up in the background".into()]);
            true
        }
    };
    if let Some(ending) = ending {
        ending.finish();
    }
    if let Some(system) = system {
        // The guardian has done it, unless it was killed.
        let _ = std::fs::remove_dir_all(&system.folder);
    }
    is_clean
}

/// The steps of `--isolate`, told as they are done.
async fn isolate(
    config: &Config,
    plan: &Plan,
    args: &Diagnose,
    observed: &Observed,
    bodies: &PublishedBodies,
    progress: &Progress,
) -> Result<Event> {
    let began = Instant::now();
    let original = Original {
        timeline: &observed.timeline,
        verdict: &observed.verdict,
        bodies,
    };
    let printer = progress.printer();
    let mut tell = |what: &str| {
        progress.message(&format!("isolating: {what}"));
        printer.step(&format!("  isolating  {what}"));
    };
    let isolator = Isolator::new(config, plan, args.record.as_deref());
    let isolated = isolator.run(&original, &mut tell).await;
    complain_of(config, isolator.complaints());
    let kind = EventKind::Isolated(isolated?);
    let ended_ms = observed.timeline.events.last().map_or(0.0, |event| event.at_ms);
    Ok(Event {
        n: 0,
        at_ms: crate::timeline::round(ended_ms + began.elapsed().as_millis() as f64),
        source: Source::Run,
        stated: None,
        kind: crate::scrubber::scrubber(config, plan.show_args).event(kind),
    })
}

/// A complaint may hold what a command printed, and its hint on a second line.
fn complain_of(config: &Config, complaints: Vec<String>) {
    let scrubber = crate::scrubber::scrubber(config, false);
    for complaint in complaints {
        let complaint = scrubber.text(&complaint);
        let (seen, hint) = complaint.split_once('\n').unwrap_or((
            &complaint,
            "taskdiag check shows what was left behind on the broker",
        ));
        super::warn(seen, hint);
    }
}
