//! `taskdiag diagnose`: the whole thing.

use super::{export, load, print_text, progress::Progress, style};
use crate::cli::{Diagnose, Expect, Global};
use crate::error::{Error, Result};
use crate::report::Report;
use crate::timeline::recording;
use crate::vantage::{Plan, observe};

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
    let plan = Plan {
        post_mortem: args.task.clone(),
        wait_retries: args.wait_retries,
        expect_entered: args.expect == Expect::Entered,
        show_args: args.show_args,
        peek: args.peek,
        look_only: false,
    };
    if args.peek {
        super::warn(
            "--peek gets and requeues the messages of the delay and dead-letter queues: they will be marked redelivered",
            "without --peek nothing is touched",
        );
    }
    let mut progress = Progress::start("arming the vantage points");
    let observed = observe(&config, &plan, &mut |_, verdict| progress.update(verdict)).await?;
    progress.finish();
    let report = Report::new(&observed.timeline, &observed.verdict);
    // The verdict is out before anything else is waited for.
    print_text(&(args.format.render)(&report, style(global, args.verbose)))?;
    let written = export::write(&report, &args.export, args.verbose);
    let recorded = match &args.record {
        Some(path) => recording::write(&observed.timeline, path),
        None => Ok(()),
    };
    let (_, verdict, complaint) = observed.restore().await;
    if let Some(complaint) = complaint {
        super::warn(
            &format!(
                "tracing of vhost \"{}\" could not be switched off again: {complaint}",
                config.broker.vhost
            ),
            "taskdiag check --restore-tracing switches it off",
        );
    }
    written?;
    recorded?;
    export::send(&report, &args.export).await?;
    Ok(verdict.exit_code)
}
