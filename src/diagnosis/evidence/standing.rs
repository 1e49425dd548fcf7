//! Containers that the task needs beside the worker's, and that do not run: the API's, the broker's, the database's.

use super::{Fact, Story, containers};
use crate::text::counted;
use crate::timeline::{Container, EventKind, Role, Source};
use crate::units;

/// One that does not run.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    pub container: Fact<&'a Container>,
    /// `container shop-api-1 (project shop, image shop) is exited, exit code 137`
    pub words: String,
    /// What to type: it lets the container go on, or says why it does not.
    pub command: String,
}

impl<'a> Story<'a> {
    /// A container of this role that does not run, as the engine said last, where no other one of the role does.
    pub fn standing(&self, role: Role) -> Option<Standing<'a>> {
        let of_role: Vec<Fact<&Container>> = self
            .containers()
            .filter(|container| container.roles.contains(&role))
            .collect();
        let stands = of_role.iter().all(|container| !runs(container));
        let container = of_role.into_iter().next().filter(|_| stands)?;
        Some(Standing {
            container,
            words: format!("{} {}", containers::words(&container), state(&container)),
            command: self.command_for(&container),
        })
    }

    /// The first of the roles that has one.
    pub fn standing_of(&self, roles: &[Role]) -> Option<Standing<'a>> {
        roles.iter().find_map(|role| self.standing(*role))
    }

    /// `api.url` leads to a container of one compose project, and all else that is configured to those of another one.
    pub fn api_of_another_project(&self) -> Option<Fact<String>> {
        let (mut apis, mut others) = (Vec::new(), Vec::new());
        for container in self.containers() {
            let Some(project) = container.project.as_deref() else {
                continue;
            };
            match container.roles.as_slice() {
                [] => {}
                roles if roles.contains(&Role::Api) => apis.push((container, project)),
                _ => others.push(project),
            }
        }
        let (api, theirs) = apis.first().copied()?;
        let ours = others.first()?;
        let is_apart = apis.iter().all(|(_, project)| project == &theirs)
            && others.iter().all(|project| project == ours)
            && *ours != theirs;
        is_apart.then(|| {
            api.with(format!(
                "`api.url` leads to container {} of project {theirs}, and all else that is configured to project {ours}",
                api.name
            ))
        })
    }

    /// Its engine has started one of these again during the run: it does not stay up.
    pub fn falling_of(&self, roles: &[Role]) -> Option<Standing<'a>> {
        let mut all = self.containers();
        all.find_map(|container| {
            let (count, _) = self.restarts(&container)?;
            container
                .roles
                .iter()
                .any(|role| roles.contains(role))
                .then_some(())?;
            let times = counted(count, "time", "times");
            Some(Standing {
                container,
                words: format!(
                    "{} was started again {times} during the run",
                    containers::words(&container)
                ),
                command: format!("{} logs --tail 50 {}", self.engine_program(), container.name),
            })
        })
    }

    /// The engine told during the run that it was stopped, killed or paused: it may run again by now.
    pub fn was_stopped(&self, role: Role) -> Option<Fact<String>> {
        let mut of_role = self
            .containers()
            .filter(|container| container.roles.contains(&role));
        of_role.find_map(|container| {
            let mut news = self.container_news(&container).into_iter();
            let stop = news.find(|news| matches!(news.action, "stop" | "kill" | "die" | "pause"))?;
            let words = match stop.action {
                "pause" => "was paused during the run",
                _ => "was stopped during the run",
            };
            let words = format!("{} {words}", containers::words(&container));
            Some(Fact::new(stop.n, stop.at_ms, words))
        })
    }

    fn command_for(&self, container: &Container) -> String {
        let name = shell_words::quote(&container.name);
        let program = self.engine_program();
        match container.state.as_str() {
            "paused" => format!("{program} unpause {name}"),
            "restarting" | "removing" => format!("{program} logs --tail 50 {name}"),
            _ => format!("{program} start {name}"),
        }
    }

    /// As the engine names itself.
    fn engine_program(&self) -> &'static str {
        let is_podman = self.timeline.events.iter().any(|event| match &event.kind {
            EventKind::Watching { detail } => {
                event.source == Source::Containers && detail.starts_with("Podman")
            }
            _ => false,
        });
        if is_podman { "podman" } else { "docker" }
    }
}

