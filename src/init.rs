//! Looks at a project and drafts its `taskdiag.toml`.
//!
//! Each finder below looks at one kind of thing and is a function from what was read to what was
//! found; `inspect` asks them all, and what speaks most surely speaks first. Nothing of the project is
//! executed, nothing is written.

mod address;
mod api;
mod compose;
mod curl;
mod database;
mod dotenv;
mod launch;
mod management;
mod openapi;
mod postgres;
mod program;
pub(crate) mod python;
mod running;
mod server;
mod statuses;
mod submit;
mod support;
pub(crate) mod walk;
mod work;
mod worker;
mod write;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use secrecy::{ExposeSecret, SecretString};

use crate::framework::{self, Framework};
use address::{Address, AddressSources};
use compose::Service;
use curl::CurlPost;
use launch::StartCommand;
use python::SourceFacts;
use running::RunningProcess;
use server::{BROKER, DATABASE};
use walk::ProjectFiles;
pub use write::Draft;

/// What is wrong with a command that starts a worker, as far as its words say.
pub fn mistakes(command: &[String]) -> Vec<String> {
    let launch = StartCommand {
        words: command.to_vec(),
        place: String::new(),
        folder: String::new(),
    };
    launch.mistakes()
}

/// A variable of an environment. The value may be a secret: it is never shown.
#[derive(Clone)]
pub struct EnvVar {
    name: String,
    value: String,
    place: String,
    /// What to type so that taskdiag sees it.
    how: String,
}

impl std::fmt::Debug for EnvVar {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.name, self.place)
    }
}

/// What was found, and what to tell of it.
#[derive(Default)]
pub struct InitResult {
    pub draft: Draft,
    /// What to type before `taskdiag check`, to set the variables that the file refers to.
    pub exports: Vec<String>,
    /// What was seen and could not be used, or not be read.
    pub complaints: Vec<String>,
    /// What was asked beyond the files of the project.
    pub contacted: Vec<String>,
    /// Why no draft would help here.
    pub unsupported: Option<String>,
    /// Keys whose values are no more than a guess or an example: nothing is sent with them unasked.
    pub guesses: Vec<&'static str>,
    /// Values of the variables that the draft refers to, as the project has them. Secrets: never shown.
    pub values: BTreeMap<String, SecretString>,
}

/// Everything that was seen, before anything is concluded from it.
struct Survey {
    /// What its workers run.
    framework: &'static Framework,
    project: ProjectFiles,
    variables: Vec<EnvVar>,
    services: Vec<Service>,
    launches: Vec<StartCommand>,
    running: Vec<RunningProcess>,
    code: SourceFacts,
    posts: Vec<CurlPost>,
}

pub async fn inspect(root: &Path) -> InitResult {
    let mut result = InitResult::default();
    let survey = survey(root, &mut result.complaints);
    let known = AddressSources {
        variables: &survey.variables,
        services: &survey.services,
        literals: &survey.code.urls,
    };
    let (broker, mut unusable) = address::find(&BROKER, &known);
    result.unsupported = support::unsupported(&survey, broker.is_some());
    if result.unsupported.is_some() {
        return result;
    }
    result.draft.framework = Some(survey.framework);
    let (database, more) = address::find(&DATABASE, &known);
    unusable.extend(more);
    if broker.is_none() || database.is_none() {
        result.complaints.extend(unusable);
    }
    for (key, address) in [("broker.amqp_url", &broker), ("database.url", &database)] {
        if let Some(address) = address {
            enter(&mut result.draft, key, address);
        } else if let Some((name, place)) = survey.read_by_name(key) {
            let text = format!("{place} reads {name}, which is set nowhere here");
            result.draft.note(key, text);
            result.draft.suggest(key, format!("${{{name}}}"));
        }
    }
    result.draft.secrets = secrets(&survey, [&broker, &database]);
    api::fill(&survey, &mut result).await;
    submit::fill(&survey, &mut result);
    management::fill(&survey, broker.as_ref(), &mut result).await;
    worker::fill(&survey, &mut result);
    database::fill(&survey, database.as_ref(), &mut result).await;
    services(&survey, &mut result.draft);
    if let (None, Some(other)) = (&database, support::other_database(&survey)) {
        result.draft.note("database.url", other.clone());
        result.complaints.push(other);
    }
    // The first place that names a variable is the surest, as everywhere.
    for variable in survey.variables.iter().rev() {
        let value = SecretString::from(variable.value.clone());
        result.values.insert(variable.name.clone(), value);
    }
    for address in [&broker, &database].into_iter().flatten() {
        let url = url::Url::parse(address.full.expose()).ok();
        let encoded = url
            .as_ref()
            .and_then(|url| Some(SecretString::from(url.password()?)));
        for need in address.needs.iter().filter(|need| need.is_password) {
            let password = match need.variable.ends_with("_ENCODED") {
                true => encoded.clone(),
                false => address.full.password(),
            };
            if let Some(password) = password {
                result.values.entry(need.variable.clone()).or_insert(password);
            }
        }
    }
    for need in [&broker, &database]
        .into_iter()
        .flatten()
        .flat_map(|address| &address.needs)
    {
        if std::env::var_os(&need.variable).is_none() && !result.exports.contains(&need.how) {
            result.exports.push(need.how.clone());
        }
    }
    result
}

