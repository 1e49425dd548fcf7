//! What `broker.ca_file`, `client_cert` and `client_key` make of TLS, for AMQP and HTTP alike.

use std::path::Path;
use std::sync::{Arc, LazyLock};

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_name};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::ParsedCertificate;
use rustls::{CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme};

use crate::bounded;
use crate::config::Tls;
use crate::error::Unavailable;

/// The certificates of the system and of `ca_file`, and our own where the other side wants one.
pub fn client_config(tls: &Tls) -> Result<ClientConfig, Unavailable> {
    let broken = |error: &dyn std::fmt::Display| Unavailable::new(format!("cannot set up TLS: {error}"));
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let trusted = match &tls.ca_file {
        Some(path) => certificates(path)?,
        None => Vec::new(),
    };
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(trusted.iter().chain(system()).cloned());
    if roots.is_empty() {
        return Err(Unavailable::new("no CA certificates were found")
            .hint("install ca-certificates, or set broker.ca_file"));
    }
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .build()
        .map_err(|error| broken(&error))?;
    let config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| broken(&error))?
        .dangerous()
        .with_custom_certificate_verifier(Arc::new(ServerVerifier { webpki, trusted }));
    let (Some(cert), Some(key)) = (&tls.client_cert, &tls.client_key) else {
        return Ok(config.with_no_client_auth());
    };
    let private = PrivateKeyDer::from_pem_slice(&settings(key)?).map_err(|error| {
        Unavailable::new(format!("{} holds no private key in PEM: {error}", key.display()))
    })?;
    config
        .with_client_auth_cert(certificates(cert)?, private)
        .map_err(|error| {
            broken(&error).hint("do `broker.client_cert` and `broker.client_key` belong together?")
        })
}

/// Reading them takes longer than a connection.
fn system() -> &'static [CertificateDer<'static>] {
    static SYSTEM: LazyLock<Vec<CertificateDer<'static>>> =
        LazyLock::new(|| rustls_native_certs::load_native_certs().certs);
    &SYSTEM
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Unavailable> {
    let pem = settings(path)?;
    let found: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&pem).collect();
    match found {
        // One without a certificate would say no more than `UnknownIssuer`.
        Ok(found) if found.is_empty() => Err(Unavailable::new(format!(
            "{} holds no certificate in PEM",
            path.display()
        ))
        .hint("it takes a certificate, not its key: openssl x509 -in FILE -noout -subject")),
        Ok(found) => Ok(found),
        Err(error) => Err(Unavailable::new(format!(
            "{} is no certificate in PEM: {error}",
            path.display()
        ))),
    }
}

fn settings(path: &Path) -> Result<Vec<u8>, Unavailable> {
    bounded::file(path, bounded::SETTINGS)
        .map_err(|error| Unavailable::new(format!("cannot read {}: {error}", path.display())))
}

/// webpki, and the one thing that it cannot: it refuses every certificate of an authority as a server's, also
/// where that very certificate is the one that was configured. `openssl req -x509` makes no others.
#[derive(Debug)]
struct ServerVerifier {
    webpki: Arc<WebPkiServerVerifier>,
    /// Those of `ca_file`; of the system none is excepted.
    trusted: Vec<CertificateDer<'static>>,
}

impl ServerVerifier {
    /// The same certificate, byte for byte, at a time and under a name that it is for.
    fn is_the_configured_one(
        &self,
        certificate: &CertificateDer<'_>,
        name: &ServerName<'_>,
        now: UnixTime,
    ) -> Option<Result<(), Error>> {
        if !self.trusted.iter().any(|trusted| trusted == certificate) {
            return None;
        }
        let (_, parsed) = x509_parser::parse_x509_certificate(certificate).ok()?;
        let for_servers = parsed
            .extended_key_usage()
            .ok()?
            .is_none_or(|usage| usage.value.any || usage.value.server_auth);
        if !parsed.is_ca() || !for_servers {
            return None;
        }
        let validity = parsed.validity();
        let seconds = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if seconds < validity.not_before.timestamp() {
            return Some(Err(CertificateError::NotValidYet.into()));
        }
        if seconds > validity.not_after.timestamp() {
            return Some(Err(CertificateError::Expired.into()));
        }
        let named = ParsedCertificate::try_from(certificate);
        Some(named.and_then(|certificate| verify_server_name(&certificate, name)))
    }
}

impl ServerCertVerifier for ServerVerifier {
    fn verify_server_cert(
        &self,
        certificate: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        name: &ServerName<'_>,
        ocsp: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self
            .webpki
            .verify_server_cert(certificate, intermediates, name, ocsp, now);
        // rustls has no name of its own for CaUsedAsEndEntity.
        let Err(Error::InvalidCertificate(CertificateError::Other(_))) = &verified else {
            return verified;
        };
        match self.is_the_configured_one(certificate, name, now) {
            Some(checked) => checked.map(|()| ServerCertVerified::assertion()),
            None => verified,
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls12_signature(message, certificate, signed)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.webpki.verify_tls13_signature(message, certificate, signed)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.webpki.supported_verify_schemes()
    }
}

#[cfg(test)]
mod tests;
