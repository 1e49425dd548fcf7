//! The watched worker has it, and nothing more is known.

use crate::diagnosis::evidence::{Fact, broker, workers};
use crate::diagnosis::premises::EventId;
use crate::diagnosis::{Answer, Cause, Claim, Owner, Scenario, Stage, Stand, Story};
use crate::framework::LogEvent;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-blocked",
    keeps_from: &[Stage::Received],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::WorkerLog]],
    general: true,
    stand: Stand::Hangs,
    claims: &[Claim::LogsNothing, Claim::IsAlive],
    page: include_str!("worker_blocked.md"),
    check,
    ..Cause::DEFAULT
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
    // A master that reads tells of it; what keeps the task after that is another's affair.
    if let Some(told) = story.lines().first().filter(|_| story.master_takes()) {
        return Answer::ruled_out("the worker's log has it", [told.n]);
    }
    match peer {
        Some(Fact { n, value: pid, .. })
            if story.is_watched(pid) == Some(true) && story.gone(pid).is_none() =>
        {
            let says = match story.line(|mark| matches!(mark, LogEvent::Pushed { .. })) {
                Some(_) => "which is alive, has put it onto its own work queue, and logs nothing more of it",
                None => "which is alive and logs nothing of it",
            };
            let text = format!("delivered to the watched worker (pid {pid}), {says}");
            if let Some((why, reason)) = may_be_quiet(story, pid) {
                let evidence = [passage.n, n].into_iter().chain(why);
                Answer::possible(format!("{text}; {reason}"), evidence.collect::<Vec<_>>())
            } else if story.debug_log() {
                Answer::likely(text, [passage.n, n])
            } else {
                Answer::cannot_tell(&[Source::WorkerLog])
            }
        }
        _ => Answer::cannot_tell(&[Source::Process]),
    }
}

/// Where a master takes messages, its silence is that of one that cannot, unless it is at work itself, or its log does
/// not tell of what it takes.
fn may_be_quiet(story: &Story<'_>, pid: i32) -> Option<(Option<EventId>, String)> {
    if !story.master_takes() || !story.debug_log() {
        return None;
    }
    let has_children = story
        .all_processes()
        .any(|process| process.ppid == pid && process.lives());
    let running = workers::running_others(story);
    if let Some(other) = running.last().filter(|_| !has_children) {
        let reason = format!(
            "it runs `{other}`, and where its pool is that one process it reads nothing until that ends"
        );
        return Some((Some(other.n), reason));
    }
    let mut lines = story.worker_lines().iter();
    let tells = lines.any(|told| matches!(told.mark, Some(LogEvent::Pushed { .. })));
    (!tells).then(|| {
        (
            None,
            "its log has not told of any message that it took".to_owned(),
        )
    })
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

    #[test]
    fn what_it_logs_of_it_is_not_denied() {
        let said = silent().pushed("m-1").silence();
        assert_eq!(said.answer(&CAUSE), "likely");
        assert!(
            !said.summary().contains("logs nothing of it"),
            "{}",
            said.summary()
        );
    }
}
