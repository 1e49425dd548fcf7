//! Where the broker and the database are, written so that no password stands in the file.
//!
//! A variable that holds the whole URL is referred to as it is. Where the URL has to be changed (a
//! Compose service is reached through its published port from here), only its password becomes a
//! variable. What is made of variables that nothing sets keeps them, and says that they are needed.

mod candidates;
mod open;

use url::Url;

use super::EnvVar;
use super::compose::Service;
use crate::config::SecretUrl;
use crate::python::{Databases, SettingValue};
use crate::servers::{BROKER, PASSWORDS, ServerKind};
use candidates::{Candidate, candidates};
use open::OpenVariables;

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
    /// To look at it now; `None` while a variable that it is made of is not set.
    pub full: Option<SecretUrl>,
    pub place: String,
    pub also: Vec<String>,
    pub needs: Vec<Need>,
    /// It is a service of Compose, reached through its published port.
    pub is_service: bool,
    /// Why it may not be reached from here.
    pub doubt: Option<String>,
    /// It is what an image sets up where nothing says what is used.
    pub is_guess: bool,
}

/// What is known, best first within each field.
#[derive(Default)]
pub struct AddressSources<'a> {
    /// Of running processes, `.env` files and the shell, in this order.
    pub variables: &'a [EnvVar],
    pub services: &'a [Service],
    /// URLs that stand in the code, with where.
    pub literals: &'a [(String, String)],
    /// Variables that the code reads for this address, as far as it says so.
    pub named: &'a [String],
    /// What the code gives its framework as the broker, with where.
    pub brokers: &'a [(SettingValue, String)],
    /// Django's databases.
    pub databases: Option<&'a Databases>,
    /// Variables of examples of `.env` files: where a value may be copied from.
    pub examples: &'a [EnvVar],
}

impl AddressSources<'_> {
    /// What to type so that a variable that nothing sets is set.
    pub fn how_to_set(&self, variable: &str, place: &str) -> String {
        let example = self.examples.iter().find(|example| example.name == variable);
        let example = example.map_or_else(String::new, |example| {
            format!("; {} has an example", example.place)
        });
        format!("export {variable}='…'    # {place} takes it from there{example}")
    }

    fn service(&self, host: &str) -> Option<&Service> {
        let mut services = self.services.iter();
        let by_name = services.find(|service| service.name == host);
        by_name.or_else(|| self.services.iter().find(|service| service.is_called(host)))
    }
}

/// The address, and what makes others that were seen unusable from here.
pub fn find(kind: &ServerKind, known: &AddressSources) -> (Option<Address>, Vec<String>) {
    let mut complaints: Vec<(String, String)> = Vec::new();
    let mut found: Option<Address> = None;
    for candidate in candidates(kind, known) {
        let place = candidate.place.clone();
        match address(kind, candidate, known) {
            Ok(address) => match &mut found {
                Some(first) if first.place != place => first.also.push(place),
                Some(_) => {}
                None => found = Some(address),
            },
            // Once for each service, however many name it.
            Err((of, _)) if complaints.iter().any(|(known, _)| *known == of) => {}
            Err(complaint) => complaints.push(complaint),
        }
    }
    if let Some(found) = &mut found {
        found.also.dedup();
        found.also.truncate(6);
    }
    (found, complaints.into_iter().map(|(_, text)| text).collect())
}

