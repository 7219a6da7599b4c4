//! The front door: at most so many connections, each for so long. What clients do there is no concern of the pipeline.
//!
//! A client that dawdles loses its connection after a while; one too many costs the oldest of them its own, so that a
//! scrape is answered whatever else hangs on. Nothing here needs more than the thread that serves.

use axum::serve::Listener;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::oneshot;
use tokio::time::{Sleep, sleep};

/// How many connections there are at most: an open page of the board has one. Each takes a descriptor, and Kafka needs
/// some too.
const CONNECTIONS_MAX: usize = 384;

/// How long one lives: a scrape takes a fraction of it, and the next one may open another.
const LIFE: Duration = Duration::from_secs(30);

/// Between two attempts to accept, when there is no descriptor left.
const PAUSE: Duration = Duration::from_millis(100);

/// Accepts connections within those bounds.
pub(super) struct Door {
    listener: TcpListener,
    /// Dropping one ends its connection. Oldest first; some have ended by themselves.
    inside: VecDeque<oneshot::Sender<()>>,
}

impl Door {
    pub fn new(listener: TcpListener) -> Door {
        Door { listener, inside: VecDeque::new() }
    }
}

impl Listener for Door {
    type Io = Visit;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Visit, SocketAddr) {
        loop {
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    self.inside.retain(|visit| !visit.is_closed());
                    if self.inside.len() >= CONNECTIONS_MAX {
                        self.inside.pop_front();
                    }
                    let (stay, leave) = oneshot::channel();
                    self.inside.push_back(stay);
                    return (Visit { stream, leave, life: Box::pin(sleep(LIFE)), over: false }, address);
                }
                Err(error) => {
                    tracing::debug!(%error, "a connection was not accepted");
                    sleep(PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// One connection.
pub(super) struct Visit {
    stream: TcpStream,
    leave: oneshot::Receiver<()>,
    life: Pin<Box<Sleep>>,
    over: bool,
}

impl Visit {
    /// Whether it is over; wakes its task when it is.
    fn check(&mut self, context: &mut Context<'_>) -> io::Result<()> {
        self.over = self.over
            || Pin::new(&mut self.leave).poll(context).is_ready()
            || self.life.as_mut().poll(context).is_ready();
        if self.over { Err(io::ErrorKind::TimedOut.into()) } else { Ok(()) }
    }
}

impl AsyncRead for Visit {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_read(context, buffer)
    }
}

impl AsyncWrite for Visit {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.check(context)?;
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
