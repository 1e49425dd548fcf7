//! `taskdiag watch`: the live view of queues.

mod output;
mod plan;
mod screen;

use std::time::{Duration, Instant};

use jiff::Timestamp;
use tokio::sync::watch;

use super::{load, prepare};
use crate::cli::{Global, Watch};
use crate::config::{Config, Control};
use crate::error::{Error, Result, exit};
use crate::interrupt::interrupt;
use crate::vantage::live::{self, Wanted};
use crate::watch::lines::End;
use crate::watch::observation::{Observation, Probe, Timed};
use crate::watch::until::{Condition, ConditionStatus};
use crate::watch::{Connectivity, QueueModel};
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
    plan.selector = plan.selector.of(config.framework);
    // One thread: a look at the broker is a few microseconds of work, and threads only cost.
    let runtime = prepare(tokio::runtime::Builder::new_current_thread())?;
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

/// Why nothing could be seen is the error's to say, where it comes so soon.
const SAYS_NOTHING_FOR: Duration = Duration::from_secs(1);

async fn go(plan: &Plan, config: &Config, args: &Watch, global: &Global) -> Result<u8> {
    let clock = Instant::now();
    let started = Timestamp::now();
    let (want, wanted) = watch::channel(Wanted::default());
    let shape = config.framework.control.as_ref();
    let shape = shape.filter(|_| config.broker.control != Control::Off);
    let mut model = QueueModel::new(plan.selector.clone(), plan.limits).listening(shape);
    want.send_replace(plan.wanted(&model, None));
    let (probes, mut seen) = live::open(config, &plan.selector, plan.every, clock, &wanted);
    let mut output = Output::new(plan, args, global, started, shape.is_some())?;
    let mut tick = tokio::time::interval(TICK);
    tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    let ending = loop {
        let mut ticked = false;
        tokio::select! {
            biased;
            () = interrupt() => break Ending::Signal,
            Some(first) = seen.recv() => take(&mut model, first, &mut seen),
            ended = output.input() => if ended { break Ending::Signal },
            _ = tick.tick() => ticked = true,
        }
        model.tick(clock.elapsed());
        fail_at_start(&model, plan)?;
        if ticked || model.groups().len() <= FEW {
            if let Some(met) = plan.fail_on.iter().find(|condition| condition.is_met(&model)) {
                break Ending::Failure(met.to_string());
            }
            let statuses: Vec<ConditionStatus> = plan
                .until
                .iter()
                .map(|condition| condition.status(&model))
                .collect();
            if let Some((met, note)) = first_met(&plan.until, &statuses) {
                break Ending::Condition(met, note);
            }
            if let Some(why) = all_never(&plan.until, &statuses) {
                break Ending::Never(why);
            }
        }
        let may_end_at_once = !model.has_seen() && clock.elapsed() < SAYS_NOTHING_FOR;
        if !may_end_at_once && !output.show(&mut model, ticked)? {
            break Ending::NoReader;
        }
        // With many queues this looks at each of them: not with each of 250 looks a second.
        if ticked || model.groups().len() <= FEW {
            let shown = output.shown();
            let now_wanted = plan.wanted(&model, shown.as_deref());
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
    model.tick(clock.elapsed());
    output.show(&mut model, true)?;
    drop(probes);
    let end = end(&ending, plan, &model);
    let code = end.exit_code;
    output.end(&model, end)?;
    Ok(code)
}

fn first_met(conditions: &[Condition], statuses: &[ConditionStatus]) -> Option<(String, Option<String>)> {
    conditions
        .iter()
        .zip(statuses)
        .find_map(|(condition, status)| match status {
            ConditionStatus::Met(note) => Some((condition.to_string(), note.clone())),
            ConditionStatus::Open | ConditionStatus::Never(_) => None,
        })
}

/// Nothing that could still be met is left to wait for.
fn all_never(conditions: &[Condition], statuses: &[ConditionStatus]) -> Option<String> {
    let whys = conditions
        .iter()
        .zip(statuses)
        .map(|(condition, status)| match status {
            ConditionStatus::Never(why) => {
                Some(format!("{condition} cannot be met any more, or told: {why}"))
            }
            ConditionStatus::Met(_) | ConditionStatus::Open => None,
        })
        .collect::<Option<Vec<_>>>()?;
    (!whys.is_empty()).then(|| whys.join("; "))
}

/// Takes everything that has come in, so that what is shown is the newest.
fn take(
    model: &mut QueueModel,
    first: Timed<Observation>,
    seen: &mut tokio::sync::mpsc::UnboundedReceiver<Timed<Observation>>,
) {
    model.see(first);
    while let Ok(more) = seen.try_recv() {
        model.see(more);
    }
}

fn end(ending: &Ending, plan: &Plan, model: &QueueModel) -> End {
    let after = crate::units::seconds(model.now());
    let unmet = || {
        let conditions: Vec<String> = plan.until.iter().map(ToString::to_string).collect();
        format!(
            "{} was not met: {}",
            conditions.join(" or "),
            plan::summary(model)
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
                plan::summary(model)
            ),
        ),
        Ending::Time if plan.until.is_empty() && plan::could_look(model) => {
            ("time", None, exit::OK, format!("watched for {after}"))
        }
        Ending::Time if plan.until.is_empty() => (
            "time",
            None,
            exit::COULD_NOT,
            format!("could not look for {after}: {}", plan::summary(model)),
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
            exit::STOPPED,
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
fn fail_at_start(model: &QueueModel, plan: &Plan) -> Result<()> {
    if model.has_seen() {
        return Ok(());
    }
    let closed = |probe: Probe| match model.connectivity(probe) {
        Connectivity::Closed { reason, hint } => Some((probe, reason.clone(), hint.clone())),
        _ => None,
    };
    let (amqp, management) = (closed(Probe::Amqp), closed(Probe::Management));
    let needs_list = plan.selector.exact().is_none();
    let failed = match (amqp, management) {
        (Some(amqp), Some(_)) if !needs_list => amqp,
        (_, Some(management)) if needs_list => management,
        _ => return Ok(()),
    };
    let (probe, seen, hint) = failed;
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
        target: probe.name().into(),
        seen,
        hint: hint.unwrap_or_else(|| "check [broker] in taskdiag.toml; `taskdiag check` says more".into()),
    })
}
