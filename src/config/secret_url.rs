//! A URL that may hold a password.

use secrecy::{ExposeSecret, SecretString};
use url::Url;

/// A URL whose password never shows.
#[derive(Clone)]
pub struct SecretUrl(SecretString);

impl SecretUrl {
    pub(super) fn new(url: &Url) -> Self {
        Self(SecretString::from(url.as_str().to_owned()))
    }

    pub fn from_text(url: &str) -> Self {
        Self(SecretString::from(url.to_owned()))
    }

    /// The whole thing, for the one call that connects.
    pub fn expose(&self) -> &str {
        self.0.expose_secret()
    }

    fn parsed(&self) -> Option<Url> {
        Url::parse(self.expose()).ok()
    }

    pub fn username(&self) -> String {
        self.parsed()
            .map(|url| decode(url.username()))
            .unwrap_or_default()
    }

    pub fn password(&self) -> Option<SecretString> {
        self.parsed()
            .and_then(|url| url.password().map(|word| SecretString::from(decode(word))))
    }

    /// Scheme, host, port and path; nothing that authenticates.
    pub fn redacted(&self) -> String {
        let Some(mut url) = self.parsed() else {
            return "(not a URL)".into();
        };
        let _ = url.set_username("");
        let _ = url.set_password(None);
        url.set_query(None);
        url.to_string()
    }

    pub fn host(&self) -> String {
        self.parsed()
            .and_then(|url| {
                url.host_str()
                    .map(|host| host.trim_matches(['[', ']']).to_owned())
            })
            .unwrap_or_default()
    }

    /// Explicit port, or the scheme's.
    pub fn port(&self) -> u16 {
        self.parsed()
            .and_then(|url| {
                url.port_or_known_default().or(match url.scheme() {
                    "amqp" => Some(5672),
                    "amqps" => Some(5671),
                    "postgres" | "postgresql" => Some(5432),
                    _ => None,
                })
            })
            .unwrap_or_default()
    }

    /// The vhost of an AMQP URL: the path, decoded; empty path means `/`.
    pub fn vhost(&self) -> String {
        self.parsed()
            .map(|url| decode(url.path().strip_prefix('/').unwrap_or_default()))
            .filter(|vhost| !vhost.is_empty())
            .unwrap_or_else(|| "/".into())
    }
}

impl std::fmt::Debug for SecretUrl {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.redacted())
    }
}

fn decode(text: &str) -> String {
    percent_encoding::percent_decode_str(text)
        .decode_utf8_lossy()
        .into_owned()
}
