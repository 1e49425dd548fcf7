//! `taskdiag trace`: every message of the vhost as it is published and delivered.

mod output;
mod record;

use std::io::{IsTerminal, Write};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::{Mutex, oneshot};

use self::output::{Done, Inlet, Output, Why};
use self::record::Recorder;
use super::{load, style, warn};
use crate::cli::{Global, Plain, Trace};
use crate::config::{self, Config};
use crate::error::{Error, Result, exit};
use crate::trace::{Entry, Filter, Look, MOST_TASKS, SCHEMA, Totals, Tracer, Writing};
use crate::vantage::firehose::{Incoming, Missed, Subscription, still_traced};
use crate::vantage::http::Management;
use crate::vantage::process::names::Names;
use crate::vantage::{Blindness, interrupt, scrubber};

/// How often we look at what nobody tells us: a closed pipe, our own standing still.
const BEAT: Duration = Duration::from_millis(100);
/// Two beats that lie further apart: our process stood still, and so long ago is not "now".
const STALLED: Duration = Duration::from_millis(500);
/// How often we make sure that the vhost still traces.
const STILL_TRACED: Duration = Duration::from_secs(5);
/// After the end what waits is written as long as something is taken within this time.
const LAST_LINES: Duration = Duration::from_secs(3);

pub async fn run(args: &Trace, global: &Global) -> Result<u8> {
    let filter =
        Filter::new(&args.queue, &args.actor, &args.task, &args.grep).map_err(|(option, seen)| {
            Error::Usage {
            message: format!("{option} cannot be used: {seen}"),
            hint:
                "a pattern for names knows * ? [a-z]; --grep takes a regular expression of Rust's regex crate"
                    .into(),
        }
        })?;
    let lasting = args.lasting.as_deref().map(lasting).transpose()?;
    let config = load(global, &[])?;
    if config.broker.trace == config::Trace::Off {
        return Err(Error::Usage {
            message: "`broker.trace` is \"off\", and trace is nothing else".into(),
            hint: "set it to \"auto\", or add --set broker.trace=auto".into(),
        });
    }
    let keys = filter.binding_keys();
    let scrubber = scrubber(&config, args.show_args);
    let (started, started_at) = (Instant::now(), jiff::Timestamp::now());
    let stamp = format!("{started_at:.3}");
    let mut recorder = match &args.record {
        Some(path) => {
            let task = match args.task.as_slice() {
                [one] => Some(one.clone()),
                _ => None,
            };
            Some(Recorder::create(
                path,
                &config,
                task,
                args.show_args,
                scrubber.clone(),
                &stamp,
            )?)
        }
        None => None,
    };
    let guardian = Mutex::new(None);
    let (management, mut subscription) = match open(&config, &keys, &guardian).await {
        Ok(opened) => opened,
        Err(error) => {
            restore(guardian).await;
            return Err(error);
        }
    };
    // For the test that a panic, too, leaves nothing switched on.
    if cfg!(debug_assertions) && std::env::var_os("TASKDIAG_PANIC").is_some() {
        std::panic::panic_any("TASKDIAG_PANIC is set");
    }
    let opened = Instant::now();
    let target = format!("{}:{}", config.broker.amqp.host(), config.broker.amqp.port());
    if let Some(recorder) = &mut recorder {
        let partial = narrowed(&subscription, args);
        recorder.started(&subscription.detail, partial.as_deref())?;
    }
    let names = Names::start(scrubber.clone());
    let tracer = Tracer::new(filter, writing(args, global), args.show_args, scrubber);
    let mut first = Vec::new();
    tracer.mark(
        &Entry::Start {
            schema: SCHEMA,
            started_at: stamp,
            taskdiag: env!("CARGO_PKG_VERSION"),
            broker: &target,
            vhost: &config.broker.vhost,
            detail: &subscription.detail,
            partial: subscription.partial.as_deref(),
        },
        &mut first,
    );
    say(&match &subscription.partial {
        Some(partial) => format!("{}; {partial}", subscription.detail),
        None => subscription.detail.clone(),
    });
    let mut out = std::io::stdout();
    let is_terminal = out.is_terminal();
    let written = out.write_all(&first).and_then(|()| out.flush());
    let output = Output {
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
    let finished = match written {
        Ok(()) => follow(output, &mut subscription, &management, &config, lasting).await,
        Err(_) => Ok(Finished::nothing()),
    };
    subscription.close().await;
    restore(guardian).await;
    let finished = finished?;
    say(&summary(&finished, args, opened.elapsed()));
    match finished.error {
        Some(error) => Err(error),
        None => Ok(exit::OK),
    }
}

async fn open(
    config: &Config,
    keys: &[String],
    guardian: &Mutex<Option<crate::guardian::Guardian>>,
) -> Result<(Management, Subscription)> {
    let could_not = |blindness: Blindness| Error::Could {
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
    let subscription = Subscription::open(&config.broker, &management, keys, guardian, &forgotten).await;
    Ok((management, subscription.map_err(could_not)?))
}

/// Puts tracing back as it was, and says so where that failed.
async fn restore(guardian: Mutex<Option<crate::guardian::Guardian>>) {
    let Some(guardian) = guardian.into_inner() else {
        return;
    };
    // Whoever asks to end once more does not want to wait; the guardian does it all the same.
    tokio::select! {
        complaints = guardian.end() => {
            for complaint in complaints {
                warn(&complaint, "taskdiag check shows what was left behind on the broker");
            }
        }
        () = interrupt() => say("tracing is restored in the background"),
    }
}

/// What a trace has come to.
struct Finished {
    totals: Totals,
    exact: bool,
    /// Why it is not all that was asked for.
    error: Option<Error>,
}

impl Finished {
    fn nothing() -> Self {
        Self {
            totals: Totals::default(),
            exact: true,
            error: None,
        }
    }
}

/// Reads until the end that was asked for, or any other.
async fn follow<W: Write + Send + 'static>(
    output: Output<W>,
    subscription: &mut Subscription,
    management: &Management,
    config: &Config,
    lasting: Option<Duration>,
) -> Result<Finished> {
    let written = output.written.clone();
    let (mut inlet, mut done) = output.start().map_err(|source| Error::Write {
        path: "stdout".into(),
        source,
    })?;
    let mut interrupted = Box::pin(interrupt());
    let mut over = Box::pin(async {
        match lasting {
            Some(lasting) => tokio::time::sleep(lasting).await,
            None => std::future::pending().await,
        }
    });
    let mut untraced = Box::pin(untraced(management, &config.broker.vhost));
    let mut beat = tokio::time::interval(BEAT);
    beat.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let mut last_beat = Instant::now();
    let mut error = None;
    loop {
        tokio::select! {
            incoming = subscription.next() => {
                if last_beat.elapsed() > STALLED {
                    inlet.stalled();
                    last_beat = Instant::now();
                }
                if let Err(blindness) = take(incoming, subscription, &mut inlet) {
                    error = Some(broke_off(config, blindness));
                    break;
                }
            }
            _ = beat.tick() => {
                if last_beat.elapsed() > STALLED {
                    inlet.stalled();
                }
                last_beat = Instant::now();
                if is_closed() {
                    return Ok(closed(subscription, inlet, done).await);
                }
            }
            ended = &mut done => return Ok(enough(subscription, ended).await),
            () = &mut untraced => {
                error = Some(broke_off(config, Blindness::new("tracing was switched off by somebody").hint("run it again while nobody else changes the vhost")));
                break;
            }
            () = &mut interrupted => break,
            () = &mut over => break,
        }
    }
    // Everything that was captured until now is still shown.
    let mut missed = subscription.end(|at, batch| inlet.take(at, batch)).await;
    let beyond = tokio::select! {
        beyond = subscription.beyond(management) => beyond,
        // Whoever presses Ctrl-C once more does not want to wait for the exact number.
        () = interrupt() => Missed { events: 0, exact: false },
    };
    missed.events += beyond.events;
    let exact = missed.exact && beyond.exact && error.is_none();
    inlet.missed(missed.events);
    let waiting = async {
        inlet.end(exact).await;
        (&mut done).await
    };
    let totals = || *written.lock().unwrap_or_else(PoisonError::into_inner);
    tokio::select! {
        done = waiting => match done {
            Ok(done) => Ok(conclude(done, exact, error)),
            Err(_) => std::panic::panic_any("the thread that writes lines has panicked"),
        },
        () = stuck(&totals) => Ok(Finished {
            totals: totals(),
            exact: false,
            error: Some(Error::Could {
                action: "write the last lines",
                target: "stdout".into(),
                seen: format!("whatever reads it took nothing for {} s", LAST_LINES.as_secs()),
                hint: "let it read faster, or ask for less with --queue, --actor or --grep".into(),
            }),
        }),
        // Whoever asks to end once more does not want to see the rest.
        () = interrupt() => Ok(Finished { totals: totals(), exact: false, error }),
    }
}

/// Resolves when nothing more was written for a while.
async fn stuck(totals: &impl Fn() -> Totals) {
    let mut before = totals().events;
    loop {
        tokio::time::sleep(LAST_LINES).await;
        let now = totals().events;
        if now == before {
            return;
        }
        before = now;
    }
}

fn take(
    first: Result<Incoming, Blindness>,
    subscription: &mut Subscription,
    inlet: &mut Inlet,
) -> Result<(), Blindness> {
    let mut next = Some(first);
    let mut taken = 0;
    while let Some(incoming) = next {
        match incoming? {
            Incoming::Events(at, batch) => inlet.take(at, batch),
            Incoming::Missed(events) => inlet.missed(events),
        }
        taken += 1;
        // Everything else has its turn, too.
        next = (taken < 16).then(|| subscription.ready()).flatten();
    }
    Ok(())
}

fn conclude(done: Done, exact: bool, error: Option<Error>) -> Finished {
    Finished {
        totals: done.totals,
        exact,
        error: match done.why {
            Why::Failed(failed) => Some(failed),
            Why::Drained | Why::Enough | Why::Closed => error,
        },
    }
}

/// The lines that were asked for are written, or nobody reads them any more.
async fn enough(subscription: &mut Subscription, done: Result<Done, oneshot::error::RecvError>) -> Finished {
    let Ok(mut done) = done else {
        std::panic::panic_any("the thread that writes lines has panicked");
    };
    // What was dropped may lie behind the last line as well as before it.
    let missed = subscription.end(|_, _| {}).await;
    done.totals.missed += missed.events;
    conclude(done, missed.exact, None)
}

async fn closed(subscription: &mut Subscription, inlet: Inlet, done: oneshot::Receiver<Done>) -> Finished {
    drop(inlet);
    let missed = subscription.end(|_, _| {}).await;
    match tokio::time::timeout(LAST_LINES, done).await {
        Ok(Ok(done)) => conclude(done, missed.exact, None),
        _ => Finished::nothing(),
    }
}

fn broke_off(config: &Config, blindness: Blindness) -> Error {
    Error::Could {
        action: "go on tracing",
        target: config.broker.amqp.redacted(),
        seen: blindness.reason,
        hint: blindness
            .hint
            .unwrap_or_else(|| "run it again; the broker's log says why the connection ended".into()),
    }
}

/// Resolves when the vhost traces no more.
async fn untraced(management: &Management, vhost: &str) {
    loop {
        tokio::time::sleep(STILL_TRACED).await;
        if !still_traced(management, vhost).await {
            return;
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
    Writing::Line(Look::new(style.color, style.ascii, width, i64::from(offset)))
}

/// Columns of the terminal, now.
fn terminal_width() -> usize {
    super::console_width().map_or(100, usize::from)
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

fn summary(finished: &Finished, args: &Trace, lasted: Duration) -> String {
    let Totals {
        events,
        shown,
        missed,
        tasks,
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
    let least = if finished.exact { "" } else { "at least " };
    format!(
        "{events} events{shown}, {more}{tasks} tasks, {least}{missed} missed in {:.1} s",
        lasted.as_secs_f64()
    )
}

/// One line on stderr: stdout is for events.
fn say(text: &str) {
    let text = crate::timeline::scrub::printable(&format!("taskdiag: {text}\n"));
    let _ = std::io::stderr().write_all(text.as_bytes());
}

fn lasting(text: &str) -> Result<Duration> {
    text.parse::<jiff::SignedDuration>()
        .ok()
        .and_then(|duration| Duration::try_from(duration).ok())
        .filter(|duration| !duration.is_zero())
        .ok_or_else(|| Error::Usage {
            message: format!("--for {text}: that is no duration above zero"),
            hint: "write it with a unit, e.g. --for 30s or --for 5m".into(),
        })
}

/// Whoever read our output has gone. A pipe says so without being written to.
#[allow(unsafe_code)]
fn is_closed() -> bool {
    let mut stdout = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: 0,
        revents: 0,
    };
    // SAFETY: one entry, which lives until the call returns; it does not wait.
    let ready = unsafe { libc::poll(&mut stdout, 1, 0) };
    ready > 0 && stdout.revents & (libc::POLLERR | libc::POLLHUP) != 0
}
