//! A worker's programs, and what is theirs to be set.

use crate::framework::WorkerShape;

pub(super) const WORKER: WorkerShape = WorkerShape {
    programs: &["dramatiq", "dramatiq-gevent", "rundramatiq"],
    title: None,
    subcommand: None,
    start: &["dramatiq", "-v", ""],
    telling_flags: &["-v", "--verbose"],
    without_flags: "without -v it logs neither deliveries nor successes: the verdict is weaker",
    debug_flag: "-v",
    start_example: "[worker] command = [\"dramatiq\", \"-v\", \"app.tasks\"], and [api] command likewise",
    misuse,
    mistakes,
    queues,
    packages: &["django-dramatiq", "dramatiq", "flask-dramatiq"],
    package_prefix: "dramatiq-",
    variable_prefix: "DRAMATIQ_",
    broker_variable: "DRAMATIQ_BROKER_URL",
    default_broker: None,
    test_switches: &["DRAMATIQ_TESTING"],
    test_urls: &[],
    tuning_variables: &[
        "dramatiq_queue_prefetch",
        "dramatiq_delay_queue_prefetch",
        "dramatiq_restart_delay",
    ],
    tuning_prefixes: &[
        "dramatiq_queue_",
        "dramatiq_delay_",
        "dramatiq_restart_",
        "dramatiq_dead_",
        "dramatiq_worker_",
    ],
};

/// The queues that `-Q`, `--queues` names, each a word of its own; without the flag it consumes all that
/// its actors are on.
fn queues(command: &[String]) -> Option<Vec<String>> {
    let mut words = command.iter();
    let first = words.find_map(|word| match word.as_str() {
        "-Q" | "--queues" => Some(None),
        word => word
            .strip_prefix("--queues=")
            .or_else(|| word.strip_prefix("-Q").filter(|_| !word.starts_with("--")))
            .map(|queue| Some(queue.to_owned())),
    })?;
    let more = words.take_while(|word| !word.starts_with('-')).cloned();
    Some(first.into_iter().chain(more).collect())
}

fn mistakes(command: &[String]) -> Vec<String> {
    let mut found = Vec::new();
    for (at, word) in command.iter().enumerate() {
        let next = command.get(at + 1).map_or("", String::as_str);
        let is_number = !next.is_empty() && next.bytes().all(|byte| byte.is_ascii_digit());
        if matches!(word.as_str(), "-v" | "--verbose") && is_number {
            found.push(format!(
                "`{word} {next}`: {word} takes no value, so the worker would import a module called {next} and end; write {word} alone"
            ));
        }
        let queues = match word.strip_prefix("--queues=") {
            Some(value) => value,
            None if matches!(word.as_str(), "--queues" | "-Q") => next,
            None => continue,
        };
        if queues.contains(',') {
            found.push(format!(
                "`--queues {queues}` is one queue with commas in its name, which nothing is sent to; write --queues {}",
                queues.replace(',', " ")
            ));
        }
    }
    found
}

fn misuse(command: &[String], usage_error: bool, text: &str) -> Option<String> {
    Some(match number_after_verbose(command, usage_error, text)? {
        Number::Apart { flag, number } => format!(
            "the `{number}` after `{flag}` is read as the broker module, since `{flag}` takes no value ({text}); write `-v`, or `-vv`"
        ),
        Number::Joined { word } => {
            format!("`{word}`: `-v` takes no value ({text}); write `-v`, or `-vv`")
        }
    })
}

/// A number meant as a value of `-v`, which never took one in any release of Dramatiq.
enum Number {
    /// `-v 2`
    Apart { flag: String, number: String },
    /// `-v2`, `--verbose=2`
    Joined { word: String },
}

/// Only where the failure is what Dramatiq makes of such a number.
fn number_after_verbose(command: &[String], usage_error: bool, text: &str) -> Option<Number> {
    let digits = |word: &str| !word.is_empty() && word.chars().all(|c| c.is_ascii_digit());
    let is_flag = |word: &str| {
        word == "--verbose"
            || word
                .strip_prefix('-')
                .is_some_and(|letters| !letters.is_empty() && letters.chars().all(|c| c == 'v'))
    };
    let module = text
        .strip_prefix("ModuleNotFoundError: No module named '")
        .map(|rest| rest.trim_end_matches('\''))
        .filter(|name| digits(name));
    let apart = command
        .windows(2)
        .find(|pair| is_flag(&pair[0]) && digits(&pair[1]));
    if let Some([flag, number]) = apart
        && (usage_error || module == Some(number.as_str()))
    {
        return Some(Number::Apart {
            flag: flag.clone(),
            number: number.clone(),
        });
    }
    let joined = command.iter().find(|word| {
        let value = word.strip_prefix("--verbose=").or_else(|| {
            let rest = word.strip_prefix("-v")?;
            Some(rest.trim_start_matches('v'))
        });
        value.is_some_and(digits)
    });
    if let Some(word) = joined.filter(|_| usage_error) {
        return Some(Number::Joined { word: word.clone() });
    }
    // The command is not known: nothing else names a module like that.
    module.filter(|_| command.is_empty()).map(|number| Number::Apart {
        flag: "-v".into(),
        number: number.to_owned(),
    })
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
        assert_eq!(of("dramatiq -v app").as_deref(), None);
        assert_eq!(of("dramatiq app -Q a b --threads 2").as_deref(), Some("a+b"));
        assert_eq!(of("dramatiq -Q a -- app").as_deref(), Some("a"));
        assert_eq!(of("dramatiq app --queues=a,b").as_deref(), Some("a,b"));
        assert_eq!(of("dramatiq app -Qa").as_deref(), Some("a"));
    }
}
