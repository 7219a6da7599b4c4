//! Cases that a person can check by hand: what each figure is, from events to the number that is read.

use std::collections::BTreeMap;

use libtest_mimic::{Failed, Trial};
use touchstone::engine::cell::Cell;
use touchstone::engine::plan::{Figure, MetricSet, Stamp, Sufficiency};
use touchstone::engine::slice::{GroupBy, Values};
use touchstone::metrics::{
    Ces, Contacts, Csat, Customers, Nps, ServiceLevel, Settings, ThresholdTable, Thresholds, Touchpoints, registry,
};
use touchstone::touchpoint::{
    AbandonStage, Answer, CustomerState, Dimension, Direction, Outcome, SurveyMetric, Touchpoint,
};

use crate::events::{contact, customer, interaction, survey};

pub fn tests() -> Vec<Trial> {
    let trial = |name: &str, test: fn()| {
        Trial::test(format!("golden::{name}"), move || {
            test();
            Ok::<(), Failed>(())
        })
    };
    vec![
        trial("five_formulas_of_the_service_level", service_level),
        trial("wilson_85_of_100", wilson),
        trial("unknown_is_not_zero", unknown),
        trial("hold_and_queue_wait_are_never_mixed", hold_and_wait),
        trial("who_hangs_up_on_hold_was_answered", abandoned_on_hold),
        trial("who_hangs_up_in_the_menu_was_never_offered", ivr),
        trial("short_abandons_by_queue", short_abandons),
        trial("handle_time_is_talk_hold_and_wrap_up", handle_time),
        trial("outcomes_add_up_to_offered", outcomes),
        trial("resolution_first_response_and_transfers", resolution),
        trial("outbound_is_a_touch_and_no_contact", outbound),
        trial("channel_shares", shares),
        trial("means_have_an_interval_from_100", mean_interval),
        trial("quantiles_are_near_and_zero_is_exact", quantiles),
        trial("csat_over_mixed_scales", csat),
        trial("ces_over_mixed_scales", ces),
        trial("scores_have_an_interval_from_30", score_interval),
        trial("nps_lies_between_minus_one_and_one", nps),
        trial("churn_by_reason", churn),
        trial("sufficiency", sufficiency),
    ]
}

/// A metric set and what it has counted.
struct Counted<'s> {
    set: &'s dyn MetricSet,
    cell: Cell,
}

fn count<'s>(set: &'s dyn MetricSet, events: &[Touchpoint<'_>]) -> Counted<'s> {
    let mut cell = Cell::new(set.shape());
    for event in events.iter().filter(|event| set.feeds(event)) {
        set.add(event, &mut cell);
        cell.events += 1;
    }
    Counted { set, cell }
}

impl Counted<'_> {
    fn count(&self, name: &str) -> i64 {
        let place = self.set.shape().counts.iter().position(|count| count.name == name);
        self.cell.counts[place.unwrap_or_else(|| panic!("{} counts no {name}", self.set.name()))]
    }

    fn figures(&self) -> BTreeMap<String, Figure> {
        let by = GroupBy::parse("all").expect("it exists");
        let name = |figure: &Figure| match &figure.key {
            Some((_, key)) => format!("{} {key}", figure.name),
            None => figure.name.to_string(),
        };
        self.set.figures(&self.cell, &by).into_iter().map(|figure| (name(&figure), figure)).collect()
    }

    fn figure(&self, name: &str) -> Figure {
        self.figures().remove(name).unwrap_or_else(|| panic!("there is no {name}"))
    }

    fn value(&self, name: &str) -> f64 {
        self.figure(name).value
    }
}

fn contacts() -> Contacts {
    Contacts::new(ThresholdTable::default(), ServiceLevel::Three)
}

fn many(event: &Touchpoint<'static>, times: usize) -> Vec<Touchpoint<'static>> {
    vec![event.clone(); times]
}

fn waited(outcome: Outcome, milliseconds: i64) -> Touchpoint<'static> {
    Touchpoint { queue_wait_ms: Some(milliseconds), ..contact(outcome) }
}

