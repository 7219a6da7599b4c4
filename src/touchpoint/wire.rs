//! The strict, fast reading of an event: one pass, borrowing, no tree.
//!
//! It takes an event only if every field has the type it should have, no key repeats at any level and every
//! number fits. What it refuses is read again by `tree`, which finds out why; so an error here carries no
//! message that anybody would read. Any serde format can drive it; which one does was measured (`benches/decode.rs`).

use super::field::{Field, FlagField, NumberField, TextField};
use super::number::Number;
use arrayvec::ArrayVec;
use serde::de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::borrow::Cow;
use std::fmt;

/// A string that may be absent; `null` and `""` are absent.
pub(super) type Text<'a> = Option<Cow<'a, str>>;

/// An event as it is written, before any rule but types has been applied.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RawEvent<'a> {
    pub(super) attributes: Attributes<'a>,
    pub(super) data: RawData<'a>,
}

/// The CloudEvents attributes that matter here.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct Attributes<'a> {
    pub(super) values: [Text<'a>; Attribute::ALL.len()],
}

/// One CloudEvents attribute, in the order in which they are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Attribute {
    Specversion,
    Id,
    Source,
    Type,
    Time,
}

impl Attribute {
    pub(super) const ALL: [Attribute; 5] =
        [Attribute::Specversion, Attribute::Id, Attribute::Source, Attribute::Type, Attribute::Time];

    pub(super) const fn name(self) -> &'static str {
        match self {
            Attribute::Specversion => "specversion",
            Attribute::Id => "id",
            Attribute::Source => "source",
            Attribute::Type => "type",
            Attribute::Time => "time",
        }
    }

    pub(super) fn parse(name: &str) -> Option<Attribute> {
        match name {
            "specversion" => Some(Attribute::Specversion),
            "id" => Some(Attribute::Id),
            "source" => Some(Attribute::Source),
            "type" => Some(Attribute::Type),
            "time" => Some(Attribute::Time),
            _ => None,
        }
    }
}

impl<'a> Attributes<'a> {
    pub(super) fn get(&self, attribute: Attribute) -> Option<&str> {
        self.values[attribute as usize].as_deref()
    }

    pub(super) fn take(&mut self, attribute: Attribute) -> Text<'a> {
        self.values[attribute as usize].take()
    }
}

/// The fields of `data`, by type.
#[derive(Debug, Clone, PartialEq, Default)]
pub(super) struct RawData<'a> {
    texts: [Text<'a>; TextField::COUNT],
    numbers: [Option<Number>; NumberField::COUNT],
    flags: [Option<bool>; FlagField::COUNT],
}

impl<'a> RawData<'a> {
    pub(super) fn text(&self, field: TextField) -> Option<&str> {
        self.texts[field as usize].as_deref()
    }

    pub(super) fn take_text(&mut self, field: TextField) -> Text<'a> {
        self.texts[field as usize].take()
    }

    /// The first texts of the table, moved out.
    pub(super) fn take_first_texts<const N: usize>(&mut self) -> [Text<'a>; N] {
        std::array::from_fn(|at| self.texts[at].take())
    }

    pub(super) fn number(&self, field: NumberField) -> Option<Number> {
        self.numbers[field as usize]
    }

    pub(super) fn flag(&self, field: FlagField) -> Option<bool> {
        self.flags[field as usize]
    }

    pub(super) fn has(&self, field: Field) -> bool {
        match field {
            Field::Text(field) => self.texts[field as usize].is_some(),
            Field::Number(field) => self.numbers[field as usize].is_some(),
            Field::Flag(field) => self.flags[field as usize].is_some(),
        }
    }

    pub(super) fn set_text(&mut self, field: TextField, text: Text<'a>) {
        self.texts[field as usize] = text;
    }

    pub(super) fn set_number(&mut self, field: NumberField, number: Number) {
        self.numbers[field as usize] = Some(number);
    }

    pub(super) fn set_flag(&mut self, field: FlagField, flag: bool) {
        self.flags[field as usize] = Some(flag);
    }
}

impl<'de> Deserialize<'de> for RawEvent<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(EventVisitor)
    }
}

/// The value of a binary event: an object; `null`, absent as a field, is no event.
impl<'de> Deserialize<'de> for RawData<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut data = RawData::default();
        deserializer.deserialize_map(DataReader(&mut data))?;
        Ok(data)
    }
}

struct EventVisitor;

impl<'de> Visitor<'de> for EventVisitor {
    type Value = RawEvent<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an event")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<RawEvent<'de>, A::Error> {
        let mut event = RawEvent::default();
        let mut seen = 0_u8;
        let mut others = OtherKeys::default();
        while let Some(MaybeText(key)) = map.next_key()? {
            let key = key.unwrap_or_default();
            if key == "data" {
                first_time(&mut seen, 1 << Attribute::ALL.len())?;
                map.next_value_seed(DataReader(&mut event.data))?;
            } else if let Some(attribute) = Attribute::parse(&key) {
                first_time(&mut seen, 1 << attribute as u8)?;
                let MaybeText(text) = map.next_value()?;
                event.attributes.values[attribute as usize] = text;
            } else {
                others.insert(key)?;
                map.next_value::<Sound>()?;
            }
        }
        Ok(event)
    }
}

