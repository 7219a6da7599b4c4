//! The fields of `data`: their names, their JSON types, and which event type has which.
//!
//! This is the one table that both readings of an event share. An event holds its fields by type, in arrays
//! indexed by the enums here: adding a field is one line in its enum's table and one in [`fields_of`].

use super::{Dimension, Kind};

macro_rules! fields {
    ($(#[$doc:meta])* $type:ident: $($variant:ident $name:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        #[repr(u8)]
        pub(super) enum $type {
            $($variant,)+
        }

        impl $type {
            pub(super) const COUNT: usize = [$($name),+].len();

            pub(super) const fn name(self) -> &'static str {
                match self {
                    $($type::$variant => $name,)+
                }
            }

            const ALL: [$type; Self::COUNT] = [$($type::$variant),+];
        }
    };
}

fields! {
    /// The fields that hold a string. The dimensions come first, in the order of [`Dimension`].
    TextField:
    Channel "channel",
    Queue "queue",
    Team "team",
    Agent "agent",
    Topic "topic",
    Stage "stage",
    Region "region",
    Segment "segment",
    Product "product",
    Campaign "campaign",
    Variant "variant",
    CustomerId "customer_id",
    ContactId "contact_id",
    Outcome "outcome",
    Direction "direction",
    AbandonStage "abandon_stage",
    Interaction "kind",
    State "state",
    Reason "reason",
    Metric "metric",
    Respondent "respondent",
}

fields! {
    /// The fields that hold a number.
    NumberField:
    QueueWait "queue_wait_seconds",
    Hold "hold_seconds",
    Talk "talk_seconds",
    Wrapup "wrapup_seconds",
    FirstResponse "first_response_seconds",
    HoldCount "hold_count",
    Transfers "transfers",
    Sentiment "sentiment",
    Rating "rating",
    Score "score",
    ScaleMin "scale_min",
    ScaleMax "scale_max",
}

fields! {
    /// The fields that hold true or false.
    FlagField:
    Test "test",
    Resolved "resolved",
    HigherIsBetter "higher_is_better",
    HasComment "has_comment",
}

/// One field of `data`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Field {
    Text(TextField),
    Number(NumberField),
    Flag(FlagField),
}

impl Field {
    /// How many fields there are.
    pub(super) const COUNT: usize = TextField::COUNT + NumberField::COUNT + FlagField::COUNT;

    /// The field of that name.
    pub(super) fn parse(name: &str) -> Option<Field> {
        let field = BY_SLOT[slot(name.as_bytes())?]?;
        (field.name() == name).then_some(field)
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Field::Text(field) => field.name(),
            Field::Number(field) => field.name(),
            Field::Flag(field) => field.name(),
        }
    }

    /// The field of that index.
    const fn at(index: usize) -> Field {
        if index < TextField::COUNT {
            Field::Text(TextField::ALL[index])
        } else if index < TextField::COUNT + NumberField::COUNT {
            Field::Number(NumberField::ALL[index - TextField::COUNT])
        } else {
            Field::Flag(FlagField::ALL[index - TextField::COUNT - NumberField::COUNT])
        }
    }

    /// A number below [`Field::COUNT`] that no other field has.
    pub(super) const fn index(self) -> usize {
        match self {
            Field::Text(field) => field as usize,
            Field::Number(field) => TextField::COUNT + field as usize,
            Field::Flag(field) => TextField::COUNT + NumberField::COUNT + field as usize,
        }
    }

    /// The JSON type that the field must have.
    pub(super) const fn type_name(self) -> &'static str {
        match self {
            Field::Text(_) => "a string",
            Field::Number(_) => "a number",
            Field::Flag(_) => "true or false",
        }
    }
}

/// Where a name stands in [`BY_SLOT`]: a hash of its length and three of its letters, found by trying until no
/// two names fell together. A key of an event is thus one look and one comparison away from its field.
const fn slot(name: &[u8]) -> Option<usize> {
    let length = name.len();
    if length < 4 {
        return None;
    }
    let sum = length * 179 + name[0] as usize * 154 + name[2] as usize * 62 + name[length - 2] as usize * 7;
    Some(sum % SLOTS)
}

const SLOTS: usize = 128;

