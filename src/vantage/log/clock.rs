//! When a line was written, by our clock, from the time it states by its own.
//!
//! Log times usually lack a zone. The file's last change tells it: the last line was written then,
//! so the difference, rounded to a quarter of an hour, is the zone's offset.

use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use jiff::civil::DateTime;

/// A file's clock against ours.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Seconds that the log's local times are ahead of UTC.
    offset_s: i64,
}

impl Clock {
    /// Learns the offset from the last stated time and the file's last change.
    pub fn learn(last_stated: &str, changed: SystemTime) -> Option<Self> {
        let changed = i64::try_from(changed.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs()).ok()?;
        let stated = as_if_utc(last_stated)?.as_second();
        let quarter = 15 * 60;
        let offset_s = ((stated - changed) as f64 / quarter as f64).round() as i64 * quarter;
        // No zone is further than 14 hours away: the file was changed by something else.
        (offset_s.abs() <= 14 * 3600).then_some(Self { offset_s })
    }

    /// How long before `now` a line was written; `None` if it does not say when.
    pub fn age(&self, stated: &str, now: SystemTime) -> Option<Duration> {
        let at = match stated.trim().parse::<Timestamp>() {
            Ok(with_zone) => with_zone.as_millisecond(),
            Err(_) => as_if_utc(stated)?.as_millisecond() - self.offset_s * 1000,
        };
        let now = i64::try_from(now.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_millis()).ok()?;
        u64::try_from(now - at).ok().map(Duration::from_millis)
    }
}

/// The stated time, read as if it were UTC.
fn as_if_utc(stated: &str) -> Option<Timestamp> {
    let text = stated.trim().replace(',', ".").replace('/', "-");
    if let Ok(with_zone) = text.parse::<Timestamp>() {
        return Some(with_zone);
    }
    let civil: DateTime = text.parse().ok()?;
    civil
        .to_zoned(jiff::tz::TimeZone::UTC)
        .ok()
        .map(|zoned| zoned.timestamp())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_zone_is_learned_from_the_last_change() {
        let changed = SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_003);
        // 1_700_000_000 is 2023-11-14 22:13:20 UTC; the log is two hours ahead.
        let clock = Clock::learn("2023-11-15 00:13:20,000", changed).expect("an offset");
        let age = clock.age(
            "2023-11-15 00:13:10,500",
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        );
        assert_eq!(age, Some(Duration::from_millis(9_500)));
        assert!(Clock::learn("10:00:00", changed).is_none());
    }

    #[test]
    fn a_stated_zone_is_believed() {
        let clock = Clock { offset_s: 7200 };
        let age = clock.age(
            "2023-11-14T22:13:20Z",
            SystemTime::UNIX_EPOCH + Duration::from_secs(1_700_000_001),
        );
        assert_eq!(age, Some(Duration::from_secs(1)));
    }
}
