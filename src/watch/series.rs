//! What was seen of one figure, look by look: kept first, asked later.
//!
//! Looks that found the same are one sample, and old samples are forgotten: a series of a queue at
//! rest holds one sample, however long it is watched.

use std::collections::VecDeque;
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::units::seconds;

/// So many samples are kept.
const MOST: usize = 16;

/// Nothing is known of the time between two looks that are further apart.
pub const PAUSE: Duration = Duration::from_secs(1);

/// A queue that is not on screen is looked at now and then: so many such looks in a row prove as much.
const ENOUGH: usize = 3;

/// When a figure was asked for, when the answer came, and how old it may have been when it was asked for.
#[derive(Debug, Clone, Copy)]
pub struct SampleTime {
    pub asked: Duration,
    pub at: Duration,
    pub lag: Duration,
}

impl SampleTime {
    /// An answer of this instant.
    pub fn exact(at: Duration) -> Self {
        let lag = Duration::ZERO;
        Self { asked: at, at, lag }
    }
}

/// Looks in a row that found the same.
#[derive(Debug, Clone, Copy)]
pub struct Sample<T> {
    pub value: T,
    /// When the first of them was answered.
    pub since: Duration,
    /// When the last of them was asked for.
    pub at: Duration,
    pub looks: u32,
}

#[derive(Debug, Clone)]
pub struct Series<T>(VecDeque<Sample<T>>);

impl<T> Default for Series<T> {
    fn default() -> Self {
        Self(VecDeque::new())
    }
}

impl<T: Copy + PartialEq> Series<T> {
    pub fn push(&mut self, value: T, look: SampleTime) {
        self.push_within(Duration::MAX, value, look);
    }

    /// The same value after a pause is a sample of its own.
    pub fn push_unbroken(&mut self, value: T, look: SampleTime) {
        self.push_within(PAUSE, value, look);
    }

    fn push_within(&mut self, pause: Duration, value: T, look: SampleTime) {
        match self.0.back_mut() {
            Some(last) if last.value == value && look.asked.saturating_sub(last.at) <= pause => {
                last.at = last.at.max(look.asked);
                last.looks += 1;
            }
            _ => self.append(value, look),
        }
    }

    fn append(&mut self, value: T, look: SampleTime) {
        match self.0.len() {
            // Most series never need room for a second one.
            0 => self.0.reserve_exact(1),
            MOST => drop(self.0.pop_front()),
            _ => {}
        }
        self.0.push_back(Sample {
            value,
            since: look.at,
            at: look.asked,
            looks: 1,
        });
    }

    pub fn clear(&mut self) {
        self.0.clear();
    }

    pub fn latest(&self) -> Option<Sample<T>> {
        self.0.back().copied()
    }

    pub fn latest_not_older_than(&self, age: Duration, now: Duration) -> Option<Sample<T>> {
        self.latest().filter(|last| now.saturating_sub(last.at) <= age)
    }

    pub fn newest_first(&self) -> impl Iterator<Item = Sample<T>> {
        self.0.iter().rev().copied()
    }

    /// What was known at that time.
    pub fn value_by(&self, at: Duration) -> Option<T> {
        let known = self.newest_first().find(|sample| sample.since <= at)?;
        Some(known.value)
    }

    /// No look in this time found anything else.
    pub fn held_throughout(&self, range: RangeInclusive<Duration>, predicate: impl Fn(T) -> bool) -> bool {
        let reaches = |sample: &Sample<T>| sample.since <= *range.end() && sample.at >= *range.start();
        self.0
            .iter()
            .all(|sample| !reaches(sample) || predicate(sample.value))
    }

    /// When a look first found what is there now; `None` if nothing else was ever found.
    pub fn changed(&self) -> Option<Duration> {
        (self.0.len() > 1).then(|| self.latest().map(|last| last.since))?
    }

    /// When one value followed another for which this is true, the newest first.
    pub fn steps(&self, is_it: impl Fn(&Sample<T>, &Sample<T>) -> bool) -> impl Iterator<Item = Duration> {
        let pairs = self.0.iter().zip(self.0.iter().skip(1)).rev();
        pairs.filter_map(move |(before, after)| is_it(before, after).then_some(after.since))
    }
}

impl Series<bool> {
    pub fn since(&self) -> Option<Duration> {
        self.latest().filter(|last| last.value).map(|last| last.since)
    }

