//! Certificates as `openssl req -x509` makes them, with CA:TRUE.

use std::time::Duration;

use super::*;

/// For mq.example, localhost and 127.0.0.1, from the end of November 2026 for a year.
const ONE: &str = include_str!("one.pem");
/// The same with another key.
const OTHER: &str = include_str!("other.pem");
/// As `ONE`, for clients.
const CLIENT: &str = include_str!("client.pem");

const VALID: u64 = 1_800_000_000;
const YEAR: u64 = 366 * 86_400;

fn der(pem: &str) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()
}

fn verify(trusted: &str, shown: &str, name: &str, now: u64) -> Result<(), Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(der(trusted)).unwrap();
    let webpki = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .unwrap();
    let trusted = vec![der(trusted)];
    ServerVerifier { webpki, trusted }
        .verify_server_cert(
            &der(shown),
            &[],
            &ServerName::try_from(name.to_owned()).unwrap(),
            &[],
            UnixTime::since_unix_epoch(Duration::from_secs(now)),
        )
        .map(drop)
}

#[test]
fn an_authority_is_the_server_where_it_is_the_configured_one() {
    for name in ["mq.example", "localhost", "127.0.0.1"] {
        assert_eq!(verify(ONE, ONE, name, VALID), Ok(()), "{name}");
    }
}

#[test]
fn no_other_authority_is_a_server() {
    let refused = verify(ONE, OTHER, "mq.example", VALID).unwrap_err();
    assert!(refused.to_string().contains("CaUsedAsEndEntity"), "{refused}");
}

#[test]
fn its_time_and_its_names_count() {
    for (name, now, words) in [
        ("mq.other", VALID, "not valid for name"),
        ("127.0.0.2", VALID, "not valid for name"),
        ("mq.example", VALID + YEAR, "expired"),
        ("mq.example", VALID - YEAR, "not valid yet"),
    ] {
        let refused = verify(ONE, ONE, name, now).unwrap_err().to_string();
        assert!(refused.contains(words), "{name} at {now}: {refused}");
    }
}

#[test]
fn a_client_is_no_server() {
    let refused = verify(CLIENT, CLIENT, "mq.example", VALID).unwrap_err();
    assert!(refused.to_string().contains("CaUsedAsEndEntity"), "{refused}");
}
