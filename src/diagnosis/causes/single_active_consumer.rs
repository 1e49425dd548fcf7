//! Only one consumer is served, and it is another one.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "single-active-consumer",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Management]],
    general: false,
    page: include_str!("single_active_consumer.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(info) = story.infos(story.queue()).last() else {
        return Answer::NotApplicable;
    };
    if info.arguments.get("x-single-active-consumer") != Some(&serde_json::Value::Bool(true)) {
        return Answer::ruled_out("the queue has no x-single-active-consumer", [info.n]);
    }
    let Some((listed, consumers)) = story.consumers() else {
        return Answer::cannot_tell(&[Source::Management]);
    };
    let active = consumers
        .iter()
        .find(|consumer| consumer.queue == story.queue() && consumer.active == Some(true));
    match active {
        Some(active) => match story
            .peer(&active.connection)
            .and_then(|(_, pid)| story.is_watched(pid))
        {
            Some(true) => Answer::ruled_out("the watched worker is the active consumer", [listed]),
            Some(false) => Answer::certain(
                format!(
                    "only {} is served, and it is not the watched worker",
                    active.connection
                ),
                [info.n, listed],
            ),
            None => Answer::possible(format!("only {} is served", active.connection), [info.n, listed])
                .would_decide(&[Source::Process]),
        },
        None => Answer::NotApplicable,
    }
}
