//! Conditions that end a watch: `empty`, `consumed`, `stuck`, `ready>100,consumers=0`.

use std::str::FromStr;
use std::time::Duration;

use super::Board;
use super::family::{Family, Figure};

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
    /// The same, after something was consumed, and nothing has left otherwise since.
    Consumed,
    /// One of the queues is.
    Stuck,
    /// Of all watched queues together.
    Compare(Quantity, Comparison, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Quantity {
    Ready,
    Unacked,
    Consumers,
    Delayed,
    Dead,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Comparison {
    Less,
    LessOrEqual,
    Equal,
    NotEqual,
    MoreOrEqual,
    More,
}

/// A figure older than this decides nothing.
const FRESH: Duration = Duration::from_secs(15);

impl FromStr for Condition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parts = text
            .split(',')
            .map(|part| part_of(part.trim()))
            .collect::<Result<Vec<_>, _>>()?;
        Ok(Self {
            parts,
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
    let known = "write empty, consumed, stuck, or ready, unacked, consumers, delayed or dead with <, <=, =, !=, >= or > and a number, e.g. 'ready>100'";
    let at = text
        .find(['<', '>', '=', '!'])
        .ok_or_else(|| format!("\"{text}\" is no condition: {known}"))?;
    let (name, rest) = text.split_at(at);
    let quantity = match name.trim() {
        "ready" => Quantity::Ready,
        "unacked" => Quantity::Unacked,
        "consumers" => Quantity::Consumers,
        "delayed" => Quantity::Delayed,
        "dead" => Quantity::Dead,
        other => return Err(format!("\"{other}\" cannot be compared: {known}")),
    };
    let operators = [
        ("<=", Comparison::LessOrEqual),
        (">=", Comparison::MoreOrEqual),
        ("!=", Comparison::NotEqual),
        ("==", Comparison::Equal),
        ("<", Comparison::Less),
        (">", Comparison::More),
        ("=", Comparison::Equal),
    ];
    let (comparison, number) = operators
        .iter()
        .find_map(|(sign, comparison)| Some((*comparison, rest.strip_prefix(sign)?)))
        .ok_or_else(|| format!("\"{text}\" is no condition: {known}"))?;
    let number = number
        .trim()
        .parse()
        .map_err(|_| format!("\"{}\" in \"{text}\" is not a whole number", number.trim()))?;
    Ok(Part::Compare(quantity, comparison, number))
}

impl Condition {
    pub fn is_met(&self, board: &Board) -> bool {
        // While the list of queues is not known, every "all of them" would be hasty.
        board.is_complete()
            && !board.families().is_empty()
            && self.parts.iter().all(|part| part.is_met(board))
    }
}

impl Part {
    fn is_met(&self, board: &Board) -> bool {
        let now = board.now();
        let empty = || board.families().values().all(|family| family.is_empty(now));
        match self {
            Part::Empty => empty(),
            Part::Consumed => {
                let families = || board.families().values();
                // What expired or was purged has left too, and nobody consumed it.
                families().any(Family::has_consumed) && families().all(Family::is_accounted_for) && empty()
            }
            Part::Stuck => board.families().keys().any(|name| board.state(name).0.is_stuck()),
            Part::Compare(quantity, comparison, number) => {
                sum(board, *quantity).is_some_and(|sum| comparison.holds(sum, *number))
            }
        }
    }
}

/// Of all watched queues; `None` where one of them cannot be told.
fn sum(board: &Board, quantity: Quantity) -> Option<u64> {
    let now = board.now();
    board
        .families()
        .values()
        .map(|family| {
            if family.main.exists != Some(true) {
                return None;
            }
            let figure = match quantity {
                Quantity::Ready => family.main.ready(now),
                Quantity::Unacked => family.main.unacked(now),
                Quantity::Consumers => family.main.consumers(now),
                Quantity::Delayed => delayed(family, now),
                Quantity::Dead => dead(family, now),
            };
            match figure {
                Figure::Known { value, age } => (age <= FRESH).then_some(value),
                Figure::None => Some(0),
                Figure::Unknown(_) => None,
            }
        })
        .sum()
}

/// Delayed messages and retries: a worker holds them unacked until they are due.
pub fn delayed(family: &Family, now: Duration) -> Figure<u64> {
    let queue = &family.delay;
    match queue.exists {
        Some(false) => return Figure::None,
        None => return Figure::Unknown("not looked yet".into()),
        Some(true) => {}
    }
    match (queue.ready(now), queue.unacked(now)) {
        (
            Figure::Known { value: ready, age },
            Figure::Known {
                value: unacked,
                age: older,
            },
        ) => Figure::Known {
            value: ready + unacked,
            age: age.max(older),
        },
        (Figure::Known { .. }, unknown) | (unknown, _) => unknown,
    }
}

/// Dead letters: nobody consumes them, so ready is all.
pub fn dead(family: &Family, now: Duration) -> Figure<u64> {
    match family.dead.exists {
        Some(false) => Figure::None,
        None => Figure::Unknown("not looked yet".into()),
        Some(true) => family.dead.ready(now),
    }
}

impl Comparison {
    fn holds(self, a: u64, b: u64) -> bool {
        match self {
            Comparison::Less => a < b,
            Comparison::LessOrEqual => a <= b,
            Comparison::Equal => a == b,
            Comparison::NotEqual => a != b,
            Comparison::MoreOrEqual => a >= b,
            Comparison::More => a > b,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::pick::Pick;
    use super::super::sight::{Eye, Kind};
    use super::super::state::State;
    use super::super::testing::Scene;
    use super::*;

    fn met(scene: &Scene, condition: &str) -> bool {
        condition
            .parse::<Condition>()
            .expect("valid")
            .is_met(&scene.board)
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
        assert!(met(&scene, "empty") && met(&scene, "consumed"));
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

    /// Expired, purged, dropped or deleted: gone is not consumed.
    #[test]
    fn what_left_without_a_consumer_is_not_consumed() {
        for kind in [Kind::Classic, Kind::Quorum] {
            let mut scene = Scene::new(kind);
            scene.look(0, 0, 0, 0).wait(1.0).look(3, 0, 0, 0).wait(1.0);
            for _ in 0..80 {
                scene.look(0, 0, 0, 0).wait(0.2);
                assert_ne!(scene.state(), State::Flowing, "{}", scene.why());
            }
            assert!(met(&scene, "empty") && !met(&scene, "consumed"), "{kind:?}");
            assert_eq!(scene.state(), State::Idle);
            assert!(
                scene.why().contains("3 left without a consumer")
                    && scene.why().ends_with("expired, purged or dropped"),
                "{}",
                scene.why()
            );
            // A worker has come, and takes the next one.
            scene.look(1, 0, 0, 0).wait(0.2).look(0, 1, 1, 0);
            for _ in 0..80 {
                scene.wait(0.2).look(0, 0, 1, 0);
            }
            assert!(met(&scene, "consumed"), "{kind:?}: {}", scene.why());
        }
    }

    /// Too quick for the totals, and no list ever had it.
    #[test]
    fn what_only_the_passive_declare_saw_is_not_consumed_either() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(0, 0, 0, 0).wait(0.01).declared("q", 1, 0);
        scene.wait(0.01).declared("q", 0, 0);
        assert_eq!(scene.state(), State::Unknown, "it may be held: {}", scene.why());
        for _ in 0..3 {
            scene.wait(0.2).look(0, 0, 0, 0);
        }
        assert!(
            met(&scene, "empty") && !met(&scene, "consumed"),
            "{}",
            scene.why()
        );
        assert!(
            scene.why().contains("1 left without a consumer"),
            "{}",
            scene.why()
        );
    }

    /// `basic.get` needs no consumer; the counter of acknowledgements proves it.
    #[test]
    fn an_acknowledgement_proves_what_was_fetched() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(2, 0, 0, 0).wait(0.2);
        // Held by somebody who does not subscribe.
        scene.look(0, 2, 0, 0).wait(0.2);
        assert_eq!(scene.state(), State::Holding, "{}", scene.why());
        scene
            .look(0, 0, 0, 0)
            .wait(0.2)
            .look(0, 0, 0, 0)
            .wait(0.2)
            .look(0, 0, 0, 0);
        assert!(!met(&scene, "consumed"));
        assert!(scene.why().contains("basic.get"), "{}", scene.why());
        scene.wait(5.0).look(0, 0, 0, 1);
        assert!(!met(&scene, "consumed"), "one of two");
        scene.wait(5.0).look(0, 0, 0, 1);
        assert!(met(&scene, "consumed"), "{}", scene.why());
        assert!(!scene.why().contains("without"), "{}", scene.why());
    }

    #[test]
    fn a_deleted_queue_was_not_consumed() {
        let mut scene = Scene::new(Kind::Classic);
        scene.look(1, 0, 1, 0).wait(0.2).missing("q").wait(0.2);
        for _ in 0..3 {
            scene.look(0, 0, 0, 0).wait(0.2);
        }
        assert!(met(&scene, "empty") && !met(&scene, "consumed"));
    }

    /// A quorum queue reports what is held up to 5 s late.
    #[test]
    fn a_quorum_queue_is_not_empty_too_early() {
        let mut scene = Scene::new(Kind::Quorum);
        scene.declared("q", 1, 1).wait(0.1);
        for _ in 0..28 {
            scene.declared("q", 0, 1).listed(&[("q", 0, 0)]).wait(0.2);
            assert!(!met(&scene, "consumed"), "after {:?}", scene.at);
        }
        for _ in 0..5 {
            scene.declared("q", 0, 1).listed(&[("q", 0, 0)]).wait(0.2);
        }
        assert!(met(&scene, "consumed"));
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
            .blind(Eye::Management)
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
        let mut scene = Scene::of(Pick::all(), Kind::Classic);
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
        assert!(
            !met(&scene, "consumed"),
            "nobody has looked whether there are consumers"
        );
        scene.declared("a", 0, 1);
        assert!(!met(&scene, "consumed"), "b's may have expired");
        scene.declared("b", 0, 1);
        assert!(met(&scene, "consumed"));
    }

    #[test]
    fn stuck_is_met_by_one_of_them() {
        let mut scene = Scene::of(Pick::all(), Kind::Classic);
        for _ in 0..4 {
            scene
                .listed(&[("a", 0, 0), ("b", 1, 0)])
                .declared("b", 1, 0)
                .wait(1.0);
        }
        assert!(met(&scene, "stuck"));
    }
}