fn near(found: f64, expected: f64, tolerance: f64) {
    assert!((found - expected).abs() <= tolerance, "{found} is not {expected}");
}

/// The worked example of the catalogue: 1000 answered, 860 of them in time; 60 abandoned, 20 of them in time and
/// 10 of those short. T = 20 s.
fn service_level() {
    use Outcome::{Abandoned, Answered};
    let events = [
        many(&waited(Answered, 20_000), 860),
        many(&waited(Answered, 20_001), 140),
        many(&waited(Abandoned, 4_999), 10),
        many(&waited(Abandoned, 5_000), 10),
        many(&waited(Abandoned, 20_001), 40),
    ]
    .concat();
    for (formula, numerator, denominator, percent) in [
        (1, 880, 1_060, 83.0),
        (2, 860, 1_000, 86.0),
        (3, 860, 1_060, 81.1),
        (4, 860, 1_040, 82.7),
        (5, 860, 1_050, 81.9),
    ] {
        let formula = ServiceLevel::parse(formula).expect("there are five");
        let set = Contacts::new(ThresholdTable::default(), formula);
        let figure = count(&set, &events).figure("service_level_ratio");
        assert_eq!((figure.numerator, figure.denominator), (Some(numerator), Some(denominator)), "{formula:?}");
        assert_eq!((figure.value * 1000.0).round() / 10.0, percent, "{formula:?}");
    }
    let set = contacts();
    let counted = count(&set, &events);
    assert_eq!(counted.value("abandonment_ratio"), 50.0 / 1_050.0, "short abandons are left out on both sides");
}

fn wilson() {
    let set = Csat::new(0.75);
    let events = [many(&csat_answer(1, 5, 5, false), 85), many(&csat_answer(1, 5, 1, false), 15)].concat();
    let figure = count(&set, &events).figure("csat_ratio");
    let (lower, upper) = figure.interval.expect("a ratio has an interval");
    near(figure.value, 0.85, 0.0);
    near(lower, 0.767, 0.000_5);
    near(upper, 0.907, 0.000_5);
}

fn unknown() {
    let set = contacts();
    let counted = count(&set, &[contact(Outcome::Answered), contact(Outcome::Abandoned)]);
    assert_eq!((counted.count("offered"), counted.count("answered"), counted.count("abandoned")), (2, 1, 1));
    for name in ["answered_wait_known", "abandoned_wait_known", "short_abandoned", "hold_known", "talk_known"] {
        assert_eq!(counted.count(name), 0, "{name}");
    }
    assert_eq!(counted.figures().keys().collect::<Vec<_>>(), ["abandonment_ratio"], "the rest has no denominator");
    let known = count(&set, &[contact(Outcome::Answered), waited(Outcome::Answered, 10_000)]);
    assert_eq!(known.value("speed_of_answer_seconds"), 10.0, "a mean is over those that carry the measure");
    assert_eq!(known.value("service_level_ratio"), 1.0);
    let zero = count(&set, &[waited(Outcome::Answered, 0)]);
    assert_eq!(zero.value("speed_of_answer_seconds"), 0.0, "zero is known");
    assert!(count(&set, &[]).figures().is_empty());
}