fn runs(container: &Container) -> bool {
    container.state == "running"
}

/// `is exited, exit code 137, killed for memory (limit 64 MiB)`
pub(in crate::diagnosis) fn state(container: &Container) -> String {
    let code = container.exit_code;
    let code = code.map_or(String::new(), |code| format!(", exit code {code}"));
    let memory = match (container.oom_killed, container.memory_limit) {
        (false, _) => String::new(),
        (true, None) => ", killed for memory".into(),
        (true, Some(limit)) => format!(", killed for memory (limit {})", units::bytes(limit)),
    };
    format!("is {}{code}{memory}", container.state)
}

/// What it says of a container is what the run needs it for.
pub fn purpose(role: Role) -> &'static str {
    match role {
        Role::Api => "which publishes the port of `api.url`",
        Role::ApiLog => "which writes the API's log",
        Role::Broker => "which publishes the port of `broker.amqp_url`",
        Role::Database => "which publishes the port of `database.url`",
        Role::WorkerLog => "which writes the worker's log",
    }
}

/// Who cannot be reached, in words of the library that could not reach it.
pub(in crate::diagnosis) fn is_of_a_connection(exception: &str) -> bool {
    let text = exception.to_lowercase();
    [
        "connect",
        "operationalerror",
        "interfaceerror",
        "shutting down",
        "name or service",
        "resolve host",
    ]
    .iter()
    .any(|word| text.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::diagnosis::testing::Scene;

    fn api(state: &str) -> Scene {
        Scene::new().worker_container("a1", state, |container| {
            container.name = "shop-api-1".into();
            container.roles = vec![Role::ApiLog];
            container.exit_code = (state == "exited").then_some(137);
        })
    }

    #[test]
    fn what_lets_it_go_on_depends_on_how_it_stands() {
        let command = |state: &str| {
            let scene = api(state);
            let story = Story::new(&scene.timeline);
            story.standing(Role::ApiLog).map(|standing| standing.command)
        };
        assert_eq!(command("paused").as_deref(), Some("docker unpause shop-api-1"));
        assert_eq!(command("exited").as_deref(), Some("docker start shop-api-1"));
        assert_eq!(
            command("restarting").as_deref(),
            Some("docker logs --tail 50 shop-api-1")
        );
        assert_eq!(command("running"), None);
    }

    /// An old container of the same port, or one replica of several.
    #[test]
    fn one_of_two_that_runs_is_enough() {
        let scene = api("exited").worker_container("a2", "running", |container| {
            container.name = "shop-api-2".into();
            container.roles = vec![Role::ApiLog];
        });
        let story = Story::new(&scene.timeline);
        assert!(story.standing(Role::ApiLog).is_none());
        assert!(story.standing_of(&[Role::Api, Role::Broker]).is_none());
    }

    #[test]
    fn how_it_ended_is_said() {
        let scene = api("exited");
        let words = Story::new(&scene.timeline)
            .standing(Role::ApiLog)
            .map(|standing| standing.words);
        assert_eq!(
            words.as_deref(),
            Some("container shop-api-1 (project shop, image shop) is exited, exit code 137")
        );
    }

    #[test]
    fn an_api_of_another_project_is_told_of() {
        let of = |project: &str, more: &str| {
            let scene = api("running").worker_container("a2", "running", |container| {
                container.name = "eu-api-1".into();
                container.project = Some(project.into());
                container.roles = vec![Role::Api];
            });
            let scene = scene.worker_container("a3", "running", |container| {
                container.name = "mq".into();
                container.project = Some(more.into());
                container.roles = vec![Role::Broker];
            });
            let story = Story::new(&scene.timeline);
            story.api_of_another_project().map(|told| told.value)
        };
        let said = of("shop-eu", "shop").expect("another project");
        assert!(
            said.contains("eu-api-1 of project shop-eu") && said.ends_with("to project shop"),
            "{said}"
        );
        assert_eq!(of("shop", "shop"), None);
        // One broker for both.
        assert_eq!(of("shop-eu", "shop-eu"), None);
    }
}
