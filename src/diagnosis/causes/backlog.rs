//! The queue moves, and the message is behind others.

use crate::diagnosis::evidence::{Depth, Fact, broker, expiry, holding, retries};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Stand, Story};
use crate::text::counted;
use crate::timeline::EventKind;
use crate::timeline::Source;
use crate::units;

pub(super) const CAUSE: Cause = Cause {
    id: "backlog",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::Wait],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue]],
    stand: Stand::Waits,
    page: include_str!("backlog.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let queue = story.queue();
    let depths = story.depths_since(queue);
    let (Some(first), Some(last)) = (depths.first(), depths.last()) else {
        return Answer::NotApplicable;
    };
    if !story.closed() || last.consumers == 0 || last.ready == 0 {
        return Answer::NotApplicable;
    }
    let passage = match story.published() {
        Some(passage) if retries::is_on_the_queue(story) => passage,
        Some(_) => return Answer::NotApplicable,
        None => return by_the_counts(story, last),
    };
    // Deliveries of others since our publish: how fast the queue moves. One that comes again is no
    // progress.
    let others = story.facts(|kind| match kind {
        EventKind::Deliver {
            queue: name,
            redelivered: false,
            message,
            ..
        } if name == queue => Some(message.message_id.as_deref()),
        _ => None,
    });
    let others: Vec<Fact<Option<&str>>> = others.filter(|other| other.at_ms > passage.at_ms).collect();
    if others.is_empty() {
        return if story.sees_all(Source::Firehose) {
            Answer::ruled_out("nothing was delivered since", [last.n])
        } else {
            match by_the_counts(story, last) {
                Answer::NotApplicable => Answer::cannot_tell(&[Source::Firehose]),
                answer => answer,
            }
        };
    }
    // It must go on to the end: a queue that has come to a stop is another matter.
    if holding::still_moves(story).is_none() {
        return Answer::NotApplicable;
    }
    // One that was sent later and came first: ours is not in the line, or has a lower priority.
    let overtaken = story.find(|event| match &event.kind {
        EventKind::Publish { message, .. } if event.kind.is_put_on(queue) && event.at_ms > passage.at_ms => {
            others
                .iter()
                .find(|other| other.is_some() && other.value == message.message_id.as_deref())
                .map(|other| other.n)
        }
        _ => None,
    });
    let seconds = ((last.at_ms - passage.at_ms) / 1000.0).max(0.1);
    let rate = others.len() as f64 / seconds;
    let wait = last.ready as f64 / rate;
    let mut evidence = vec![passage.n, first.n, last.n];
    evidence.extend(others.last().map(|other| other.n));
    let line = format!(
        "{} in this queue, {rate:.1} a second are taken",
        counted(last.ready, "message waits", "messages wait")
    );
    let turn = units::span(wait * 1000.0);
    let text = match expiry::thrown_away_at(story, passage) {
        // It does not come to its turn: its time is over.
        Some(due) if last.at_ms >= due => return Answer::NotApplicable,
        Some(due) if last.at_ms + wait * 1000.0 >= due => {
            let text = format!(
                "{line}: its turn comes within {turn}, and the broker throws it away {} before that",
                units::span(last.at_ms + wait * 1000.0 - due)
            );
            return Answer::likely(text, evidence);
        }
        _ => format!("{line}: at that rate its turn comes within {turn}"),
    };
    let answer = match overtaken {
        Some(n) => {
            evidence.push(n);
            Answer::possible(
                format!("{text}; but one that was sent later has been delivered"),
                evidence,
            )
        }
        None if goes_by_priority(story) => Answer::possible(
            format!("{text}, unless messages of a higher priority go on coming: they are taken first"),
            evidence,
        ),
        // Whoever waits to write to its log has taken its last message until somebody reads that.
        None if stands_in_a_pipe(story) => Answer::possible(
            format!("{text}, unless the worker that waits to write has taken its last message"),
            evidence,
        ),
        None if broker::saw_every_publish(story)
            && !broker::may_lose_messages(story)
            && story.sees(Source::Process)
            && !story.all_processes().any(|process| process.pipe_write > Some(0)) =>
        {
            Answer::shown(text, evidence)
        }
        None => Answer::likely(text, evidence),
    };
    answer.naming("{wait}", turn)
}

