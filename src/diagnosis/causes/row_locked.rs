//! The actor waits for a lock on the task's row.

use crate::diagnosis::{Answer, Cause, Stage, Story};
use crate::timeline::EventKind;
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "row-locked",
    keeps_from: &[Stage::Finished],
    scenario: None,
    needs: &[&[Source::Database]],
    general: false,
    page: include_str!("row_locked.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let wait = story
        .timeline
        .events
        .iter()
        .rev()
        .find_map(|event| match &event.kind {
            EventKind::LockWait(wait) => Some((event.n, Some(wait))),
            EventKind::LockFree => Some((event.n, None)),
            _ => None,
        });
    let Some((n, wait)) = wait else {
        return Answer::NotApplicable;
    };
    let Some(wait) = wait else {
        return Answer::ruled_out("the row was locked for a while, and is free again", [n]);
    };
    let blocker = match wait.blockers.first() {
        Some(blocker) => {
            let mut who = format!("backend {}", blocker.pid);
            if let Some(application) = &blocker.application {
                who.push_str(&format!(" ({application})"));
            }
            if let Some(state) = &blocker.state {
                who.push_str(&format!(", {state}"));
            }
            if let Some(seconds) = blocker.transaction_s {
                who.push_str(&format!(", in a transaction for {seconds} s"));
            }
            if let Some(query) = &blocker.query {
                who.push_str(&format!(", last statement `{query}`"));
            }
            who
        }
        None => "a backend that cannot be seen".into(),
    };
    let waiter = wait
        .client
        .as_deref()
        .and_then(|client| story.peer_of_client(client));
    let text = format!(
        "backend {} waits for a lock on this row, held by {blocker}",
        wait.pid
    );
    match waiter {
        Some((found, pid))
            if story.is_watched(pid) == Some(true)
                || story.deliveries().any(|passage| {
                    story
                        .peer(passage.connection)
                        .is_some_and(|(_, peer)| peer == pid)
                }) =>
        {
            let text = format!("the worker (pid {pid}) waits: {text}");
            // Until the end it may be one of the waits that every system has.
            if story.closed() {
                Answer::certain(text, [n, found])
            } else {
                Answer::likely(text, [n, found])
            }
        }
        Some((found, pid)) => Answer::possible(
            format!("{text}; the waiting client is pid {pid}, not the worker"),
            [n, found],
        ),
        None => Answer::likely(text, [n]).would_decide(&[Source::Process]),
    }
}
