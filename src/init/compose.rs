//! Docker Compose files: services, their published ports, environment and commands. Read as they
//! stand: nothing is executed, and nothing is fetched.

mod files;
mod interpolate;
mod merge;

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value as Json};

use self::files::{below, folder, rank};
use self::interpolate::{closed, interpolate, mark, open};
use self::merge::{MOST_EXTENDS, Sources, over};
use super::launch;
use crate::bounded::TextFile;
use crate::servers::Server;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    pub name: String,
    /// The file that defines it.
    pub file: String,
    pub image: Option<String>,
    pub command: Vec<String>,
    pub environment: Vec<Setting>,
    pub ports: Vec<Port>,
    /// Ports that are published where an undefined variable says: its name, and the port in the container.
    pub open_ports: Vec<(String, u16)>,
    /// What else it is called in its networks.
    pub aliases: Vec<String>,
    /// Files of variables that it names and that are not there.
    pub env_missing: Vec<String>,
    /// Its file refers to what only another file defines: Compose takes it with that one alone.
    pub is_of_a_part: bool,
    /// Its image is built from this project.
    pub is_built: bool,
    /// It is given plugins, or runs what enables them.
    pub has_plugins: bool,
    /// It is given a configuration of its server, which may name other users than its image does.
    pub is_configured: bool,
    /// What it extends and could not be read.
    pub unread: Option<String>,
}

/// One variable of a service.
#[derive(Debug, Clone, PartialEq)]
pub struct Setting {
    pub name: String,
    pub value: String,
    /// Names of the variables of the shell or `.env` that it is made of, with their values.
    pub uses: Vec<(String, String)>,
    /// With `${NAME}` for each variable that is set nowhere, if there is one: what it will be is not known.
    pub open: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Port {
    /// On this machine.
    pub published: u16,
    pub target: u16,
}

impl Service {
    pub fn get(&self, name: &str) -> Option<&Setting> {
        self.environment.iter().find(|setting| setting.name == name)
    }

    /// Where this machine reaches a port of the service.
    pub fn published(&self, target: u16) -> Option<u16> {
        self.ports
            .iter()
            .find(|port| port.target == target)
            .map(|port| port.published)
    }

    /// The variable that says where this machine reaches a port, if nothing sets it.
    pub fn published_by(&self, target: u16) -> Option<&str> {
        let mut open = self.open_ports.iter();
        open.find(|(_, known)| *known == target)
            .map(|(variable, _)| variable.as_str())
    }

    /// It is reached by this name in its network.
    pub fn is_called(&self, host: &str) -> bool {
        self.name == host || self.aliases.iter().any(|alias| alias == host)
    }

    /// RabbitMQ's own image has the management API by its tag only, or where something enables it.
    pub fn lacks_management(&self) -> bool {
        let image = self.image.as_deref().unwrap_or_default().to_lowercase();
        let official = ["docker.io/library/", "docker.io/", "library/"];
        let image = official.iter().fold(image.as_str(), |image, start| {
            image.strip_prefix(start).unwrap_or(image)
        });
        let name = image.split([':', '@']).next().unwrap_or_default();
        name == "rabbitmq" && !image.contains("management") && !self.has_plugins && !self.is_built
    }

    /// It keeps something, but neither messages of RabbitMQ nor rows of PostgreSQL.
    pub fn is_other_store(&self) -> bool {
        const OTHERS: &[&str] = &[
            "redis",
            "valkey",
            "memcached",
            "mongo",
            "mysql",
            "mariadb",
            "keydb",
        ];
        self.kind()
            .is_some_and(|kind| OTHERS.iter().any(|other| kind.contains(other)))
    }

    pub fn place(&self) -> String {
        format!("{}, service {}", self.file, self.name)
    }

    /// It keeps messages or rows.
    pub fn is_store(&self) -> bool {
        self.is_rabbitmq() || self.is_postgres()
    }

    pub fn is(&self, server: Server) -> bool {
        match server {
            Server::RabbitMq => self.is_rabbitmq(),
            Server::Postgres => self.is_postgres(),
        }
    }

    pub fn is_rabbitmq(&self) -> bool {
        match self.kind() {
            Some(kind) => kind.contains("rabbitmq") && !kind.contains("exporter"),
            None => self.name.contains("rabbit"),
        }
    }