/// Nobody saw the messages themselves. Ours waits if it was sent, and so lately that those before it cannot all have been taken.
fn by_the_counts(story: &Story<'_>, last: &Depth) -> Answer {
    let has_come = story
        .reached(Stage::Delivered)
        .or(story.reached(Stage::Entered))
        .is_some();
    let Some(fall) = holding::falls(story).filter(|_| !has_come) else {
        return Answer::NotApplicable;
    };
    let first = story
        .depths(story.queue())
        .find(|depth| story.submitted_at().is_none_or(|at| depth.at_ms > at));
    let since = first.map_or(fall.at_ms, |depth| depth.at_ms);
    let rate = fall.value as f64 * 1000.0 / (last.at_ms - since).max(100.0);
    let wait = last.ready as f64 / rate * 1000.0;
    let spoken_of = story
        .timeline
        .events
        .iter()
        .filter_map(|event| match &event.kind {
            EventKind::Line(line) if line.carries_task_id => Some(event.at_ms),
            _ => None,
        });
    let sent = story.submitted_at().or(spoken_of.min_by(f64::total_cmp));
    let turn = units::span(wait);
    let text = format!(
        "{} in this queue, and the count falls, by about {rate:.1} a second: at that rate its turn comes within {turn}",
        counted(last.ready, "message waits", "messages wait")
    );
    let answer = match sent.is_some_and(|sent| last.at_ms - sent < wait) {
        true => Answer::likely(text, [fall.n, last.n]).given([Premise::IsAmongTheWaiting]),
        false => Answer::possible(text, [fall.n, last.n]),
    };
    answer.would_decide(&[Source::Firehose]).naming("{wait}", turn)
}

/// The watched worker does, as it was seen last.
fn stands_in_a_pipe(story: &Story<'_>) -> bool {
    let mut processes = story.all_processes();
    processes.any(|process| process.pipe_write > Some(0) && story.is_watched(process.pid) != Some(false))
}

