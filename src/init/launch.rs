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

    /// The port that a server is told to listen on, or its own default.
    pub fn port(&self) -> Option<u16> {
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
        let (_, name) = program(&self.words)?;
        Some(if name == "flask" { 5000 } else { 8000 })
    }

    /// Words that may be the module of a worker: they look like one.
    pub fn modules(&self) -> Vec<&str> {
        let after = program(&self.words).map_or(0, |(at, _)| at + 1);
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
        let as_module = at >= 2 && matches!(self.words[at - 1].as_str(), "-m" | "manage.py" | "./manage.py");
        let mut words = self.words[if as_module { at - 2 } else { at }..].to_vec();
        if let Some(first) = words.first_mut() {
            *first = first.rsplit('/').next().unwrap_or_default().to_owned();
        }
        words
    }
}

/// The program that matters among the words, and its name.
fn program(words: &[String]) -> Option<(usize, String)> {
    words.iter().enumerate().take(8).find_map(|(at, word)| {
        let name = word.rsplit('/').next().unwrap_or(word);
        let of_django = at > 0 && words[at - 1].ends_with("manage.py") && framework::is_django_worker(name);
        (framework::is_worker_program(name) || SERVERS.contains(&name) || of_django)
            .then(|| (at, name.to_owned()))
    })
}

/// What follows the program makes it a command: not a dependency (`fastapi = "0.1"`) and not prose.
fn is_command(name: &str, rest: &[String]) -> bool {
    let first = rest.first().map_or("", String::as_str);
    let has_app = || {
        rest.iter()
            .any(|word| word.contains(':') || word.starts_with("-c") || word.starts_with("--config"))
    };
    match name {
        _ if first == "=" || first.starts_with("==") || first.starts_with(">=") => false,
        "flask" => rest.iter().any(|word| word == "run"),
        "fastapi" => matches!(first, "run" | "dev"),
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
            if !is_command(&name, &words[at + 1..]) {
                continue;
            }
            // `dramatiq` in prose is followed by no module, and preceded by other words.
            let before = &words[..at];
            let runs = before.iter().all(|word| {
                word.contains('=')
                    || word.ends_with(':')
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
            if runs && (words.len() > at + 1 || framework::is_django_worker(&name)) {
                let as_module = before
                    .iter()
                    .any(|word| word == "-m" || word.ends_with("manage.py"));
                let from = before
                    .iter()
                    .position(|word| as_module && word.starts_with("python"))
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
