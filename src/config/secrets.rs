//! Which values of a configuration must never be shown.

use secrecy::ExposeSecret;

use super::Config;

/// A value of which nothing says that it is none: neither a word, a number, a path, a host, nor a name
/// that the configuration uses openly.
fn may_be_secret(value: &str, config: &Config) -> bool {
    let broker = &config.broker;
    let table = config.database.as_ref().map(|database| &database.table);
    let open = [
        Some(&broker.queue),
        Some(&broker.vhost),
        broker.actor.as_ref(),
        table,
    ];
    let is_word = value
        .chars()
        .all(|c| c.is_alphabetic() || matches!(c, '_' | '-' | ','));
    let is_number = value
        .chars()
        .all(|c| c.is_ascii_digit() || matches!(c, '.' | ':' | '-' | '_'));
    let is_place = value.contains('/') || value.contains('.');
    value.len() >= 8
        && !is_word
        && !is_number
        && !is_place
        && !value.contains(' ')
        && open.into_iter().flatten().all(|name| name != value)
}

/// Variables of Python, of a shell and of where things lie.
fn is_known(name: &str) -> bool {
    ["PYTHON", "LC_", "XDG_", "UVICORN_", "WEB_"]
        .iter()
        .any(|prefix| name.starts_with(prefix))
        || matches!(
            name,
            "PATH" | "LANG" | "HOME" | "TMPDIR" | "TZ" | "USER" | "SHELL" | "TERM"
        )
}

/// Values of configured variables that must never be shown.
pub fn secrets(config: &Config) -> Vec<secrecy::SecretString> {
    let sounds_secret = |name: &str| {
        let name = name.to_lowercase();
        [
            "password",
            "passwd",
            "secret",
            "pass",
            "token",
            "key",
            "dsn",
            "credential",
            "auth",
            "sign",
            "salt",
        ]
        .iter()
        .any(|word| name.contains(word))
    };
    let submit = config.submit.as_ref().map(|submit| &submit.program);
    let programs = [
        config.api_program.as_ref(),
        config.worker_program.as_ref(),
        submit,
    ];
    let mut found = Vec::new();
    for (name, value) in programs.into_iter().flatten().flat_map(|program| &program.env) {
        if sounds_secret(name) || (!is_known(name) && may_be_secret(value.expose_secret(), config)) {
            found.push(value.clone());
        }
        let url = url::Url::parse(value.expose_secret()).ok();
        let password = url
            .as_ref()
            .and_then(|url| Some((url.username(), url.password()?)));
        if let Some((user, password)) = password
            && user != password
        {
            found.push(password.to_owned().into());
        }
    }
    found
}
