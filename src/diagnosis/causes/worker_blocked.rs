//! The watched worker has it, and nothing more is known.

use crate::diagnosis::evidence::broker;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-blocked",
    keeps_from: &[Stage::Received],
    owner: &[Owner::WorkerCode],
    explains: &[],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::WorkerLog]],
    general: true,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("worker_blocked.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some(passage) = story.deliveries().last() else {
        return Answer::NotApplicable;
    };
    let peer = story.peer(passage.connection);
    // What was settled is not stuck in it.
    if !story.closed() || broker::drained(story).is_some() {
        return Answer::NotApplicable;
    }
    match peer {
        Some((found, pid)) if story.is_watched(pid) == Some(true) && story.gone(pid).is_none() => {
            let text =
                format!("delivered to the watched worker (pid {pid}), which is alive and logs nothing of it");
            if story.debug_log() {
                Answer::likely(text, [passage.n, found])
            } else {
                Answer::cannot_tell(&[Source::WorkerLog])
            }
        }
        _ => Answer::cannot_tell(&[Source::Process]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{Scene, WORKER};

    fn silent() -> Scene {
        Scene::new()
            .worker_booted()
            .depth("default", 0, 1)
            .submitted()
            .row("PENDING")
            .publish("default")
            .deliver(WORKER)
            .peer(WORKER, 101)
    }

    #[test]
    fn the_watched_worker_has_it_and_says_nothing() {
        assert_eq!(silent().silence().cause(), "likely worker-blocked");
        assert_eq!(silent().cause(), "none");
    }

    #[test]
    fn without_debug_lines_or_processes_it_cannot_be_told() {
        let quiet = Scene::quiet(|scene| scene).silence();
        assert_eq!(quiet.answer(&CAUSE), "cannot tell");
        assert_eq!(
            silent().silence().without(Source::Process).answer(&CAUSE),
            "cannot tell"
        );
    }
}
