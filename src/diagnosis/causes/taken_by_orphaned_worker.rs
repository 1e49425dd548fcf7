//! A worker whose master was killed took the message; its log goes nowhere.

use crate::diagnosis::evidence::{broker, others, workers};
use crate::diagnosis::premises::Premise;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "taken-by-orphaned-worker",
    keeps_from: &[Stage::Received],
    owner: &[Owner::Deployment],
    explains: others::OF_ITS_RUN,
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose, Source::Management], &[Source::Process]],
    page: include_str!("taken_by_orphaned_worker.md"),
    check,
    ..Cause::DEFAULT
};

/// What the page's remedies tell apart.
const HAS_RUN_IT: &str = "it ran the task";
const HAS_NOT: &str = "it has not run the task";

fn check(story: &Story<'_>) -> Answer {
    // A master has no master: whoever started it may be gone.
    if story.master_takes() {
        return Answer::NotApplicable;
    }
    let Some(passage) = story.deliveries().last() else {
        return others::without_a_delivery(story, |other| other.is_orphan());
    };
    let peer = story.peer(passage.connection);

    let Some(process) = peer.and_then(|peer| story.process(peer.value)) else {
        return Answer::NotApplicable;
    };
    let name = process.command.join(" ");
    if !workers::is_worker(&process) {
        return Answer::NotApplicable;
    }
    let parent = process.parent_command.as_deref().unwrap_or_default();
    // The healthy child of a master shares its command line; one started by `spawn` or by a fork
    // server is a child of a Python process that is.
    let related = parent == process.command
        || workers::is_worker_command(parent)
        || parent
            .iter()
            .any(|word| word.contains("forkserver") || word.contains("multiprocessing"));
    if related {
        return Answer::ruled_out(
            format!("pid {} has its master (pid {})", process.pid, process.ppid),
            [process.n],
        );
    }
    let text = format!(
        "delivered to pid {} (`{name}`), a worker whose master is gone: its parent is pid {}",
        process.pid, process.ppid
    );
    let client = Premise::PeerIsProcess(passage.connection.to_owned());
    let has_run_it = story.reached(Stage::Entered).is_some();
    let answer = match story.is_watched(process.pid) {
        Some(true) => Answer::NotApplicable,
        // Without the parent's command line it may be the container's healthy master. And where it has run the task,
        // the code of today may have the fault of its own, too.
        Some(false) if process.ppid == 1 && !parent.is_empty() && !has_run_it => broker::taken(
            story,
            Answer::shown(text, [passage.n, process.n]).given([client, Premise::SamePidSpace]),
        ),
        _ => broker::taken(story, Answer::likely(text, [passage.n, process.n]))
            .would_decide(&[Source::WorkerLog]),
    };
    answer
        .naming("{pid}", process.pid)
        .case(HAS_RUN_IT, has_run_it)
        .case(HAS_NOT, !has_run_it)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::Certainty;
    use crate::diagnosis::testing::{OTHER, Scene};

    fn orphan() -> Scene {
        Scene::sent_to_another()
            .process(900, 1, "python dramatiq app", |_| {})
            .peer(OTHER, 900)
    }

    #[test]
    fn its_master_is_gone() {
        assert_eq!(orphan().silence().cause(), "certain taken-by-orphaned-worker");
        assert_eq!(orphan().answer(&CAUSE), "not applicable");
    }

    /// The code of today need not have the fault that its own has.
    #[test]
    fn what_it_raised_comes_of_its_being_there() {
        let raised = orphan().retried_by_the_other().silence();
        let verdict = raised.verdict();
        let cause = verdict.cause.expect("a cause");
        assert_eq!(
            (cause.id.as_str(), cause.certainty),
            ("taken-by-orphaned-worker", Certainty::Likely)
        );
        assert_eq!(cause.explains[0].id, "actor-raised");
        assert_eq!(verdict.scenario, Some(Scenario::A));
        // Before the run has ended: nothing more comes.
        let verdict = orphan().retried_by_the_other().verdict();
        assert_eq!(verdict.cause.expect("a cause").id, "taken-by-orphaned-worker");
        assert!(verdict.terminal);
    }

    #[test]
    fn a_master_that_is_pid_1_of_a_container_is_a_near_miss() {
        let child = Scene::sent_to_another()
            .process(900, 1, "python dramatiq app", |process| {
                process.parent_command = Some(process.command.clone());
            })
            .peer(OTHER, 900)
            .silence();
        assert_eq!(child.answer(&CAUSE), "ruled out");
        let unreadable = Scene::sent_to_another()
            .process(900, 1, "python dramatiq app", |process| {
                process.parent_command = None
            })
            .peer(OTHER, 900)
            .silence();
        assert_eq!(unreadable.answer(&CAUSE), "likely");
    }

    #[test]
    fn without_processes_it_cannot_be_told() {
        for source in [Source::Process, Source::Firehose] {
            assert_eq!(orphan().silence().without(source).answer(&CAUSE), "cannot tell");
        }
    }
}
