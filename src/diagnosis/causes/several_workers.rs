//! More workers consume the queue than the watched one.

use crate::diagnosis::{Answer, Cause, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "several-workers",
    keeps_from: &[],
    scenario: None,
    needs: &[&[Source::Management]],
    general: false,
    page: include_str!("several_workers.md"),
    check,
};

fn check(story: &Story<'_>) -> Answer {
    let Some((listed, consumers)) = story.consumers() else {
        return Answer::NotApplicable;
    };
    let mut strangers = Vec::new();
    let mut own = 0;
    for consumer in consumers
        .iter()
        .filter(|consumer| consumer.queue == story.queue())
    {
        match story
            .peer(&consumer.connection)
            .map(|(_, pid)| (pid, story.is_watched(pid)))
        {
            Some((_, Some(true))) => own += 1,
            Some((pid, Some(false))) => strangers.push(format!("pid {pid}")),
            None if story.sees_all(Source::Process) => strangers.push(consumer.connection.clone()),
            _ => return Answer::NotApplicable,
        }
    }
    if strangers.is_empty() || own == 0 {
        return Answer::NotApplicable;
    }
    Answer::certain(
        format!(
            "besides the watched worker, `{}` is consumed by {}",
            story.queue(),
            strangers.join(", ")
        ),
        [listed],
    )
}
