//! Which differences come first, and why.
//!
//! What was given to a process stands above what followed from it: another broker address, a missing
//! consumer or a new queue argument is often the consequence of a variable, never its cause. Among
//! what was given, first what a verdict itself names; then what decides whether and where messages
//! travel (a test switch, the broker, the database), the code that runs, the libraries that carry the
//! message, how it was started, and all other variables; the interpreter and other packages; what
//! the services look like; last what hardly ever matters.

use super::difference::{Difference, FactValue, Side, Subject};
use crate::diagnosis::{Stage, Verdict, is_database_variable, is_tuning};
use crate::framework;
use crate::timeline::Setup;

/// Smaller is more telling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Relevance {
    /// The verdict names it.
    Named,
    TestSwitch,
    BrokerVariable,
    DatabaseVariable,
    Code,
    Driver,
    Start,
    Variable,
    Interpreter,
    Package,
    Service,
    User,
    Cosmetic,
}

impl Relevance {
    /// Why such a difference may explain a verdict.
    pub fn why(self) -> Option<&'static str> {
        Some(match self {
            Relevance::Named => "the verdict names it",
            Relevance::TestSwitch => "a test switch makes an application keep messages to itself",
            Relevance::BrokerVariable => "it may lead to another broker, vhost or queue",
            Relevance::DatabaseVariable => "it may lead to another database",
            Relevance::Code => "other code runs",
            Relevance::Driver => "this library carries the message or the row",
            Relevance::Start => "it was started differently",
            Relevance::Variable => "the application may read it",
            Relevance::Interpreter => "the code runs on another Python",
            Relevance::Package => "other library code runs",
            Relevance::Service => "the services are not the same",
            Relevance::User | Relevance::Cosmetic => return None,
        })
    }
}

/// Libraries between the application, the broker and the database.
const DRIVERS: &[&str] = &[
    "aio-pika",
    "amqp",
    "asyncpg",
    "pika",
    "psycopg",
    "psycopg-binary",
    "psycopg-c",
    "psycopg2",
    "psycopg2-binary",
    "sqlalchemy",
    "sqlmodel",
];

/// Of these the ones that carry rows, not messages.
pub(super) fn is_database_driver(package: &str) -> bool {
    package.starts_with("psycopg") || matches!(package, "asyncpg" | "sqlalchemy" | "sqlmodel")
}

/// A library between the application, the broker and the database.
pub fn is_driver(package: &str) -> bool {
    DRIVERS.contains(&package)
        || framework::ALL
            .iter()
            .any(|framework| framework.worker.is_package(package))
}

/// Variables of shells, locales and build machines.
const COSMETIC: &[&str] = &[
    "CI",
    "DISPLAY",
    "EDITOR",
    "HOME",
    "HOSTNAME",
    "LANG",
    "LANGUAGE",
    "LOGNAME",
    "MAIL",
    "NVM_BIN",
    "NVM_DIR",
    "PAGER",
    "PATH",
    "PS1",
    "PYTHONPATH",
    "SHELL",
    "TERM",
    "TMPDIR",
    "TMP",
    "TEMP",
    "USER",
    "USERNAME",
    "VIRTUAL_ENV",
    "VIRTUAL_ENV_PROMPT",
    "VISUAL",
    "GPG_KEY",
];

const COSMETIC_PREFIXES: &[&str] = &[
    "BUILD_",
    "BUILDKITE",
    "CI_",
    "CIRCLE",
    "COLORTERM",
    "DBUS_",
    "GITHUB_",
    "GITLAB_",
    "JENKINS_",
    "KUBERNETES_",
    "LC_",
    "LESS",
    "PYTHON_PIP",
    "PYTHON_SHA",
    "PYTHON_GET_PIP",
    "RUNNER_",
    "SUDO_",
    "SSH_",
    "TERM_",
    "TRAVIS",
    "VSCODE_",
    "XDG_",
];

/// Whether a value, if it is a word, means "on".
pub(super) fn is_on(value: &str) -> bool {
    !matches!(
        value.to_lowercase().as_str(),
        "" | "0" | "false" | "no" | "off" | "none"
    )
}

