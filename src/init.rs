//! Looks at a project and drafts its `taskdiag.toml`.
//!
//! Each finder below looks at one kind of thing and is a function from what was read to what was
//! found; `look` asks them all, and what speaks most surely speaks first. Nothing of the project is
//! executed, nothing is written.

mod address;
mod compose;
mod dotenv;
mod launch;
mod walk;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use address::{Address, BROKER, DATABASE, Known};
use launch::Launch;
use secrecy::ExposeSecret;
use walk::Project;
pub use write::Draft;

/// A variable of an environment. The value may be a secret: it is never shown.
#[derive(Clone)]
pub struct Variable {
    name: String,
    value: String,
    place: String,
    /// What to type so that taskdiag sees it.
    how: String,
}

impl std::fmt::Debug for Variable {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.place)
    }
}

/// What was found, and what to tell of it.
pub struct Looked {
    pub draft: Draft,
    /// What to type before `taskdiag check`, to set the variables that the file refers to.
    pub exports: Vec<String>,
    /// What was seen and could not be used, or not be read.
    pub complaints: Vec<String>,
    /// What was asked beyond the files of the project.
    pub contacted: Vec<String>,
}

pub async fn look(root: &Path) -> Looked {
    let mut project = walk::walk(root);
    let mut complaints = std::mem::take(&mut project.complaints);
    let mut draft = Draft::default();

    let mut variables: Vec<Variable> = project.dotenv.iter().flat_map(dotenv::parse).collect();
    variables.extend(shell(&variables));
    let values: BTreeMap<String, String> = variables
        .iter()
        .rev()
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect();
    let services = compose::read(&project.compose, &values, &mut complaints);
    let launches = launches(&project, &services);

    let known = Known {
        variables: &variables,
        services: &services,
        literals: &[],
    };
    let (broker, mut unusable) = address::find(&BROKER, &known);
    let (database, more) = address::find(&DATABASE, &known);
    unusable.extend(more);
    if broker.is_none() || database.is_none() {
        complaints.extend(unusable);
    }
    for (key, address) in [("broker.amqp_url", &broker), ("database.url", &database)] {
        if let Some(address) = address {
            enter(&mut draft, key, address);
        }
    }
    management(&mut draft, broker.as_ref(), &services);
    server(&mut draft, &services, &launches);
    worker(&mut draft, &project, &services, &launches);
    draft.secrets = secrets(&variables, &services, [&broker, &database]);

    let mut exports: Vec<String> = Vec::new();
    for need in [&broker, &database]
        .into_iter()
        .flatten()
        .flat_map(|address| &address.needs)
    {
        if std::env::var_os(&need.variable).is_none() && !exports.contains(&need.how) {
            exports.push(need.how.clone());
        }
    }
    Looked {
        draft,
        exports,
        complaints,
        contacted: Vec::new(),
    }
}

/// The variables of this shell that no `.env` file sets.
fn shell(known: &[Variable]) -> Vec<Variable> {
    let known: BTreeSet<&str> = known.iter().map(|variable| variable.name.as_str()).collect();
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !known.contains(name.as_str()) && !name.starts_with("TASKDIAG_"))
        .map(|(name, value)| Variable {
            place: "the environment of this shell".into(),
            how: format!("export {name}=…"),
            name,
            value,
        })
        .collect()
}

fn enter(draft: &mut Draft, key: &'static str, address: &Address) {
    draft.set(key, address.text.clone(), address.place.clone());
    for place in &address.also {
        draft.note(key, format!("also seen: {place}"));
    }
    for need in &address.needs {
        draft.note(key, format!("set {} first: {}", need.variable, need.how));
    }
}

/// Every text that must not get into the file.
fn secrets(
    variables: &[Variable],
    services: &[compose::Service],
    addresses: [&Option<Address>; 2],
) -> Vec<String> {
    let is_secret = |name: &str| {
        let name = name.to_uppercase();
        ["PASS", "PWD", "SECRET", "TOKEN", "KEY"]
            .iter()
            .any(|word| name.contains(word))
    };
    let settings = services
        .iter()
        .flat_map(|service| &service.environment)
        .map(|setting| (setting.name.as_str(), setting.value.as_str()));
    let all = variables
        .iter()
        .map(|variable| (variable.name.as_str(), variable.value.as_str()))
        .chain(settings);
    let mut secrets = Vec::new();
    for (name, value) in all {
        if is_secret(name) {
            secrets.push(value.to_owned());
        }
        if let Ok(url) = url::Url::parse(value)
            && let Some(password) = url.password()
            && password != url.username()
        {
            secrets.push(password.to_owned());
        }
    }
    for address in addresses.into_iter().flatten() {
        if let Some(password) = address.full.password()
            && password.expose_secret() != address.full.username()
        {
            secrets.push(password.expose_secret().to_owned());
        }
    }
    // Defaults of images are words that stand everywhere.
    secrets.retain(|word| {
        !matches!(
            word.as_str(),
            "postgres" | "rabbitmq" | "password" | "example" | "localhost"
        )
    });
    secrets
}

