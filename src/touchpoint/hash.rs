//! Two fingerprints of a touchpoint: which event it is, and what it says.
//!
//! The identity is kept and compared across restarts and machines, so its bytes and its algorithm are fixed.
//! The content is compared only between two copies of one event inside one build; it must not be stored.

use super::Touchpoint;
use std::hash::BuildHasher;
use xxhash_rust::xxh3::xxh3_128;

/// Room for a length, a `source` and an `id` of 256 bytes each.
const STACK_BYTES: usize = 8 + 2 * 256;

/// The identity of an event: XXH3-128 over the length of `source` (8 bytes, little endian), `source`, `id`.
/// The length keeps (`a`, `bc`) apart from (`ab`, `c`).
///
/// ```
/// use touchstone::touchpoint::identity_hash;
/// assert_ne!(identity_hash("a", "bc"), identity_hash("ab", "c"));
/// ```
pub fn identity_hash(source: &str, id: &str) -> u128 {
    let length = (source.len() as u64).to_le_bytes();
    let parts = [length.as_slice(), source.as_bytes(), id.as_bytes()];
    if source.len() + id.len() + length.len() > STACK_BYTES {
        return xxh3_128(&parts.concat());
    }
    let mut buffer = [0; STACK_BYTES];
    let mut end = 0;
    for part in parts {
        buffer[end..end + part.len()].copy_from_slice(part);
        end += part.len();
    }
    xxh3_128(&buffer[..end])
}

/// A fingerprint of everything an event says. Equal touchpoints have equal fingerprints, in every process of
/// one build; it tells a repeated event from a conflicting one.
pub fn content_hash(touchpoint: &Touchpoint<'_>) -> u64 {
    foldhash::quality::FixedState::default().hash_one(touchpoint)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_identity_never_changes() {
        // Stored with offsets: a change of these bytes would forget every id at an upgrade.
        assert_eq!(identity_hash("/connect/1", "evt-1"), 125_314_576_374_981_753_670_172_335_557_134_649_814);
    }

    proptest! {
        #[test]
        fn the_buffer_does_not_show(source in ".{0,300}", id in ".{0,300}") {
            let mut bytes = (source.len() as u64).to_le_bytes().to_vec();
            bytes.extend_from_slice(source.as_bytes());
            bytes.extend_from_slice(id.as_bytes());
            prop_assert_eq!(identity_hash(&source, &id), xxh3_128(&bytes));
        }

        #[test]
        fn the_border_between_source_and_id_shows(text in "[a-c]{2,40}", cut in 0_usize..40, other in 0_usize..40) {
            let (cut, other) = (cut % text.len(), other % text.len());
            let (source, id) = text.split_at(cut);
            let (other_source, other_id) = text.split_at(other);
            prop_assert_eq!(cut == other, identity_hash(source, id) == identity_hash(other_source, other_id));
        }
    }
}