fn hold_and_wait() {
    let set = contacts();
    let event = Touchpoint { hold_ms: Some(40_000), ..waited(Outcome::Answered, 7_000) };
    let counted = count(&set, &[event, waited(Outcome::Abandoned, 90_000)]);
    assert_eq!((counted.count("answered_wait_ms"), counted.count("abandoned_wait_ms")), (7_000, 90_000));
    assert_eq!((counted.count("hold_ms"), counted.count("hold_known")), (40_000, 1));
    assert_eq!(counted.value("speed_of_answer_seconds"), 7.0);
    assert_eq!(counted.value("time_to_abandon_seconds"), 90.0);
    assert_eq!(counted.value("hold_mean_seconds"), 40.0);
    near(counted.value("hold_quantile_seconds 0.5"), 40.0, 0.24);
    near(counted.value("queue_wait_quantile_seconds 0.5"), 7.0, 0.042);
    near(counted.value("queue_wait_quantile_seconds 0.99"), 90.0, 0.54);
    assert_eq!(counted.figure("queue_wait_quantile_seconds 0.5").samples, 2, "answered and abandoned together");
    assert_eq!(counted.figure("hold_quantile_seconds 0.5").samples, 1);
    let waited_only = count(&set, &[waited(Outcome::Answered, 7_000)]);
    assert_eq!(["hold_ms", "hold_known", "hold_positive", "held"].map(|name| waited_only.count(name)), [0; 4]);
    assert!(!waited_only.figures().keys().any(|name| name.contains("hold") || name.contains("held")));
    let held_only = count(&set, &[Touchpoint { hold_ms: Some(40_000), ..contact(Outcome::Answered) }]);
    let waits = ["answered_wait_ms", "answered_wait_known", "answered_within"];
    assert_eq!(waits.map(|name| held_only.count(name)), [0; 3]);
    assert!(!held_only.figures().keys().any(|name| name.contains("wait") || name.contains("answer_seconds")));
    let never_held = Touchpoint { hold_ms: Some(0), ..contact(Outcome::Answered) };
    let counted = count(&set, &[never_held, Touchpoint { hold_ms: Some(30_000), ..contact(Outcome::Answered) }]);
    assert_eq!(counted.value("hold_mean_seconds"), 30.0, "over those that were on hold");
    assert_eq!(counted.value("hold_per_answered_seconds"), 15.0, "over all whose hold is known");
    assert_eq!(counted.value("held_contacts_ratio"), 0.5);
}

fn abandoned_on_hold() {
    let set = contacts();
    let gone = Touchpoint { abandon_stage: Some(AbandonStage::Hold), ..contact(Outcome::Answered) };
    let held = Touchpoint { hold_ms: Some(1), ..contact(Outcome::Answered) };
    let counted = count(&set, &[gone, held, contact(Outcome::Answered)]);
    assert_eq!((counted.count("answered"), counted.count("abandoned")), (3, 0));
    assert_eq!(counted.value("abandonment_ratio"), 0.0);
    assert_eq!((counted.count("held"), counted.count("hold_known"), counted.count("hold_positive")), (2, 2, 1));
    assert_eq!(counted.value("hold_abandonment_ratio"), 0.5);
}

fn ivr() {
    let set = contacts();
    let menu = Touchpoint { abandon_stage: Some(AbandonStage::Ivr), ..waited(Outcome::Abandoned, 3_000) };
    let counted = count(&set, &[menu.clone(), contact(Outcome::Answered)]);
    assert_eq!((counted.count("ivr_abandoned"), counted.count("offered"), counted.count("abandoned")), (1, 1, 0));
    assert_eq!((counted.count("abandoned_wait_known"), counted.count("short_abandoned")), (0, 0));
    assert_eq!(counted.value("abandonment_ratio"), 0.0);
    assert_eq!(count(&Touchpoints, &[menu]).count("touches"), 1, "but it is a touch");
}

fn short_abandons() {
    let of = |service_level_ms, short_abandon_ms| Thresholds { service_level_ms, short_abandon_ms };
    let table = ThresholdTable {
        default: of(20_000, 5_000),
        queues: vec![(Some("chat".into()), "PS".into(), of(60_000, 0)), (None, "PS".into(), of(30_000, 10_000))],
    };
    let set = Contacts::new(table, ServiceLevel::Three);
    let at = |channel: &'static str, queue: &'static str| {
        let mut event = waited(Outcome::Abandoned, 7_000);
        event.dimensions.values[Dimension::Channel as usize] = Some(channel.into());
        event.dimensions.values[Dimension::Queue as usize] = Some(queue.into());
        event
    };
    let short = |event| count(&set, &[event]).count("short_abandoned");
    assert_eq!([short(at("voice", "IN")), short(at("voice", "PS")), short(at("chat", "PS"))], [0, 1, 0]);
    assert_eq!(short(contact(Outcome::Abandoned)), 0, "without a known wait it is not short");
    let stamps = |by: &str, values: &[&str]| {
        let values = Values::new(values.iter().copied()).expect("few");
        set.stamps(&GroupBy::parse(by).expect("it exists"), &values)
    };
    let varies = ("varies", Stamp::Flag(true));
    let short = |seconds| ("short_abandon_seconds", Stamp::Number(seconds));
    let of_queue = stamps("queue", &["voice", "PS"]);
    assert!(!of_queue.contains(&varies) && of_queue.contains(&short(10.0)));
    let all = stamps("all", &[]);
    assert!(all.contains(&varies) && all.contains(&short(5.0)), "it joins queues with different ones");
    assert!(stamps("queue", &["_other", "_other"]).contains(&varies));
    assert!(!contacts().stamps(&GroupBy::known()[0], &Values::default()).contains(&varies));
}

