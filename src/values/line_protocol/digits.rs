//! Decimal digits, eight and sixteen at a time.
//!
//! A printer that goes from digit to digit, or from pair to pair, asks after each whether there is another, and writes into a
//! buffer that is then copied. Here all digits are found at once, those in front of or behind the number included, and stay in
//! registers until they are written where they belong. The way is that of Paul Khuong, "How to print integers really fast", 2017,
//! <https://pvk.ca/Blog/2017/12/22/appnexus-common-framework-its-out-also-how-to-print-integers-faster/>: halve the digits of
//! several numbers side by side until each is one.

use wide::bytemuck::cast;
use wide::{u8x16, u16x8, u32x4, u64x2};

/// The first number of nine digits.
pub(super) const EIGHT_DIGITS_END: u64 = 10_u64.pow(8);

/// Eight digits as text.
pub(super) type Eight = [u8; 8];

/// A number without a sign that is read back from at most fifteen digits: seven before the point and eight behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Decimal {
    whole: u64,
    /// In hundred-millionths.
    fraction: u64,
}

impl Decimal {
    /// The shortest decimal that is read back as `magnitude`, if it is one that is written without an exponent and has as few digits.
    ///
    /// Found without the tables that other floats need: what is a number of hundred-millionths, rounded, and is the same when
    /// divided again, is read back from that many hundred-millionths, since a division rounds as reading does (IEEE 754). And
    /// it is the shortest, since no two decimals of fifteen digits are read as one float (`f64::DIGITS`).
    #[inline(always)]
    pub(super) fn of(magnitude: f64) -> Option<Self> {
        const SCALE: f64 = EIGHT_DIGITS_END as f64;
        // From here on there are more digits, or it is not a number; and what is smaller than the least is written with an exponent.
        const END: f64 = 1e7;
        const LEAST: i64 = 1_000;
        if !(0.0..END).contains(&magnitude) {
            return None;
        }
        let parts = (magnitude * SCALE + 0.5) as i64;
        if parts as f64 / SCALE != magnitude || (1..LEAST).contains(&parts) {
            return None;
        }
        let parts = parts.cast_unsigned();
        Some(Self { whole: parts / EIGHT_DIGITS_END, fraction: parts % EIGHT_DIGITS_END })
    }

    /// What stands before the point and what behind it, each with its length: one digit at the least.
    #[inline(always)]
    pub(super) fn digits(self) -> ((Eight, usize), (Eight, usize)) {
        let [whole, fraction]: [u64; 2] = cast(sixteen_digits(self.whole, self.fraction));
        let (whole, fraction) = (u64::from_le(whole), u64::from_le(fraction));
        let zeros = ((fraction ^ ZEROS) | 1).leading_zeros() / 8;
        (without_leading_zeros(whole), (fraction.to_le_bytes(), 8 - zeros as usize))
    }
}

/// The digits of a number below [`EIGHT_DIGITS_END`], and how many they are.
#[inline(always)]
pub(super) fn whole(number: u64) -> (Eight, usize) {
    without_leading_zeros(eight_digits(number))
}

/// All nineteen digits of a number: three, and sixteen.
#[inline(always)]
pub(super) fn nineteen_digits(number: u64) -> ([u8; 3], [u8; 16]) {
    const SIXTEEN_DIGITS_END: u64 = 10_u64.pow(16);
    let (head, rest) = ((number / SIXTEEN_DIGITS_END) as u16, number % SIXTEEN_DIGITS_END);
    let head = [head / 100, head / 10 % 10, head % 10].map(|digit| b'0' + digit as u8);
    (head, cast(sixteen_digits(rest / EIGHT_DIGITS_END, rest % EIGHT_DIGITS_END)))
}

const ZEROS: u64 = u64::from_le_bytes([b'0'; 8]);

/// Digits, the first in the lowest byte, without the zeros in front; the last stays in any case.
#[inline(always)]
fn without_leading_zeros(digits: u64) -> (Eight, usize) {
    let zeros = ((digits ^ ZEROS) | 1 << 56).trailing_zeros() / 8;
    ((digits >> (8 * zeros)).to_le_bytes(), 8 - zeros as usize)
}

/// All eight digits of a number below [`EIGHT_DIGITS_END`], the first in the lowest byte.
#[inline(always)]
const fn eight_digits(number: u64) -> u64 {
    // Two numbers of four digits, four of two, eight of one; what is more significant in the lower bytes. The products divide
    // by 100 and by 10, exactly as long as the numbers are as small as here.
    let fours = fours(number);
    let hundreds = ((fours * 10_486) >> 20) & 0x7f_0000_007f;
    let twos = hundreds | ((fours - 100 * hundreds) << 16);
    let tens = ((twos * 103) >> 10) & 0x000f_000f_000f_000f;
    let ones = tens | ((twos - 10 * tens) << 8);
    ones | ZEROS
}