/// A switch between test and real life, by its name: `DRAMATIQ_TESTING`, `UNIT_TESTS`, `MYAPP_TEST`.
pub fn is_test_switch(name: &str) -> bool {
    let upper = name.to_uppercase();
    let mut words = upper.split('_');
    // Where tests lie, or what they use, switches nothing.
    let is_place = words.clone().any(|word| {
        matches!(
            word,
            "DIR" | "PATH" | "DATA" | "FILE" | "URL" | "HOST" | "PORT" | "DB"
        )
    });
    upper == "PYTEST_CURRENT_TEST"
        || (!is_place
            && words.any(|word| matches!(word, "TEST" | "TESTS" | "TESTING" | "UNITTEST" | "EAGER" | "STUB")))
}

/// A name of the kind of installation whose value is a test's.
fn is_test_environment(name: &str, values: &[FactValue; 2]) -> bool {
    let upper = name.to_uppercase();
    let names_it = upper == "ENV"
        || upper.ends_with("_ENV")
        || upper == "ENVIRONMENT"
        || upper.ends_with("_SETTINGS_MODULE");
    names_it
        && values.iter().any(|value| match value {
            FactValue::Seen(text) => text
                .to_lowercase()
                .split(['.', '_', '-'])
                .any(|word| matches!(word, "test" | "tests" | "testing")),
            _ => false,
        })
}

pub fn is_broker_variable(name: &str) -> bool {
    let upper = name.to_uppercase();
    if is_tuning(&upper) {
        return false;
    }
    ["RABBIT", "AMQP", "BROKER", "PIKA", "VHOST"]
        .iter()
        .any(|word| upper.contains(word))
        || framework::ALL
            .iter()
            .any(|framework| upper.starts_with(framework.worker.variable_prefix))
        || upper
            .split('_')
            .any(|word| matches!(word, "QUEUE" | "QUEUES" | "MQ"))
}

/// The relevance of a difference by itself. `code_known`: where the code lies is compared directly, so
/// that the variables that decide it add nothing.
pub fn relevance(subject: Subject, name: &str, values: &[FactValue; 2], code_known: bool) -> Relevance {
    match subject {
        Subject::Variable | Subject::DotenvVariable => {
            let both_off = values.iter().all(|value| match value {
                FactValue::Seen(text) => !is_on(text),
                FactValue::Masked => false,
                FactValue::Absent => true,
            });
            if (is_test_switch(name) && !both_off) || is_test_environment(name, values) {
                Relevance::TestSwitch
            } else if is_test_switch(name) {
                // Off on both sides.
                Relevance::Variable
            } else if name == "PYTHONPATH" && !code_known {
                Relevance::Code
            } else if COSMETIC.contains(&name)
                || COSMETIC_PREFIXES.iter().any(|prefix| name.starts_with(prefix))
            {
                Relevance::Cosmetic
            } else if is_broker_variable(name) {
                Relevance::BrokerVariable
            } else if is_database_variable(name) {
                Relevance::DatabaseVariable
            } else if name.ends_with("_SERVICE_HOST")
                || name.ends_with("_SERVICE_PORT")
                || name.contains("_PORT_")
            {
                // What Kubernetes and Docker links set for every service there is.
                Relevance::Cosmetic
            } else {
                Relevance::Variable
            }
        }
        Subject::Package if is_driver(name) => Relevance::Driver,
        Subject::WorkerVersion => Relevance::Driver,
        Subject::RegisteredTask => Relevance::Code,
        Subject::WorkerSetting => Relevance::Start,
        Subject::Package => Relevance::Package,
        Subject::CodeFolder => Relevance::Code,
        Subject::WorkingDirectory if !code_known => Relevance::Code,
        Subject::Command => Relevance::Start,
        Subject::Interpreter => Relevance::Interpreter,
        Subject::BrokerAddress
        | Subject::Vhost
        | Subject::DatabaseAddress
        | Subject::BrokerVersion
        | Subject::DatabaseVersion
        | Subject::Queue
        | Subject::Consumers
        | Subject::ConsumerHosts
        | Subject::Setting => Relevance::Service,
        Subject::User => Relevance::User,
        Subject::InterpreterFolder | Subject::WorkingDirectory => Relevance::Cosmetic,
    }
}

