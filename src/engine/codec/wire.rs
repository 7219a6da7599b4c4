//! Protobuf by hand, for cells: they are most of what is written and read, and go from and to bytes without a message in
//! between.
//!
//! Numbers are varints, signed ones in zigzag; lists of numbers are packed. What a field holds once is refused when it
//! comes twice: nobody of ours writes that, and to add it up or to take the last would be a guess.

/// A varint.
pub(super) fn put_varint(into: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        into.push(value as u8 | 0x80);
        value >>= 7;
    }
    into.push(value as u8);
}

/// A signed number as a varint's.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

/// The signed number of a varint's.
pub(super) fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -(value & 1).cast_signed()
}

/// The field `tag` as a number.
pub(super) fn put_number(into: &mut Vec<u8>, tag: u32, value: u64) {
    put_varint(into, u64::from(tag << 3));
    put_varint(into, value);
}

/// The field `tag` as a number of four bytes.
pub(super) fn put_fixed(into: &mut Vec<u8>, tag: u32, value: u32) {
    put_varint(into, u64::from(tag << 3 | 5));
    into.extend_from_slice(&value.to_le_bytes());
}

/// The field `tag` as bytes: a text.
pub(super) fn put_bytes(into: &mut Vec<u8>, tag: u32, bytes: &[u8]) {
    put_varint(into, u64::from(tag << 3 | 2));
    put_varint(into, bytes.len() as u64);
    into.extend_from_slice(bytes);
}

/// The field `tag` as what `body` writes: a message.
pub(super) fn put_message(into: &mut Vec<u8>, tag: u32, body: impl FnOnce(&mut Vec<u8>)) {
    put_varint(into, u64::from(tag << 3 | 2));
    let begin = into.len();
    // Most are short: their length takes one byte.
    into.push(0);
    body(into);
    let length = into.len() - begin - 1;
    if let Ok(length @ 0..0x80) = u8::try_from(length) {
        into[begin] = length;
        return;
    }
    let mut varint = Vec::with_capacity(10);
    put_varint(&mut varint, length as u64);
    into.splice(begin..=begin, varint);
}

/// The field `tag` as a list of numbers; without any, nothing.
pub(super) fn put_packed(into: &mut Vec<u8>, tag: u32, values: impl Iterator<Item = u64>) {
    let mut values = values.peekable();
    if values.peek().is_some() {
        put_message(into, tag, |into| values.for_each(|value| put_varint(into, value)));
    }
}

/// What a field holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Value<'b> {
    /// A varint.
    Number(u64),
    /// A number of four bytes.
    Fixed(u32),
    /// A text, a message or a packed list.
    Bytes(&'b [u8]),
}

impl<'b> Value<'b> {
    /// The varint; `None` where it holds anything else.
    pub fn number(self) -> Option<u64> {
        match self {
            Value::Number(number) => Some(number),
            _ => None,
        }
    }

    /// The number of four bytes; `None` where it holds anything else.
    pub fn fixed(self) -> Option<u32> {
        match self {
            Value::Fixed(number) => Some(number),
            _ => None,
        }
    }

    /// The bytes; `None` where it holds a number.
    pub fn bytes(self) -> Option<&'b [u8]> {
        match self {
            Value::Bytes(bytes) => Some(bytes),
            _ => None,
        }
    }
}

/// The fields of a message, in their order: `Some(None)` where they cannot be read any further.
pub(super) struct Fields<'b>(pub &'b [u8]);

impl<'b> Iterator for Fields<'b> {
    type Item = Option<(u32, Value<'b>)>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_none() {
            self.0 = &[];
        }
        Some(field)
    }
}

impl<'b> Fields<'b> {
    fn field(&mut self) -> Option<(u32, Value<'b>)> {
        let key = u32::try_from(varint(&mut self.0)?).ok()?;
        let tag = key >> 3;
        let value = match key & 7 {
            0 => Value::Number(varint(&mut self.0)?),
            2 => {
                let length = usize::try_from(varint(&mut self.0)?).ok()?;
                Value::Bytes(self.take(length)?)
            }
            5 => Value::Fixed(u32::from_le_bytes(self.take(4)?.try_into().ok()?)),
            // Numbers of eight bytes and groups: nobody of ours writes them.
            _ => return None,
        };
        (tag > 0).then_some((tag, value))
    }

    fn take(&mut self, length: usize) -> Option<&'b [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

fn varint(from: &mut &[u8]) -> Option<u64> {
    let mut value = 0u64;
    for (index, byte) in from.iter().enumerate().take(10) {
        if index == 9 && *byte > 1 {
            return None;
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if *byte < 0x80 {
            *from = &from[index + 1..];
            return Some(value);
        }
    }
    None
}

/// The numbers of a packed list: `None` in place of one that cannot be read, and of all behind it.
pub(super) fn packed(mut bytes: &[u8]) -> impl Iterator<Item = Option<u64>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let value = varint(&mut bytes);
        if value.is_none() {
            bytes = &[];
        }
        Some(value)
    })
}

