//! What the alerts about the business live through: the real thing and its end, gaps, moves, restarts; and each guard.

use super::scenario::{Course, Scenario, Series};
use super::subjects::{Guard, Subject};

/// Scenarios that turn red when a guard is gone that every alert has: that it lasts, that it goes on for a while, that missing
/// numbers do not end it, that a place is one place whoever shows it.
pub const MOMENT: &str = "a moment is no news";
pub const RECOVERY: &str = "a moment of calm does not end it";
pub const MISSING: &str = "numbers that go missing do not end it";
pub const MOVED: &str = "the partition moves to another process";

/// What was seen on real numbers, for the end of docs/ALERTS.md.
pub const REAL: &str = "
## On the demo

Two hours and three quarters of the demo with a Prometheus that was started with it: `CxCsatDropping` fires once, for the queue in trouble (voice / technical), within the first hour of the
trouble, and ends a quarter of an hour after it. `CxAbandonmentHigh` and `CxServiceLevelBurningFast` fire for the same queue and for no other place. With a source that dies before the
trouble shows, only alerts about the data fire. Both are tests, as is what Alertmanager makes of it: one page.

## On real contacts

`cargo test --test integration -- --ignored alerts::` lets two data sets through the pipeline at the pace of their own time and compares what fires, by place and day, with the list in
[real.rs](../tests/integration/alerts/real.rs). It takes four minutes.

Calls of a bank in January 1999, 31,345 events, 80 % promised within a minute (it kept 71 %). The pages about abandonment and volume were looked up in an hourly table of the calls that was made independently; the service level is not in it:

| what fired for all calls | days of January | what happened |
|---|---|---|
| `CxAbandonmentHigh` | 3 4 10 13 14 17 18 20 21 26 | an hour in which 28 to 75 % of the callers hung up. On the 7th at six 59 % did, in the menu: they were not offered to anybody, and nothing fired |
| `CxContactVolumeExploded` | 13 | 38 calls between five and seven in the morning, on other Wednesdays 4; later none for an hour, then 41 % abandoned |
| `CxContactVolumeCollapsed` | 24 | 15 calls between eight and nine in the evening, on the Sundays before 48 and 62 |
| `CxServiceLevelBurningFast` / `Slow` | 4 7 10 13 18 20 21 / 7 10 13 18 19 21 | fewer than 40 % in a minute for an hour, fewer than 70 % for a day |

The queues add days on which the whole was well: NW gave up on the 7th, 19th and 28th, and was behind its promise on nine days more. `CxContactVolumeCollapsed` first fired on the 20th as
well, an echo of the 13th a week before: since then it, its opposite and `CxChannelShareShifted` ask two weeks ago too. What fires at the end of a day may stay until the next
morning: at night nobody calls, and no numbers end no alert.

42,495 reviews of a marketplace from December 2006 to January 2007, which know only the day: no alert about the business fired.
";

const WEEK: u32 = 7 * 24 * 60;

/// How long a scenario goes on at most, minutes.
const DAY_LOOKED_AT: u32 = 400;

impl Subject {
    /// When the state of things sets in that a scenario is about.
    fn begin(&self) -> u32 {
        if self.weekly { WEEK } else { 30 }
    }

    /// By when it has fired for certain, after it set in.
    fn fired(&self) -> u32 {
        self.lasts + 15
    }

    /// What there was before: of a week only the hours that are compared with, so that promtool has less to do.
    fn before(&self, well: f64) -> Course {
        if self.weekly {
            vec![(DAY_LOOKED_AT, Some(well)), (WEEK - DAY_LOOKED_AT, None)]
        } else {
            vec![(self.begin(), Some(well))]
        }
    }

    fn course(&self, name: &str, value: f64, then: &[(u32, Option<f64>)]) -> Course {
        let well = self.well.iter().find(|(series, _)| *series == name).map_or(value, |(_, well)| *well);
        let mut course = self.before(well);
        course.extend_from_slice(then);
        course
    }

