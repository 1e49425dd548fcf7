//! No verdict against its own recording: what each cause claims, held against everything that was
//! seen. A contradiction makes the cause `possible` and is shown with it.

use super::Answer;
use super::evidence::Story;
use super::evidence::discard::Discard;
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Source};
use crate::units;

/// What contradicts a claim.
pub(super) struct Contradiction {
    pub(super) n: u32,
    pub(super) text: String,
}

/// A cause's claim about the world, as data: its words are not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Claim {
    /// The watched worker's log has nothing of the task.
    LogsNothing,
    /// The call of the actor has not returned.
    IsRunning,
    /// There is no row.
    NoRow,
    /// The process lives.
    IsAlive,
    /// The API sent nothing.
    NothingSent,
    /// No final status was written.
    NotFinal,
}

/// The claims of each cause that has any.
const CLAIMS: &[(&str, &[Claim])] = &[
    ("worker-blocked", &[Claim::LogsNothing, Claim::IsAlive]),
    ("worker-log-silent", &[Claim::LogsNothing]),
    ("actor-still-running", &[Claim::IsRunning, Claim::NotFinal]),
    ("event-loop-blocked", &[Claim::IsRunning]),
    ("row-missing", &[Claim::NoRow]),
    ("row-never-written", &[Claim::NotFinal]),
    ("row-rolled-back", &[Claim::NotFinal]),
    ("worker-frozen", &[Claim::IsAlive]),
    ("worker-on-test-broker", &[Claim::IsAlive]),
    ("worker-threads-dead", &[Claim::IsAlive]),
    ("not-dispatched", &[Claim::NothingSent]),
    ("not-published", &[Claim::NothingSent]),
    ("test-broker", &[Claim::NothingSent]),
    ("published-to-other-broker", &[Claim::NothingSent]),
];

/// Causes that say: it waits, and will run.
const WAITS_TO_RUN: &[&str] = &[
    "backlog",
    "chain-waiting",
    "chord-waiting",
    "delayed",
    "eta-blocks-worker",
    "pool-stuck",
    "rate-limited",
    "solo-blocked",
    "waiting-in-worker",
    "workers-busy",
];

/// What waits, and will be thrown away when its turn comes, waits for nothing.
pub(super) fn never_runs(story: &Story<'_>, cause: &str) -> Option<Answer> {
    let discard = story
        .will_be_discarded()
        .filter(|_| WAITS_TO_RUN.contains(&cause))?;
    let why = match discard.value {
        Discard::RevokedInHand { .. } | Discard::RevokedByALine => "it is revoked".to_owned(),
        Discard::Expired(ago) => format!("it expired {} ago", units::span(ago)),
    };
    Some(Answer::ruled_out(
        format!("{why}, and will not run when its turn comes"),
        [discard.n],
    ))
}

/// The first thing that was seen and cannot be where the cause holds.
pub(super) fn contradiction(story: &Story<'_>, cause: &str, evidence: &[u32]) -> Option<Contradiction> {
    let (_, claims) = CLAIMS.iter().find(|(id, _)| *id == cause)?;
    claims.iter().find_map(|claim| against(story, *claim, evidence))
}

fn against(story: &Story<'_>, claim: Claim, evidence: &[u32]) -> Option<Contradiction> {
    let found = |n: u32, text: String| Some(Contradiction { n, text });
    match claim {
        Claim::LogsNothing => {
            let line = story.worker_lines().iter().find(|line| {
                line.line.carries_task_id && story.counts(line) && !evidence.contains(&line.n)
            })?;
            found(
                line.n,
                format!(
                    "its log names the task: {}",
                    crate::text::excerpt(&line.line.text)
                ),
            )
        }
        Claim::IsRunning => {
            let line = story.lines().iter().rev().find_map(|line| match line.mark {
                Some(LogEvent::Received { .. } | LogEvent::Called) => Some(None),
                Some(LogEvent::Completed) => Some(Some(line.n)),
                Some(_) if story.ends_attempt(line) => Some(Some(line.n)),
                _ => None,
            });
            found(line??, "its log says that the call returned".into())
        }
        Claim::NoRow => {
            let row = story.rows().iter().find(|row| row.present)?;
            found(row.n, "the row was seen".into())
        }
        Claim::IsAlive => {
            let pid = evidence
                .iter()
                .find_map(|n| match &story.timeline.event(*n)?.kind {
                    EventKind::Peer { pid, .. } => Some(*pid),
                    EventKind::Process(process) => Some(process.pid),
                    _ => None,
                })?;
            let process = story.process(pid)?;
            if let Some(n) = story.gone(pid) {
                return found(n, format!("pid {pid} has ended"));
            }
            match process.state {
                'Z' | 'X' => found(process.n, format!("pid {pid} is a zombie: it has ended")),
                _ => None,
            }
        }
        Claim::NothingSent => {
            let publish = story.publishes().first()?;
            found(publish.n, "a message of this task was published".into())
        }
        Claim::NotFinal => {
            let setup = &story.timeline.setup;
            let is_final = |value: &str| {
                setup
                    .succeeded
                    .iter()
                    .chain(&setup.failed)
                    .any(|word| word.eq_ignore_ascii_case(value))
            };
            let api = story
                .timeline
                .events
                .iter()
                .rev()
                .find_map(|event| match &event.kind {
                    EventKind::ApiStatus {
                        value: Some(value), ..
                    } if event.source == Source::Api => Some((event.n, value)),
                    _ => None,
                });
            let (n, value) = api?;
            match is_final(value) {
                true => found(n, format!("the API itself says {value}")),
                false => None,
            }
        }
    }
}
