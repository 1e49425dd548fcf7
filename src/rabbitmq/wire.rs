//! What lapin reads from and writes to: a TCP connection of ours, with TLS as `broker.ca_file` and its kin ask for.

use std::future::{Future, ready};
use std::io::{self, Read, Write};
use std::marker::PhantomData;
use std::net::SocketAddr;
use std::os::fd::{AsFd, AsRawFd};
use std::sync::Arc;
use std::time::{Duration, Instant};

use async_compat::Compat;
use async_rs::traits::Reactor;
use async_rs::util::RuntimeParts;
use async_rs::{Runtime, Tokio};
use futures_util::io::{AsyncRead, AsyncWrite};
use lapin::tcp::AsyncTcpStream;
use lapin::uri::AMQPUri;
use lapin::{Connection, ConnectionProperties};
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// The two ends are TLS's or TCP's.
pub trait Ends: AsyncRead + AsyncWrite + Send + Sync + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Sync + Unpin> Ends for T {}

pub type Wire = Box<dyn Ends>;

/// The connection below AMQP, with TLS where there is a configuration of it.
async fn open(uri: &AMQPUri, tls: Option<Arc<ClientConfig>>) -> io::Result<Wire> {
    let host = uri.authority.host.trim_matches(['[', ']']);
    let stream = TcpStream::connect((host, uri.authority.port)).await?;
    stream.set_nodelay(true)?;
    let Some(tls) = tls else {
        return Ok(Box::new(Compat::new(stream)));
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
    let stream = TlsConnector::from(tls).connect(name, stream).await?;
    Ok(Box::new(Compat::new(stream)))
}

/// Connects lapin to a wire of ours, or to what is `put_before` it.
pub async fn connect<S>(
    uri: AMQPUri,
    properties: ConnectionProperties,
    tls: Option<Arc<ClientConfig>>,
    put_before: impl Fn(Wire) -> S + Send + Sync + 'static,
) -> lapin::Result<Connection>
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
{
    let tokio = Tokio::current();
    let runtime = Runtime::new(RuntimeParts::new(tokio.clone(), Opened(tokio, PhantomData::<S>)));
    let opened = async move |uri: AMQPUri, _: Runtime<_>| {
        let wire = open(&uri, tls.clone()).await?;
        Ok(AsyncTcpStream::Plain(put_before(wire)))
    };
    Connection::connector(uri, runtime, opened, properties).await
}

/// Tokio, with streams that are opened by us: lapin asks its runtime for the type of its streams.
struct Opened<S>(Tokio, PhantomData<S>);

impl<S> Clone for Opened<S> {
    fn clone(&self) -> Self {
        Self(self.0.clone(), PhantomData)
    }
}

impl<S> std::fmt::Debug for Opened<S> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl<S> Reactor for Opened<S>
where
    S: AsyncRead + AsyncWrite + Send + Sync + Unpin + 'static,
{
    type TcpStream = S;
    type Sleep = <Tokio as Reactor>::Sleep;

    fn register<H: Read + Write + AsFd + AsRawFd + Send + 'static>(
        &self,
        socket: H,
    ) -> io::Result<impl AsyncRead + AsyncWrite + Send + Unpin + 'static> {
        self.0.register(socket)
    }

    fn sleep(&self, dur: Duration) -> Self::Sleep {
        self.0.sleep(dur)
    }

    fn interval(&self, dur: Duration) -> impl futures_util::Stream<Item = Instant> + Send + 'static {
        self.0.interval(dur)
    }

    /// Never asked: `open` opens them.
    fn tcp_connect_addr(
        &self,
        _: SocketAddr,
    ) -> impl Future<Output = io::Result<Self::TcpStream>> + Send + 'static {
        ready(Err(io::ErrorKind::Unsupported.into()))
    }
}