    pub fn is_postgres(&self) -> bool {
        let other = ["exporter", "bouncer", "backup", "admin", "pgpool"];
        match self.kind() {
            Some(kind) => {
                ["postgres", "postgis", "timescale", "pgvector"]
                    .iter()
                    .any(|word| kind.contains(word))
                    && !other.iter().any(|word| kind.contains(word))
            }
            None => self.get("POSTGRES_DB").is_some() && self.published(5432).is_some(),
        }
    }

    /// The image's own name: without registry, tag and digest.
    fn kind(&self) -> Option<String> {
        let image = self.image.as_deref()?.to_lowercase();
        let image = image.split('@').next().unwrap_or_default();
        let last = image.rsplit('/').next().unwrap_or_default();
        Some(last.split(':').next().unwrap_or_default().to_owned())
    }
}

/// What the environment and `.env` set.
type Variables = BTreeMap<String, String>;

/// A service as a file defines it.
type Definition = Map<String, Json>;

/// Services of all files, those of an override merged into what they override; `named` reads a file
/// that a service extends.
pub fn read(
    files: &[TextFile],
    named: &dyn Fn(&str) -> Option<TextFile>,
    variables: &Variables,
    complaints: &mut Vec<String>,
) -> Vec<Service> {
    let sources = Sources {
        files,
        named,
        variables,
    };
    let mut found: Vec<(String, &TextFile, Definition, Option<String>)> = Vec::new();
    let mut parts: BTreeSet<&str> = BTreeSet::new();
    let mut ordered: Vec<&TextFile> = files.iter().collect();
    // Near the root first; in a folder the file that Compose takes by itself, then its override.
    ordered.sort_by_key(|file| (file.place.matches('/').count(), rank(&file.place), &file.place));
    for file in ordered {
        let document = match parse(file) {
            Ok(document) => document,
            Err(error) => {
                let first = error.lines().next().unwrap_or_default();
                complaints.push(format!("{} is not valid YAML: {first}", file.place));
                continue;
            }
        };
        if is_a_part(&document) {
            parts.insert(file.place.as_str());
        }
        // Version 1 files had no `services`.
        for (name, definition) in services(&document).into_iter().flatten() {
            let Some(own) = definition.as_object() else {
                continue;
            };
            let (whole, unread) = sources.whole(&file.place, &document, name, own, MOST_EXTENDS);
            let known = found
                .iter_mut()
                .find(|(known, at, ..)| known == name && folder(&at.place) == folder(&file.place));
            match known {
                Some((_, _, known, _)) if rank(&file.place) == 1 => *known = over(known.clone(), whole),
                // Of another variant of the same file: the first one counts.
                Some(_) => {}
                None => found.push((name.clone(), file, whole, unread)),
            }
        }
    }
    found
        .into_iter()
        .map(|(name, file, definition, unread)| Service {
            name,
            file: file.place.clone(),
            unread,
            is_of_a_part: parts.contains(file.place.as_str()),
            env_missing: env_missing(&definition, &file.place, named, variables),
            ..service(&definition, variables)
        })
        .collect()
}

fn parse(file: &TextFile) -> Result<Json, String> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    serde_saphyr::from_str_with_options(&file.text, options).map_err(|error| error.to_string())
}

/// A service of the file depends on one that the file does not define.
fn is_a_part(document: &Json) -> bool {
    let Some(services) = services(document) else {
        return false;
    };
    let needed = services
        .values()
        .flat_map(|service| match service.get("depends_on") {
            Some(Json::Array(names)) => names.iter().map(plain).collect(),
            Some(Json::Object(map)) => map.keys().cloned().collect(),
            _ => Vec::new(),
        });
    let mut needed = needed.into_iter();
    needed.any(|name| !services.contains_key(&name))
}

fn services(document: &Json) -> Option<&Map<String, Json>> {
    document.get("services")?.as_object()
}

