//! What a queue does, in one word that means something. `docs/watch.md` has the same definitions
//! for readers.

use std::time::Duration;

use serde::Serialize;

use super::family::{Family, Figure, RECENT};
use super::leaving::COUNTED_BY;
use super::sight::{Kind, STATISTICS_LAG};

/// In the order in which they are asked: the first that holds is the state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, schemars::JsonSchema)]
pub enum State {
    #[serde(rename = "stuck: no consumer")]
    NoConsumer,
    #[serde(rename = "stuck: held, not acked")]
    Held,
    #[serde(rename = "stuck: queue is down")]
    Down,
    #[serde(rename = "dead letters growing")]
    DeadGrowing,
    #[serde(rename = "backlog")]
    Backlog,
    #[serde(rename = "held")]
    Holding,
    #[serde(rename = "flowing")]
    Flowing,
    #[serde(rename = "delayed")]
    Delayed,
    #[serde(rename = "idle")]
    Idle,
    #[serde(rename = "missing")]
    Missing,
    #[serde(rename = "?")]
    Unknown,
}

impl State {
    pub fn word(self) -> &'static str {
        match self {
            State::NoConsumer => "stuck: no consumer",
            State::Held => "stuck: held, not acked",
            State::Down => "stuck: queue is down",
            State::DeadGrowing => "dead letters growing",
            State::Backlog => "backlog",
            State::Holding => "held",
            State::Flowing => "flowing",
            State::Delayed => "delayed",
            State::Idle => "idle",
            State::Missing => "missing",
            State::Unknown => "?",
        }
    }

    pub fn is_stuck(self) -> bool {
        matches!(self, State::NoConsumer | State::Held | State::Down)
    }
}

/// How long something must be so before it is called by its name.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Ready messages without a consumer: a worker that restarts is away for a moment.
    pub no_consumer: Duration,
    /// Unacked messages of which none is seen to be done: an actor may take its time.
    pub held: Duration,
    /// Dead letters that came so lately are growing.
    pub dead: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            no_consumer: Duration::from_secs(2),
            held: Duration::from_secs(30),
            dead: Duration::from_secs(30),
        }
    }
}

/// Of so many seconds' work of ready messages nobody speaks as a backlog.
const SOON: f64 = 5.0;

/// Totals that were read longer ago than that prove nothing of now.
const FRESH: Duration = Duration::from_secs(8);

/// The state, and the observations that make it.
pub fn state(family: &Family, now: Duration, limits: &Limits) -> (State, String) {
    let (state, mut why) = judge(family, now, limits);
    if let Some(fate) = family.fate(now, state == State::Flowing) {
        why.push_str(&format!("; {fate}"));
    }
    (state, why)
}

