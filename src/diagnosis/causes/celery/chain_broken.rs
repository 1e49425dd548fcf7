//! The task comes after another one, and that one has failed: ours is never sent.

use super::APPLIES_TO;
use crate::diagnosis::evidence::later::Fate;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(in crate::diagnosis::causes) const CAUSE: Cause = Cause {
    id: "chain-broken",
    // A result has no row before its task has ended.
    keeps_from: &[Stage::Published, Stage::Recorded],
    owner: &[Owner::WorkerCode],
    explains: &[],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Firehose], &[Source::WorkerLog]],
    general: false,
    fails_attempt: false,
    applies_to: APPLIES_TO,
    page: include_str!("chain_broken.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let before = story.predecessors();
    if before.is_empty() {
        return Answer::NotApplicable;
    }
    let failed = before.iter().find_map(|task| match task.fate(story) {
        Fate::Failed(why) => Some((task, why)),
        _ => None,
    });
    let Some((task, why)) = failed else {
        return Answer::NotApplicable;
    };
    let ours = &task.ours;
    let text = format!(
        "`{}` is to be sent after `{}` in a {}, and that one failed: {why}; so it is never sent",
        ours.actor,
        task.name(),
        ours.after
    );
    // What was not seen may have been sent all the same: by an error handler, or by hand.
    // Or what failed comes again, by the route of dead letters.
    let comes_again = story
        .infos(story.queue())
        .any(|info| info.setting("dead-letter-exchange").is_some() || info.policy_unknown);
    match story.was_surely_not_sent() && !comes_again {
        true => Answer::shown(text, [task.passage.n, why.n]).terminal(),
        false => Answer::likely(text, [task.passage.n, why.n]).would_decide(&[Source::Firehose]),
    }
}

#[cfg(test)]
mod tests {
    use super::super::scenes::{Chained, FIRST};
    use super::*;

    #[test]
    fn the_one_before_it_failed() {
        let scene = Chained::after("chain")
            .error(&format!(
                "Task shop.tasks.first[{FIRST}] raised unexpected: LookupError('no such pen')"
            ))
            .silence();
        assert_eq!(scene.cause(), "certain chain-broken", "{}", scene.summary());
        assert!(scene.summary().contains("no such pen"), "{}", scene.summary());
        assert_eq!(scene.without(Source::Firehose).answer(&CAUSE), "cannot tell");
    }

    /// A queue with a route for dead letters may bring the failed one back.
    #[test]
    fn where_dead_letters_have_a_way_back_it_is_likely() {
        let failed = |arguments: serde_json::Value| {
            Chained::after("chain")
                .and(|scene| scene.totals("celery", 0, 0, arguments))
                .error(&format!(
                    "Task shop.tasks.first[{FIRST}] raised unexpected: LookupError('no such pen')"
                ))
                .silence()
                .cause()
        };
        assert_eq!(failed(serde_json::json!({})), "certain chain-broken");
        let routed = serde_json::json!({ "x-dead-letter-exchange": "pause" });
        assert_eq!(failed(routed), "likely chain-broken");
    }

    #[test]
    fn anothers_failure_and_one_that_goes_on_are_near_misses() {
        let other = Chained::after("chain").error(
            "Task shop.tasks.first[99999999-7a09-4a1f-9d2c-0d5e3c0b7f11] raised unexpected: LookupError('x')",
        );
        assert_eq!(other.silence().answer(&CAUSE), "not applicable");
        let retries = Chained::after("chain").info(&format!(
            "Task shop.tasks.first[{FIRST}] retry: Retry in 9s: LookupError('x')"
        ));
        assert_eq!(retries.silence().answer(&CAUSE), "not applicable");
        // Ours was sent: what keeps it now is another matter.
        let sent = Chained::after("chain").sent().error(&format!(
            "Task shop.tasks.first[{FIRST}] raised unexpected: LookupError('x')"
        ));
        assert_eq!(sent.silence().answer(&CAUSE), "not applicable");
    }
}