    /// For how long it has been so, if that is as long as `limit` and the last look is of now. Time without
    /// a look counts for nothing: whatever was not looked at may have been otherwise.
    pub fn held_for(&self, limit: Duration, now: Duration) -> Option<String> {
        let last = self.latest_not_older_than(PAUSE, now).filter(|last| last.value)?;
        let held = last.at.saturating_sub(last.since);
        if held >= limit {
            return Some(format!("for {}", seconds(held)));
        }
        let looks = self.newest_first().take_while(|sample| sample.value);
        let (count, first) = looks.fold((0, last), |(count, _), sample| (count + 1, sample));
        let within = last.at.saturating_sub(first.since);
        (count >= ENOUGH && within >= limit).then(|| format!("in {count} looks within {}", seconds(within)))
    }
}

/// A sum that only rises.
impl Series<u64> {
    /// So many more. What comes within a second of the sample before is counted with the last one: the sum and the
    /// time of its last rise stay exact, and the samples reach back for as many seconds.
    pub fn add(&mut self, count: u64, at: Duration) {
        let sum = self.sum() + count;
        let before = self.newest_first().nth(1).map(|before| before.since);
        if before.is_some_and(|before| self.last() < Some(before + Duration::from_secs(1))) {
            self.0.pop_back();
        }
        self.append(sum, SampleTime::exact(at));
    }

    pub fn sum(&self) -> u64 {
        self.latest().map_or(0, |last| last.value)
    }

    /// When it last rose.
    pub fn last(&self) -> Option<Duration> {
        self.latest().map(|last| last.since)
    }

    /// A level, the most of each second: a burst is not over with its first message. Nothing is not blurred.
    pub fn push_peak(&mut self, level: u64, look: SampleTime) {
        match self.0.back_mut() {
            Some(last) if level > 0 && last.value > 0 && look.at < last.since + Duration::from_secs(1) => {
                last.value = last.value.max(level);
                last.at = look.asked;
            }
            _ => self.push(level, look),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: f64) -> SampleTime {
        SampleTime::exact(Duration::from_secs_f64(seconds))
    }

    fn secs(seconds: f64) -> Duration {
        Duration::from_secs_f64(seconds)
    }

    #[test]
    fn looks_that_found_the_same_are_one_sample() {
        let mut series = Series::default();
        for second in 0..100 {
            series.push(7_u64, at(f64::from(second)));
        }
        let last = series.latest().expect("a sample");
        assert_eq!((last.since, last.at, last.looks), (secs(0.0), secs(99.0), 100));
        assert_eq!((series.0.len(), series.changed()), (1, None));
        series.push(8, at(100.0));
        assert_eq!(series.changed(), Some(secs(100.0)));
    }

    #[test]
    fn a_series_is_bounded_and_a_sum_reaches_back_for_seconds() {
        let mut sum = Series::default();
        for tenth in 0..1000 {
            sum.add(1, secs(f64::from(tenth) / 10.0));
        }
        assert_eq!(
            (sum.0.len(), sum.sum(), sum.last()),
            (MOST, 1000, Some(secs(99.9)))
        );
        let known = sum.value_by(secs(89.9)).expect("known");
        assert!((890..=900).contains(&known), "{known}");
    }

    #[test]
    fn a_pause_breaks_what_held() {
        let mut nobody = Series::default();
        for tenth in 0..30 {
            nobody.push_unbroken(true, at(f64::from(tenth) / 10.0));
        }
        let limit = secs(2.0);
        assert!(nobody.held_for(limit, secs(3.0)).is_some());
        assert_eq!(nobody.held_for(limit, secs(4.0)), None, "nobody looks any more");
        nobody.push_unbroken(true, at(6.0));
        assert_eq!(nobody.held_for(limit, secs(6.0)), None);
        nobody.push_unbroken(true, at(9.0));
        assert_eq!(
            nobody.held_for(limit, secs(9.0)).as_deref(),
            Some("in 3 looks within 9.0 s")
        );
        nobody.push_unbroken(false, at(9.1));
        assert_eq!(nobody.held_for(limit, secs(9.1)), None);
    }

    #[test]
    fn what_a_range_holds_is_what_was_looked_at_in_it() {
        let mut consumers = Series::default();
        for (second, count) in [(0.0, 1_u64), (1.0, 1), (2.0, 0), (9.0, 0)] {
            consumers.push(count, at(second));
        }
        let nobody = |from: f64, to: f64| consumers.held_throughout(secs(from)..=secs(to), |n| n == 0);
        assert!(nobody(1.5, 9.0) && nobody(20.0, 30.0));
        assert!(!nobody(0.5, 9.0) && !nobody(1.0, 1.0));
        assert_eq!(consumers.steps(|a, b| b.value < a.value).next(), Some(secs(2.0)));
        assert_eq!(consumers.steps(|a, b| b.value > a.value).next(), None);
    }
}
