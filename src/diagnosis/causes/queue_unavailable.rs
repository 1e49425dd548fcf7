//! The queue itself is down.

use crate::diagnosis::evidence::connections;
use crate::diagnosis::{Answer, Cause, Certainty, Owner, Scenario, Stage, Story};
use crate::framework::LogEvent;
use crate::text;
use crate::timeline::{Role, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "queue-unavailable",
    keeps_from: &[Stage::Published, Stage::Delivered],
    owner: &[Owner::Broker],
    scenario: Some(Scenario::B),
    needs: &[&[
        Source::Queue,
        Source::Management,
        Source::WorkerLog,
        Source::Containers,
    ]],
    page: include_str!("queue_unavailable.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = broker_stands(story) {
        return answer;
    }
    let who_says = [Source::Queue, Source::Management, Source::WorkerLog];
    if !who_says.iter().any(|source| story.sees(*source)) {
        return Answer::cannot_tell(&who_says);
    }
    let queue = story.queue();
    let down = story.down(queue).last();
    let up = story.depths(queue).rfind(|depth| depth.exists);
    if let Some(passage) = story.published_last()
        && let Some(before) = story.dropped_by(passage)
    {
        let back = match up.filter(|up| up.at_ms > before.at_ms) {
            Some(_) => "; it is back since, without the message",
            None => "",
        };
        let mut evidence = vec![before.n, passage.n];
        evidence.extend(down.map(|down| down.n).filter(|n| *n != before.n));
        evidence.extend(up.filter(|_| !back.is_empty()).map(|up| up.n));
        return Answer::shown(
            format!(
                "`{}` was down when the message was sent to it ({before}): RabbitMQ dropped it{back}",
                passage.queue
            ),
            evidence,
        )
        .case(STILL_DOWN, back.is_empty())
        .case(DROPPED, true)
        .case(UNSEEN, false)
        .gone();
    }
    let matched = match (now_down(story), up, down) {
        (Some(found), ..) => found,
        // Whether the message was sent before or after it came back was out of sight.
        (None, Some(up), Some(down)) if story.published().is_none() && !story.sees_all(Source::Firehose) => {
            return Answer::possible(
                format!("`{queue}` was down ({down}) and is back: what was sent to it meanwhile is lost"),
                [down.n, up.n],
            )
            .case(STILL_DOWN, false)
            .would_decide(&[Source::Firehose]);
        }
        (None, Some(up), _) => {
            let info = story.infos(queue).last();
            return match info.and_then(|info| info.state.map(|state| (state, info.n))) {
                Some((state, n)) => Answer::ruled_out(format!("queue state {state}"), [n]),
                None => Answer::ruled_out(format!("`{queue}` answers"), [up.n]),
            };
        }
        (None, None, _) => return log_says(story),
    };
    let (certainty, text, evidence) = matched;
    // Where nothing was sent to it, that is what kept the task; unseen, it may be so.
    let held = story.reached(Stage::Published).is_some();
    if !held && story.publishes().is_empty() && story.sees_all(Source::Firehose) {
        return Answer::NotApplicable;
    }
    let certainty = if held {
        certainty
    } else {
        certainty.min(Certainty::Likely)
    };
    Answer::matched(certainty, text, evidence)
        .case(STILL_DOWN, true)
        .case(DROPPED, false)
        .would_decide(&[Source::Firehose])
}

/// Cases of its remedies.
const STILL_DOWN: &str = "it is still down";
const DROPPED: &str = "the message was dropped";
const UNSEEN: &str = "nobody saw what became of the message";

/// The engine says that the broker's container does not run.
fn broker_stands(story: &Story<'_>) -> Option<Answer> {
    let standing = story.standing(Role::Broker).filter(|_| story.closed())?;
    // What has begun goes on without it.
    if story.reached(Stage::Entered).is_some() {
        return None;
    }
    let text = format!("the broker's {}", standing.words);
    Some(
        Answer::likely(text, [standing.container.n])
            .naming("{container_command}", standing.command)
            .scenario(Scenario::C),
    )
}

