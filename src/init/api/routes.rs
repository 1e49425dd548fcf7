//! What the code says of where tasks are submitted, if no document of the API does: its routes, and what they send.

use super::super::{InitResult, Survey};
use crate::python::SendingSite;

pub fn fill(survey: &Survey, result: &mut InitResult) {
    let code = &survey.code;
    let chosen = code.actors.first().filter(|actor| actor.sent);
    let posts: Vec<&SendingSite> = code
        .sites
        .iter()
        .filter(|site| matches!(&site.route, Some(("POST", _))))
        .collect();
    if let ([site], false) = (posts.as_slice(), result.draft.has("api.submit_path")) {
        posted(survey, result, site);
    }
    for (route, place) in code.routes.iter().take(6) {
        let text = format!(
            "seen: a POST route \"{route}\" in {place}; a router may have a prefix that was not seen"
        );
        result.draft.note("api.submit_path", text);
    }
    let others = code
        .sites
        .iter()
        .filter(|site| !matches!(&site.route, Some(("POST", _))));
    let mut said = 0;
    for site in others.take(6) {
        let what = match &site.route {
            Some((method, path)) => format!("{method} {path} ({})", site.place),
            None => format!("`{}` ({})", site.function, site.place),
        };
        let text = format!("{what} sends `{}`", site.sends);
        // taskdiag sends POSTs: whoever has another way must be told so at once.
        if site.route.is_some() && posts.is_empty() && said < 2 && chosen.is_some() {
            said += 1;
            result.complaints.push(format!(
                "{text}: taskdiag submits by POST, so name a command that asks for it in [submit], or follow one that was sent: `taskdiag diagnose --task ID`"
            ));
        }
        result.draft.note("api.submit_path", format!("seen: {text}"));
    }
    if survey.code.fastapi.is_some() && !code.routes.is_empty() {
        let text = "start the API and run `taskdiag init --print`: its openapi.json tells the rest";
        result.draft.note("api.submit_path", text);
    }
}

/// The only route that sends a task by POST.
fn posted(survey: &Survey, result: &mut InitResult, site: &SendingSite) {
    // Other frameworks' prefixes are not read.
    let (Some((_, path)), Some(_)) = (&site.route, &survey.code.fastapi) else {
        return;
    };
    let file = site.place.split(" line ").next().unwrap_or_default();
    // As it is asked for: with the prefixes of its routers.
    let mut routes = survey.code.routes.iter();
    let whole = routes
        .find(|(whole, place)| whole.ends_with(path.as_str()) && place.split(" line ").next() == Some(file));
    let Some((whole, place)) = whole.filter(|(whole, _)| !whole.contains(['{', '<'])) else {
        return;
    };
    result.guesses.push("api.submit_path");
    let from = format!(
        "{place}, which sends `{}`; a router may have a prefix that was not seen",
        site.sends
    );
    result.draft.guess("api.submit_path", whole.clone(), from);
    if survey.code.fastapi.is_some() && site.fields.is_empty() {
        result
            .draft
            .note("api.body", format!("{place}: the route takes none"));
        result.draft.spare("api.body");
    }
}
