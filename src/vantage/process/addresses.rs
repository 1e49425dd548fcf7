//! Where the API is, and what is on this machine.

use std::net::SocketAddr;

use crate::config::Config;

/// Where the API's URL leads, in the order in which a client tries.
pub(super) async fn api_addresses(config: &Config) -> Vec<SocketAddr> {
    let Some(api) = &config.api else {
        return Vec::new();
    };
    let (Some(host), Some(port)) = (api.url.host_str(), api.url.port_or_known_default()) else {
        return Vec::new();
    };
    let host = host.trim_matches(['[', ']']);
    tokio::net::lookup_host((host, port))
        .await
        .map_or_else(|_| Vec::new(), Iterator::collect)
}

/// Whether a host name means this machine.
pub(super) async fn is_local(host: &str) -> bool {
    let Ok(mut addresses) = tokio::net::lookup_host((host, 0)).await else {
        return false;
    };
    // An address of ours is one that we can bind.
    addresses.any(|address| is_ours(address.ip()))
}

pub(super) fn is_ours(address: std::net::IpAddr) -> bool {
    address.is_loopback() || std::net::UdpSocket::bind((address, 0)).is_ok()
}
