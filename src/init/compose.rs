//! Docker Compose files: services, their published ports, environment and commands.

use std::collections::BTreeMap;

use serde_json::{Map, Value as Json};

use super::launch;
use super::walk::File;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Service {
    pub name: String,
    /// The file that defines it.
    pub file: String,
    pub image: Option<String>,
    pub command: Vec<String>,
    pub environment: Vec<Setting>,
    pub ports: Vec<Port>,
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

    pub fn place(&self) -> String {
        format!("{}, service {}", self.file, self.name)
    }

    /// `docker compose`, with the files that it must be told of to know the service from the
    /// project's folder.
    pub fn compose(&self, files: &[File]) -> Vec<String> {
        let is_there = |place: &String| files.iter().any(|file| file.place == *place);
        let in_folder = |name: &&str| match folder(&self.file) {
            "" => (*name).to_owned(),
            folder => format!("{folder}/{name}"),
        };
        let main = BY_ITSELF.iter().map(in_folder).find(is_there);
        let over = OVERRIDES.iter().map(in_folder).find(is_there);
        let is_main = main.as_ref() == Some(&self.file);
        let is_over = main.is_some() && over.as_ref() == Some(&self.file);
        let mut words = vec!["docker".to_owned(), "compose".to_owned()];
        if folder(&self.file).is_empty() && (is_main || is_over) {
            return words;
        }
        let mut told: Vec<&String> = Vec::new();
        if is_over || rank(&self.file) == 1 {
            told.extend(&main);
        }
        told.push(&self.file);
        if is_main {
            told.extend(&over);
        }
        for file in told {
            words.extend(["-f".to_owned(), file.clone()]);
        }
        words
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

/// What Compose takes by itself in the folder it runs in, and what over that; the first of each.
const BY_ITSELF: &[&str] = &[
    "compose.yaml",
    "compose.yml",
    "docker-compose.yml",
    "docker-compose.yaml",
];
const OVERRIDES: &[&str] = &[
    "compose.override.yml",
    "compose.override.yaml",
    "docker-compose.override.yml",
    "docker-compose.override.yaml",
];

/// How many services may extend one another in a row.
const MOST_EXTENDS: usize = 4;

/// Services of all files, those of an override merged into what they override. `variables` are
/// what the environment and `.env` set; `named` reads a file that a service extends.
pub fn read(
    files: &[File],
    named: &dyn Fn(&str) -> Option<File>,
    variables: &BTreeMap<String, String>,
    complaints: &mut Vec<String>,
) -> Vec<Service> {
    let mut services: Vec<Service> = Vec::new();
    let mut ordered: Vec<&File> = files.iter().collect();
    // Near the root first; in a folder the file that Compose takes by itself, then its override.
    ordered.sort_by_key(|file| {
        (
            file.place.matches('/').count(),
            rank(&file.place),
            file.place.clone(),
        )
    });
    for file in ordered {
        let parsed = match parse(file) {
            Ok(parsed) => parsed,
            Err(error) => {
                let first = error.lines().next().unwrap_or_default();
                complaints.push(format!("{} is not valid YAML: {first}", file.place));
                continue;
            }
        };
        // Version 1 files had no `services`.
        let Some(found) = parsed.get("services").and_then(Json::as_object) else {
            continue;
        };
        for (name, definition) in found {
            let Some(definition) = definition.as_object() else {
                continue;
            };
            let sources = Sources {
                files,
                named,
                variables,
            };
            let (service, _) = sources.service(name, &file.place, &parsed, definition, MOST_EXTENDS);
            let known = services
                .iter_mut()
                .find(|known| known.name == *name && folder(&known.file) == folder(&file.place));
            match known {
                Some(known) if rank(&file.place) == 1 => overlay(known, service),
                // Of another variant of the same file: the first one counts.
                Some(_) => {}
                None => services.push(service),
            }
        }
    }
    services
}

fn parse(file: &File) -> Result<Json, String> {
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
    };
    serde_saphyr::from_str_with_options(&file.text, options).map_err(|error| error.to_string())
}

/// What a definition may refer to.
struct Sources<'a> {
    files: &'a [File],
    named: &'a dyn Fn(&str) -> Option<File>,
    variables: &'a BTreeMap<String, String>,
}

