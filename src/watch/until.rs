//! Conditions that end a watch: `empty`, `consumed`, `stuck`, `ready>100,consumers=0`.

use std::cmp::Ordering;
use std::str::FromStr;
use std::time::Duration;

use strum::VariantArray;

use super::QueueModel;
use super::group::Quantity;
use super::ledger::Outcome;
use super::observation::Kind;
use super::queue::Figure;

/// All of its parts at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Condition {
    parts: Vec<Part>,
    text: String,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Part {
    /// Every watched queue: nothing ready, unacked or delayed.
    Empty,
    /// The same, and all that was there was acknowledged, and that was something.
    Consumed,
    /// One of the queues is.
    Stuck,
    /// Of all watched queues together.
    Compare(Quantity, &'static [Ordering], u64),
}

/// A longer sign before those that it begins with.
const OPERATORS: &[(&str, &[Ordering])] = &[
    ("<=", &[Ordering::Less, Ordering::Equal]),
    (">=", &[Ordering::Greater, Ordering::Equal]),
    ("!=", &[Ordering::Less, Ordering::Greater]),
    ("==", &[Ordering::Equal]),
    ("<", &[Ordering::Less]),
    (">", &[Ordering::Greater]),
    ("=", &[Ordering::Equal]),
];

const KNOWN: &str = "write empty, consumed, stuck, or ready, unacked, consumers, delayed or dead with <, <=, =, !=, >= or > and a number, e.g. 'ready>100'";

/// A figure older than this decides nothing.
const FRESH: Duration = Duration::from_secs(15);

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text.split(',').map(|part| part_of(part.trim()));
        Ok(Self {
            parts: parts.collect::<Result<_, _>>()?,
            text: text.to_owned(),
        })
    }
}

impl std::fmt::Display for Condition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.text)
    }
}

fn part_of(text: &str) -> Result<Part, String> {
    match text {
        "empty" => return Ok(Part::Empty),
        "consumed" => return Ok(Part::Consumed),
        "stuck" => return Ok(Part::Stuck),
        _ => {}
    }
    let no_condition = || format!("\"{text}\" is no condition: {KNOWN}");
    let at = text.find(['<', '>', '=', '!']).ok_or_else(no_condition)?;
    let (name, rest) = text.split_at(at);
    let name = name.trim();
    let quantity = Quantity::VARIANTS
        .iter()
        .find(|quantity| <&str>::from(**quantity) == name)
        .ok_or_else(|| format!("\"{name}\" cannot be compared: {KNOWN}"))?;
    let (orderings, number) = OPERATORS
        .iter()
        .find_map(|(sign, orderings)| Some((*orderings, rest.strip_prefix(sign)?.trim())))
        .ok_or_else(no_condition)?;
    let number = number
        .parse()
        .map_err(|_| format!("\"{number}\" in \"{text}\" is not a whole number"))?;
    Ok(Part::Compare(*quantity, orderings, number))
}

/// How a condition stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ConditionStatus {
    /// With what is worth saying of it.
    Met(Option<String>),
    Open,
    /// It can no longer be met, or nothing will ever tell whether it is.
    Never(String),
}

impl Condition {
    pub fn is_met(&self, model: &QueueModel) -> bool {
        matches!(self.status(model), ConditionStatus::Met(_))
    }

    pub fn status(&self, model: &QueueModel) -> ConditionStatus {
        // While the list of queues is not known, every "all of them" would be hasty.
        if !model.is_complete() || model.groups().is_empty() {
            return ConditionStatus::Open;
        }
        let mut is_met = true;
        let mut notes = Vec::new();
        for part in &self.parts {
            match part.status(model) {
                ConditionStatus::Met(note) => notes.extend(note),
                ConditionStatus::Open => is_met = false,
                never @ ConditionStatus::Never(_) => return never,
            }
        }
        if !is_met {
            return ConditionStatus::Open;
        }
        ConditionStatus::Met((!notes.is_empty()).then(|| notes.join("; ")))
    }
}

impl Part {
    fn status(&self, model: &QueueModel) -> ConditionStatus {
        let is_met = match self {
            Part::Empty => is_empty(model),
            Part::Consumed => return consumed(model),
            Part::Stuck => model.groups().keys().any(|name| model.state(name).0.is_stuck()),
            Part::Compare(quantity, orderings, number) => {
                sum(model, *quantity).is_some_and(|sum| orderings.contains(&sum.cmp(number)))
            }
        };
        if is_met {
            ConditionStatus::Met(None)
        } else {
            ConditionStatus::Open
        }
    }
}

