//! The alerts about the business: for each the state of things in which it fires, and for each of its guards a state of
//! things in which only that guard keeps it quiet.

/// All of them.
pub fn subjects() -> impl Iterator<Item = &'static Subject> {
    DAILY.iter().chain(&super::weekly::WEEKLY)
}

/// A guard: what becomes of the series so that the alert must stay quiet, in which text of the rules it lies, and what is
/// left without it.
pub struct Guard {
    pub name: &'static str,
    /// Series and their values, in place of those with which it fires.
    pub change: &'static [(&'static str, f64)],
    pub text: &'static str,
    pub without: &'static str,
}

/// One alert and what it is tried with.
pub struct Subject {
    pub alert: &'static str,
    /// The series, with values at which it fires.
    pub real: &'static [(&'static str, f64)],
    /// The series that say that things are well again, or were a week ago.
    pub well: &'static [(&'static str, f64)],
    pub guards: &'static [Guard],
    /// It compares with the same hour a week ago.
    pub weekly: bool,
    /// How long it takes to fire, and to end.
    pub lasts: u32,
}

pub const fn guard(
    name: &'static str,
    change: &'static [(&'static str, f64)],
    text: &'static str,
    without: &'static str,
) -> Guard {
    Guard { name, change, text, without }
}

/// So many observations of a metric set in a window.
macro_rules! samples {
    ($window:literal, $set:literal, $least:literal) => {
        concat!("slice:cx_window_samples:covered{window=\"", $window, "\", metric_set=\"", $set, "\"} >= ", $least)
    };
    ($window:literal, $set:literal, $least:literal, or) => {
        concat!(samples!($window, $set, $least), "\n          or")
    };
}

/// So many of them in the window that another is compared with.
macro_rules! usual {
    ($window:literal, $set:literal, $least:literal) => {
        concat!(
            "window=\"",
            $window,
            "\"}\n              and ignoring (figure, metric_set)\n                ",
            "slice:cx_window_samples:covered{metric_set=\"",
            $set,
            "\"} >= ",
            $least
        )
    };
}

/// A figure of a window.
macro_rules! shown {
    ($figure:literal, $window:literal) => {
        concat!("slice:cx_", $figure, ":max{window=\"", $window, "\"}")
    };
}

/// A figure moved by twice the half-width of its interval.
macro_rules! beyond {
    ($end:literal, $window:literal, $figure:literal) => {
        concat!(
            "2 * slice:cx_window_",
            $end,
            ":max{window=\"",
            $window,
            "\", figure=\"",
            $figure,
            "\"} - ignoring (figure) ",
            shown!($figure, $window)
        )
    };
}

