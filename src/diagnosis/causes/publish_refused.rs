//! The broker refused the message after `send()` had returned.

use crate::diagnosis::evidence::permissions;
use crate::diagnosis::premises::{EventId, Premise};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::{ClosedChannel, Source};

pub(super) const CAUSE: Cause = Cause {
    id: "publish-refused",
    keeps_from: &[Stage::Published],
    owner: &[Owner::Deployment, Owner::ApiCode],
    explains: &["not-published", "not-dispatched"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose], &[Source::Management, Source::ApiLog]],
    page: include_str!("publish_refused.md"),
    check,
    ..Cause::DEFAULT
};

/// The cases of its remedies.
const MAY_NOT_WRITE: &str = "its user may not write";
const TOO_LARGE: &str = "the body is too large";
const UNSEEN: &str = "the reason was not seen";
const CASES: &[&str] = &[MAY_NOT_WRITE, TOO_LARGE, UNSEEN];

fn check(story: &Story<'_>) -> Answer {
    let sent = story.publishes().first().or(story.stray_publishes().first());
    if let Some(passage) = sent {
        return Answer::ruled_out("the broker took a message with this task id", [passage.n]);
    }
    if !story.closed() {
        return Answer::NotApplicable;
    }
    if !story.sees_all(Source::Firehose) {
        return Answer::cannot_tell(&[Source::Firehose]);
    }
    let send = story.framework().source.send;
    let refused = permissions::refused_publish(story);
    let said = refused
        .and_then(|refused| refused.said)
        .map_or(String::new(), |said| format!(": {said}"));
    let answered = story.accepted();
    if let Some((shown, permission)) = permissions::api_may_not_publish(story) {
        let text = format!("the API {}", permissions::words(story, permission));
        let mut evidence = shown.to_vec();
        evidence.extend(answered);
        let answer = match refused {
            Some(refused) => {
                evidence.push(refused.closed);
                Answer::shown(
                    format!(
                        "{text}: RabbitMQ refused the message and closed the channel after {send} had returned{said}"
                    ),
                    evidence,
                )
                // A line of its log may be about another request's message.
                .given(refused.holder.is_none().then_some(Premise::WasSent))
            }
            None => Answer::likely(
                format!("{text}: RabbitMQ refuses what it publishes, and {send} does not learn of it"),
                evidence,
            )
            .given([Premise::WasSent]),
        };
        return answer
            .only_case(MAY_NOT_WRITE, CASES)
            .naming("{user}", &permission.user);
    }
    match refused {
        Some(refused) => {
            let mut evidence = vec![refused.closed];
            evidence.extend(refused.holder);
            evidence.extend(answered);
            if let Some(channel) = refused.behind_a_relay {
                return behind_a_relay(story, channel, evidence).only_case(UNSEEN, CASES);
            }
            let case = match refused.said {
                Some(said) if said.contains("ACCESS_REFUSED") || said.contains("NOT_FOUND") => None,
                Some(said) if said.contains("size") || said.contains("large") => Some(TOO_LARGE),
                _ => Some(UNSEEN),
            };
            let reason = match refused.said {
                Some(_) => said,
                None => ": a body above max_message_size, or an exchange that it may not write to or that does not exist; RabbitMQ's log says which".into(),
            };
            let answer = Answer::likely(
                format!(
                    "RabbitMQ closed a channel of the API with an error after {send} had returned{reason}"
                ),
                evidence,
            );
            match case {
                Some(case) => answer.only_case(case, CASES),
                None => answer.case(TOO_LARGE, false).case(UNSEEN, false),
            }
        }
        None if story.connections().is_none() => Answer::cannot_tell(&[Source::Management]),
        None => match permissions::may_be_refused_yet(story) {
            Some(connected) => Answer::possible(
                format!(
                    "the API connected to the broker after the submission, and nothing that it sent arrived: RabbitMQ may have refused it after {send} had returned (no such exchange), which it tells up to 10 s later; a longer `timing.silence` decides"
                ),
                answered.into_iter().chain([connected]).collect::<Vec<_>>(),
            )
            .only_case(UNSEEN, CASES),
            None => Answer::NotApplicable,
        },
    }
}

