//! A worker's programs, and what is theirs to be set.

use crate::framework::WorkerShape;

pub(super) const WORKER: WorkerShape = WorkerShape {
    programs: &["dramatiq", "dramatiq-gevent", "rundramatiq"],
    debug_flag: "-v",
    start_example: "[worker] command = [\"dramatiq\", \"-v\", \"app.tasks\"], and [api] command likewise",
    misuse,
    packages: &["django-dramatiq", "dramatiq", "flask-dramatiq"],
    package_prefix: "dramatiq-",
    variable_prefix: "DRAMATIQ_",
    broker_variable: "DRAMATIQ_BROKER_URL",
    test_switches: &["DRAMATIQ_TESTING"],
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
