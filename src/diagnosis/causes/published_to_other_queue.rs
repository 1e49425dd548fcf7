//! The message went to a queue that is not the configured one.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "published-to-other-queue",
    keeps_from: &[Stage::Published],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose]],
    general: false,
    page: include_str!("published_to_other_queue.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(passage) = story.published() {
        return Answer::ruled_out(format!("published to `{}`", passage.queue), [passage.n]);
    }
    let Some(passage) = story.publishes().first() else {
        return Answer::NotApplicable;
    };
    // Only on the default exchange is the routing key the queue's name.
    let exchange = story
        .timeline
        .event(passage.n)
        .and_then(|event| match &event.kind {
            EventKind::Publish { exchange, .. } => Some(exchange.as_str()),
            _ => None,
        });
    // Another message with the same id (an audit, a mail) may go there too: the actor decides which
    // one is the task's, and the end whether another follows.
    let wanted = story.timeline.setup.actor.as_deref();
    let is_the_one = wanted.is_some() && passage.message.actor.as_deref() == wanted;
    let (text, certain) = match exchange {
        Some("") => (
            format!("published to `{}`, not to `{}`", passage.queue, story.queue()),
            is_the_one && story.closed(),
        ),
        other => (
            format!(
                "published to exchange `{}` with routing key `{}`, not to `{}`",
                other.unwrap_or("?"),
                passage.queue,
                story.queue()
            ),
            false,
        ),
    };
    if certain {
        Answer::certain(text, [passage.n])
    } else {
        Answer::likely(text, [passage.n])
    }
}