fn judge(family: &Family, now: Duration, limits: &Limits) -> (State, String) {
    let main = &family.main;
    let motion = &family.motion;
    let ago = |since: Duration| seconds(now.saturating_sub(since));
    match main.exists {
        Some(false) => return (State::Missing, "there is no such queue".into()),
        None => return (State::Unknown, "not looked yet".into()),
        Some(true) => {}
    }
    if let Some(why) = &main.down {
        return (State::Down, why.clone());
    }
    if main.kind == Kind::Stream {
        return (
            State::Unknown,
            "a stream keeps its messages, so its counts tell no state".into(),
        );
    }
    let ready = main.ready(now).value();
    let unacked = main.unacked(now).value();
    let delayed = family.delay.total();

    if let Some(for_so_long) = motion.nobody.held(limits.no_consumer, now)
        && !main.may_be_a_stream()
    {
        let mut why = format!(
            "{} ready, and 0 consumers {for_so_long}",
            ready.unwrap_or_default()
        );
        if let Some(comings) = comings(family, now) {
            why.push_str(&format!("; {comings}"));
        }
        if main.kind == Kind::Unknown {
            why.push_str("; unless it is a stream: only the management API tells, and a passive declare does not count a stream's consumers");
        }
        return (State::NoConsumer, why);
    }
    if let Some(for_so_long) = motion.nobody_delayed.held(limits.no_consumer, now) {
        let waiting = family.delay.ready(now).value().unwrap_or_default();
        return (
            State::NoConsumer,
            format!(
                "{waiting} delayed, and 0 consumers of the delay queue {for_so_long}: nobody will move them when due"
            ),
        );
    }
    // Since when nothing of what is held was seen to be done.
    let done = motion.released.max(motion.counted).unwrap_or_default();
    let quiet = motion.held_since.map(|held| held.max(done));
    let held = unacked.unwrap_or_default();
    if let Some(since) = quiet.filter(|_| held > 0)
        && main.totals.is_some_and(|totals| now.saturating_sub(totals.at) <= FRESH)
        // Between two looks at the totals one may be done and the next one taken: only the counters
        // of the statistics exclude that, and only as far as they know.
        && let Some(known) = known_until(family, now)
        && known.saturating_sub(since) >= limits.held
    {
        return (
            State::Held,
            format!(
                "{held} unacked, and none acknowledged for {}, by statistics that know it until {} ago",
                seconds(known - since),
                ago(known)
            ),
        );
    }
    if let Some(grew) = motion
        .dead_grew
        .filter(|grew| now.saturating_sub(*grew) <= limits.dead)
    {
        let letters = if motion.new_dead == 1 { "letter" } else { "letters" };
        return (
            State::DeadGrowing,
            format!(
                "at least {} new dead {letters} seen to come while watching, the last {} ago",
                motion.new_dead,
                ago(grew)
            ),
        );
    }
    let released = motion
        .released
        .filter(|at| !motion.doubted && now.saturating_sub(*at) <= RECENT);
    let counted = || family.counts_on(now).map(|_| done_by_statistics(family));
    let moved = match released {
        Some(at) => Some(format!("the last that was held was finished {} ago", ago(at))),
        None => counted(),
    };
    if let Some(waiting) = ready.filter(|ready| *ready > 0) {
        let as_of = as_of(&main.ready(now));
        if let (Some(moved), true) = (&moved, catches_up(family, waiting, now)) {
            return (
                State::Flowing,
                format!("{waiting} ready{as_of} and being worked off; {moved}"),
            );
        }
        let (since, before) = motion.ready.front().copied().unwrap_or((now, waiting));
        let trend = if waiting < before {
            format!("{before} {} ago", ago(since))
        } else {
            format!("not fewer than {} ago", ago(since))
        };
        let mut why = format!("{waiting} ready{as_of}, {trend}; {}", consumers(family, now));
        if let Some(moved) = moved {
            why.push_str(&format!("; {moved}"));
        }
        return (State::Backlog, why);
    }
    // Without a look of this moment at ready messages nothing is said of them.
    if ready == Some(0) && !main.knows_ready(now) {
        let age = match main.ready(now) {
            Figure::Known { age, .. } => age,
            _ => Duration::ZERO,
        };
        return (
            State::Unknown,
            format!(
                "0 ready as of {} ago; only a passive declare tells of this moment, and none was answered (yet)",
                seconds(age)
            ),
        );
    }
    if let Some(moved) = moved {
        return (State::Flowing, format!("0 ready; {moved}"));
    }
    if held > 0
        && main
            .totals
            .is_none_or(|totals| now.saturating_sub(totals.at) > 2 * FRESH)
    {
        let why = format!(
            "0 ready; {held} unacked{}: the totals have not been read since",
            as_of(&main.unacked(now))
        );
        return (State::Unknown, why);
    }
    if held > 0 {
        let since = quiet.unwrap_or(now);
        let as_of = as_of(&main.unacked(now));
        let but = if family.counts(now) {
            ""
        } else {
            "; no statistics yet, so it cannot be told whether some are acknowledged between two looks"
        };
        return (
            State::Holding,
            format!(
                "{held} unacked{as_of}, none seen to be done for {}{but}",
                ago(since)
            ),
        );
    }
    let unsettled = unsettled(family, now);
    // What totals do not know yet is not said of now.
    let nothing = match main.unacked(now) {
        Figure::Known { age, .. } if !main.kind.lag().is_zero() => {
            format!(
                "nothing ready now, nothing unacked or delayed as of {} ago",
                seconds(age)
            )
        }
        Figure::Known { age, .. } if age >= Duration::from_secs(1) => {
            format!("nothing ready, unacked or delayed as of {} ago", seconds(age))
        }
        _ => "nothing ready, unacked or delayed".to_owned(),
    };
    match (ready, unacked, unsettled) {
        (None, _, _) => (State::Unknown, "ready messages cannot be seen".into()),
        (Some(0), None, _) => (
            State::Unknown,
            "0 ready; unacked messages cannot be seen, so it is idle or held".into(),
        ),
        (Some(0), Some(0), Some(why)) => (State::Unknown, why),
        _ => match delayed {
            Some(count) if count > 0 => (
                State::Delayed,
                format!("nothing ready or unacked; {count} delayed or waiting for a retry"),
            ),
            None if family.delay.exists == Some(true) => (
                State::Unknown,
                "nothing ready or unacked; delayed messages cannot be seen".into(),
            ),
            _ => match motion.counted.filter(|at| now.saturating_sub(*at) <= RECENT) {
                // Too quick to be seen waiting.
                Some(_) if motion.done > 0 => {
                    (State::Idle, format!("{nothing}; {}", done_by_statistics(family)))
                }
                _ => (State::Idle, nothing),
            },
        },
    }
}

