//! The exception behind a verdict, for whoever has to find the line.

use super::Story;
use crate::diagnosis::verdict::{Exception, ExceptionFrame};
use crate::timeline::EventKind;

/// The innermost frames are what is looked for.
const MOST_FRAMES: usize = 40;

impl Story<'_> {
    /// The first traceback among the events that a verdict points at.
    pub fn exception_among(&self, evidence: impl IntoIterator<Item = u32>) -> Option<Exception> {
        evidence.into_iter().find_map(|n| self.exception_of(n))
    }

    fn exception_of(&self, n: u32) -> Option<Exception> {
        let text = match &self.timeline.event(n)?.kind {
            EventKind::Line(line) => line.traceback.as_deref(),
            EventKind::Publish { message, .. }
            | EventKind::Deliver { message, .. }
            | EventKind::DeadLetter { message, .. } => message.traceback.as_deref(),
            _ => None,
        }?;
        let trace = self.framework().traceback(text)?;
        let hidden = trace.frames.len().saturating_sub(MOST_FRAMES);
        let frames = trace.frames[hidden..].iter().map(|frame| ExceptionFrame {
            application: trace.is_application(frame),
            file: frame.file.clone(),
            line: frame.line,
            function: frame.function.clone(),
        });
        Some(Exception {
            frames: frames.collect(),
            exception: trace.root.clone(),
            evidence: n,
        })
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::{CALL, Scene};

    #[test]
    fn of_a_chain_the_first_exception_and_the_last_frames() {
        let first = "Traceback (most recent call last):\n  File \"/v/site-packages/sqlalchemy/engine.py\", line 8, in run\npsycopg2.OperationalError: gone";
        let chained = "The above exception was the direct cause of the following exception:";
        let last = "  File \"/app/tasks.py\", line 66, in act\n  File \"/v/site-packages/sqlalchemy/orm.py\", line 9, in get\nsqlalchemy.exc.OperationalError: gone";
        let scene = Scene::entered().error(
            "dramatiq.worker.WorkerThread",
            &format!("Failed to process message act('x') with unhandled exception.\n{first}\n\n{chained}\n\n{CALL}{last}"),
        );
        let traceback = scene.verdict().traceback.expect("a traceback");
        assert_eq!(traceback.exception, "psycopg2.OperationalError: gone");
        let own: Vec<u32> = traceback
            .frames
            .iter()
            .filter(|frame| frame.application)
            .map(|frame| frame.line)
            .collect();
        assert_eq!(own, [66]);
    }

    #[test]
    fn where_nothing_raised_there_is_none() {
        assert_eq!(Scene::entered().timeout().verdict().traceback, None);
    }
}