/// Every command that starts something: of Compose services first, then as written down.
fn launches(project: &Project, services: &[compose::Service]) -> Vec<Launch> {
    let mut found: Vec<Launch> = services
        .iter()
        .filter(|service| !service.command.is_empty())
        .map(|service| Launch {
            words: shell_inside(&service.command),
            place: service.place(),
            folder: service
                .file
                .rsplit_once('/')
                .map_or("", |(folder, _)| folder)
                .to_owned(),
        })
        .filter(|launch| launch.is_worker() || launch.is_server())
        .collect();
    found.extend(
        project
            .others
            .iter()
            .flat_map(|file| launch::find(&file.text, &file.place)),
    );
    found
}

/// `sh -c "…"` is what stands in it.
fn shell_inside(command: &[String]) -> Vec<String> {
    match command {
        [shell, flag, line, ..]
            if (shell.ends_with("sh")) && flag.starts_with('-') && flag.ends_with('c') =>
        {
            launch::find(line, "")
                .into_iter()
                .next()
                .map_or_else(|| command.to_vec(), |launch| launch.words)
        }
        _ => command.to_vec(),
    }
}

fn management(draft: &mut Draft, broker: Option<&Address>, services: &[compose::Service]) {
    let Some(server) = services.iter().find(|service| service.is_rabbitmq()) else {
        return;
    };
    let ours = broker.is_some_and(|address| Some(address.full.port()) == server.published(5672));
    match server.published(15672) {
        Some(port) if ours => draft.set(
            "broker.management_url",
            format!("http://localhost:{port}"),
            format!("{}; the user is that of amqp_url", server.place()),
        ),
        Some(_) => {}
        None => draft.note(
            "broker.management_url",
            format!(
                "{} does not publish port 15672: without it consumers, connections and who took the message stay unseen",
                server.place()
            ),
        ),
    }
}

/// The API, as the commands that start it tell.
fn server(draft: &mut Draft, services: &[compose::Service], launches: &[Launch]) {
    for launch in launches.iter().filter(|launch| launch.is_server()) {
        let Some(port) = launch.port() else { continue };
        let service = services.iter().find(|service| service.place() == launch.place);
        let port = match service {
            Some(service) => match service.published(port) {
                Some(port) => port,
                None => continue,
            },
            None => port,
        };
        if draft.has("api.url") {
            draft.note("api.url", format!("also seen: port {port} in {}", launch.place));
            continue;
        }
        draft.set(
            "api.url",
            format!("http://localhost:{port}"),
            launch.place.clone(),
        );
        match service {
            Some(service) => draft.set("api.log_command", follow(&service.name), launch.place.clone()),
            None => draft.set("api.command", launch.bare(), launch.place.clone()),
        }
    }
}

fn worker(draft: &mut Draft, project: &Project, services: &[compose::Service], launches: &[Launch]) {
    for launch in launches.iter().filter(|launch| launch.is_worker()) {
        let service = services.iter().find(|service| service.place() == launch.place);
        let known = launch
            .modules()
            .iter()
            .any(|module| folder_of(project, module).is_some());
        if service.is_none() && !known {
            continue;
        }
        if draft.has("worker.command") {
            draft.note("worker.command", format!("also seen: {}", launch.place));
            continue;
        }
        draft.set("worker.command", launch.bare(), launch.place.clone());
        if let Some(service) = service {
            draft.set("worker.log_command", follow(&service.name), launch.place.clone());
        }
    }
}

fn follow(service: &str) -> Vec<String> {
    ["docker", "compose", "logs", "-f", "--no-log-prefix", service]
        .map(str::to_owned)
        .to_vec()
}

/// The folder in which a module is found by its name, if the project has it.
fn folder_of(project: &Project, module: &str) -> Option<String> {
    let path = module.replace('.', "/");
    project.python.iter().find_map(|file| {
        let folder = [format!("{path}.py"), format!("{path}/__init__.py")]
            .iter()
            .find_map(|end| file.place.strip_suffix(end.as_str()).map(str::to_owned))?;
        (folder.is_empty() || folder.ends_with('/')).then(|| folder.trim_end_matches('/').to_owned())
    })
}