fn is_empty(model: &QueueModel) -> bool {
    let now = model.now();
    model.groups().values().all(|group| group.is_empty(now))
}

/// What expired, was purged or rejected has left too, and nobody has done it: the broker's counters
/// decide, and where there are none nothing does.
fn consumed(model: &QueueModel) -> ConditionStatus {
    let groups = model.groups();
    let has_stream = groups.values().any(|group| group.main.kind == Kind::Stream);
    if !has_stream && !is_empty(model) {
        return ConditionStatus::Open;
    }
    let mut done = 0;
    let mut is_open = false;
    let mut never = Vec::new();
    for (name, group) in groups {
        let delay = model.queues().delay(name).unwrap_or_default();
        let queues = [name.clone(), delay];
        for (queue, outcome) in queues.into_iter().zip(group.outcomes(model.now())) {
            match outcome {
                Outcome::Nothing => {}
                Outcome::Open => is_open = true,
                Outcome::Done(count) => done += count,
                Outcome::Lost(why) => {
                    let dead = match group.new_letters.sum() {
                        0 => String::new(),
                        count => format!(", and dead letters were seen to come: {count}"),
                    };
                    never.push(format!("{queue}: {why}{dead}"));
                }
                Outcome::Undecided(why) => never.push(format!("{queue}: {why}")),
            }
        }
    }
    if has_stream || (!is_open && !never.is_empty()) {
        return ConditionStatus::Never(never.join("; "));
    }
    if is_open || done == 0 {
        return ConditionStatus::Open;
    }
    ConditionStatus::Met(Some(format!(
        "{done} acknowledged, by the broker's statistics, and none left otherwise"
    )))
}

/// Of all watched queues; `None` where one of them cannot be told.
fn sum(model: &QueueModel, quantity: Quantity) -> Option<u64> {
    let groups = model.groups().values();
    groups
        .map(|group| match group.figure(quantity, model.now()) {
            _ if group.main.exists != Some(true) => None,
            Figure::Known { value, age } => (age <= FRESH).then_some(value),
            Figure::None => Some(0),
            Figure::Unknown(_) => None,
        })
        .sum()
}

#[cfg(test)]
mod tests {
    use super::super::observation::{Details, Kind, Observation, Probe, Stats};
    use super::super::selector::QueueSelector;
    use super::super::state::State;
    use super::super::testing::Scene;
    use super::*;

    fn met(scene: &Scene, condition: &str) -> bool {
        condition
            .parse::<Condition>()
            .expect("valid")
            .is_met(&scene.model)
    }

    #[test]
    fn conditions_are_read() {
        for text in [
            "empty",
            "consumed",
            "stuck",
            "ready>100",
            "ready >= 1",
            "unacked<3,consumers=0",
            "dead!=0",
            "delayed==2",
        ] {
            assert!(text.parse::<Condition>().is_ok(), "{text}");
        }
        for text in [
            "", "full", "ready", "ready>", "ready>x", "ready>-1", "speed>3", "empty,", "ready=>1",
        ] {
            assert!(text.parse::<Condition>().is_err(), "{text}");
        }
    }