impl Sources<'_> {
    /// A service upon what it extends, and its definition with what of a command it takes from there.
    fn service(
        &self,
        name: &str,
        file: &str,
        document: &Json,
        definition: &Map<String, Json>,
        more: usize,
    ) -> (Service, Map<String, Json>) {
        let own = service(name, file, definition, self.variables);
        let (other, base_name) = match definition.get("extends") {
            Some(Json::String(base)) => (None, plain_of(base, self.variables)),
            Some(Json::Object(map)) => {
                let text = |key: &str| {
                    map.get(key)
                        .filter(|value| !value.is_null())
                        .map(|value| plain_of(&plain(value), self.variables))
                };
                (text("file"), text("service").unwrap_or_else(|| name.to_owned()))
            }
            _ => return (own, definition.clone()),
        };
        let unread = match &other {
            Some(other) => format!("service {base_name} of {other}"),
            None => format!("service {base_name}"),
        };
        let unknown = Service {
            unread: Some(unread),
            ..own
        };
        let (place, parsed);
        let (place, document) = match &other {
            None => (file, document),
            Some(other) => {
                let Some(found) = below(folder(file), other) else {
                    return (unknown, definition.clone());
                };
                place = found;
                let known = self.files.iter().find(|file| file.place == place).cloned();
                let Some(Ok(found)) = known.or_else(|| (self.named)(&place)).map(|file| parse(&file)) else {
                    return (unknown, definition.clone());
                };
                parsed = found;
                (place.as_str(), &parsed)
            }
        };
        let base = document
            .get("services")
            .and_then(|services| services.get(&base_name))
            .and_then(Json::as_object);
        let (Some(base), true) = (base, more > 0) else {
            return (unknown, definition.clone());
        };
        let (mut merged, base) = self.service(&base_name, place, document, base, more - 1);
        // Both may say half of what is run.
        let mut whole = definition.clone();
        for key in ["command", "entrypoint"] {
            if !whole.contains_key(key)
                && let Some(value) = base.get(key)
            {
                whole.insert(key.to_owned(), value.clone());
            }
        }
        let over = service(name, file, &whole, self.variables);
        overlay(&mut merged, over);
        merged.name = name.to_owned();
        merged.file = file.to_owned();
        (merged, whole)
    }
}

/// A path that a file of the folder names, as a place below the root.
fn below(folder: &str, path: &str) -> Option<String> {
    if path.starts_with('/') {
        return None;
    }
    let mut parts: Vec<&str> = folder.split('/').filter(|part| !part.is_empty()).collect();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(parts.pop()?),
            part => parts.push(part),
        }
    }
    Some(parts.join("/"))
}

fn plain_of(text: &str, variables: &BTreeMap<String, String>) -> String {
    interpolate(text, variables).0
}

fn rank(place: &str) -> u8 {
    let name = place.rsplit('/').next().unwrap_or(place);
    match name {
        "compose.yaml" | "compose.yml" | "docker-compose.yaml" | "docker-compose.yml" => 0,
        _ if name.contains(".override.") => 1,
        _ if name.contains("prod") => 3,
        _ => 2,
    }
}

fn folder(place: &str) -> &str {
    place.rsplit_once('/').map_or("", |(folder, _)| folder)
}

