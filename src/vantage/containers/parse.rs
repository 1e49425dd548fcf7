//! What the engine's JSON says of a container. Docker and Podman write the same fields.

use serde_json::Value as Json;

use super::engine::EngineEvent;
use crate::timeline::{Container, PublishedAt};
use crate::vantage::process::command::masked;
use crate::vantage::process::container::short;

pub(super) fn engine_name(server: Option<&str>) -> String {
    let product = server.and_then(|server| server.split_whitespace().next()?.split_once('/'));
    match product {
        Some(("Libpod", version)) => format!("Podman {version}"),
        Some((name, version)) => format!("{name} {version}"),
        None => "an engine".into(),
    }
}

/// One of `/containers/json`.
pub(super) fn listed(of: &Json) -> Option<Container> {
    let label = |name: &str| of["Labels"][name].as_str().map(str::to_owned);
    let name = of["Names"][0].as_str().or_else(|| of["Names"].as_str())?;
    let ports = of["Ports"].as_array().into_iter().flatten().filter_map(|port| {
        Some(PublishedAt {
            host_ip: text(&port["IP"]),
            host_port: u16::try_from(port["PublicPort"].as_u64()?).ok()?,
            port: u16::try_from(port["PrivatePort"].as_u64()?).ok()?,
        })
    });
    let mut ports: Vec<PublishedAt> = ports.collect();
    ports.sort();
    ports.dedup();
    Some(Container {
        id: short(of["Id"].as_str()?).to_owned(),
        name: name.trim_start_matches('/').to_owned(),
        image: text(&of["Image"]).unwrap_or_default(),
        image_id: text(&of["ImageID"]),
        project: label("com.docker.compose.project").or_else(|| label("io.podman.compose.project")),
        // `docker compose run` makes one that is not of its service: `logs` does not show it either.
        service: label("com.docker.compose.service")
            .or_else(|| label("io.podman.compose.service"))
            .filter(|_| label("com.docker.compose.oneoff").as_deref() != Some("True")),
        number: label("com.docker.compose.container-number").and_then(|number| number.parse().ok()),
        working_dir: label("com.docker.compose.project.working_dir"),
        config_files: label("com.docker.compose.project.config_files")
            .map(|files| files.split(',').map(str::to_owned).collect())
            .unwrap_or_default(),
        state: text(&of["State"]).unwrap_or_default(),
        addresses: addresses(&of["NetworkSettings"]["Networks"]),
        ports,
        ..Container::default()
    })
}

fn addresses(networks: &Json) -> Vec<String> {
    let networks = networks.as_object().into_iter().flat_map(serde_json::Map::values);
    let mut found: Vec<String> = networks
        .flat_map(|network| [text(&network["IPAddress"]), text(&network["GlobalIPv6Address"])])
        .flatten()
        .collect();
    found.sort();
    found.dedup();
    found
}

/// `/containers/ID/json`, added to what the list said.
pub(super) fn inspected(mut container: Container, of: &Json) -> Container {
    let state = &of["State"];
    if let Some(status) = text(&state["Status"]) {
        container.state = status;
    }
    let ended = !matches!(container.state.as_str(), "running" | "paused" | "created");
    container.exit_code = state["ExitCode"]
        .as_i64()
        .filter(|_| ended)
        .and_then(|code| i32::try_from(code).ok());
    container.oom_killed = state["OOMKilled"].as_bool().unwrap_or_default();
    container.error = text(&state["Error"]);
    container.started_at = time(&state["StartedAt"]);
    container.finished_at = time(&state["FinishedAt"]);
    container.health = text(&state["Health"]["Status"]).filter(|health| health != "none");
    container.pid = state["Pid"]
        .as_i64()
        .filter(|pid| *pid > 0)
        .and_then(|pid| i32::try_from(pid).ok());
    container.restarts = of["RestartCount"].as_u64();
    let host = &of["HostConfig"];
    container.restart_policy = text(&host["RestartPolicy"]["Name"]);
    container.memory_limit = host["Memory"].as_u64().filter(|bytes| *bytes > 0);
    container.cpu_limit = cpu_limit(host);
    // The list has no ports of one that does not run.
    if container.ports.is_empty() {
        container.ports = bound(&host["PortBindings"]);
    }
    let words =
        |words: &Json| -> Vec<String> { words.as_array().into_iter().flatten().filter_map(text).collect() };
    let mut command = words(&of["Config"]["Entrypoint"]);
    command.extend(words(&of["Config"]["Cmd"]));
    container.command = masked(command);
    let found = addresses(&of["NetworkSettings"]["Networks"]);
    if !found.is_empty() {
        container.addresses = found;
    }
    container
}

/// `--cpus`, or a quota of each period as Compose's `cpu_quota` has it.
fn cpu_limit(host: &Json) -> Option<u64> {
    let number = |name: &str| host[name].as_u64().filter(|number| *number > 0);
    let nano = number("NanoCpus").map(|nano| nano / 1_000_000);
    let of_quota = || Some(number("CpuQuota")? * 1000 / number("CpuPeriod").unwrap_or(100_000));
    nano.or_else(of_quota)
}

/// `{"80/tcp": [{"HostIp": "127.0.0.1", "HostPort": "8000"}]}`
fn bound(bindings: &Json) -> Vec<PublishedAt> {
    let mut ports = Vec::new();
    for (port, at) in bindings.as_object().into_iter().flatten() {
        let port = port.split('/').next().and_then(|port| port.parse().ok());
        for at in at.as_array().into_iter().flatten() {
            let host_port = at["HostPort"].as_str().and_then(|port| port.parse().ok());
            if let (Some(port), Some(host_port)) = (port, host_port) {
                ports.push(PublishedAt {
                    host_ip: text(&at["HostIp"]),
                    host_port,
                    port,
                });
            }
        }
    }
    ports.sort();
    ports
}