    #[test]
    fn empty_takes_two_looks() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(0, 0, 1, 0);
        assert!(!met(&scene, "empty"));
        scene.wait(0.2).look(0, 0, 1, 0);
        assert!(met(&scene, "empty"));
        assert!(!met(&scene, "consumed"), "there was nothing");
        scene.wait(0.2).look(0, 1, 1, 0);
        assert!(!met(&scene, "empty"));
        scene.wait(0.2).look(0, 0, 1, 0).wait(0.2).look(0, 0, 1, 0);
        assert!(met(&scene, "empty"));
    }

    fn never(scene: &Scene) -> String {
        match "consumed"
            .parse::<Condition>()
            .expect("valid")
            .status(&scene.model)
        {
            ConditionStatus::Never(why) => why,
            other => panic!("{other:?}, and {}", scene.why()),
        }
    }

    /// It was held, and is gone: acknowledged or rejected, and only the counters tell which.
    #[test]
    fn consumed_is_what_was_counted_as_acknowledged() {
        for acknowledged in [true, false] {
            let mut scene = Scene::new(Kind::Classic);
            scene
                .look(0, 0, 1, 0)
                .publish(1)
                .look_for(1.0, 0, 1, 1)
                .look_for(4.0, 0, 0, 1);
            assert!(met(&scene, "empty") && !met(&scene, "consumed"));
            scene
                .look(0, 0, 1, u64::from(acknowledged))
                .look_for(4.0, 0, 0, 1);
            assert_eq!(met(&scene, "consumed"), acknowledged);
            scene.look_for(10.0, 0, 0, 1);
            if acknowledged {
                let status = "consumed"
                    .parse::<Condition>()
                    .expect("valid")
                    .status(&scene.model);
                let note = "1 acknowledged, by the broker's statistics, and none left otherwise";
                assert_eq!(status, ConditionStatus::Met(Some(note.into())));
            } else {
                let why = never(&scene);
                assert!(
                    why.contains("q: 1 left without being acknowledged") && why.contains("0 were"),
                    "{why}"
                );
            }
        }
    }

    /// A is held, B expires, A is acknowledged: the counters know of one of two.
    #[test]
    fn one_of_two_is_not_consumed() {
        let mut scene = Scene::new(Kind::Classic);
        scene
            .look(0, 0, 1, 0)
            .publish(2)
            .look_for(2.0, 1, 1, 1)
            .look_for(3.0, 0, 1, 1);
        scene.look(0, 0, 1, 1).look_for(30.0, 0, 0, 1);
        assert!(!met(&scene, "consumed"));
        let why = never(&scene);
        assert!(
            why.contains("1 left without") && why.contains("1 was acknowledged"),
            "{why}"
        );
    }

    /// Published just before the watch, and counted later: what waits is not counted twice.
    #[test]
    fn late_publishes_are_no_loss() {
        let mut scene = Scene::new(Kind::Classic);
        scene
            .look(3, 0, 1, 0)
            .publish(3)
            .look_for(2.0, 2, 1, 1)
            .look(0, 0, 1, 3)
            .look_for(8.0, 0, 0, 1);
        assert!(met(&scene, "consumed"));
        // A queue with a past of losses says nothing sure, unless it was quiet for a while.
        for past in [None, Some(4)] {
            let mut scene = Scene::new(Kind::Classic);
            let stats = |published, done, asked| {
                Observation::Details(Details {
                    queue: "q".into(),
                    asked,
                    stats: Some(Stats {
                        published: Some(published),
                        done: Some(done),
                        ..Stats::default()
                    }),
                    lost_before: past,
                    ..Details::default()
                })
            };
            scene
                .declared("q", 3, 1)
                .listed(&[("q", 3, 0)])
                .see(stats(14, 10, Duration::ZERO));
            for second in 1..30 {
                scene.wait(1.0).declared("q", 0, 1).listed(&[("q", 0, 0)]);
                let at = scene.at;
                scene.see(stats(17, if second > 4 { 13 } else { 10 }, at));
            }
            assert_eq!(met(&scene, "consumed"), past.is_some());
            if past.is_none() {
                assert!(never(&scene).contains("start the watch earlier"));
            }
        }
    }

    /// No statistics: nothing tells, and nobody waits for ever.
    #[test]
    fn without_statistics_it_cannot_be_told() {
        let mut scene = Scene::new(Kind::Classic);
        scene.declared("q", 1, 1).listed(&[("q", 1, 0)]);
        for _ in 0..100 {
            scene.wait(0.2).declared("q", 0, 1).listed(&[("q", 0, 0)]);
            assert!(!met(&scene, "consumed"));
        }
        assert!(never(&scene).contains("gives no statistics"), "{}", never(&scene));
        assert!(
            scene.why().contains("no statistics tell which") || scene.at.as_secs() < 30,
            "{}",
            scene.why()
        );
        let mut stream = Scene::new(Kind::Stream);
        stream.look(3, 0, 0, 0);
        assert!(never(&stream).contains("stream"));
    }

    /// The counters began anew: the queue was deleted and declared, or the broker started.
    #[test]
    fn what_the_counters_forgot_is_not_told() {
        let mut scene = Scene::new(Kind::Classic);
        scene
            .look(0, 0, 1, 0)
            .publish(5)
            .look_for(1.0, 3, 1, 1)
            .look(0, 0, 1, 2);
        scene.wait(0.2).declared("q", 0, 0).listed(&[("q", 0, 0)]);
        let at = scene.at;
        scene.see(Observation::Details(Details {
            queue: "q".into(),
            asked: at,
            consumers: Some(vec![]),
            ..Details::default()
        }));
        for _ in 0..5 {
            scene.wait(0.2).declared("q", 0, 0).listed(&[("q", 0, 0)]);
        }
        assert!(never(&scene).contains("began anew"), "{}", never(&scene));
    }

    /// Taken from the queue between two looks at the totals: it is with the worker.
    #[test]
    fn what_was_just_delivered_is_not_consumed() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(1, 0, 1, 0).wait(0.2).look(1, 0, 1, 0);
        scene.wait(0.1).declared("q", 0, 1);
        assert!(!met(&scene, "consumed"));
        // A list that was made before the delivery says nothing of it.
        scene.listed(&[("q", 0, 0)]);
        assert!(!met(&scene, "consumed"));
        scene.wait(0.2).listed(&[("q", 0, 1)]);
        assert!(!met(&scene, "consumed"));
    }

    /// Expired, purged, dropped or deleted: gone is not consumed, whoever was there.
    #[test]
    fn what_left_unacknowledged_is_not_consumed() {
        for kind in [Kind::Classic, Kind::Quorum] {
            for consumers in [0, 1] {
                let mut scene = Scene::new(kind);
                scene
                    .look_for(1.0, 0, 0, consumers)
                    .publish(3)
                    .look_for(1.0, 3, 0, consumers);
                for _ in 0..5 {
                    scene.wait(0.2).look(0, 0, consumers, 0);
                    assert_ne!(scene.state(), State::Flowing, "{}", scene.why());
                }
                if kind == Kind::Classic {
                    let alone = if consumers == 0 {
                        " while no consumer was seen"
                    } else {
                        ""
                    };
                    let text = format!("3 left{alone}, the last ");
                    assert!(scene.why().contains(&text), "{}", scene.why());
                }
                for _ in 0..80 {
                    scene.wait(0.2).look(0, 0, consumers, 0);
                    assert_ne!(scene.state(), State::Flowing, "{}", scene.why());
                    assert!(!met(&scene, "consumed"));
                }
                assert!(met(&scene, "empty"));
                assert_eq!(scene.state(), State::Idle);
                assert!(
                    scene.why().contains("3 left without being acknowledged"),
                    "{}",
                    scene.why()
                );
                assert!(never(&scene).contains("3 left"));
                // The next one is done: that one was.
                scene
                    .publish(1)
                    .look_for(0.4, 0, 1, 1)
                    .look(0, 0, 1, 1)
                    .look_for(16.0, 0, 0, 1);
                assert!(never(&scene).contains("3 left"), "{}", never(&scene));
            }
        }
    }

    /// Too quick for the totals, and no list ever had it.
    #[test]
    fn what_only_the_passive_declare_saw_is_not_consumed_either() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(0, 0, 0, 0).wait(0.01).declared("q", 1, 0);
        scene.wait(0.01).declared("q", 0, 0);
        assert_eq!(scene.state(), State::Unknown, "it may be held: {}", scene.why());
        scene.look_for(0.6, 0, 0, 0);
        assert!(
            met(&scene, "empty") && !met(&scene, "consumed"),
            "{}",
            scene.why()
        );
        assert!(
            scene.why().contains("1 left while no consumer was seen"),
            "{}",
            scene.why()
        );
    }

    /// `basic.get` needs no consumer; the counter of acknowledgements proves it.
    #[test]
    fn an_acknowledgement_proves_what_was_fetched() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(2, 0, 0, 0).publish(2).wait(0.2);
        // Held by somebody who does not subscribe.
        scene.look(0, 2, 0, 0).wait(0.2);
        assert_eq!(scene.state(), State::Holding, "{}", scene.why());
        scene.look_for(1.0, 0, 0, 0);
        assert_eq!(scene.state(), State::Flowing, "{}", scene.why());
        scene.wait(4.0).look(0, 0, 0, 1).look_for(4.0, 0, 0, 0);
        assert!(!met(&scene, "consumed"), "one of two");
        scene.look(0, 0, 0, 1).wait(0.2).look(0, 0, 0, 0);
        assert!(met(&scene, "consumed"), "{}", scene.why());
        assert!(!scene.why().contains("2 left"), "{}", scene.why());
    }

    #[test]
    fn a_deleted_queue_was_not_consumed() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(1, 0, 1, 0).wait(0.2).missing("q").wait(0.2);
        scene.look_for(0.6, 0, 0, 0);
        assert!(met(&scene, "empty") && !met(&scene, "consumed"));
        assert!(
            scene.why().contains("1 was deleted with the queue"),
            "{}",
            scene.why()
        );
        assert!(never(&scene).contains("1 was deleted with the queue"));
    }

    /// A quorum queue reports what is held up to 5 s late.
    #[test]
    fn a_quorum_queue_is_not_empty_too_early() {
        let mut scene = Scene::new(Kind::Quorum);
        scene.publish(1).look(1, 0, 1, 0).wait(0.1);
        for _ in 0..28 {
            scene.look(0, 0, 1, 0).wait(0.2);
            assert!(!met(&scene, "empty"), "after {:?}", scene.at);
        }
        scene.look_for(1.0, 0, 0, 1);
        assert!(met(&scene, "empty"));
    }

    #[test]
    fn delayed_messages_are_still_to_be_done_and_dead_letters_are_not() {
        let mut scene = Scene::new(Kind::Classic);
        for _ in 0..3 {
            scene
                .declared("q", 0, 1)
                .listed(&[("q", 0, 0), ("q.DQ", 0, 1)])
                .wait(0.2);
        }
        assert!(!met(&scene, "empty"));
        for _ in 0..3 {
            scene
                .declared("q", 0, 1)
                .listed(&[("q", 0, 0), ("q.DQ", 0, 0), ("q.XQ", 5, 0)])
                .wait(0.2);
        }
        assert!(met(&scene, "empty"));
        assert!(met(&scene, "dead=5") && met(&scene, "delayed=0"));
    }

    #[test]
    fn nothing_is_met_by_what_cannot_be_seen() {
        let mut scene = Scene::new(Kind::Classic);
        for condition in ["empty", "ready=0", "unacked=0", "consumers=0", "consumers<1"] {
            assert!(!met(&scene, condition), "{condition}");
        }
        scene
            .blind(Probe::Management)
            .declared("q", 0, 0)
            .wait(1.0)
            .declared("q", 0, 0);
        assert!(met(&scene, "ready=0") && met(&scene, "consumers=0"));
        assert!(!met(&scene, "unacked=0") && !met(&scene, "empty"));
        scene.wait(20.0);
        assert!(!met(&scene, "ready=0"), "that was long ago");
        scene.missing("q");
        assert!(
            !met(&scene, "ready=0") && !met(&scene, "empty"),
            "no queue is no empty queue"
        );
    }

    #[test]
    fn several_queues_are_counted_together() {
        let mut scene = Scene::of(QueueSelector::all(), Kind::Classic);
        assert!(!met(&scene, "empty") && !met(&scene, "ready=0"), "not listed yet");
        for _ in 0..3 {
            scene.wait(0.2).listed(&[("a", 60, 0), ("b", 50, 1)]);
        }
        assert!(met(&scene, "ready>100") && met(&scene, "ready=110,unacked=1"));
        assert!(!met(&scene, "ready=110,unacked=0"));
        assert!(!met(&scene, "empty"));
        scene
            .listed(&[("a", 0, 0), ("b", 0, 1)])
            .listed(&[("a", 0, 0), ("b", 0, 1)]);
        assert!(!met(&scene, "empty"));
        scene
            .listed(&[("a", 0, 0), ("b", 0, 0)])
            .listed(&[("a", 0, 0), ("b", 0, 0)]);
        assert!(met(&scene, "empty"));
        assert!(!met(&scene, "consumed"), "nothing was counted");
        // Of one of them the broker counts all, of the other one nothing.
        for (queue, done) in [("a", 60), ("b", 0)] {
            for done in [0, done] {
                let asked = scene.wait(0.1).at;
                let stats = Some(Stats {
                    published: Some(done),
                    done: Some(done),
                    ..Stats::default()
                });
                scene.see(Observation::Details(Details {
                    queue: queue.into(),
                    asked,
                    stats,
                    ..Details::default()
                }));
            }
        }
        assert!(!met(&scene, "consumed"), "b's may have expired");
    }

    #[test]
    fn stuck_is_met_by_one_of_them() {
        let mut scene = Scene::of(QueueSelector::all(), Kind::Classic);
        for _ in 0..4 {
            scene
                .listed(&[("a", 0, 0), ("b", 1, 0)])
                .declared("b", 1, 0)
                .wait(1.0);
        }
        assert!(met(&scene, "stuck"));
    }
}