fn service(
    name: &str,
    file: &str,
    definition: &Map<String, Json>,
    variables: &BTreeMap<String, String>,
) -> Service {
    let text = |value: &Json| interpolate(&plain(value), variables).0;
    let command = match definition.get("command").filter(|value| !value.is_null()) {
        Some(Json::Array(words)) => words.iter().map(text).collect(),
        Some(line) => launch::words(&text(line)),
        None => Vec::new(),
    };
    let mut command = command;
    if let Some(entry) = definition.get("entrypoint").filter(|value| !value.is_null()) {
        let mut entry: Vec<String> = match entry {
            Json::Array(words) => words.iter().map(text).collect(),
            line => launch::words(&text(line)),
        };
        entry.append(&mut command);
        command = entry;
    }
    let pairs: Vec<(String, String)> = match definition.get("environment") {
        Some(Json::Object(map)) => map
            .iter()
            .map(|(name, value)| {
                let raw = if value.is_null() {
                    format!("${{{name}}}")
                } else {
                    plain(value)
                };
                (name.clone(), raw)
            })
            .collect(),
        Some(Json::Array(items)) => items
            .iter()
            .map(|item| {
                let item = plain(item);
                match item.split_once('=') {
                    Some((name, value)) => (name.to_owned(), value.to_owned()),
                    None => (item.clone(), format!("${{{item}}}")),
                }
            })
            .collect(),
        _ => Vec::new(),
    };
    let environment = pairs
        .into_iter()
        .map(|(name, raw)| {
            let (value, uses) = interpolate(&raw, variables);
            Setting { name, value, uses }
        })
        .collect();
    let host_network = definition.get("network_mode").and_then(Json::as_str) == Some("host");
    let mut ports: Vec<Port> = definition
        .get("ports")
        .and_then(Json::as_array)
        .into_iter()
        .flatten()
        .flat_map(|port| self::ports(port, &text))
        .collect();
    if host_network {
        ports.extend([5432, 5672, 15672, 8000].map(|port| Port {
            published: port,
            target: port,
        }));
    }
    Service {
        name: name.to_owned(),
        file: file.to_owned(),
        image: definition.get("image").map(text),
        command,
        environment,
        ports,
        unread: None,
    }
}

/// What an override adds or replaces.
fn overlay(known: &mut Service, mut over: Service) {
    if over.image.is_some() {
        known.image = over.image;
    }
    if !over.command.is_empty() {
        known.command = over.command;
    }
    known
        .environment
        .retain(|setting| over.environment.iter().all(|new| new.name != setting.name));
    known.environment.append(&mut over.environment);
    // The override's own come first: they are meant for this machine.
    over.ports.append(&mut known.ports);
    known.ports = over.ports;
}

