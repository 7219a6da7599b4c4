//! Every figure that exists: its meaning, formula, interval and where it comes from. From here come the help
//! texts of `/metrics`, the schema of the published records and docs/METRICS.md.

/// What is to be said about one figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FigureInfo {
    /// The name in records; `cx_` + name in `/metrics`.
    pub name: &'static str,
    /// The metric set it belongs to.
    pub set: &'static str,
    /// One sentence.
    pub help: &'static str,
    /// The formula over the names in `counts`.
    pub formula: &'static str,
    /// Which interval it carries.
    pub interval: &'static str,
    /// The label that tells several of them apart, if there is one.
    pub key: Option<&'static str>,
}

const fn figure(
    set: &'static str,
    name: &'static str,
    help: &'static str,
    formula: &'static str,
    interval: &'static str,
    key: Option<&'static str>,
) -> FigureInfo {
    FigureInfo { name, set, help, formula, interval, key }
}

/// Every figure, sorted by metric set and name.
pub const FIGURES: &[FigureInfo] = &[
    figure(
        "ces",
        "ces_ease_ratio",
        "Mean ease, 0 hard to 1 easy, over all scales",
        "mean of (s - min) / (max - min), turned round where high means hard",
        "t, from 30 answers",
        None,
    ),
    figure(
        "ces",
        "ces_score",
        "Mean of the raw effort scores of one scale",
        "sum of scores / answers",
        "t, from 30 answers",
        Some("scale"),
    ),
    figure(
        "contacts",
        "abandonment_ratio",
        "Share of offered contacts given up before an agent took them, short abandons left out",
        "(abandoned - short_abandoned) / (offered - short_abandoned)",
        "Wilson",
        None,
    ),
    figure(
        "contacts",
        "first_response_quantile_seconds",
        "Quantile of the time until the first response",
        "rank ceil(q n) of first response times",
        "none",
        Some("q"),
    ),
    figure(
        "contacts",
        "first_response_seconds",
        "Mean time until the first response",
        "first_response_ms / first_response_known",
        "t, from 100 contacts",
        None,
    ),
    figure(
        "contacts",
        "handle_time_seconds",
        "Mean talk, hold and wrap-up time of answered contacts",
        "handle_ms / handle_known",
        "t, from 100 contacts",
        None,
    ),
    figure(
        "contacts",
        "held_contacts_ratio",
        "Share of answered contacts that were put on hold",
        "held / hold_known",
        "Wilson",
        None,
    ),
    figure(
        "contacts",
        "hold_abandonment_ratio",
        "Share of held contacts given up while on hold",
        "abandoned_on_hold / held",
        "Wilson",
        None,
    ),
    figure(
        "contacts",
        "hold_mean_seconds",
        "Mean time on hold of the contacts that were on hold",
        "hold_ms / hold_positive",
        "t, from 100 contacts",
        None,
    ),
    figure(
        "contacts",
        "hold_per_answered_seconds",
        "Mean time on hold over all answered contacts",
        "hold_ms / hold_known",
        "none",
        None,
    ),
    figure(
        "contacts",
        "hold_quantile_seconds",
        "Quantile of the time on hold of the contacts that were on hold",
        "rank ceil(q n) of holds above 0",
        "none",
        Some("q"),
    ),
    figure(
        "contacts",
        "queue_wait_quantile_seconds",
        "Quantile of the time in the queue, answered and abandoned together",
        "rank ceil(q n) of known waits",
        "none",
        Some("q"),
    ),
    figure(
        "contacts",
        "resolution_ratio",
        "Share of contacts that settled the matter, where known",
        "resolved / resolution_known",
        "Wilson",
        None,
    ),
    figure(
        "contacts",
        "service_level_ratio",
        "Share of contacts answered within the threshold, by the configured formula",
        "formula 3: answered_within / (answered_wait_known + abandoned_wait_known)",
        "Wilson",
        None,
    ),
    figure(
        "contacts",
        "speed_of_answer_seconds",
        "Mean time answered contacts waited in the queue",
        "answered_wait_ms / answered_wait_known",
        "t, from 100 contacts",
        None,
    ),
    figure(
        "contacts",
        "time_to_abandon_seconds",
        "Mean time abandoned contacts waited in the queue",
        "abandoned_wait_ms / abandoned_wait_known",
        "t, from 100 contacts",
        None,
    ),
    figure(
        "csat",
        "csat_ratio",
        "Share of satisfied answers, over all scales",
        "answers with (s - min) / (max - min) >= 0.75, turned round where high is bad / answers",
        "Wilson",
        None,
    ),
    figure(
        "csat",
        "csat_score",
        "Mean of the raw satisfaction scores of one scale",
        "sum of scores / answers",
        "t, from 30 answers",
        Some("scale"),
    ),
    figure("nps", "nps_detractor_ratio", "Share of answers 0 to 6", "detractors / answers", "Wilson", None),
    figure("nps", "nps_passive_ratio", "Share of answers 7 and 8", "passives / answers", "Wilson", None),
    figure("nps", "nps_promoter_ratio", "Share of answers 9 and 10", "promoters / answers", "Wilson", None),
    figure(
        "nps",
        "nps_ratio",
        "Net promoter score, -1 to 1",
        "(promoters - detractors) / answers",
        "adjusted Wald",
        None,
    ),
    figure(
        "touchpoints",
        "channel_share_ratio",
        "Share of touches that came through one channel; in slices without channel",
        "touches of the channel / touches",
        "Wilson",
        Some("channel"),
    ),
];

