//! What fires over days of touchpoints: the real pipeline takes them in at the pace of its own clock, its `/metrics` is
//! looked at as a Prometheus would look, and promtool evaluates the shipped rules over all those looks.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::Path;

use libtest_mimic::Failed;
use touchstone::clock::Clock;
use touchstone::export::Exporter;
use touchstone::memory::NewRecord;
use touchstone::pipeline::board::Condition;

use super::{BUSINESS, HEALTH, named, promtool, rules, words};
use crate::pipeline::{INPUT, Pipeline};

/// Longer than any jump of the clock.
const NEVER_MS: i64 = i64::MAX / 4;

/// The steps that follow a jump of the clock: what came is taken in, committed, merged, published and shown.
const STEPS: usize = 16;

/// One alert that fired: its labels, and from which minute to which one, counted from the first look.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fired {
    pub alert: String,
    pub place: String,
    pub from: u32,
    pub until: u32,
}

/// A pipeline, and what has been seen of it.
pub struct Timeline {
    pub pipeline: Pipeline,
    exporter: Exporter,
    families: BTreeSet<String>,
    /// The words of the rules: of bounds only those of figures that they name matter.
    words: BTreeSet<String>,
    /// Minutes between two looks.
    step: u32,
    looks: usize,
    /// When the first look was, in seconds.
    begin: f64,
    /// By series the look and the value, where the value is another than at the look before; none: it left the page.
    seen: BTreeMap<String, Vec<(usize, Option<f64>)>>,
}

impl Timeline {
    /// Nothing has been looked at yet; the clock stands at `now`.
    pub fn new(config: &str, partitions: i32, now: i64, step: u32) -> Result<Timeline, Failed> {
        let pipeline = Pipeline::new(config, partitions, now);
        pipeline.broker.set_timeouts(NEVER_MS, NEVER_MS);
        let plan = pipeline.settings.plan.clone();
        let clock = std::sync::Arc::new(pipeline.clock.clone());
        let exporter = Exporter::new(plan, pipeline.board.clone(), clock, 1_000_000);
        let rules = rules(HEALTH)? + &rules(BUSINESS)?;
        let families = named(&rules);
        let words = words(&rules).map(str::to_owned).collect();
        Ok(Timeline { pipeline, exporter, families, words, step, looks: 0, begin: 0.0, seen: BTreeMap::new() })
    }

    /// Writes one record of the input, by its key.
    pub fn send(&self, at: i64, key: &[u8], value: &[u8]) -> Result<(), Failed> {
        let record = NewRecord { timestamp: Some(at), key: Some(key), value: Some(value), ..NewRecord::default() };
        self.pipeline.broker.produce(INPUT, &record)?;
        Ok(())
    }

    /// The clock moves on to `time`, and what was sent until then is taken in.
    pub fn until(&mut self, time: i64) -> Result<(), Failed> {
        let ahead = time - self.pipeline.clock.now() - 100 * i64::try_from(STEPS)?;
        assert!(ahead >= 0, "time goes back");
        self.pipeline.clock.advance(ahead);
        for _ in 0..STEPS {
            self.pipeline.step();
        }
        if self.looks.is_multiple_of(64) {
            self.sweep()?;
        }
        Ok(())
    }

    /// What was published is read by nobody.
    fn sweep(&self) -> Result<(), Failed> {
        let names = &self.pipeline.settings.layout.names;
        for topic in [&names.aggregates, &names.late, &names.dead_letter] {
            for partition in 0.. {
                let Ok((_, end)) = self.pipeline.broker.bounds(topic, partition) else { break };
                self.pipeline.broker.delete_records(topic, partition, end)?;
            }
        }
        Ok(())
    }

    /// A scrape.
    pub fn look(&mut self) {
        let board = self.pipeline.board.look();
        let halted = board.sources.values().map(|source| &source.condition);
        let halted = halted.chain(board.merges.values().map(|merge| &merge.condition));
        assert!(!halted.into_iter().any(|condition| matches!(condition, Condition::Halted(_))), "a task has halted");
        if self.looks == 0 {
            self.begin = self.pipeline.clock.now() as f64 / 1000.0;
        }
        let page = self.exporter.metrics();
        let mut gone: BTreeSet<String> = self
            .seen
            .iter()
            .filter(|(_, course)| matches!(course.last(), Some((_, Some(_)))))
            .map(|(series, _)| series.clone())
            .collect();
        for line in page.lines().filter(|line| !line.starts_with('#')) {
            let (series, value) = line.rsplit_once(' ').expect("a name and a value");
            let family = series.split('{').next().unwrap_or(series);
            let figure = series.split("figure=\"").nth(1).and_then(|rest| rest.split('"').next());
            let is_asked = figure.is_none_or(|figure| self.words.contains(figure));
            let is_fine = series.contains("slice=\"region\"") || series.contains("slice=\"segment\"");
            if !self.families.contains(family) || is_fine || !is_asked {
                continue;
            }
            let value: f64 = value.parse().expect("a number");
            // promtool's time begins at 0.
            let value = if family.ends_with("_timestamp_seconds") { value - self.begin } else { value };
            gone.remove(series);
            let course = self.seen.entry(series.to_owned()).or_default();
            if course.last().is_none_or(|(_, last)| *last != Some(value)) {
                course.push((self.looks, Some(value)));
            }
        }
        for series in gone {
            self.seen.get_mut(&series).expect("it was seen").push((self.looks, None));
        }
        self.looks += 1;
    }

