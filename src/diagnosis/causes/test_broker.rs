//! The API sends into a stub broker.

use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "test-broker",
    keeps_from: &[Stage::Published],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Process]],
    general: false,
    page: include_str!("test_broker.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if story.published().is_some() {
        return Answer::NotApplicable;
    }
    let api = story.api_processes();
    if let Some((n, thread)) = super::stub_frame(
        story,
        &api.iter().map(|(_, process)| process.pid).collect::<Vec<_>>(),
    ) {
        return Answer::certain(
            format!("the API runs Dramatiq's stub broker (thread {thread}): messages stay in its memory"),
            [n],
        );
    }
    if api.is_empty() {
        return Answer::cannot_tell(&[Source::Process]);
    }
    for (n, process) in &api {
        if let Some(socket) = super::amqp_socket(story, process) {
            return Answer::ruled_out(
                format!("the API (pid {}) has an AMQP connection: {socket}", process.pid),
                [*n],
            );
        }
    }
    for (n, process) in &api {
        if let Some((name, value)) = super::test_switch(process)
            && process.sockets_seen
            && story.closed()
        {
            return Answer::likely(
                format!(
                    "the API (pid {}) has {name}={value} in its environment and opened no AMQP connection: a stub broker keeps the message",
                    process.pid
                ),
                [*n],
            );
        }
    }
    Answer::NotApplicable
}
