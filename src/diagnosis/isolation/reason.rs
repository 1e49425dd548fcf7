//! Why a run stopped, in more than the name of its cause: two refusals or two exceptions are two
//! reasons, unless what tells them apart is alike.

use crate::diagnosis::evidence::stacks;
use std::sync::LazyLock;

use regex::Regex;

use crate::diagnosis::{Story, Verdict};

/// So much of an answer or a message tells one from another.
const MOST: usize = 300;

/// What must agree for two runs to have stopped for the same reason: the answer of an API that
/// refused, or type, text and place of an exception; otherwise what the cause says of itself.
pub(super) fn of(story: &Story<'_>, verdict: &Verdict) -> Option<String> {
    let cause = verdict.cause.as_ref()?;
    if let Some(answer) = story.answer().filter(|answer| answer.status >= 300) {
        let body = without_ids(answer.body, verdict);
        return Some(cut(&format!("HTTP {} {body}", answer.status)));
    }
    let raised = story
        .raised()
        .iter()
        .rfind(|raised| cause.evidence.contains(&raised.n));
    let text = match raised {
        Some(raised) => {
            let text = without_ids(&raised.exception(), verdict);
            format!("{}{}", without_numbers(&text), stacks::own_place(raised))
        }
        None => without_numbers(&without_ids(&cause.summary, verdict)),
    };
    Some(cut(&text))
}

fn cut(text: &str) -> String {
    text.trim().chars().take(MOST).collect()
}

/// Every task has its own.
fn without_ids(text: &str, verdict: &Verdict) -> String {
    static ID: LazyLock<Option<Regex>> =
        LazyLock::new(|| Regex::new(r"(?i)[0-9a-f]{8}-[0-9a-f-]{27}|[0-9a-f]{16,}").ok());
    let mut text = text.to_owned();
    for id in [&verdict.task.id, &verdict.task.message_id].into_iter().flatten() {
        // A short number stands in other places, too.
        if id.len() > 3 {
            text = text.replace(id.as_str(), "ID");
        }
    }
    match &*ID {
        Some(id) => id.replace_all(&text, "ID").into_owned(),
        None => text,
    }
}

/// Times, counts and pids are those of one run.
fn without_numbers(text: &str) -> String {
    static NUMBER: LazyLock<Option<Regex>> = LazyLock::new(|| Regex::new(r"\d+(?:\.\d+)?").ok());
    match &*NUMBER {
        Some(number) => number.replace_all(text, "N").into_owned(),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use crate::diagnosis::testing::Scene;

    use super::super::Ending;

    fn reason(scene: &Scene) -> String {
        Ending::of(&scene.timeline, &scene.verdict())
            .reason
            .unwrap_or_default()
    }

    #[test]
    fn two_refusals_are_two_reasons() {
        let unknown = reason(&Scene::refused(422, "{\"detail\":\"kind: unknown value bad\"}"));
        let missing = reason(&Scene::refused(422, "{\"detail\":\"kind: field required\"}"));
        assert!(
            unknown.starts_with("HTTP 422") && missing.starts_with("HTTP 422"),
            "{unknown} {missing}"
        );
        assert_ne!(unknown, missing);
        let by_id = |id: &str| reason(&Scene::refused(409, &format!("{{\"detail\":\"exists: {id}\"}}")));
        assert_eq!(
            by_id("8b6e9f0e-96f6-4a0f-9c0e-1f0b6d1f2a3b"),
            by_id("11111111-96f6-4a0f-9c0e-1f0b6d1f2a3b")
        );
    }

    #[test]
    fn an_exception_is_its_type_its_text_and_its_place() {
        let raised = |text: &str| reason(&Scene::entered().raised(text).retrying());
        assert_eq!(raised("ValueError: no"), raised("ValueError: no"));
        assert!(
            raised("ValueError: no").contains(".py:"),
            "{}",
            raised("ValueError: no")
        );
        assert_ne!(raised("ValueError: no"), raised("TypeError: no"));
        assert_ne!(raised("KeyError: 'kind'"), raised("KeyError: 'body'"));
        assert_eq!(raised("ValueError: row 12"), raised("ValueError: row 13"));
    }

    #[test]
    fn figures_of_one_run_make_no_difference() {
        let scene = || Scene::accepted().row("PENDING").publish("default");
        assert_eq!(reason(&scene().silence()), reason(&scene().silence()));
    }
}
