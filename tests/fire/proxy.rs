//! A proxy before a broker's listener that can cut connections, and lose the answer to the end of a transaction: the
//! broker has done it, and the client does not know.

use std::collections::BTreeSet;
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

/// Kafka's number of EndTxn.
const END_TXN: i16 = 26;

#[derive(Default)]
struct Shared {
    /// How many answers to EndTxn are still to be lost.
    to_lose: AtomicUsize,
    lost: AtomicUsize,
    connections: Mutex<Vec<TcpStream>>,
}

/// The proxy.
pub struct Proxy {
    pub port: u16,
    shared: Arc<Shared>,
}

impl Proxy {
    /// Begins to pass everything on to the port of a broker.
    pub fn start(broker: u16) -> std::io::Result<Proxy> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let port = listener.local_addr()?.port();
        let shared = Arc::new(Shared::default());
        let of_thread = Arc::clone(&shared);
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let shared = Arc::clone(&of_thread);
                thread::spawn(move || drop(pass(client, broker, &shared)));
            }
        });
        Ok(Proxy { port, shared })
    }

    /// Loses the next so many answers to EndTxn, and the connections with them.
    pub fn lose_answers(&self, count: usize) {
        self.shared.to_lose.store(count, Ordering::SeqCst);
    }

    /// How many answers were lost.
    pub fn lost(&self) -> usize {
        self.shared.lost.load(Ordering::SeqCst)
    }

    /// Cuts every connection there is.
    pub fn cut(&self) -> usize {
        let mut connections = self.shared.connections.lock().expect("no thread panics while it holds this lock");
        connections.iter().for_each(|connection| _ = connection.shutdown(Shutdown::Both));
        std::mem::take(&mut *connections).len()
    }
}

/// One connection. Requests and answers are frames: a length, then the body.
fn pass(client: TcpStream, broker: u16, shared: &Arc<Shared>) -> std::io::Result<()> {
    let broker = TcpStream::connect(("127.0.0.1", broker))?;
    client.set_nodelay(true)?;
    broker.set_nodelay(true)?;
    {
        let mut connections = shared.connections.lock().expect("no thread panics while it holds this lock");
        connections.extend([client.try_clone()?, broker.try_clone()?]);
    }
    // Numbers of requests whose answers are lost.
    let marked: Arc<Mutex<BTreeSet<[u8; 4]>>> = Arc::default();
    let (from_client, to_broker) = (client.try_clone()?, broker.try_clone()?);
    let (requests, of_requests) = (Arc::clone(shared), Arc::clone(&marked));
    thread::spawn(move || {
        let _ = frames(from_client, to_broker, |body| {
            // api key, api version, correlation id
            if let [a, b, _, _, c, d, e, f, ..] = *body
                && i16::from_be_bytes([a, b]) == END_TXN
            {
                let take =
                    requests.to_lose.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1));
                if take.is_ok() {
                    of_requests.lock().expect("no thread panics while it holds this lock").insert([c, d, e, f]);
                }
            }
            true
        });
    });
    frames(broker, client, |body| {
        let number = body.first_chunk::<4>().copied().unwrap_or_default();
        let lost = marked.lock().expect("no thread panics while it holds this lock").remove(&number);
        if lost {
            shared.lost.fetch_add(1, Ordering::SeqCst);
        }
        !lost
    })
}

/// Passes frames on as long as `goes_on` says so; then both ends are closed.
fn frames(mut from: TcpStream, mut to: TcpStream, mut goes_on: impl FnMut(&[u8]) -> bool) -> std::io::Result<()> {
    let mut body = Vec::new();
    let result = loop {
        let mut length = [0; 4];
        if let Err(error) = from.read_exact(&mut length) {
            break Err(error);
        }
        body.resize(u32::from_be_bytes(length) as usize, 0);
        if let Err(error) = from.read_exact(&mut body) {
            break Err(error);
        }
        if !goes_on(&body) {
            break Ok(());
        }
        if let Err(error) = to.write_all(&length).and_then(|()| to.write_all(&body)) {
            break Err(error);
        }
    };
    let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    result
}