/// What is known of the figure of that name.
pub fn figure_info(name: &str) -> Option<&'static FigureInfo> {
    FIGURES.iter().find(|figure| figure.name == name)
}

/// What feeds a family since ever: a part of the cell of the window `ever`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum EverSource {
    /// A count, by its name.
    Count(&'static str),
    /// A map, by its name; its keys become this label.
    Tally(&'static str, &'static str),
    /// The answers, by metric, scale and score.
    Answers,
    /// Counts per bucket (upper bound in seconds, name), sums in ms and counts of all.
    Histogram {
        /// (upper bound in seconds, the count of what lies between it and the bound before).
        buckets: &'static [(i64, &'static str)],
        /// The sums, in ms.
        sums_ms: &'static [&'static str],
        /// The counts of all.
        counts: &'static [&'static str],
    },
}

/// The families since ever: (family, metric set, what feeds it).
pub const EVER: &[(&str, &str, EverSource)] = &[
    ("cx_touchpoints_total", "touchpoints", EverSource::Count("touches")),
    ("cx_contacts_offered_total", "contacts", EverSource::Count("offered")),
    ("cx_contacts_answered_total", "contacts", EverSource::Count("answered")),
    ("cx_contacts_abandoned_total", "contacts", EverSource::Count("abandoned")),
    ("cx_survey_responses_total", "csat", EverSource::Answers),
    ("cx_survey_responses_total", "nps", EverSource::Answers),
    ("cx_survey_responses_total", "ces", EverSource::Answers),
    ("cx_customers_churned_total", "customers", EverSource::Tally("churned_by_reason", "reason")),
    ("cx_customers_acquired_total", "customers", EverSource::Count("acquired")),
    (
        "cx_queue_wait_seconds",
        "contacts",
        EverSource::Histogram {
            buckets: &[
                (5, "wait_le_5s"),
                (10, "wait_le_10s"),
                (20, "wait_le_20s"),
                (30, "wait_le_30s"),
                (60, "wait_le_60s"),
                (120, "wait_le_120s"),
                (300, "wait_le_300s"),
                (600, "wait_le_600s"),
            ],
            sums_ms: &["answered_wait_ms", "abandoned_wait_ms"],
            counts: &["answered_wait_known", "abandoned_wait_known"],
        },
    ),
    (
        "cx_hold_seconds",
        "contacts",
        EverSource::Histogram {
            buckets: &[
                (5, "hold_le_5s"),
                (10, "hold_le_10s"),
                (20, "hold_le_20s"),
                (30, "hold_le_30s"),
                (60, "hold_le_60s"),
                (120, "hold_le_120s"),
                (300, "hold_le_300s"),
                (600, "hold_le_600s"),
            ],
            sums_ms: &["hold_ms"],
            counts: &["hold_positive"],
        },
    ),
];

/// The text with a capital first letter, as help texts begin.
///
/// ```
/// assert_eq!(touchstone::metrics::catalogue::capitalized("offered contacts"), "Offered contacts");
/// ```
pub fn capitalized(text: &str) -> String {
    let mut letters = text.chars();
    letters.next().map_or_else(String::new, |first| first.to_uppercase().chain(letters).collect())
}