/// How many numbers a packed list holds, if it can be read: each ends with a byte below 128.
pub(super) fn packed_len(bytes: &[u8]) -> usize {
    bytes.iter().filter(|byte| **byte < 0x80).count()
}

/// Keeps what a field holds, which may come once.
pub(super) fn once<T>(place: &mut Option<T>, value: Option<T>) -> Option<()> {
    let value = value?;
    place.is_none().then(|| *place = Some(value))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use prost::Message;

    /// The same by prost.
    #[derive(Clone, PartialEq, Message)]
    struct Sample {
        #[prost(sint64, tag = "1")]
        number: i64,
        #[prost(string, repeated, tag = "2")]
        texts: Vec<String>,
        #[prost(sint64, repeated, tag = "3")]
        numbers: Vec<i64>,
        #[prost(message, repeated, tag = "4")]
        parts: Vec<Sample>,
        #[prost(uint64, optional, tag = "300")]
        far: Option<u64>,
        #[prost(fixed32, tag = "301")]
        fixed: u32,
    }

    fn sample() -> impl Strategy<Value = Sample> {
        let texts = || prop::collection::vec(".{0,200}", 0..3);
        let numbers = prop::collection::vec(any::<i64>(), 0..30);
        let leaf = (any::<i64>(), texts(), numbers, any::<Option<u64>>(), any::<u32>()).prop_map(
            |(number, texts, numbers, far, fixed)| Sample { number, texts, numbers, parts: Vec::new(), far, fixed },
        );
        leaf.prop_recursive(3, 12, 3, |part| {
            (any::<i64>(), prop::collection::vec(part, 0..3)).prop_map(|(number, parts)| Sample {
                number,
                parts,
                ..Sample::default()
            })
        })
    }

    fn put(sample: &Sample, into: &mut Vec<u8>) {
        if sample.number != 0 {
            put_number(into, 1, zigzag(sample.number));
        }
        sample.texts.iter().for_each(|text| put_bytes(into, 2, text.as_bytes()));
        put_packed(into, 3, sample.numbers.iter().map(|number| zigzag(*number)));
        sample.parts.iter().for_each(|part| put_message(into, 4, |into| put(part, into)));
        if let Some(far) = sample.far {
            put_number(into, 300, far);
        }
        if sample.fixed != 0 {
            put_fixed(into, 301, sample.fixed);
        }
    }

    fn read(bytes: &[u8]) -> Option<Sample> {
        let mut sample = Sample::default();
        for field in Fields(bytes) {
            match field? {
                (1, number) => sample.number = unzigzag(number.number()?),
                (2, text) => sample.texts.push(String::from_utf8(text.bytes()?.to_vec()).ok()?),
                (3, list) => {
                    let list = list.bytes()?;
                    sample.numbers = packed(list).map(|number| number.map(unzigzag)).collect::<Option<_>>()?;
                    assert_eq!(sample.numbers.len(), packed_len(list));
                }
                (4, part) => sample.parts.push(read(part.bytes()?)?),
                (300, far) => sample.far = Some(far.number()?),
                (301, fixed) => sample.fixed = fixed.fixed()?,
                _ => return None,
            }
        }
        Some(sample)
    }

    proptest! {
        #[test]
        fn it_writes_what_prost_writes_and_reads_it(sample in sample()) {
            let mut bytes = Vec::new();
            put(&sample, &mut bytes);
            prop_assert_eq!(&bytes, &sample.encode_to_vec());
            prop_assert_eq!(read(&bytes), Some(sample));
        }

        #[test]
        fn what_it_reads_of_any_bytes_prost_reads_too(bytes in prop::collection::vec(any::<u8>(), 0..40)) {
            if let Some(sample) = read(&bytes) {
                let known = Sample::decode(&bytes[..]);
                // Where a list comes twice prost puts both together.
                prop_assert!(known.is_ok(), "{sample:?}");
            }
        }
    }

    #[test]
    fn a_known_field_of_another_kind_is_refused_as_prost_refuses_it() {
        let bodies: [&[u8]; 4] = [&[7], &[1, 0, 0, 0], &[1, 0, 0, 0, 0, 0, 0, 0], &[2, b'a', b'b']];
        for (tag, kind, body) in [1u64, 2, 3, 4, 300, 301]
            .into_iter()
            .flat_map(|tag| (0..8).flat_map(move |kind| bodies.map(move |body| (tag, kind, body))))
        {
            let mut bytes = Vec::new();
            put_varint(&mut bytes, tag << 3 | kind);
            bytes.extend_from_slice(body);
            let known = Sample::decode(&bytes[..]).is_ok();
            assert!(known || read(&bytes).is_none(), "field {tag} of kind {kind} holding {body:?}");
        }
    }
}
