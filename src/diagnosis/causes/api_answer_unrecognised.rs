//! A success without a task id where one is expected.

use crate::diagnosis::evidence::{answers, api, later};
use crate::diagnosis::{Answer, Cause, Owner, Stage, Story};
use crate::text::{self, counted};
use crate::timeline::{EventKind, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "api-answer-unrecognised",
    keeps_from: &[Stage::Submitted, Stage::Published, Stage::Finished],
    owner: &[Owner::Diagnosis],
    needs: &[&[Source::Api]],
    page: include_str!("api_answer_unrecognised.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    if let Some(end) = story.command_ended().filter(|end| end.code == Some(0)) {
        return of_command(story, end.n, &end.printed);
    }
    let unnamed = story.find(|event| match &event.kind {
        EventKind::Answered {
            status,
            task_id: None,
            body,
            candidates,
            ..
        } if (200..300).contains(status) => Some((event.n, *status, body, candidates)),
        _ => None,
    });
    if let Some(answer) = of_a_group(story) {
        return answer.case(GROUP, true).case(TICKET, false);
    }
    if let Some(answer) = of_a_ticket(story) {
        return answer.case(GROUP, false).case(TICKET, true).case(ERROR, false);
    }
    let Some((n, status, body, candidates)) = unnamed.filter(|_| story.recognised().is_none()) else {
        return Answer::NotApplicable;
    };
    let place = story.timeline.setup.task_id_pointer.as_deref().map_or_else(
        || "under the usual names".to_owned(),
        |pointer| format!("at {pointer}"),
    );
    let is_error = answers::tells_of_an_error(body);
    let suggestion = match candidates.first() {
        _ if is_error => String::new(),
        Some(pointer) => format!("; set api.task_id_pointer = \"{pointer}\""),
        None => by_its_message(story),
    };
    let answer = Answer::shown(
        format!(
            "HTTP {status} without a task id {place}{suggestion}. The answer: {}",
            text::excerpt(body)
        ),
        [n],
    );
    let answer = answer
        .case(GROUP, false)
        .case(TICKET, false)
        .case(ERROR, is_error);
    api::unless_its_message_comes(story, answer)
}

/// The cases of its remedies.
const GROUP: &str = "it is a group's id";
const TICKET: &str = "the table of results does not know it";
const ERROR: &str = "the body tells of an error";

/// It answered with an id, which is no task's.
fn of_a_group(story: &Story<'_>) -> Option<Answer> {
    let members = later::members(story);
    let first = members.first().filter(|_| story.publishes().is_empty())?;
    let sent = counted(members.len() as u64, "message", "messages");
    let text = format!(
        "the id that the API answered is that of a group, of which {sent} {} sent: each task has an id of its own (`{}`: {})",
        if members.len() == 1 { "was" } else { "were" },
        first.message.actor.as_deref().unwrap_or("a task"),
        first.message.message_id.as_deref().unwrap_or("?"),
    );
    let evidence: Vec<u32> = members.iter().map(|member| member.n).take(4).collect();
    let answer = Answer::shown(text, evidence).owned_by(Some(&[Owner::ApiCode]));
    Some(answer.may_have_begun().case(ERROR, false))
}

/// It answered with an id of its own, and its message is stored under another.
fn of_a_ticket(story: &Story<'_>) -> Option<Answer> {
    let sent = story.answered_with_another_id().filter(|_| story.closed())?;
    let text = format!(
        "the API answered `{}`, which its message only carries: a result is stored under the message's own id, `{}`",
        story.task_id().unwrap_or("?"),
        sent.value
    );
    Some(Answer::likely(text, [sent.n]).may_have_begun())
}

/// A command that ended well, and named no task. One that sent nothing has nothing to name.
fn of_command(story: &Story<'_>, n: u32, printed: &str) -> Answer {
    if story.task_id().is_some() || story.reached(Stage::Submitted).is_some() {
        return Answer::NotApplicable;
    }
    let said = match printed.trim() {
        "" => "It printed nothing".to_owned(),
        printed => format!("It printed: {}", text::excerpt(printed)),
    };
    let answer = Answer::shown(
        format!(
            "the command ended well, and names no task that submit.task_id_pattern finds{}. {said}",
            by_its_message(story)
        ),
        [n],
    );
    api::unless_its_message_comes(story, answer)
}

/// Why the task could not be recognised by its message.
fn by_its_message(story: &Story<'_>) -> String {
    if !story.sees(Source::Firehose) {
        return ", and without the firehose (broker.trace) its message cannot be told from others".into();
    }
    let queue = story.queue();
    match story.timeline.sent_meanwhile().len() {
        0 => format!(", and no message for `{queue}` was sent meanwhile"),
        // It was sent too late to be recognised.
        1 => String::new(),
        sent => format!(", and {sent} messages for `{queue}` were sent meanwhile: which is this task's?"),
    }
}

#[cfg(test)]
mod tests {
    use super::CAUSE;
    use crate::diagnosis::evidence::answers::tells_of_an_error;
    use crate::diagnosis::testing::{API, Scene, WORKER};
    use crate::framework::{ArgumentValues, Message};

