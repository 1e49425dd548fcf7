//! The broker refused the message after `send()` had returned.

use crate::diagnosis::evidence::permissions;
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "publish-refused",
    keeps_from: &[Stage::Published],
    owner: &[Owner::Deployment, Owner::ApiCode],
    explains: &["not-published", "not-dispatched"],
    scenario: Some(Scenario::C),
    needs: &[&[Source::Firehose], &[Source::Management, Source::ApiLog]],
    general: false,
    fails_attempt: false,
    applies_to: &[],
    page: include_str!("publish_refused.md"),
    check,
};

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
        return match refused {
            Some(refused) => {
                evidence.push(refused.closed);
                Answer::shown(
                    format!(
                        "{text}: RabbitMQ refused the message and closed the channel after {send} had returned{said}"
                    ),
                    evidence,
                )
            }
            None => Answer::likely(
                format!("{text}: RabbitMQ refuses what it publishes, and {send} does not learn of it"),
                evidence,
            ),
        };
    }
    match refused {
        Some(refused) => {
            let mut evidence = vec![refused.closed];
            evidence.extend(refused.holder);
            evidence.extend(answered);
            let reason = match refused.said {
                Some(_) => said,
                None => ": a body above max_message_size, or an exchange it may not write to; RabbitMQ's log says which".into(),
            };
            Answer::likely(
                format!(
                    "RabbitMQ closed a channel of the API with an error after {send} had returned{reason}"
                ),
                evidence,
            )
        }
        None if story.connections().is_none() => Answer::cannot_tell(&[Source::Management]),
        None => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::{API, OTHER, Scene};

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

    #[test]
    fn without_the_firehose_or_the_management_api_it_cannot_be_told() {
        let scene = may_not(sent()).closed_channels(&[API]).silence();
        for source in [Source::Firehose, Source::Management] {
            assert_eq!(scene.without(source).answer(&CAUSE), "cannot tell");
        }
    }
}
