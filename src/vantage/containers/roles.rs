//! Which containers the configuration speaks of: the log that is followed, and the ports that are used.

use std::collections::HashSet;

use crate::config::Config;
use crate::timeline::{Container, Role};

pub(super) struct Roles {
    ports: Vec<(Role, u16)>,
    logs: Vec<(Role, Named)>,
}

/// The containers that a command shows the log of.
#[derive(Debug, PartialEq, Eq)]
enum Named {
    /// By its name or the start of its id.
    Container(String),
    /// By its service, in the project that such a name or file belongs to.
    Service {
        service: String,
        project: Option<String>,
        file: Option<String>,
    },
}

impl Roles {
    pub fn new(config: &Config) -> Self {
        let local = |host: &str| matches!(host, "localhost" | "127.0.0.1" | "::1" | "[::1]" | "0.0.0.0");
        let mut ports = Vec::new();
        if let Some(api) = &config.api
            && api.url.host_str().is_some_and(local)
        {
            ports.extend(api.url.port_or_known_default().map(|port| (Role::Api, port)));
        }
        if local(&config.broker.amqp.host()) {
            ports.push((Role::Broker, config.broker.amqp.port()));
        }
        if let Some(database) = &config.database
            && local(&database.url.host())
        {
            ports.push((Role::Database, database.url.port()));
        }
        let log = |role: Role, words: &Option<Vec<String>>| {
            let named = words.as_deref().map(named).unwrap_or_default();
            named
                .into_iter()
                .map(move |named| (role, named))
                .collect::<Vec<_>>()
        };
        let mut logs = log(Role::WorkerLog, &config.worker.log.command);
        logs.extend(log(Role::ApiLog, &config.api_log.command));
        Self { ports, logs }
    }

    pub fn of(&self, container: &Container) -> Vec<Role> {
        let ports = self
            .ports
            .iter()
            .filter(|(_, port)| container.ports.iter().any(|at| at.host_port == *port));
        let logs = self.logs.iter().filter(|(_, named)| named.is(container));
        let mut roles: Vec<Role> = ports
            .map(|(role, _)| *role)
            .chain(logs.map(|(role, _)| *role))
            .collect();
        roles.sort();
        roles.dedup();
        roles
    }

    /// The compose projects of these containers that have a role.
    pub fn projects(&self, containers: &[Container]) -> HashSet<String> {
        let with_role = containers
            .iter()
            .filter(|container| !self.of(container).is_empty());
        with_role
            .filter_map(|container| container.project.clone())
            .collect()
    }
}

impl Named {
    fn is(&self, container: &Container) -> bool {
        match self {
            Self::Container(name) => {
                let by_id = container.id.starts_with(name.as_str()) || name.starts_with(&container.id);
                container.name == *name || (name.len() >= 4 && by_id)
            }
            Self::Service {
                service,
                project,
                file,
            } => {
                container.service.as_deref() == Some(service)
                    && project
                        .as_ref()
                        .is_none_or(|project| container.project.as_ref() == Some(project))
                    && file
                        .as_ref()
                        .is_none_or(|file| container.config_files.iter().any(|of| of == file))
                    && (project.is_some() || file.is_some() || is_project_here(container))
            }
        }
    }
}

/// Reads `docker logs -f NAME`, `docker compose -f FILE logs -f SERVICE …` and Podman's likes. A command
/// for another engine names nothing here.
fn named(words: &[String]) -> Vec<Named> {
    let mut words = words
        .iter()
        .map(String::as_str)
        .skip_while(|word| matches!(*word, "sudo" | "env") || word.contains('='));
    let program = words
        .next()
        .map(|word| word.rsplit('/').next().unwrap_or(word).to_owned());
    let mut compose = matches!(program.as_deref(), Some("docker-compose" | "podman-compose"));
    if !compose && !matches!(program.as_deref(), Some("docker" | "podman" | "nerdctl")) {
        return Vec::new();
    }
    let (mut project, mut file, mut logs) = (std::env::var("COMPOSE_PROJECT_NAME").ok(), None, false);
    let mut names = Vec::new();
    while let Some(word) = words.next() {
        let (flag, own) = match word.split_once('=') {
            Some((flag, value)) if flag.starts_with("--") => (flag, Some(value.to_owned())),
            _ => (word, None),
        };
        let mut value = || own.clone().or_else(|| words.next().map(str::to_owned));
        match flag {
            "-H" | "--host" | "-c" | "--context" | "--connection" | "--url" => return Vec::new(),
            "-p" | "--project-name" if compose => project = value(),
            "-f" | "--file" if compose && !logs => file = value(),
            "--env-file"
            | "--profile"
            | "--project-directory"
            | "--ansi"
            | "--progress"
            | "--config"
            | "--log-level"
            | "-n"
            | "--tail"
            | "--since"
            | "--until"
            | "--index" => drop(value()),
            flag if flag.starts_with('-') => {}
            "compose" if !logs => compose = true,
            "logs" if !logs => logs = true,
            "container" if !logs => {}
            name if logs => names.push(name.to_owned()),
            _ => return Vec::new(),
        }
    }
    let name = |name: String| match compose {
        true => Named::Service {
            service: name,
            project: project.clone(),
            file: absolute(file.as_deref()),
        },
        false => Named::Container(name),
    };
    names.into_iter().map(name).collect()
}

/// Without a name or a file, compose takes the project of the folder that it is run in, or of one above.
fn is_project_here(container: &Container) -> bool {
    let here = std::env::current_dir().ok();
    let of = container.working_dir.as_deref().map(std::path::Path::new);
    here.zip(of).is_some_and(|(here, of)| here.starts_with(of))
}

/// As compose's own label has it.
fn absolute(file: Option<&str>) -> Option<String> {
    let path = std::path::absolute(file?).ok()?;
    Some(std::fs::canonicalize(&path).unwrap_or(path).display().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(text: &str) -> Vec<Named> {
        named(&text.split(' ').map(str::to_owned).collect::<Vec<_>>())
    }

    fn service(service: &str, project: Option<&str>, file: Option<&str>) -> Named {
        Named::Service {
            service: service.into(),
            project: project.map(str::to_owned),
            file: file.map(str::to_owned),
        }
    }

    #[test]
    fn a_command_names_containers() {
        assert_eq!(
            names("docker logs -f --tail 100 shop-worker-1"),
            [Named::Container("shop-worker-1".into())]
        );
        assert_eq!(
            names("sudo docker compose -p shop -f /nowhere/compose.yml logs --follow --tail=10 worker"),
            [service("worker", Some("shop"), Some("/nowhere/compose.yml"))]
        );
        assert_eq!(
            names("docker-compose logs -f a b"),
            [service("a", None, None), service("b", None, None)]
        );
        assert_eq!(names("podman logs w"), [Named::Container("w".into())]);
    }

    #[test]
    fn another_engines_containers_are_not_ours() {
        assert!(names("docker -H tcp://10.0.0.1 logs worker").is_empty());
        assert!(names("docker --context=prod logs worker").is_empty());
        assert!(names("kubectl logs -f worker").is_empty());
        assert!(names("journalctl -f").is_empty());
    }
}
