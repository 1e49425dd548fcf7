//! What a port speaks that does not speak what was asked of it.

use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

use crate::config::SecretUrl;

#[derive(Debug, PartialEq, Eq)]
pub enum Protocol {
    Http,
    /// RabbitMQ answers whatever is no AMQP with the version that it speaks, and hangs up.
    Amqp,
    Other,
}

/// What answers a plain request of HTTP where this URL points at.
pub async fn spoken_at(url: &SecretUrl) -> Protocol {
    let asking = async {
        let host = url.host();
        let address = (host.trim_matches(['[', ']']), url.port());
        let mut stream = tokio::net::TcpStream::connect(address).await.ok()?;
        stream.write_all(b"HEAD / HTTP/1.0\r\n\r\n").await.ok()?;
        let mut start = [0; 5];
        stream.read_exact(&mut start).await.ok()?;
        Some(start)
    };
    let answer = tokio::time::timeout(Duration::from_secs(1), asking).await;
    match answer.ok().flatten().as_ref() {
        Some(b"HTTP/") => Protocol::Http,
        Some(b"AMQP\0") => Protocol::Amqp,
        _ => Protocol::Other,
    }
}

#[cfg(test)]
mod tests {
    use tokio::net::TcpListener;

    use super::*;

    async fn answering(with: &'static [u8]) -> Protocol {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
        let port = listener.local_addr().expect("an address").port();
        tokio::spawn(async move {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            let mut asked = [0; 64];
            let _ = stream.read(&mut asked).await;
            let _ = stream.write_all(with).await;
        });
        spoken_at(&SecretUrl::from_text(&format!("http://127.0.0.1:{port}"))).await
    }

    #[tokio::test]
    async fn the_first_bytes_tell() {
        assert_eq!(answering(b"AMQP\0\0\x09\x01").await, Protocol::Amqp);
        assert_eq!(answering(b"HTTP/1.0 200 OK\r\n\r\n").await, Protocol::Http);
        assert_eq!(answering(b"220 mail.example ESMTP\r\n").await, Protocol::Other);
        assert_eq!(answering(b"").await, Protocol::Other);
    }
}