fn handle_time() {
    let set = contacts();
    let part = |talk_ms, hold_ms, wrapup_ms| Touchpoint { talk_ms, hold_ms, wrapup_ms, ..contact(Outcome::Answered) };
    let events = [
        part(Some(100_000), Some(20_000), Some(30_000)),
        part(None, Some(5_000), Some(45_000)),
        part(None, Some(1_000_000), None),
    ];
    let counted = count(&set, &events);
    assert_eq!((counted.count("handle_known"), counted.count("handle_ms")), (2, 200_000), "hold alone is no handling");
    assert_eq!(counted.value("handle_time_seconds"), 100.0);
    assert_eq!(
        (counted.count("talk_known"), counted.count("talk_ms"), counted.count("wrapup_ms")),
        (1, 100_000, 75_000)
    );
}

fn outcomes() {
    use Outcome::{Abandoned, Answered, Callback, Failed, FlowOut, Voicemail};
    let set = contacts();
    let all = [Answered, Abandoned, FlowOut, Callback, Voicemail, Failed];
    let counted = count(&set, &all.map(contact));
    let parts =
        ["answered", "abandoned", "flow_out", "callback", "voicemail", "failed"].map(|name| counted.count(name));
    assert_eq!((parts, counted.count("offered"), set.samples(&counted.cell)), ([1; 6], 6, 6));
    assert_eq!(counted.value("abandonment_ratio"), 1.0 / 6.0);
}

fn resolution() {
    let set = contacts();
    let event = |resolved, first_response_ms, transfers| Touchpoint {
        resolved,
        first_response_ms,
        transfers,
        ..contact(Outcome::Answered)
    };
    let events = [event(Some(true), Some(60_000), Some(2)), event(Some(false), None, Some(1)), event(None, None, None)];
    let counted = count(&set, &events);
    assert_eq!(counted.value("resolution_ratio"), 0.5);
    assert_eq!((counted.value("first_response_seconds"), counted.count("first_response_known")), (60.0, 1));
    near(counted.value("first_response_quantile_seconds 0.9"), 60.0, 0.36);
    assert_eq!(counted.count("transfers"), 3);
}

fn outbound() {
    let of = |direction| Touchpoint { direction, ..contact(Outcome::Answered) };
    let events = [None, Some(Direction::Inbound), Some(Direction::Outbound), Some(Direction::Internal)].map(of);
    assert_eq!(count(&contacts(), &events).count("offered"), 2);
    assert_eq!(count(&Touchpoints, &events).count("touches"), 4);
}

fn shares() {
    let on = |channel: Option<&'static str>| {
        let mut event = interaction();
        event.dimensions.values[Dimension::Channel as usize] = channel.map(Into::into);
        event
    };
    let counted = count(&Touchpoints, &[on(Some("web")), on(Some("web")), on(Some("app")), on(None)]);
    let shares = ["web", "app", "_none"].map(|channel| counted.value(&format!("channel_share_ratio {channel}")));
    assert_eq!(shares, [0.5, 0.25, 0.25]);
    let by_channel = GroupBy::parse("channel").expect("it exists");
    assert!(counted.set.figures(&counted.cell, &by_channel).is_empty(), "within a channel there is no share");
}

