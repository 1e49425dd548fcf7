//! `taskdiag trace`: every message of the vhost as it is published and delivered.

mod follow;
mod output;
mod record;

use std::io::{IsTerminal, Write};
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::Mutex;

use self::follow::{Reconnector, TraceResult, follow};
use self::output::TraceOutput;
use self::record::Recorder;
use super::{duration, load, style, tell, warn};
use crate::cli::{Global, Plain, Trace};
use crate::config::{self, Config};
use crate::error::{Error, Result, Unavailable, exit};
use crate::hooks::Hooks;
use crate::interrupt::{another_interrupt, is_interrupted};
use crate::rabbitmq::management::Management;
use crate::scrubber::scrubber;
use crate::text::counted;
use crate::timeline::scrub::Scrubber;
use crate::trace::{Entry, Filter, LineStyle, MOST_TASKS, SCHEMA, TraceTotals, Tracer, Writing};
use crate::vantage::firehose::Subscription;
use crate::vantage::process::names::Names;

pub async fn run(args: &Trace, global: &Global) -> Result<u8> {
    let filter = filter(args)?;
    let lasting = args
        .lasting
        .as_deref()
        .map(|text| duration("--for", text))
        .transpose()?;
    let config = traced_config(global)?;
    let keys = filter.binding_keys(&config.framework.queues);
    let scrubber = scrubber(&config, args.show_args);
    let (started, started_at) = (Instant::now(), jiff::Timestamp::now());
    let stamp = format!("{started_at:.3}");
    let mut recorder = recorder(args, &config, &scrubber, &stamp)?;
    let guardian = Mutex::new(None);
    let (management, mut subscription) = match open(&config, &keys, &guardian).await {
        Ok(opened) => opened,
        Err(error) => {
            restore(guardian).await;
            return Err(error);
        }
    };
    Hooks::from_env().panic_if_asked();
    let opened = Instant::now();
    if let Some(recorder) = &mut recorder {
        let partial = narrowed(&subscription, args);
        recorder.started(&subscription.detail, partial.as_deref())?;
    }
    let names = Names::start(scrubber.clone());
    let tracer = Tracer::new(
        config.framework,
        filter,
        writing(args, global),
        args.show_args,
        scrubber,
    );
    let mut out = std::io::stdout();
    let is_terminal = out.is_terminal();
    let written = announce(&mut out, &tracer, &config, &subscription, stamp);
    let output = TraceOutput {
        tracer,
        names,
        width: is_terminal.then_some(terminal_width),
        recorder,
        count: args.count,
        started,
        started_unix_ms: started_at.as_millisecond(),
        written: Arc::default(),
        out,
    };
    let reconnector = Reconnector {
        config: &config,
        management: &management,
        keys: &keys,
        guardian: &guardian,
    };
    let finished = match written {
        Ok(()) => follow(output, &mut subscription, &reconnector, lasting).await,
        Err(_) => Ok(TraceResult::nothing()),
    };
    // Where nothing can be deleted, as without a majority, the broker does not answer this either.
    let _ = tokio::time::timeout(follow::LET_GO, subscription.close()).await;
    let restored = restore(guardian).await;
    let finished = finished?;
    tell(&summary(&finished, args, opened.elapsed()));
    let is_over = lasting.is_some_and(|lasting| opened.elapsed() >= lasting);
    let is_bounded = lasting.is_some() || args.count.is_some();
    match finished.error {
        Some(error) => Err(error),
        // The vhost still traces, which was promised to be put back.
        None if !restored => Ok(exit::COULD_NOT),
        // A trace without an end of its own ends so; one that has one was broken off.
        None if is_bounded && !is_over && is_interrupted() => Ok(exit::STOPPED),
        None => Ok(exit::OK),
    }
}

/// What is shown of all that is traced.
fn filter(args: &Trace) -> Result<Filter> {
    Filter::new(&args.queue, &args.actor, &args.task, &args.grep).map_err(|(option, seen)| Error::Usage {
        message: format!("{option} cannot be used: {seen}"),
        hint: "a pattern for names knows * ? [a-z]; --grep takes a regular expression of Rust's regex crate"
            .into(),
    })
}

/// The configuration, if it allows what this command lives on.
fn traced_config(global: &Global) -> Result<Config> {
    let config = load(global, &[])?;
    if config.broker.trace == config::Trace::Off {
        return Err(Error::Usage {
            message: "`broker.trace` is \"off\", and trace is nothing else".into(),
            hint: "set it to \"auto\", or add --set broker.trace=auto".into(),
        });
    }
    Ok(config)
}

/// `--record`. A recording that is about one task says so.
fn recorder(args: &Trace, config: &Config, scrubber: &Scrubber, stamp: &str) -> Result<Option<Recorder>> {
    let Some(path) = &args.record else {
        return Ok(None);
    };
    let task = match args.task.as_slice() {
        [one] => Some(one.clone()),
        _ => None,
    };
    Recorder::create(path, config, task, args.show_args, scrubber.clone(), stamp).map(Some)
}

