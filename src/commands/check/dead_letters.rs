//! What lies on the dead-letter queue: how much of it for which actor, and why, once `--peek` has looked.

use std::collections::BTreeMap;

use super::finding::{Finding, finding};
use crate::diagnosis::Story;
use crate::framework;
use crate::text::{counted, excerpt};
use crate::timeline::EventKind;

/// More kinds than these are counted, not named.
const MOST: usize = 4;

pub(super) fn of_dead_letters(story: &Story<'_>) -> Option<Finding> {
    let queue = story.dead_letter_queue()?;
    let depth = story.depths(&queue).last().filter(|depth| depth.ready > 0)?;
    let head = format!(
        "{} on `{queue}`",
        counted(depth.ready, "dead letter", "dead letters")
    );
    let kinds = kinds(story, &queue);
    if kinds.is_empty() {
        return Some(finding(
            head,
            "`taskdiag check --peek` says for which actors, and why; `taskdiag diagnose --task ID --peek` whether a task is among them",
        ));
    }
    let seen: u64 = kinds.iter().map(|(_, count)| count).sum();
    let named = kinds.iter().take(MOST).map(|((actor, why), count)| {
        let actor = actor.as_deref().unwrap_or("an actor that was not read");
        match why {
            Some(why) => format!("{count} for `{actor}` ({why})"),
            None => format!("{count} for `{actor}`"),
        }
    });
    let mut text = format!("{head}: {}", named.collect::<Vec<_>>().join(", "));
    let more: u64 = kinds.iter().skip(MOST).map(|(_, count)| count).sum();
    if more > 0 {
        text.push_str(&format!(", {more} for other actors or reasons"));
    }
    if seen < depth.ready {
        text.push_str(&format!(" (of the first {seen} that were read)"));
    }
    Some(finding(
        text,
        "`taskdiag diagnose --task ID --peek` explains one of them: repair what it names before they are sent again",
    ))
}

type Kind = (Option<String>, Option<String>);

/// Actors and reasons, with how many letters each has, most first.
fn kinds(story: &Story<'_>, queue: &str) -> Vec<(Kind, u64)> {
    let mut counts: BTreeMap<Kind, u64> = BTreeMap::new();
    for event in &story.timeline.events {
        let EventKind::DeadLetter {
            queue: on,
            reason,
            message,
            ..
        } = &event.kind
        else {
            continue;
        };
        if on != queue {
            continue;
        }
        let raised = message.traceback.as_deref().and_then(framework::exception_in);
        let raised = raised.map(|raised| excerpt(framework::class_of(&raised)));
        let why = match (reason.as_deref(), raised) {
            (_, Some(raised)) => Some(raised),
            (Some("maxlen"), None) => Some("the queue was full".to_owned()),
            (Some("delivery_limit"), None) => Some("delivered too often".to_owned()),
            (reason, None) => reason.map(str::to_owned),
        };
        *counts.entry((message.actor.clone(), why)).or_default() += 1;
    }
    let mut kinds: Vec<(Kind, u64)> = counts.into_iter().collect();
    kinds.sort_by_key(|(_, count)| std::cmp::Reverse(*count));
    kinds
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn said(scene: &Scene) -> Option<String> {
        of_dead_letters(&Story::new(&scene.timeline)).map(|finding| finding.text)
    }

    #[test]
    fn counted_only_until_they_are_read() {
        let scene = Scene::new().depth("default.XQ", 3, 0);
        assert_eq!(said(&scene).as_deref(), Some("3 dead letters on `default.XQ`"));
        assert_eq!(said(&Scene::new().depth("default.XQ", 0, 0)), None);
    }

    #[test]
    fn by_actor_and_reason() {
        let raised = {
            let mut message = Scene::message("m-9");
            message.traceback = Some(
                "Traceback (most recent call last):\n  File \"a.py\", line 1, in run\n    f()\nshop.errors.OutOfStock: 7 left\n".into(),
            );
            message
        };
        let scene = Scene::new()
            .depth("default.XQ", 5, 0)
            .dead_letter("default.XQ", "rejected")
            .dead_letter("default.XQ", "rejected")
            .dead_letter("default.XQ", "maxlen")
            .lies_on("default.XQ", raised)
            // A retry is no dead letter.
            .lies_on("default.DQ", Scene::message("m-2"));
        let actor = Scene::message("m-1").actor.expect("an actor");
        let text = said(&scene).expect("a finding");
        assert!(
            text.starts_with(&format!(
                "5 dead letters on `default.XQ`: 2 for `{actor}` (rejected), "
            )),
            "{text}"
        );
        assert!(
            text.contains(&format!("1 for `{actor}` (the queue was full)")),
            "{text}"
        );
        assert!(
            text.contains(&format!("1 for `{actor}` (shop.errors.OutOfStock)")),
            "{text}"
        );
        assert!(text.ends_with(" (of the first 4 that were read)"), "{text}");
    }
}
