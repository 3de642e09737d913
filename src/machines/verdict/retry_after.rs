//! How long a server asks to wait.

use std::time::{Duration, UNIX_EPOCH};

use super::Response;

/// Reads `Retry-After` in both of its forms (RFC 9110, section 10.2.3): whole seconds, or a date.
///
/// A date counts from the answer's own `Date`, so that a server whose clock is wrong is still understood; from `wall_ms`
/// where there is none. One that has passed is no wait. What cannot be read asks for nothing: the backoff decides. What is too
/// long is cut by the link.
pub(super) fn read(response: &Response, wall_ms: i64) -> Option<Duration> {
    let text = response.header("retry-after")?.trim();
    if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
        return text.parse().ok().map(Duration::from_secs);
    }
    let until = since_1970(text)?;
    let now = response.header("date").and_then(since_1970);
    let now = now.unwrap_or_else(|| Duration::from_millis(u64::try_from(wall_ms).unwrap_or(0)));
    Some(until.saturating_sub(now))
}

fn since_1970(date: &str) -> Option<Duration> {
    httpdate::parse_http_date(date.trim()).ok()?.duration_since(UNIX_EPOCH).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 22 November 2026, 04:13:56.
    const WALL_MS: i64 = 1_795_320_836_000;

    fn check(headers: &[(&str, &str)], seconds: impl Into<Option<u64>>) {
        let headers = headers.iter().map(|(name, value)| ((*name).into(), (*value).into())).collect();
        let response = Response { status: 503, headers, body: String::new() };
        assert_eq!(read(&response, WALL_MS), seconds.into().map(Duration::from_secs), "{response:?}");
    }

    #[test]
    fn seconds_are_read_as_seconds() {
        check(&[("retry-after", "2")], 2);
        check(&[("retry-after", " 120 ")], 120);
        check(&[("retry-after", "0")], 0);
        check(&[("retry-after", "18446744073709551615")], u64::MAX);
    }

    #[test]
    fn a_date_counts_from_the_servers_clock_where_it_tells_it() {
        check(&[("retry-after", "Sun, 22 Nov 2026 04:14:06 GMT")], 10);
        let wrong_by_a_year = ("date", "Sat, 22 Nov 2025 04:14:00 GMT");
        check(&[("retry-after", "Sat, 22 Nov 2025 04:14:30 GMT"), wrong_by_a_year], 30);
        check(&[("retry-after", "Sun, 22 Nov 2026 04:14:06 GMT"), ("date", "soon")], 10);
    }

    #[test]
    fn a_date_that_has_passed_is_no_wait() {
        check(&[("retry-after", "Sun, 22 Nov 2026 04:13:00 GMT")], 0);
        check(&[("retry-after", "Thu, 01 Jan 1970 00:00:00 GMT")], 0);
    }

    #[test]
    fn what_cannot_be_read_asks_for_nothing() {
        let silly =
            ["", " ", "-1", "1.5", "1e99", "soon", "99999999999999999999", "+5", "0x10", "2 s", "NaN"];
        for value in silly {
            check(&[("retry-after", value)], None);
        }
        check(&[], None);
    }
}