    fn scenario(
        &self,
        name: &str,
        looks: &[(u32, bool)],
        then: impl Fn(f64, f64) -> Vec<(u32, Option<f64>)>,
    ) -> Scenario {
        let series = self.real.iter().map(|(name, value)| {
            let well = self.well.iter().find(|(series, _)| series == name).map_or(*value, |(_, well)| *well);
            let course = self.course(name, *value, &then(*value, well));
            Series { name: (*name).into(), instance: "a", course }
        });
        let looks = looks.iter().map(|(minute, fires)| (self.begin() + minute, u32::from(*fires))).collect();
        Scenario { name: name.into(), alert: self.alert.into(), series: series.collect(), looks }
    }

    /// The scenarios of the guards that every alert has, under names of their copies of the alert, as they are when the guard
    /// is gone: what is taken out of the alert's text, what is left, and in how many places it fires then at which minute.
    pub fn general(&self, text: &str) -> Vec<(Scenario, String)> {
        let (begin, fired) = (self.begin(), self.fired());
        let line = |begins: &str| {
            let line = text.lines().find(|line| line.trim().starts_with(begins));
            format!("{}\n", line.unwrap_or_else(|| panic!("{} has no {begins}", self.alert)))
        };
        let held = text
            .find("          or\n            last_over_time")
            .expect("what fires is held while numbers are missing");
        let held = &text[held..text.find("        for: ").expect("it waits")];
        // Where time goes by five minutes the look is at the last of them.
        let later = |minutes| if self.weekly { 0 } else { minutes };
        let taken = [
            (MOMENT, line("for: "), "        for: 0m\n", (begin, 1)),
            (RECOVERY, line("keep_firing_for: "), "", (begin + fired + later(3), 0)),
            (MISSING, held.to_owned(), "", (begin + fired + 60, 0)),
        ];
        let taken = taken.into_iter().enumerate().map(|(number, (name, guard, left, look))| {
            let copy = format!("{}General{number}", self.alert);
            let broken = text.replace(&guard, left).replace(self.alert, &copy);
            (Scenario { alert: copy, looks: vec![look], ..self.life_of(name) }, broken)
        });
        taken.collect()
    }

    /// The partition moves, and a place is as many places as processes show it; where it is compared with a week ago, the
    /// process that took it over knows none.
    pub fn twice(&self) -> Scenario {
        if self.weekly {
            return Scenario { looks: vec![(self.begin() + self.fired(), 0)], ..self.moved_before() };
        }
        // The other one must have lasted as long by then, and the first one goes on for a while.
        let look = self.begin() + self.fired() + self.lasts + 8;
        Scenario { looks: vec![(look, 2)], ..self.moved() }
    }

    /// The partition moves to another process just before the trouble.
    fn moved_before(&self) -> Scenario {
        let name = "the partition moved to another process before the trouble";
        let mut moved = self.scenario(name, &[(self.fired(), true)], |_, _| vec![(self.fired() + 5, None)]);
        let other = moved.series.clone().into_iter().zip(self.real).map(|(series, (_, real))| Series {
            instance: "b",
            course: vec![(self.begin(), None), (self.fired() + 5, Some(*real))],
            ..series
        });
        let other: Vec<Series> = other.collect();
        moved.series.extend(other);
        moved
    }

    /// The scenario of one guard, as it is when the guard is gone: the alert fires.
    pub fn unguarded(&self, guard: &Guard, copy: &str) -> Scenario {
        let guarded = self.guarded(guard);
        Scenario { alert: copy.into(), looks: vec![(guarded.looks[4].0, 1)], ..guarded }
    }

    fn life_of(&self, name: &str) -> Scenario {
        let found = self.life().into_iter().find(|life| life.name == name);
        found.unwrap_or_else(|| panic!("there is no scenario {name}"))
    }