/// What is a second old or more is not said of now.
fn as_of(figure: &Figure<u64>) -> String {
    match figure {
        Figure::Known { age, .. } if *age >= Duration::from_secs(1) => {
            format!(" as of {} ago", seconds(*age))
        }
        _ => String::new(),
    }
}

fn done_by_statistics(family: &Family) -> String {
    format!(
        "{} done since the watch began or just before, by statistics up to {} old",
        family.motion.done,
        seconds(STATISTICS_LAG)
    )
}

/// Until when it is known whether something that is held was acknowledged: as far as the counters
/// know, and the totals were looked at.
fn known_until(family: &Family, now: Duration) -> Option<Duration> {
    let read = family.details.as_ref().filter(|_| family.counts(now))?.at;
    let looked = family.main.totals?.at;
    Some(read.saturating_sub(COUNTED_BY).min(looked))
}

fn consumers(family: &Family, now: Duration) -> String {
    let count = match family.consumers(now).value() {
        Some(0) => return comings(family, now).unwrap_or_else(|| "no consumer seen yet".into()),
        Some(1) => return "1 consumer".into(),
        Some(count) => count,
        None if family.main.consumers(now).value().is_some() || family.main.may_be_a_stream() => {
            return "consumers not known yet".into();
        }
        None => return "consumers cannot be seen".into(),
    };
    if family.is_single_active() {
        format!("{count} consumers, of which one at a time is given messages")
    } else {
        format!("{count} consumers")
    }
}

/// Of a queue without a consumer: when there was one.
fn comings(family: &Family, now: Duration) -> Option<String> {
    let (seen, came) = family.motion.leaving.attended()?;
    let times = if came > 1 {
        format!(", and one has come {came} times")
    } else {
        String::new()
    };
    let ago = seconds(now.saturating_sub(seen));
    Some(format!("no consumer now, the last one {ago} ago{times}"))
}

/// What was seen to happen that the totals cannot know yet: a message may be held.
fn unsettled(family: &Family, now: Duration) -> Option<String> {
    let main = &family.main;
    let lag = main.kind.lag();
    let is_news = |at: &Duration| main.totals.is_none_or(|totals| totals.at < *at + lag);
    let (what, at) = match (
        family.motion.delivered.filter(is_news),
        // A queue that says at once what is held needs no such doubt.
        family.motion.joined.filter(is_news).filter(|_| !lag.is_zero()),
    ) {
        (Some(fell), _) => ("ready messages were taken or left", fell),
        (None, Some(joined)) => ("a consumer came", joined),
        (None, None) => return None,
    };
    let ago = seconds(now.saturating_sub(at));
    Some(if lag.is_zero() {
        format!("{what} {ago} ago: the next look at the totals says whether one is held")
    } else {
        format!(
            "{what} {ago} ago: this kind of queue says up to {} later whether one is held",
            seconds(lag)
        )
    })
}

/// Whether the ready messages become fewer, or are only what is on its way.
fn catches_up(family: &Family, waiting: u64, now: Duration) -> bool {
    let motion = &family.motion;
    let fewer = motion.ready.front().is_some_and(|(_, before)| waiting < *before);
    let was_empty = motion
        .none_ready
        .is_some_and(|at| now.saturating_sub(at) <= RECENT);
    let soon = family
        .stats(now)
        .and_then(|stats| stats.value.ack_rate)
        .is_some_and(|rate| waiting as f64 <= rate * SOON);
    fewer || was_empty || soon
}

/// A duration for people: `0.3 s`, `12 s`, `4 min`, `2 h`.
pub fn seconds(duration: Duration) -> String {
    let seconds = duration.as_secs_f64();
    if seconds < 9.95 {
        format!("{seconds:.1} s")
    } else if seconds < 120.0 {
        format!("{seconds:.0} s")
    } else if seconds < 7200.0 {
        format!("{:.0} min", seconds / 60.0)
    } else {
        format!("{:.0} h", seconds / 3600.0)
    }
}

#[cfg(test)]
mod tests {
    use super::super::sight::{Consumer, Details, Eye, Sight, Stats};
    use super::super::testing::Scene;
    use super::*;

    #[test]
    fn nothing_anywhere_is_idle() {
        let mut scene = Scene::new(Kind::Classic);
        assert_eq!(scene.state(), State::Unknown);
        scene.look(0, 0, 1, 0);
        assert_eq!(scene.state(), State::Idle);
        // Dead letters from before say nothing of now.
        scene.listed(&[("q", 0, 0), ("q.DQ", 0, 0), ("q.XQ", 7, 0)]);
        assert_eq!(scene.state(), State::Idle);
    }

