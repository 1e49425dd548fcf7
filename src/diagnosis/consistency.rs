//! No verdict against its own recording: what each cause claims, held against everything that was
//! seen. A contradiction makes the cause `possible` and is shown with it.

use super::evidence::Story;
use super::evidence::discard::Discard;
use super::{Answer, Cause, Claim, Stand};
use crate::framework::LogEvent;
use crate::timeline::{EventKind, Source};
use crate::units;

/// What contradicts a claim.
pub(super) struct Contradiction {
    pub(super) n: u32,
    pub(super) text: String,
}

/// What waits, and will be thrown away when its turn comes, waits for nothing.
pub(super) fn never_runs(story: &Story<'_>, cause: &Cause) -> Option<Answer> {
    let discard = story
        .will_be_discarded()
        .filter(|_| cause.stand == Stand::Waits)?;
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
pub(super) fn contradiction(story: &Story<'_>, cause: &Cause, evidence: &[u32]) -> Option<Contradiction> {
    cause
        .claims
        .iter()
        .find_map(|claim| against(story, *claim, evidence))
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
            let api = story.find_last(|event| match &event.kind {
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