    /// Everything that fired, by what promtool says: where, from which minute to which.
    pub fn fired(&self) -> Result<Vec<Fired>, Failed> {
        let directory = tempfile::tempdir()?;
        for file in [HEALTH, BUSINESS] {
            std::fs::write(directory.path().join(file), rules(file)?)?;
        }
        let mut fired: Vec<Fired> = Vec::new();
        for (span, (first, last)) in self.ask(directory.path())? {
            assert!(first.keys().eq(last.keys()), "{first:?} {last:?}");
            let began = span * SPAN * self.step;
            for (((alert, place), from), until) in first.into_iter().zip(last.into_values()) {
                let goes_on = |one: &&mut Fired| {
                    one.alert == alert
                        && one.place == place
                        && one.until + self.step >= began
                        && from <= began + self.step
                };
                match fired.iter_mut().find(goes_on) {
                    Some(one) => one.until = until,
                    None => fired.push(Fired { alert, place, from, until }),
                }
            }
        }
        Ok(fired)
    }

    /// By span when what fired first and last in it.
    fn ask(&self, directory: &Path) -> Result<BTreeMap<u32, (Minutes, Minutes)>, Failed> {
        let step = self.step;
        let mut text = format!(
            "rule_files: [{HEALTH}, {BUSINESS}]\nevaluation_interval: {step}m\n\
             group_eval_order: [touchstone-health-recording, touchstone-health, touchstone-cx]\n\
             tests:\n  - interval: {step}m\n    input_series:\n      - {{series: 'up{{job=\"touchstone\",instance=\"a\"}}', values: '1x{}'}}\n",
            self.looks
        );
        for (series, course) in &self.seen {
            let series = series.replacen('{', "{job=\"touchstone\",instance=\"a\",", 1);
            let series =
                if series.contains('{') { series } else { format!("{series}{{job=\"touchstone\",instance=\"a\"}}") };
            let _ = write!(text, "      - {{series: '{}', values: '", series.replace('\'', "''"));
            if course[0].0 > 0 {
                let _ = write!(text, "_x{} ", course[0].0);
            }
            for (place, (begin, value)) in course.iter().enumerate() {
                let next = course.get(place + 1).map_or(self.looks, |(begin, _)| *begin);
                let _ = match value {
                    Some(value) => write!(text, "{value}x{} ", next - begin - 1),
                    None if next - begin > 1 => write!(text, "stale _x{} ", next - begin - 1),
                    None => write!(text, "stale "),
                };
            }
            text.push_str("'}\n");
        }
        text.push_str("    promql_expr_test:\n");
        let looks = u32::try_from(self.looks)?;
        let spans = looks.div_ceil(SPAN);
        for (span, function) in (0..spans).flat_map(|span| [(span, "min_over_time"), (span, "max_over_time")]) {
            let (begin, end) = (span * SPAN * step, looks.min((span + 1) * SPAN) * step);
            let length = end - begin;
            // The second matcher says which span it is: promtool repeats the text of what differs.
            let _ = write!(
                text,
                "      - expr: '{function}(timestamp(ALERTS{{alertstate=\"firing\",span!=\"{span}\"}})[{length}m:{step}m])'\n        \
                 eval_time: {end}m\n        exp_samples: []\n"
            );
        }
        std::fs::write(directory.join("test.yml"), text)?;
        let said = promtool(&["test", "rules", "test.yml"], directory)?;
        let said = [said.stdout, said.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        if said.contains("SUCCESS") {
            return Ok(Default::default());
        }
        let mut found: BTreeMap<u32, (Minutes, Minutes)> = BTreeMap::new();
        for answer in said.split("expr: ").skip(1) {
            let span = answer.split("span!=\\\"").nth(1).and_then(|rest| rest.split('\\').next());
            let span = span.and_then(|span| span.parse().ok()).ok_or_else(|| format!("promtool: {said}"))?;
            let got = answer.split("got:").nth(1).ok_or_else(|| format!("promtool: {said}"))?;
            let (first, last) = found.entry(span).or_default();
            *(if answer.contains("min_over_time") { first } else { last }) = parse(got)?;
        }
        if found.is_empty() { Err(format!("promtool: {said}").into()) } else { Ok(found) }
    }
}

/// How many looks are asked about at once: promtool bears no more samples.
const SPAN: u32 = 288;

/// By alert and place a minute.
type Minutes = BTreeMap<(String, String), u32>;

/// promtool's words for what it got: `{alertname="…", …} 1.8E+03`, set apart by commas.
fn parse(got: &str) -> Result<Minutes, Failed> {
    let mut fired = BTreeMap::new();
    for (labels, rest) in got.split('{').skip(1).filter_map(|part| part.split_once('}')) {
        let label = |name: &str| {
            let begin = labels.find(&format!("{name}=\"")).map(|place| place + name.len() + 2)?;
            Some(labels[begin..].split('"').next().unwrap_or_default().to_owned())
        };
        let place: Vec<String> =
            ["slice", "channel", "queue", "team", "input", "metric_set"].into_iter().filter_map(label).collect();
        let value = rest.split([' ', ',', '\n']).find_map(|word| word.parse::<f64>().ok());
        let value = value.ok_or_else(|| format!("no value in {labels}{rest}"))?;
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "seconds of some weeks")]
        let minute = (value / 60.0) as u32;
        fired.insert((label("alertname").unwrap_or_default(), place.join(" ")), minute);
    }
    Ok(fired)
}
