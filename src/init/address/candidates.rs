//! What may be the address, best first: whole URLs of variables, Django's settings, parts, the server's image, and what
//! stands in the code.

use url::Url;

use super::super::EnvVar;
use super::super::compose::Service;
use super::AddressSources;
use super::open::OpenVariables;
use crate::python::{Databases, SettingValue};
use crate::servers::{BROKER, HOSTS, PASSWORDS, PORTS, ServerKind, USERS};

pub struct Candidate {
    pub url: Url,
    pub place: String,
    /// The variable that holds the whole of it.
    pub whole: Option<EnvVar>,
    pub open: OpenVariables,
    pub is_guess: bool,
}

/// All that is known, best first.
pub fn candidates(kind: &ServerKind, known: &AddressSources) -> Vec<Candidate> {
    let server = known.services.iter().find(|service| service.is(kind.server));
    let mut found = Vec::new();
    let variables = known.variables.iter().map(|variable| {
        let place = format!("{} ({})", variable.place, variable.name);
        (
            variable.name.as_str(),
            variable.value.as_str(),
            place,
            Some(variable),
        )
    });
    found.extend(whole(kind, known.named, variables));
    // The application's own services name user, database and vhost as the application uses them.
    for service in known.services.iter().filter(|service| !service.is(kind.server)) {
        let settings = service.environment.iter().map(|setting| {
            let place = format!("{} ({})", service.place(), setting.name);
            let value = setting.open.as_deref().unwrap_or(&setting.value);
            (setting.name.as_str(), value, place, None)
        });
        found.extend(whole(kind, known.named, settings));
    }
    if let Some(databases) = known.databases.filter(|_| kind.port != BROKER.port) {
        found.extend(of_django(kind, databases, known, server));
    }
    if kind.port == BROKER.port {
        let told = known
            .brokers
            .iter()
            .filter(|(value, _)| !has_default(value, known));
        found.extend(told.filter_map(|(value, place)| of_code(kind, value, place, known)));
    }
    found.extend(of_parts(kind, known.variables, server));
    found.extend(server.and_then(|server| of_image(kind, server)));
    let mut literals: Vec<&(String, String)> = known.literals.iter().collect();
    // Settings say what is meant to be used; other code may try anything.
    literals.sort_by_key(|(_, place)| !is_of_settings(place));
    found.extend(literals.into_iter().filter_map(|(text, place)| {
        Some(Candidate {
            // Nobody's broker or database listens there: it is a port that answers nothing on purpose.
            url: kind.parse(text).filter(|url| url.port() != Some(1))?,
            place: place.clone(),
            whole: None,
            open: OpenVariables::default(),
            is_guess: false,
        })
    }));
    // Defaults are for where nothing else says it: a server of Compose says it.
    if kind.port == BROKER.port && server.is_none() {
        let untold = known
            .brokers
            .iter()
            .filter(|(value, _)| has_default(value, known));
        found.extend(untold.filter_map(|(value, place)| of_code(kind, value, place, known)));
    }
    // What is called after another store, or is at its port, is that one.
    found.retain(|candidate| {
        let host = candidate.url.host_str().unwrap_or_default();
        let is_other = known.service(host).is_some_and(Service::is_other_store);
        !is_other && candidate.url.port() != Some(6379)
    });
    found
}

fn is_of_settings(place: &str) -> bool {
    let file = place.split(" line ").next().unwrap_or_default();
    let name = file.rsplit('/').next().unwrap_or_default();
    ["settings", "config", "conf", "broker", "database", "db"]
        .iter()
        .any(|word| name.contains(word))
        || file.contains("settings/")
        || file.contains("config/")
}

