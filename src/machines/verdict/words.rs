//! A server's words, as a person should read them.

use std::borrow::Cow;

/// The longest text that is kept. InfluxDB 1.x cuts its own header at about the same.
const TOLD_MAX: usize = 1 << 10;

/// The longest text of somebody who is no InfluxDB.
const STRANGE_MAX: usize = 200;

/// Words on data: as they are, cut to 1 KiB, without characters that would do something to a terminal.
pub(super) fn told(text: &str) -> String {
    let text = cut(text.trim(), TOLD_MAX);
    text.chars().map(|char| if char.is_control() && char != '\n' { '\u{fffd}' } else { char }).collect()
}

/// Words on the way to a server: the same each time the trouble is the same, and without credentials.
pub(super) fn steady(text: &str) -> String {
    let mut steady = String::new();
    for word in without_tokens(&told(text)).split_whitespace().map(steady_word) {
        if !steady.is_empty() {
            steady.push(' ');
        }
        steady.push_str(&word);
    }
    steady
}

/// What a page or a text that is no InfluxDB's says, in short: the title of HTML, the message of JSON, or the beginning.
pub(super) fn of_stranger(text: &str) -> String {
    let text = text.trim();
    let short = if text.starts_with('<') {
        title(text).map_or_else(|| without_markup(text), str::to_owned)
    } else {
        json_message(text).unwrap_or_else(|| text.to_owned())
    };
    cut(&steady(&short), STRANGE_MAX).to_owned()
}

/// A text's beginning of at most so many bytes, whole characters only.
fn cut(text: &str, bytes_max: usize) -> &str {
    &text[..text.floor_char_boundary(bytes_max)]
}

fn title(html: &str) -> Option<&str> {
    let lower = html.to_ascii_lowercase();
    let begin = lower.find("<title")?;
    let begin = begin + lower[begin..].find('>')? + 1;
    let end = begin + lower[begin..].find("</title")?;
    Some(html[begin..end].trim()).filter(|title| !title.is_empty())
}

fn without_markup(html: &str) -> String {
    let mut text = String::new();
    let mut in_tag = false;
    for char in html.chars() {
        match char {
            '<' => in_tag = true,
            '>' if in_tag => {
                in_tag = false;
                text.push(' ');
            }
            char if !in_tag => text.push(char),
            _ => {}
        }
    }
    text
}

fn json_message(text: &str) -> Option<String> {
    let json: serde_json::Value = serde_json::from_str(text).ok()?;
    let message = |key| json.get(key).and_then(serde_json::Value::as_str).map(str::to_owned);
    ["message", "error", "detail", "title"].into_iter().find_map(message)
}

/// VictoriaMetrics begins with what it was asked: the port changes, and the address may hold a password.
pub(super) fn without_request(text: &str) -> &str {
    let Some(rest) = text.strip_prefix("remoteAddr: ") else { return text };
    rest.splitn(3, "; ").nth(2).unwrap_or_default()
}

/// Takes out the token of `"Bearer TOKEN"` and the like. vmauth repeats the one it does not know.
pub(super) fn without_tokens(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    let begins = |rest: &str| {
        let scheme = ["Bearer ", "Token ", "Basic "]
            .into_iter()
            .find(|scheme| rest.get(..scheme.len()).is_some_and(|begin| begin.eq_ignore_ascii_case(scheme)));
        scheme.map(str::len)
    };
    while let Some(char) = rest.chars().next() {
        let quotes = out.trim_end_matches(' ').ends_with(['"', '\'', '`', ':', '=', '[']);
        if let Some(length) = begins(rest).filter(|_| quotes) {
            out.push_str(&rest[..length]);
            out.push('…');
            rest = rest[length..]
                .trim_start_matches(|char: char| !char.is_whitespace() && !"\"'`]".contains(char));
        } else {
            out.push(char);
            rest = &rest[char.len_utf8()..];
        }
    }
    out
}

/// A word; of an address neither user nor query, which may hold a password; and nothing of what is the number of a request,
/// a moment, or an address with a port.
fn steady_word(word: &str) -> Cow<'_, str> {
    let word = word.split_once('?').map_or(word, |(before, _)| before);
    let digits = word.bytes().filter(u8::is_ascii_digit).count();
    let colons = word.bytes().filter(|byte| *byte == b':').count();
    match word.split_once("://") {
        Some((scheme, rest)) => {
            let (host, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
            let host = host.rsplit_once('@').map_or(host, |(_, host)| host);
            format!("{scheme}://{host}{path}").into()
        }
        None if digits >= DIGITS_MAX || (digits >= 4 && colons >= 2) => "…".into(),
        None => word.into(),
    }
}

/// A word with as many digits is taken for something that changes: an identifier, a date, a moment.
const DIGITS_MAX: usize = 9;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_page_without_a_title_its_text_is_told() {
        assert_eq!(of_stranger("<html><p>Not <b>here</b>, a > b</p>"), "Not here , a > b");
        assert_eq!(of_stranger("<html><title> Not here </title><p>Go away"), "Not here");
    }

    #[test]
    fn what_changes_from_one_time_to_the_next_is_not_told() {
        for changing in ["123456789", "[::1]:8086", "2026-11-22T04:13:20Z"] {
            assert_eq!(steady(changing), "…", "{changing}");
        }
        for lasting in ["12345678", "10.0.0.1:80", "std::io::Error", "a:1:2"] {
            assert_eq!(steady(lasting), lasting);
        }
    }
}
