//! A project without a taskdiag.toml: what its folder shows is used at once, after a plan and a question.

use std::io::{BufRead as _, IsTerminal};
use std::path::PathBuf;
use std::sync::mpsc;
use std::time::Duration;

use secrecy::ExposeSecret;

use super::{flags, folded, say};
use crate::cli::{Diagnose, Global};
use crate::config::{self, Api, Config, Given, Layers, Trace};
use crate::error::{Error, Result};
use crate::init::{InitResult, Stranger, inspect};
use crate::scrubber::scrubber;
use crate::timeline::scrub::printable;

/// So long an answer is waited for, once nothing depends on it any more.
const PATIENCE: Duration = Duration::from_secs(30);

/// What was found, for the run and to be saved afterwards.
pub struct Discovered {
    pub config: Config,
    text: String,
}

/// The configuration that this folder shows; whoever runs it has seen the plan and agreed. `None`: he did not.
pub async fn discover(
    args: &Diagnose,
    global: &Global,
    shortcuts: &[(&str, Option<&String>)],
) -> Result<Option<Discovered>> {
    let here = std::env::current_dir().map_err(|source| Error::ReadConfig {
        path: PathBuf::from("."),
        source,
    })?;
    if !can_ask() && !args.yes {
        return Err(Error::NoConfig { from: here });
    }
    let flags = flags(global, shortcuts)?;
    let given = config::given(&flags)?;
    let mut found = inspect(&here).await;
    if let Some(why) = found.unsupported {
        return Err(Error::Unsupported { why });
    }
    found.give(&given);
    let needed: &[&str] = match args.task {
        Some(_) => &["broker.amqp_url"],
        None if found.draft.has("submit.command") => &["broker.amqp_url"],
        None => &["api.url", "api.submit_path", "broker.amqp_url"],
    };
    let files = ["api.files"]
        .into_iter()
        .filter(|key| args.task.is_none() && found.draft.is_needed(key));
    let missing: Vec<&str> = needed
        .iter()
        .copied()
        .chain(files)
        .filter(|key| !found.draft.has(key))
        .collect();
    if !missing.is_empty() {
        return Err(Error::NotEnough {
            missing: missing.join(", "),
        });
    }
    let text = found.draft.render(&[]);
    let saved = found.draft.public().render(&[]);
    let config = Config::drafted(&text, found.values.clone(), &flags)?;
    let plan = printable(&plan(&config, &found, args));
    say(&folded(&plan, std::io::stderr().is_terminal()));
    if args.yes {
        refuse_guesses(&config, &found, args, &given)?;
    } else if !asked("Go on?") {
        return Ok(None);
    }
    Ok(Some(Discovered { config, text: saved }))
}

fn can_ask() -> bool {
    std::io::stdin().is_terminal() && std::io::stderr().is_terminal()
}

/// There is no file, and what flags and variables say is not all that is needed: the folder shows the rest.
pub fn is_wanted(args: &Diagnose, global: &Global, shortcuts: &[(&str, Option<&String>)]) -> Result<bool> {
    let has_file = Layers::locate(global.config.as_deref())?.is_some();
    if has_file || !(args.yes || can_ask()) {
        return Ok(false);
    }
    let given = config::given(&flags(global, shortcuts)?)?;
    let api = ["api.url", "api.submit_path"]
        .iter()
        .all(|key| given.contains_key(key));
    let sends = args.task.is_some() || api || given.contains_key("submit.command");
    Ok(!(sends && given.contains_key("broker.amqp_url")))
}