/// Whose connection it was is known by its user alone.
fn behind_a_relay(story: &Story<'_>, channel: &ClosedChannel, mut evidence: Vec<EventId>) -> Answer {
    let send = story.framework().source.send;
    let permission = story.permission(&channel.user);
    let who = match permission.filter(|permission| permission.may_publish() == Some(false)) {
        Some(permission) => {
            evidence.push(permission.n);
            permissions::words(story, permission.value)
        }
        None => format!("connects as `{}`", channel.user),
    };
    Answer::likely(
        format!(
            "RabbitMQ closed a channel, with an error, of a client that {who}; the client came after the submission, through a relay as the API's does, and no worker has that user: {send} had returned by then"
        ),
        evidence,
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, OTHER, Scene, WORKER};

    /// The API's first message since its start: it connects for it.
    fn sent() -> Scene {
        Scene::new()
            .api_process(&[])
            .submitted()
            .row("PENDING")
            .api_process(&[API])
            .connections(&[(API, "/", "running")])
    }

    fn may_not(scene: Scene) -> Scene {
        scene.permissions(&[("guest", "^default.*")])
    }

    #[test]
    fn a_user_that_may_not_write_and_a_channel_that_was_closed() {
        let scene = may_not(sent()).closed_channels(&[API]).silence();
        assert_eq!(scene.cause(), "certain publish-refused");
        assert!(scene.summary().contains("`^default.*`"), "{}", scene.summary());
        for effect in ["not-dispatched", "not-published"] {
            let effect = crate::diagnosis::causes::find(effect).expect("a cause");
            assert_ne!(scene.answer(effect), "likely");
        }
    }

    #[test]
    fn by_its_permission_alone_it_is_likely_since_nobody_saw_it_try() {
        assert_eq!(may_not(sent()).silence().cause(), "likely publish-refused");
        let allowed = sent().permissions(&[("guest", ".*")]).silence();
        assert_eq!(allowed.cause(), "likely not-dispatched");
        // Of another authentication backend nothing is known here.
        let unknown = sent().permissions(&[("ops", "")]).silence();
        assert_eq!(unknown.cause(), "likely not-dispatched");
    }

    #[test]
    fn a_channel_that_was_closed_and_nothing_to_say_why() {
        let scene = sent()
            .permissions(&[("guest", ".*")])
            .closed_channels(&[API])
            .silence();
        assert_eq!(scene.cause(), "likely publish-refused");
        assert!(
            scene.summary().contains("max_message_size"),
            "{}",
            scene.summary()
        );
    }

    /// An earlier task's publish left it, or another client's.
    #[test]
    fn a_channel_of_an_older_connection_or_of_another_client_is_a_near_miss() {
        let older = Scene::new()
            .api_process(&[API])
            .submitted()
            .row("PENDING")
            .api_process(&[API])
            .connections(&[(API, "/", "running")])
            .closed_channels(&[API])
            .silence();
        assert_eq!(older.cause(), "likely not-dispatched");
        let other = sent().closed_channels(&[OTHER]).silence();
        assert_eq!(other.cause(), "likely not-dispatched");
        // One that consumes may have acknowledged what it should not.
        let consumes = sent()
            .consumers(&[("emails", API, 1)])
            .closed_channels(&[API])
            .silence();
        assert_eq!(consumes.cause(), "likely not-dispatched");
    }

    #[test]
    fn a_user_whose_message_was_taken_is_a_near_miss() {
        let other = may_not(sent())
            .publish_as("emails", API, Scene::message("other"))
            .silence();
        assert_eq!(other.answer(&CAUSE), "not applicable");
        let taken = may_not(sent()).publish("default").silence();
        assert_eq!(taken.answer(&CAUSE), "ruled out");
    }

    #[test]
    fn the_api_published_again_and_its_log_has_the_brokers_words() {
        let line = "Received remote Channel.Close (406): 'PRECONDITION_FAILED - message size 2000 is larger than configured max size 1000' on <Channel number=1>";
        let scene = sent().api_log(line, "").silence();
        assert_eq!(scene.cause(), "likely publish-refused");
        assert!(
            scene.summary().contains("message size 2000"),
            "{}",
            scene.summary()
        );
    }

    const AT_THE_RELAY: &str = "127.0.0.1:41000 -> 127.0.0.1:5672";

    /// The API's connection ends at a relay: the broker lists the relay's end of it.
    fn behind_a_relay(closed_user: &str, worker_user: &str) -> Scene {
        let scene = Scene::new()
            .api_process(&[])
            .connections(&[(WORKER, "/", "running")])
            .consumers(&[("default", WORKER, 4)])
            .submitted()
            .row("PENDING")
            .api_process(&[AT_THE_RELAY])
            .users(&[(WORKER, worker_user), (OTHER, closed_user)]);
        scene.closed_channels_as(&[OTHER], closed_user)
    }

    #[test]
    fn behind_a_relay_it_is_known_by_its_user() {
        let limited = behind_a_relay("limited", "guest").permissions(&[("limited", "^default.*")]);
        let scene = limited.silence();
        assert_eq!(scene.cause(), "likely publish-refused", "{}", scene.summary());
        assert!(scene.summary().contains("`^default.*`"), "{}", scene.summary());
        // Workers connect as the same user: it may be one of theirs.
        let same = behind_a_relay("guest", "guest").silence();
        assert_eq!(same.answer(&CAUSE), "not applicable");
        // One that was there before the submission has not sent this message.
        let older = Scene::new()
            .api_process(&[])
            .users(&[(WORKER, "guest"), (OTHER, "limited")])
            .consumers(&[("default", WORKER, 4)])
            .submitted()
            .row("PENDING")
            .api_process(&[AT_THE_RELAY])
            .closed_channels_as(&[OTHER], "limited")
            .silence();
        assert_eq!(older.answer(&CAUSE), "not applicable");
    }

    /// Celery's API, whose messages go to exchanges by name.
    #[test]
    fn too_early_for_the_broker_to_tell_it_is_possible_and_not_sent_likewise() {
        let after = |ms: f64| {
            sent()
                .setup(|setup| setup.framework = "celery".into())
                .at(ms)
                .end_now()
        };
        assert_eq!(after(5_000.0).answer(&CAUSE), "possible");
        assert!(
            after(5_000.0).cause().starts_with("possible "),
            "{}",
            after(5_000.0).cause()
        );
        assert_eq!(after(12_000.0).cause(), "likely not-dispatched");
        // To the default exchange everybody may send what the permissions allow.
        assert_eq!(sent().at(5_000.0).end_now().cause(), "likely not-dispatched");
    }

    #[test]
    fn without_the_firehose_or_the_management_api_it_cannot_be_told() {
        let scene = may_not(sent()).closed_channels(&[API]).silence();
        for source in [Source::Firehose, Source::Management] {
            assert_eq!(scene.without(source).answer(&CAUSE), "cannot tell");
        }
    }
}
