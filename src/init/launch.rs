//! Commands that start an API or a worker, wherever they are written down.

use super::compose::Service;
use crate::framework::{self, Framework};

/// A command and where it stands.
#[derive(Debug, Clone, PartialEq)]
pub struct StartCommand {
    pub words: Vec<String>,
    pub place: String,
    /// Folder that it is run in, below the root.
    pub folder: String,
}

const SERVERS: &[&str] = &[
    "uvicorn",
    "gunicorn",
    "hypercorn",
    "fastapi",
    "granian",
    "daphne",
    "flask",
    "runserver",
];

impl StartCommand {
    pub fn is_worker(&self) -> bool {
        program(&self.words).is_some_and(|(at, name)| {
            framework::is_django_worker(&name)
                || (self.words.len() > at + 1
                    && framework::ALL
                        .iter()
                        .any(|framework| framework.worker.is_started_by(&self.words[at..])))
        })
    }

    fn is_told_its_application(&self) -> bool {
        let mut all = framework::ALL.iter();
        all.any(|framework| {
            framework.worker.subcommand.is_some() && framework.worker.is_started_by(&self.words)
        }) && !self.modules().is_empty()
    }

    /// It is a command of Django's `manage.py`: its modules are those of the settings.
    pub fn is_django(&self) -> bool {
        program(&self.words).is_some_and(|(at, _)| at > 0 && self.words[at - 1].ends_with("manage.py"))
    }

    /// What is wrong with how a worker is started, as far as its words say.
    pub fn mistakes(&self) -> Vec<String> {
        let runs = |framework: &&&Framework| {
            let worker = &framework.worker;
            self.words.iter().any(|word| worker.is_program(word))
        };
        let framework = framework::ALL.iter().find(runs);
        framework.map_or_else(Vec::new, |framework| (framework.worker.mistakes)(&self.words))
    }

    pub fn is_server(&self) -> bool {
        program(&self.words).is_some_and(|(_, name)| SERVERS.contains(&name.as_str()))
    }

    /// The port that a server is told to listen on, or its own default; `None` where a file or a shell says.
    pub fn port(&self) -> Option<u16> {
        self.told_port().or_else(|| self.default_port())
    }

    /// Its own default, unless something that was not read may say another.
    fn default_port(&self) -> Option<u16> {
        let (_, name) = program(&self.words)?;
        let is_open = self.words.iter().any(|word| {
            word.contains('$')
                || matches!(
                    word.as_str(),
                    "-c" | "--config" | "--paste" | "--bind" | "-b" | "--port" | "-p"
                )
                || ["--config=", "--port=", "--bind="]
                    .iter()
                    .any(|flag| word.starts_with(flag))
        });
        (!is_open).then_some(if name == "flask" { 5000 } else { 8000 })
    }

    /// The port that a server is told to listen on.
    pub fn told_port(&self) -> Option<u16> {
        let mut words = self.words.iter().peekable();
        while let Some(word) = words.next() {
            let (flag, value) = match word.split_once('=') {
                Some((flag, value)) => (flag, Some(value.to_owned())),
                None => (word.as_str(), words.peek().map(|next| (*next).clone())),
            };
            // `runserver 0.0.0.0:8001` or `runserver 8001`
            let (flag, value) = match flag {
                "runserver" => (
                    "--port",
                    value.filter(|value| value.ends_with(|c: char| c.is_ascii_digit())),
                ),
                _ => (flag, value),
            };
            if matches!(flag, "--port" | "-p" | "--bind" | "-b")
                && let Some(value) = value
            {
                let port = value.rsplit(':').next().unwrap_or_default();
                return port.parse().ok();
            }
        }
        None
    }

    /// Words that only a shell fills in are left out, with the flags that they belong to; and which those were.
    pub fn without_shell(&self) -> (Self, Vec<String>) {
        let (mut words, mut dropped): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for word in &self.words {
            if !word.contains('$') && !word.contains('`') {
                words.push(word.clone());
                continue;
            }
            let is_flag = |word: &String| word.starts_with('-') && !word.contains('=');
            let flag = words.pop_if(|last| is_flag(last) && !word.contains("[@]"));
            dropped.push(flag.map_or_else(|| word.clone(), |flag| format!("{flag} {word}")));
        }
        (
            Self {
                words,
                ..self.clone()
            },
            dropped,
        )
    }

    /// It says itself in which folder it works.
    pub fn has_folder(&self) -> bool {
        let flags = ["--workdir", "--chdir", "--app-dir"];
        self.words
            .iter()
            .any(|word| flags.iter().any(|flag| word.starts_with(flag)))
    }

