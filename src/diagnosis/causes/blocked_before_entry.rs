//! A hook before the actor hangs.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "blocked-before-entry",
    keeps_from: &[Stage::Entered],
    scenario: Some(Scenario::C),
    needs: &[&[Source::WorkerLog]],
    general: false,
    page: include_str!("blocked_before_entry.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(received) = story.line(|mark| matches!(mark, Mark::Received { .. })) else {
        return Answer::NotApplicable;
    };
    if let Some(called) = story.line(|mark| matches!(mark, Mark::Called)) {
        return Answer::ruled_out("the framework called the actor", [called.n]);
    }
    if !story.closed() || story.attempt_over().is_some() {
        return Answer::NotApplicable;
    }
    let hook = super::own_frame(story, received.line.pid, "before_process_message");
    match hook {
        Some((n, frame)) => Answer::certain(format!("the worker thread hangs in a hook before the actor: {frame}"), [received.n, n]),
        None => Answer::likely("a thread received the message and never called the actor: it hangs in a before_process_message hook", [received.n]).would_decide(&[Source::Process]),
    }
}
