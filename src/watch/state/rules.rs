//! One rule for each way to come to a state: `None`, if it is not so, or the observations that make it so.

use std::time::Duration;

use super::super::group::{Quantity, QueueGroup, is_recent};
use super::super::ledger::COUNTED_BY;
use super::super::observation::{Kind, STATISTICS_LAG};
use super::super::queue::Figure;
use super::Now;
use crate::units::seconds;

/// Of so many seconds' work of ready messages nobody speaks as a backlog.
const SOON: f64 = 5.0;

/// Totals that were read longer ago than that prove nothing of now.
const FRESH: Duration = Duration::from_secs(8);

pub fn is_missing(group: &QueueGroup, _: Now) -> Option<String> {
    (group.main.exists == Some(false)).then(|| "there is no such queue".into())
}

pub fn is_not_judged(group: &QueueGroup, _: Now) -> Option<String> {
    let why = match group.main.kind {
        _ if group.main.exists.is_none() => "not looked yet",
        Kind::Stream if group.main.down.is_none() => {
            "a stream keeps its messages, so its counts tell no state"
        }
        _ => return None,
    };
    Some(why.into())
}

pub fn is_down(group: &QueueGroup, _: Now) -> Option<String> {
    group.main.down.clone()
}

pub fn has_no_consumer(group: &QueueGroup, now: Now) -> Option<String> {
    let main = &group.main;
    let for_so_long = main.unattended.held_for(now.limits.no_consumer, now.at)?;
    if main.may_be_a_stream() {
        return None;
    }
    let ready = main.ready(now.at).value().unwrap_or_default();
    let mut why = format!("{ready} ready, and 0 consumers {for_so_long}");
    if let Some(last) = last_consumer(group, now) {
        why.push_str(&format!("; {last}"));
    }
    if main.kind == Kind::Unknown {
        why.push_str("; unless it is a stream: only the management API tells, and a passive declare does not count a stream's consumers");
    }
    Some(why)
}

pub fn has_no_consumer_of_delayed(group: &QueueGroup, now: Now) -> Option<String> {
    let for_so_long = group.delay.unattended.held_for(now.limits.no_consumer, now.at)?;
    let waiting = group.delay.ready(now.at).value().unwrap_or_default();
    Some(format!(
        "{waiting} delayed, and 0 consumers of the delay queue {for_so_long}: nobody will move them when due"
    ))
}

/// Between two looks at the totals one may be done and the next one taken: only the counters of the
/// statistics exclude that, and only as far as they know.
pub fn holds_too_long(group: &QueueGroup, now: Now) -> Option<String> {
    let unacked = unacked(group, now)?;
    let looked = group.main.totals.latest_not_older_than(FRESH, now.at)?.at;
    let counted = group.counts(now.at)?.saturating_sub(COUNTED_BY);
    let known = counted.min(looked);
    let held = known.saturating_sub(group.held_since()?);
    (held >= now.limits.held).then(|| {
        format!(
            "{unacked} unacked, none acknowledged for {} (statistics {} old)",
            seconds(held),
            now.ago(known)
        )
    })
}

pub fn has_new_dead_letters(group: &QueueGroup, now: Now) -> Option<String> {
    let last = group.new_letters.last()?;
    let count = group.new_letters.sum();
    let letters = if count == 1 { "letter" } else { "letters" };
    (now.at.saturating_sub(last) <= now.limits.dead).then(|| {
        format!(
            "at least {count} new dead {letters} since the watch began, the last one {} ago",
            now.ago(last)
        )
    })
}

/// That messages were done lately.
fn work(group: &QueueGroup, now: Now) -> Option<String> {
    if let Some(last) = group.finished(now.at) {
        return Some(match now.is_recent(last) {
            true => "the last that was held was finished just now".into(),
            false => format!("the last that was held was finished {} ago", now.ago(last)),
        });
    }
    group.is_counted_on(now.at).then(|| done_by_statistics(group))
}