    /// `package.module` of a server's `package.module:application`.
    pub fn served(&self) -> Option<&str> {
        let after = program(&self.words).map_or(0, |(at, _)| at + 1);
        let mut words = self
            .words
            .iter()
            .skip(after)
            .filter_map(|word| word.split_once(':'));
        words
            .find(|(module, _)| is_module(module))
            .map(|(module, _)| module)
    }

    /// Words that may be the module of a worker: they look like one.
    pub fn modules(&self) -> Vec<&str> {
        let after = program(&self.words).map_or(0, |(at, _)| at + 1);
        // A program with subcommands is told its application by a flag.
        if let Some((_, name)) = program(&self.words)
            && framework::ALL
                .iter()
                .any(|framework| framework.worker.is_program(&name) && framework.worker.subcommand.is_some())
        {
            let told = self
                .words
                .iter()
                .enumerate()
                .find_map(|(at, word)| match word.as_str() {
                    "-A" | "--app" => self.words.get(at + 1).map(String::as_str),
                    word => word
                        .strip_prefix("--app=")
                        .or_else(|| word.strip_prefix("-A").filter(|app| !app.is_empty())),
                });
            let module = told.map(|app| app.split(':').next().unwrap_or_default());
            return module.filter(|module| is_module(module)).into_iter().collect();
        }
        self.words
            .iter()
            .skip(after)
            .map(|word| word.split(':').next().unwrap_or_default())
            .filter(|word| is_module(word))
            .collect()
    }

    /// From the program on: what went before (`poetry run`, an interpreter) is not part of it.
    pub fn bare(&self) -> Vec<String> {
        let at = program(&self.words).map_or(0, |(at, _)| at);
        let manage = at > 0 && self.words[at - 1].ends_with("manage.py");
        let python = at > 1 && self.words[at - 2].contains("python");
        if manage && !python {
            // It is run by its first line: so it is named as Python's from wherever it is.
            let mut words = vec!["python".to_owned(), "manage.py".to_owned()];
            words.extend_from_slice(&self.words[at..]);
            return words;
        }
        let as_module = at >= 2 && (manage || self.words[at - 1] == "-m");
        let mut words = self.words[if as_module { at - 2 } else { at }..].to_vec();
        if let Some(first) = words.first_mut() {
            *first = first.rsplit('/').next().unwrap_or_default().to_owned();
        }
        words
    }
}

/// The program that matters among the words, and its name.
fn program(words: &[String]) -> Option<(usize, String)> {
    words.iter().enumerate().take(24).find_map(|(at, word)| {
        let name = word.rsplit('/').next().unwrap_or(word);
        let of_django = at > 0 && words[at - 1].ends_with("manage.py") && framework::is_django_worker(name);
        (framework::is_worker_program(name) || SERVERS.contains(&name) || of_django)
            .then(|| (at, name.to_owned()))
    })
}

/// What follows the program makes it a command: not a dependency (`fastapi = "0.1"`) and not prose.
fn is_command(name: &str, is_of_django: bool, rest: &[String]) -> bool {
    let first = rest.first().map_or("", String::as_str);
    let has_app = || {
        rest.iter()
            .any(|word| word.contains(':') || word.starts_with("-c") || word.starts_with("--config"))
    };
    match name {
        _ if first == "=" || first.starts_with("==") || first.starts_with(">=") => false,
        "flask" => rest.iter().any(|word| word == "run"),
        "fastapi" => matches!(first, "run" | "dev"),
        "runserver" => is_of_django,
        "uvicorn" | "gunicorn" | "hypercorn" | "granian" | "daphne" => has_app(),
        _ => true,
    }
}

fn is_module(word: &str) -> bool {
    !word.is_empty()
        && word.split('.').all(|part| {
            !part.is_empty()
                && !part.starts_with(|c: char| c.is_ascii_digit())
                && part.chars().all(|c| c.is_alphanumeric() || c == '_')
        })
}