/// The same of two numbers, in a vector, which is little dearer than of one.
#[inline(always)]
fn sixteen_digits(high: u64, low: u64) -> u8x16 {
    let fours: u16x8 = cast(u64x2::new([fours(high), fours(low)]));
    let hundreds = fours.mul_keep_high(u16x8::splat(10_486)) >> 4_u32;
    let ones: u32x4 = cast(fours - hundreds * u16x8::splat(100));
    let twos: u16x8 = cast(cast::<_, u32x4>(hundreds) | (ones << 16_u32));
    let tens = twos.mul_keep_high(u16x8::splat(6_554));
    let digits = tens | ((twos - tens * u16x8::splat(10)) << 8_u32);
    cast::<_, u8x16>(digits) | u8x16::splat(b'0')
}

/// The upper four digits of eight in the lower half of a word, and the lower four in the upper half.
#[inline(always)]
const fn fours(number: u64) -> u64 {
    (number / 10_000) | ((number % 10_000) << 32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(bytes: &[u8]) -> &str {
        std::str::from_utf8(bytes).unwrap()
    }

    /// Numbers below 10^8: all that are small, all around a power of ten, and drawn.
    fn numbers() -> impl Iterator<Item = u64> {
        let powers = (0..8).map(|digits| 10_u64.pow(digits));
        let edges = powers.flat_map(|power| [power - 1, power, power + 1, power * 9]);
        let mut random = fastrand::Rng::with_seed(1);
        let drawn = std::iter::repeat_with(move || random.u64(..EIGHT_DIGITS_END)).take(100_000);
        (0..100_000).chain(edges).chain([EIGHT_DIGITS_END - 1]).chain(drawn)
    }

    #[test]
    fn a_whole_number_has_its_digits_and_no_others() {
        for number in numbers() {
            let (digits, length) = whole(number);
            assert_eq!(text(&digits[..length]), number.to_string());
        }
    }

    #[test]
    fn sixteen_digits_are_twice_eight() {
        let mut before = 0;
        for number in numbers() {
            let digits: [u8; 16] = cast(sixteen_digits(before, number));
            assert_eq!(text(&digits), format!("{before:08}{number:08}"));
            before = number;
        }
    }

    #[test]
    fn nineteen_digits_are_all_there() {
        let mut random = fastrand::Rng::with_seed(2);
        let drawn = std::iter::repeat_with(|| random.u64(..10_u64.pow(19))).take(100_000);
        for number in
            [0, 1, 10_u64.pow(18), i64::MAX.cast_unsigned(), 10_u64.pow(19) - 1].into_iter().chain(drawn)
        {
            let (head, rest) = nineteen_digits(number);
            assert_eq!(format!("{}{}", text(&head), text(&rest)), format!("{number:019}"));
        }
    }

    /// What a decimal is written as, if it is one.
    fn decimal(magnitude: f64) -> Option<String> {
        let ((whole, before), (fraction, after)) = Decimal::of(magnitude)?.digits();
        Some(format!("{}.{}", text(&whole[..before]), text(&fraction[..after])))
    }

    #[track_caller]
    fn check_as_the_shortest(magnitude: f64) {
        if let Some(decimal) = decimal(magnitude) {
            assert_eq!(decimal, zmij::Buffer::new().format_finite(magnitude), "{magnitude:e}");
        }
    }

    /// Every number of digits before and behind the point, which the shortest printer is asked about as well.
    #[test]
    fn what_is_a_decimal_is_written_as_the_shortest_one() {
        let mut random = fastrand::Rng::with_seed(3);
        for places in 0..=8 {
            let parts = 10_u64.pow(places);
            let drawn =
                |_| random.u64(..10_u64.pow(7)) % 10_u64.pow(random.u32(..8)) * parts + random.u64(..parts);
            for number in (0..100_000).map(drawn).chain(0..2_000) {
                let magnitude = number as f64 / parts as f64;
                let is_written_out = magnitude == 0.0 || (1e-5..1e7).contains(&magnitude);
                assert_eq!(decimal(magnitude).is_some(), is_written_out, "{magnitude:e}");
                check_as_the_shortest(magnitude);
                // Its neighbours are none, or other ones.
                check_as_the_shortest(magnitude.next_up());
                check_as_the_shortest(magnitude.next_down().abs());
            }
        }
    }

    #[test]
    fn whatever_float_is_a_decimal_is_the_shortest() {
        let mut random = fastrand::Rng::with_seed(4);
        for _ in 0..1_000_000 {
            check_as_the_shortest(f64::from_bits(random.u64(..)).abs());
            check_as_the_shortest(random.f64() * 10_f64.powi(random.i32(-6..8)));
            check_as_the_shortest(f64::from(random.f32()) * 10_f64.powi(random.i32(-6..8)));
        }
    }

    #[test]
    fn what_has_more_digits_an_exponent_or_a_sign_is_none() {
        let none = [1e-9, 1e-6, 9.99e-6, 0.123_456_789, 1e7, 1e300, f64::MIN_POSITIVE, 1.0 / 3.0];
        let strange = [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0];
        for magnitude in none.into_iter().chain(strange) {
            assert_eq!(Decimal::of(magnitude), None, "{magnitude:e}");
        }
        let written = [0.0, 1e-5, 0.1, 42.0, 9_999_999.999_999_99].map(decimal);
        assert_eq!(written.map(Option::unwrap), ["0.0", "0.00001", "0.1", "42.0", "9999999.99999999"]);
    }
}
