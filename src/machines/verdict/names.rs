//! Which lines a server names, in words or in numbers.
//!
//! | server | how it names a line |
//! |---|---|
//! | InfluxDB 1.x, 2.x | `unable to parse '<line>': reason`, several joined by newlines |
//! | Cloud Dedicated, Clustered, Serverless | `error parsing line 2 (1-based): reason`, several joined by newlines |
//! | InfluxDB 3 | `"data": [{"line_number", "original_line", "error_message"}]`, the first 20 bytes of the line |
//! | Telegraf | `metric parse error: reason at 2:8: "the line"` |
//! | QuestDB | `error in line 1: reason` |
//!
//! A name is a claim, not a proof: a line can hold any of these phrases. Whoever uses one looks the line up in what was
//! sent.

use serde_json::Value;

use super::{Cause, LineName, NamedLine, words};
use crate::values::line_protocol::raw::malformed_line_end;

/// How InfluxDB 1.x and 2.x begin.
pub(super) const UNABLE: &str = "unable to parse '";

/// The lines named at the beginning of `gist`, a message without the phrases it is wrapped in.
pub(super) fn in_words(gist: &str) -> Vec<NamedLine> {
    if gist.starts_with(UNABLE) {
        return quoted(gist);
    }
    if let Some(rest) = gist.strip_prefix("metric parse error: ") {
        return placed(rest).into_iter().collect();
    }
    let listed = gist.starts_with("failed to parse line protocol") || gist.starts_with("error parsing line ");
    if listed { numbered(gist) } else { Vec::new() }
}

/// The lines in the `data` of InfluxDB 3: a list, or the first one alone.
pub(super) fn in_data(data: &Value) -> Vec<NamedLine> {
    match data {
        Value::Array(items) => items.iter().filter_map(item).collect(),
        single => item(single).into_iter().collect(),
    }
}

fn item(item: &Value) -> Option<NamedLine> {
    let number = item.get("line_number")?.as_u64()?;
    let begin = item.get("original_line").and_then(Value::as_str).map(str::to_owned);
    let reason = item.get("error_message").and_then(Value::as_str).unwrap_or("refused");
    Some(NamedLine {
        name: LineName::Number { number, begin },
        cause: cause_of(reason),
        words: words::told(reason),
    })
}

/// What is wrong with a line, by what a server says of it. Never that it is too old: such points are given up, and the reason
/// may quote any text.
pub(super) fn cause_of(reason: &str) -> Cause {
    // InfluxDB 3; Cloud Dedicated and Serverless; QuestDB.
    let conflicts = ["invalid column type", "schema conflict", "cast error"];
    if conflicts.iter().any(|phrase| reason.contains(phrase)) || reason.starts_with("field type conflict") {
        Cause::TypeConflict
    } else if reason.contains("would exceed number of") {
        Cause::Other
    } else {
        Cause::Malformed
    }
}

/// So many places are tried for the end of one line. An answer may be a megabyte of nothing but such places.
const ENDS_MAX: usize = 64;

/// `unable to parse 'a': x\nunable to parse 'b': y`. A line may hold newlines and quotes, and even this very phrase.
fn quoted(gist: &str) -> Vec<NamedLine> {
    let next = format!("\n{UNABLE}");
    let mut named = Vec::new();
    let mut rest = gist;
    while let Some(text) = rest.strip_prefix(UNABLE) {
        // The first place where the message may end that leaves a whole line and a reason; the end, if there is none.
        let mut ends = text.match_indices(&next).map(|(at, _)| at).chain([text.len()]).take(ENDS_MAX);
        let found = ends.find_map(|end| Some((end, line_and_reason(&text[..end])?)));
        let Some((end, (line, reason))) = found else { break };
        named.push(NamedLine {
            name: LineName::Text(line.to_owned()),
            cause: Cause::Malformed,
            words: words::told(reason),
        });
        rest = text[end..].trim_start_matches('\n');
    }
    named
}

/// Splits `<line>': reason`. The reason is the last one, and of one line; the line does not end within a string, unless
/// that is what is wrong with it.
fn line_and_reason(text: &str) -> Option<(&str, &str)> {
    let (line, reason) = text.rsplit_once("': ")?;
    let reason = without_count(reason);
    let is_whole = || malformed_line_end(format!("{line}\nx").as_bytes(), 0) == line.len() + 1;
    (!reason.contains('\n') && (reason == "unbalanced quotes" || is_whole())).then_some((line, reason))
}

/// A reason without the `dropped=0` that ends a message of a partial write.
fn without_count(reason: &str) -> &str {
    match reason.rsplit_once(" dropped=") {
        Some((before, count)) if count.bytes().all(|byte| byte.is_ascii_digit()) => before,
        _ => reason,
    }
}

/// `error parsing line 2 (1-based): reason`, or `error in line 1: reason`, one a line of the message.
fn numbered(gist: &str) -> Vec<NamedLine> {
    gist.lines().filter_map(|line| numbered_line(line.trim_start())).collect()
}

fn numbered_line(line: &str) -> Option<NamedLine> {
    let rest = line.strip_prefix("error parsing line ").or_else(|| line.strip_prefix("error in line "))?;
    let (number, reason) = rest.split_once(": ")?;
    let number = number.strip_suffix(" (1-based)").unwrap_or(number).parse().ok()?;
    let name = LineName::Number { number, begin: None };
    Some(NamedLine { name, cause: cause_of(reason), words: words::told(reason) })
}

/// `reason at 2:8: "the line"`.
fn placed(rest: &str) -> Option<NamedLine> {
    let (before, quoted) = rest.split_once(": \"").unwrap_or((rest, ""));
    let (reason, place) = before.rsplit_once(" at ")?;
    let (number, _) = place.split_once(':')?;
    let number = number.parse().ok()?;
    // The line is quoted as Go quotes: up to its first escape it is as it was sent. A long one is cut at the front.
    let begin =
        quoted.split(['\\', '"']).next().filter(|begin| !begin.is_empty() && !begin.starts_with("..."));
    let name = LineName::Number { number, begin: begin.map(str::to_owned) };
    Some(NamedLine { name, cause: Cause::Malformed, words: words::told(reason) })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn one(gist: &str) -> NamedLine {
        let mut named = in_words(gist);
        assert_eq!(named.len(), 1, "{gist}");
        named.remove(0)
    }

    #[test]
    fn a_count_at_the_end_is_no_part_of_the_reason_and_anything_else_is() {
        for (end, words) in
            [("", "bad number"), (" dropped=0", "bad number"), (" dropped=x", "bad number dropped=x")]
        {
            assert_eq!(one(&format!("unable to parse 'm v=x': bad number{end}")).words, words);
        }
    }

    #[test]
    fn a_line_that_is_quoted_from_its_middle_on_is_named_by_its_number_alone() {
        for (quoted, begin) in [
            (": \"m v=x\"", Some("m v=x")),
            (": \"m v=\\\"x\"", Some("m v=")),
            (": \"...v=x\"", None),
            (": \"\"", None),
            ("", None),
        ] {
            let name = LineName::Number { number: 2, begin: begin.map(str::to_owned) };
            assert_eq!(
                one(&format!("metric parse error: expected field at 2:8{quoted}")).name,
                name,
                "{quoted}"
            );
        }
    }
}
