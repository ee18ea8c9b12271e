//! How fast a scan goes: spread over its interval, so that neither registries nor the gate's own core see it come.

use std::time::Duration;

use chrono::TimeDelta;

/// Rounds in one interval: what is due comes in so many parts.
const ROUNDS: i32 = 24;
/// Rounds are no further apart, so that what is new is seen within that time.
const LONGEST_ROUND: Duration = Duration::from_secs(15 * 60);
/// Shorter, and listing would be all that it does.
pub const SHORTEST_PAUSE: Duration = Duration::from_secs(1);
/// The pause after a list that failed.
pub const AFTER_FAILURE: Duration = Duration::from_secs(30);
/// The longest pause between two look-ups: a few of them need not wait for half a round.
const LONGEST_PAUSE: Duration = Duration::from_millis(500);

/// The time from one round to the next.
pub fn round_every(interval: TimeDelta) -> Duration {
    (interval / ROUNDS).to_std().unwrap_or_default().clamp(SHORTEST_PAUSE, LONGEST_ROUND)
}

/// The pause between the beginnings of two look-ups of one round: all of them take half of it.
pub fn pause(interval: TimeDelta, due: usize) -> Duration {
    let due = u32::try_from(due.max(1)).unwrap_or(u32::MAX);
    (round_every(interval) / 2 / due).min(LONGEST_PAUSE)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scan_is_spread_and_nothing_waits_for_long() {
        assert_eq!(round_every(TimeDelta::hours(6)), Duration::from_secs(900));
        assert_eq!(round_every(TimeDelta::hours(1)), Duration::from_secs(150));
        assert_eq!(round_every(TimeDelta::days(30)), LONGEST_ROUND);
        assert_eq!(round_every(TimeDelta::seconds(2)), SHORTEST_PAUSE);
        assert_eq!(pause(TimeDelta::hours(6), 2_000), Duration::from_millis(225));
        assert_eq!(pause(TimeDelta::hours(6), 0), LONGEST_PAUSE);
        assert_eq!(pause(TimeDelta::hours(6), 3), LONGEST_PAUSE);
    }
}