/// Those of these values that are a whole URL, by the names of their variables.
fn whole<'a>(
    kind: &ServerKind,
    named: &[String],
    values: impl Iterator<Item = (&'a str, &'a str, String, Option<&'a EnvVar>)>,
) -> Vec<Candidate> {
    let mut found: Vec<(usize, Candidate)> = values
        .filter_map(|(name, value, place, variable)| {
            let mut open = OpenVariables::default();
            let url = open.url(kind, value)?;
            let as_it_is = value.trim().starts_with(&format!("{}:", url.scheme()))
                || value.trim().starts_with(&format!("{}+", url.scheme()));
            let candidate = Candidate {
                url,
                place,
                whole: variable.cloned().filter(|_| as_it_is),
                open,
                is_guess: false,
            };
            let rank = match named.iter().any(|known| known == name) {
                true => 0,
                false => 1 + rank(kind, name),
            };
            Some((rank, candidate))
        })
        .collect();
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Made of variables for user, host and so on: those of one file with one beginning, since others may be another
/// server's.
fn of_parts(kind: &ServerKind, variables: &[EnvVar], server: Option<&Service>) -> Option<Candidate> {
    let file = |variable: &EnvVar| {
        variable
            .place
            .split(" line ")
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    kind.prefixes.iter().find_map(|prefix| {
        let named = |ends: &[&str], of: Option<&str>| {
            ends.iter().find_map(|end| {
                let name = format!("{prefix}{end}");
                variables.iter().find(|variable| {
                    variable.name == name
                        && !variable.value.is_empty()
                        && of.is_none_or(|of| file(variable) == of)
                })
            })
        };
        let user = named(USERS, None)?;
        let of = file(user);
        let value = |ends| named(ends, Some(&of)).map(|variable| variable.value.clone());
        let parts = Parts {
            host: value(HOSTS).or_else(|| Some(server?.name.clone()))?,
            port: value(PORTS)
                .and_then(|port| port.parse().ok())
                .unwrap_or(kind.port),
            user: user.value.clone(),
            password: value(PASSWORDS),
            path: value(kind.paths).unwrap_or_default(),
        };
        Some(Candidate {
            url: parts.url(kind)?,
            place: format!("{} ({} and others)", user.place, user.name),
            whole: None,
            open: OpenVariables::default(),
            is_guess: false,
        })
    })
}

/// As Django's settings have it: what they name is what the application uses, whatever the image sets up.
fn of_django(
    kind: &ServerKind,
    databases: &Databases,
    known: &AddressSources,
    server: Option<&Service>,
) -> Option<Candidate> {
    let mut open = OpenVariables::default();
    let mut part = |key: &str| -> Option<Option<String>> {
        let Some(value) = databases.part(key) else {
            return Some(None);
        };
        let text = said(value, known)?;
        Some(Some(open.put(&text)).filter(|text| !text.is_empty()))
    };
    let (host, user, name) = (part("HOST")?, part("USER")?, part("NAME")?);
    let (port, password) = (part("PORT")?, part("PASSWORD")?);
    let parts = Parts {
        host: host
            .or_else(|| server.map(|server| server.name.clone()))
            .unwrap_or_else(|| "localhost".into()),
        port: port.and_then(|port| port.parse().ok()).unwrap_or(kind.port),
        user: user?,
        password,
        path: name?,
    };
    Some(Candidate {
        url: parts.url(kind)?,
        place: format!("{} (DATABASES)", databases.place),
        whole: None,
        open,
        is_guess: false,
    })
}

/// A part of it is a default of the code, in the place of a variable that nothing sets.
fn has_default(value: &SettingValue, known: &AddressSources) -> bool {
    match value {
        SettingValue::Joined(parts) => parts.iter().any(|part| has_default(part, known)),
        SettingValue::Variable { name, or } => {
            let own = known.variables.iter().any(|variable| variable.name == *name);
            let is_told = own || known.services.iter().any(|service| service.get(name).is_some());
            or.is_some() && !is_told
        }
        _ => false,
    }
}

/// As the code makes it of variables; what stands there as a whole is a literal like others.
fn of_code(
    kind: &ServerKind,
    value: &SettingValue,
    place: &str,
    known: &AddressSources,
) -> Option<Candidate> {
    let SettingValue::Joined(_) = value else {
        return None;
    };
    let mut open = OpenVariables::default();
    let url = open.url(kind, &said(value, known)?)?;
    Some(Candidate {
        url,
        place: place.to_owned(),
        whole: None,
        open,
        is_guess: false,
    })
}

/// The text of a setting, with `${NAME}` for a variable that nothing sets; `None` if it cannot be told.
fn said(value: &SettingValue, known: &AddressSources) -> Option<String> {
    match value {
        SettingValue::Literal(text) => Some(text.clone()),
        SettingValue::Joined(parts) => parts.iter().map(|part| said(part, known)).collect(),
        SettingValue::Variable { name, or } => {
            let own = known.variables.iter().find(|variable| variable.name == *name);
            let mut services = known.services.iter().filter_map(|service| service.get(name));
            own.map(|variable| variable.value.clone())
                .or_else(|| {
                    services
                        .next()
                        .map(|setting| setting.open.clone().unwrap_or(setting.value.clone()))
                })
                .or_else(|| said(or.as_deref()?, known))
                .or_else(|| Some(format!("${{{name}}}")))
        }
        _ => None,
    }
}

/// As the server's image sets itself up. Where it is told by a variable that nothing sets, or by a file that is not
/// there, its default is not what it would use.
fn of_image(kind: &ServerKind, server: &Service) -> Option<Candidate> {
    let mut open = OpenVariables::default();
    let [user_variable, password_variable, path_variable] = kind.of_image;
    let mut value = |ends, variable: &str| {
        let setting = kind.names(ends).find_map(|name| server.get(&name));
        let text = match setting {
            Some(setting) => setting.open.clone().unwrap_or_else(|| setting.value.clone()),
            None if server.env_missing.is_empty() => String::new(),
            None => format!("${{{variable}}}"),
        };
        Some(open.put(&text)).filter(|text| !text.is_empty())
    };
    let named = value(USERS, user_variable);
    // A file that it is given, or what its image is built with, may name other users.
    let may_have_others = named.is_none() && (server.is_configured || server.is_built);
    let user = named.unwrap_or_else(|| kind.default_user.into());
    let path = match kind.default_password {
        // The postgres image names the database after its user.
        None => value(kind.paths, path_variable).unwrap_or_else(|| user.clone()),
        Some(_) => {
            let setting = kind.names(kind.paths).find_map(|name| server.get(&name));
            setting.map_or_else(String::new, |setting| {
                setting.open.clone().unwrap_or_else(|| setting.value.clone())
            })
        }
    };
    // The image makes a database, and the application may use another.
    let is_guess = may_have_others
        || kind.default_password.is_none() && kind.names(kind.paths).all(|name| server.get(&name).is_none());
    let password = value(PASSWORDS, password_variable).or(kind.default_password.map(str::to_owned));
    let path = open.put(&path);
    let parts = Parts {
        host: server.name.clone(),
        port: kind.port,
        path,
        password,
        user,
    };
    Some(Candidate {
        url: parts.url(kind)?,
        place: server.place(),
        whole: None,
        open,
        is_guess,
    })
}

/// Usual names first; those that say "test" last.
fn rank(kind: &ServerKind, name: &str) -> usize {
    let upper = name.to_uppercase();
    if upper.contains("TEST") {
        return 1000;
    }
    kind.whole
        .iter()
        .position(|known| *known == upper)
        .unwrap_or(kind.whole.len())
}

struct Parts {
    host: String,
    port: u16,
    user: String,
    password: Option<String>,
    path: String,
}

impl Parts {
    fn url(&self, kind: &ServerKind) -> Option<Url> {
        let (scheme, _) = kind.schemes[0];
        let mut url = Url::parse(&format!("{scheme}://{}:{}/", self.host, self.port)).ok()?;
        url.set_username(&self.user).ok()?;
        url.set_password(self.password.as_deref()).ok()?;
        if !self.path.is_empty() {
            // A vhost may hold, and often is, a slash.
            url.path_segments_mut().ok()?.clear().push(&self.path);
        }
        Some(url)
    }
}
