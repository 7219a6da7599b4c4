//! What a query asks for, as far as these tests look at it: its selectors and the labels it groups by. Prometheus itself
//! reads the rest.

use std::collections::BTreeSet;

/// `family{label="value"}`, and everything that stands before it.
pub struct Selector {
    pub family: String,
    pub matchers: Vec<Matcher>,
    pub before: String,
}

/// One of its conditions.
pub struct Matcher {
    pub label: String,
    pub value: String,
}

/// What a query asks for.
#[derive(Default)]
pub struct Asked {
    pub selectors: Vec<Selector>,
    /// What is grouped by, joined on or taken away.
    pub labels: BTreeSet<String>,
}

const GROUPING: [&str; 6] = ["by", "on", "without", "ignoring", "group_left", "group_right"];

/// Reads a query.
pub fn asked(query: &str) -> Asked {
    let mut asked = Asked::default();
    let mut at = 0;
    while let Some(skipped) = query[at..].find(|letter: char| letter.is_ascii_alphabetic() || letter == '"') {
        at += skipped;
        if query[at..].starts_with('"') {
            at += 2 + query[at + 1..].find('"').expect("texts are closed");
            continue;
        }
        let is_of_word = |letter: char| letter.is_ascii_alphanumeric() || matches!(letter, '_' | ':');
        let end = at + query[at..].find(|letter| !is_of_word(letter)).unwrap_or(query.len() - at);
        let (word, behind) = (&query[at..end], query[end..].trim_start());
        if GROUPING.contains(&word) && behind.starts_with('(') {
            let inside = behind[1..].split(')').next().unwrap_or_default();
            asked.labels.extend(inside.split(',').map(str::trim).filter(|label| !label.is_empty()).map(str::to_owned));
        } else if word.starts_with("cx_") || word.starts_with("touchstone_") || behind.starts_with('{') {
            let inside = behind.strip_prefix('{').and_then(|behind| behind.split('}').next()).unwrap_or_default();
            asked.selectors.push(Selector {
                family: word.into(),
                matchers: inside.split("\",").filter_map(matcher).collect(),
                before: query[..at].trim_end().into(),
            });
        }
        at = end;
    }
    asked
}

/// `label=~"value`, with or without the last quote.
fn matcher(text: &str) -> Option<Matcher> {
    let (label, value) = text.split_once('"')?;
    let label = label.trim_end_matches(['=', '~', '!']).trim();
    Some(Matcher { label: label.into(), value: value.trim_end_matches('"').into() })
}
