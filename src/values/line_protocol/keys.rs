//! Finding a key that occurs twice.

use super::texts;

/// Up to this many keys, comparing each with each is faster than looking for its place.
const COMPARED_PAIRWISE_MAX: usize = 6;

/// Up to this many keys have a place in a table; more are sorted.
const PLACED_MAX: usize = SLOTS / 2;

const SLOTS: usize = 256;
const EMPTY: u8 = u8::MAX;

/// A key that occurs twice among `count` keys, if there is one.
///
/// Never quadratic in what a user sends: a line may have thousands of fields. Most lines have them sorted.
#[inline]
pub(crate) fn duplicate<'k, K: Ord + AsRef<[u8]> + ?Sized>(
    count: usize,
    key: impl Fn(usize) -> &'k K,
) -> Option<&'k K> {
    if (1..count).all(|at| key(at - 1) < key(at)) {
        return None;
    }
    if count <= COMPARED_PAIRWISE_MAX {
        return (1..count).find(|&at| (0..at).any(|other| key(other) == key(at))).map(key);
    }
    if count <= PLACED_MAX {
        return duplicate_by_place(count, key);
    }
    let mut sorted: Vec<&K> = (0..count).map(key).collect();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

/// The same for so few that a byte numbers them: each is put into the first slot that is free from the one its hash says.
fn duplicate_by_place<'k, K: Ord + AsRef<[u8]> + ?Sized>(
    count: usize,
    key: impl Fn(usize) -> &'k K,
) -> Option<&'k K> {
    let mut slots = [EMPTY; SLOTS];
    (0..count).map(|at| (at, key(at))).find_map(|(at, own)| {
        let mut slot = usize::from(hash(own.as_ref()));
        while slots[slot] != EMPTY {
            if key(usize::from(slots[slot])) == own {
                return Some(own);
            }
            slot = (slot + 1) % SLOTS;
        }
        slots[slot] = at as u8;
        None
    })
}

/// The top byte of a product, after Fibonacci hashing (Knuth, The Art of Computer Programming, volume 3, section 6.4).
fn hash(key: &[u8]) -> u8 {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let mix = |hash: u64, word: u64| {
        let product = (hash.rotate_left(23) ^ word).wrapping_mul(GOLDEN);
        product ^ (product >> 32)
    };
    let (words, rest) = key.as_chunks::<8>();
    let start = mix(key.len() as u64, texts::short_word(rest));
    let hash = words.iter().fold(start, |hash, word| mix(hash, u64::from_le_bytes(*word)));
    (hash.wrapping_mul(GOLDEN) >> 56) as u8
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_key_that_occurs_twice_is_found_among_few_and_many() {
        for count in [2, 3, 6, 7, 128, 129, 1_000] {
            let names: Vec<String> = (0..count).map(|n| format!("k{n}")).collect();
            assert_eq!(duplicate(count, |at| names[at].as_str()), None);
            assert_eq!(duplicate(count + 1, |at| names[at % count].as_str()), Some("k0"));
        }
    }

    /// As keys that all have the same hash would: each then is compared with all before it.
    #[test]
    fn keys_that_want_the_same_place_are_told_apart() {
        let hash_of = |n: &u32| hash(n.to_string().as_bytes());
        let alike: Vec<String> =
            (0..).filter(|n| hash_of(n) == 7).take(PLACED_MAX).map(|n| n.to_string()).collect();
        assert_eq!(duplicate(alike.len(), |at| alike[at].as_str()), None);
        let last = alike.len() - 1;
        let twice = |at: usize| if at == last { alike[0].as_str() } else { alike[at].as_str() };
        assert_eq!(duplicate(alike.len(), twice), Some(alike[0].as_str()));
    }

    proptest! {
        #[test]
        fn a_key_is_found_if_and_only_if_it_occurs_twice(
            keys in proptest::collection::vec("[ab]{0,3}|[a-z_]{1,30}", 0..200),
        ) {
            let are_unique = keys.iter().collect::<BTreeSet<_>>().len() == keys.len();
            let found = duplicate(keys.len(), |at| keys[at].as_str());
            prop_assert_eq!(found.is_none(), are_unique);
            prop_assert!(found.is_none_or(|found| keys.iter().filter(|key| *key == found).count() > 1));
        }
    }
}