    #[test]
    fn nobody_consumes() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(1, 0, 0, 0);
        assert_eq!(scene.state(), State::Backlog, "a worker may just be restarting");
        scene.wait(1.0).declared("q", 1, 0).wait(0.9).declared("q", 1, 0);
        assert_eq!(scene.state(), State::Backlog);
        scene.wait(0.2).declared("q", 2, 0);
        assert_eq!(scene.state(), State::NoConsumer, "{}", scene.why());
        scene.declared("q", 2, 1);
        assert_eq!(scene.state(), State::Backlog);
        // It counts anew.
        scene.wait(1.0).declared("q", 2, 0);
        assert_eq!(scene.state(), State::Backlog);
        scene.wait(3.0).declared("q", 0, 0).listed(&[("q", 0, 0)]);
        assert_ne!(scene.state(), State::NoConsumer, "nothing waits for one");
    }

    /// A stalled connection, a suspended process: what was not looked at may have been otherwise.
    #[test]
    fn time_without_a_look_counts_for_nothing() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(1, 0, 0, 0).look_for(1.0, 1, 0, 0);
        // Suspended: the first thing after it is the time.
        scene.wait(3.0);
        assert_ne!(scene.state(), State::NoConsumer, "{}", scene.why());
        scene.look(1, 0, 0, 0);
        assert_eq!(scene.state(), State::Backlog, "{}", scene.why());
        scene.look_for(1.8, 1, 0, 0);
        assert_eq!(scene.state(), State::Backlog, "{}", scene.why());
        scene.look_for(0.4, 1, 0, 0);
        assert_eq!(scene.state(), State::NoConsumer, "{}", scene.why());
        // Only the list goes on, and says that nothing waits any more.
        scene.wait(4.0).listed(&[("q", 0, 0)]);
        assert_ne!(scene.state(), State::NoConsumer, "{}", scene.why());
        // Not on screen, and looked at now and then.
        let mut hidden = Scene::new(Kind::Classic);
        for expected in [State::Backlog, State::Backlog, State::NoConsumer] {
            hidden.wait(5.0).look(1, 0, 0, 0);
            assert_eq!(hidden.state(), expected, "{}", hidden.why());
        }
        assert!(
            hidden.why().contains("in 3 looks within 10 s"),
            "{}",
            hidden.why()
        );
    }

    /// Acknowledged in time, and the counters tell later; totals that nobody reads any more.
    #[test]
    fn held_is_known_as_far_as_was_looked() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(0, 0, 1, 0);
        for task in 0..4 {
            for tenth in 0..140 {
                // What was done 28 s after the last is counted 5 s later.
                scene.wait(0.2).look(0, 1, 1, u64::from(task > 0 && tenth == 25));
                assert_ne!(scene.state(), State::Held, "{}", scene.why());
            }
        }
        let mut scene = Scene::new(Kind::Classic);
        scene
            .look(0, 0, 1, 0)
            .look_for(20.0, 0, 1, 1)
            .wait(20.0)
            .declared("q", 0, 1)
            .statistics(0, 0);
        assert_ne!(scene.state(), State::Held, "{}", scene.why());
        assert_ne!(scene.state(), State::Holding, "{}", scene.why());
        assert!(
            scene.why().contains("1 unacked as of 20 s ago"),
            "{}",
            scene.why()
        );
    }

    #[test]
    fn delayed_messages_need_a_consumer_too() {
        let mut scene = Scene::new(Kind::Classic);
        for _ in 0..4 {
            scene
                .look(0, 0, 0, 0)
                .declared("q.DQ", 3, 0)
                .listed(&[("q", 0, 0), ("q.DQ", 3, 0)])
                .wait(1.0);
        }
        assert_eq!(scene.state(), State::NoConsumer, "{}", scene.why());
        assert!(scene.why().contains("delay"), "{}", scene.why());
    }

    #[test]
    fn held_and_then_stuck() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(0, 0, 1, 0).wait(1.0);
        for second in 0..45 {
            scene.look(0, 1, 1, 0).wait(1.0);
            // The statistics know it 7 s later.
            let expected = if second < 37 { State::Holding } else { State::Held };
            assert_eq!(scene.state(), expected, "after {second} s: {}", scene.why());
        }
        // One acknowledgement, and the clock begins anew.
        scene.look(0, 1, 1, 1);
        assert_eq!(scene.state(), State::Flowing);
        scene.wait(11.0).look(0, 1, 1, 0);
        assert_eq!(scene.state(), State::Holding, "{}", scene.why());
    }

    /// Ready 0, consumers, and always one unacked: the next is taken as soon as one is done.
    #[test]
    fn a_busy_worker_is_not_stuck() {
        let mut scene = Scene::new(Kind::Classic);
        for _ in 0..60 {
            scene.look(0, 1, 1, 5).wait(1.0);
        }
        assert_eq!(scene.state(), State::Flowing, "{}", scene.why());
        // Statistics come late: a few seconds without news change nothing.
        for _ in 0..8 {
            scene.look(0, 1, 1, 0).wait(1.0);
        }
        assert_eq!(scene.state(), State::Flowing, "{}", scene.why());
    }

    /// Statistics tell late what is long over: that is no flow, and not "0.0 s ago".
    #[test]
    fn late_news_is_no_flow() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(0, 0, 1, 0).wait(6.0).look(0, 0, 1, 3);
        assert_eq!(scene.state(), State::Idle, "{}", scene.why());
        assert!(
            scene
                .why()
                .contains("3 done since the watch began or just before, by statistics up to 10 s old"),
            "{}",
            scene.why()
        );
        // It goes on being counted: messages pass, too quick to be seen.
        scene.wait(5.0).look(0, 0, 1, 3);
        assert_eq!(scene.state(), State::Flowing, "{}", scene.why());
        scene.wait(11.0).look(0, 0, 1, 0);
        assert_eq!(scene.state(), State::Idle, "{}", scene.why());
    }

    /// A worker that hangs goes on being given messages until its prefetch is full.
    #[test]
    fn deliveries_do_not_hide_that_nothing_is_done() {
        let mut scene = Scene::new(Kind::Classic);
        for second in 0..40 {
            let unacked = 1 + second / 10;
            scene
                .declared("q", 1, 1)
                .declared("q", 0, 1)
                .listed(&[("q", 0, unacked)])
                .statistics(0, 1)
                .wait(1.0);
        }
        assert_eq!(scene.state(), State::Held, "{}", scene.why());
    }

    /// Between two looks one may be done and the next one taken.
    #[test]
    fn without_statistics_nobody_is_called_stuck_for_holding() {
        let mut scene = Scene::new(Kind::Classic);
        for _ in 0..60 {
            scene.declared("q", 0, 1).listed(&[("q", 0, 1)]).wait(1.0);
        }
        assert_eq!(scene.state(), State::Holding);
        assert!(scene.why().contains("no statistics"), "{}", scene.why());
    }

    #[test]
    fn a_backlog_that_is_worked_off_flows() {
        let mut scene = Scene::new(Kind::Classic);
        let mut ready = 1000;
        scene.look(ready, 2, 1, 0);
        assert_eq!(scene.state(), State::Backlog, "nothing was seen to move yet");
        for _ in 0..5 {
            ready -= 10;
            scene.wait(1.0).look(ready, 2, 1, 10);
        }
        assert_eq!(scene.state(), State::Flowing, "{}", scene.why());
        for _ in 0..15 {
            ready += 5;
            scene.wait(1.0).look(ready, 2, 1, 10);
        }
        assert_eq!(scene.state(), State::Backlog, "{}", scene.why());
        // Nothing is done at all.
        for _ in 0..15 {
            scene.wait(1.0).look(ready, 2, 1, 0);
        }
        assert_eq!(scene.state(), State::Backlog, "{}", scene.why());
    }

    /// As many come as go, and each waits for some milliseconds: the same number of ready messages all
    /// the time, and no backlog.
    #[test]
    fn a_few_on_their_way_are_no_backlog() {
        let mut scene = Scene::new(Kind::Classic);
        let mut done = 0;
        for _ in 0..30 {
            done += 100;
            scene.declared("q", 3, 1).listed(&[("q", 3, 5)]);
            scene.see(Sight::Details(Details {
                queue: "q".into(),
                asked: scene.at,
                stats: Some(Stats {
                    done: Some(done),
                    ack_rate: Some(100.0),
                    ..Stats::default()
                }),
                ..Details::default()
            }));
            scene.wait(1.0);
        }
        assert_eq!(scene.state(), State::Flowing, "{}", scene.why());
        // The same number where one takes ten seconds.
        let mut slow = Scene::new(Kind::Classic);
        for second in 0..30 {
            slow.look(3, 1, 1, u64::from(second % 10 == 0)).wait(1.0);
        }
        assert_eq!(slow.state(), State::Backlog, "{}", slow.why());
    }

    #[test]
    fn what_left_is_remembered_for_ten_seconds() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(0, 1, 1, 0).wait(1.0).look(0, 0, 1, 0);
        assert_eq!(scene.state(), State::Flowing);
        scene.wait(11.0).look(0, 0, 1, 0);
        assert_eq!(scene.state(), State::Idle);
    }

    #[test]
    fn dead_letters_that_come_are_growing() {
        let mut scene = Scene::new(Kind::Classic);
        let all = [("q", 0, 0), ("q.DQ", 0, 0), ("q.XQ", 4, 0)];
        scene.declared("q", 0, 1).declared("q.XQ", 4, 0).listed(&all);
        assert_eq!(scene.state(), State::Idle);
        scene.wait(1.0).declared("q.XQ", 5, 0);
        assert_eq!(scene.state(), State::DeadGrowing);
        assert!(scene.why().starts_with("at least 1 new"), "{}", scene.why());
        // Removed again, and over.
        scene
            .wait(31.0)
            .declared("q", 0, 1)
            .declared("q.XQ", 0, 0)
            .listed(&all);
        assert_eq!(scene.state(), State::Idle);
    }

    /// Somebody looks at the old ones and puts them back; some are taken away for good.
    #[test]
    fn dead_letters_that_are_looked_at_do_not_grow() {
        let mut scene = Scene::new(Kind::Classic);
        let dead = |scene: &mut Scene, ready, held| {
            scene
                .wait(0.2)
                .declared("q", 0, 1)
                .declared("q.XQ", ready, 0)
                .listed(&[("q", 0, 0), ("q.XQ", ready, held)]);
            scene.state()
        };
        for (ready, held) in [(3, 0), (2, 1), (0, 3), (0, 3), (3, 0), (3, 0)] {
            assert_eq!(dead(&mut scene, ready, held), State::Idle, "{ready} {held}");
        }
        assert_eq!(dead(&mut scene, 1, 0), State::Idle);
        assert_eq!(dead(&mut scene, 2, 0), State::DeadGrowing);
        assert!(
            scene.why().starts_with("at least 1 new dead letter seen"),
            "{}",
            scene.why()
        );
        // Without totals nobody knows whether those that come were away only.
        let mut blind = Scene::new(Kind::Classic);
        blind.blind(Eye::Management).declared("q", 0, 1);
        for ready in [3, 0, 3] {
            blind.wait(0.2).declared("q", 0, 1).declared("q.XQ", ready, 0);
            assert_ne!(blind.state(), State::DeadGrowing, "{}", blind.why());
        }
    }

    /// One is held all the time, the others expire: nothing is worked off, and that is told in time.
    #[test]
    fn expiry_is_no_flow_and_no_sign_of_life() {
        for kind in [Kind::Classic, Kind::Quorum] {
            let mut scene = Scene::new(kind);
            scene.look(0, 0, 1, 0);
            for second in 0..80_u64 {
                scene.publish(1);
                for ready in [2, 3] {
                    scene.look(ready, 1, 1, 0).wait(0.5);
                    assert_ne!(scene.state(), State::Flowing, "{}", scene.why());
                }
                if second > 45 {
                    assert_eq!(scene.state(), State::Held, "{}", scene.why());
                }
            }
            assert!(
                scene.why().contains("left without being acknowledged"),
                "{}",
                scene.why()
            );
        }
    }

    /// What was held is gone because its consumer is: that is no work.
    #[test]
    fn a_consumer_that_dies_has_finished_nothing() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(4, 1, 1, 0).wait(1.0).look(4, 1, 1, 0).wait(0.1);
        // Returned, and all expire at once.
        scene.look(0, 0, 0, 0);
        assert_eq!(scene.state(), State::Idle, "{}", scene.why());
        // Long after a consumer: purged.
        let mut scene = Scene::new(Kind::Quorum);
        scene
            .look(4, 1, 1, 0)
            .wait(6.0)
            .look(5, 0, 0, 0)
            .look_for(6.0, 5, 0, 0);
        assert_eq!(scene.state(), State::NoConsumer);
        for _ in 0..80 {
            scene.wait(0.2).look(0, 0, 0, 0);
            assert_ne!(scene.state(), State::Flowing, "{}", scene.why());
        }
    }

    /// Rejected: what was held is gone, and the counters do not confirm that it was done.
    #[test]
    fn the_counters_take_a_flow_back() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(0, 0, 1, 0);
        let mut words = std::collections::BTreeSet::new();
        for second in 0..40 {
            scene
                .publish(1)
                .look(0, 1, 1, 0)
                .wait(0.5)
                .look(0, 0, 1, 0)
                .wait(0.5);
            if second > 25 {
                words.insert(scene.state());
            }
        }
        assert_eq!(words, [State::Idle].into(), "{}", scene.why());
        assert!(
            scene.why().contains("left without being acknowledged"),
            "{}",
            scene.why()
        );
        scene.look(0, 1, 1, 5).wait(0.5).look(0, 0, 1, 0);
        assert_eq!(scene.state(), State::Flowing, "{}", scene.why());
    }

    /// Steady work off a queue whose totals lag: as soon as the counters have told of it.
    #[test]
    fn done_is_not_denied() {
        let mut scene = Scene::new(Kind::Quorum);
        scene.look(0, 0, 1, 0).wait(1.0).publish(40);
        let mut ready = 40;
        for half in 0..20 {
            ready -= 1;
            scene.declared("q", ready, 1).listed(&[("q", ready, 1)]);
            scene.statistics(if half % 10 == 9 { 9 } else { 0 }, 0).wait(0.5);
            let expected = if half < 9 { State::Backlog } else { State::Flowing };
            assert_eq!(scene.state(), expected, "{}", scene.why());
            assert!(!scene.why().contains("none seen"), "{}", scene.why());
        }
    }

    /// A list that lags says nothing of this moment.
    #[test]
    fn an_old_list_is_not_idle() {
        let mut scene = Scene::new(Kind::Quorum);
        scene.listed(&[("q", 0, 0)]);
        assert_eq!(scene.state(), State::Unknown, "{}", scene.why());
        assert!(scene.why().contains("0 ready as of 5.0 s ago"), "{}", scene.why());
        scene.declared("q", 0, 1);
        assert_eq!(scene.state(), State::Idle, "{}", scene.why());
    }

    /// Deleted and declared between two looks, as another kind of queue.
    #[test]
    fn another_queue_of_that_name_begins_anew() {
        let mut scene = Scene::new(Kind::Quorum);
        scene.look_for(3.0, 1, 0, 1).look_for(3.0, 1, 0, 0);
        assert_eq!(scene.state(), State::NoConsumer);
        scene.kind = Kind::Classic;
        scene.wait(0.02).declared("q", 3, 0).listed(&[("q", 3, 0)]);
        assert_eq!(scene.state(), State::Backlog, "{}", scene.why());
        assert!(
            scene.why().contains("1 was deleted with the queue"),
            "{}",
            scene.why()
        );
        for _ in 0..9 {
            scene.wait(0.2).look(3, 0, 0, 0);
            assert_ne!(scene.state(), State::Flowing, "{}", scene.why());
        }
    }

    #[test]
    fn a_consumer_that_comes_and_goes() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(1, 0, 0, 0);
        assert!(scene.why().ends_with("no consumer seen yet"), "{}", scene.why());
        for _ in 0..3 {
            scene.wait(1.0).look(0, 1, 1, 0).wait(1.0).look(1, 0, 0, 0);
        }
        scene.wait(0.5).look(1, 0, 0, 0);
        assert!(
            scene
                .why()
                .ends_with("no consumer now, the last one 1.5 s ago, and one has come 3 times"),
            "{}",
            scene.why()
        );
    }

    /// What a passive declare does not count: a stream's consumers, those that stand by.
    #[test]
    fn consumers_that_a_passive_declare_does_not_count() {
        let consumer = Consumer {
            host: "h".into(),
            port: None,
            user: "u".into(),
            tag: "t".into(),
            prefetch: 1,
            pid: None,
            command: None,
            process_state: None,
        };
        let consumers = |scene: &Scene| scene.board.families()["q"].consumers(scene.at).value();
        for (kind, declared) in [(Kind::Stream, 0), (Kind::Quorum, 1)] {
            let mut scene = Scene::new(kind);
            scene.declared("q", 3, declared);
            assert_eq!(consumers(&scene), if declared == 0 { None } else { Some(1) });
            scene.listed(&[("q", 3, 0)]);
            assert_eq!(consumers(&scene), None, "{kind:?}");
            scene.see(Sight::Details(Details {
                queue: "q".into(),
                consumers: Some(vec![consumer.clone(); 3]),
                single_active: kind == Kind::Quorum,
                ..Details::default()
            }));
            assert_eq!(consumers(&scene), None, "{kind:?}: the list is late");
            scene.wait(7.0).declared("q", 3, declared);
            assert_eq!(consumers(&scene), Some(3), "{kind:?}");
        }
    }

    /// Listed, and grown before the first passive declare; a list that lags is no such base.
    #[test]
    fn dead_letters_grow_from_the_first_list_on() {
        for (kind, expected) in [(Kind::Classic, State::DeadGrowing), (Kind::Quorum, State::Idle)] {
            let mut scene = Scene::new(kind);
            scene.declared("q", 0, 1).listed(&[("q", 0, 0), ("q.XQ", 4, 0)]);
            scene.wait(0.1).declared("q.XQ", 5, 0);
            assert_eq!(scene.state(), expected, "{}", scene.why());
        }
    }

    #[test]
    fn messages_that_wait_for_their_time_are_delayed() {
        let mut scene = Scene::new(Kind::Classic);
        scene.declared("q", 0, 1).declared("q.DQ", 0, 1).listed(&[
            ("q", 0, 0),
            ("q.DQ", 0, 2),
            ("q.XQ", 0, 0),
        ]);
        assert_eq!(scene.state(), State::Delayed, "{}", scene.why());
    }

    /// Delivered, and a quorum queue has not said yet that it is held: neither idle nor anything else.
    #[test]
    fn a_quorum_queue_says_late_what_is_held() {
        let mut scene = Scene::new(Kind::Quorum);
        scene.look(0, 0, 1, 0).wait(20.0);
        scene
            .declared("q", 1, 1)
            .wait(0.01)
            .declared("q", 0, 1)
            .listed(&[("q", 0, 0)]);
        assert_eq!(scene.state(), State::Unknown, "{}", scene.why());
        scene.wait(3.0).declared("q", 0, 1).listed(&[("q", 0, 0)]);
        assert_eq!(scene.state(), State::Unknown, "{}", scene.why());
        scene.wait(3.0).declared("q", 0, 1).listed(&[("q", 0, 0)]);
        assert_eq!(scene.state(), State::Idle, "{}", scene.why());
        // A classic queue says it at once.
        let mut scene = Scene::new(Kind::Classic);
        scene
            .declared("q", 1, 1)
            .wait(0.01)
            .declared("q", 0, 1)
            .listed(&[("q", 0, 1)]);
        assert_eq!(scene.state(), State::Holding, "{}", scene.why());
    }

    /// A consumer that comes may have been given a message that was never seen ready.
    #[test]
    fn a_consumer_that_comes_may_hold_something() {
        for (kind, expected) in [(Kind::Quorum, State::Unknown), (Kind::Classic, State::Idle)] {
            let mut scene = Scene::new(kind);
            scene.look(0, 0, 0, 0).wait(20.0).look(0, 0, 0, 0);
            assert_eq!(scene.state(), State::Idle, "nothing has changed: {}", scene.why());
            assert_eq!(
                scene.why().contains("as of 5.0 s ago"),
                kind == Kind::Quorum,
                "{}",
                scene.why()
            );
            scene.wait(0.1).look(0, 0, 1, 0);
            assert_eq!(scene.state(), expected, "{}", scene.why());
            for _ in 0..24 {
                scene.wait(0.2).look(0, 0, 1, 0);
                assert_eq!(scene.state(), expected, "{}", scene.why());
            }
            scene.wait(0.3).look(0, 0, 1, 0);
            assert_eq!(scene.state(), State::Idle, "{}", scene.why());
        }
    }

    #[test]
    fn without_management_ready_zero_is_not_idle() {
        let mut scene = Scene::new(Kind::Classic);
        scene.blind(Eye::Management).declared("q", 0, 2);
        assert_eq!(scene.state(), State::Unknown);
        assert!(scene.why().contains("idle or held"), "{}", scene.why());
        scene.declared("q", 3, 2);
        assert_eq!(scene.state(), State::Backlog);
        scene
            .wait(1.0)
            .declared("q", 3, 0)
            .wait(1.0)
            .declared("q", 3, 0)
            .wait(1.0)
            .declared("q", 3, 0);
        assert_eq!(scene.state(), State::NoConsumer);
    }

    /// What an eye saw before it was closed is no longer so.
    #[test]
    fn a_lost_broker_is_not_idle() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(0, 0, 1, 0);
        assert_eq!(scene.state(), State::Idle);
        scene.blind(Eye::Amqp);
        assert_eq!(scene.state(), State::Idle, "the other eye still sees it");
        scene.blind(Eye::Management);
        assert_eq!(scene.state(), State::Unknown);
        assert!(scene.why().contains("closed"), "{}", scene.why());
    }

    /// Without AMQP nobody can be said to be away.
    #[test]
    fn without_amqp_consumers_are_not_zero() {
        let mut scene = Scene::new(Kind::Classic);
        scene.blind(Eye::Amqp);
        for _ in 0..10 {
            scene.listed(&[("q", 2, 0)]).wait(1.0);
        }
        assert_eq!(scene.state(), State::Backlog);
        assert!(
            scene.why().contains("consumers cannot be seen"),
            "{}",
            scene.why()
        );
    }

    #[test]
    fn a_queue_that_is_not_there() {
        let mut scene = Scene::new(Kind::Classic);
        scene.missing("q");
        assert_eq!(scene.state(), State::Missing);
        scene.listed(&[]);
        assert_eq!(scene.state(), State::Missing);
        scene.wait(1.0).look(0, 0, 0, 0);
        assert_eq!(scene.state(), State::Idle);
    }

    #[test]
    fn streams_are_not_judged() {
        let mut scene = Scene::new(Kind::Stream);
        scene.look(9, 0, 0, 0).wait(5.0).look(9, 0, 0, 0);
        assert_eq!(scene.state(), State::Unknown);
    }

    #[test]
    fn durations_are_short() {
        let text = |s: f64| seconds(Duration::from_secs_f64(s));
        assert_eq!(
            (text(0.04), text(9.9), text(10.4)),
            ("0.0 s".into(), "9.9 s".into(), "10 s".into())
        );
        assert_eq!((text(150.0), text(9000.0)), ("2 min".into(), "2 h".into()));
    }
}
