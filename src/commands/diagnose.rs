//! `taskdiag diagnose`: the whole thing.

use super::{export, load, print_text, progress::Progress, start, style};
use crate::cli::{Diagnose, Expect, Global};
use crate::error::{Error, Result};
use crate::report::Report;
use crate::timeline::recording;
use crate::vantage::{Plan, interrupt, observe};

pub async fn run(args: &Diagnose, global: &Global) -> Result<u8> {
    export::ready(&args.export)?;
    let config = load(
        global,
        &[
            ("broker.queue", args.queue.as_ref()),
            ("timing.silence", args.silence.as_ref()),
            ("timing.timeout", args.timeout.as_ref()),
        ],
    )?;
    if args.task.is_none() {
        config.need_api()?;
    }
    if let Some(path) = &args.record
        && path
            .parent()
            .is_some_and(|folder| !folder.as_os_str().is_empty() && !folder.is_dir())
    {
        return Err(Error::Write {
            path: path.clone(),
            source: std::io::Error::from(std::io::ErrorKind::NotFound),
        });
    }
    if args.peek {
        super::warn(
            "--peek gets and requeues the messages of the delay and dead-letter queues: they will be marked redelivered",
            "without --peek nothing is touched",
        );
    }
    let mut progress = Progress::start(if args.start {
        "preparing"
    } else {
        "arming the vantage points"
    });
    let (system, config) = match args.start {
        true => {
            let (system, config) = start::prepare(&config, args.keep, &progress).await?;
            (Some(system), config)
        }
        false => (None, config),
    };
    progress.message("arming the vantage points");
    let plan = Plan {
        post_mortem: args.task.clone(),
        wait_retries: args.wait_retries,
        expect_entered: args.expect == Expect::Entered,
        show_args: args.show_args,
        peek: args.peek,
        look_only: false,
        system: system.clone(),
    };
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
    progress.finish();
    let observed = match observed {
        Ok(observed) => observed,
        Err(error) => {
            if let Some(system) = &system {
                complain_of(system.guardian.end().await);
            }
            return Err(error);
        }
    };
    let report = Report::new(&observed.timeline, &observed.verdict);
    // The verdict is out before anything else is waited for.
    print_text(&(args.format.render)(&report, style(global, args.verbose)))?;
    let written = export::write(&report, &args.export, args.verbose);
    let recorded = match &args.record {
        Some(path) => recording::write(&observed.timeline, path),
        None => Ok(()),
    };
    if let Some(system) = system.as_ref().filter(|_| args.keep) {
        start::keep(system, &config, &observed.timeline).await;
    }
    let exit_code = observed.verdict.exit_code;
    let ending = (system.is_some() && !args.keep).then(|| Progress::start("ending what was started"));
    // Whoever asks to end once more does not want to wait; what is left to do is done all the same.
    tokio::select! {
        (_, _, complaints) = observed.restore() => complain_of(complaints),
        () = interrupt() => super::note(&["the rest is cleaned up in the background".into()]),
    }
    if let Some(ending) = ending {
        ending.finish();
    }
    if let Some(system) = system.filter(|_| !args.keep) {
        // The guardian has done it, unless it was killed.
        let _ = std::fs::remove_dir_all(&system.folder);
    }
    written?;
    recorded?;
    export::send(&report, &args.export).await?;
    Ok(exit_code)
}

fn complain_of(complaints: Vec<String>) {
    for complaint in complaints {
        super::warn(
            &complaint,
            "taskdiag check shows what was left behind on the broker",
        );
    }
}