fn mean_interval() {
    let set = contacts();
    let waits = |n: i64| -> Vec<_> { (1..=n).map(|wait| waited(Outcome::Answered, wait * 1_000)).collect() };
    assert_eq!(count(&set, &waits(99)).figure("speed_of_answer_seconds").interval, None);
    let figure = count(&set, &waits(100)).figure("speed_of_answer_seconds");
    let (lower, upper) = figure.interval.expect("from 100 on");
    // 1..100: mean 50.5, s = 29.0115; t(99) = 1.98422; half = 5.7565.
    near(figure.value, 50.5, 0.0);
    near(lower, 44.743_5, 0.000_5);
    near(upper, 56.256_5, 0.000_5);
    assert_eq!((figure.numerator, figure.denominator), (Some(5_050_000), Some(100)), "the numerator is in ms");
}

fn quantiles() {
    let set = contacts();
    let events: Vec<_> = (1..=1_000).map(|wait| waited(Outcome::Answered, wait * 250)).collect();
    let counted = count(&set, &events);
    for (q, seconds) in [("0.5", 125.0), ("0.9", 225.0), ("0.95", 237.5), ("0.99", 247.5)] {
        near(counted.value(&format!("queue_wait_quantile_seconds {q}")) / seconds, 1.0, 0.006);
    }
    let zeros = [many(&waited(Outcome::Answered, 0), 90), many(&waited(Outcome::Answered, 60_000), 10)].concat();
    let counted = count(&set, &zeros);
    assert_eq!(counted.value("queue_wait_quantile_seconds 0.9"), 0.0, "rank ceil(0.9 * 100) is the last zero");
    near(counted.value("queue_wait_quantile_seconds 0.95"), 60.0, 0.36);
}

fn csat_answer(scale_min: i32, scale_max: i32, score: i32, low_is_best: bool) -> Touchpoint<'static> {
    survey(SurveyMetric::Csat, Answer { scale_min, scale_max, low_is_best, score })
}

fn csat() {
    let set = Csat::new(0.75);
    // (scale, the least score that satisfies); turned round the greatest that does.
    for (min, max, least) in [(1, 5, 4), (1, 3, 3), (1, 7, 6), (1, 10, 8), (0, 10, 8), (-2, 2, 1)] {
        for score in min..=max {
            let high = count(&set, &[csat_answer(min, max, score, false)]).value("csat_ratio");
            assert_eq!(high, f64::from(u8::from(score >= least)), "{score} on {min}..{max}");
            let low = count(&set, &[csat_answer(min, max, min + max - score, true)]).value("csat_ratio");
            assert_eq!(low, high, "{score} on {min}..{max}, turned round");
        }
    }
    let mixed = [
        csat_answer(1, 5, 4, false),
        csat_answer(1, 5, 2, true),
        csat_answer(1, 3, 2, false),
        csat_answer(1, 10, 8, false),
    ];
    let counted = count(&set, &mixed);
    let ratio = counted.figure("csat_ratio");
    assert_eq!((ratio.numerator, ratio.denominator), (Some(3), Some(4)));
    let scores = ["1..5", "1..5 low", "1..3", "1..10"].map(|scale| counted.value(&format!("csat_score {scale}")));
    assert_eq!(scores, [4.0, 2.0, 2.0, 8.0], "raw scores are never mixed over scales");
}

fn ces() {
    let answer = |scale_min, scale_max, score, low_is_best| {
        survey(SurveyMetric::Ces, Answer { scale_min, scale_max, low_is_best, score })
    };
    // 6 of 1..7 is 5/6 of the way; 2 of 1..5, where high means hard, 3/4; 1 of 1..3 nothing.
    let counted = count(&Ces, &[answer(1, 7, 6, false), answer(1, 5, 2, true), answer(1, 3, 1, false)]);
    near(counted.value("ces_ease_ratio"), (5.0 / 6.0 + 3.0 / 4.0) / 3.0, 1e-15);
    assert_eq!(counted.figure("ces_ease_ratio").numerator, None, "it is no share of anything");
    assert_eq!(counted.value("ces_score 1..5 low"), 2.0);
}

