//! A worker's programs, and what is theirs to be set.

use crate::framework::{DefaultBroker, WorkerShape};

pub(super) const WORKER: WorkerShape = WorkerShape {
    programs: &["celery"],
    // With `setproctitle` installed: `[celeryd: NODE:MainProcess] -active- (-A shop worker)`.
    title: Some("[celeryd: "),
    // Beat, Flower and `inspect` are started by the same program.
    subcommand: Some("worker"),
    start: &["celery", "-A", "", "worker", "-l", "INFO"],
    telling_flags: &[
        "INFO",
        "info",
        "DEBUG",
        "debug",
        "--loglevel=INFO",
        "--loglevel=info",
        "-lINFO",
        "-linfo",
    ],
    without_flags: "without -l INFO it logs neither deliveries nor successes: the verdict is weaker",
    debug_flag: "--loglevel=INFO",
    start_example: "[worker] command = [\"celery\", \"-A\", \"app\", \"worker\", \"-l\", \"INFO\"], and [api] command likewise",
    misuse,
    mistakes,
    queues,
    packages: &["celery", "django-celery-beat", "django-celery-results", "kombu"],
    package_prefix: "celery-",
    variable_prefix: "CELERY_",
    broker_variable: "CELERY_BROKER_URL",
    default_broker: Some(&DEFAULT_BROKER),
    test_switches: &["CELERY_TASK_ALWAYS_EAGER"],
    test_urls: &[
        "memory://",
        "memory:///",
        "memory://localhost/",
        "memory://localhost//",
    ],
    tuning_variables: &["celery_task_time_limit", "celery_worker_prefetch_multiplier"],
    tuning_prefixes: &["celery_task_", "celery_worker_"],
};

/// `amqp://guest@localhost:5672//`.
pub const DEFAULT_BROKER: DefaultBroker = DefaultBroker {
    port: "5672",
    user: "guest",
    vhost: "/",
    written: &["@127.0.0.1:5672//", "@localhost:5672//"],
};

/// `-Q a, b` is two words, and the second is read as something else.
fn misuse(command: &[String], usage_error: bool, text: &str) -> Option<String> {
    let (flag, list, next) = torn_list(command).filter(|_| usage_error)?;
    Some(format!(
        "the blank in `{flag} {list} {next}` ends the list of queues ({text}); write `{list}{next}`"
    ))
}

fn mistakes(command: &[String]) -> Vec<String> {
    let found = torn_list(command).map(|(flag, list, next)| {
        format!("`{flag} {list} {next}`: the blank ends the list of queues, so the worker would not start; write `{list}{next}`")
    });
    found.into_iter().collect()
}

/// The flag, what it gets, and the word that was meant to belong to that.
fn torn_list(command: &[String]) -> Option<(&str, &str, &str)> {
    let at = command
        .iter()
        .position(|word| word == "-Q" || word == "--queues")?;
    let list = command.get(at + 1).filter(|list| list.ends_with(','))?;
    Some((&command[at], list, command.get(at + 2)?))
}

/// The queues that `-Q`, `--queues` names, with commas between them; without the flag it consumes all that
/// are configured.
fn queues(command: &[String]) -> Option<Vec<String>> {
    let list = command
        .iter()
        .enumerate()
        .find_map(|(at, word)| match word.as_str() {
            "-Q" | "--queues" => command.get(at + 1).map(String::as_str),
            word => word
                .strip_prefix("--queues=")
                .or_else(|| word.strip_prefix("-Q").filter(|_| !word.starts_with("--"))),
        })?;
    let names = list.trim_start_matches('=').split(',');
    Some(names.filter(|name| !name.is_empty()).map(str::to_owned).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn queues_of_a_command_line() {
        let of = |line: &str| {
            let words: Vec<String> = line.split(' ').map(str::to_owned).collect();
            queues(&words).map(|queues| queues.join("+"))
        };
        assert_eq!(of("celery -A shop worker -l INFO"), None);
        assert_eq!(of("celery -A shop worker -Q a,b").as_deref(), Some("a+b"));
        assert_eq!(of("celery -A shop worker --queues=a").as_deref(), Some("a"));
    }

    #[test]
    fn a_worker_that_names_itself() {
        let is_one = |words: &[&str]| {
            let words: Vec<String> = words.iter().map(|word| (*word).to_owned()).collect();
            WORKER.is_started_by(&words)
        };
        assert!(is_one(&[
            "[celeryd: celery@vm:MainProcess] -active- (-A shop worker -l INFO)"
        ]));
        assert!(is_one(&["[celeryd: celery@vm:ForkPoolWorker-1]"]));
        assert!(!is_one(&["[celery beat]"]));
    }

    #[test]
    fn a_blank_in_the_list_of_queues() {
        let command = |words: &str| words.split(' ').map(str::to_owned).collect::<Vec<_>>();
        let said = "Unable to parse extra configuration from command line.";
        let found = misuse(&command("celery -A shop worker -Q a, b"), true, said).expect("it is found");
        assert!(found.contains("write `a,b`"), "{found}");
        assert_eq!(misuse(&command("celery -A shop worker -Q a,b"), true, said), None);
        assert!(mistakes(&command("celery -A shop worker -Q a, b"))[0].contains("write `a,b`"));
        assert!(mistakes(&command("celery -A shop worker -Q a,b -c 2")).is_empty());
        assert_eq!(
            misuse(&command("celery -A shop worker -Q a, b"), false, said),
            None
        );
    }
}