/// The whole system was moved, taskdiag's own settings included: API and worker both have another
/// URL, and it differs only in what taskdiag was told as well. Tests that make a vhost and a database
/// for each run do that.
pub fn moved_together(difference: &Difference, setups: [&Setup; 2]) -> bool {
    let [one, other] = setups;
    let differ = |of: fn(&Setup) -> Option<&str>| of(one) != of(other);
    let broker = differ(|setup| Some(&setup.broker));
    let vhost = differ(|setup| Some(&setup.vhost));
    let address = differ(|setup| setup.database.as_deref()?.split('/').next());
    let name = differ(|setup| setup.database.as_deref()?.split_once('/').map(|(_, name)| name));
    difference.subject == Subject::Variable
        && difference.of == [Side::Api, Side::Worker]
        && !difference.parts.is_empty()
        && difference.parts.iter().all(|part| match part.as_str() {
            "path" => vhost || name,
            "host" | "port" => broker || address,
            _ => false,
        })
}

/// A verdict's own words name this variable, or the module that it could not import.
pub fn is_named(verdict: &Verdict, subject: Subject, name: &str) -> bool {
    let texts = || {
        verdict
            .cause
            .iter()
            .chain(&verdict.contributing)
            .map(|cause| cause.summary.as_str())
            .chain(verdict.notes.iter().map(String::as_str))
    };
    match subject {
        Subject::Variable | Subject::DotenvVariable => {
            name.len() >= 3 && texts().any(|text| crate::framework::contains_token(text, name))
        }
        Subject::Package => {
            let module = name.replace('-', "_");
            texts().any(|text| {
                text.contains("No module named") && crate::framework::contains_token(text, &module)
            })
        }
        _ => false,
    }
}

/// The party that a task which stopped here has to thank for it.
pub fn blamed(verdict: &Verdict) -> Option<Side> {
    if verdict.exit_code == crate::error::exit::OK {
        return None;
    }
    Some(match verdict.stage {
        None | Some(Stage::Submitted | Stage::Recorded) => Side::Api,
        Some(_) => Side::Worker,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(name: &str, one: FactValue, other: FactValue) -> Relevance {
        relevance(Subject::Variable, name, &[one, other], true)
    }

    #[test]
    fn variables_are_told_by_their_names() {
        let seen = |text: &str| FactValue::Seen(text.into());
        assert_eq!(
            of("DRAMATIQ_TESTING", seen("1"), FactValue::Absent),
            Relevance::TestSwitch
        );
        assert_eq!(
            of("OPS_TEST", FactValue::Masked, FactValue::Absent),
            Relevance::TestSwitch
        );
        assert_ne!(
            of("UNIT_TESTS", seen("0"), FactValue::Absent),
            Relevance::TestSwitch,
            "both off"
        );
        assert_eq!(
            of("APP_ENV", seen("test"), seen("production")),
            Relevance::TestSwitch
        );
        assert_eq!(
            of("APP_ENV", seen("staging"), seen("production")),
            Relevance::Variable
        );
        assert_eq!(
            of("DRAMATIQ_TESTING", seen("0"), FactValue::Absent),
            Relevance::Variable
        );
        assert_eq!(
            of("TEST_DATA_DIR", FactValue::Masked, FactValue::Absent),
            Relevance::Variable
        );
        assert_eq!(
            of("DATABASE_POOL_SIZE", seen("5"), seen("20")),
            Relevance::Variable
        );
        assert_eq!(
            of("RABBITMQ_URL", FactValue::Masked, FactValue::Masked),
            Relevance::BrokerVariable
        );
        assert_eq!(
            of("DATABASE_URL", FactValue::Masked, FactValue::Masked),
            Relevance::DatabaseVariable
        );
        assert_eq!(
            of("PGHOST", FactValue::Masked, FactValue::Absent),
            Relevance::DatabaseVariable
        );
        assert_eq!(
            of("LATEST_TAG", FactValue::Masked, FactValue::Masked),
            Relevance::Variable,
            "no switch"
        );
        assert_eq!(
            of("GITHUB_SHA", FactValue::Masked, FactValue::Masked),
            Relevance::Cosmetic
        );
        assert_eq!(of("PYTHONPATH", seen("a"), seen("b")), Relevance::Cosmetic);
        let unknown = relevance(Subject::Variable, "PYTHONPATH", &[seen("a"), seen("b")], false);
        assert_eq!(unknown, Relevance::Code);
    }

    #[test]
    fn what_was_given_stands_above_what_followed() {
        assert!(Relevance::Variable < Relevance::Service && Relevance::Package < Relevance::Service);
        assert!(Relevance::TestSwitch < Relevance::Driver && Relevance::Driver < Relevance::Package);
        assert!(is_driver("pika") && is_driver("dramatiq-crontab") && !is_driver("requests"));
    }
}
