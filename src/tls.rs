//! One TLS implementation, ring, for HTTP, AMQP and PostgreSQL.

use std::sync::LazyLock;

mod configured;

pub use configured::client_config;

/// The start of every HTTP client, here and in tests.
///
/// reqwest comes without a TLS implementation and panics where the process has none; lapin and sqlx
/// bring ring themselves.
pub fn http() -> reqwest::ClientBuilder {
    match has_roots() {
        true => builder(),
        // Small images have no CA certificates: `http://` needs none, and a private CA may be all there is.
        false => builder().tls_certs_only([]),
    }
}

/// Some CA certificates were found on this machine.
pub fn has_roots() -> bool {
    static FOUND: LazyLock<bool> = LazyLock::new(|| builder().build().is_ok());
    *FOUND
}

fn builder() -> reqwest::ClientBuilder {
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

    #[test]
    fn a_client_needs_no_certificates() {
        assert!(super::builder().tls_certs_only([]).build().is_ok());
    }
}
