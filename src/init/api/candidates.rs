//! Ports on which the project's API may answer, the surest first.

use std::collections::BTreeSet;

use super::super::Survey;
use super::super::compose::Service;
use super::super::launch::{StartCommand, hidden};
use crate::python::{ServerPort, SettingValue};

/// A port on which the API may answer.
pub(super) struct Candidate {
    pub port: u16,
    pub place: String,
    /// A process of this project listens there.
    pub is_own: bool,
    /// Nothing says the port: it is a default, or one of several.
    pub is_guess: bool,
}

pub(super) fn candidates(survey: &Survey) -> Vec<Candidate> {
    let mut found: Vec<Candidate> = Vec::new();
    let mut add = |port: u16, place: String, is_own: bool, is_guess: bool| {
        match found.iter_mut().find(|known| known.port == port) {
            // What was a server's default is said by something else, too.
            Some(known) if known.is_guess && !is_guess => {
                known.is_guess = false;
                known.place = format!("{place}; {}", known.place);
            }
            Some(_) => {}
            None => found.push(Candidate {
                port,
                place,
                is_own,
                is_guess,
            }),
        }
    };
    let mut servers: Vec<_> = survey
        .running
        .iter()
        .filter(|running| running.is_server())
        .collect();
    servers.sort_by_key(|running| !running.launch.is_server());
    for running in servers {
        for port in &running.ports {
            add(
                *port,
                format!("{}, which listens there", running.launch.place),
                true,
                false,
            );
        }
    }
    let launches = || survey.launches.iter().filter(|launch| launch.is_server());
    // Of servers on several ports any may be the one that takes tasks.
    let several = ports(survey).len() > 1;
    for launch in launches() {
        let Some(port) = launch.port() else { continue };
        let is_guess = several || launch.told_port().is_none();
        match survey
            .services
            .iter()
            .find(|service| service.place() == launch.place)
        {
            Some(service) => {
                if let Some(port) = service.published(port) {
                    add(port, launch.place.clone(), false, is_guess);
                }
            }
            None => match published(survey, launch, port) {
                Some((port, place)) => add(port, place, false, is_guess),
                None => add(port, launch.place.clone(), false, is_guess),
            },
        }
    }
    for served in &survey.code.server_ports {
        match (&served.port, configured(survey, served)) {
            (Ok(port), _) => add(*port, served.place.clone(), false, several),
            (Err(_), Some((port, place))) => add(port, place, false, true),
            (Err(_), None) => {}
        }
    }
    for post in &survey.posts {
        if let Some(port) = post.port {
            add(port, format!("{}, a curl command", post.place), false, false);
        }
    }
    let hidden = hidden(&survey.launches, &survey.services);
    if let Some((server, _)) = hidden {
        let is_other = |service: &&Service| service.name != server.name && !service.is_store();
        for other in survey.services.iter().filter(is_other) {
            let place = format!("{}{}", other.place(), passes_on(server));
            other
                .ports
                .iter()
                .for_each(|port| add(port.published, place.clone(), false, true));
        }
    }
    if found.is_empty() && hidden.is_none() {
        found.extend(published_by_one(survey));
    }
    // Where a port is told that was not read, the default is not the one.
    let is_told = !survey.code.server_ports.is_empty() || launches().next().is_some();
    if found.is_empty() && hidden.is_none() && !is_told {
        found.extend(default(survey));
    }
    found.truncate(6);
    found
}

/// Of a service that is built from this project, and is no worker, the only port that is published.
fn published_by_one(survey: &Survey) -> Option<Candidate> {
    let serves = survey.code.is_web || !survey.code.routes.is_empty();
    let is_worker = |service: &Service| {
        let mut launches = survey.launches.iter();
        launches.any(|launch| launch.is_worker() && launch.place == service.place())
    };
    let services = survey.services.iter();
    let built = services.filter(|service| service.is_built && !service.is_store() && !is_worker(service));
    let mut published = built.flat_map(|service| service.ports.iter().map(move |port| (service, port)));
    let (service, port) = published.next().filter(|_| serves)?;
    published.next().is_none().then(|| Candidate {
        port: port.published,
        place: format!("{}, which publishes it", service.place()),
        is_own: false,
        is_guess: true,
    })
}

/// Where nothing says the port: what the server that is usual for this takes.
fn default(survey: &Survey) -> Option<Candidate> {
    let django = || {
        let folder = survey.folder_of_manage("")?;
        let separator = if folder.is_empty() { "" } else { "/" };
        let serves = !survey.code.routes.is_empty();
        serves.then(|| format!("{folder}{separator}manage.py (Django), runserver's default port"))
    };
    let fastapi = survey.code.fastapi.as_ref();
    let place = fastapi.map(|place| format!("{place} (FastAPI), uvicorn's default port"));
    Some(Candidate {
        port: 8000,
        place: place.or_else(django)?,
        is_own: false,
        is_guess: true,
    })
}

/// The port that settings name, and where: what the environment sets, or what stands there for it.
pub(super) fn configured(survey: &Survey, served: &ServerPort) -> Option<(u16, String)> {
    let told = |name: &str| {
        let mut variables = survey.variables.iter();
        let variable = variables.find(|variable| variable.name == name)?;
        let port = variable.value.parse().ok()?;
        Some((port, format!("{}, {name} of {}", served.place, variable.place)))
    };
    let by_default = |text: &str, name: &str| {
        let port = text.parse().ok()?;
        Some((port, format!("{}: {name}'s default", served.place)))
    };
    let name = match &served.value {
        SettingValue::Name(name) => name.to_uppercase(),
        _ => String::new(),
    };
    match survey.code.settings.resolved(&served.value, &served.place) {
        SettingValue::Literal(text) => told(&name).or_else(|| by_default(&text, &name.to_lowercase())),
        SettingValue::Variable { name, or } => told(&name).or_else(|| match or.as_deref() {
            Some(SettingValue::Literal(text)) => by_default(text, &name),
            _ => None,
        }),
        SettingValue::Name(_) => told(&name),
        _ => None,
    }
}

/// The ports of all servers that some command starts.
pub(super) fn ports(survey: &Survey) -> BTreeSet<u16> {
    let servers = survey.launches.iter().filter(|launch| launch.is_server());
    servers.filter_map(StartCommand::port).collect()
}

/// A script or a Dockerfile names the port in the container: where the Compose file publishes it, that is the one of
/// this machine.
fn published(survey: &Survey, launch: &StartCommand, port: u16) -> Option<(u16, String)> {
    let file = launch.place.split(" line ").next().unwrap_or_default();
    let name = file.rsplit('/').next().unwrap_or_default().to_lowercase();
    let of_this_machine = ["procfile", "makefile", "justfile"].contains(&name.as_str());
    let is_script = name.ends_with(".sh") || !name.contains('.');
    if of_this_machine || !(name.starts_with("dockerfile") || is_script) {
        return None;
    }
    let built = survey.services.iter().filter(|service| service.is_built);
    let mut published = built.filter_map(|service| Some((service.published(port)?, service)));
    let (at, service) = published.next()?;
    Some((
        at,
        format!("{}, which publishes {port} of {}", service.place(), launch.place),
    ))
}

pub(super) fn passes_on(server: &Service) -> String {
    format!(", which may pass on to service {}", server.name)
}
