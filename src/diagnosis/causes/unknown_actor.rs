//! The worker does not know the actor that the message names.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "unknown-actor",
    keeps_from: &[Stage::Received],
    scenario: Some(Scenario::B),
    needs: &[&[Source::WorkerLog]],
    general: false,
    page: include_str!("unknown_actor.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(told) = story.line(|mark| matches!(mark, Mark::UndefinedActor { .. })) {
        return Answer::certain(told.line.text.clone(), [told.n]).terminal();
    }
    // The line has no id: with this actor's name, after the publish, and nobody else's.
    let passages = story.publishes().iter().chain(story.stray_publishes());
    for passage in passages {
        let Some(actor) = passage.message.actor.as_deref() else {
            continue;
        };
        let refused = story.worker_lines().iter().find(|told| {
            story.counts(told)
                && told.at_ms >= passage.at_ms
                && matches!(told.mark, Some(Mark::UndefinedActor { actor: undefined }) if undefined == actor)
        });
        let Some(told) = refused else { continue };
        let others = story
            .other_publishes()
            .any(|(_, _, message)| message.actor.as_deref() == Some(actor));
        let text = format!("the worker knows no actor `{actor}`: {}", told.line.text);
        return if others {
            Answer::likely(text, [passage.n, told.n])
        } else {
            Answer::certain(text, [passage.n, told.n]).terminal()
        };
    }
    match story
        .worker_lines()
        .iter()
        .find(|told| story.counts(told) && matches!(told.mark, Some(Mark::UndefinedActor { .. })))
    {
        Some(told) if !story.sees(Source::Firehose) && story.closed() && story.lines().is_empty() => {
            Answer::possible(
                format!(
                    "the worker refused a message, perhaps this one: {}",
                    told.line.text
                ),
                [told.n],
            )
            .would_decide(&[Source::Firehose])
        }
        _ => Answer::NotApplicable,
    }
}
