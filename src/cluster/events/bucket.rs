//! A token bucket: so many at once, so many in the long run. Time comes in as an argument.

use std::time::Instant;

/// The bucket.
#[derive(Debug)]
pub(super) struct Bucket {
    most: f64,
    per_second: f64,
    tokens: f64,
    filled: Instant,
}

impl Bucket {
    /// A full one.
    pub(super) fn full(burst: u32, per_second: f64, now: Instant) -> Self {
        let most = f64::from(burst);
        Self { most, per_second, tokens: most, filled: now }
    }

    /// Takes one, if there is one.
    pub(super) fn take(&mut self, now: Instant) -> bool {
        let since = now.saturating_duration_since(self.filled).as_secs_f64();
        self.tokens = (self.tokens + since * self.per_second).min(self.most);
        self.filled = now;
        let taken = self.tokens >= 1.0;
        if taken {
            self.tokens -= 1.0;
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_burst_passes_and_then_so_many_a_second() {
        let start = Instant::now();
        let mut bucket = Bucket::full(3, 2.0, start);
        let mut taken = |milliseconds: u64, tries: usize| {
            let now = start + Duration::from_millis(milliseconds);
            (0..tries).filter(|_| bucket.take(now)).count()
        };
        assert_eq!(taken(0, 10), 3);
        assert_eq!(taken(400, 10), 0);
        assert_eq!(taken(1_000, 10), 2);
        assert_eq!(taken(1_000_000, 10), 3, "it holds no more than a burst");
    }
}
