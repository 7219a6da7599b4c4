//! The alerts about the business that compare with the same hour a week ago, and with that of the week before.

use super::subjects::{Subject, guard};

pub const WEEKLY: [Subject; 3] = [
    Subject {
        alert: "CxContactVolumeCollapsed",
        real: &[
            ("window_offered 15m", 10.0),
            ("window_offered 1h", 40.0),
            ("samples contacts 1h", 40.0),
            ("covered contacts 1h", 1.0),
        ],
        well: &[("window_offered 15m", 50.0), ("window_offered 1h", 200.0)],
        guards: &[
            guard(
                "fewer, but more than half",
                &[("window_offered 1h", 110.0)],
                "slice:cx_window_offered:max{window=\"1h\"} < 0.5 * slice:cx_window_offered:max{window=\"1h\"} offset 1w",
                shown!("window_offered", "1h"),
            ),
            guard(
                "the last 15 minutes are well again",
                &[("window_offered 15m", 45.0)],
                "slice:cx_window_offered:max{window=\"15m\"} < 0.5 * slice:cx_window_offered:max{window=\"15m\"} offset 1w",
                shown!("window_offered", "15m"),
            ),
            guard(
                "a gap in the hour",
                &[("covered contacts 1h", 0.5)],
                "slice:cx_window_samples:covered{window=\"1h\", metric_set=\"contacts\"}\n          and ignoring (metric_set)",
                "slice:cx_window_offered:max{window=\"1h\"}\n          and ignoring (metric_set)",
            ),
            guard(
                "a gap in that hour a week ago",
                &[("before: covered contacts 1h", 0.5)],
                "slice:cx_window_samples:covered{window=\"1h\", metric_set=\"contacts\"} offset 1w",
                shown!("window_offered", "1h"),
            ),
            guard(
                "that hour of last week was the exception",
                &[("before last: window_offered 1h", 70.0)],
                "slice:cx_window_offered:max{window=\"1h\"} >= 0.5 * slice:cx_window_offered:max{window=\"1h\"} offset 2w",
                "slice:cx_window_offered:max{window=\"1h\"} < 0",
            ),
        ],
        weekly: true,
        lasts: 10,
    },
    Subject {
        alert: "CxContactVolumeExploded",
        real: &[
            ("window_offered 15m", 150.0),
            ("window_offered 1h", 600.0),
            ("samples contacts 1h", 600.0),
            ("covered contacts 1h", 1.0),
        ],
        well: &[("window_offered 15m", 50.0), ("window_offered 1h", 200.0)],
        guards: &[
            guard(
                "more, but less than twice as many",
                &[("window_offered 1h", 390.0)],
                "slice:cx_window_offered:max{window=\"1h\"} > 2 * slice:cx_window_offered:max{window=\"1h\"} offset 1w",
                shown!("window_offered", "1h"),
            ),
            guard(
                "the last 15 minutes are well again",
                &[("window_offered 15m", 60.0)],
                "slice:cx_window_offered:max{window=\"15m\"} > 2 * slice:cx_window_offered:max{window=\"15m\"} offset 1w",
                shown!("window_offered", "15m"),
            ),
            guard(
                "a gap in the hour",
                &[("covered contacts 1h", 0.5)],
                "slice:cx_window_samples:covered{window=\"1h\", metric_set=\"contacts\"}\n          and ignoring (metric_set)",
                "slice:cx_window_offered:max{window=\"1h\"}\n          and ignoring (metric_set)",
            ),
            guard(
                "a gap in that hour a week ago",
                &[("before: covered contacts 1h", 0.5)],
                "slice:cx_window_samples:covered{window=\"1h\", metric_set=\"contacts\"} offset 1w",
                shown!("window_offered", "1h"),
            ),
            guard(
                "that hour of last week was the exception",
                &[("before last: window_offered 1h", 500.0)],
                "slice:cx_window_offered:max{window=\"1h\"} <= 2 * slice:cx_window_offered:max{window=\"1h\"} offset 2w",
                "slice:cx_window_offered:max{window=\"1h\"} < 0",
            ),
        ],
        weekly: true,
        lasts: 10,
    },
    Subject {
        alert: "CxChannelShareShifted",
        real: &[
            ("channel_share_ratio 15m", 0.2),
            ("channel_share_ratio 1h", 0.2),
            ("upper channel_share_ratio 1h", 0.22),
            ("samples touchpoints 1h", 1500.0),
            ("covered touchpoints 1h", 1.0),
        ],
        well: &[
            ("channel_share_ratio 15m", 0.4),
            ("channel_share_ratio 1h", 0.4),
            ("upper channel_share_ratio 1h", 0.43),
        ],
        guards: &[
            guard(
                "a small shift, for certain",
                &[("channel_share_ratio 1h", 0.32), ("upper channel_share_ratio 1h", 0.325)],
                "abs(slice:cx_channel_share_ratio:max{window=\"1h\"} - slice:cx_channel_share_ratio:max{window=\"1h\"} offset 1w) > 0.1",
                "abs(slice:cx_channel_share_ratio:max{window=\"1h\"} - slice:cx_channel_share_ratio:max{window=\"1h\"} offset 1w) > 0",
            ),
            guard(
                "a shift within chance",
                &[("upper channel_share_ratio 1h", 0.3)],
                "3 * (slice:cx_window_upper:max{window=\"1h\", figure=\"channel_share_ratio\"}",
                "0 * (slice:cx_window_upper:max{window=\"1h\", figure=\"channel_share_ratio\"}",
            ),
            guard(
                "the last 15 minutes are well again",
                &[("channel_share_ratio 15m", 0.4)],
                "abs(slice:cx_channel_share_ratio:max{window=\"15m\"} - slice:cx_channel_share_ratio:max{window=\"15m\"} offset 1w) > 0.1",
                "abs(slice:cx_channel_share_ratio:max{window=\"15m\"} - slice:cx_channel_share_ratio:max{window=\"15m\"} offset 1w) >= 0",
            ),
            guard(
                "70 touches in the hour",
                &[("samples touchpoints 1h", 70.0)],
                "metric_set=\"touchpoints\"} >= 100",
                "metric_set=\"touchpoints\"} >= 0",
            ),
            guard(
                "a gap in the hour",
                &[("covered touchpoints 1h", 0.5)],
                "cx_window_covered_ratio > 0.95",
                "cx_window_covered_ratio > 0",
            ),
            guard(
                "that hour of last week was the exception",
                &[("before last: channel_share_ratio 1h", 0.22)],
                "abs(slice:cx_channel_share_ratio:max{window=\"1h\"} - slice:cx_channel_share_ratio:max{window=\"1h\"} offset 2w) <= 0.1",
                "slice:cx_channel_share_ratio:max{window=\"1h\"} < 0",
            ),
        ],
        weekly: true,
        lasts: 10,
    },
];
