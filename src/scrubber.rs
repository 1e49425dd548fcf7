//! What a configuration's values must never be shown.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD_NO_PAD;
use secrecy::{ExposeSecret, SecretString};

use crate::config::{Config, secrets};
use crate::timeline::scrub::Scrubber;

/// Everything that must never be shown, and the task's arguments.
pub fn scrubber(config: &Config, show_args: bool) -> Scrubber {
    let mut secrets = Vec::new();
    let mut add = |password: Option<SecretString>, user: &str| {
        if let Some(password) = password.filter(|word| word.expose_secret() != user) {
            // As a header has both.
            let both = format!("{user}:{}", password.expose_secret());
            secrets.push(STANDARD_NO_PAD.encode(both).into());
            secrets.push(password);
        }
    };
    for url in [&config.broker.amqp, &config.broker.management] {
        add(url.password(), &url.username());
    }
    if let Some(database) = &config.database {
        add(database.url.password(), &database.url.username());
    }
    if let Some(api) = &config.api {
        add(api.url.password().map(SecretString::from), api.url.username());
        for (_, value) in &api.headers {
            let value = value.expose_secret();
            let bare = value.split_once(' ').map_or(value, |(_, rest)| rest);
            add(Some(SecretString::from(bare.to_owned())), "");
        }
    }
    let login = config.api.iter().filter_map(|api| api.login.as_ref());
    for secret in login.flat_map(|login| &login.secrets) {
        add(Some(secret.clone()), "");
    }
    for secret in secrets::secrets(config) {
        add(Some(secret), "");
    }
    let mut scrubber = Scrubber::new(secrets, show_args);
    if let Some(api) = &config.api {
        let actor = config.broker.actor.as_deref().unwrap_or_default();
        scrubber.hide_arguments(&api.body, &[&config.broker.queue, actor]);
    }
    scrubber
}
