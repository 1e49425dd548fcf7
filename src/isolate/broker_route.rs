//! The way to the broker that a fresh worker is given, through the variables that it reads.

use secrecy::ExposeSecret;
use url::Url;

use crate::config::{Broker, Program, SecretUrl};
use crate::http::segment;

/// The only way to a broker that the fresh worker has.
pub(super) struct BrokerRoute {
    /// Of the empty vhost, and of a user that may enter no other.
    pub name: String,
    pub password: String,
    /// Stands for the broker's port.
    pub alias_port: u16,
}

pub(super) fn names(replaced: &[(String, String)]) -> String {
    let names: Vec<&str> = replaced.iter().map(|(name, _)| name.as_str()).collect();
    names.join(", ")
}

/// What a program of this section is started with, as text.
pub(super) fn environment(program: &Program) -> Vec<(String, String)> {
    let mut found: Vec<(String, String)> = std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| program.env.iter().all(|(known, _)| known != name))
        .collect();
    found.extend(
        program
            .env
            .iter()
            .map(|(name, value)| (name.clone(), value.expose_secret().to_owned())),
    );
    found
}

/// The variables that lead to the live vhost, leading by the route instead.
pub(super) fn replaced(
    environment: &[(String, String)],
    broker: &Broker,
    route: &BrokerRoute,
) -> Vec<(String, String)> {
    let mut found = Vec::new();
    for (name, value) in environment
        .iter()
        .filter(|(name, _)| !name.starts_with("TASKDIAG_"))
    {
        // Several brokers may be named, one after the other.
        let urls: Vec<&str> = value.split(';').collect();
        if urls.iter().any(|url| leads_to(url, broker)) {
            let urls: Option<Vec<String>> = urls.iter().map(|url| led(url, broker, route)).collect();
            found.extend(urls.map(|urls| (name.clone(), urls.join(";"))));
        } else if *value == broker.vhost {
            found.extend(family(name, environment, broker, route));
        }
    }
    found
}

/// A vhost in a variable of its own, with its like for everything else that must lead elsewhere: a
/// worker that read the port, but neither vhost nor user, would go to the live vhost.
fn family(
    vhost: &str,
    environment: &[(String, String)],
    broker: &Broker,
    route: &BrokerRoute,
) -> Vec<(String, String)> {
    let upper = vhost.to_uppercase();
    let Some(prefix) = ["VIRTUAL_HOST", "VHOST"]
        .iter()
        .find_map(|end| upper.strip_suffix(end))
    else {
        return Vec::new();
    };
    let named = |ends: &[&str], is_it: &dyn Fn(&str) -> bool| {
        environment.iter().find(|(name, value)| {
            let name = name.to_uppercase();
            name.strip_prefix(prefix).is_some_and(|end| ends.contains(&end)) && is_it(value)
        })
    };
    let port = named(&["PORT"], &|value| value.parse().ok() == Some(broker.amqp.port()));
    let user = named(&["USER", "USERNAME", "LOGIN"], &|_| true);
    let password = named(&["PASSWORD", "PASS", "PASSWD"], &|_| true);
    let (Some((port, _)), Some((user, _)), Some((password, _))) = (port, user, password) else {
        return Vec::new();
    };
    vec![
        (vhost.to_owned(), route.name.clone()),
        (port.clone(), route.alias_port.to_string()),
        (user.clone(), route.name.clone()),
        (password.clone(), route.password.clone()),
    ]
}

/// Whether an AMQP URL means the broker and the vhost that are watched.
fn leads_to(url: &str, broker: &Broker) -> bool {
    if !matches!(url.split("://").next(), Some("amqp" | "amqps")) {
        return false;
    }
    let url = SecretUrl::from_text(url.trim());
    let host = |host: String| match host.as_str() {
        "127.0.0.1" | "::1" => "localhost".to_owned(),
        _ => host.to_lowercase(),
    };
    host(url.host()) == host(broker.amqp.host())
        && url.port() == broker.amqp.port()
        && url.vhost() == broker.vhost
}

