//! What is usual of a broker's and of a database's addresses: schemes, ports, names of variables.

use url::Url;

use crate::framework;

/// The program that answers there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Server {
    RabbitMq,
    Postgres,
}

/// What is looked for: the broker or the database.
pub struct ServerKind {
    /// As they are written, and what is meant: libraries of clients have names of their own for them.
    pub schemes: &'static [(&'static str, &'static str)],
    pub port: u16,
    /// Variables that hold the whole URL, most usual first.
    pub whole: &'static [&'static str],
    /// The variables of task frameworks are meant as well.
    pub of_frameworks: bool,
    /// What the names of variables begin with that hold a part of it; most usual first.
    pub prefixes: &'static [&'static str],
    /// What the name of the vhost's or the database's variable ends with.
    pub paths: &'static [&'static str],
    /// The variable for a password that no variable holds yet.
    pub password_variable: &'static str,
    /// Of the server's image, where its environment says nothing else.
    pub default_user: &'static str,
    pub default_password: Option<&'static str>,
    /// The variables that its image takes user, password and vhost or database from.
    pub of_image: [&'static str; 3],
    pub server: Server,
}

/// What the names of other variables end with.
pub const HOSTS: &[&str] = &["HOST", "HOSTNAME", "SERVER"];
pub const PORTS: &[&str] = &["PORT"];
pub const USERS: &[&str] = &["DEFAULT_USER", "USER", "USERNAME"];
pub const PASSWORDS: &[&str] = &["DEFAULT_PASS", "PASSWORD", "PASS"];

pub const BROKER: ServerKind = ServerKind {
    schemes: &[
        ("amqp", "amqp"),
        ("amqps", "amqps"),
        ("pyamqp", "amqp"),
        ("librabbitmq", "amqp"),
    ],
    port: 5672,
    whole: &[
        "RABBITMQ_URL",
        "AMQP_URL",
        "BROKER_URL",
        "CLOUDAMQP_URL",
        "RABBIT_URL",
        "RABBITMQ_URI",
        "AMQP_URI",
        "MQ_URL",
    ],
    of_frameworks: true,
    prefixes: &["RABBITMQ_", "RABBIT_", "AMQP_", "BROKER_", "MQ_"],
    paths: &["DEFAULT_VHOST", "VHOST"],
    password_variable: "RABBITMQ_PASSWORD",
    default_user: "guest",
    default_password: Some("guest"),
    of_image: [
        "RABBITMQ_DEFAULT_USER",
        "RABBITMQ_DEFAULT_PASS",
        "RABBITMQ_DEFAULT_VHOST",
    ],
    server: Server::RabbitMq,
};

pub const DATABASE: ServerKind = ServerKind {
    schemes: &[("postgres", "postgres"), ("postgresql", "postgresql")],
    port: 5432,
    whole: &[
        "DATABASE_URL",
        "POSTGRES_URL",
        "PG_URL",
        "DB_URL",
        "SQLALCHEMY_DATABASE_URI",
        "SQLALCHEMY_DATABASE_URL",
        "POSTGRES_DSN",
        "DATABASE_URI",
        "DB_DSN",
    ],
    of_frameworks: false,
    prefixes: &["PG", "POSTGRES_", "POSTGRESQL_", "DB_", "DATABASE_"],
    paths: &["DATABASE", "DB", "NAME"],
    password_variable: "POSTGRES_PASSWORD",
    default_user: "postgres",
    default_password: None,
    of_image: ["POSTGRES_USER", "POSTGRES_PASSWORD", "POSTGRES_DB"],
    server: Server::Postgres,
};

impl ServerKind {
    /// Whether a variable of this name usually holds the whole URL.
    pub fn is_usual(&self, name: &str) -> bool {
        self.whole.contains(&name) || (self.of_frameworks && framework::is_broker_variable(name))
    }

    /// What a scheme means, whatever driver stands in it.
    pub fn scheme(&self, written: &str) -> Option<&'static str> {
        let written = written.split('+').next().unwrap_or(written);
        let known = self.schemes.iter().find(|(known, _)| *known == written);
        known.map(|(_, meant)| *meant)
    }

    /// A URL of this kind, with the usual scheme; a format is none.
    pub fn parse(&self, text: &str) -> Option<Url> {
        let (scheme, rest) = text.trim().split_once("://")?;
        let scheme = self.scheme(scheme)?;
        if rest.contains(['{', '<', '*']) || rest.contains("%s") || rest.contains("%(") {
            return None;
        }
        let url = Url::parse(&format!("{scheme}://{rest}")).ok()?;
        url.host_str().is_some_and(|host| !host.is_empty()).then_some(url)
    }

    /// Names that usually hold a part of the URL, most usual first.
    pub fn names(&self, ends: &[&str]) -> impl Iterator<Item = String> {
        let all = self
            .prefixes
            .iter()
            .flat_map(|prefix| ends.iter().map(move |end| format!("{prefix}{end}")));
        all.collect::<Vec<_>>().into_iter()
    }
}
