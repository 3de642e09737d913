//! JSON of which only the beginning was read.
//!
//! Only so much of an answer is read. One that names thousands of lines is longer: what was read of it is still worth
//! having.

use std::collections::VecDeque;

use serde_json::Value;

/// Error bodies are three levels deep: an object, its list, an object of that.
const DEPTH_MAX: usize = 8;

/// The longest thing a cut can break within a string: an escaped pair of surrogates.
const ESCAPE_BYTES_MAX: usize = 12;

/// Of the last ends of something, so many are tried: a value, behind it a key, and one more.
const ENDS_MAX: usize = 3;

/// Closes what is open where the text stops, or else behind the last thing that is whole.
pub(super) fn mend(text: &str) -> Option<Value> {
    let mut open: Vec<char> = Vec::new();
    let mut ends: VecDeque<(usize, Vec<char>)> = VecDeque::new();
    let (mut in_string, mut escaped) = (false, false);
    for (at, char) in text.char_indices() {
        match char {
            _ if escaped => escaped = false,
            '\\' => escaped = true,
            '"' => in_string = !in_string,
            _ if in_string => {}
            '{' => open.push('}'),
            '[' => open.push(']'),
            '}' | ']' => drop(open.pop()),
            _ => {}
        }
        if open.len() > DEPTH_MAX {
            return None;
        }
        if !in_string && matches!(char, '"' | '}' | ']') {
            ends.truncate(ENDS_MAX - 1);
            ends.push_front((at + 1, open.clone()));
        }
    }
    let here = if in_string {
        close_string(text, &open)
    } else {
        // Not behind a digit: of a number, more may have followed.
        text.ends_with(['{', '[', '"', '}', ']']).then(|| close(text, &open)).flatten()
    };
    here.or_else(|| ends.iter().find_map(|(end, open)| close(&text[..*end], open)))
}

/// A string that ends where the text does, or before an escape that is not whole.
fn close_string(text: &str, open: &[char]) -> Option<Value> {
    let begins = (0..=ESCAPE_BYTES_MAX).filter_map(|back| text.get(..text.len().checked_sub(back)?));
    begins.map(|begin| format!("{begin}\"")).find_map(|begin| close(&begin, open))
}

fn close(begin: &str, open: &[char]) -> Option<Value> {
    let mut text = begin.to_owned();
    text.extend(open.iter().rev());
    serde_json::from_str(&text).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_string_ends_where_the_text_does() {
        assert_eq!(mend(r#"{"error":"unable to pa"#).unwrap()["error"], "unable to pa");
        assert_eq!(mend(r#"{"error":"a\n\u00"#).unwrap()["error"], "a\n");
        assert_eq!(mend(r#"{"error":"a\ud83d\ude"#).unwrap()["error"], "a");
        assert_eq!(mend(r#"{"error":"a\"#).unwrap()["error"], "a");
    }

    #[test]
    fn a_list_ends_behind_its_last_whole_item() {
        for torn in [
            r#"{"error":"e","data":[{"line_number":1},{"line_number":2},{"line_n"#,
            r#"{"error":"e","data":[{"line_number":1},{"line_number":2},{"line_number":3"#,
            r#"{"error":"e","data":[{"line_number":1},{"line_number":2},"#,
        ] {
            assert_eq!(mend(torn).unwrap()["data"].as_array().unwrap().len(), 2, "{torn}");
        }
    }

    #[test]
    fn every_beginning_of_an_answer_is_borne() {
        let whole = r#"{"error":"pärtial","data":[{"error_message":"x\n\"y\\","line_number":2,"original_line":"é🦀\u00e9"}]}"#;
        for end in (0..whole.len()).filter(|end| whole.is_char_boundary(*end)) {
            let mended = mend(&whole[..end]);
            assert_eq!(mended.is_some(), end == 1 || end > 9, "{}", &whole[..end]);
        }
        assert_eq!(mend(&"[".repeat(1_000_000)), None);
    }

    #[test]
    fn what_stands_in_a_string_opens_and_closes_nothing() {
        let torn = r#"{"error":"}[{","data":[{"line_number":1},{"li"#;
        assert_eq!(mend(torn).unwrap()["data"].as_array().unwrap().len(), 1);
    }

    #[test]
    fn what_is_too_deep_or_too_far_back_is_given_up() {
        assert!(mend(&"[".repeat(DEPTH_MAX)).is_some());
        assert_eq!(mend(&"[".repeat(DEPTH_MAX + 1)), None);
        assert!(mend(r#"{"error":"e"} "1" "2" x"#).is_some());
        assert_eq!(mend(r#"{"error":"e"} "1" "2" "3" x"#), None);
    }
}
