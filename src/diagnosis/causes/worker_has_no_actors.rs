//! The worker found no actors on its broker object.

use crate::diagnosis::evidence::{broker, connections, workers};
use crate::diagnosis::premises::{Premise, State};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::framework::{LogEvent, WITH_MIDDLEWARE};
use crate::timeline::{Level, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "worker-has-no-actors",
    keeps_from: &[Stage::Delivered],
    owner: &[Owner::WorkerCode],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Queue], &[Source::WorkerLog]],
    applies_to: WITH_MIDDLEWARE,
    page: include_str!("worker_has_no_actors.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(answer) = broker::has_consumer(story) {
        return answer;
    }
    let lines = story.worker_lines();
    let Some(ready) = lines
        .iter()
        .rev()
        .find(|told| matches!(told.mark, Some(LogEvent::Ready)))
    else {
        return Answer::NotApplicable;
    };
    if let Some(adding) = lines
        .iter()
        .find(|told| matches!(told.mark, Some(LogEvent::AddingConsumer { .. })))
    {
        return Answer::ruled_out("it added a consumer", [adding.n]);
    }
    // `Adding consumer` is DEBUG: without -v its absence says nothing.
    if !story.debug_log() {
        return Answer::cannot_tell(&[Source::WorkerLog]);
    }
    let is_anothers = matches!(
        story.state(&Premise::WriterIsTheWorker(ready.n)),
        State::Refuted(_)
    );
    if !story.closed() || is_anothers {
        return Answer::NotApplicable;
    }
    let mut evidence = vec![ready.n];
    evidence.extend(story.depths(story.queue()).last().map(|depth| depth.n));
    // The master never has a connection: it must be the process that said "ready".
    let idle = workers::live_workers(story).into_iter().find(|process| {
        ready.pid == Some(process.pid)
            && process.sockets_seen
            && connections::amqp_socket(story, process).is_none()
    });
    let text = "the worker is ready and added no consumer: no actor is declared on its broker";
    // Its loggers may be quieter than others.
    let prefix = format!("{}.worker.", story.framework().log.logger);
    let tells = lines.iter().any(|told| {
        let logger = told.line.logger.as_deref().unwrap_or_default();
        told.line.level == Some(Level::Debug) && logger.starts_with(&prefix)
    });
    match idle.filter(|_| tells) {
        Some(process) => {
            evidence.push(process.n);
            Answer::shown(
                format!("{text}; pid {} has no AMQP connection", process.pid),
                evidence,
            )
            .given([Premise::SamePidSpace, Premise::LogIsWhole])
        }
        None => Answer::likely(text, evidence).would_decide(&[Source::Process]),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;
    use crate::timeline::EventKind;

    fn nobody() -> Scene {
        Scene::new()
            .depth("default", 0, 0)
            .submitted()
            .row("PENDING")
            .publish("default")
            .depth("default", 1, 0)
    }

    fn ready() -> Scene {
        nobody()
            .debug("dramatiq.WorkerProcess(0)", "Loading modules...")
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
    }

    #[test]
    fn ready_at_debug_without_a_consumer() {
        assert_eq!(ready().silence().cause(), "likely worker-has-no-actors");
        // Certain only where the file that the worker writes was read to its end.
        let seen = ready()
            .debug("dramatiq.worker.WorkerThread", "Running worker thread...")
            .process(101, 100, "python dramatiq -v app", |process| {
                process.is_configured = true;
            });
        assert_eq!(seen.clone().silence().cause(), "likely worker-has-no-actors");
        let read = |scene: Scene| {
            let path = "worker.log".into();
            scene
                .see(Source::WorkerLog, EventKind::ReadWhole { path })
                .silence()
        };
        assert_eq!(read(seen).cause(), "certain worker-has-no-actors");
        // The loggers that tell of consumers may be quieter.
        let quieter = ready().worker_process(&[]);
        assert_eq!(read(quieter).answer(&CAUSE), "likely");
    }

    /// Another service writes to the same log.
    #[test]
    fn the_ready_line_of_a_neighbour_is_a_near_miss() {
        let scene = ready()
            .setup(|setup| setup.worker_command = vec!["dramatiq".into(), "app".into()])
            .process(101, 100, "python dramatiq -v mail", |_| {});
        assert_eq!(scene.silence().answer(&CAUSE), "not applicable");
    }

    #[test]
    fn the_master_never_has_a_connection() {
        let scene = ready()
            .line("[PID 100] [MainThread] [dramatiq.MainProcess] [INFO] Dramatiq '2.2.1' is booting up.")
            .process(100, 1, "python dramatiq app", |_| {})
            .silence();
        assert_eq!(scene.answer(&CAUSE), "likely");
    }

    #[test]
    fn without_debug_lines_it_cannot_be_told() {
        let info = nobody()
            .info("dramatiq.WorkerProcess(0)", "Worker process is ready for action.")
            .silence();
        assert_eq!(info.answer(&CAUSE), "cannot tell");
        let added = ready()
            .debug(
                "dramatiq.worker._WorkerMiddleware",
                "Adding consumer for queue 'default'.",
            )
            .silence();
        assert_eq!(added.answer(&CAUSE), "ruled out");
    }
}
