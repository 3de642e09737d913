//! Moments as text.

use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::values::precision::Timestamp;

/// The moment that a text names, `2026-11-22T10:00:00.5Z`; `None` if it names none, or one outside the years 1677 to
/// 2262.
pub(super) fn parse(text: &str) -> Option<Timestamp> {
    let moment = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    i64::try_from(moment.unix_timestamp_nanos()).ok().map(Timestamp::from_nanos)
}

/// The text that names a moment, in UTC.
pub(super) fn format(moment: Timestamp) -> String {
    // Sixty-four bits of nanoseconds lie between the years 1677 and 2262, where every moment has a name.
    OffsetDateTime::from_unix_timestamp_nanos(moment.nanos().into())
        .ok()
        .and_then(|moment| moment.format(&Rfc3339).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, nanos: i64) {
        assert_eq!(parse(text), Some(Timestamp::from_nanos(nanos)));
        assert_eq!(format(Timestamp::from_nanos(nanos)), text);
    }

    #[test]
    fn moments_come_back_to_the_nanosecond() {
        check("1970-01-01T00:00:00Z", 0);
        check("2020-02-18T10:34:08.135814545Z", 1_582_022_048_135_814_545);
        check("1677-09-21T00:12:43.145224192Z", i64::MIN);
        check("2262-04-11T23:47:16.854775807Z", i64::MAX);
        assert_eq!(parse("1970-01-01T01:00:00+01:00"), Some(Timestamp::from_nanos(0)));
        assert_eq!(parse("2263-01-01T00:00:00Z"), None);
        assert_eq!(parse("yesterday"), None);
    }
}