fn survey(root: &Path, complaints: &mut Vec<String>) -> Survey {
    let mut project = walk::walk(root);
    complaints.append(&mut project.complaints);
    let running = running::look(root);
    let dotenv: Vec<EnvVar> = project.dotenv.iter().flat_map(dotenv::parse).collect();
    // A process tells the truth, unless a file says the same and is easier to use.
    let mut variables: Vec<EnvVar> = running
        .iter()
        .flat_map(RunningProcess::variables)
        .filter(|variable| {
            dotenv
                .iter()
                .all(|known| known.name != variable.name || !is_same(&known.value, &variable.value))
                && std::env::var(&variable.name).as_ref() != Ok(&variable.value)
        })
        .collect();
    variables.extend(dotenv);
    variables.extend(shell(&variables));
    let values: BTreeMap<String, String> = variables
        .iter()
        .rev()
        .map(|variable| (variable.name.clone(), variable.value.clone()))
        .collect();
    let services = compose::read(
        &project.compose,
        &|place| walk::named(root, place),
        &values,
        complaints,
    );
    for service in &services {
        if let Some(unread) = &service.unread {
            complaints.push(format!(
                "{} extends {unread}, which was not read: what it takes from there is unknown",
                service.place()
            ));
        }
    }
    let launches = launches(&project, &services);
    let mut code = python::scan(&project.python, &project.others);
    complaints.extend(code.complaint.clone());
    let framework = framework_of(&running, &launches, &code);
    code.actors.retain(|actor| actor.framework == framework);
    code.applications.retain(|(of, ..)| *of == framework);
    let package = framework.source.django.as_ref();
    code.is_django = package.is_some_and(|django| code.uses.contains_key(django.app));
    let posts = project.others.iter().flat_map(curl::find).collect();
    Survey {
        framework,
        posts,
        project,
        variables,
        services,
        launches,
        running,
        code,
    }
}

/// Whose worker is started, or else whose tasks the code declares.
fn framework_of(
    running: &[RunningProcess],
    launches: &[StartCommand],
    code: &SourceFacts,
) -> &'static Framework {
    let mut commands = running
        .iter()
        .map(|running| &running.launch.words)
        .chain(launches.iter().map(|launch| &launch.words));
    let starts = |words: &Vec<String>| {
        let mut all = framework::ALL.iter();
        all.find(|framework| framework.worker.is_started_by(words))
            .copied()
    };
    let imported = || {
        let mut all = framework::ALL.iter();
        all.find(|framework| code.uses.contains_key(framework.source.module))
            .copied()
    };
    commands
        .find_map(starts)
        .or_else(|| code.actors.first().map(|actor| actor.framework))
        .or_else(imported)
        .unwrap_or_else(Framework::usual)
}

/// The same value, or the same URL with another driver in its scheme.
fn is_same(a: &str, b: &str) -> bool {
    let bare = |url: &str| match url.split_once("://") {
        Some((scheme, rest)) => {
            let scheme = scheme.split('+').next().unwrap_or(scheme);
            format!("{}://{rest}", scheme.replace("postgresql", "postgres"))
        }
        None => url.to_owned(),
    };
    a == b || bare(a) == bare(b)
}