/// Every command in a text that starts a server or a worker.
pub fn find(text: &str, place: &str) -> Vec<StartCommand> {
    let folder = place.rsplit_once('/').map_or("", |(folder, _)| folder);
    let mut found = Vec::new();
    // A command that goes on in the next line is one.
    let joined = text.replace("\\\n", "\u{1}");
    let mut next = 1;
    for line in joined.lines() {
        let here = next;
        next += 1 + line.matches('\u{1}').count();
        let line = line.replace('\u{1}', " ");
        if !framework::is_worker_named_in(&line) && !SERVERS.iter().any(|name| line.contains(name)) {
            continue;
        }
        for part in line.split(['`', ';', '|', '&', '>']) {
            let words = words(
                &part
                    .replace("[\"", "")
                    .replace("\", \"", " ")
                    .replace("\",\"", " ")
                    .replace("\"]", ""),
            );
            let Some((at, name)) = program(&words) else {
                continue;
            };
            let is_of_django = at > 0 && words[at - 1].ends_with("manage.py");
            if !is_command(&name, is_of_django, &words[at + 1..]) {
                continue;
            }
            // `dramatiq` in prose is followed by no module, and preceded by other words.
            let before = &words[..at];
            let own = StartCommand {
                words: words[at..].to_vec(),
                place: String::new(),
                folder: String::new(),
            };
            // With a subcommand and an application it is nothing else, whatever stands before it.
            let is_plain = own.is_worker() && own.is_told_its_application();
            let is_named = before.last().is_some_and(|word| word.ends_with(':'));
            let runs = is_plain
                || is_named
                || before.iter().enumerate().all(|(at, word)| {
                    let is_value = at > 0 && before[at - 1].starts_with("--");
                    word.contains('=')
                        || word.ends_with(':')
                        || word.starts_with("--")
                        || is_value
                        || word.ends_with("manage.py")
                        || matches!(
                            word.as_str(),
                            "$" | "CMD"
                                | "ENTRYPOINT"
                                | "exec"
                                | "poetry"
                                | "run"
                                | "uv"
                                | "pipenv"
                                | "pdm"
                                | "python"
                                | "python3"
                                | "-m"
                                | "manage.py"
                                | "./manage.py"
                                | "env"
                                | "-"
                                | "sudo"
                                | "nohup"
                        )
                        || word.starts_with("ExecStart")
                        || word.starts_with('/')
                });
            let needs_nothing = framework::is_django_worker(&name) || name == "runserver";
            if runs && (words.len() > at + 1 || needs_nothing) {
                let as_module = before
                    .iter()
                    .any(|word| word == "-m" || word.ends_with("manage.py"));
                let from = before
                    .iter()
                    .position(|word| {
                        let runs = word.starts_with("python") || word.ends_with("manage.py");
                        as_module && !is_plain && runs
                    })
                    .unwrap_or(at);
                let words = words[from..].to_vec();
                found.push(StartCommand {
                    words,
                    place: format!("{place} line {here}"),
                    folder: folder.to_owned(),
                });
            }
        }
    }
    found
}

/// Splits as a shell would, without expanding anything; prose with an apostrophe at its spaces.
pub fn words(line: &str) -> Vec<String> {
    shell_words::split(line).unwrap_or_else(|_| line.split_whitespace().map(str::to_owned).collect())
}

