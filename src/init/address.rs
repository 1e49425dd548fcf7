//! Where the broker and the database are, written so that no password stands in the file.
//!
//! A variable that holds the whole URL is referred to as it is. Where the URL has to be changed (a
//! Compose service is reached through its published port from here), only its password becomes a
//! variable.

use url::Url;

use super::EnvVar;
use super::compose::Service;
use super::server::{BROKER, HOSTS, PASSWORDS, PORTS, ServerKind, USERS};
use crate::config::SecretUrl;

/// A variable of the shell that the file refers to, and how it gets its value.
#[derive(Debug, Clone, PartialEq)]
pub struct Need {
    pub variable: String,
    pub how: String,
    /// It holds the password alone, as it stands in the URL.
    pub is_password: bool,
}

pub struct Address {
    /// For the file: no password in it.
    pub text: String,
    /// To look at it now.
    pub full: SecretUrl,
    pub place: String,
    pub also: Vec<String>,
    pub needs: Vec<Need>,
    /// An environment or a Compose file of this project names it, not only a default in code.
    pub is_told: bool,
    /// It is a service of Compose, reached through its published port.
    pub is_service: bool,
}

struct Candidate {
    url: Url,
    place: String,
    whole: Option<EnvVar>,
    is_told: bool,
}

/// What is known, best first within each field.
pub struct AddressSources<'a> {
    /// Of running processes, `.env` files and the shell, in this order.
    pub variables: &'a [EnvVar],
    pub services: &'a [Service],
    /// URLs that stand in the code, with where.
    pub literals: &'a [(String, String)],
}

/// The address, and what makes others that were seen unusable from here.
pub fn find(kind: &ServerKind, known: &AddressSources) -> (Option<Address>, Vec<String>) {
    let mut complaints = Vec::new();
    let mut found: Option<Address> = None;
    for candidate in candidates(kind, known) {
        let place = candidate.place.clone();
        match address(kind, candidate, known) {
            Ok(address) => match &mut found {
                Some(first) if first.place != place => first.also.push(place),
                Some(_) => {}
                None => found = Some(address),
            },
            Err(complaint) => complaints.push(complaint),
        }
    }
    if let Some(found) = &mut found {
        found.also.dedup();
        found.also.truncate(6);
    }
    (found, complaints)
}

/// All that is known, best first.
fn candidates(kind: &ServerKind, known: &AddressSources) -> Vec<Candidate> {
    let server = known.services.iter().find(|service| (kind.is_server)(service));
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
    found.extend(whole(kind, variables));
    // The application's own services name user, database and vhost as the application uses them.
    for service in known.services.iter().filter(|service| !(kind.is_server)(service)) {
        let settings = service.environment.iter().map(|setting| {
            let place = format!("{} ({})", service.place(), setting.name);
            (setting.name.as_str(), setting.value.as_str(), place, None)
        });
        found.extend(whole(kind, settings));
    }
    found.extend(of_parts(kind, known.variables, server));
    found.extend(server.and_then(|server| of_image(kind, server)));
    let mut literals: Vec<&(String, String)> = known.literals.iter().collect();
    // Settings say what is meant to be used; other code may try anything.
    literals.sort_by_key(|(_, place)| !is_of_settings(place));
    found.extend(literals.into_iter().filter_map(|(text, place)| {
        Some(Candidate {
            // Nobody's broker or database listens there: it is a port that answers nothing on purpose.
            url: parse(kind, text).filter(|url| url.port() != Some(1))?,
            place: place.clone(),
            whole: None,
            is_told: false,
        })
    }));
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
    values: impl Iterator<Item = (&'a str, &'a str, String, Option<&'a EnvVar>)>,
) -> Vec<Candidate> {
    let mut found: Vec<(usize, Candidate)> = values
        .filter_map(|(name, value, place, variable)| {
            let candidate = Candidate {
                url: parse(kind, value)?,
                place,
                whole: variable.cloned(),
                is_told: true,
            };
            Some((rank(kind, name), candidate))
        })
        .collect();
    found.sort_by_key(|(rank, _)| *rank);
    found.into_iter().map(|(_, candidate)| candidate).collect()
}

/// Made of variables for user, host and so on.
fn of_parts(kind: &ServerKind, variables: &[EnvVar], server: Option<&Service>) -> Option<Candidate> {
    let variable = |ends| {
        kind.names(ends).find_map(|name| {
            variables
                .iter()
                .find(|variable| variable.name == name && !variable.value.is_empty())
        })
    };
    let value = |ends| variable(ends).map(|variable| variable.value.clone());
    let user = variable(USERS)?;
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
        is_told: true,
    })
}

