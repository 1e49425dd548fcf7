//! Whose what listens at an address is. A login is no question to ask a stranger: it hands him a user and a password,
//! so whoever cannot be told to be this project's is not asked.

use std::net::IpAddr;
use std::path::Path;

use super::address::Address;
use super::running::{self, RunningProcess};
use super::{Draft, Survey, is_here};
use crate::servers::ServerKind;
use crate::timeline::Container;
use crate::vantage::containers;

/// What may be asked with a user and a password, or why it may not.
pub async fn may_log_in(survey: &Survey, kind: &ServerKind, address: &Address) -> Result<(), String> {
    let Some(full) = &address.full else {
        return Err("its address is not known yet".into());
    };
    let (host, port) = (full.host(), full.port());
    let running = &survey.running;
    if running.iter().any(|process| process.was_told(kind, &host, port)) {
        return Ok(());
    }
    let root = &survey.project.root;
    // Where nothing runs no name is looked up either.
    if !running.is_empty() && running::is_connected(running, &addresses(&host, port), port) {
        return Ok(());
    }
    if !is_here(&host) {
        return Err(
            "it is on another machine, and nothing that runs from this folder is connected to it".into(),
        );
    }
    if running::listens_from(root, port)
        || !published_beside(&containers::listed().await, root, port).is_empty()
    {
        return Ok(());
    }
    if let Some(who) = running::stranger(port, root) {
        return Err(match address.is_service {
            true => format!(
                "{} is meant, but its port is in use by another ({who})",
                address.place
            ),
            false => format!("the port is in use, but not by this project ({who})"),
        });
    }
    Err(match running::is_listened_on(port) {
        true => "who listens there cannot be seen; while the API or the worker runs from this folder, or its Compose project does, `taskdiag init --print` says more".into(),
        false => format!("nothing listens there ({} names it)", address.place),
    })
}

/// What listens where this project's API, broker or database should, and is not known to be its own.
#[derive(Debug, Clone, PartialEq)]
pub struct Stranger {
    /// The key of the address.
    pub key: &'static str,
    pub port: u16,
    pub why: String,
}