fn done_by_statistics(group: &QueueGroup) -> String {
    format!(
        "{} acknowledged since the watch began or just before (statistics up to {} old)",
        group.ledger.done(),
        seconds(STATISTICS_LAG)
    )
}

fn waiting(group: &QueueGroup, now: Now) -> Option<u64> {
    group.main.ready(now.at).value().filter(|ready| *ready > 0)
}

/// The ready messages become fewer, or are only what is on its way.
pub fn works_off_its_backlog(group: &QueueGroup, now: Now) -> Option<String> {
    let waiting = waiting(group, now)?;
    let work = work(group, now)?;
    let is_fewer = group
        .ready_before(now.at)
        .is_some_and(|before| waiting < before.value);
    let rate = group.stats(now.at).and_then(|stats| stats.value.ack_rate);
    let is_soon = rate.is_some_and(|rate| waiting as f64 <= rate * SOON);
    (is_fewer || is_soon || group.had_none_ready(now.at)).then(|| {
        let as_of = as_of(&group.main.ready(now.at));
        format!("{waiting} ready{as_of} and being worked off; {work}")
    })
}

pub fn has_a_backlog(group: &QueueGroup, now: Now) -> Option<String> {
    let waiting = waiting(group, now)?;
    let as_of = as_of(&group.main.ready(now.at));
    let trend = match group.ready_before(now.at) {
        Some(before) if now.at.saturating_sub(before.at) >= Duration::from_secs(1) => {
            let shrinking = if waiting < before.value {
                ""
            } else {
                ", not shrinking"
            };
            format!("{shrinking} ({} ready {} ago)", before.value, now.ago(before.at))
        }
        _ => String::new(),
    };
    let mut why = format!("{waiting} ready{as_of}{trend}; {}", consumers(group, now));
    if let Some(work) = work(group, now) {
        why.push_str(&format!("; {work}"));
    }
    Some(why)
}

/// Without a look of this moment at ready messages nothing is said of them.
pub fn knows_ready_from_long_ago(group: &QueueGroup, now: Now) -> Option<String> {
    let ready = group.main.ready(now.at);
    (ready.value() == Some(0) && !group.main.knows_ready(now.at)).then(|| {
        format!(
            "0 ready as of {} ago; only a passive declare tells of this moment, and none was answered (yet)",
            seconds(ready.age())
        )
    })
}

pub fn flows(group: &QueueGroup, now: Now) -> Option<String> {
    Some(format!("0 ready; {}", work(group, now)?))
}

fn unacked(group: &QueueGroup, now: Now) -> Option<u64> {
    group.main.unacked(now.at).value().filter(|held| *held > 0)
}

pub fn knows_unacked_from_long_ago(group: &QueueGroup, now: Now) -> Option<String> {
    let held = unacked(group, now)?;
    let is_old = group
        .main
        .totals
        .latest_not_older_than(2 * FRESH, now.at)
        .is_none();
    is_old.then(|| {
        let as_of = as_of(&group.main.unacked(now.at));
        format!("0 ready; {held} unacked{as_of}: the totals have not been read since")
    })
}

pub fn holds(group: &QueueGroup, now: Now) -> Option<String> {
    let held = unacked(group, now)?;
    let since = group.held_since().unwrap_or(now.at);
    let as_of = as_of(&group.main.unacked(now.at));
    let but = match group.counts(now.at) {
        Some(_) => "",
        None => "; no statistics yet, so it cannot be told whether some are acknowledged between two looks",
    };
    Some(match now.is_recent(since) {
        true => format!("{held} unacked{as_of}{but}"),
        false => format!("{held} unacked{as_of}, none finished for {}{but}", now.ago(since)),
    })
}