/// It was declared with priorities: then it is not first in, first out.
fn goes_by_priority(story: &Story<'_>) -> bool {
    let declared = story.infos(story.queue()).last();
    declared.is_some_and(|info| info.arguments.contains_key("x-max-priority"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, Scene, WORKER};
    use serde_json::json;

    fn behind(others: &[(&str, f64)]) -> Scene {
        let mut scene = Scene::published()
            .depth("default", 40, 1)
            .totals("default", 40, 1, json!({}));
        for (id, at) in others {
            scene = scene.at(*at).deliver_as(id, WORKER, false);
        }
        scene.at(9_900.0).depth("default", 30, 1)
    }

    #[test]
    fn others_go_before_it() {
        let scene = behind(&[("a", 1000.0), ("b", 5000.0), ("c", 9000.0)]);
        assert_eq!(scene.clone().silence().answer(&CAUSE), "certain");
        let remedies = scene.clone().silence().verdict().cause.expect("a cause").remedies;
        assert!(
            remedies[0].starts_with("Wait, if ") && remedies[0].ends_with(" s is acceptable."),
            "{remedies:?}"
        );
        assert_eq!(
            scene.silence().without(Source::Firehose).answer(&CAUSE),
            "not applicable"
        );
    }

    /// Where nobody sees the messages, and afterwards: if it was sent, and not long ago.
    #[test]
    fn counts_that_fall_show_it_as_well() {
        let live = |counts: &[u64]| {
            let scene = Scene::accepted().row("PENDING").without(Source::Firehose);
            let mut scene = scene.without(Source::Management);
            for (at, ready) in counts.iter().enumerate() {
                scene = scene.at(1000.0 * (at + 1) as f64).depth("default", *ready, 1);
            }
            scene.silence()
        };
        assert_eq!(live(&[50, 49, 48, 47, 46]).answer(&CAUSE), "likely");
        // It stands, or has come to a stop.
        assert_eq!(live(&[50, 50, 50, 50, 50]).answer(&CAUSE), "not applicable");
        assert_eq!(
            live(&[50, 49, 48, 48, 48, 48, 48]).answer(&CAUSE),
            "not applicable"
        );
        // One that went may be what a thread took before it hung.
        assert_eq!(live(&[50, 50, 50, 49]).answer(&CAUSE), "not applicable");
        let looked = |is_spoken_of: bool| {
            let mut scene = Scene::new().given().row("PENDING").without(Source::Firehose);
            if is_spoken_of {
                scene = scene.api_log("accepted task_1", "");
            }
            let scene = scene
                .at(2000.0)
                .depth("default", 50, 1)
                .at(2100.0)
                .depth("default", 49, 1);
            scene
                .at(2200.0)
                .depth("default", 49, 1)
                .end(crate::timeline::Ended::Looked)
        };
        assert_eq!(looked(true).answer(&CAUSE), "likely");
        assert_eq!(looked(false).answer(&CAUSE), "possible");
    }

    #[test]
    fn behind_higher_priorities_its_turn_may_never_come() {
        let others = [("a", 1000.0), ("b", 5000.0), ("c", 9000.0)];
        let declared = Scene::published().depth("default", 40, 1).totals(
            "default",
            40,
            1,
            json!({"x-max-priority": 10}),
        );
        let goes_on = others.iter().fold(declared, |scene, (id, at)| {
            scene.at(*at).deliver_as(id, WORKER, false)
        });
        let scene = goes_on.at(9_900.0).depth("default", 30, 1).silence();
        assert_eq!(scene.answer(&CAUSE), "possible");
    }

    /// A pause that is far longer than those before it: a worker that stands is no queue that moves.
    #[test]
    fn one_that_has_just_come_to_a_stop_is_a_near_miss() {
        let until = |last: usize| {
            let ids: Vec<String> = (0..last).map(|at| format!("o-{at}")).collect();
            let others: Vec<(&str, f64)> = ids
                .iter()
                .enumerate()
                .map(|(at, id)| (id.as_str(), 300.0 * (at + 1) as f64))
                .collect();
            behind(&others).silence().answer(&CAUSE)
        };
        assert_eq!(until(20), "not applicable");
        assert_eq!(until(32), "certain");
    }

    /// Who is handed messages and stands is the reason, however the others went on.
    #[test]
    fn a_full_pipe_of_the_worker_explains_it() {
        let scene = behind(&[("a", 1000.0), ("b", 5000.0), ("c", 9000.0)])
            .peer(WORKER, 101)
            .process(101, 100, "python dramatiq -v app", |process| {
                process.pipe_write = Some(3);
            })
            .stack(
                101,
                "Thread-2",
                &[("StreamHandler.flush", "/usr/lib/python3.11/logging/__init__.py")],
            );
        assert_eq!(scene.clone().silence().answer(&CAUSE), "possible");
        assert!(scene.silence().cause().ends_with("worker-log-pipe-full"));
    }

    #[test]
    fn a_queue_that_has_come_to_a_stop_is_a_near_miss() {
        assert_eq!(
            behind(&[("a", 1000.0)]).silence().answer(&CAUSE),
            "not applicable"
        );
        assert_eq!(behind(&[]).silence().answer(&CAUSE), "ruled out");
    }

    /// Nobody gets a message whose own time to live is over.
    #[test]
    fn one_that_expires_before_its_turn() {
        let with = |ttl: i64| {
            let mut scene = behind(&[("a", 1000.0), ("b", 5000.0), ("c", 9000.0)]);
            for event in &mut scene.timeline.events {
                if let EventKind::Publish { message, .. } = &mut event.kind {
                    message.expiration_ms = Some(ttl);
                }
            }
            scene.silence()
        };
        assert_eq!(with(500).answer(&CAUSE), "not applicable");
        assert!(!with(500).summary().contains("its turn comes"));
        assert_eq!(with(30_000).answer(&CAUSE), "likely");
        assert!(with(30_000).summary().contains("throws it away"));
        assert_eq!(with(900_000).answer(&CAUSE), "certain");
    }

    #[test]
    fn the_same_message_again_is_no_progress() {
        let scene = behind(&[])
            .at(9000.0)
            .deliver_as("a", WORKER, true)
            .at(9900.0)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn one_sent_later_and_delivered_first() {
        let scene = behind(&[])
            .at(8000.0)
            .publish_as("default", API, Scene::message("later"))
            .deliver_as("later", WORKER, false)
            .at(9900.0)
            .silence();
        assert_eq!(scene.answer(&CAUSE), "possible");
    }
}