/// The last that was said of the queue is that it is down.
fn now_down(story: &Story<'_>) -> Option<(Certainty, String, Vec<u32>)> {
    let queue = story.queue();
    let up = story.depths(queue).rfind(|depth| depth.exists);
    let down = story.down(queue).last();
    if let Some(down) = down.filter(|down| up.is_none_or(|up| up.at_ms < down.at_ms)) {
        // That a leader is silent is told by how long the answer took.
        let certainty = match down.contains("home node") {
            true => Certainty::Certain,
            false => Certainty::Likely,
        };
        return Some((certainty, format!("`{queue}` is down: {down}"), vec![down.n]));
    }
    let info = story.infos(queue).last()?;
    // Its leader may live and answer, and cannot accept or deliver anything alone. The number is the
    // management API's, some seconds old.
    if let Some((online, members)) = info.online
        && online * 2 <= members
    {
        let text = format!("{online} of the {members} members of `{queue}` are online: a majority is needed");
        return Some((Certainty::Likely, text, vec![info.n]));
    }
    let (certainty, text) = match info.state? {
        // `live` is the metadata's own word, which is all there is where statistics are switched off.
        "running" | "idle" | "flow" | "live" => return None,
        state @ ("down" | "stopped" | "crashed" | "minority") => (
            Certainty::Certain,
            format!("queue `{queue}` is in state {state}: its node is down or it has no majority"),
        ),
        // A word that is not known to mean "down" may be a state it works in.
        state => (
            Certainty::Possible,
            format!("queue `{queue}` is in state {state}"),
        ),
    };
    // The state is the management API's, and seconds old: a younger answer of the queue itself counts more.
    match up.filter(|up| up.at_ms + ONE_LOOK_MS > info.at_ms) {
        Some(up) => Some((
            certainty.min(Certainty::Possible),
            format!("{text}, although it answers"),
            vec![info.n, up.n],
        )),
        None => Some((certainty, text, vec![info.n])),
    }
}

/// The last looks of all sources are not made at one moment.
const ONE_LOOK_MS: f64 = 300.0;

