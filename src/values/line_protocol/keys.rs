//! Finding a key that occurs twice.

/// Up to this many keys, comparing each with each is faster than sorting them.
const COMPARED_PAIRWISE_MAX: usize = 16;

/// A key that occurs twice among `count` keys, if there is one.
///
/// Never quadratic in what a user sends: a line may have thousands of fields.
#[inline]
pub(crate) fn duplicate<'k, K: Ord + ?Sized>(count: usize, key: impl Fn(usize) -> &'k K) -> Option<&'k K> {
    if count <= COMPARED_PAIRWISE_MAX {
        return (1..count).find(|&at| (0..at).any(|other| key(other) == key(at))).map(key);
    }
    let mut sorted: Vec<&K> = (0..count).map(key).collect();
    sorted.sort_unstable();
    sorted.windows(2).find(|pair| pair[0] == pair[1]).map(|pair| pair[0])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_that_occurs_twice_is_found_among_few_and_many() {
        for count in [2, 3, 16, 17, 1_000] {
            let names: Vec<String> = (0..count).map(|n| format!("k{n}")).collect();
            assert_eq!(duplicate(count, |at| names[at].as_str()), None);
            assert_eq!(duplicate(count + 1, |at| names[at % count].as_str()), Some("k0"));
        }
    }
}
