//! Names and texts inside an InfluxQL statement.

/// A name as it stands in a statement: in double quotes, whatever is in it.
///
/// The server's scanner knows the escapes `\"`, `\\` and `\n` inside them and no others (`ScanString` of
/// influxdata/influxql). A name with a NUL ends the statement for it, which then is an error.
///
/// ```
/// use influx_spool::query::identifier;
/// assert_eq!(identifier(r#"a "b""#), r#""a \"b\"""#);
/// ```
#[must_use]
pub fn identifier(name: &str) -> String {
    quoted(name, '"')
}

/// A text as it stands in a statement: in single quotes, whatever is in it. Values are better bound
/// ([`InfluxQl::bind`](super::InfluxQl::bind)), where the server can.
///
/// ```
/// use influx_spool::query::literal;
/// assert_eq!(literal("it's"), r"'it\'s'");
/// ```
#[must_use]
pub fn literal(text: &str) -> String {
    quoted(text, '\'')
}

fn quoted(text: &str, quote: char) -> String {
    let mut quoted = String::with_capacity(text.len() + 2);
    quoted.push(quote);
    for c in text.chars() {
        match c {
            '\n' => quoted.push_str("\\n"),
            c if c == quote || c == '\\' => quoted.extend(['\\', c]),
            c => quoted.push(c),
        }
    }
    quoted.push(quote);
    quoted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_inside_ends_the_quotes() {
        assert_eq!(identifier("plant"), "\"plant\"");
        assert_eq!(identifier("x\" DROP DATABASE y \\"), r#""x\" DROP DATABASE y \\""#);
        assert_eq!(identifier("a\nb'c"), r#""a\nb'c""#);
        assert_eq!(literal("a\"b'c\\"), r#"'a"b\'c\\'"#);
    }
}
