//! When it is busy: the shape of a day and of a week, and how many events fall into each minute.

use super::random::Random;

const DAY_MINUTES: i64 = 1_440;

/// How busy each hour of a weekday begins: a quiet night, a peak before noon, one in the afternoon.
const HOURS: [u32; 24] = [8, 6, 5, 5, 6, 10, 22, 45, 75, 95, 100, 94, 80, 82, 92, 97, 90, 76, 60, 48, 38, 28, 18, 12];

/// Per cent of a weekday's traffic, Monday first.
const DAYS: [u32; 7] = [104, 102, 100, 98, 96, 55, 40];

/// The weight of the busiest minute there is.
const WEIGHT_MAX: u32 = 100 * 60 * 104;

/// How busy a minute is, relative to others. The minute is counted from the epoch in the business's own time.
///
/// ```
/// use touchstone::workload::weight;
/// let monday = 4 * 1_440; // 1970-01-05
/// assert!(weight(monday + 10 * 60) > 10 * weight(monday + 3 * 60), "night");
/// assert!(weight(monday + 5 * 1_440 + 600) < weight(monday + 600), "weekend");
/// ```
pub fn weight(minute: i64) -> u32 {
    let (day, of_day) = (minute.div_euclid(DAY_MINUTES), minute.rem_euclid(DAY_MINUTES) as u32);
    let (hour, minutes) = ((of_day / 60) as usize, of_day % 60);
    let traffic = HOURS[hour] * (60 - minutes) + HOURS[(hour + 1) % 24] * minutes;
    // 1970-01-01 was a Thursday.
    traffic * DAYS[(day + 3).rem_euclid(7) as usize]
}

/// How busy a minute is, in thousandths of the busiest there is.
pub(super) fn busy(minute: i64) -> u64 {
    u64::from(weight(minute)) * 1_000 / u64::from(WEIGHT_MAX)
}

/// How many events a minute has where an average weekday has `per_day`, with the unevenness of chance.
pub fn minute_count(seed: u64, minute: i64, offset_minutes: i64, per_day: u32) -> u32 {
    // What the minutes of a weekday add up to.
    const DAY_WEIGHT: u64 = 1_192 * 60 * 60 * 100;
    let local = minute + offset_minutes;
    // In 1/256 events, so that a quiet minute is not rounded to the same number each time.
    let expected = 256 * u64::from(per_day) * u64::from(weight(local)) / DAY_WEIGHT;
    let mut random = Random::at(seed, minute, u32::MAX);
    // The sum of 12 uniform numbers is all but normal; a Poisson count deviates by the root of what is expected.
    let sum: u64 = (0..12).map(|_| u64::from(random.below(1 << 10))).sum();
    let root = (expected << 8).isqrt();
    let deviation = (root.cast_signed() * (sum.cast_signed() - 6 * 1_024)) >> 10;
    let count = (expected.cast_signed() + deviation + i64::from(random.below(256))).max(0) >> 8;
    u32::try_from(count).unwrap_or(u32::MAX)
}

/// `total` events spread over minutes by their weights, exactly: (minute, how many), in order.
///
/// ```
/// let spread: Vec<(i64, u64)> = touchstone::workload::spread(0, 1_440, 100_000).collect();
/// assert_eq!(spread.len(), 1_440);
/// assert_eq!(spread.iter().map(|(_, count)| count).sum::<u64>(), 100_000);
/// ```
pub fn spread(from_minute: i64, minutes: i64, total: u64) -> impl Iterator<Item = (i64, u64)> {
    let minutes = from_minute..from_minute + minutes;
    let all: u128 = minutes.clone().map(|minute| u128::from(weight(minute))).sum();
    let (mut weights, mut before) = (0_u128, 0_u64);
    minutes.map(move |minute| {
        weights += u128::from(weight(minute));
        let up_to = (u128::from(total) * weights / all.max(1)) as u64;
        let count = up_to - before;
        before = up_to;
        (minute, count)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_weekday_has_what_it_is_said_to_have() {
        let wednesday = 6 * DAY_MINUTES;
        let total: u32 = (wednesday..wednesday + DAY_MINUTES).map(|minute| minute_count(7, minute, 0, 240_000)).sum();
        assert!((238_000..242_000).contains(&total), "{total}");
        let sunday = 10 * DAY_MINUTES;
        let total: u32 = (sunday..sunday + DAY_MINUTES).map(|minute| minute_count(7, minute, 0, 240_000)).sum();
        assert!((95_000..97_000).contains(&total), "{total}");
    }

    #[test]
    fn a_day_has_two_peaks() {
        let hours: Vec<u32> = (0..24).map(|hour| weight(4 * DAY_MINUTES + hour * 60)).collect();
        let peaks = (1..23).filter(|hour| hours[*hour] > hours[hour - 1] && hours[*hour] > hours[hour + 1]).count();
        assert_eq!(peaks, 2);
    }
}