fn score_interval() {
    let set = Csat::new(0.75);
    let answers = |n: i32| -> Vec<_> { (0..n).map(|i| csat_answer(1, 5, 1 + i % 5, false)).collect() };
    assert_eq!(count(&set, &answers(29)).figure("csat_score 1..5").interval, None);
    let (lower, upper) = count(&set, &answers(30)).figure("csat_score 1..5").interval.expect("from 30 on");
    // 1..5, six of each: mean 3, variance 60/29; t(29) = 2.04523; half = 0.53710.
    near(lower, 2.462_90, 0.000_05);
    near(upper, 3.537_10, 0.000_05);
    let ces: Vec<_> = answers(30).into_iter().map(|a| Touchpoint { metric: Some(SurveyMetric::Ces), ..a }).collect();
    let (lower, upper) = count(&Ces, &ces).figure("ces_ease_ratio").interval.expect("from 30 on");
    near(lower, (2.462_90 - 1.0) / 4.0, 0.000_05);
    near(upper, (3.537_10 - 1.0) / 4.0, 0.000_05);
    assert_eq!(count(&Ces, &ces[1..]).figure("ces_ease_ratio").interval, None);
}

fn nps() {
    let answer = |score| survey(SurveyMetric::Nps, Answer { scale_min: 0, scale_max: 10, low_is_best: false, score });
    let of =
        |scores: &[i32]| count(&Nps, &scores.iter().map(|score| answer(*score)).collect::<Vec<_>>()).value("nps_ratio");
    assert_eq!([of(&[0, 6]), of(&[9, 10]), of(&[7, 8]), of(&[10, 0])], [-1.0, 1.0, 0.0, 0.0]);
    let figures = count(&Nps, &[10, 9, 9, 8, 7, 6, 0, 10, 10, 3].map(answer));
    assert_eq!(figures.value("nps_ratio"), 0.2, "five promoters, three detractors, of ten");
    assert_eq!(figures.value("nps_passive_ratio"), 0.2);
    let (lower, upper) = count(&Nps, &[10; 3].map(answer)).figure("nps_ratio").interval.expect("there are answers");
    assert!((-1.0..=1.0).contains(&lower) && upper <= 1.0);
}

fn churn() {
    use CustomerState::{Acquired, Churned, Downgraded, Reactivated, Renewed};
    let events = [
        customer(Churned, Some("price")),
        customer(Churned, Some("price")),
        customer(Churned, None),
        customer(Acquired, Some("price")),
        customer(Reactivated, None),
        customer(Renewed, None),
        customer(Downgraded, None),
    ];
    let counted = count(&Customers, &events);
    let counts = ["acquired", "churned", "reactivated", "renewed", "downgraded"].map(|name| counted.count(name));
    assert_eq!((counts, counted.set.samples(&counted.cell)), ([1, 3, 1, 1, 1], 7));
    assert_eq!(counted.cell.tallies[0].iter().collect::<Vec<_>>(), [("_none", 1), ("price", 2)]);
}

fn sufficiency() {
    let classes = [29, 30, 99, 100].map(|n| {
        let set = contacts();
        let figure = count(&set, &many(&contact(Outcome::Answered), n)).figure("abandonment_ratio");
        figure.sufficiency.expect("a ratio has one").name()
    });
    assert_eq!(classes, ["thin", "provisional", "provisional", "sufficient"]);
    assert_eq!(Sufficiency::of(0), Sufficiency::Thin);
    let satisfied = |from: f64| {
        let settings = Settings { satisfied_from: from, ..Settings::default() };
        let csat = registry(&settings).into_iter().find(|set| set.name() == "csat").expect("it exists");
        count(&*csat, &[csat_answer(1, 5, 3, false)]).value("csat_ratio")
    };
    assert_eq!([satisfied(0.75), satisfied(0.5)], [0.0, 1.0], "which answers satisfy is configured");
}