/// Says what is traced, before the first event: among the lines where they are read by programs, and to the
/// person. The result is that of writing the line: who does not read it reads nothing else either.
fn announce(
    out: &mut impl Write,
    tracer: &Tracer,
    config: &Config,
    subscription: &Subscription,
    started_at: String,
) -> std::io::Result<()> {
    let mut first = Vec::new();
    tracer.mark(
        &Entry::Start {
            schema: SCHEMA,
            started_at,
            taskdiag: env!("CARGO_PKG_VERSION"),
            broker: &format!("{}:{}", config.broker.amqp.host(), config.broker.amqp.port()),
            vhost: &config.broker.vhost,
            detail: &subscription.detail,
            partial: subscription.partial.as_deref(),
        },
        &mut first,
    );
    tell(&match &subscription.partial {
        Some(partial) => format!("{}; {partial}", subscription.detail),
        None => subscription.detail.clone(),
    });
    out.write_all(&first).and_then(|()| out.flush())
}

async fn open(
    config: &Config,
    keys: &[String],
    guardian: &Mutex<Option<crate::guardian::Guardian>>,
) -> Result<(Management, Subscription)> {
    let could_not = |blindness: Unavailable| Error::Could {
        action: "trace",
        target: config.broker.amqp.redacted(),
        seen: blindness.reason,
        hint: blindness
            .hint
            .unwrap_or_else(|| "`taskdiag check` says what each source can see".into())
            .replace(
                "set trace = \"on\" if the broker can afford it",
                "if the broker can afford it: taskdiag trace --set broker.trace=on",
            ),
    };
    let management = Management::new(&config.broker).map_err(could_not)?;
    let forgotten = || {
        warn(
            "tracing of the vhost was on although nobody read it",
            "it is left as it is; taskdiag check --restore-tracing switches it off",
        );
    };
    let subscription =
        Subscription::open(&config.broker, &management, keys, guardian, Some(&forgotten)).await;
    Ok((management, subscription.map_err(could_not)?))
}

/// Puts tracing back as it was, and says so where that failed: `false`.
async fn restore(guardian: Mutex<Option<crate::guardian::Guardian>>) -> bool {
    let Some(guardian) = guardian.into_inner() else {
        return true;
    };
    // Whoever asks to end once more does not want to wait; the guardian does it all the same.
    tokio::select! {
        complaints = guardian.end() => {
            for complaint in &complaints {
                let hint = "taskdiag check shows what was left behind on the broker";
                let (seen, hint) = complaint.split_once('\n').unwrap_or((complaint, hint));
                warn(seen, hint);
            }
            complaints.is_empty()
        }
        () = another_interrupt() => {
            tell("tracing is restored in the background");
            true
        }
    }
}

fn writing(args: &Trace, global: &Global) -> Writing {
    if args.format == Plain::Json {
        return Writing::Json;
    }
    let style = style(global, false);
    // Into a file or a pipe nothing is cut.
    let width = std::io::stdout().is_terminal().then(terminal_width);
    let now = jiff::Timestamp::now();
    let offset = jiff::tz::TimeZone::system().to_offset(now).seconds();
    Writing::Line(LineStyle::new(style.color, style.ascii, width, i64::from(offset)))
}

/// Columns of the terminal, now.
fn terminal_width() -> usize {
    usize::from(super::terminal_width())
}

/// Why a recording may not hold everything.
fn narrowed(subscription: &Subscription, args: &Trace) -> Option<String> {
    let queues = (!args.queue.is_empty())
        .then(|| format!("only deliveries of {} were asked for", args.queue.join(", ")));
    match (&subscription.partial, queues) {
        (Some(partial), Some(queues)) => Some(format!("{partial}; {queues}")),
        (partial, queues) => partial.clone().or(queues),
    }
}

fn summary(finished: &TraceResult, args: &Trace, lasted: Duration) -> String {
    let TraceTotals {
        events,
        shown,
        missed,
        tasks,
        ..
    } = finished.totals;
    let filtered =
        !(args.queue.is_empty() && args.actor.is_empty() && args.task.is_empty() && args.grep.is_empty());
    let shown = if filtered {
        format!(" ({shown} shown)")
    } else {
        String::new()
    };
    let more = if tasks as usize >= MOST_TASKS {
        "at least "
    } else {
        ""
    };
    let missed = match (finished.exact, missed) {
        (true, missed) => format!("{missed} missed"),
        // Nothing shows that we were too slow; but the connection broke.
        (false, 0) => "how many were missed is not known".to_owned(),
        (false, missed) => format!("at least {missed} missed"),
    };
    format!(
        "{}{shown}, {more}{}, {missed} in {:.1} s",
        counted(events, "event", "events"),
        counted(tasks, "task", "tasks"),
        lasted.as_secs_f64()
    )
}
