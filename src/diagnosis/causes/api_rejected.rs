//! The API refused the request, or sent it elsewhere.

use crate::diagnosis::evidence::{api, refusals};
use crate::diagnosis::{Answer, Cause, Owner, Scenario, Stage, Story};
use crate::timeline::Source;

pub(super) const CAUSE: Cause = Cause {
    id: "api-rejected",
    keeps_from: &[Stage::Submitted],
    owner: &[Owner::Diagnosis],
    scenario: Some(Scenario::B),
    needs: &[&[Source::Api]],
    page: include_str!("api_rejected.md"),
    check,
    ..Cause::DEFAULT
};

fn check(story: &Story<'_>) -> Answer {
    let Some(response) = story.answer() else {
        return Answer::NotApplicable;
    };
    let refused = || {
        let mut evidence = vec![response.n];
        let text = api::unless_it_sent(story, refusals::rejection(story, *response), &mut evidence);
        let routes = refusals::routes(story);
        let fields = refusals::fields(response.body);
        let answer = Answer::shown(text, evidence)
            .case("the API's document names its POST routes", !routes.is_empty())
            .naming("{routes}", routes.join(", "));
        let answer = match routes.is_empty() {
            true => answer,
            false => answer.case("404/405/301/302/307/308", false),
        };
        match fields.is_empty() {
            true => answer,
            false => answer.naming("{fields}", fields.join(" and ")),
        }
    };
    match response.status {
        // A form is answered by a redirect to the next page.
        300..400 if story.recognised().is_some() => Answer::NotApplicable,
        // A form's answer, perhaps.
        300..400 => api::unless_its_message_comes(story, refused()),
        401 | 403 => Answer::NotApplicable,
        // A quota or a rate limit of its own: nothing is wrong with how it is asked.
        429 => api::unless_its_message_comes(story, refused().owned_by(Some(&[Owner::Wait]))),
        400..500 => api::unless_its_message_comes(story, refused()),
        _ => Answer::NotApplicable,
    }
}

#[cfg(test)]
mod tests {
    use super::CAUSE;
    use crate::diagnosis::testing::Scene;

    #[test]
    fn a_4xx_and_a_redirect() {
        assert_eq!(
            Scene::refused(422, "{\"detail\":\"prompt\"}").cause(),
            "certain api-rejected"
        );
        assert_eq!(Scene::refused(302, "").cause(), "certain api-rejected");
    }

    #[test]
    fn the_callers_own_refusal_and_a_5xx_are_not_it() {
        assert_eq!(Scene::refused(401, "").answer(&CAUSE), "not applicable");
        assert_eq!(Scene::refused(500, "").answer(&CAUSE), "not applicable");
    }

    #[test]
    fn the_fields_that_the_answer_complains_of_are_named() {
        let body = r#"{"detail":[{"type":"missing","loc":["body","format"],"msg":"Field required"},{"type":"int_type","loc":["body","items",0,"count"],"msg":"Input should be an integer"}]}"#;
        let cause = Scene::refused(422, body).verdict().cause.expect("a cause");
        assert_eq!(
            cause.summary,
            "the API refused the request with HTTP 422: `format`: Field required; `items.0.count`: Input should be an integer"
        );
        let remedies = cause.remedies.join(" ");
        assert!(
            remedies.contains("Correct `format` and `items.0.count` in `api.body`"),
            "{remedies}"
        );
        let query = r#"{"detail":[{"type":"missing","loc":["query","dry"],"msg":"Field required"}]}"#;
        let cause = Scene::refused(422, query).verdict().cause.expect("a cause");
        assert!(
            cause.summary.ends_with("`query.dry`: Field required"),
            "{}",
            cause.summary
        );
        assert!(cause.remedies[0].contains("the field that the answer's `detail` names"));
        let other = Scene::refused(400, "{\"detail\":\"no such customer\"}");
        let cause = other.verdict().cause.expect("a cause");
        assert!(
            cause.summary.ends_with("HTTP 400: no such customer"),
            "{}",
            cause.summary
        );
        assert!(cause.remedies[0].contains("the field that the answer's `detail` names"));
    }

    #[test]
    fn the_routes_that_the_api_has_are_named() {
        let refused = |paths: &[&str]| {
            let mut scene = Scene::refused(404, "{\"detail\":\"Not Found\"}");
            for event in &mut scene.timeline.events {
                if let crate::timeline::EventKind::Answered { routes, .. } = &mut event.kind {
                    *routes = paths.iter().map(|path| (*path).to_owned()).collect();
                }
            }
            let cause = scene.verdict().cause;
            cause.map_or_else(String::new, |cause| cause.remedies.join(" "))
        };
        let named = refused(&["/api/v1/tasks/", "/login"]);
        assert!(
            named.contains("Set `api.submit_path` to the one that takes tasks: /api/v1/tasks/, /login"),
            "{named}"
        );
        assert!(!named.contains("exactly as the API declares it"), "{named}");
        let none = refused(&[]);
        assert!(!none.contains("that takes tasks") && none.contains("exactly as the API declares it"));
    }

    #[test]
    fn a_redirect_to_a_login_is_no_other_path() {
        let to = |location: &str| {
            let mut scene = Scene::refused(302, "");
            for event in &mut scene.timeline.events {
                if let crate::timeline::EventKind::Answered { location: to, .. } = &mut event.kind {
                    *to = Some(location.to_owned());
                }
            }
            scene.summary()
        };
        assert!(to("/login?next=/tasks").contains("it wants a login"));
        assert!(to("/authors/").contains("set api.submit_path"));
    }
}
