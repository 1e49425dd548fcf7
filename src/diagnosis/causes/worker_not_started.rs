//! The worker died while it started.

use crate::diagnosis::story::Told;
use crate::diagnosis::{Answer, Cause, Scenario, Stage, Story};
use crate::framework::Mark;
use crate::framework::dramatiq::Trace;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "worker-not-started",
    keeps_from: &[Stage::Delivered],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Queue]],
    general: false,
    page: include_str!("worker_not_started.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = super::has_consumer(story) {
        return answer;
    }
    if !story.sees(Source::WorkerLog) {
        return Answer::cannot_tell(&[Source::WorkerLog]);
    }
    let lines = story.worker_lines();
    // What a dying worker said last; any sign of a later life makes it history.
    let Some(at) = lines.iter().rposition(|told| died_at_start(told)) else {
        return Answer::NotApplicable;
    };
    if let Some(alive) = lines[at + 1..].iter().find(|told| {
        matches!(
            told.mark,
            Some(
                Mark::Ready
                    | Mark::AddingConsumer { .. }
                    | Mark::Received { .. }
                    | Mark::ConnectionError { .. }
            )
        )
    }) {
        return Answer::ruled_out("a worker started after that", [alive.n]);
    }
    let told = lines[at];
    let when = told
        .stated
        .map(|stated| format!(" at {stated}"))
        .unwrap_or_default();
    let mut evidence = vec![told.n];
    evidence.extend(story.depths(story.queue()).last().map(|depth| depth.n));
    let text = format!(
        "0 consumers, and the worker's log ends{when} in: {}",
        reason(&told)
    );
    // A bare traceback after "ready" may be a thread's that printed it and lives on.
    let unsure = told.mark.is_none()
        && lines[..at]
            .iter()
            .rev()
            .find_map(|told| match told.mark {
                Some(Mark::Ready) => Some(true),
                Some(Mark::Stopping | Mark::ShutDown | Mark::ChildDied { .. }) => Some(false),
                _ => None,
            })
            .unwrap_or(false);
    // Seen as it happened it is certain; an old line may be yesterday's crash, and a supervisor may
    // just be trying again.
    let old = told.line.before && !story.ended_recently(&told);
    if old || unsure || !story.closed() {
        Answer::likely(text, evidence).would_decide(&[Source::Process])
    } else {
        Answer::certain(text, evidence)
    }
}

fn died_at_start(told: &Told<'_>) -> bool {
    match told.mark {
        Some(Mark::ImportFailed | Mark::UsageError) => true,
        // The exporter's port is taken: only its own process dies, the worker goes on. So a taken
        // port counts only as the end of a bare traceback. An application that logs an exception
        // in a format of its own has something else before it.
        None => {
            let text = told.line.text.as_str();
            let bare = text.starts_with("Traceback (most recent call last)") || text.starts_with("Process ");
            bare && told.line.logger.is_none()
                && told
                    .line
                    .traceback
                    .as_deref()
                    .is_some_and(|text| text.contains("Traceback (most recent call last)"))
        }
        _ => false,
    }
}

/// The reason in one line.
fn reason(told: &Told<'_>) -> String {
    let exception = told
        .line
        .traceback
        .as_deref()
        .and_then(Trace::parse)
        .map(|trace| trace.exception)
        .filter(|text| !text.is_empty());
    let text = exception.unwrap_or_else(|| told.line.text.trim().to_owned());
    let digits = text
        .strip_prefix("ModuleNotFoundError: No module named '")
        .map(|rest| rest.trim_end_matches('\''));
    match digits {
        Some(name) if !name.is_empty() && name.chars().all(|c| c.is_ascii_digit()) => {
            format!(
                "{text}: `-v` takes no value, so `-v {name}` makes dramatiq import a module called {name}; write `-v`"
            )
        }
        _ => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::Level;

    /// Sent, and nobody consumes; then the worker's log.
    fn nobody() -> Scene {
        Scene::new()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
            .from_before(30)
    }

    const IMPORT: &str = "Failed to import module.\nTraceback (most recent call last):\n  File \"/v/dramatiq/cli.py\", line 1, in worker_process\nModuleNotFoundError: No module named '2'";

    #[test]
    fn the_log_ends_in_a_failed_import() {
        let scene = nobody().error("dramatiq.WorkerProcess(0)", IMPORT).silence();
        assert_eq!(scene.cause(), "certain worker-not-started");
        let summary = scene.verdict().cause.expect("a cause").summary;
        assert!(summary.contains("`-v` takes no value"), "{summary}");
        assert_eq!(scene.verdict().scenario, Some(Scenario::B));
    }

    #[test]
    fn yesterdays_crash_is_only_likely_and_a_later_life_excludes_it() {
        let old = nobody()
            .from_before(90_000)
            .error("dramatiq.WorkerProcess(0)", IMPORT)
            .silence();
        assert_eq!(old.cause(), "likely worker-not-started");
        let later = nobody()
            .error("dramatiq.WorkerProcess(0)", IMPORT)
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .silence();
        assert_eq!(later.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn an_applications_traceback_is_a_near_miss() {
        let logged = nobody()
            .plain(
                Some(Level::Error),
                "2025-01-01 10:00:00 ERROR order failed\nTraceback (most recent call last):\n  File \"/app/x.py\", line 1, in f\nValueError: no",
            )
            .silence();
        assert_eq!(logged.answer(&CAUSE), "not applicable");
        let printed = nobody()
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .plain(
                None,
                "Traceback (most recent call last):\n  File \"/app/x.py\", line 1, in f\nValueError: no",
            )
            .silence();
        assert_eq!(printed.answer(&CAUSE), "likely");
    }

    #[test]
    fn a_consumer_excludes_it_and_no_log_cannot_tell() {
        let scene = nobody().error("dramatiq.WorkerProcess(0)", IMPORT);
        assert_eq!(
            scene.clone().depth("default", 0, 1).silence().answer(&CAUSE),
            "ruled out"
        );
        assert_eq!(
            scene.silence().without(Source::WorkerLog).answer(&CAUSE),
            "cannot tell"
        );
    }
}