/// The URL, leading by the route; `None` for one whose port the alias does not stand for.
fn led(url: &str, broker: &Broker, route: &BrokerRoute) -> Option<String> {
    if SecretUrl::from_text(url.trim()).port() != broker.amqp.port() {
        return None;
    }
    let mut url = Url::parse(url.trim()).ok()?;
    url.set_username(&route.name).ok()?;
    url.set_password(Some(&route.password)).ok()?;
    url.set_port(Some(route.alias_port)).ok()?;
    url.set_path(&format!("/{}", segment(&route.name)));
    Some(url.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    fn broker(url: &str) -> Broker {
        let text = format!("[broker]\namqp_url = \"{url}\"");
        match Config::from_text(&text) {
            Ok(config) => config.broker,
            Err(error) => panic!("{error}"),
        }
    }

    fn variables(all: &[(&str, &str)]) -> Vec<(String, String)> {
        all.iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect()
    }

    fn route() -> BrokerRoute {
        BrokerRoute {
            name: "new".into(),
            password: "pw".into(),
            alias_port: 4000,
        }
    }

    #[test]
    fn only_what_leads_to_the_live_vhost_is_replaced() {
        let environment = variables(&[
            ("RABBITMQ_URL", "amqp://app:p%40ss@127.0.0.1/jobs?heartbeat=5"),
            ("OTHER_URL", "amqp://app:p@elsewhere/jobs"),
            ("OTHER_VHOST_URL", "amqp://app:p@localhost:5672/other"),
            ("CLUSTER", "amqp://a:b@localhost/jobs;amqp://a:b@second/jobs"),
            (
                "PORTS",
                "amqp://a:b@localhost/jobs;amqp://a:b@localhost:5673/jobs",
            ),
            ("DATABASE_URL", "postgres://localhost/jobs"),
            ("TASKDIAG_BROKER_AMQP_URL", "amqp://localhost/jobs"),
        ]);
        let found = replaced(&environment, &broker("amqp://me:x@localhost:5672/jobs"), &route());
        assert_eq!(
            found,
            variables(&[
                ("RABBITMQ_URL", "amqp://new:pw@127.0.0.1:4000/new?heartbeat=5"),
                (
                    "CLUSTER",
                    "amqp://new:pw@localhost:4000/new;amqp://new:pw@second:4000/new"
                ),
            ])
        );
    }

    #[test]
    fn a_vhost_of_its_own_needs_its_like() {
        let all = [
            ("RABBITMQ_VHOST", "jobs"),
            ("RABBITMQ_PORT", "5672"),
            ("RABBITMQ_USER", "app"),
            ("RABBITMQ_PASS", "secret"),
        ];
        let others = [
            ("DB_PORT", "5672"),
            ("DB_USER", "app"),
            ("DB_PASSWORD", "x"),
            ("SOME_VHOST", "others"),
        ];
        let found = |all: &[(&str, &str)]| {
            let environment = variables(&[all, &others].concat());
            replaced(&environment, &broker("amqp://me:x@localhost:5672/jobs"), &route())
        };
        assert_eq!(
            found(&all),
            variables(&[
                ("RABBITMQ_VHOST", "new"),
                ("RABBITMQ_PORT", "4000"),
                ("RABBITMQ_USER", "new"),
                ("RABBITMQ_PASS", "pw"),
            ])
        );
        for missing in 1..all.len() {
            let mut some = all.to_vec();
            some.remove(missing);
            assert_eq!(found(&some), [], "without {}", all[missing].0);
        }
        let mut elsewhere = all;
        elsewhere[1].1 = "5673";
        assert_eq!(found(&elsewhere), []);
    }

    #[test]
    fn the_default_vhost_in_all_its_spellings() {
        for url in [
            "amqp://localhost",
            "amqp://localhost/",
            "amqp://localhost:5672/%2F",
            "amqp://guest@localhost//",
        ] {
            let found = replaced(&variables(&[("U", url)]), &broker("amqp://localhost"), &route());
            assert_eq!(found.len(), 1, "{url}");
        }
    }
}
