//! `taskdiag watch`: the live view of queues.

mod output;
mod plan;
mod screen;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use super::{load, no_runtime};
use crate::cli::{Global, Watch};
use crate::config::Config;
use crate::error::{Error, Result, exit};
use crate::vantage::live::{self, Wanted};
use crate::watch::lines::End;
use crate::watch::sight::{Eye, Seen};
use crate::watch::until::{Condition, Outlook};
use crate::watch::{Board, EyeState};
use output::Output;
use plan::Plan;

/// What depends on time alone is looked at so often.
const TICK: Duration = Duration::from_millis(100);

/// Of more queues than these conditions are looked at with each tick, not with each look.
const FEW: usize = 100;

pub fn run(args: &Watch, global: &Global) -> Result<u8> {
    let mut plan = Plan::new(args)?;
    let config = load(global, &[])?;
    plan.default_queue(&config.broker.queue)?;
    // One thread: a look at the broker is a few microseconds of work, and threads only cost.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(no_runtime)?;
    let code = runtime.block_on(go(&plan, &config, args, global));
    // A walk through /proc may still be under way.
    runtime.shutdown_background();
    code
}

/// Why a watch ends.
enum Ending {
    /// And what is worth saying of it.
    Condition(String, Option<String>),
    Never(String),
    Failure(String),
    Time,
    Signal,
    /// The reader of our lines has gone.
    NoReader,
}

async fn go(plan: &Plan, config: &Config, args: &Watch, global: &Global) -> Result<u8> {
    let clock = Instant::now();
    let started = Timestamp::now();
    let (want, wanted) = watch::channel(Wanted::default());
    let mut board = Board::new(plan.pick.clone(), plan.limits);
    want.send_replace(plan.wanted(&board, None));
    let (eyes, mut seen) = live::open(config, &plan.pick, plan.every, clock, &wanted);
    let mut output = Output::new(plan, args, global, started)?;
    let mut signals = Signals::new()?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ending = loop {
        let mut ticked = false;
        tokio::select! {
            biased;
            () = signals.any() => break Ending::Signal,
            Some(first) = seen.recv() => take(&mut board, first, &mut seen),
            ended = output.input() => if ended { break Ending::Signal },
            _ = tick.tick() => ticked = true,
        }
        board.tick(clock.elapsed());
        fail_at_start(&board, plan)?;
        if ticked || board.families().len() <= FEW {
            if let Some(met) = plan.fail_on.iter().find(|condition| condition.is_met(&board)) {
                break Ending::Failure(met.to_string());
            }
            let outlooks: Vec<Outlook> = plan
                .until
                .iter()
                .map(|condition| condition.outlook(&board))
                .collect();
            if let Some((met, note)) = first_met(&plan.until, &outlooks) {
                break Ending::Condition(met, note);
            }
            if let Some(why) = all_never(&plan.until, &outlooks) {
                break Ending::Never(why);
            }
        }
        if !output.show(&mut board, ticked)? {
            break Ending::NoReader;
        }
        // With many queues this looks at each of them: not with each of 250 looks a second.
        if ticked || board.families().len() <= FEW {
            let shown = output.shown();
            let now_wanted = plan.wanted(&board, shown.as_deref());
            want.send_if_modified(|last| {
                let changed = *last != now_wanted;
                *last = now_wanted;
                changed
            });
        }
        if plan.duration.is_some_and(|duration| clock.elapsed() >= duration) {
            break Ending::Time;
        }
    };
    board.tick(clock.elapsed());
    output.show(&mut board, true)?;
    drop(eyes);
    let end = end(&ending, plan, &board);
    let code = end.exit_code;
    output.end(&board, end)?;
    Ok(code)
}

fn first_met(conditions: &[Condition], outlooks: &[Outlook]) -> Option<(String, Option<String>)> {
    conditions
        .iter()
        .zip(outlooks)
        .find_map(|(condition, outlook)| match outlook {
            Outlook::Met(note) => Some((condition.to_string(), note.clone())),
            Outlook::Open | Outlook::Never(_) => None,
        })
}

/// Nothing that could still be met is left to wait for.
fn all_never(conditions: &[Condition], outlooks: &[Outlook]) -> Option<String> {
    let whys = conditions
        .iter()
        .zip(outlooks)
        .map(|(condition, outlook)| match outlook {
            Outlook::Never(why) => Some(format!("{condition} cannot be met any more, or told: {why}")),
            Outlook::Met(_) | Outlook::Open => None,
        })
        .collect::<Option<Vec<_>>>()?;
    (!whys.is_empty()).then(|| whys.join("; "))
}