/// `"127.0.0.1:5433:5432/tcp"`, `"5000-5002:5000-5002"` or the long form.
fn ports(value: &Json, text: &dyn Fn(&Json) -> String) -> Vec<Port> {
    let number = |value: Option<&Json>| value.and_then(|value| text(value).parse::<u16>().ok());
    if let Json::Object(map) = value {
        return match (number(map.get("published")), number(map.get("target"))) {
            (Some(published), Some(target)) => vec![Port { published, target }],
            _ => Vec::new(),
        };
    }
    let whole = text(value);
    let whole = whole.split('/').next().unwrap_or_default();
    let mut parts = whole.rsplit(':');
    // Without a published port Docker takes any: it cannot be known from here.
    let (Some(target), Some(published)) = (parts.next(), parts.next()) else {
        return Vec::new();
    };
    match (range(published), range(target)) {
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

/// `$NAME`, `${NAME}`, `${NAME:-default}`, `${NAME-default}`, `${NAME:?error}`, `${NAME:+other}`
/// and `$$`. Also tells which variables were used, and what they were taken to be.
fn interpolate(text: &str, variables: &BTreeMap<String, String>) -> (String, Vec<(String, String)>) {
    let mut out = String::new();
    let mut uses = Vec::new();
    let mut rest = text;
    while let Some(at) = rest.find('$') {
        out.push_str(&rest[..at]);
        let after = &rest[at + 1..];
        if let Some(escaped) = after.strip_prefix('$') {
            out.push('$');
            rest = escaped;
        } else if let Some(inner) = after.strip_prefix('{') {
            let Some(end) = closing(inner) else {
                out.push_str(&rest[at..]);
                return (out, uses);
            };
            let inside = &inner[..end];
            let split = inside
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(inside.len());
            let (name, operator) = inside.split_at(split);
            let set = variables.get(name);
            let filled = set.filter(|value| !value.is_empty());
            let value = if let Some(default) = operator.strip_prefix(":-") {
                filled
                    .cloned()
                    .unwrap_or_else(|| interpolate(default, variables).0)
            } else if let Some(default) = operator.strip_prefix('-') {
                set.cloned().unwrap_or_else(|| interpolate(default, variables).0)
            } else if let Some(other) = operator.strip_prefix(":+").or(operator.strip_prefix('+')) {
                set.map(|_| interpolate(other, variables).0).unwrap_or_default()
            } else {
                set.cloned().unwrap_or_default()
            };
            out.push_str(&value);
            uses.push((name.to_owned(), value));
            rest = &inner[end + 1..];
        } else {
            let end = after
                .find(|c: char| !(c.is_alphanumeric() || c == '_'))
                .unwrap_or(after.len());
            if end == 0 {
                out.push('$');
            } else {
                let value = variables.get(&after[..end]).cloned().unwrap_or_default();
                out.push_str(&value);
                uses.push((after[..end].to_owned(), value));
            }
            rest = &after[end..];
        }
    }
    out.push_str(rest);
    (out, uses)
}

/// The `}` that belongs to a `${` before this text.
fn closing(text: &str) -> Option<usize> {
    let mut depth = 0_usize;
    let mut before = ' ';
    for (at, c) in text.char_indices() {
        match c {
            '{' if before == '$' => depth += 1,
            '}' if depth == 0 => return Some(at),
            '}' => depth -= 1,
            _ => {}
        }
        before = c;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(place: &str, text: &str) -> File {
        File {
            place: place.into(),
            text: text.into(),
        }
    }

    fn services(files: &[File], variables: &[(&str, &str)]) -> Vec<Service> {
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
    fn compose_is_told_of_files_that_it_would_not_find() {
        let files: Vec<File> = [
            "compose.yaml",
            "compose.override.yml",
            "docker-compose.yml",
            "compose.prod.yaml",
            "deploy/compose.yaml",
            "deploy/compose.override.yml",
            "odd/compose.override.yml",
        ]
        .iter()
        .map(|place| file(place, ""))
        .collect();
        for (place, told) in [
            ("compose.yaml", ""),
            ("compose.override.yml", ""),
            ("docker-compose.yml", " -f docker-compose.yml"),
            ("compose.prod.yaml", " -f compose.prod.yaml"),
            (
                "deploy/compose.yaml",
                " -f deploy/compose.yaml -f deploy/compose.override.yml",
            ),
            (
                "deploy/compose.override.yml",
                " -f deploy/compose.yaml -f deploy/compose.override.yml",
            ),
            ("odd/compose.override.yml", " -f odd/compose.override.yml"),
        ] {
            let service = Service {
                file: place.into(),
                ..Service::default()
            };
            assert_eq!(
                service.compose(&files).join(" "),
                format!("docker compose{told}"),
                "{place}"
            );
        }
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

    #[test]
    fn interpolation_as_compose_does_it() {
        let variables = BTreeMap::from([("A".to_owned(), "1".to_owned()), ("E".to_owned(), String::new())]);
        for (text, expected) in [
            (
                "$A ${A} $$A ${E:-x} ${E-x} ${N-y} ${N:-${A}2} ${A:+z} ${N:+z}",
                "1 1 $A x  y 12 z ",
            ),
            ("${A:?needed} ${open", "1 ${open"),
            ("100%$", "100%$"),
        ] {
            assert_eq!(interpolate(text, &variables).0, expected, "{text}");
        }
    }
}