/// Those that compare with a limit or with the place's own day.
const DAILY: [Subject; 8] = [
    Subject {
        alert: "CxCsatDropping",
        real: &[
            ("csat_ratio 15m", 0.5),
            ("csat_ratio 1h", 0.5),
            ("upper csat_ratio 1h", 0.6),
            ("lower csat_ratio 1d", 0.78),
            ("lower csat_ratio 28d", 0.9),
            ("samples csat 15m", 25.0),
            ("samples csat 1h", 100.0),
            ("samples csat 1d", 1500.0),
            ("samples csat 28d", 1500.0),
            ("covered csat 15m", 1.0),
            ("covered csat 1h", 1.0),
            ("covered csat 1d", 1.0),
            ("covered csat 28d", 0.1),
        ],
        well: &[("csat_ratio 15m", 0.8), ("csat_ratio 1h", 0.8), ("upper csat_ratio 1h", 0.86)],
        guards: &[
            guard(
                "25 answers in the hour",
                &[("samples csat 1h", 25.0)],
                samples!("1h", "csat", "30"),
                samples!("1h", "csat", "0"),
            ),
            guard(
                "5 answers in the last 15 minutes",
                &[("samples csat 15m", 5.0)],
                samples!("15m", "csat", "8", or),
                samples!("15m", "csat", "0", or),
            ),
            guard(
                "a drop within chance",
                &[("csat_ratio 1h", 0.7), ("upper csat_ratio 1h", 0.77)],
                beyond!("upper", "1h", "csat_ratio"),
                shown!("csat_ratio", "1h"),
            ),
            guard(
                "the last 15 minutes are well again",
                &[("csat_ratio 15m", 0.8)],
                "slice:cx_csat_ratio:max{window=\"15m\"} < ignoring (window) slice:cx_csat_ratio:usual",
                shown!("csat_ratio", "15m"),
            ),
            guard(
                "70 answers in the day it is compared with",
                &[("samples csat 1d", 70.0)],
                usual!("1d", "csat", "100"),
                usual!("1d", "csat", "0"),
            ),
            guard(
                "70 answers in the 28 days it is compared with, and the day is as bad",
                &[("samples csat 28d", 70.0), ("covered csat 28d", 1.0), ("lower csat_ratio 1d", 0.45)],
                usual!("28d", "csat", "100"),
                usual!("28d", "csat", "0"),
            ),
            guard(
                "started half an hour ago",
                &[("covered csat 1h", 0.5), ("covered csat 1d", 0.02)],
                "cx_window_covered_ratio > 0.95",
                "cx_window_covered_ratio > 0",
            ),
        ],
        weekly: false,
        lasts: 5,
    },
    Subject {
        alert: "CxNpsDropping",
        real: &[
            ("nps_ratio 15m", -0.2),
            ("nps_ratio 1h", -0.2),
            ("upper nps_ratio 1h", -0.05),
            ("lower nps_ratio 1d", 0.3),
            ("samples nps 15m", 30.0),
            ("samples nps 1h", 120.0),
            ("samples nps 1d", 1500.0),
            ("covered nps 15m", 1.0),
            ("covered nps 1h", 1.0),
            ("covered nps 1d", 1.0),
        ],
        well: &[("nps_ratio 15m", 0.35), ("nps_ratio 1h", 0.35), ("upper nps_ratio 1h", 0.5)],
        guards: &[
            guard(
                "25 answers in the hour",
                &[("samples nps 1h", 25.0)],
                samples!("1h", "nps", "30"),
                samples!("1h", "nps", "0"),
            ),
            guard(
                "5 answers in the last 15 minutes",
                &[("samples nps 15m", 5.0)],
                samples!("15m", "nps", "8", or),
                samples!("15m", "nps", "0", or),
            ),
            guard(
                "a drop within chance",
                &[("nps_ratio 1h", 0.1), ("upper nps_ratio 1h", 0.25)],
                beyond!("upper", "1h", "nps_ratio"),
                shown!("nps_ratio", "1h"),
            ),
            guard(
                "the last 15 minutes are well again",
                &[("nps_ratio 15m", 0.4)],
                "slice:cx_nps_ratio:max{window=\"15m\"} < ignoring (window) slice:cx_nps_ratio:usual",
                shown!("nps_ratio", "15m"),
            ),
            guard(
                "70 answers in the day it is compared with",
                &[("samples nps 1d", 70.0)],
                usual!("1d", "nps", "100"),
                usual!("1d", "nps", "0"),
            ),
            guard(
                "70 answers in the 28 days it is compared with, and the day is as bad",
                &[
                    ("lower nps_ratio 28d", 0.4),
                    ("samples nps 28d", 70.0),
                    ("covered nps 28d", 1.0),
                    ("lower nps_ratio 1d", -0.25),
                ],
                usual!("28d", "nps", "100"),
                usual!("28d", "nps", "0"),
            ),
            guard(
                "started half an hour ago",
                &[("covered nps 1h", 0.5), ("covered nps 1d", 0.02)],
                "cx_window_covered_ratio > 0.95",
                "cx_window_covered_ratio > 0",
            ),
        ],
        weekly: false,
        lasts: 5,
    },
    Subject {
        alert: "CxChurnJumping",
        real: &[
            ("window_churned 1h", 5.0),
            ("window_churned 1d", 100.0),
            ("window_churned 28d", 1120.0),
            ("samples customers 1d", 300.0),
            ("samples customers 28d", 6000.0),
            ("covered customers 1d", 1.0),
            ("covered customers 28d", 1.0),
        ],
        well: &[("window_churned 1d", 45.0)],
        guards: &[
            guard(
                "a day within chance",
                &[("window_churned 1d", 60.0)],
                "/ 28 + 4 * sqrt(slice:cx_window_churned:max{window=\"28d\"} / 28)",
                "/ 28",
            ),
            guard(
                "the last hour is as usual",
                &[("window_churned 1h", 1.0)],
                ">= ignoring (window) slice:cx_window_churned:max{window=\"28d\"} / 28 / 24",
                ">= 0",
            ),
            guard(
                "a handful of customers",
                &[("window_churned 1h", 1.0), ("window_churned 1d", 12.0), ("window_churned 28d", 28.0)],
                "slice:cx_window_churned:max{window=\"1d\"} >= 20",
                "slice:cx_window_churned:max{window=\"1d\"} >= 0",
            ),
            guard(
                "watched for two weeks",
                &[("covered customers 28d", 0.5)],
                "slice:cx_window_samples:covered{window=\"28d\", metric_set=\"customers\"}\n          or",
                "slice:cx_window_churned:max{window=\"28d\"}\n          or",
            ),
            guard(
                "a gap in the day",
                &[("covered customers 1d", 0.8)],
                "slice:cx_window_samples:covered{window=\"1d\", metric_set=\"customers\"}\n          and ignoring (window, metric_set)",
                "slice:cx_window_churned:max{window=\"1d\"}\n          and ignoring (window, metric_set)",
            ),
        ],
        weekly: false,
        lasts: 5,
    },
    Subject {
        alert: "CxAbandonmentHigh",
        real: &[
            ("abandonment_ratio 15m", 0.3),
            ("abandonment_ratio 1h", 0.3),
            ("lower abandonment_ratio 1h", 0.25),
            ("samples contacts 15m", 80.0),
            ("samples contacts 1h", 300.0),
            ("covered contacts 15m", 1.0),
            ("covered contacts 1h", 1.0),
        ],
        well: &[("abandonment_ratio 15m", 0.05), ("abandonment_ratio 1h", 0.1), ("lower abandonment_ratio 1h", 0.08)],
        guards: &[
            guard(
                "25 contacts in the hour",
                &[("samples contacts 1h", 25.0)],
                samples!("1h", "contacts", "30"),
                samples!("1h", "contacts", "0"),
            ),
            guard(
                "5 contacts in the last 15 minutes",
                &[("samples contacts 15m", 5.0)],
                samples!("15m", "contacts", "8", or),
                samples!("15m", "contacts", "0", or),
            ),
            guard(
                "above the limit within chance",
                &[("abandonment_ratio 1h", 0.2), ("lower abandonment_ratio 1h", 0.17)],
                beyond!("lower", "1h", "abandonment_ratio"),
                shown!("abandonment_ratio", "1h"),
            ),
            guard(
                "the last 15 minutes are well again",
                &[("abandonment_ratio 15m", 0.05)],
                "slice:cx_abandonment_ratio:max{window=\"15m\"} > 0.15",
                shown!("abandonment_ratio", "15m"),
            ),
            guard(
                "started half an hour ago",
                &[("covered contacts 1h", 0.5)],
                "cx_window_covered_ratio > 0.95",
                "cx_window_covered_ratio > 0",
            ),
        ],
        weekly: false,
        lasts: 5,
    },
    Subject {
        alert: "CxServiceLevelBurningFast",
        real: &[
            ("service_level_ratio 15m", 0.2),
            ("service_level_ratio 1h", 0.2),
            ("upper service_level_ratio 1h", 0.26),
            ("samples contacts 15m", 80.0),
            ("samples contacts 1h", 300.0),
            ("covered contacts 15m", 1.0),
            ("covered contacts 1h", 1.0),
        ],
        well: &[
            ("service_level_ratio 15m", 0.85),
            ("service_level_ratio 1h", 0.6),
            ("upper service_level_ratio 1h", 0.65),
        ],
        guards: &[
            guard(
                "25 contacts in the hour",
                &[("samples contacts 1h", 25.0)],
                samples!("1h", "contacts", "30"),
                samples!("1h", "contacts", "0"),
            ),
            guard(
                "5 contacts in the last 15 minutes",
                &[("samples contacts 15m", 5.0)],
                samples!("15m", "contacts", "8", or),
                samples!("15m", "contacts", "0", or),
            ),
            guard(
                "below the limit within chance",
                &[("service_level_ratio 1h", 0.35), ("upper service_level_ratio 1h", 0.39)],
                beyond!("upper", "1h", "service_level_ratio"),
                shown!("service_level_ratio", "1h"),
            ),
            guard(
                "the last 15 minutes are well again",
                &[("service_level_ratio 15m", 0.85)],
                "slice:cx_service_level_ratio:max{window=\"15m\"} < 1 - 3 * 0.2",
                shown!("service_level_ratio", "15m"),
            ),
            guard(
                "started half an hour ago",
                &[("covered contacts 1h", 0.5)],
                "cx_window_covered_ratio > 0.95",
                "cx_window_covered_ratio > 0",
            ),
        ],
        weekly: false,
        lasts: 5,
    },
    Subject {
        alert: "CxServiceLevelBurningSlow",
        real: &[
            ("service_level_ratio 1h", 0.6),
            ("service_level_ratio 1d", 0.6),
            ("upper service_level_ratio 1d", 0.62),
            ("samples contacts 1h", 300.0),
            ("samples contacts 1d", 5000.0),
            ("covered contacts 1h", 1.0),
            ("covered contacts 1d", 1.0),
        ],
        well: &[
            ("service_level_ratio 1h", 0.85),
            ("service_level_ratio 1d", 0.75),
            ("upper service_level_ratio 1d", 0.76),
        ],
        guards: &[
            guard(
                "70 contacts in the day",
                &[("samples contacts 1d", 70.0)],
                samples!("1d", "contacts", "100"),
                samples!("1d", "contacts", "0"),
            ),
            guard(
                "5 contacts in the last hour",
                &[("samples contacts 1h", 5.0)],
                samples!("1h", "contacts", "8", or),
                samples!("1h", "contacts", "0", or),
            ),
            guard(
                "below the limit within chance",
                &[("service_level_ratio 1d", 0.68), ("upper service_level_ratio 1d", 0.695)],
                beyond!("upper", "1d", "service_level_ratio"),
                shown!("service_level_ratio", "1d"),
            ),
            guard(
                "the last hour is well again",
                &[("service_level_ratio 1h", 0.85)],
                "slice:cx_service_level_ratio:max{window=\"1h\"} < 1 - 1.5 * 0.2",
                shown!("service_level_ratio", "1h"),
            ),
            guard(
                "started half a day ago",
                &[("covered contacts 1d", 0.5)],
                "cx_window_covered_ratio > 0.95",
                "cx_window_covered_ratio > 0",
            ),
        ],
        weekly: false,
        lasts: 30,
    },
    Subject {
        alert: "CxWaitHigh",
        real: &[
            ("speed_of_answer_seconds 15m", 90.0),
            ("speed_of_answer_seconds 1h", 90.0),
            ("lower speed_of_answer_seconds 1h", 80.0),
            ("speed_of_answer_seconds 1d", 20.0),
            ("samples contacts 1h", 300.0),
            ("samples contacts 1d", 5000.0),
            ("covered contacts 1h", 1.0),
            ("covered contacts 1d", 1.0),
        ],
        well: &[
            ("speed_of_answer_seconds 15m", 20.0),
            ("speed_of_answer_seconds 1h", 40.0),
            ("lower speed_of_answer_seconds 1h", 35.0),
        ],
        guards: &[
            guard(
                "longer within chance",
                &[("lower speed_of_answer_seconds 1h", 70.0)],
                beyond!("lower", "1h", "speed_of_answer_seconds"),
                shown!("speed_of_answer_seconds", "1h"),
            ),
            guard(
                "the last 15 minutes are well again",
                &[("speed_of_answer_seconds 15m", 20.0)],
                "slice:cx_speed_of_answer_seconds:max{window=\"15m\"} > ignoring (window) 3 * slice:cx_speed_of_answer_seconds:max{window=\"1d\"}",
                shown!("speed_of_answer_seconds", "15m"),
            ),
            guard(
                "400 contacts in the day it is compared with",
                &[("samples contacts 1d", 400.0)],
                samples!("1d", "contacts", "500"),
                samples!("1d", "contacts", "0"),
            ),
            guard(
                "started half an hour ago",
                &[("covered contacts 1h", 0.5), ("covered contacts 1d", 0.02)],
                "cx_window_covered_ratio > 0.95",
                "cx_window_covered_ratio > 0",
            ),
        ],
        weekly: false,
        lasts: 5,
    },
    Subject {
        alert: "CxHoldHigh",
        real: &[
            ("hold_mean_seconds 15m", 150.0),
            ("hold_mean_seconds 1h", 150.0),
            ("lower hold_mean_seconds 1h", 130.0),
            ("hold_mean_seconds 1d", 45.0),
            ("samples contacts 1h", 600.0),
            ("samples contacts 1d", 9000.0),
            ("covered contacts 1h", 1.0),
            ("covered contacts 1d", 1.0),
        ],
        well: &[("hold_mean_seconds 15m", 45.0), ("hold_mean_seconds 1h", 60.0), ("lower hold_mean_seconds 1h", 55.0)],
        guards: &[
            guard(
                "longer within chance",
                &[("lower hold_mean_seconds 1h", 110.0)],
                beyond!("lower", "1h", "hold_mean_seconds"),
                shown!("hold_mean_seconds", "1h"),
            ),
            guard(
                "the last 15 minutes are well again",
                &[("hold_mean_seconds 15m", 45.0)],
                "slice:cx_hold_mean_seconds:max{window=\"15m\"} > ignoring (window) 2 * slice:cx_hold_mean_seconds:max{window=\"1d\"}",
                shown!("hold_mean_seconds", "15m"),
            ),
            guard(
                "400 contacts in the day it is compared with",
                &[("samples contacts 1d", 400.0)],
                samples!("1d", "contacts", "500"),
                samples!("1d", "contacts", "0"),
            ),
            guard(
                "started half an hour ago",
                &[("covered contacts 1h", 0.5), ("covered contacts 1d", 0.02)],
                "cx_window_covered_ratio > 0.95",
                "cx_window_covered_ratio > 0",
            ),
        ],
        weekly: false,
        lasts: 5,
    },
];
