//! `csat`, `nps` and `ces`: what customers answered. Scores are kept per scale and never mixed raw.

use super::figures::{SCORE_INTERVAL_FROM, mean_score, ratio};
use crate::engine::accumulator::{Distribution, Scale};
use crate::engine::cell::{Cell, Shape};
use crate::engine::plan::{Figure, MetricSet, Sufficiency};
use crate::engine::slice::GroupBy;
use crate::statistics;
use crate::touchpoint::{Answer, Kind, SurveyMetric, Touchpoint};

const SHAPE: Shape = Shape { counts: &[], squares: &[], histograms: &[], tallies: &[], distributions: &["answers"] };

fn feeds(touchpoint: &Touchpoint<'_>, metric: SurveyMetric) -> bool {
    touchpoint.kind == Kind::Survey && touchpoint.metric == Some(metric)
}

fn add(touchpoint: &Touchpoint<'_>, cell: &mut Cell) {
    if let Some(answer) = touchpoint.answer {
        cell.distributions[0].add(answer, 1);
    }
}

fn answers(cell: &Cell) -> i64 {
    cell.distributions[0].total() + cell.distributions[0].other()
}

/// How far up its scale a score is, in steps, high being good.
fn goodness(scale: Scale, score: i32) -> i64 {
    if scale.low_is_best { i64::from(scale.max) - i64::from(score) } else { i64::from(score) - i64::from(scale.min) }
}

fn steps(scale: Scale) -> i64 {
    i64::from(scale.max) - i64::from(scale.min)
}

/// (answers, sum, sum of squares) of `of(score)` over the scores of one scale.
fn moments(distribution: &Distribution, scale: Scale, of: impl Fn(i32) -> i64) -> (i64, i64, i128) {
    let scores = distribution.iter().filter(|(on, _, _)| *on == scale);
    scores.fold((0, 0, 0), |(n, sum, squares), (_, score, count)| {
        let value = of(score);
        (n + count, sum + value * count, squares + i128::from(value) * i128::from(value) * i128::from(count))
    })
}

/// The mean of raw scores of each scale.
fn scores(name: &'static str, distribution: &Distribution) -> impl Iterator<Item = Figure> {
    distribution.scales().into_iter().filter_map(move |scale| {
        let (n, sum, squares) = moments(distribution, scale, i64::from);
        (n > 0).then(|| mean_score(name, scale.to_string(), sum, squares, n))
    })
}

/// The metric set `csat`.
pub struct Csat {
    satisfied_from: f64,
}

impl Csat {
    /// Satisfied is an answer that is at least this share of the way up its scale.
    pub fn new(satisfied_from: f64) -> Csat {
        Csat { satisfied_from }
    }

    fn is_satisfied(&self, scale: Scale, score: i32) -> bool {
        goodness(scale, score) as f64 / steps(scale) as f64 >= self.satisfied_from
    }
}

impl MetricSet for Csat {
    fn name(&self) -> &'static str {
        "csat"
    }

    fn version(&self) -> u32 {
        1
    }

    fn shape(&self) -> &'static Shape {
        &SHAPE
    }

    fn feeds(&self, touchpoint: &Touchpoint<'_>) -> bool {
        feeds(touchpoint, SurveyMetric::Csat)
    }

    fn add(&self, touchpoint: &Touchpoint<'_>, cell: &mut Cell) {
        add(touchpoint, cell);
    }

    fn samples(&self, cell: &Cell) -> i64 {
        answers(cell)
    }

    fn figures(&self, cell: &Cell, _group_by: &GroupBy) -> Vec<Figure> {
        let answers = &cell.distributions[0];
        let satisfied: i64 = answers
            .iter()
            .filter(|(scale, score, _)| self.is_satisfied(*scale, *score))
            .map(|(_, _, count)| count)
            .sum();
        let ratio = ratio("csat_ratio", satisfied, answers.total());
        ratio.into_iter().chain(scores("csat_score", answers)).collect()
    }
}

/// The metric set `nps`.
pub struct Nps;

/// An NPS answer with high being good: one given the other way round is turned.
fn turned(answer: Answer) -> Answer {
    if answer.low_is_best {
        Answer { score: answer.scale_min + answer.scale_max - answer.score, low_is_best: false, ..answer }
    } else {
        answer
    }
}