/// Where nobody else could look: what the worker was told when it declared the queue.
fn log_says(story: &Story<'_>) -> Answer {
    let refused = story
        .worker_lines()
        .iter()
        .rev()
        .find_map(|told| match told.mark {
            Some(LogEvent::ConnectionError { queue, error })
                if connections::is_queue_down(error)
                    && connections::names_our_queue(story, queue.as_deref(), error) =>
            {
                Some((told.n, error))
            }
            _ => None,
        });
    match refused {
        Some((n, error)) if story.closed() => {
            Answer::likely(format!("the worker is told: {}", text::excerpt(error)), [n])
                .would_decide(&[Source::Queue, Source::Management])
        }
        _ => match story.infos(story.queue()).last() {
            Some(info) if info.state.is_some() => Answer::ruled_out(
                format!("queue state {}", info.state.unwrap_or_default()),
                [info.n],
            ),
            _ => Answer::NotApplicable,
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use serde_json::json;

    /// The broker's container is paused: nothing of it answers.
    #[test]
    fn a_broker_whose_container_stands() {
        let of = |state: &str| {
            let scene = Scene::accepted()
                .row("PENDING")
                .worker_container("b1", state, |container| {
                    container.name = "shop-mq-1".into();
                    container.roles = vec![Role::Broker];
                });
            scene
                .blind(Source::Queue)
                .blind(Source::Firehose)
                .blind(Source::Management)
                .silence()
        };
        assert_eq!(of("paused").cause(), "likely queue-unavailable");
        assert!(
            of("paused")
                .summary()
                .contains("shop-mq-1 (project shop, image shop) is paused")
        );
        assert_ne!(of("running").cause(), "likely queue-unavailable");
        let entered = Scene::entered().worker_container("b1", "paused", |container| {
            container.roles = vec![Role::Broker];
        });
        assert_ne!(entered.silence().answer(&CAUSE), "likely");
    }

    fn state(state: &str) -> Scene {
        Scene::accepted()
            .row("PENDING")
            .publish("default")
            .totals_in_state(state, "default", 1, 0, json!({}))
    }

    #[test]
    fn down_or_in_the_minority() {
        assert_eq!(state("down").cause(), "certain queue-unavailable");
        assert_eq!(state("minority").cause(), "certain queue-unavailable");
    }

    fn sent_while_down() -> Scene {
        Scene::new()
            .queue_down("default")
            .submitted()
            .row("PENDING")
            .publish("default")
            .queue_down("default")
    }

    #[test]
    fn sent_to_a_queue_whose_node_is_down() {
        assert_eq!(sent_while_down().silence().cause(), "certain queue-unavailable");
        // It came back later, and the message is gone all the same.
        let back = sent_while_down().at(2000.0).depth("default", 0, 1).silence();
        assert_eq!(back.cause(), "certain queue-unavailable");
        // What to do is another thing then.
        let first = |scene: &Scene| {
            let cause = scene.verdict().cause.expect("a cause");
            cause.remedies[0].clone()
        };
        assert!(
            first(&back).starts_with("Submit the task again once"),
            "{}",
            first(&back)
        );
        let down = sent_while_down().silence();
        assert!(first(&down).starts_with("Start the nodes"), "{}", first(&down));
        // The broker's word needs no management API, and says nothing of a queue that was deleted.
        let alone = sent_while_down().silence().without(Source::Management);
        assert_eq!(alone.cause(), "certain queue-unavailable");
    }

    #[test]
    fn back_again_and_the_publish_out_of_sight() {
        let back = Scene::accepted()
            .partial(Source::Firehose)
            .row("PENDING")
            .queue_down("default")
            .at(2000.0)
            .depth("default", 0, 1)
            .silence();
        assert_eq!(back.answer(&CAUSE), "possible");
    }

    #[test]
    fn a_queue_that_was_back_in_time_is_a_near_miss() {
        let back = Scene::new()
            .queue_down("default")
            .submitted()
            .row("PENDING")
            .depth("default", 0, 1)
            .publish("default")
            .depth("default", 1, 1)
            .silence();
        assert_eq!(back.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn nothing_was_sent_to_the_queue_that_is_down() {
        let silent = Scene::new()
            .queue_down("default")
            .submitted()
            .row("PENDING")
            .queue_down("default")
            .silence();
        assert_eq!(silent.answer(&CAUSE), "not applicable");
        assert_eq!(silent.without(Source::Firehose).answer(&CAUSE), "likely");
    }

    #[test]
    fn a_queue_that_answers_is_not_down_whatever_the_management_api_says() {
        let answers = state("down").depth("default", 0, 1).silence();
        assert_eq!(answers.answer(&CAUSE), "possible");
    }

    #[test]
    fn a_quorum_queue_without_a_majority() {
        let with = |online| {
            Scene::published()
                .depth("default", 0, 1)
                .members("default", online, 3)
                .silence()
        };
        assert_eq!(with(1).answer(&CAUSE), "likely");
        assert_eq!(with(2).answer(&CAUSE), "ruled out");
    }

    #[test]
    fn the_log_says_it_where_nobody_else_could_look() {
        let told = Scene::published()
            .worker_booted()
            .critical(
                "dramatiq.worker.ConsumerThread(default)",
                "Consumer encountered a connection error: (404, \"NOT_FOUND - home node 'b@y' of durable queue 'default' in vhost '/' is down or inaccessible\")",
            )
            .silence()
            .without(Source::Management)
            .without(Source::Queue);
        assert_eq!(told.answer(&CAUSE), "likely");
    }

    #[test]
    fn a_running_queue_and_an_unknown_word() {
        assert_eq!(state("running").answer(&CAUSE), "ruled out");
        assert_eq!(state("syncing").answer(&CAUSE), "possible");
        assert_eq!(
            state("down")
                .without(Source::Management)
                .without(Source::Queue)
                .without(Source::WorkerLog)
                .answer(&CAUSE),
            "cannot tell"
        );
    }

    /// The metadata's own word, where statistics are switched off.
    #[test]
    fn live_is_a_state_that_it_works_in() {
        let scene = Scene::published().totals_in_state("live", "default", 0, 0, serde_json::json!({}));
        assert_eq!(scene.silence().answer(&CAUSE), "ruled out");
    }

    /// What was dropped was sent once more when the queue was back.
    #[test]
    fn one_that_was_sent_again_is_a_near_miss() {
        let again = sent_while_down()
            .at(2000.0)
            .depth("default", 0, 0)
            .at(2500.0)
            .publish("default")
            .depth("default", 1, 0)
            .silence();
        assert_ne!(again.answer(&CAUSE), "certain");
        assert_ne!(
            again.verdict().impact.expect("an impact").resubmit,
            crate::diagnosis::Resubmit::Yes
        );
    }
}
