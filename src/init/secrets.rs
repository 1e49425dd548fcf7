//! Texts that must not get into the file, wherever they stand.

use std::collections::BTreeSet;

use secrecy::ExposeSecret as _;

use super::Survey;
use super::address::Address;
use crate::framework;

/// Every text that must not get into the file.
pub fn find(survey: &Survey, addresses: [&Option<Address>; 2]) -> Vec<String> {
    let is_secret = |name: &str| {
        let name = name.to_uppercase();
        // Not the shell's folders.
        !matches!(name.as_str(), "PWD" | "OLDPWD")
            && ["PASS", "PWD", "SECRET", "TOKEN", "KEY"]
                .iter()
                .any(|word| name.contains(word))
    };
    let settings = survey
        .services
        .iter()
        .flat_map(|service| &service.environment)
        .map(|setting| (setting.name.as_str(), setting.value.as_str()));
    let all = survey
        .variables
        .iter()
        .map(|variable| (variable.name.as_str(), variable.value.as_str()))
        .chain(settings);
    let mut secrets = Vec::new();
    for (name, value) in all {
        if is_secret(name) {
            secrets.push(value.to_owned());
        }
        if let Ok(url) = url::Url::parse(value)
            && let Some(password) = url.password()
            && password != url.username()
        {
            secrets.push(password.to_owned());
        }
    }
    for address in addresses.into_iter().flatten() {
        if let Some(full) = &address.full
            && let Some(password) = full.password()
            && password.expose_secret() != full.username()
        {
            secrets.push(password.expose_secret().to_owned());
        }
    }
    // Defaults of images are words that stand everywhere, and so are names of this project.
    let names = names(survey, addresses);
    secrets.retain(|word| {
        !matches!(
            word.as_str(),
            "postgres" | "rabbitmq" | "password" | "example" | "localhost"
        ) && !names.contains(word)
    });
    secrets
}

/// Words that are names here: a password that is one of them cannot be told from the name, and the values are made
/// without passwords.
fn names(survey: &Survey, addresses: [&Option<Address>; 2]) -> BTreeSet<String> {
    let mut names: BTreeSet<String> = survey
        .services
        .iter()
        .map(|service| service.name.clone())
        .collect();
    for framework in framework::ALL {
        names.insert(framework.name.to_owned());
        names.extend(
            framework
                .worker
                .programs
                .iter()
                .map(|&program| program.to_owned()),
        );
        names.extend(framework.worker.subcommand.map(str::to_owned));
    }
    let files = survey.project.python.iter();
    let parts = files.flat_map(|file| file.place.trim_end_matches(".py").split('/'));
    names.extend(parts.map(str::to_owned));
    for full in addresses
        .into_iter()
        .flatten()
        .filter_map(|address| address.full.as_ref())
    {
        names.extend([full.username(), full.host(), full.vhost()]);
    }
    names
}