fn service(definition: &Definition, variables: &Variables) -> Service {
    let text = |value: &Json| interpolate(&plain(value), variables).0;
    let words = |key: &str| -> Vec<String> {
        match definition.get(key) {
            Some(Json::Array(words)) => words.iter().map(text).collect(),
            Some(line) => launch::words(&text(line)),
            None => Vec::new(),
        }
    };
    let environment = definition.get("environment").and_then(Json::as_object);
    let environment = environment.into_iter().flatten().map(|(name, value)| {
        let raw = match value {
            Json::Null => format!("${{{name}}}"),
            value => plain(value),
        };
        let (marked, uses) = mark(&raw, variables);
        Setting {
            name: name.clone(),
            value: closed(&marked),
            uses,
            open: open(&marked),
        }
    });
    let published = definition.get("ports").and_then(Json::as_array);
    let mut ports: Vec<Port> = published
        .into_iter()
        .flatten()
        .flat_map(|port| self::ports(port, &text))
        .collect();
    let open_ports = published
        .into_iter()
        .flatten()
        .filter_map(|port| open_port(port, variables));
    if definition.get("network_mode").and_then(Json::as_str) == Some("host") {
        ports.extend([5432, 5672, 15672, 8000].map(|port| Port {
            published: port,
            target: port,
        }));
    }
    let whole = Json::from(definition.clone()).to_string();
    let speaks_of = |words: &[&str]| words.iter().any(|word| whole.contains(word));
    Service {
        image: definition.get("image").map(text),
        command: [words("entrypoint"), words("command")].concat(),
        environment: environment.collect(),
        open_ports: open_ports.collect(),
        ports,
        aliases: aliases(definition),
        is_built: definition.contains_key("build"),
        has_plugins: speaks_of(&["plugins"]),
        is_configured: speaks_of(&["rabbitmq.conf", "/etc/rabbitmq/conf", "definitions"]),
        ..Service::default()
    }
}

/// `"127.0.0.1:5433:5432/tcp"`, `"5000-5002:5000-5002"` or the long form. Without a published port
/// Docker takes any: it cannot be known from here.
fn ports(value: &Json, text: &dyn Fn(&Json) -> String) -> Vec<Port> {
    let (published, target) = match value {
        Json::Object(map) => {
            let get = |key: &str| map.get(key).map(text).unwrap_or_default();
            (get("published"), get("target"))
        }
        short => {
            let whole = text(short);
            let whole = whole.split('/').next().unwrap_or_default();
            let (rest, target) = whole.rsplit_once(':').unwrap_or(("", whole));
            let published = rest.rsplit(':').next().unwrap_or_default();
            (published.to_owned(), target.to_owned())
        }
    };
    match (range(&published), range(&target)) {
        (Some(published), Some(target)) if published.len() == target.len() => published
            .zip(target)
            .map(|(published, target)| Port { published, target })
            .collect(),
        _ => Vec::new(),
    }
}

fn range(text: &str) -> Option<std::ops::Range<u16>> {
    let (from, to) = match text.split_once('-') {
        Some((from, to)) => (from.parse().ok()?, to.parse().ok()?),
        None => {
            let port: u16 = text.parse().ok()?;
            (port, port)
        }
    };
    (from <= to && to - from < 100).then(|| from..to.saturating_add(1))
}

/// Scalars as Compose reads them.
fn plain(value: &Json) -> String {
    match value {
        Json::String(text) => text.clone(),
        Json::Null => String::new(),
        other => other.to_string(),
    }
}

/// The variable that says where a port is published, and the port, if nothing sets it.
fn open_port(value: &Json, variables: &Variables) -> Option<(String, u16)> {
    let text = match value {
        Json::Object(map) => format!("{}:{}", plain(map.get("published")?), plain(map.get("target")?)),
        short => plain(short),
    };
    let whole = open(&mark(&text, variables).0)?;
    let whole = whole.split('/').next().unwrap_or_default();
    let (rest, target) = whole.rsplit_once(':')?;
    let published = rest.rsplit(':').next().unwrap_or_default();
    let name = published.strip_prefix("${")?.strip_suffix('}')?;
    Some((name.to_owned(), target.parse().ok()?))
}

fn aliases(definition: &Definition) -> Vec<String> {
    let texts = ["hostname", "container_name"];
    let named = texts.iter().filter_map(|key| definition.get(*key)).map(plain);
    let networks = definition.get("networks").and_then(Json::as_object);
    let of_networks = networks
        .into_iter()
        .flat_map(Map::values)
        .filter_map(|network| network.get("aliases")?.as_array())
        .flatten()
        .map(plain);
    named.chain(of_networks).collect()
}