    /// Everything that is not about one guard.
    pub fn life(&self) -> Vec<Scenario> {
        let fired = self.fired();
        let mut all = vec![
            self.scenario(
                "the real thing fires, and ends when it is over",
                &[(0, false), (fired, true), (119, true), (240, false)],
                |real, well| vec![(120, Some(real)), (130, Some(well))],
            ),
            self.scenario(MOMENT, &[(5, false), (20, false), (60, false)], |real, well| {
                vec![(self.lasts.min(5), Some(real)), (100, Some(well))]
            }),
            self.scenario(
                "numbers that go missing before it lasted do not fire",
                &[(30, false), (60, false)],
                |real, _| vec![(self.lasts.min(5), Some(real)), (100, None)],
            ),
            self.scenario(
                MISSING,
                &[(fired, true), (fired + 60, true), (fired + 180, true), (fired + 290, false)],
                |real, well| vec![(fired + 5, Some(real)), (190, None), (120, Some(well))],
            ),
            self.scenario(
                RECOVERY,
                &[(fired, true), (fired + 5, true), (fired + 10, true), (fired + 15, true), (fired + 40, true)],
                |real, well| vec![(fired + 1, Some(real)), (5, Some(well)), (60, Some(real))],
            ),
            self.scenario(
                "a restart",
                &[(fired, true), (fired + 5, true), (fired + 20, true), (fired + 30, true)],
                |real, _| vec![(fired, Some(real)), (5, None), (60, Some(real))],
            ),
            self.scenario(
                "nothing is there but these numbers: a fresh start of Prometheus",
                &[(fired, !self.weekly)],
                |real, _| vec![(fired + 5, Some(real))],
            ),
        ];
        // Nothing of what was before.
        for series in &mut all.last_mut().expect("it is there").series {
            series.course[0].1 = None;
        }
        all.push(self.moved());
        all.push(self.moved_before());
        all.push(self.zombie());
        all
    }

    /// The partition moves to another process, which shows the same; for a moment both show it.
    fn moved(&self) -> Scenario {
        let fired = self.fired();
        let looks: Vec<(u32, bool)> = (0..6).map(|look| (fired + 5 * look, true)).collect();
        let mut moved = self.scenario(MOVED, &looks, |real, _| vec![(fired + 10, Some(real))]);
        let other = moved.series.clone().into_iter().zip(self.real).map(|(series, (_, real))| Series {
            instance: "b",
            course: vec![(self.begin() + fired + 5, None), (60, Some(*real))],
            ..series
        });
        let other: Vec<Series> = other.collect();
        moved.series.extend(other);
        moved
    }

    /// All is well; a process that lost the partition shows for a moment how bad it was.
    fn zombie(&self) -> Scenario {
        let mut zombie = self.scenario(
            "a process that lost the partition shows old numbers once",
            &[(0, false), (30, false), (60, false)],
            |_, well| vec![(90, Some(well))],
        );
        let other = zombie.series.clone().into_iter().zip(self.real).map(|(series, (_, real))| Series {
            instance: "b",
            course: vec![(self.begin() + 10, None), (5, Some(*real)), (60, None)],
            ..series
        });
        let other: Vec<Series> = other.collect();
        zombie.series.extend(other);
        zombie
    }

    /// The scenario of one guard: the alert stays quiet.
    pub fn guarded(&self, guard: &Guard) -> Scenario {
        let looks: Vec<(u32, bool)> = (0..8).map(|look| (15 * look, false)).collect();
        let mut scenario = self.scenario(guard.name, &looks, |real, _| vec![(120, Some(real))]);
        for (name, value) in guard.change {
            if let Some(name) = name.strip_prefix("before last: ") {
                // All of it a week later, so that there is a week before the last one.
                for series in &mut scenario.series {
                    let before = if series.name == name { Some(*value) } else { series.course[0].1 };
                    series.course.splice(0..0, [(DAY_LOOKED_AT, before), (WEEK - DAY_LOOKED_AT, None)]);
                }
                scenario.looks.iter_mut().for_each(|(minute, _)| *minute += WEEK);
                continue;
            }
            if let Some(name) = name.strip_prefix("before: ") {
                let series = scenario.series.iter_mut().find(|series| series.name == name);
                series.expect("it is one of the alert's").course[0].1 = Some(*value);
                continue;
            }
            match scenario.series.iter_mut().find(|series| series.name == *name) {
                Some(series) => series.course[self.before(0.0).len()].1 = Some(*value),
                None => scenario.series.push(Series {
                    name: (*name).into(),
                    instance: "a",
                    course: vec![(self.begin(), None), (120, Some(*value))],
                }),
            }
        }
        scenario
    }
}
