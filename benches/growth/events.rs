//! A stream of events of a load: CloudEvents of about 400 bytes, 60 % contacts, 25 % interactions, 15 % surveys.

use std::fmt::Write;

use touchstone::engine::time::rfc3339;

use crate::random::Random;

/// 2026-11-22T00:00:00Z, ms.
const START: i64 = 1_795_305_600_000;

/// What can grow.
#[derive(Clone)]
pub struct Load {
    pub queues: u64,
    /// (name, size, slide) of windows, minutes.
    pub windows: Vec<(u64, u64)>,
    pub partitions: i32,
    pub group_bys: Vec<&'static str>,
    /// Of a thousand items, how many are copies of one before, and how many are an hour old.
    pub copies: u64,
    pub late: u64,
    /// Between two items, microseconds of event time.
    pub step: u64,
}

impl Default for Load {
    /// The job that the peers do.
    fn default() -> Load {
        Load {
            queues: 500,
            windows: vec![(1, 1), (15, 1)],
            partitions: 12,
            group_bys: vec!["all", "queue"],
            copies: 0,
            late: 0,
            step: 1_440,
        }
    }
}

impl Load {
    /// The configuration that counts it.
    pub fn config(&self) -> String {
        let mut text = String::from("[[input]]\nname = \"in\"\ntopic = \"in\"\n");
        for (size, slide) in &self.windows {
            let _ = write!(text, "[[windows]]\nname = \"{size}m\"\nsize = \"{size}m\"\nslide = \"{slide}m\"\n");
        }
        let _ = write!(text, "[slices]\ngroup_by = {:?}\nvalues_max = 1000000\n", self.group_bys);
        let name = format!("{}m", self.windows[0].0);
        let _ = write!(text, "[export]\nwide = [\"{name}\"]\nnarrow = [\"{name}\"]\n");
        text
    }
}

/// Exponential with this mean, ms.
fn exponential(random: &mut Random, mean_ms: f64) -> u64 {
    (-mean_ms * (1.0 - random.unit()).ln()) as u64
}

pub struct Events<'l> {
    load: &'l Load,
}

impl<'l> Events<'l> {
    pub fn new(load: &'l Load) -> Events<'l> {
        Events { load }
    }

    /// Event `n`, or what takes its place: a copy of one before in its partition, or a late one.
    pub fn make(&self, n: u64) -> String {
        let mut dice = Random(n ^ 0x5851_F42D_4C95_7F2D);
        let what = dice.below(1_000);
        let back = self.load.partitions.cast_unsigned() as u64 * 50;
        if what < self.load.copies && n >= back {
            return self.original(n - back, 0);
        }
        let late = what >= 1_000 - self.load.late;
        self.original(n, if late { 3_600_000 } else { 0 })
    }

    fn original(&self, n: u64, late_ms: i64) -> String {
        let mut random = Random(n.wrapping_mul(0xD6E8_FEB8_6659_FD93) ^ 1);
        random.next();
        let place = START + i64::try_from(n * self.load.step / 1_000).expect("a time");
        let time = place + random.below(10_001) as i64 - 5_000 - late_ms;
        let queue = random.skewed(self.load.queues);
        let (channel, customer) = (queue % 10, random.below(500_000));
        const CHANNELS: [&str; 10] =
            ["voice", "chat", "messaging", "email", "social", "web", "app", "sms", "in_person", "other"];
        let kind = match random.below(100) {
            0..60 => "cx.contact.ended.v1",
            60..85 => "cx.interaction.v1",
            _ => "cx.survey.responded.v1",
        };
        let mut json = String::with_capacity(512);
        write!(
            json,
            concat!(
                r#"{{"specversion":"1.0","id":"{:016x}","source":"/cx/site-{}","type":"{}","time":"{}","#,
                r#""datacontenttype":"application/json","data":{{"channel":"{}","queue":"q-{:02}","team":"team-{}","#,
                r#""region":"{}","segment":"segment-{}","customer_id":"c-{:07}","#
            ),
            random.next(),
            customer % 7,
            kind,
            rfc3339(time),
            CHANNELS[channel as usize],
            queue / 10,
            queue % 8,
            ["emea", "amer", "apac"][customer as usize % 3],
            customer % 5,
            customer
        )
        .expect("into memory");
        match kind {
            "cx.contact.ended.v1" => contact(&mut random, n, &mut json),
            "cx.interaction.v1" => {
                let kinds = ["visit", "app_session", "mention", "comment", "review"];
                let kind = kinds[random.below(5) as usize];
                let sentiment = random.below(2_000) as f64 / 1_000.0 - 1.0;
                write!(json, r#""kind":"{kind}","stage":"consider","sentiment":{sentiment:.3}"#).expect("into memory");
            }
            _ => {
                let (metric, low, high) = if random.below(2) == 0 { ("csat", 1, 5) } else { ("nps", 0, 10) };
                let score = low + random.below(high - low + 1);
                write!(
                    json,
                    r#""metric":"{metric}","score":{score},"scale_min":{low},"scale_max":{high},"has_comment":true"#
                )
                .expect("into memory");
            }
        }
        json.push_str("}}");
        json
    }
}

fn contact(random: &mut Random, n: u64, json: &mut String) {
    let outcome = match random.below(100) {
        0..88 => "answered",
        88..96 => "abandoned",
        _ => "flow_out",
    };
    let seconds = |json: &mut String, name: &str, ms: u64| {
        write!(json, r#""{name}":{}.{:03},"#, ms / 1_000, ms % 1_000).expect("into memory");
    };
    write!(json, r#""contact_id":"k-{n:010}","direction":"inbound","outcome":"{outcome}","#).expect("into memory");
    seconds(json, "queue_wait_seconds", exponential(random, 35_000.0));
    if outcome == "answered" {
        let hold = if random.below(10) < 3 { exponential(random, 25_000.0) } else { 0 };
        seconds(json, "hold_seconds", hold);
        seconds(json, "talk_seconds", exponential(random, 240_000.0));
        seconds(json, "wrapup_seconds", exponential(random, 30_000.0));
    }
    write!(json, r#""resolved":{},"transfers":0"#, random.below(10) < 7).expect("into memory");
}