pub fn cannot_be_seen(group: &QueueGroup, now: Now) -> Option<String> {
    let why = match (
        group.main.ready(now.at).value(),
        group.main.unacked(now.at).value(),
    ) {
        (None, _) => "ready messages cannot be seen",
        (_, None) => "0 ready; unacked messages cannot be seen, so it is idle or held",
        _ => {
            if let Some(why) = may_just_have_been_taken(group, now) {
                return Some(why);
            }
            if group.delay.exists != Some(true) || group.delay.total().is_some() {
                return None;
            }
            "nothing ready or unacked; delayed messages cannot be seen"
        }
    };
    Some(why.into())
}

/// What was seen to happen that the totals cannot know yet: a message may be held.
fn may_just_have_been_taken(group: &QueueGroup, now: Now) -> Option<String> {
    let lag = group.main.kind.lag();
    let totals = group.main.totals.latest();
    let is_news = |at: &Duration| totals.is_none_or(|totals| totals.at < *at + lag);
    let (_, taken) = group.ledger.taken();
    let (what, at) = match taken.filter(is_news) {
        Some(taken) => ("ready messages were taken or left", taken),
        // A queue that says at once what is held needs no such doubt.
        None if lag.is_zero() => return None,
        None => ("a consumer came", group.ledger.consumer_came().filter(is_news)?),
    };
    let then = match lag.is_zero() {
        true => "the next look at the totals says whether one is held".to_owned(),
        false => format!(
            "this kind of queue says up to {} later whether one is held",
            seconds(lag)
        ),
    };
    Some(format!("{what} {} ago: {then}", now.ago(at)))
}

pub fn has_delayed_messages(group: &QueueGroup, _: Now) -> Option<String> {
    let delayed = group.delay.total().filter(|delayed| *delayed > 0)?;
    Some(format!(
        "nothing ready or unacked; {delayed} delayed or waiting for a retry"
    ))
}

/// What totals do not know yet is not said of now.
pub fn has_nothing(group: &QueueGroup, now: Now) -> Option<String> {
    let age = group.main.unacked(now.at).age();
    let nothing = if group.main.lags() {
        format!(
            "nothing ready now, nothing unacked or delayed as of {} ago",
            seconds(age)
        )
    } else if age >= Duration::from_secs(1) {
        format!("nothing ready, unacked or delayed as of {} ago", seconds(age))
    } else {
        "nothing ready, unacked or delayed".to_owned()
    };
    let [counted, _] = group.ledger.counted_at();
    Some(match counted.filter(|at| is_recent(*at, now.at)) {
        // Too quick to be seen waiting.
        Some(_) if group.ledger.done() > 0 => format!("{nothing}; {}", done_by_statistics(group)),
        _ => nothing,
    })
}

/// What is a second old or more is not said of now.
fn as_of(figure: &Figure) -> String {
    match figure.age() {
        age if age >= Duration::from_secs(1) => format!(" as of {} ago", seconds(age)),
        _ => String::new(),
    }
}

fn consumers(group: &QueueGroup, now: Now) -> String {
    match group.figure(Quantity::Consumers, now.at).value() {
        Some(0) => last_consumer(group, now).unwrap_or_else(|| "no consumer seen yet".into()),
        Some(1) => "1 consumer".into(),
        Some(count) if group.is_single_active() => {
            format!("{count} consumers, of which one at a time is given messages")
        }
        Some(count) => format!("{count} consumers"),
        None if group.main.consumers(now.at).value().is_some() || group.main.may_be_a_stream() => {
            "consumers not known yet".into()
        }
        None => "consumers cannot be seen".into(),
    }
}

/// Of a queue without a consumer: when there was one.
fn last_consumer(group: &QueueGroup, now: Now) -> Option<String> {
    let (seen, arrivals) = group.ledger.attended()?;
    let times = match arrivals {
        2.. => format!(", and one has come {arrivals} times"),
        _ => String::new(),
    };
    Some(format!(
        "no consumer now, the last one {} ago{times}",
        now.ago(seen)
    ))
}
