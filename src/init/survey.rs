//! What is seen of a project, before anything is concluded from it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::compose::{self, Service};
use super::curl::{self, CurlPost};
use super::launch::{self, StartCommand};
use super::running::{self, RunningProcess};
use super::walk::{self, ProjectFiles};
use super::{Draft, EnvVar, dotenv};
use crate::framework::{self, Framework};
use crate::python::{self, Databases, SourceFacts};
use crate::servers::{BROKER, DATABASE};

/// Everything that was seen, before anything is concluded from it.
pub(super) struct Survey {
    /// What its workers run.
    pub framework: &'static Framework,
    pub project: ProjectFiles,
    pub variables: Vec<EnvVar>,
    pub services: Vec<Service>,
    /// Variables of examples of `.env` files: nothing is set by them.
    pub examples: Vec<EnvVar>,
    pub launches: Vec<StartCommand>,
    pub running: Vec<RunningProcess>,
    pub code: SourceFacts,
    pub posts: Vec<CurlPost>,
}

/// Reads the project's files, and what runs of it; nothing is executed.
pub(super) fn survey(root: &Path, complaints: &mut Vec<String>) -> Survey {
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
    missing_files(&project, &services, complaints);
    let launches = launches(&project, &services);
    let mut code = python::scan(&project.python, &project.others);
    complaints.extend(code.complaint.clone());
    let framework = framework_of(&running, &launches, &code);
    code.actors.retain(|actor| actor.framework == framework);
    code.applications
        .retain(|application| application.framework == framework);
    let package = framework.source.django.as_ref();
    code.is_django = package.is_some_and(|django| code.uses.contains_key(django.app));
    let posts = project.others.iter().flat_map(curl::find).collect();
    Survey {
        framework,
        posts,
        examples: project.examples.iter().flat_map(dotenv::parse).collect(),
        project,
        variables,
        services,
        launches,
        running,
        code,
    }
}

/// Compose refuses to start what names a file that is not there.
fn missing_files(project: &ProjectFiles, services: &[Service], complaints: &mut Vec<String>) {
    let mut said = BTreeSet::new();
    for service in services {
        for file in &service.env_missing {
            if !said.insert(file.clone()) {
                continue;
            }
            let folder = |place: &str| place.rsplit_once('/').map_or("", |(folder, _)| folder).to_owned();
            let mut examples = project.examples.iter();
            let example = examples
                .find(|example| folder(&example.place) == folder(file))
                .or_else(|| project.examples.first());
            let example = example.map_or_else(String::new, |example| {
                format!("; {} is an example of one", example.place)
            });
            complaints.push(format!(
                "{} takes variables from {file}, which is not there: Compose does not start it{example}",
                service.place()
            ));
        }
    }
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

impl Survey {
    /// The folder in which a module is found by its name, if the project has it; the one named
    /// first if it is there.
    pub fn folder_of(&self, module: &str, first: &str) -> Option<String> {
        let mut folders = self.folders_of(module);
        folders.sort_by_key(|folder| (folder != first, folder.len()));
        folders.into_iter().next()
    }

    /// All folders in which a module is found by its name.
    pub fn folders_of(&self, module: &str) -> Vec<String> {
        let path = module.replace('.', "/");
        let ends = [format!("{path}.py"), format!("{path}/__init__.py")];
        self.project
            .python
            .iter()
            .filter_map(|file| {
                ends.iter()
                    .find_map(|end| file.place.strip_suffix(end.as_str()).map(str::to_owned))
            })
            .filter(|folder| folder.is_empty() || folder.ends_with('/'))
            .map(|folder| folder.trim_end_matches('/').to_owned())
            .collect()
    }

    /// The folder in which a command finds what it starts, a module or Django's `manage.py`; and whether that is the
    /// only one, or the one that the command stands in.
    pub fn folder_of_command(&self, launch: &StartCommand) -> Option<(String, bool)> {
        if launch.words.iter().any(|word| word.ends_with("manage.py")) {
            let folder = self.folder_of_manage(&launch.folder)?;
            let files = self.project.python.iter();
            let all = files.filter(|file| file.place.rsplit('/').next() == Some("manage.py"));
            let is_sure = folder == launch.folder || all.count() == 1;
            return Some((folder, is_sure));
        }
        let served = launch.served();
        let modules = launch.modules();
        let mut modules = served.into_iter().chain(modules);
        modules.find_map(|module| {
            // `package.module` may be `module.application`, too.
            let above = module.rsplit_once('.').map(|(above, _)| above);
            let module = [Some(module), above]
                .into_iter()
                .flatten()
                .find(|module| !self.folders_of(module).is_empty())?;
            let folder = self.folder_of(module, &launch.folder)?;
            let is_sure = folder == launch.folder || self.folders_of(module).len() == 1;
            Some((folder, is_sure))
        })
    }

    /// The folder with Django's `manage.py`, the one named first if it is there.
    pub fn folder_of_manage(&self, first: &str) -> Option<String> {
        let files = self.project.python.iter();
        let mut folders: Vec<&str> = files
            .filter_map(|file| file.place.strip_suffix("manage.py"))
            .filter(|folder| folder.is_empty() || folder.ends_with('/'))
            .map(|folder| folder.trim_end_matches('/'))
            .collect();
        folders.sort_by_key(|folder| (*folder != first, folder.len()));
        folders.first().map(|folder| (*folder).to_owned())
    }

    /// Django's databases: those of PostgreSQL before others.
    pub fn databases(&self) -> Option<&Databases> {
        let all = &self.code.settings.databases;
        let is_postgres = |of: &&Databases| of.engine().is_some_and(|engine| engine.contains("postg"));
        all.iter().find(is_postgres).or_else(|| all.first())
    }

    /// The virtual environment for what runs in a folder: one in it, or one at the root.
    pub fn environment(&self, draft: &mut Draft, key: &'static str, folder: &str) {
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
    pub fn log(&self, words: &[&str]) -> Option<String> {
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
    pub fn read_by_name(&self, key: &str) -> Option<(&String, &String)> {
        let kind = if key.starts_with("broker") {
            &BROKER
        } else {
            &DATABASE
        };
        self.code.reads.iter().find(|(name, _)| kind.is_usual(name))
    }
}