/// Reads `data` where it will stay: it is too large to be handed around.
struct DataReader<'d, 'de>(&'d mut RawData<'de>);

impl<'de> DeserializeSeed<'de> for DataReader<'_, 'de> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for DataReader<'_, 'de> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the data of an event")
    }

    /// `null` is absent, like everywhere.
    fn visit_unit<E: de::Error>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let DataReader(data) = self;
        let mut seen = 0_u64;
        let mut others = OtherKeys::default();
        while let Some(key) = map.next_key_seed(KeySeed)? {
            match key {
                Key::Field(field) => {
                    let bit = 1_u64 << field.index();
                    if seen & bit != 0 {
                        return Err(de::Error::custom("repeated key"));
                    }
                    seen |= bit;
                    match field {
                        Field::Text(field) => data.texts[field as usize] = map.next_value::<MaybeText>()?.0,
                        Field::Number(field) => data.numbers[field as usize] = map.next_value::<MaybeNumber>()?.0,
                        Field::Flag(field) => data.flags[field as usize] = map.next_value()?,
                    }
                }
                Key::Other(key) => {
                    others.insert(key)?;
                    map.next_value::<Sound>()?;
                }
            }
        }
        Ok(())
    }
}

// One bit per field.
const _: () = assert!(Field::COUNT <= 64);

fn first_time<E: de::Error>(seen: &mut u8, bit: u8) -> Result<(), E> {
    if *seen & bit != 0 {
        return Err(E::custom("repeated key"));
    }
    *seen |= bit;
    Ok(())
}

enum Key<'de> {
    Field(Field),
    Other(Cow<'de, str>),
}

struct KeySeed;

impl<'de> DeserializeSeed<'de> for KeySeed {
    type Value = Key<'de>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Key<'de>, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for KeySeed {
    type Value = Key<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: de::Error>(self, key: &'de str) -> Result<Key<'de>, E> {
        Ok(Field::parse(key).map_or(Key::Other(Cow::Borrowed(key)), Key::Field))
    }

    fn visit_str<E: de::Error>(self, key: &str) -> Result<Key<'de>, E> {
        Ok(Field::parse(key).map_or_else(|| Key::Other(Cow::Owned(key.to_owned())), Key::Field))
    }
}

/// A string or null. `Option<Cow<str>>` by derive would always allocate.
struct MaybeText<'de>(Text<'de>);

impl<'de> Deserialize<'de> for MaybeText<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(TextVisitor).map(MaybeText)
    }
}

struct TextVisitor;

impl<'de> Visitor<'de> for TextVisitor {
    type Value = Text<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a string or null")
    }

    fn visit_borrowed_str<E: de::Error>(self, text: &'de str) -> Result<Text<'de>, E> {
        Ok((!text.is_empty()).then_some(Cow::Borrowed(text)))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Text<'de>, E> {
        Ok((!text.is_empty()).then(|| Cow::Owned(text.to_owned())))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Text<'de>, E> {
        Ok(None)
    }
}

struct MaybeNumber(Option<Number>);

impl<'de> Deserialize<'de> for MaybeNumber {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NumberVisitor).map(MaybeNumber)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Option<Number>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number or null")
    }

    fn visit_u64<E: de::Error>(self, number: u64) -> Result<Option<Number>, E> {
        Ok(Some(Number::from(number)))
    }

    fn visit_i64<E: de::Error>(self, number: i64) -> Result<Option<Number>, E> {
        Ok(Some(Number::Integer(number)))
    }

    fn visit_f64<E: de::Error>(self, number: f64) -> Result<Option<Number>, E> {
        Ok(Some(Number::from(number)))
    }

    fn visit_unit<E: de::Error>(self) -> Result<Option<Number>, E> {
        Ok(None)
    }
}

/// The keys of one object that are none of ours: a few are remembered, to find repeated ones; an object with
/// more of them is left to the tree.
#[derive(Default)]
struct OtherKeys<'de>(ArrayVec<Cow<'de, str>, 16>);

impl<'de> OtherKeys<'de> {
    fn insert<E: de::Error>(&mut self, key: Cow<'de, str>) -> Result<(), E> {
        let known = self.0.contains(&key);
        if known || self.0.try_push(key).is_err() {
            return Err(E::custom("repeated key, or too many to tell"));
        }
        Ok(())
    }
}

/// A value that is passed over, but checked like one that is kept: serde's `IgnoredAny` lets 1e999 and
/// repeated keys through.
struct Sound;

impl<'de> Deserialize<'de> for Sound {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(Sound)
    }
}

impl<'de> Visitor<'de> for Sound {
    type Value = Sound;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_bool<E: de::Error>(self, _: bool) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_u64<E: de::Error>(self, _: u64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_i64<E: de::Error>(self, _: i64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_f64<E: de::Error>(self, _: f64) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_str<E: de::Error>(self, _: &str) -> Result<Sound, E> {
        Ok(Sound)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut elements: A) -> Result<Sound, A::Error> {
        while elements.next_element::<Sound>()?.is_some() {}
        Ok(Sound)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Sound, A::Error> {
        let mut keys = OtherKeys::default();
        while let Some(MaybeText(key)) = map.next_key()? {
            keys.insert(key.unwrap_or_default())?;
            map.next_value::<Sound>()?;
        }
        Ok(Sound)
    }
}