static BY_SLOT: [Option<Field>; SLOTS] = {
    let mut slots = [None; SLOTS];
    let mut at = 0;
    while at < Field::COUNT {
        let field = Field::at(at);
        let slot = slot(field.name().as_bytes()).expect("a field name has four letters");
        assert!(slots[slot].is_none(), "two field names fall together: find other factors for `slot`");
        slots[slot] = Some(field);
        at += 1;
    }
    slots
};

/// The fields that every type has, in the order in which they are checked.
pub(super) const COMMON: [Field; 14] = {
    use TextField::*;
    [
        Field::Text(Channel),
        Field::Text(Queue),
        Field::Text(Team),
        Field::Text(Agent),
        Field::Text(Topic),
        Field::Text(Stage),
        Field::Text(Region),
        Field::Text(Segment),
        Field::Text(Product),
        Field::Text(Campaign),
        Field::Text(Variant),
        Field::Text(CustomerId),
        Field::Text(ContactId),
        Field::Flag(FlagField::Test),
    ]
};

/// The fields that a type has beside [`COMMON`], in the order in which they are checked. A field that is not
/// listed for a type is an unknown extra field there, whatever it holds.
pub(super) const fn fields_of(kind: Kind) -> &'static [Field] {
    use Field::{Flag, Number, Text};
    match kind {
        Kind::Contact => &[
            Text(TextField::Outcome),
            Text(TextField::Direction),
            Number(NumberField::QueueWait),
            Number(NumberField::Hold),
            Number(NumberField::HoldCount),
            Number(NumberField::Talk),
            Number(NumberField::Wrapup),
            Number(NumberField::FirstResponse),
            Flag(FlagField::Resolved),
            Text(TextField::AbandonStage),
            Number(NumberField::Transfers),
        ],
        Kind::Interaction => {
            &[Text(TextField::Interaction), Number(NumberField::Sentiment), Number(NumberField::Rating)]
        }
        Kind::Customer => &[Text(TextField::State), Text(TextField::Reason)],
        Kind::Survey => &[
            Text(TextField::Metric),
            Number(NumberField::Score),
            Number(NumberField::ScaleMin),
            Number(NumberField::ScaleMax),
            Flag(FlagField::HigherIsBetter),
            Flag(FlagField::HasComment),
            Text(TextField::Respondent),
        ],
    }
}

/// The fields that a type must have.
pub(super) const fn required_of(kind: Kind) -> &'static [Field] {
    use Field::{Number, Text};
    match kind {
        Kind::Contact => &[Text(TextField::ContactId), Text(TextField::Outcome)],
        Kind::Interaction => &[Text(TextField::Interaction)],
        Kind::Customer => &[Text(TextField::CustomerId), Text(TextField::State)],
        Kind::Survey => &[
            Text(TextField::Metric),
            Number(NumberField::Score),
            Number(NumberField::ScaleMin),
            Number(NumberField::ScaleMax),
        ],
    }
}

// `Dimensions` is cut from the head of the texts.
const _: () = {
    let mut at = 0;
    while at < Dimension::ALL.len() {
        assert!(Dimension::ALL[at] as usize == at);
        at += 1;
    }
    assert!(TextField::CustomerId as usize == Dimension::ALL.len());
};

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_texts_begin_with_the_dimensions() {
        for (field, dimension) in COMMON.iter().zip(Dimension::ALL) {
            assert_eq!(field.name(), dimension.name());
            assert_eq!(field.index(), dimension as usize);
        }
    }

    #[test]
    fn every_field_reads_back_and_has_its_own_index() {
        let mut seen = [false; Field::COUNT];
        let own = Kind::ALL.iter().flat_map(|kind| fields_of(*kind));
        for field in COMMON.iter().chain(own) {
            assert_eq!(Field::parse(field.name()), Some(*field));
            assert!(!std::mem::replace(&mut seen[field.index()], true), "{}", field.name());
        }
        assert!(seen.iter().all(|seen| *seen), "a field that no type has");
    }

    #[test]
    fn what_is_required_is_among_the_fields() {
        for kind in Kind::ALL {
            for field in required_of(*kind) {
                assert!(COMMON.contains(field) || fields_of(*kind).contains(field), "{}", field.name());
            }
        }
    }
}