/// A server in a container whose port is not published: a proxy in another one may be the way to it.
pub fn hidden<'a>(launches: &[StartCommand], services: &'a [Service]) -> Option<(&'a Service, u16)> {
    let mut servers = launches.iter().filter(|launch| launch.is_server());
    servers.find_map(|launch| {
        let service = services.iter().find(|service| service.place() == launch.place)?;
        let port = launch.port()?;
        service.published(port).is_none().then_some((service, port))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn only(text: &str) -> StartCommand {
        let mut found = find(text, "worker/Procfile");
        assert_eq!(found.len(), 1, "{text}: {found:?}");
        found.remove(0)
    }

    #[test]
    fn finds_commands_where_people_write_them() {
        for (text, words) in [
            ("worker: dramatiq -v app.worker", "dramatiq -v app.worker"),
            (
                "    $ poetry run dramatiq app.worker --processes 2",
                "dramatiq app.worker --processes 2",
            ),
            (
                "CMD [\"dramatiq\", \"-v\", \"app.worker\"]",
                "dramatiq -v app.worker",
            ),
            (
                "ExecStart=/srv/venv/bin/dramatiq app.worker",
                "ExecStart=/srv/venv/bin/dramatiq app.worker",
            ),
            (
                "PYTHONPATH=. python -m dramatiq app.worker &",
                "python -m dramatiq app.worker",
            ),
            (
                "Start it with `dramatiq app.worker`, then wait",
                "dramatiq app.worker",
            ),
            (
                "exec dramatiq \\\n  -v \\\n  app.worker",
                "dramatiq -v app.worker",
            ),
        ] {
            let found = only(text);
            assert!(found.is_worker(), "{text}");
            assert_eq!(found.modules(), ["app.worker"].to_vec(), "{text}");
            if !words.starts_with("ExecStart") {
                assert_eq!(found.bare().join(" "), words, "{text}");
            }
            assert_eq!(found.folder, "worker");
        }
    }

    #[test]
    fn django_has_commands_of_its_own() {
        let worker = only("worker: python manage.py rundramatiq -p 1 -t 1");
        assert!(worker.is_worker() && worker.is_django());
        assert_eq!(worker.bare().join(" "), "python manage.py rundramatiq -p 1 -t 1");
        assert!(only("python manage.py rundramatiq_custom").is_worker());
        let server = only("command: python manage.py runserver 0.0.0.0:8001");
        assert_eq!((server.is_server(), server.port()), (true, Some(8001)));
    }

    #[test]
    fn a_worker_is_found_behind_what_wraps_it() {
        let command = "celery -A shop.celery worker";
        for before in [
            "5. Start it: ",
            "exec gosu app ",
            "newrelic-admin run-program ",
            "watchmedo auto-restart -d . -p '*.py' -- ",
            "nice -n 10 ",
            "uv run --package shop ",
        ] {
            let found = only(&format!("{before}{command}"));
            assert_eq!(found.bare().join(" "), command, "{before}");
            assert_eq!(found.modules(), ["shop.celery"], "{before}");
        }
        assert_eq!(only("celery worker --app=shop.app").modules(), ["shop.app"]);
        assert!(only("uv run --package shop dramatiq shop.tasks").is_worker());
        // The subcommand is no module, and neither is a queue.
        assert_eq!(only("celery -A src.app worker -Q mail").modules(), ["src.app"]);
        for text in ["Start celery worker processes", "a celery worker takes it"] {
            assert!(
                find(text, "README.md")
                    .iter()
                    .all(|found| found.modules().is_empty()),
                "{text}"
            );
        }
    }

    #[test]
    fn djangos_program_is_run_as_it_is() {
        for text in [
            "./manage.py rundramatiq -p 2",
            "exec /code/manage.py rundramatiq -p 2",
        ] {
            let found = only(text);
            assert!(found.is_worker() && found.is_django(), "{text}");
            assert_eq!(found.bare().join(" "), "python manage.py rundramatiq -p 2");
        }
    }

    #[test]
    fn what_only_a_shell_fills_in_is_left_out() {
        let (found, dropped) = only("celery -A shop worker -c $N ${options[@]} -l info").without_shell();
        assert_eq!(found.words.join(" "), "celery -A shop worker -l info");
        assert_eq!(dropped, ["-c $N", "${options[@]}"]);
        assert_eq!(only("gunicorn -c $CONF app:app").port(), None);
        assert_eq!(only("gunicorn -c conf.py app:app").port(), None);
    }

    #[test]
    fn what_a_worker_would_misread_is_said() {
        let mistakes = only("dramatiq -v 2 app.worker --queues mail,reports").mistakes();
        assert!(mistakes[0].contains("takes no value"), "{mistakes:?}");
        assert!(mistakes[1].contains("--queues mail reports"), "{mistakes:?}");
        assert_eq!(
            only("dramatiq -v app.worker --queues mail reports").mistakes(),
            Vec::<String>::new()
        );
    }

    #[test]
    fn prose_is_no_command() {
        for text in [
            "fastapi = \"0.116.1\"",
            "gunicorn = \"*\"",
            "fastapi = \"^0.89.1\"",
            "flask swpt_accounts configure_queue",
            "gunicorn is what we use",
            "Tasks run in dramatiq workers",
            "the uvicorn server listens",
            "dramatiq",
            "pip install dramatiq uvicorn",
        ] {
            assert_eq!(find(text, "README.md"), [], "{text}");
        }
    }

    #[test]
    fn ports() {
        for (text, port) in [
            ("uvicorn app:app --port 9000", 9000),
            ("uvicorn app:app --port=9001 --reload", 9001),
            ("gunicorn -b 0.0.0.0:9002 app:app", 9002),
            ("uvicorn app:app", 8000),
        ] {
            assert_eq!(only(text).port(), Some(port), "{text}");
        }
        assert_eq!(only("uvicorn app:app --port $PORT").port(), None);
    }

    #[test]
    fn the_line_is_the_one_that_is_meant() {
        let found = find("a \\\n b\nc\nuvicorn \\\n app:app\n", "x.sh");
        assert_eq!(found[0].place, "x.sh line 4");
    }
}