/// Of `/containers/ID/stats`: for how long the CPU limit has held its threads back, in milliseconds.
pub(super) fn held_back_ms(stats: &Json) -> Option<u64> {
    let nanos = stats["cpu_stats"]["throttling_data"]["throttled_time"].as_u64()?;
    Some(nanos / 1_000_000)
}

fn text(value: &Json) -> Option<String> {
    value.as_str().filter(|text| !text.is_empty()).map(str::to_owned)
}

/// What has not happened yet is the year 1.
fn time(value: &Json) -> Option<String> {
    text(value).filter(|time| !time.starts_with("0001"))
}

/// One line of `/events`. Health checks run commands, which is no news.
pub(super) fn happened(event: &Json) -> Option<EngineEvent> {
    let action = event["Action"].as_str().or_else(|| event["status"].as_str())?;
    // Podman calls an end `died`.
    let action = if action == "died" { "die" } else { action };
    const NEWS: &[&str] = &[
        "create", "start", "restart", "die", "oom", "kill", "stop", "pause", "unpause", "destroy",
    ];
    if !NEWS.contains(&action) {
        return None;
    }
    let attributes = &event["Actor"]["Attributes"];
    let exit = ["exitCode", "containerExitCode"]
        .iter()
        .find_map(|name| attributes[*name].as_str()?.parse().ok());
    let id = event["Actor"]["ID"].as_str().or_else(|| event["id"].as_str())?;
    Some(EngineEvent {
        id: short(id).to_owned(),
        action: action.to_owned(),
        exit: exit.filter(|_| action == "die"),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn an_engine_names_itself() {
        let name = |server| engine_name(Some(server));
        assert_eq!(name("Docker/20.10.24+dfsg1 (linux)"), "Docker 20.10.24+dfsg1");
        assert_eq!(name("Libpod/4.3.1 (linux)"), "Podman 4.3.1");
        assert_eq!(
            (engine_name(None), name("x")),
            ("an engine".into(), "an engine".into())
        );
    }

    #[test]
    fn a_container_that_was_killed_for_memory() {
        let list = json!({
            "Id": "ab", "Names": ["/shop-worker-1"], "Image": "shop", "State": "exited",
            "Labels": { "com.docker.compose.project": "shop", "com.docker.compose.service": "worker", "com.docker.compose.container-number": "1" },
            "Ports": [{ "IP": "0.0.0.0", "PublicPort": 8000, "PrivatePort": 80 }, { "PrivatePort": 90 }],
            "NetworkSettings": { "Networks": { "a": { "IPAddress": "172.19.0.5" } } },
        });
        let whole = json!({
            "State": { "Status": "restarting", "ExitCode": 137, "OOMKilled": true, "StartedAt": "2026-01-01T00:00:00Z", "FinishedAt": "0001-01-01T00:00:00Z", "Pid": 0 },
            "RestartCount": 3, "HostConfig": { "Memory": 25_165_824, "RestartPolicy": { "Name": "always" } },
            "Config": { "Cmd": ["dramatiq", "app", "--token", "hush"], "Env": ["SECRET=1"] },
        });
        let container = inspected(listed(&list).expect("a container"), &whole);
        assert_eq!(
            (container.name.as_str(), container.number),
            ("shop-worker-1", Some(1))
        );
        assert_eq!(
            (container.exit_code, container.oom_killed, container.restarts),
            (Some(137), true, Some(3))
        );
        assert_eq!((container.ports.len(), container.finished_at), (1, None));
        assert_eq!(container.command.last().map(String::as_str), Some("***"));
    }

    #[test]
    fn limits_and_ports_of_one_that_does_not_run() {
        let list =
            json!({ "Id": "ab", "Names": ["/shop-api-1"], "Image": "shop", "State": "exited", "Ports": [] });
        let of = |host: Json| {
            inspected(
                listed(&list).expect("a container"),
                &json!({ "HostConfig": host }),
            )
        };
        let cpus = of(
            json!({ "NanoCpus": 50_000_000, "PortBindings": { "80/tcp": [{ "HostIp": "", "HostPort": "8000" }], "81/tcp": null } }),
        );
        assert_eq!((cpus.cpu_limit, cpus.ports.len()), (Some(50), 1));
        assert_eq!((cpus.ports[0].host_port, cpus.ports[0].port), (8000, 80));
        assert_eq!(
            of(json!({ "CpuQuota": 20_000, "CpuPeriod": 50_000 })).cpu_limit,
            Some(400)
        );
        assert_eq!(of(json!({ "CpuQuota": -1, "NanoCpus": 0 })).cpu_limit, None);
        let stats = json!({ "cpu_stats": { "throttling_data": { "throttled_time": 1_500_000_000_u64 } } });
        assert_eq!(
            (held_back_ms(&stats), held_back_ms(&json!({}))),
            (Some(1500), None)
        );
    }

    #[test]
    fn what_became_of_a_container() {
        let event = json!({ "Action": "die", "Actor": { "ID": "ab", "Attributes": { "exitCode": "2" } } });
        assert_eq!(
            happened(&event),
            Some(EngineEvent {
                id: "ab".into(),
                action: "die".into(),
                exit: Some(2)
            })
        );
        assert_eq!(
            happened(&json!({ "Action": "exec_start: true", "Actor": { "ID": "ab" } })),
            None
        );
    }
}
