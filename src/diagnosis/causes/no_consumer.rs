//! Nobody is subscribed to the queue.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "no-consumer",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue]],
    general: true,
    page: include_str!("no_consumer.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if story.published().is_none() && story.reached(Stage::Published).is_none() {
        return Answer::NotApplicable;
    }
    let depths = story.depths_since(story.queue());
    if let Some(seen) = depths.iter().find(|depth| depth.consumers > 0) {
        return Answer::ruled_out(format!("{} consumers", seen.consumers), [seen.n]);
    }
    let Some(last) = depths.last().filter(|depth| depth.exists) else {
        return Answer::cannot_tell(&[Source::Queue]);
    };
    if !story.closed() {
        return Answer::NotApplicable;
    }
    let mut evidence: Vec<u32> = story.published().map(|passage| passage.n).into_iter().collect();
    evidence.push(last.n);
    let text = format!(
        "0 consumers on `{}` in every sample since the submission, {} ready",
        story.queue(),
        last.ready
    );
    // A worker that lives has a reason of its own not to consume, even if it could not be shown.
    if let Some(n) = super::watched_is_alive(story) {
        evidence.push(n);
        return Answer::likely(format!("{text}, although the watched worker is alive"), evidence);
    }
    let text = format!("{text}: no worker runs");
    if last.ready > 0 && super::is_on_the_queue(story) {
        Answer::certain(text, evidence)
    } else {
        Answer::likely(text, evidence)
    }
}
