//! Where the code sends tasks: the functions that do.

use std::collections::BTreeSet;

use super::functions::Function;
use super::names::module_of;
use super::syntax::Node;
use super::{Actor, Mentions};

/// A function that sends a task.
#[derive(Debug, Clone, PartialEq)]
pub struct SendingSite {
    pub function: String,
    pub class: Option<String>,
    pub place: String,
    /// The actor's function.
    pub sends: String,
    /// Of the route that leads to it: `GET`, and its whole path.
    pub route: Option<(&'static str, String)>,
    /// Where that route is declared.
    pub route_place: String,
    /// The function that answers there.
    pub handler: Option<Function>,
    /// The path that tells of a task, and where its status stands in what it answers.
    pub status: Option<(String, Option<String>)>,
}

impl SendingSite {
    /// A `POST` leads to it.
    pub fn is_posted(&self) -> bool {
        matches!(&self.route, Some(("POST", _)))
    }
}

/// What is called to send, by the last part of its name.
pub(super) const SENDS: &[&str] = &[
    "send",
    "send_with_options",
    "message",
    "message_with_options",
    "delay",
    "apply_async",
    "delay_on_commit",
    "apply_async_on_commit",
];

/// What is sent to by a call: the object of `NAME.send()`, or the name that is given to `send_task`.
pub(super) fn sent_by(call: Node) -> Option<String> {
    match call.last_name() {
        "send_task" => call.first_argument()?.string(),
        name if SENDS.contains(&name) => {
            let object = call.field("function")?.field("object")?;
            Some(object.last_name().to_owned()).filter(|name| !name.is_empty())
        }
        _ => None,
    }
}

/// Whether this is what a sender calls an actor.
pub(super) fn is_it(actor: &Actor, sent: &str) -> bool {
    actor.function == sent
        || actor.name == sent
        || sent.rsplit('.').next() == Some(actor.function.as_str()) && sent.contains('.')
}

/// The function that a call stands in; kept if it sends to an actor.
pub(super) fn site(call: Node) -> Option<SendingSite> {
    let sends = sent_by(call)?;
    let function = call.enclosing("function_definition")?;
    let class = function.enclosing("class_definition");
    Some(SendingSite {
        function: function.field("name")?.text().to_owned(),
        class: class.and_then(|class| Some(class.field("name")?.text().to_owned())),
        place: call.place(),
        sends,
        route: None,
        route_place: String::new(),
        handler: None,
        status: None,
    })
}

/// Only what sends to an actor of this project, from outside of its module: an actor that sends itself again is none.
pub(super) fn of_actors(sites: Vec<SendingSite>, actors: &[Actor]) -> Vec<SendingSite> {
    let mut seen = BTreeSet::new();
    sites
        .into_iter()
        .filter(|site| {
            let module = module_of(site.place.split(" line ").next().unwrap_or_default());
            let to = actors.iter().find(|actor| is_it(actor, &site.sends));
            let is_actor = actors
                .iter()
                .any(|actor| actor.function == site.function && actor.module == module);
            to.is_some() && !is_actor && seen.insert((site.function.clone(), site.place.clone()))
        })
        .collect()
}

/// Actors that something sends to come first; those that only their own module sends to are sent as well where that
/// is a route.
pub(super) fn prefer_what_is_sent(mentions: &[Mentions], sites: &[SendingSite], actors: &mut [Actor]) {
    for actor in actors.iter_mut() {
        let elsewhere = mentions.iter().any(|mention| {
            module_of(&mention.file.place) != actor.module
                && mention.sends.iter().any(|sent| is_it(actor, sent))
        });
        let by_route = sites
            .iter()
            .any(|site| site.route.is_some() && is_it(actor, &site.sends));
        actor.sent = elsewhere || by_route;
    }
    actors.sort_by_key(|actor| !actor.sent);
}