impl MetricSet for Nps {
    fn name(&self) -> &'static str {
        "nps"
    }

    fn version(&self) -> u32 {
        1
    }

    fn shape(&self) -> &'static Shape {
        &SHAPE
    }

    fn feeds(&self, touchpoint: &Touchpoint<'_>) -> bool {
        feeds(touchpoint, SurveyMetric::Nps)
    }

    fn add(&self, touchpoint: &Touchpoint<'_>, cell: &mut Cell) {
        if let Some(answer) = touchpoint.answer {
            cell.distributions[0].add(turned(answer), 1);
        }
    }

    fn one_scale(&self) -> bool {
        true
    }

    fn samples(&self, cell: &Cell) -> i64 {
        answers(cell)
    }

    /// Promoters answered 9 or 10, detractors 0 to 6. Source: Reichheld 2003, "The one number you need to grow".
    fn figures(&self, cell: &Cell, _group_by: &GroupBy) -> Vec<Figure> {
        let answers = &cell.distributions[0];
        let n = answers.total();
        if n <= 0 {
            return Vec::new();
        }
        let between = |least: i32, greatest: i32| -> i64 {
            let scores = answers.iter().filter(|(_, score, _)| (least..=greatest).contains(score));
            scores.map(|(_, _, count)| count).sum()
        };
        let (promoters, passives, detractors) = (between(9, 10), between(7, 8), between(0, 6));
        let score = Figure {
            name: "nps_ratio",
            key: None,
            value: (promoters - detractors) as f64 / n as f64,
            numerator: Some(promoters - detractors),
            denominator: Some(n),
            samples: n,
            interval: statistics::net_promoter(promoters, detractors, n),
            sufficiency: Some(Sufficiency::of(n)),
        };
        let figures = [
            ratio("nps_detractor_ratio", detractors, n),
            ratio("nps_passive_ratio", passives, n),
            ratio("nps_promoter_ratio", promoters, n),
            Some(score),
        ];
        figures.into_iter().flatten().collect()
    }
}

/// The metric set `ces`.
pub struct Ces;

impl Ces {
    /// The mean ease over all scales: each answer is how far up its scale it lies, high meaning easy. Summed
    /// per scale in the order of the scales, so that the last digit is the same everywhere.
    fn ease(answers: &Distribution) -> Option<Figure> {
        let n = answers.total();
        let (mut sum, mut squares) = (0.0f64, 0.0f64);
        for scale in answers.scales() {
            let (_, part, part_squares) = moments(answers, scale, |score| goodness(scale, score));
            let steps = steps(scale) as f64;
            sum += part as f64 / steps;
            squares += part_squares as f64 / (steps * steps);
        }
        let value = sum / n as f64;
        let interval = (n >= SCORE_INTERVAL_FROM).then(|| {
            let variance = (squares - sum * sum / n as f64) / (n - 1) as f64;
            statistics::mean(value, variance, n)
        });
        (n > 0).then(|| Figure {
            name: "ces_ease_ratio",
            key: None,
            value,
            numerator: None,
            denominator: Some(n),
            samples: n,
            interval: interval.flatten(),
            sufficiency: Some(Sufficiency::of(n)),
        })
    }
}

impl MetricSet for Ces {
    fn name(&self) -> &'static str {
        "ces"
    }

    fn version(&self) -> u32 {
        1
    }

    fn shape(&self) -> &'static Shape {
        &SHAPE
    }

    fn feeds(&self, touchpoint: &Touchpoint<'_>) -> bool {
        feeds(touchpoint, SurveyMetric::Ces)
    }

    fn add(&self, touchpoint: &Touchpoint<'_>, cell: &mut Cell) {
        add(touchpoint, cell);
    }

    fn samples(&self, cell: &Cell) -> i64 {
        answers(cell)
    }

    fn figures(&self, cell: &Cell, _group_by: &GroupBy) -> Vec<Figure> {
        let answers = &cell.distributions[0];
        Ces::ease(answers).into_iter().chain(scores("ces_score", answers)).collect()
    }
}
