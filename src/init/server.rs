//! What is usual of a broker's and of a database's addresses: schemes, ports, names of variables.

use super::compose::Service;
use crate::framework;

/// What is looked for: the broker or the database.
pub struct ServerKind {
    pub schemes: &'static [&'static str],
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
    pub is_server: fn(&Service) -> bool,
}

/// What the names of other variables end with.
pub const HOSTS: &[&str] = &["HOST", "HOSTNAME", "SERVER"];
pub const PORTS: &[&str] = &["PORT"];
pub const USERS: &[&str] = &["DEFAULT_USER", "USER", "USERNAME"];
pub const PASSWORDS: &[&str] = &["DEFAULT_PASS", "PASSWORD", "PASS"];

pub const BROKER: ServerKind = ServerKind {
    schemes: &["amqp", "amqps"],
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
    is_server: Service::is_rabbitmq,
};

pub const DATABASE: ServerKind = ServerKind {
    schemes: &["postgres", "postgresql"],
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
    is_server: Service::is_postgres,
};

impl ServerKind {
    /// Whether a variable of this name usually holds the whole URL.
    pub fn is_usual(&self, name: &str) -> bool {
        self.whole.contains(&name) || (self.of_frameworks && framework::is_broker_variable(name))
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
