//! One look-up at a time for each key: whoever comes while it is under way waits for the same answer.
//!
//! The look-up runs in a task of its own, so it goes on when those who wait for it have run out of time, and what it
//! finds is there for the next.

use std::collections::HashMap;
use std::future::Future;
use std::hash::Hash;
use std::sync::{Arc, Mutex, PoisonError};

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};

/// A look-up under way; as many as like may wait for it.
pub type Flight<V> = Shared<BoxFuture<'static, Option<V>>>;

/// Look-ups under way, by key.
#[derive(Debug)]
pub struct Flights<K, V> {
    under_way: Arc<Mutex<HashMap<K, Flight<V>>>>,
}

impl<K, V> Default for Flights<K, V> {
    fn default() -> Self {
        Self { under_way: Arc::default() }
    }
}

impl<K, V> Flights<K, V>
where
    K: Clone + Eq + Hash + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Joins the look-up under way for `key`, or starts `look_up`. `None` where that one came to no end (it panicked).
    pub fn join<F>(&self, key: K, look_up: impl FnOnce() -> F) -> Flight<V>
    where
        F: Future<Output = V> + Send + 'static,
    {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(flight) = under_way.get(&key) {
            return flight.clone();
        }
        let (landed, at) = (Arc::clone(&self.under_way), key.clone());
        let task = tokio::spawn(look_up());
        let flight: Flight<V> = async move {
            let answer = task.await.ok();
            landed.lock().unwrap_or_else(PoisonError::into_inner).remove(&at);
            answer
        }
        .boxed()
        .shared();
        under_way.insert(key, flight.clone());
        // Somebody must see it land when all who wait have gone.
        tokio::spawn(flight.clone());
        flight
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};
    use std::time::Duration;

    use super::*;

    #[tokio::test(start_paused = true)]
    async fn many_wait_for_one_and_it_outlives_them() {
        let flights: Flights<&str, usize> = Flights::default();
        let started = Arc::new(AtomicUsize::new(0));
        let look_up = || {
            let started = Arc::clone(&started);
            async move {
                tokio::time::sleep(Duration::from_secs(5)).await;
                started.fetch_add(1, Ordering::SeqCst) + 1
            }
        };
        let impatient = tokio::time::timeout(Duration::from_secs(1), flights.join("a", look_up));
        assert!(impatient.await.is_err());
        let waiting: Vec<_> = (0..500).map(|_| flights.join("a", look_up)).collect();
        let answers = futures::future::join_all(waiting).await;
        assert!(answers.iter().all(|answer| *answer == Some(1)));
        assert_eq!(flights.join("a", look_up).await, Some(2), "a landed flight is not joined");
    }

    #[tokio::test]
    async fn a_look_up_that_panics_leaves_nothing_behind() {
        let flights: Flights<&str, usize> = Flights::default();
        assert_eq!(flights.join("a", || async { panic!("on purpose") }).await, None);
        assert_eq!(flights.join("a", || async { 1 }).await, Some(1));
    }
}
