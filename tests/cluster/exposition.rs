//! Something that Prometheus scrapes: gauges that a test sets.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

/// A target to scrape; it ends with this.
#[derive(Debug)]
pub struct Exposition {
    port: u16,
    gauges: Arc<Mutex<BTreeMap<String, f64>>>,
    ended: Arc<AtomicBool>,
}

impl Exposition {
    /// Begins to be scraped, without any gauge.
    pub fn start() -> Self {
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        let gauges: Arc<Mutex<BTreeMap<String, f64>>> = Arc::default();
        let ended: Arc<AtomicBool> = Arc::default();
        let (of_thread, thread_ended) = (Arc::clone(&gauges), Arc::clone(&ended));
        std::thread::spawn(move || {
            for stream in socket.incoming() {
                if thread_ended.load(Ordering::Relaxed) {
                    return;
                }
                let text = of_thread.lock().unwrap().iter().fold(String::new(), |mut text, (series, value)| {
                    writeln!(text, "{series} {value}").unwrap();
                    text
                });
                // A scraper that goes away early is asked nothing more.
                let _ = stream.map(|stream| answer(stream, &text));
            }
        });
        Self { port, gauges, ended }
    }

    /// Sets a gauge: `name{label="value"}`.
    pub fn set(&self, series: &str, value: f64) {
        self.gauges.lock().unwrap().insert(series.to_owned(), value);
    }

    /// `127.0.0.1:PORT`.
    pub fn host(&self) -> String {
        format!("127.0.0.1:{}", self.port)
    }
}

impl Drop for Exposition {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        let _ = TcpStream::connect(("127.0.0.1", self.port)); // wakes the thread up
    }
}

fn answer(mut stream: TcpStream, text: &str) -> std::io::Result<()> {
    let mut lines = BufReader::new(stream.try_clone()?).lines();
    while lines.next().transpose()?.is_some_and(|line| !line.is_empty()) {}
    write!(
        stream,
        "HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{text}",
        text.len()
    )
}