impl Survey {
    /// The folder in which a module is found by its name, if the project has it; the one named
    /// first if it is there.
    fn folder_of(&self, module: &str, first: &str) -> Option<String> {
        let path = module.replace('.', "/");
        let ends = [format!("{path}.py"), format!("{path}/__init__.py")];
        let mut folders: Vec<String> = self
            .project
            .python
            .iter()
            .filter_map(|file| {
                ends.iter()
                    .find_map(|end| file.place.strip_suffix(end.as_str()).map(str::to_owned))
            })
            .filter(|folder| folder.is_empty() || folder.ends_with('/'))
            .map(|folder| folder.trim_end_matches('/').to_owned())
            .collect();
        folders.sort_by_key(|folder| (folder != first, folder.len()));
        folders.into_iter().next()
    }

    /// The virtual environment for what runs in a folder: one in it, or one at the root.
    fn environment(&self, draft: &mut Draft, key: &'static str, folder: &str) {
        let program = self.framework.worker.programs[0];
        let found = self.project.environments.iter().max_by_key(|path| {
            let inside = !folder.is_empty() && path.starts_with(&format!("{folder}/"));
            let has = self.project.root.join(path).join("bin").join(program).exists();
            (has, inside, std::cmp::Reverse(path.len()))
        });
        if let Some(path) = found {
            draft.set(
                key,
                path.clone(),
                "a Python environment in this folder".to_owned(),
            );
        }
    }

    /// A log file whose name has one of these words.
    fn log(&self, words: &[&str]) -> Option<String> {
        words.iter().find_map(|word| {
            self.project
                .logs
                .iter()
                .find(|path| {
                    path.rsplit('/')
                        .next()
                        .unwrap_or_default()
                        .to_lowercase()
                        .contains(word)
                })
                .cloned()
        })
    }

    /// A variable of the right kind that the code reads.
    fn read_by_name(&self, key: &str) -> Option<(&String, &String)> {
        let kind = if key.starts_with("broker") {
            &BROKER
        } else {
            &DATABASE
        };
        self.code.reads.iter().find(|(name, _)| kind.is_usual(name))
    }
}

/// The variables of this shell that no `.env` file sets.
fn shell(known: &[EnvVar]) -> Vec<EnvVar> {
    let known: BTreeSet<&str> = known.iter().map(|variable| variable.name.as_str()).collect();
    std::env::vars_os()
        .filter_map(|(name, value)| Some((name.into_string().ok()?, value.into_string().ok()?)))
        .filter(|(name, _)| !known.contains(name.as_str()) && !name.starts_with("TASKDIAG_"))
        .map(|(name, value)| EnvVar {
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
fn secrets(survey: &Survey, addresses: [&Option<Address>; 2]) -> Vec<String> {
    let is_secret = |name: &str| {
        let name = name.to_uppercase();
        // Not the shell's folders.
        !matches!(name.as_str(), "PWD" | "OLDPWD")
            && ["PASS", "PWD", "SECRET", "TOKEN", "KEY"]
                .iter()
                .any(|word| name.contains(word))
    };
    let settings = survey
        .services
        .iter()
        .flat_map(|service| &service.environment)
        .map(|setting| (setting.name.as_str(), setting.value.as_str()));
    let all = survey
        .variables
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
fn launches(project: &ProjectFiles, services: &[Service]) -> Vec<StartCommand> {
    let mut found: Vec<StartCommand> = services
        .iter()
        .filter(|service| !service.command.is_empty())
        .map(|service| StartCommand {
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

/// What `--start` may bring up: the servers only, since it starts the rest itself.
fn services(survey: &Survey, draft: &mut Draft) {
    let servers = survey
        .services
        .iter()
        .filter(|service| service.is_postgres() || service.is_rabbitmq());
    let mut names = Vec::new();
    let mut compose = None;
    for service in servers {
        let words = service.compose(&survey.project.compose);
        // One command knows the services of its files only.
        if *compose.get_or_insert_with(|| words.clone()) == words {
            names.push(service.name.as_str());
        }
    }
    let Some(compose) = compose else { return };
    let command = |words: &[&str]| -> Vec<String> {
        compose
            .iter()
            .map(String::as_str)
            .chain(words.iter().copied())
            .chain(names.iter().copied())
            .map(str::to_owned)
            .collect()
    };
    draft.suggest("services.up", command(&["up", "-d", "--wait"]));
    draft.suggest("services.down", command(&["stop"]));
}

/// A path as it stands in the file: below the root relative to it.
fn relative(root: &Path, path: &Path) -> String {
    let root = root.canonicalize().unwrap_or_else(|_| root.to_owned());
    path.strip_prefix(&root)
        .unwrap_or(path)
        .to_string_lossy()
        .into_owned()
}
