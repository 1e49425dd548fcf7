//! The worker process is stopped.

use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-frozen",
    keeps_from: &[Stage::Received],
    owner: &[Owner::DatabaseHost],
    explains: &["workers-busy", "waiting-in-worker", "worker-blocked", "backlog"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Process]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("worker_frozen.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story.deliveries().last() else {
        return Answer::NotApplicable;
    };
    let peer = story.peer(passage.connection);

    let Some((n, process)) = peer.and_then(|(_, pid)| story.process(pid)) else {
        return Answer::NotApplicable;
    };
    match process.state {
        'T' | 't' => Answer::shown(
            format!(
                "pid {} is stopped (state {}): it was sent SIGSTOP, or a debugger holds it",
                process.pid, process.state
            ),
            [passage.n, n],
        )
        .given([Premise::PeerIsProcess(passage.connection.to_owned())]),
        'Z' => Answer::NotApplicable,
        'D' if story.closed() => Answer::likely(
            format!("pid {} is in uninterruptible sleep (state D)", process.pid),
            [passage.n, n],
        ),
        state => Answer::ruled_out(format!("pid {} is in state {state}", process.pid), [n]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    fn in_state(state: char) -> Scene {
        Scene::new()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .peer(WORKER, 101)
            .process(101, 100, "python dramatiq app", |process| process.state = state)
            .silence()
    }

    #[test]
    fn stopped_by_a_signal() {
        assert_eq!(in_state('T').cause(), "certain worker-frozen");
        assert_eq!(in_state('D').answer(&CAUSE), "likely");
    }

    #[test]
    fn asleep_is_not_stopped() {
        assert_eq!(in_state('S').answer(&CAUSE), "ruled out");
        assert_eq!(
            in_state('T').without(Source::Process).answer(&CAUSE),
            "cannot tell"
        );
    }
}
