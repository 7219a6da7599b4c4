//! The slow, patient reading of an event: a tree of JSON values in which everything can be named.
//!
//! It runs only for what `wire` refused, and tells why: not JSON, a repeated key, not an object, a field of
//! the wrong type. Everything else it passes on to `judge` in the same shape as the fast reading, so that
//! each rule exists once.

use super::field::Field;
use super::number::Number;
use super::reject::{RejectReason, Rejection, quote};
use super::wire::{Attribute, Attributes, RawData, RawEvent, Text};
use serde::de::{self, Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// What is present but has the wrong type, with the words for a rejection.
#[derive(Debug, Default)]
pub(super) struct Misfits {
    attributes: Vec<(Attribute, String)>,
    data: Option<String>,
    fields: Vec<(Field, String)>,
}

impl Misfits {
    pub(super) fn is_empty(&self) -> bool {
        self.attributes.is_empty() && self.data.is_none() && self.fields.is_empty()
    }

    pub(super) fn attribute(&self, attribute: Attribute) -> Option<&str> {
        self.attributes.iter().find(|(misfit, _)| *misfit == attribute).map(|(_, value)| value.as_str())
    }

    /// The value of `data` when it is no object.
    pub(super) fn data(&self) -> Option<&str> {
        self.data.as_deref()
    }

    pub(super) fn field(&self, field: Field) -> Option<&str> {
        self.fields.iter().find(|(misfit, _)| *misfit == field).map(|(_, value)| value.as_str())
    }
}

/// Reads a structured event, type errors included.
///
/// # Errors
/// `not_json` and `not_object`.
pub(super) fn read_event(json: &str) -> Result<(RawEvent<'_>, Misfits), Rejection> {
    let mut event = RawEvent::default();
    let mut misfits = Misfits::default();
    for (key, value) in read_object(json, "the event")? {
        if key == "data" {
            match value {
                Value::Null => {}
                Value::Object(members) => event.data = take_data(members, &mut misfits),
                other => misfits.data = Some(other.to_string()),
            }
        } else if let Some(attribute) = Attribute::parse(&key) {
            match value.into_text() {
                Ok(text) => event.attributes.values[attribute as usize] = text,
                Err(misfit) => misfits.attributes.push((attribute, misfit)),
            }
        }
    }
    Ok((event, misfits))
}

/// Checks that this is JSON as an event must be, without repeated keys and with numbers that fit; what it says
/// does not matter. [`super::check_limits`] comes first: it bounds the depth.
///
/// # Errors
/// `not_json`: the item is to be rejected so.
pub fn check_json(json: &str) -> Result<(), Rejection> {
    match serde_json::from_str::<Value<'_>>(json) {
        Ok(_) => Ok(()),
        Err(error) => Err(not_json("the value", &error)),
    }
}

fn not_json(what: &str, error: &serde_json::Error) -> Rejection {
    Rejection::new(RejectReason::NotJson, format!("{what} is not JSON: {error}"))
}

/// Reads the value of a binary event, type errors included.
///
/// # Errors
/// `not_json` and `not_object`.
pub(super) fn read_data<'a>(json: &'a str, attributes: Attributes<'a>) -> Result<(RawEvent<'a>, Misfits), Rejection> {
    let mut misfits = Misfits::default();
    let data = take_data(read_object(json, "the value")?, &mut misfits);
    Ok((RawEvent { attributes, data }, misfits))
}

type Members<'a> = Vec<(Cow<'a, str>, Value<'a>)>;

fn read_object<'a>(json: &'a str, what: &str) -> Result<Members<'a>, Rejection> {
    match serde_json::from_str(json) {
        Ok(Value::Object(members)) => Ok(members),
        Ok(other) => Err(Rejection::new(RejectReason::NotObject, format!("{what} is {other}"))),
        Err(error) => Err(not_json(what, &error)),
    }
}

fn take_data<'a>(members: Members<'a>, misfits: &mut Misfits) -> RawData<'a> {
    let mut data = RawData::default();
    for (key, value) in members {
        let Some(field) = Field::parse(&key) else { continue };
        let misfit = match (field, value) {
            (_, Value::Null) => continue,
            (Field::Text(field), Value::Text(text)) => {
                data.set_text(field, (!text.is_empty()).then_some(text));
                continue;
            }
            (Field::Number(field), Value::Number(number)) => {
                data.set_number(field, number);
                continue;
            }
            (Field::Flag(field), Value::Flag(flag)) => {
                data.set_flag(field, flag);
                continue;
            }
            (_, value) => value.to_string(),
        };
        misfits.fields.push((field, misfit));
    }
    data
}

/// A JSON value with distinct keys. What no field can hold is kept only as far as a message shows it.
#[derive(Debug)]
enum Value<'a> {
    Null,
    Flag(bool),
    Number(Number),
    Text(Cow<'a, str>),
    Array,
    Object(Members<'a>),
}

impl<'a> Value<'a> {
    fn into_text(self) -> Result<Text<'a>, String> {
        match self {
            Value::Null => Ok(None),
            Value::Text(text) => Ok((!text.is_empty()).then_some(text)),
            other => Err(other.to_string()),
        }
    }
}

impl fmt::Display for Value<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Null => f.write_str("null"),
            Value::Flag(flag) => write!(f, "{flag}"),
            Value::Number(number) => write!(f, "{number}"),
            Value::Text(text) => f.write_str(&quote(text)),
            Value::Array => f.write_str("an array"),
            Value::Object(_) => f.write_str("an object"),
        }
    }
}

impl<'de: 'a, 'a> Deserialize<'de> for Value<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(ValueVisitor)
    }
}

struct ValueVisitor;

impl<'de> Visitor<'de> for ValueVisitor {
    type Value = Value<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any JSON value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Value<'de>, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E: de::Error>(self, flag: bool) -> Result<Value<'de>, E> {
        Ok(Value::Flag(flag))
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Value<'de>, E> {
        Ok(Value::Number(Number::from(number)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Value<'de>, E> {
        Ok(Value::Number(Number::Integer(number)))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Value<'de>, E> {
        Ok(Value::Number(Number::from(number)))
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Value<'de>, E> {
        Ok(Value::Text(Cow::Owned(text.to_owned())))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Value<'de>, A::Error> {
        while elements.next_element::<Value<'de>>()?.is_some() {}
        Ok(Value::Array)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value<'de>, A::Error> {
        let mut members: Members<'de> = Vec::new();
        while let Some(Value::Text(key)) = map.next_key()? {
            members.push((key, map.next_value()?));
        }
        match repeated_key(&members) {
            Some(key) => Err(de::Error::custom(format_args!("the key {} is repeated", quote(key)))),
            None => Ok(Value::Object(members)),
        }
    }
}

fn repeated_key<'m>(members: &'m Members<'_>) -> Option<&'m str> {
    let mut keys: Vec<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
    keys.sort_unstable();
    keys.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}