/// The address as it is reached from here; or what is in the way, and what is to be said of it.
fn address(
    kind: &ServerKind,
    candidate: Candidate,
    known: &AddressSources,
) -> Result<Address, (String, String)> {
    let Candidate {
        mut url,
        place,
        whole,
        mut open,
        is_guess,
    } = candidate;
    let (elsewhere, doubt) = reach(kind, &mut url, &mut open, &place, known)?;
    let full = SecretUrl::from_text(url.as_str());
    if let Some(variable) = whole.filter(|_| !elsewhere && !open.is_any()) {
        return Ok(Address {
            text: format!("${{{}}}", variable.name),
            full: Some(full),
            place,
            also: Vec::new(),
            is_service: false,
            doubt,
            is_guess,
            needs: vec![Need {
                variable: variable.name,
                how: variable.how,
                is_password: false,
            }],
        });
    }
    let (password, mut needs) = match full.password() {
        None => (String::new(), Vec::new()),
        Some(secret) => {
            use secrecy::ExposeSecret;
            let secret = secret.expose_secret();
            match open.back(secret) {
                Some(text) => (format!(":{text}"), Vec::new()),
                None => password(kind, &full.username(), secret, &place, known),
            }
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
    let text = format!(
        "{}://{user}{password}{at}{}{port}{path}{}",
        url.scheme(),
        url.host_str().unwrap_or_default(),
        query(&url)
    );
    let text = open.back(&text).unwrap_or(text);
    let used = open
        .names()
        .iter()
        .filter(|name| text.contains(&format!("${{{name}}}")));
    let unset = used.map(|name| Need {
        how: known.how_to_set(name, &place),
        variable: name.clone(),
        is_password: false,
    });
    needs.extend(unset);
    Ok(Address {
        text,
        full: Some(full).filter(|_| !open.is_any()),
        place,
        also: Vec::new(),
        needs,
        is_service: elsewhere,
        doubt,
        is_guess,
    })
}

/// Changes host and port to those of this machine where they are a service's of Compose; whether they are, and why the
/// host may not be reached from here.
fn reach(
    kind: &ServerKind,
    url: &mut Url,
    open: &mut OpenVariables,
    place: &str,
    known: &AddressSources,
) -> Result<(bool, Option<String>), (String, String)> {
    // A host that nothing sets is the server of the Compose file, which has one.
    let server = known.services.iter().find(|service| service.is(kind.server));
    let host = url.host_str().unwrap_or_default();
    let host = match server.filter(|_| open.holds(host)) {
        Some(server) => server.name.clone(),
        None => host.to_owned(),
    };
    match known.service(&host) {
        Some(service) => {
            let target = url.port().unwrap_or(kind.port);
            let published = match (service.published(target), service.published_by(target)) {
                (Some(port), _) => Some(port),
                (None, Some(variable)) => Some(open.port(variable)),
                (None, None) => None,
            };
            let Some(published) = published else {
                let service = service.place();
                let by = match place.starts_with(&service) {
                    true => String::new(),
                    false => format!(" ({place} names it)"),
                };
                let path = url.path().trim_start_matches('/');
                let vhost = match kind.server == BROKER.server && !matches!(path, "" | "%2F" | "/") {
                    true => format!("; its vhost is `{path}`"),
                    false => String::new(),
                };
                return Err((
                    format!("{service} {target}"),
                    format!(
                        "{service} runs without a published port {target}{by}: add `ports: [\"{target}:{target}\"]` to it, or run taskdiag in that network{vhost}"
                    ),
                ));
            };
            let _ = url.set_host(Some("localhost"));
            let _ = url.set_port(Some(published));
            Ok((true, None))
        }
        None if host == "host.docker.internal" => {
            let _ = url.set_host(Some("localhost"));
            Ok((true, None))
        }
        None => {
            let is_short = !host.contains(['.', ':']) && host != "localhost" && !open.holds(&host);
            let doubt = is_short.then(|| {
                format!(
                    "{place} names the host `{host}`, which no Compose file here has as a service: it is used as it stands, and may be a name in another network"
                )
            });
            Ok((false, doubt))
        }
    }
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
    use crate::servers::DATABASE;

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
                    open: None,
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
                ..AddressSources::default()
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
        assert_eq!(
            found.full.as_ref().expect("known").expose(),
            "postgresql://u:p@h:5433/d"
        );
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
        assert_eq!(
            found.full.as_ref().expect("known").expose(),
            "amqp://app:s3cret@localhost:5673/jobs"
        );
        assert_eq!(found.needs[0].how, "set -a; . ./.env; set +a");
    }

    #[test]
    fn a_port_that_is_not_published_is_complained_of() {
        let services = [service("mq", "rabbitmq:4", &[], &[])];
        let known = AddressSources {
            variables: &[variable("BROKER_URL", "amqp://app:s3cret@mq/jobs")],
            services: &services,
            ..AddressSources::default()
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

    fn open(name: &str, value: &str, open: &str) -> Setting {
        Setting {
            name: name.into(),
            value: value.into(),
            uses: Vec::new(),
            open: Some(open.into()),
        }
    }

    #[test]
    fn what_nothing_sets_is_kept_and_needed() {
        let mut db = service("db", "postgres:16", &[], &[(5433, 5432)]);
        db.environment = vec![
            open("POSTGRES_USER", "", "${DB_USER}"),
            open("POSTGRES_PASSWORD", "", "${DB_PASSWORD}"),
        ];
        let found = look(&DATABASE, &[], &[db.clone()]).expect("found");
        assert_eq!(
            found.text,
            "postgres://${DB_USER}:${DB_PASSWORD}@localhost:5433/${DB_USER}"
        );
        assert!(found.full.is_none());
        assert_eq!(found.needs.len(), 2, "{:?}", found.needs);
        assert!(
            found.needs[0].how.starts_with("export DB_USER="),
            "{:?}",
            found.needs
        );
        // An application that names the whole of it, of which a part is set.
        let mut api = service("api", "api", &[], &[]);
        api.environment = vec![open(
            "DATABASE_URL",
            "postgres://app:@db:/shop",
            "postgres://app:${DB_PASSWORD}@db:${DB_PORT}/shop",
        )];
        let found = look(&DATABASE, &[], &[api, db]).expect("found");
        assert_eq!(found.text, "postgres://app:${DB_PASSWORD}@localhost:5433/shop");
        // A file that is not there sets what the image would else choose.
        let mut mq = service("mq", "rabbitmq:4", &[], &[(5672, 5672)]);
        mq.env_missing = vec![".env".into()];
        let found = look(&BROKER, &[], &[mq]).expect("found");
        assert_eq!(
            found.text,
            "amqp://${RABBITMQ_DEFAULT_USER}:${RABBITMQ_DEFAULT_PASS}@localhost:5672/%2F"
        );
        // Nothing is open: the image's own defaults are right.
        let mq = service("mq", "rabbitmq:4", &[], &[(5672, 5672)]);
        let found = look(&BROKER, &[], &[mq]).expect("found");
        assert!(found.full.is_some() && found.text.contains("guest:guest") && !found.is_guess);
        // Its own configuration may name others.
        let mut mq = service("mq", "rabbitmq:4", &[], &[(5672, 5672)]);
        mq.is_configured = true;
        assert!(look(&BROKER, &[], &[mq]).expect("found").is_guess);
    }

    #[test]
    fn a_port_that_a_variable_says_is_published() {
        let mut mq = service("mq", "rabbitmq:4", &[], &[]);
        mq.open_ports = vec![("MQ_PORT".into(), 5672)];
        let found = look(&BROKER, &[], &[mq]).expect("found");
        assert_eq!(found.text, "amqp://guest:guest@localhost:${MQ_PORT}/%2F");
        assert_eq!(found.needs[0].variable, "MQ_PORT");
    }

    #[test]
    fn parts_of_one_server_are_not_mixed_with_anothers() {
        let redis = service("redis", "redis:7", &[], &[(6379, 6379)]);
        let mixed = [
            variable("RABBITMQ_USER", "app"),
            variable("AMQP_HOST", "redis"),
            variable("AMQP_PORT", "6379"),
        ];
        assert!(look(&BROKER, &mixed, std::slice::from_ref(&redis)).is_none());
        let whole = [variable("BROKER_URL", "amqp://app@redis:6379")];
        assert!(look(&BROKER, &whole, &[redis]).is_none());
        let own = [
            variable("RABBITMQ_USER", "app"),
            variable("RABBITMQ_HOST", "10.0.0.2"),
        ];
        assert_eq!(
            look(&BROKER, &own, &[]).expect("found").text,
            "amqp://app@10.0.0.2:5672/%2F"
        );
    }

    #[test]
    fn a_library_has_a_scheme_of_its_own() {
        let found = look(
            &BROKER,
            &[variable("BROKER_URL", "pyamqp://10.0.0.2:5673//")],
            &[],
        )
        .expect("found");
        assert!(found.text.starts_with("amqp://10.0.0.2:5673"), "{}", found.text);
    }

    #[test]
    fn a_service_is_known_by_its_other_names() {
        let mut mq = service("mq", "rabbitmq:4", &[], &[(5673, 5672)]);
        mq.aliases = vec!["rabbit-1".into()];
        let variables = [variable("BROKER_URL", "amqp://app@rabbit-1:5672")];
        let found = look(&BROKER, &variables, &[mq]).expect("found");
        assert_eq!(found.text, "amqp://app@localhost:5673");
        assert!(found.doubt.is_none());
        let found = look(&BROKER, &variables, &[]).expect("found");
        assert!(found.doubt.expect("said").contains("rabbit-1"));
    }
}