/// What nobody has looked at must be sure, and stay on this machine.
fn refuse_guesses(config: &Config, found: &InitResult, args: &Diagnose, given: &Given) -> Result<()> {
    let refused = |what: String| {
        Error::Usage {
        message: format!("--yes sends nothing that nobody has looked at: {what}"),
        hint: "run it once without --yes, give it yourself (`--set KEY=VALUE`), or let `taskdiag init` write a file and read it through".into(),
    }
    };
    let guesses = guesses(config, found, args);
    if !guesses.is_empty() {
        return Err(refused(format!(
            "{} is an example or a guess",
            guesses.join(", ")
        )));
    }
    if let Some(stranger) = strangers(config, found).first() {
        return Err(Error::Usage {
            message: format!("--yes sends nothing to strangers: {}", stranger.why),
            hint: format!(
                "start this project's own; or, if that is the one, run it once without --yes, or write `{}` into a taskdiag.toml (`taskdiag init` drafts one)",
                stranger.key
            ),
        });
    }
    let api = config
        .api
        .as_ref()
        .and_then(|api| api.url.host_str())
        .map(str::to_owned);
    let database = config.database.as_ref().map(|database| database.url.host());
    let broker = Some(config.broker.amqp.host());
    let hosts = [
        ("broker.amqp_url", broker.clone()),
        (
            "broker.management_url",
            Some(config.broker.management.host()).filter(|host| Some(host) != broker.as_ref()),
        ),
        ("api.url", api),
        ("database.url", database),
    ];
    // What Compose publishes is written as localhost; who names another machine himself means it.
    let mut hosts = hosts
        .into_iter()
        .filter(|(key, _)| !given.contains_key(key))
        .filter_map(|(_, host)| host);
    match hosts.find(|host| !is_loopback(host)) {
        Some(host) => Err(refused(format!("{host} is another machine"))),
        None => Ok(()),
    }
}

/// What would be sent, or said to whom, on no more than a guess.
fn guesses(config: &Config, found: &InitResult, args: &Diagnose) -> Vec<&'static str> {
    let submits = args.task.is_none();
    let mut guesses: Vec<&'static str> = found.guesses.iter().copied().filter(|_| submits).collect();
    let addresses = [
        ("api.url", submits && config.api.is_some()),
        ("broker.amqp_url", true),
        ("database.url", config.database.is_some()),
    ];
    let used = addresses.into_iter().filter(|(_, is_used)| *is_used);
    guesses.extend(used.map(|(key, _)| key).filter(|key| found.draft.is_guess(key)));
    guesses
}

/// Of the addresses that would be used those that nothing shows to be this project's.
fn strangers<'f>(config: &Config, found: &'f InitResult) -> Vec<&'f Stranger> {
    let api = config.api.as_ref().map(|api| {
        (
            api.url.host_str().unwrap_or_default(),
            api.url.port_or_known_default(),
        )
    });
    let broker = &config.broker;
    let database = config.database.as_ref().map(|database| database.url.port());
    let is_used = |stranger: &&Stranger| match stranger.key {
        "api.url" => api.is_some_and(|(host, port)| is_loopback(host) && port == Some(stranger.port)),
        "broker.amqp_url" => broker.amqp.port() == stranger.port,
        "broker.management_url" => broker.management.port() == stranger.port,
        _ => database == Some(stranger.port),
    };
    found.strangers.iter().filter(is_used).collect()
}

fn is_loopback(host: &str) -> bool {
    let host = host.trim_matches(['[', ']']);
    host == "localhost"
        || host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback())
}

/// What would be done, and where each value comes from.
fn plan(config: &Config, found: &InitResult, args: &Diagnose) -> String {
    let values = found.draft.found();
    let from = |key: &str| {
        let (_, _, from) = values.iter().find(|(other, ..)| *other == key)?;
        Some(format!("   ({from})"))
    };
    let from = |key: &str| from(key).unwrap_or_default();
    let mut lines =
        vec!["There is no taskdiag.toml here. By what this folder shows, taskdiag would".to_owned()];
    let mut line = |name: &str, what: String| lines.push(format!("  {name:<10} {what}"));
    if let (Some(api), None) = (&config.api, &args.task) {
        for (name, what) in request(config, api, &from) {
            line(name, what);
        }
    }
    if let (Some(submit), None) = (&config.submit, &args.task) {
        let command = submit.program.command.join(" ");
        line(
            "run",
            format!("{command}, which sends the task{}", from("submit.command")),
        );
    }
    let broker = &config.broker;
    let address = format!(
        "{}:{}, vhost `{}`",
        broker.amqp.host(),
        broker.amqp.port(),
        broker.vhost
    );
    line(
        "watch",
        format!("queue `{}` on {address}{}", broker.queue, from("broker.amqp_url")),
    );
    if args.task.is_none() && broker.trace != Trace::Off {
        line(
            "switch on",
            "message tracing in that vhost while it looks, and off again".into(),
        );
    }
    if let Some(database) = &config.database {
        let url = &database.url;
        let place = format!("{}:{}/{}", url.host(), url.port(), url.vhost());
        line(
            "read",
            format!("table `{}` on {place}{}", database.table, from("database.url")),
        );
    }
    for (name, log) in [("API", &config.api_log), ("worker", &config.worker.log)] {
        for file in &log.files {
            line("read", format!("the {name}'s log {}", file.display()));
        }
        if let Some(command) = &log.command {
            line(
                "run",
                format!("{}, which prints the {name}'s log", command.join(" ")),
            );
        }
    }
    for asked in &found.contacted {
        line("has asked", asked.clone());
    }
    for guess in guesses(config, found, args) {
        line(
            "",
            format!("! {guess} is an example or a guess: is it the right one?"),
        );
    }
    for stranger in strangers(config, found) {
        line("", format!("! {}: is it yours?", stranger.why));
    }
    let mut used: Vec<&str> = found
        .values
        .iter()
        .filter(|(name, value)| !value.expose_secret().is_empty() && found.draft.refers_to(name))
        .map(|(name, _)| name.as_str())
        .collect();
    used.sort_unstable();
    if !used.is_empty() {
        line(
            "with",
            format!("the project's own {} (not shown)", used.join(", ")),
        );
    }
    format!("{}\n", lines.join("\n"))
}