/// Of the servers that a run logs in to those that may be a stranger's.
pub async fn strangers(
    survey: &Survey,
    logins: [(&'static str, &ServerKind, Option<&Address>); 2],
    draft: &Draft,
) -> Vec<Stranger> {
    let mut found = Vec::new();
    for (key, kind, address) in logins {
        let Some(address) = address else { continue };
        let Some(full) = &address.full else { continue };
        let (host, port) = (full.host(), full.port());
        // Nobody is told a password where nobody listens.
        let is_there = !is_here(&host) || running::is_listened_on(port);
        if let (true, Err(why)) = (is_there, may_log_in(survey, kind, address).await) {
            let why = format!("{host}:{port}: {why}");
            found.push(Stranger { key, port, why });
            continue;
        }
        // The management API's usual port is asked where no other was found.
        let who = running::stranger(MANAGEMENT, &survey.project.root);
        let is_default = key == "broker.amqp_url" && is_here(&host) && !draft.has("broker.management_url");
        if let (true, Some(who)) = (is_default, who)
            && !running::beside(port).contains(&MANAGEMENT)
        {
            found.push(Stranger {
                key: "broker.management_url",
                port: MANAGEMENT,
                why: format!("port {MANAGEMENT} is in use, but not by this project ({who})"),
            });
        }
    }
    found
}

/// Where RabbitMQ's management API listens unless it is told otherwise.
const MANAGEMENT: u16 = 15672;

/// Where a host is; of this machine without looking it up.
fn addresses(host: &str, port: u16) -> Vec<IpAddr> {
    use std::net::ToSocketAddrs as _;
    if is_here(host) {
        return vec![[127, 0, 0, 1].into(), IpAddr::V6(std::net::Ipv6Addr::LOCALHOST)];
    }
    match host.parse() {
        Ok(address) => vec![address],
        Err(_) => (host, port)
            .to_socket_addrs()
            .into_iter()
            .flatten()
            .map(|address| address.ip())
            .collect(),
    }
}

/// The ports of this machine that a container of this folder's Compose project has, if this is one of them.
pub fn published_beside(containers: &[Container], root: &Path, port: u16) -> Vec<u16> {
    let is_ours = |container: &&Container| {
        let folder = container.working_dir.as_deref().map(Path::new);
        let folder = folder.and_then(|folder| folder.canonicalize().ok());
        let root = root.canonicalize().ok();
        folder
            .zip(root)
            .is_some_and(|(folder, root)| folder.starts_with(root))
    };
    let ports =
        |container: &Container| -> Vec<u16> { container.ports.iter().map(|port| port.host_port).collect() };
    let mut own = containers
        .iter()
        .filter(|container| container.state == "running")
        .filter(is_ours);
    own.find_map(|container| Some(ports(container)).filter(|ports| ports.contains(&port)))
        .unwrap_or_default()
}

impl RunningProcess {
    /// It was given this address: it hands its user and password there itself.
    fn was_told(&self, kind: &ServerKind, host: &str, port: u16) -> bool {
        was_told(self.variables(), kind, host, port)
    }
}

fn was_told(variables: Vec<super::EnvVar>, kind: &ServerKind, host: &str, port: u16) -> bool {
    use crate::servers::{HOSTS, PORTS};
    let same = |other: &str| other == host || (is_here(other) && is_here(host));
    let value = |ends| {
        kind.names(ends)
            .find_map(|name| variables.iter().find(|variable| variable.name == name))
            .map(|variable| variable.value.as_str())
    };
    let whole = variables
        .iter()
        .filter_map(|variable| kind.parse(&variable.value));
    let mut whole = whole.filter(|url| same(url.host_str().unwrap_or_default()));
    let by_parts = || {
        let at = value(PORTS).map_or(Some(kind.port), |port| port.parse().ok());
        value(HOSTS).is_some_and(same) && at == Some(port)
    };
    whole.any(|url| url.port().unwrap_or(kind.port) == port) || by_parts()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::init::EnvVar;
    use crate::servers::DATABASE;
    use crate::timeline::PublishedAt;

    fn variables(all: &[(&str, &str)]) -> Vec<EnvVar> {
        let variable = |(name, value): &(&str, &str)| EnvVar {
            name: (*name).into(),
            value: (*value).into(),
            place: String::new(),
            how: String::new(),
        };
        all.iter().map(variable).collect()
    }

    #[test]
    fn a_process_was_told_of_an_address() {
        let told = |all: &[(&str, &str)]| was_told(variables(all), &DATABASE, "localhost", 5433);
        assert!(told(&[("ANY", "postgresql+asyncpg://u:p@127.0.0.1:5433/d")]));
        assert!(told(&[("DB_HOST", "localhost"), ("DB_PORT", "5433")]));
        // Another port is another server, and a part alone says nothing.
        assert!(!told(&[("DATABASE_URL", "postgres://u:p@localhost/d")]));
        assert!(!told(&[("DB_HOST", "localhost")]));
        assert!(!told(&[("DB_HOST", "db"), ("DB_PORT", "5433")]));
        assert!(!told(&[]));
    }

    #[test]
    fn only_a_container_of_this_folder_is_this_projects() {
        let root = std::env::temp_dir();
        let at = |host_port, port| PublishedAt {
            host_ip: None,
            host_port,
            port,
        };
        let container = |folder: &Path, state: &str| Container {
            working_dir: Some(folder.display().to_string()),
            state: state.into(),
            ports: vec![at(5433, 5432), at(15673, 15672)],
            ..Container::default()
        };
        let ours = [container(&root, "running")];
        assert_eq!(published_beside(&ours, &root, 5433), [5433, 15673]);
        assert!(published_beside(&ours, &root, 5432).is_empty());
        for other in [container(Path::new("/"), "running"), container(&root, "exited")] {
            assert!(published_beside(&[other], &root, 5433).is_empty());
        }
    }
}