/// As the server's image sets itself up.
fn of_image(kind: &ServerKind, server: &Service) -> Option<Candidate> {
    let value = |ends| {
        let setting = kind.names(ends).find_map(|name| server.get(&name))?;
        Some(setting.value.clone()).filter(|value| !value.is_empty())
    };
    let user = value(USERS).unwrap_or_else(|| kind.default_user.into());
    let parts = Parts {
        host: server.name.clone(),
        port: kind.port,
        path: value(kind.paths).unwrap_or_else(|| match kind.default_password {
            // The postgres image names the database after its user.
            None => user.clone(),
            Some(_) => String::new(),
        }),
        password: value(PASSWORDS).or(kind.default_password.map(str::to_owned)),
        user,
    };
    Some(Candidate {
        url: parts.url(kind)?,
        place: server.place(),
        whole: None,
        is_told: true,
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

/// A URL of this kind; the driver that SQLAlchemy writes into the scheme is left out.
fn parse(kind: &ServerKind, text: &str) -> Option<Url> {
    let (scheme, rest) = text.trim().split_once("://")?;
    let scheme = scheme.split('+').next().unwrap_or(scheme);
    if !kind.schemes.contains(&scheme) || rest.contains(['{', '<', '*']) {
        return None;
    }
    let url = Url::parse(&format!("{scheme}://{rest}")).ok()?;
    url.host_str().is_some_and(|host| !host.is_empty()).then_some(url)
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
        let mut url = Url::parse(&format!("{}://{}:{}/", kind.schemes[0], self.host, self.port)).ok()?;
        url.set_username(&self.user).ok()?;
        url.set_password(self.password.as_deref()).ok()?;
        if !self.path.is_empty() {
            // A vhost may hold, and often is, a slash.
            url.path_segments_mut().ok()?.clear().push(&self.path);
        }
        Some(url)
    }
}

fn address(kind: &ServerKind, candidate: Candidate, known: &AddressSources) -> Result<Address, String> {
    let Candidate {
        mut url,
        place,
        whole,
        is_told,
    } = candidate;
    let host = url.host_str().unwrap_or_default().to_owned();
    let service = known.services.iter().find(|service| service.name == host);
    let elsewhere = match service {
        Some(service) => {
            let target = url.port().unwrap_or(kind.port);
            let Some(published) = service.published(target) else {
                return Err(format!(
                    "{} runs without a published port {target} ({place} names it): add `ports: [\"{target}:{target}\"]` to it, or run taskdiag in that network",
                    service.place()
                ));
            };
            let _ = url.set_host(Some("localhost"));
            let _ = url.set_port(Some(published));
            true
        }
        None if host == "host.docker.internal" => {
            let _ = url.set_host(Some("localhost"));
            true
        }
        None => false,
    };
    let full = SecretUrl::from_text(url.as_str());
    if let Some(variable) = whole.filter(|_| !elsewhere) {
        return Ok(Address {
            text: format!("${{{}}}", variable.name),
            full,
            place,
            also: Vec::new(),
            is_told,
            is_service: false,
            needs: vec![Need {
                variable: variable.name,
                how: variable.how,
                is_password: false,
            }],
        });
    }
    let (password, needs) = match full.password() {
        None => (String::new(), Vec::new()),
        Some(secret) => {
            use secrecy::ExposeSecret;
            password(kind, &full.username(), secret.expose_secret(), &place, known)
        }
    };
    let user = url.username().replace("${", "$${");
    let at = if user.is_empty() { "" } else { "@" };
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let path = if url.path() == "/" && kind.port == BROKER.port {
        "/%2F"
    } else {
        url.path()
    };
    Ok(Address {
        text: format!(
            "{}://{user}{password}{at}{}{port}{path}{}",
            url.scheme(),
            url.host_str().unwrap_or_default(),
            query(&url)
        ),
        full,
        place,
        also: Vec::new(),
        needs,
        is_told,
        is_service: elsewhere,
    })
}

/// Of a query only what says how to connect; a password may stand in the rest.
fn query(url: &Url) -> String {
    let kept: Vec<String> = url
        .query_pairs()
        .filter(|(name, _)| matches!(name.as_ref(), "sslmode" | "sslrootcert" | "sslcert" | "sslkey"))
        .map(|(name, value)| format!("{name}={value}"))
        .collect();
    if kept.is_empty() {
        String::new()
    } else {
        format!("?{}", kept.join("&"))
    }
}

/// `:${NAME}` for the password, with how to set it.
fn password(
    kind: &ServerKind,
    user: &str,
    secret: &str,
    place: &str,
    known: &AddressSources,
) -> (String, Vec<Need>) {
    // RabbitMQ's documented default, good from this machine only, is no secret.
    if user == "guest" && secret == "guest" {
        return (":guest".into(), Vec::new());
    }
    let is_password = |name: &str| {
        let name = name.to_uppercase();
        ["PASS", "PWD", "SECRET"].iter().any(|word| name.contains(word))
    };
    let variable = known
        .variables
        .iter()
        .filter(|variable| variable.value == secret && is_password(&variable.name))
        .min_by_key(|variable| {
            kind.names(PASSWORDS)
                .position(|known| known == variable.name)
                .unwrap_or(usize::MAX)
        });
    let (name, how) = match variable {
        Some(variable) => (variable.name.clone(), variable.how.clone()),
        None => {
            // The name of the variable that Compose puts in, or else the usual one.
            let used = known
                .services
                .iter()
                .flat_map(|service| &service.environment)
                .flat_map(|setting| &setting.uses)
                .find(|(name, value)| value == secret && is_password(name))
                .map(|(name, _)| name.clone());
            let name = used.unwrap_or_else(|| kind.password_variable.to_owned());
            let how = format!("export {name}='…'    # its value stands in {place}");
            (name, how)
        }
    };
    let mut needs = vec![Need {
        variable: name.clone(),
        how,
        is_password: true,
    }];
    let mut probe = match Url::parse("x://h") {
        Ok(url) => url,
        Err(_) => return (format!(":${{{name}}}"), needs),
    };
    let _ = probe.set_username("u");
    let _ = probe.set_password(Some(secret));
    if probe.password() == Some(secret) && !secret.contains('%') {
        return (format!(":${{{name}}}"), needs);
    }
    // In a URL some characters must be percent-encoded.
    let encoded = format!("{name}_ENCODED");
    needs.push(Need {
        how: format!(
            "export {encoded}=\"$(python3 -c 'import os, urllib.parse; print(urllib.parse.quote(os.environ[\"{name}\"], safe=\"\"))')\""
        ),
        variable: encoded.clone(),
        is_password: true,
    });
    (format!(":${{{encoded}}}"), needs)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::compose::{Port, Setting};
    use crate::init::server::DATABASE;

    fn variable(name: &str, value: &str) -> EnvVar {
        EnvVar {
            name: name.into(),
            value: value.into(),
            place: ".env line 1".into(),
            how: "set -a; . ./.env; set +a".into(),
        }
    }

    fn service(name: &str, image: &str, environment: &[(&str, &str)], ports: &[(u16, u16)]) -> Service {
        Service {
            name: name.into(),
            file: "compose.yaml".into(),
            image: Some(image.into()),
            environment: environment
                .iter()
                .map(|(name, value)| Setting {
                    name: (*name).into(),
                    value: (*value).into(),
                    uses: Vec::new(),
                })
                .collect(),
            ports: ports
                .iter()
                .map(|(published, target)| Port {
                    published: *published,
                    target: *target,
                })
                .collect(),
            ..Service::default()
        }
    }

    fn look(kind: &ServerKind, variables: &[EnvVar], services: &[Service]) -> Option<Address> {
        find(
            kind,
            &AddressSources {
                variables,
                services,
                literals: &[],
            },
        )
        .0
    }

    #[test]
    fn a_variable_that_holds_it_all_is_referred_to() {
        let variables = [
            variable("TEST_DATABASE_URL", "postgres://t@h/t"),
            variable("DATABASE_URL", "postgresql+asyncpg://u:p@h:5433/d"),
        ];
        let found = look(&DATABASE, &variables, &[]).expect("found");
        assert_eq!(found.text, "${DATABASE_URL}");
        assert_eq!(found.full.expose(), "postgresql://u:p@h:5433/d");
        assert_eq!(found.also.len(), 1);
    }

    #[test]
    fn a_service_is_reached_through_its_published_port() {
        let services = [service("mq", "rabbitmq:4-management", &[], &[(5673, 5672)])];
        let variables = [
            variable("BROKER_URL", "amqp://app:s3cret@mq:5672/jobs"),
            variable("RABBITMQ_PASSWORD", "s3cret"),
        ];
        let found = look(&BROKER, &variables, &services).expect("found");
        assert_eq!(found.text, "amqp://app:${RABBITMQ_PASSWORD}@localhost:5673/jobs");
        assert_eq!(found.full.expose(), "amqp://app:s3cret@localhost:5673/jobs");
        assert_eq!(found.needs[0].how, "set -a; . ./.env; set +a");
    }

    #[test]
    fn a_port_that_is_not_published_is_complained_of() {
        let services = [service("mq", "rabbitmq:4", &[], &[])];
        let known = AddressSources {
            variables: &[variable("BROKER_URL", "amqp://app:s3cret@mq/jobs")],
            services: &services,
            literals: &[],
        };
        let (found, complaints) = find(&BROKER, &known);
        assert!(found.is_none());
        assert!(
            complaints[0].contains("without a published port"),
            "{complaints:?}"
        );
        assert!(!complaints[0].contains("s3cret"));
    }

    #[test]
    fn the_server_alone_is_enough() {
        let db = service(
            "db",
            "postgres:16",
            &[("POSTGRES_USER", "app"), ("POSTGRES_PASSWORD", "p@ss/word")],
            &[(5432, 5432)],
        );
        let found = look(&DATABASE, &[], &[db]).expect("found");
        assert_eq!(
            found.text,
            "postgres://app:${POSTGRES_PASSWORD_ENCODED}@localhost:5432/app"
        );
        assert_eq!(found.needs.len(), 2, "{:?}", found.needs);
        assert!(found.needs.iter().all(|need| !need.how.contains("p@ss")));
        let mq = service("rabbitmq", "bitnami/rabbitmq", &[], &[(5672, 5672)]);
        let found = look(&BROKER, &[], &[mq]).expect("found");
        assert_eq!(found.text, "amqp://guest:guest@localhost:5672/%2F");
        assert!(found.needs.is_empty());
    }

    #[test]
    fn split_settings() {
        let variables = [
            variable("POSTGRES_HOST", "127.0.0.1"),
            variable("POSTGRES_USER", "app"),
            variable("POSTGRES_PASSWORD", "pw"),
            variable("POSTGRES_DB", "main"),
        ];
        let found = look(&DATABASE, &variables, &[]).expect("found");
        assert_eq!(
            found.text,
            "postgres://app:${POSTGRES_PASSWORD}@127.0.0.1:5432/main"
        );
    }

    #[test]
    fn what_is_no_address_is_not_taken() {
        for text in [
            "amqp://",
            "redis://h",
            "amqp://{user}:{pass}@h",
            "postgres://h",
            "not a url",
        ] {
            assert!(
                look(&BROKER, &[variable("BROKER_URL", text)], &[]).is_none(),
                "{text}"
            );
        }
    }
}