/// The request that sends the task.
fn request(config: &Config, api: &Api, from: &dyn Fn(&str) -> String) -> Vec<(&'static str, String)> {
    let mut url = api.url.clone();
    let _ = url.set_username("");
    let _ = url.set_password(None);
    let path = api.submit_path.trim_start_matches('/');
    let url = url.as_str().trim_end_matches('/');
    let body = scrubber(config, true).text(&api.body.to_string());
    let body = match api.is_form {
        true => ("the form", format!("{body}{}", from("api.form"))),
        false => ("the body", format!("{body}{}", from("api.body"))),
    };
    let mut lines = vec![
        ("POST to", format!("{url}/{path}{}", from("api.submit_path"))),
        body,
    ];
    lines.extend(api.files.iter().map(|file| {
        let what = format!("{} as {}{}", file.name, file.field, from("api.files"));
        ("the file", what)
    }));
    let login = api.login.as_ref();
    lines.extend(login.map(|login| ("log in at", format!("{}{}", login.path, from("api.login")))));
    lines
}

fn asked(question: &str) -> bool {
    say(&format!("{question} [y/N] "));
    is_yes(&answer())
}

fn answer() -> String {
    let mut answer = String::new();
    let read = std::io::stdin().lock().read_line(&mut answer);
    read.map_or_else(|_| String::new(), |_| answer)
}

fn is_yes(answer: &str) -> bool {
    matches!(answer.trim().to_lowercase().as_str(), "y" | "yes")
}

/// The verdict is out: a session that was left alone ends all the same. `None`: nobody answered.
fn asked_within(question: &str, patience: Duration) -> Option<bool> {
    say(&format!("{question} [y/N] "));
    let (told, hears) = mpsc::channel();
    // Whoever waits for a line cannot be called off: the thread ends with the program.
    std::thread::spawn(move || told.send(answer()));
    hears.recv_timeout(patience).ok().map(|answer| is_yes(&answer))
}

impl Discovered {
    /// Afterwards: the next run need not look again.
    pub fn offer_to_save(&self, args: &Diagnose) {
        if args.yes {
            return;
        }
        match asked_within("Save these settings as taskdiag.toml?", PATIENCE) {
            Some(true) => {}
            Some(false) => return,
            None => {
                say("\nnothing is saved; `taskdiag init` writes the same file\n");
                return;
            }
        }
        let path = PathBuf::from("taskdiag.toml");
        match super::init::write(&path, &self.text) {
            Ok(()) => {
                let mut notes = vec![
                    "taskdiag.toml is written; a comment beside each value says where it was seen".to_owned(),
                ];
                // It names variables, whose values this run had from that file.
                if self.text.contains("${") && PathBuf::from(".env").is_file() {
                    notes.push("before the next run: `set -a; . ./.env; set +a`".into());
                }
                super::note(&notes);
            }
            Err(error) => super::complain(&error),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::is_loopback;

    #[test]
    fn this_machine_is_this_machine() {
        for (host, here) in [
            ("localhost", true),
            ("127.0.0.1", true),
            ("[::1]", true),
            ("db", false),
            ("10.0.0.1", false),
            ("127.0.0.1.example.com", false),
        ] {
            assert_eq!(is_loopback(host), here, "{host}");
        }
    }
}