/// Takes everything that has come in, so that what is shown is the newest.
fn take(board: &mut Board, first: Seen, seen: &mut tokio::sync::mpsc::UnboundedReceiver<Seen>) {
    board.see(first);
    while let Ok(more) = seen.try_recv() {
        board.see(more);
    }
}

fn end(ending: &Ending, plan: &Plan, board: &Board) -> End {
    let after = crate::watch::state::seconds(board.now());
    let unmet = || {
        let conditions: Vec<String> = plan.until.iter().map(ToString::to_string).collect();
        format!(
            "{} was not met: {}",
            conditions.join(" or "),
            plan::summary(board)
        )
    };
    let (because, condition, exit_code, text) = match ending {
        Ending::Condition(condition, note) => {
            let note = note.as_ref().map(|note| format!(": {note}")).unwrap_or_default();
            (
                "condition",
                Some(condition.clone()),
                exit::OK,
                format!("{condition}: met after {after}{note}"),
            )
        }
        Ending::Never(why) => (
            "never",
            None,
            exit::COULD_NOT,
            format!("ended after {after}, because waiting is of no use: {why}"),
        ),
        Ending::Failure(condition) => (
            "failure",
            Some(condition.clone()),
            exit::FAILED,
            format!(
                "{condition}: met after {after}, and it must not be: {}",
                plan::summary(board)
            ),
        ),
        Ending::Time if plan.until.is_empty() && plan::could_look(board) => {
            ("time", None, exit::OK, format!("watched for {after}"))
        }
        Ending::Time if plan.until.is_empty() => (
            "time",
            None,
            exit::COULD_NOT,
            format!("could not look for {after}: {}", plan::summary(board)),
        ),
        Ending::Time => (
            "time",
            None,
            exit::COULD_NOT,
            format!("{after} have passed, and {}", unmet()),
        ),
        Ending::Signal if plan.until.is_empty() => ("signal", None, exit::OK, format!("watched for {after}")),
        Ending::Signal => (
            "signal",
            None,
            exit::COULD_NOT,
            format!("ended after {after}, and {}", unmet()),
        ),
        Ending::NoReader => ("signal", None, exit::OK, "nobody reads any more".into()),
    };
    End {
        because,
        condition,
        exit_code,
        text,
    }
}

/// A watch that has never seen anything ends at once, unless it was told how long to try.
fn fail_at_start(board: &Board, plan: &Plan) -> Result<()> {
    if board.has_seen() {
        return Ok(());
    }
    let closed = |eye: Eye| match board.eye(eye) {
        EyeState::Closed { reason, hint } => Some((eye, reason.clone(), hint.clone())),
        _ => None,
    };
    let (amqp, management) = (closed(Eye::Amqp), closed(Eye::Management));
    let needs_list = plan.pick.exact().is_none();
    let failed = match (amqp, management) {
        (Some(amqp), Some(_)) if !needs_list => amqp,
        (_, Some(management)) if needs_list => management,
        _ => return Ok(()),
    };
    let (eye, seen, hint) = failed;
    // What waiting cannot mend.
    let refused = [
        "ACCESS_REFUSED",
        "NOT_ALLOWED",
        "refuses user",
        "may not use",
        "no permission",
    ]
    .iter()
    .any(|word| seen.contains(word));
    if plan.duration.is_some() && !refused {
        return Ok(());
    }
    Err(Error::Could {
        action: "watch",
        target: format!("{} ({})", plan.pick, eye.name()),
        seen,
        hint: hint.unwrap_or_else(|| "check [broker] in taskdiag.toml; `taskdiag check` says more".into()),
    })
}

/// Whatever asks us to end.
struct Signals {
    interrupt: tokio::signal::unix::Signal,
    terminate: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
}

impl Signals {
    fn new() -> Result<Self> {
        let listen = |kind: SignalKind| {
            signal(kind).map_err(|error| Error::Could {
                action: "listen",
                target: "signals".into(),
                seen: error.to_string(),
                hint: "the system refuses signal handlers".into(),
            })
        };
        Ok(Self {
            interrupt: listen(SignalKind::interrupt())?,
            terminate: listen(SignalKind::terminate())?,
            hangup: listen(SignalKind::hangup())?,
        })
    }

    async fn any(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
            _ = self.hangup.recv() => {}
        }
    }
}
