//! What a process of a place runs in, hashed there.

use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::json;
use tokio::time::Instant;

use super::answer::ask;
use super::channel::Channel;
use super::unreachable::Trouble;
use crate::timeline::Process;
use crate::timeline::environment::{Distribution, Environment, Found, Interpreter, Masked, Variable};
use crate::timeline::scrub::printable;
use crate::vantage::process::describe::is_told;
use crate::vantage::process::mask::{Masker, harmless_names};

#[derive(Deserialize)]
struct Environ {
    /// Absent: it may not be read.
    environ: Option<BTreeMap<String, Value>>,
}

#[derive(Deserialize)]
struct Value {
    empty: bool,
    plain: Option<String>,
    masked: Option<Masked>,
}

#[derive(Deserialize)]
struct Packages {
    packages: Option<BTreeMap<String, String>>,
    #[serde(default)]
    version: String,
    #[serde(default)]
    prefix: String,
    #[serde(default, rename = "virtual")]
    is_virtual: bool,
    #[serde(default)]
    executable: String,
}

/// Its variables; `None`: they may not be read.
pub(super) async fn variables(
    channel: &mut Channel,
    pid: i32,
    masker: &Masker,
    deadline: Instant,
) -> Result<Option<BTreeMap<String, Variable>>, Trouble> {
    let (shown, prefixes) = harmless_names();
    let question = json!({
        "ask": "environ", "pid": pid, "shown": shown, "prefixes": prefixes, "key": masker.key_in_words(),
    });
    let answer: Environ = ask(channel, question, deadline).await?;
    let variable = |(name, value): (String, Value)| {
        let told = match value.empty {
            true => Variable::Plain(String::new()),
            false => masker.seen_elsewhere(&name, value.plain, value.masked),
        };
        (printable(&name), told)
    };
    Ok(answer.environ.map(|all| all.into_iter().map(variable).collect()))
}

/// Names, and the values of those that tell something, go with the process.
pub(super) fn note(process: &mut Process, variables: &BTreeMap<String, Variable>) {
    process.env_names = variables.keys().cloned().collect();
    let told = variables.iter().filter(|(name, _)| is_told(name));
    process.env = told
        .map(|(name, value)| {
            let shown = match value {
                Variable::Plain(value) => value.clone(),
                _ => "***".to_owned(),
            };
            (name.clone(), shown)
        })
        .collect();
}

/// The whole of it.
pub(super) async fn environment(
    channel: &mut Channel,
    process: &Process,
    own: i32,
    (variables, found): (Option<BTreeMap<String, Variable>>, Vec<Found>),
    masker: &Masker,
    deadline: Instant,
) -> Result<Environment, Trouble> {
    let question = json!({ "ask": "packages", "pid": own });
    let packages: Packages = ask(channel, question, deadline).await?;
    let mut environment = Environment {
        pid: process.pid,
        found,
        command: process.command.clone(),
        uid: process.user.as_deref().and_then(|uid| uid.parse().ok()),
        cwd: process.cwd.clone(),
        key: masker.id.clone(),
        ..Environment::default()
    };
    match variables {
        Some(variables) => {
            environment.variables = Some(variables);
            environment.hidden.extend(masker.trouble.clone());
        }
        None => environment
            .hidden
            .push("its variables belong to another user than [worker] exec runs as there".to_owned()),
    }
    if let Some(found) = packages.packages {
        let distribution = |(name, version): (String, String)| Distribution {
            name: printable(&name),
            version: printable(&version),
            ..Distribution::default()
        };
        environment.distributions = Some(found.into_iter().map(distribution).collect());
        environment.interpreter = Some(Interpreter {
            implementation: "python".to_owned(),
            version: Some(printable(&packages.version)),
            prefix: printable(&packages.prefix),
            virtual_environment: packages.is_virtual,
            executable: printable(&packages.executable),
        });
    }
    Ok(environment)
}

#[cfg(test)]
mod tests {
    use std::ffi::OsStr;

    use super::*;

    /// What is hashed there is compared with what is hashed here.
    #[test]
    fn a_place_hashes_as_this_machine_does() {
        let masker = Masker::with(vec![7; 32]);
        let script = super::super::channel::SCRIPT;
        let functions = script.split("def main()").next().expect("the script");
        let values = [
            "hunter2",
            "amqp://lab:s3cret@127.0.0.1:5672/%2F",
            "amqp://rabbitmq",
            "amqp://RABBIT:5672",
            "amqps://u@mq.example.org:5671/vhost?heartbeat=30",
            "postgresql+psycopg://ops:o'p\"s@db:5432/ops",
            "postgresql://ops@[::1]:5432/ops",
            "http://api:80/x/../y",
            "redis://:p%40ss@10.0.0.7:6379/0",
            "a://b c",
        ];
        for value in values {
            let question = format!(
                "{functions}\nprint(json.dumps(masked(bytes.fromhex('{}'), b'NAME', sys.argv[1].encode())))",
                masker.key_in_words().expect("a key")
            );
            let output = std::process::Command::new("python3")
                .args(["-I", "-c", &question, value])
                .output()
                .expect("python3");
            let there: Masked = serde_json::from_slice(&output.stdout).expect("a hash");
            let Variable::Masked(here) = masker.variable(OsStr::new("NAME"), OsStr::new(value)) else {
                panic!("{value} is shown");
            };
            assert_eq!(there.value, here.value, "{value}");
            // Parts are left out where two parsers may disagree.
            assert!(there.parts.is_empty() || there.parts == here.parts, "{value}");
        }
    }
}
