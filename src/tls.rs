//! One TLS implementation, ring, for HTTP, AMQP and PostgreSQL.

/// The start of every HTTP client, here and in tests.
///
/// reqwest comes without a TLS implementation and panics where the process has none; lapin and sqlx
/// bring ring themselves.
pub fn http() -> reqwest::ClientBuilder {
    // An error means that it was installed before.
    let _ = rustls::crypto::ring::default_provider().install_default();
    #[allow(clippy::disallowed_methods)] // The one place.
    reqwest::Client::builder()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_client_speaks_https() {
        assert!(super::http().https_only(true).build().is_ok());
    }
}