    #[test]
    fn a_body_that_tells_of_an_error() {
        for body in [
            r#"{"ok":false}"#,
            r#"{"error":"no such lane"}"#,
            r#"{"errors":["a"]}"#,
            r#"{"status":"fail","data":{"title":"quota exceeded"}}"#,
        ] {
            assert!(tells_of_an_error(body), "{body}");
        }
        for body in [
            r#"{"ok":true,"errors":[]}"#,
            r#"{"error":null}"#,
            r#"{"status":"queued"}"#,
            r#"{"error":""}"#,
            "<html>",
            "[1]",
        ] {
            assert!(!tells_of_an_error(body), "{body}");
        }
    }

    #[test]
    fn a_success_without_an_id() {
        let scene = Scene::new().submitting().answered(201, None, "{\"ok\":true}");
        assert_eq!(scene.cause(), "certain api-answer-unrecognised");
        assert_eq!(scene.verdict().scenario, None);
    }

    #[test]
    fn the_only_message_that_was_sent_meanwhile_is_the_tasks() {
        let scene = Scene::unnamed()
            .deliver(WORKER)
            .debug(
                "dramatiq.worker.WorkerThread",
                "Received message act('task_1') with id 'm-1'.",
            )
            .raised("ValueError: no")
            .by_message_ids_only();
        // Neither that it is the task's, nor that one process wrote the log, is proved here.
        assert_eq!(scene.cause(), "possible actor-raised");
        assert_eq!(scene.answer(&CAUSE), "not applicable");
        let premises = scene.verdict().cause.unwrap().premises;
        assert!(
            premises
                .iter()
                .any(|premise| premise.contains("nothing else ties it")),
            "{premises:?}"
        );
    }

    /// `GroupResult.id`: its tasks were sent, each by an id of its own.
    #[test]
    fn an_id_that_is_a_groups() {
        use crate::diagnosis::causes::not_dispatched;
        use crate::diagnosis::testing::TASK;
        let sent = |group: Option<&str>| {
            let member = |id: &str| Message {
                message_id: Some(id.into()),
                actor: Some("shop.tasks.fulfil".into()),
                group: group.map(str::to_owned),
                json: true,
                ..Message::default()
            };
            Scene::new()
                .setup(|setup| {
                    setup.framework = "celery".into();
                    setup.table = Some("celery_taskmeta".into());
                })
                .at(-10.0)
                .submitting()
                .publish_as("default", API, member("11111111-7a09-4a1f-9d2c-0d5e3c0b7f11"))
                .publish_as("default", API, member("22222222-7a09-4a1f-9d2c-0d5e3c0b7f11"))
                .answered(202, Some(TASK), "{}")
                .silence()
        };
        let group = sent(Some(TASK));
        assert_eq!(
            group.cause(),
            "certain api-answer-unrecognised",
            "{}",
            group.summary()
        );
        assert!(group.summary().contains("2 messages"), "{}", group.summary());
        assert_eq!(group.answer(&not_dispatched::CAUSE), "ruled out");
        assert_eq!(sent(Some("another")).answer(&CAUSE), "not applicable");
        assert_eq!(sent(None).answer(&CAUSE), "not applicable");
    }

    #[test]
    fn two_messages_are_a_near_miss() {
        let stranger = |id: &str| Message {
            leaves: ArgumentValues::default(),
            ..Scene::message(id)
        };
        let scene = Scene::new()
            .at(-10.0)
            .submitting()
            .publish_as("default", API, stranger("m-2"))
            .publish_as("default", API, stranger("m-3"))
            .answered(201, None, "ok");
        assert_eq!(scene.cause(), "certain api-answer-unrecognised");
        let summary = scene.verdict().cause.unwrap().summary;
        assert!(summary.contains("2 messages"), "{summary}");
    }

    #[test]
    fn an_id_or_an_error_is_not_it() {
        assert_eq!(Scene::accepted().answer(&CAUSE), "not applicable");
        assert_eq!(Scene::refused(500, "").answer(&CAUSE), "not applicable");
    }

    /// The table of results has the message's own id.
    #[test]
    fn an_id_that_the_message_only_carries() {
        use crate::diagnosis::causes::celery::scenes::{CeleryScene, OURS};
        let answered = |table: &str| {
            let scene = CeleryScene::received().and(|mut scene| {
                for event in &mut scene.timeline.events {
                    if let crate::timeline::EventKind::Row(row) = &mut event.kind {
                        row.present = false;
                    }
                }
                scene.setup(|setup| setup.table = Some(table.into()))
            });
            scene.info(&format!("Task shop.tasks.fulfil[{OURS}] succeeded in 0.1s: None"))
        };
        let ticket = answered("celery_taskmeta").silence();
        assert_eq!(
            ticket.cause(),
            "likely api-answer-unrecognised",
            "{}",
            ticket.summary()
        );
        assert_eq!(answered("shop_order").silence().answer(&CAUSE), "not applicable");
        let there = answered("celery_taskmeta").and(|scene| scene.row("SUCCESS"));
        assert_eq!(there.silence().answer(&CAUSE), "not applicable");
    }
}
