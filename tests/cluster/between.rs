//! A proxy between the gate and a server that misbehaves on purpose: it cuts, delays, swallows, and cuts at the very moment
//! at which a server says that it has committed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// How it behaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Way {
    /// Bytes pass.
    Open,
    /// Bytes pass after a while.
    Late(Duration),
    /// Bytes vanish, and so does every new connection's greeting.
    Hole,
    /// Connections are closed, also new ones.
    Cut,
    /// What the server says of a commit is not passed on: the connection is cut instead.
    CutAtCommit,
}

/// A running proxy.
#[derive(Debug)]
pub struct Between {
    pub port: u16,
    way: watch::Sender<Way>,
    cut_commits: Arc<AtomicU32>,
}

impl Between {
    /// Starts one before a loopback port; bytes pass.
    pub async fn start(server: u16) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let (way, seen) = watch::channel(Way::Open);
        let cut_commits = Arc::new(AtomicU32::new(0));
        let cuts = Arc::clone(&cut_commits);
        tokio::spawn(async move {
            while let Ok((client, _)) = listener.accept().await {
                if *seen.borrow() == Way::Cut {
                    continue;
                }
                let (seen, cuts) = (seen.clone(), Arc::clone(&cuts));
                tokio::spawn(async move {
                    let Ok(server) = TcpStream::connect(("127.0.0.1", server)).await else {
                        return;
                    };
                    let (from_client, to_client) = client.into_split();
                    let (from_server, to_server) = server.into_split();
                    // Whichever ends first takes the other along.
                    tokio::select! {
                        () = pass(from_client, to_server, seen.clone(), None) => {}
                        () = pass(from_server, to_client, seen, Some(&cuts)) => {}
                    }
                });
            }
        });
        Self { port, way, cut_commits }
    }

    pub fn set(&self, way: Way) {
        self.way.send_replace(way);
    }

    /// How many commits the server made that nobody heard of.
    pub fn cut_commits(&self) -> u32 {
        self.cut_commits.load(Ordering::Relaxed)
    }
}

/// Passes bytes on until one side ends or the way is cut. `cuts` is given for what the server says.
async fn pass(
    mut from: OwnedReadHalf,
    mut to: OwnedWriteHalf,
    mut way: watch::Receiver<Way>,
    cuts: Option<&AtomicU32>,
) {
    let mut buffer = vec![0; 64 * 1024];
    loop {
        if *way.borrow() == Way::Cut {
            return;
        }
        let read = tokio::select! {
            read = from.read(&mut buffer) => read.unwrap_or(0),
            changed = way.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return,
            },
        };
        if read == 0 {
            return;
        }
        let now = *way.borrow();
        match (now, cuts) {
            (Way::Hole, _) => continue,
            (Way::Cut, _) => return,
            (Way::Late(delay), _) => tokio::time::sleep(delay).await,
            // CommandComplete, as PostgreSQL says it.
            (Way::CutAtCommit, Some(cuts))
                if memchr::memmem::find(&buffer[..read], b"C\0\0\0\x0bCOMMIT\0").is_some() =>
            {
                cuts.fetch_add(1, Ordering::Relaxed);
                return;
            }
            _ => {}
        }
        if to.write_all(&buffer[..read]).await.is_err() {
            return;
        }
    }
}