/// Files that Compose would take variables from, and does not find: it refuses to start the service.
fn env_missing(
    definition: &Definition,
    place: &str,
    named: &dyn Fn(&str) -> Option<TextFile>,
    variables: &Variables,
) -> Vec<String> {
    let entries = match definition.get("env_file") {
        Some(Json::Array(entries)) => entries.clone(),
        Some(entry) => vec![entry.clone()],
        None => Vec::new(),
    };
    let needed = entries.iter().filter_map(|entry| match entry {
        Json::Object(map) if map.get("required") == Some(&Json::Bool(false)) => None,
        Json::Object(map) => Some(plain(map.get("path")?)),
        path => Some(plain(path)),
    });
    let places = needed.filter_map(|path| below(folder(place), &interpolate(&path, variables).0));
    places.filter(|file| named(file).is_none()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(place: &str, text: &str) -> TextFile {
        TextFile {
            place: place.into(),
            text: text.into(),
        }
    }

    fn services(files: &[TextFile], variables: &[(&str, &str)]) -> Vec<Service> {
        let variables = variables
            .iter()
            .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
            .collect();
        let mut complaints = Vec::new();
        let found = read(files, &|_| None, &variables, &mut complaints);
        assert!(complaints.is_empty(), "{complaints:?}");
        found
    }

    #[test]
    fn anchors_lists_defaults_and_overrides() {
        let base = file(
            "docker-compose.yml",
            r#"
x-env: &env
  RABBITMQ_URL: amqp://app:${RABBIT_PASS:-s3cret}@mq:5672/jobs
services:
  mq:
    image: docker.io/bitnami/rabbitmq:3.13
    environment:
      - RABBITMQ_USERNAME=app
      - RABBITMQ_PASSWORD=${RABBIT_PASS:-s3cret}
    ports: ["15673:15672", "127.0.0.1:5673:5672/tcp", "9999"]
  db:
    image: timescale/timescaledb:latest-pg16
    environment: { POSTGRES_USER: u, POSTGRES_PASSWORD: $DB_PASS, POSTGRES_PORT: 5432 }
    ports: [{ target: 5432, published: "${PG_PORT:-5544}" }]
  worker:
    build: .
    command: dramatiq -v app.worker --processes 2
    environment:
      <<: *env
      DEBUG: true
"#,
        );
        let over = file(
            "docker-compose.override.yml",
            "services:\n  db:\n    ports: ['6000-6001:5432-5433']\n  worker:\n    environment:\n      DEBUG: 'no'\n",
        );
        let found = services(&[over, base], &[("DB_PASS", "pw")]);
        let by = |name: &str| {
            found
                .iter()
                .find(|service| service.name == name)
                .expect("a service")
        };
        assert!(by("mq").is_rabbitmq() && !by("mq").is_postgres());
        assert!(by("db").is_postgres());
        assert_eq!(by("mq").published(5672), Some(5673));
        assert_eq!(by("mq").published(15672), Some(15673));
        assert_eq!(by("db").published(5432), Some(6000));
        assert_eq!(by("db").get("POSTGRES_PASSWORD").expect("set").value, "pw");
        let url = by("worker").get("RABBITMQ_URL").expect("merged");
        assert_eq!(url.value, "amqp://app:s3cret@mq:5672/jobs");
        assert_eq!(url.uses, [("RABBIT_PASS".to_owned(), "s3cret".to_owned())]);
        assert_eq!(by("worker").get("DEBUG").expect("set").value, "no");
        assert_eq!(
            by("worker").command,
            ["dramatiq", "-v", "app.worker", "--processes", "2"]
        );
    }

    #[test]
    fn what_a_service_extends_is_followed() {
        let files = [file(
            "deploy/compose.prod.yaml",
            "services:\n  w1:\n    extends: {file: ../base.yml, service: worker}\n    environment: {B: 2}\n  w2:\n    extends: {file: ../../other/base.yml, service: worker}\n  w3: {extends: w3}\n  w4: {extends: {file: none.yml, service: x}, command: dramatiq own}\n  w5: {extends: {file: ../base.yml, service: absent}}\n",
        )];
        let named = |place: &str| {
            let text = "services:\n  worker:\n    extends: deeper\n    environment: [A=1, B=1]\n    command: [dramatiq, shop.tasks]\n  deeper: {ports: ['7:8'], entrypoint: tini --}\n";
            (place == "base.yml").then(|| file(place, text))
        };
        let found = read(&files, &named, &BTreeMap::new(), &mut Vec::new());
        let by = |name: &str| {
            found
                .iter()
                .find(|service| service.name == name)
                .expect("a service")
        };
        let w1 = by("w1");
        assert_eq!(w1.command, ["tini", "--", "dramatiq", "shop.tasks"]);
        assert_eq!(w1.get("A").expect("inherited").value, "1");
        assert_eq!(w1.get("B").expect("its own").value, "2");
        assert_eq!(w1.published(8), Some(7));
        assert_eq!(
            (w1.place(), &w1.unread),
            ("deploy/compose.prod.yaml, service w1".into(), &None)
        );
        assert_eq!(
            by("w2").unread.as_deref(),
            Some("service worker of ../../other/base.yml")
        );
        assert_eq!(by("w3").unread.as_deref(), Some("service w3"));
        assert_eq!(by("w4").command, ["dramatiq", "own"]);
        assert_eq!(by("w5").unread.as_deref(), Some("service absent of ../base.yml"));
    }

    #[test]
    fn what_nothing_sets_is_known_as_such() {
        let text = r#"
services:
  db:
    image: postgres:16
    hostname: store
    env_file: [./envs/db.env, { path: more.env, required: false }]
    environment: { POSTGRES_USER: "${DB_USER}", POSTGRES_DB: "${DB_NAME:-shop}", A: "x${B}y" }
    ports: ["127.0.0.1:${DB_PORT}:5432", "80:80"]
"#;
        let db = services(&[file("deploy/compose.yaml", text)], &[("B", "b")]).remove(0);
        assert_eq!(
            db.get("POSTGRES_USER").expect("set").open.as_deref(),
            Some("${DB_USER}")
        );
        assert_eq!(db.get("POSTGRES_DB").expect("set").open, None);
        assert_eq!(db.get("A").expect("set").value, "xby");
        assert_eq!(
            (db.published(5432), db.published_by(5432)),
            (None, Some("DB_PORT"))
        );
        assert_eq!((db.published(80), db.published_by(80)), (Some(80), None));
        assert_eq!(db.env_missing, ["deploy/envs/db.env"]);
        assert!(db.is_called("store") && db.is_called("db") && !db.is_called("other"));
    }

    #[test]
    fn a_file_that_is_no_whole_project_is_told_with_the_main_one() {
        let files = [
            file("compose.yaml", "services:\n  db: {image: 'postgres:16'}\n"),
            file(
                "compose.prod.yaml",
                "services:\n  web: {build: ., depends_on: [db]}\n",
            ),
            file(
                "compose.other.yaml",
                "services:\n  own: {build: .}\n  more: {build: ., depends_on: {own: {}}}\n",
            ),
        ];
        let found = services(&files, &[]);
        let command = |name: &str| {
            let service = found.iter().find(|service| service.name == name);
            service.expect("a service").compose(&files).join(" ")
        };
        assert_eq!(
            command("web"),
            "docker compose -f compose.yaml -f compose.prod.yaml"
        );
        assert_eq!(command("own"), "docker compose -f compose.other.yaml");
    }

    #[test]
    fn an_image_without_the_management_plugin_is_known() {
        let text = "services:\n  a: {image: 'rabbitmq:3.8'}\n  b: {image: 'rabbitmq:4-management-alpine'}\n  c: {image: 'rabbitmq', volumes: ['./enabled_plugins:/etc/rabbitmq/enabled_plugins']}\n  d: {image: 'bitnami/rabbitmq:4'}\n  e: {image: 'docker.io/library/rabbitmq'}\n";
        let all = services(&[file("compose.yaml", text)], &[]);
        let lacking: Vec<&str> = all
            .iter()
            .filter(|service| service.lacks_management())
            .map(|service| service.name.as_str())
            .collect();
        assert_eq!(lacking, ["a", "e"]);
    }

    #[test]
    fn exporters_and_poolers_are_no_servers() {
        let text = "services:\n  a: {image: prometheuscommunity/postgres-exporter}\n  b: {image: edoburu/pgbouncer}\n  c: {image: 'kbudde/rabbitmq-exporter:1'}\n";
        for service in services(&[file("compose.yaml", text)], &[]) {
            assert!(!service.is_postgres() && !service.is_rabbitmq(), "{service:?}");
        }
    }

    #[test]
    fn what_is_not_valid_is_complained_of() {
        let mut complaints = Vec::new();
        let files = [
            file("compose.yaml", "services:\n\t- {"),
            file("a/compose.yaml", "services: [1, 2]"),
            file("b/compose.yaml", "- x"),
            file(
                "c/compose.yaml",
                "services: {x: 3, y: {ports: {a: 1}, environment: 7, command: 5}}",
            ),
        ];
        let found = read(&files, &|_| None, &BTreeMap::new(), &mut complaints);
        assert_eq!(complaints.len(), 1, "{complaints:?}");
        assert_eq!(found.len(), 1);
    }
}
