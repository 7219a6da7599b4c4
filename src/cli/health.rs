//! `touchstone health`: asks a running process whether its loops turn, for places that have neither shell nor curl.
//!
//! It knows nothing of the service but one page. It must end by itself: whoever asks for health waits for the answer.

use super::Failure;
use anyhow::{Context, anyhow};
use clap::Args;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::{Duration, Instant};

/// Ask a running process whether it is healthy; exit code 0 says yes, 1 no
#[derive(Debug, Args)]
#[command(after_help = "Example:\n    touchstone health --address 127.0.0.1:9464")]
pub struct Health {
    /// Where it listens: its export.listen
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:9464")]
    address: String,
}

/// How long all of it may take: less than what a container's health check or a probe is given.
const WITHIN: Duration = Duration::from_secs(4);

/// The longest answer that is read, bytes: a status, a few headers and a sentence.
const ANSWER_BYTES_MAX: usize = 16 << 10;

impl Health {
    /// Runs the command.
    ///
    /// # Errors
    /// [`Failure`]: nobody answers in time, or the answer is that something is stuck.
    pub fn run(self) -> Result<(), Failure> {
        let addresses = self.address.to_socket_addrs();
        let addresses = addresses.map_err(|error| {
            Failure::usage(format!("--address {}: {error}; write a host and a port, like 127.0.0.1:9464", self.address))
        })?;
        let asked = ask(addresses, &self.address, Instant::now() + WITHIN);
        let answer = asked.with_context(|| format!("{} does not answer", self.address))?;
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let sentence = body.trim();
        match head.split(' ').nth(1).filter(|_| head.starts_with("HTTP/1.")) {
            Some("200") => println!("{} is {sentence}", self.address),
            Some(status) => return Err(anyhow!("{} is not healthy ({status}): {sentence}", self.address).into()),
            None => return Err(anyhow!("what answers at {} speaks no HTTP", self.address).into()),
        }
        Ok(())
    }
}

/// The answer of the first address that takes a connection.
fn ask(addresses: impl Iterator<Item = SocketAddr>, host: &str, deadline: Instant) -> anyhow::Result<String> {
    let mut outcome = Err(anyhow!("the name has no address"));
    for address in addresses {
        outcome = TcpStream::connect_timeout(&address, left(deadline)?).map_err(anyhow::Error::from);
        if outcome.is_ok() {
            break;
        }
    }
    let mut stream = outcome?;
    stream.set_write_timeout(Some(left(deadline)?))?;
    let request = format!("GET /healthz HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut piece = [0; 1024];
    // Piece by piece, each with the time that is left: an answer that trickles ends too.
    while answer.len() < ANSWER_BYTES_MAX {
        stream.set_read_timeout(Some(left(deadline)?))?;
        match stream.read(&mut piece) {
            Ok(0) => break,
            Ok(length) => answer.extend_from_slice(&piece[..length]),
            // Its time is over: the next turn says so.
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The time that is left; an error when there is none.
fn left(deadline: Instant) -> anyhow::Result<Duration> {
    let left = deadline.saturating_duration_since(Instant::now());
    if left.is_zero() { Err(anyhow!("not within {} s", WITHIN.as_secs())) } else { Ok(left) }
}
