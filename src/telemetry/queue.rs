//! A bounded queue before a collector: what finds no room, or is not taken, is dropped and counted.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{OwnedSemaphorePermit, Semaphore, mpsc, watch};

use super::{MOST_WAITING, MOST_WAITING_BYTES};
use crate::metrics::{DroppedLabels, Metrics, SignalLabels};

/// Most of them in one request.
const MOST_AT_ONCE: usize = 512;
/// What comes within this time shares a request.
const GATHER: Duration = Duration::from_millis(500);

/// The end that is filled. Filling it never waits.
#[derive(Clone, Debug)]
pub(super) struct Queue<T> {
    signal: &'static str,
    sender: mpsc::Sender<Queued<T>>,
    room: Arc<Semaphore>,
    metrics: Arc<Metrics>,
}

/// The end that is sent.
pub(super) struct Outlet<T> {
    signal: &'static str,
    receiver: mpsc::Receiver<Queued<T>>,
    closed: watch::Receiver<bool>,
    metrics: Arc<Metrics>,
    timeout: Duration,
    failing: bool,
}

#[derive(Debug)]
struct Queued<T> {
    item: T,
    /// Its bytes; given back when it is sent or dropped.
    room: OwnedSemaphorePermit,
}

/// A queue of a signal; one request of it may take that long.
pub(super) fn new<T>(
    signal: &'static str,
    metrics: Arc<Metrics>,
    closed: watch::Receiver<bool>,
    timeout: Duration,
) -> (Queue<T>, Outlet<T>) {
    let (sender, receiver) = mpsc::channel(MOST_WAITING);
    let room = Arc::new(Semaphore::new(MOST_WAITING_BYTES));
    let outlet = Outlet { signal, receiver, closed, metrics: Arc::clone(&metrics), timeout, failing: false };
    (Queue { signal, sender, room, metrics }, outlet)
}

impl<T> Queue<T> {
    /// Adds one, or drops and counts it.
    pub(super) fn push(&self, item: T, bytes: usize) {
        let room =
            u32::try_from(bytes).ok().and_then(|bytes| Arc::clone(&self.room).try_acquire_many_owned(bytes).ok());
        let is_queued = room.is_some_and(|room| self.sender.try_send(Queued { item, room }).is_ok());
        if !is_queued {
            dropped(&self.metrics, self.signal, "queue_full", 1);
        }
    }
}

impl<T> Outlet<T> {
    /// Sends everything, many at once, until the queue is closed and empty.
    pub(super) async fn send_all<F: Future<Output = Result<(), String>>>(mut self, send: impl Fn(Vec<T>) -> F) {
        loop {
            let mut batch = Vec::new();
            let is_closed = tokio::select! {
                count = self.receiver.recv_many(&mut batch, MOST_AT_ONCE) => count == 0,
                _ = self.closed.wait_for(|closed| *closed) => true,
            };
            if !is_closed && batch.len() < MOST_AT_ONCE {
                // An error means that the teller is gone, and then nothing more comes.
                let _ = tokio::time::timeout(GATHER, self.closed.wait_for(|closed| *closed)).await;
            }
            while batch.len() < MOST_AT_ONCE
                && let Ok(next) = self.receiver.try_recv()
            {
                batch.push(next);
            }
            if batch.is_empty() && is_closed {
                return;
            }
            self.send_one(batch, &send).await;
        }
    }

    async fn send_one<F: Future<Output = Result<(), String>>>(
        &mut self,
        batch: Vec<Queued<T>>,
        send: &impl Fn(Vec<T>) -> F,
    ) {
        let count = batch.len() as u64;
        let (items, room): (Vec<T>, Vec<OwnedSemaphorePermit>) =
            batch.into_iter().map(|queued| (queued.item, queued.room)).unzip();
        // The exporter's own deadline does not end an attempt that is under way.
        let sent = tokio::time::timeout(self.timeout, send(items)).await;
        drop(room);
        match sent.unwrap_or_else(|_| Err("it did not answer in time".to_owned())) {
            Ok(()) => {
                self.metrics.otlp_sent.get_or_create(&SignalLabels { signal: self.signal }).inc_by(count);
                if std::mem::replace(&mut self.failing, false) {
                    tracing::info!(signal = self.signal, "the OTLP collector takes them again");
                }
            }
            Err(error) => {
                dropped(&self.metrics, self.signal, "not_taken", count);
                if !std::mem::replace(&mut self.failing, true) {
                    tracing::warn!(%error, signal = self.signal, "the OTLP collector does not take them; they are dropped and counted");
                }
            }
        }
    }
}

fn dropped(metrics: &Metrics, signal: &'static str, why: &'static str, count: u64) {
    metrics.otlp_dropped.get_or_create(&DroppedLabels { signal, why }).inc_by(count);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn what_finds_no_room_is_dropped_and_counted_and_the_rest_is_sent_at_the_end() {
        let metrics = Arc::new(Metrics::default());
        let (closing, closed) = watch::channel(false);
        let (queue, outlet) = new("logs", Arc::clone(&metrics), closed, Duration::from_secs(1));
        for number in 0..=MOST_WAITING {
            queue.push(number, 1);
        }
        let (whole, one) = (MOST_WAITING_BYTES, 1);
        queue.push(0, whole + one);
        closing.send_replace(true);
        let (told, mut heard) = mpsc::unbounded_channel();
        outlet
            .send_all(|batch| {
                told.send(batch).unwrap();
                async { Ok(()) }
            })
            .await;
        let mut sent = Vec::new();
        while let Ok(batch) = heard.try_recv() {
            assert!(batch.len() <= MOST_AT_ONCE);
            sent.extend(batch);
        }
        assert_eq!(sent, (0..MOST_WAITING).collect::<Vec<_>>());
        let page = metrics.render();
        assert!(page.contains(r#"freshgate_otlp_dropped_total{signal="logs",why="queue_full"} 2"#), "{page}");
        assert!(page.contains(r#"freshgate_otlp_sent_total{signal="logs"} 2048"#), "{page}");
        assert_eq!(queue.room.available_permits(), MOST_WAITING_BYTES);
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_taken_in_time_is_dropped_and_the_next_is_tried() {
        let metrics = Arc::new(Metrics::default());
        let (closing, closed) = watch::channel(false);
        let (queue, outlet) = new("traces", Arc::clone(&metrics), closed, Duration::from_secs(1));
        let attempts = Arc::new(std::sync::atomic::AtomicUsize::new(0));
        let sending = tokio::spawn(outlet.send_all({
            let attempts = Arc::clone(&attempts);
            move |_: Vec<u8>| {
                let attempt = attempts.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
                async move {
                    match attempt {
                        0 => std::future::pending().await,
                        1 => Err("refused".to_owned()),
                        _ => Ok(()),
                    }
                }
            }
        }));
        for _ in 0..3 {
            queue.push(1, 1);
            tokio::time::sleep(Duration::from_secs(5)).await;
        }
        closing.send_replace(true);
        sending.await.unwrap();
        let page = metrics.render();
        assert!(page.contains(r#"freshgate_otlp_dropped_total{signal="traces",why="not_taken"} 2"#), "{page}");
        assert!(page.contains(r#"freshgate_otlp_sent_total{signal="traces"} 1"#), "{page}");
    }
}
