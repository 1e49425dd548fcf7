//! What a queue does, in one word that means something. `docs/watch.md` has the same definitions
//! for readers.

mod rules;

use std::time::Duration;

use serde::Serialize;
use strum::IntoStaticStr;

use super::group::QueueGroup;
use crate::units::seconds;

/// In the order in which they are sorted, the worst first.
#[derive(
    Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, IntoStaticStr, Serialize, schemars::JsonSchema,
)]
pub enum State {
    #[serde(rename = "stuck: no consumer")]
    #[strum(serialize = "stuck: no consumer")]
    NoConsumer,
    #[serde(rename = "stuck: held, not acked")]
    #[strum(serialize = "stuck: held, not acked")]
    Held,
    #[serde(rename = "stuck: queue is down")]
    #[strum(serialize = "stuck: queue is down")]
    Down,
    #[serde(rename = "dead letters growing")]
    #[strum(serialize = "dead letters growing")]
    DeadGrowing,
    #[serde(rename = "backlog")]
    #[strum(serialize = "backlog")]
    Backlog,
    #[serde(rename = "held")]
    #[strum(serialize = "held")]
    Holding,
    #[serde(rename = "flowing")]
    #[strum(serialize = "flowing")]
    Flowing,
    #[serde(rename = "delayed")]
    #[strum(serialize = "delayed")]
    Delayed,
    #[serde(rename = "idle")]
    #[strum(serialize = "idle")]
    Idle,
    #[serde(rename = "missing")]
    #[strum(serialize = "missing")]
    Missing,
    #[serde(rename = "?")]
    #[strum(serialize = "?")]
    Unknown,
}

impl State {
    pub fn word(self) -> &'static str {
        self.into()
    }

    /// For somebody who reads the word for the first time.
    pub fn meaning(self) -> &'static str {
        match self {
            State::NoConsumer => "messages wait, and no worker consumes the queue",
            State::Held => "a worker holds messages and finishes none of them",
            State::Down => "the broker cannot serve the queue: its node is down",
            State::DeadGrowing => "messages are given up as dead letters",
            State::Backlog => "messages wait, and do not become fewer",
            State::Holding => "a worker holds messages: it works on them, or hangs",
            State::Flowing => "messages are being finished",
            State::Delayed => "messages wait for their time, or for a retry",
            State::Idle => "nothing waits, and nothing is held",
            State::Missing => "the broker has no queue of this name",
            State::Unknown => "what would tell cannot be seen",
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

/// What a rule is asked with: when, and what is called long.
#[derive(Debug, Clone, Copy)]
pub struct Now<'a> {
    pub at: Duration,
    pub limits: &'a Limits,
}

impl Now<'_> {
    fn ago(self, since: Duration) -> String {
        seconds(self.at.saturating_sub(since))
    }

    /// So short ago that a number of seconds would be nought.
    fn is_recent(self, since: Duration) -> bool {
        self.at.saturating_sub(since) < Duration::from_millis(100)
    }
}

/// `None`: it is not so. Otherwise the observations that make it so.
type Rule = fn(&QueueGroup, Now) -> Option<String>;

/// The first that holds is the state.
const STATES: &[(State, Rule)] = &[
    (State::Missing, rules::is_missing),
    (State::Unknown, rules::is_not_judged),
    (State::Down, rules::is_down),
    (State::NoConsumer, rules::has_no_consumer),
    (State::NoConsumer, rules::has_no_consumer_of_delayed),
    (State::Held, rules::holds_too_long),
    (State::DeadGrowing, rules::has_new_dead_letters),
    (State::Flowing, rules::works_off_its_backlog),
    (State::Backlog, rules::has_a_backlog),
    (State::Unknown, rules::knows_ready_from_long_ago),
    (State::Flowing, rules::flows),
    (State::Unknown, rules::knows_unacked_from_long_ago),
    (State::Holding, rules::holds),
    (State::Unknown, rules::cannot_be_seen),
    (State::Delayed, rules::has_delayed_messages),
    (State::Idle, rules::has_nothing),
];

/// The state, and the observations that make it.
pub fn state(group: &QueueGroup, now: Duration, limits: &Limits) -> (State, String) {
    let asked = Now { at: now, limits };
    let (state, mut why) = STATES
        .iter()
        .find_map(|(state, rule)| Some((*state, rule(group, asked)?)))
        .unwrap_or((State::Unknown, "no state fits what was seen".into()));
    if let Some(unaccounted) = group.unaccounted(now, state == State::Flowing) {
        why.push_str(&format!("; {unaccounted}"));
    }
    (state, why)
}

#[cfg(test)]
mod tests {
    use super::super::group::Quantity;
    use super::super::observation::{Consumer, Details, Kind, Observation, Probe, Stats};
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
        assert!(
            scene
                .why()
                .starts_with("1 unacked, none acknowledged for 37 s (statistics 8.0 s old)"),
            "{}",
            scene.why()
        );
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
                .contains("3 acknowledged since the watch began or just before (statistics up to 10 s old)"),
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
        assert!(
            scene
                .why()
                .starts_with("1025 ready, not shrinking (975 ready 10 s ago)"),
            "{}",
            scene.why()
        );
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
            scene.see(Observation::Details(Details {
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
            scene.why().starts_with("at least 1 new dead letter since"),
            "{}",
            scene.why()
        );
        // Without totals nobody knows whether those that come were away only.
        let mut blind = Scene::new(Kind::Classic);
        blind.blind(Probe::Management).declared("q", 0, 1);
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
            assert!(!scene.why().contains("none finished"), "{}", scene.why());
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
        let consumers = |scene: &Scene| scene.group().figure(Quantity::Consumers, scene.at).value();
        for (kind, declared) in [(Kind::Stream, 0), (Kind::Quorum, 1)] {
            let mut scene = Scene::new(kind);
            scene.declared("q", 3, declared);
            assert_eq!(consumers(&scene), None, "{kind:?}: not known yet of what kind");
            scene.listed(&[("q", 3, 0)]);
            assert_eq!(consumers(&scene), None, "{kind:?}");
            scene.see(Observation::Details(Details {
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
        scene.blind(Probe::Management).declared("q", 0, 2);
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
        scene.blind(Probe::Amqp);
        assert_eq!(scene.state(), State::Idle, "the other eye still sees it");
        scene.blind(Probe::Management);
        assert_eq!(scene.state(), State::Unknown);
        assert!(scene.why().contains("closed"), "{}", scene.why());
    }

    /// Without AMQP nobody can be said to be away.
    #[test]
    fn without_amqp_consumers_are_not_zero() {
        let mut scene = Scene::new(Kind::Classic);
        scene.blind(Probe::Amqp);
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
}
