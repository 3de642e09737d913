//! Where the server is: one root or several, and the one in use.

use std::sync::atomic::{AtomicUsize, Ordering};

use reqwest::Url;

use super::file::LocalError;
use crate::values::config::HttpConfig;

const SETTING: &str = "http.url";

/// The roots of a server. One is used until it fails; then the next one is, in turn.
///
/// Who comes back is not preferred: two servers that both work are equally good, and a change costs a connection.
#[derive(Debug)]
pub(super) struct Endpoints {
    roots: Vec<Url>,
    current: AtomicUsize,
}

impl Endpoints {
    /// # Errors
    /// A URL cannot be a root.
    pub(super) fn new(config: &HttpConfig) -> Result<Self, LocalError> {
        let roots = config.urls().map(root).collect::<Result<_, _>>()?;
        Ok(Self { roots, current: AtomicUsize::new(0) })
    }

    /// The root in use, with its number.
    pub(super) fn current(&self) -> (usize, &Url) {
        let number = self.current.load(Ordering::Relaxed) % self.roots.len();
        (number, &self.roots[number])
    }

    /// Goes on to the next root, if `number` is still the one in use: of several requests that failed there, one moves on.
    pub(super) fn leave(&self, number: usize) {
        let next = (number + 1) % self.roots.len();
        let _ = self.current.compare_exchange(number, next, Ordering::Relaxed, Ordering::Relaxed);
    }

    pub(super) fn is_any_encrypted(&self) -> bool {
        self.roots.iter().any(|root| root.scheme() == "https")
    }
}

/// A root may have a path, as behind a proxy. Credentials and parameters have settings of their own, where they are kept out
/// of logs. Messages do not repeat the URL, for the same reason.
fn root(text: &str) -> Result<Url, LocalError> {
    let bad = |words: &str| Err(LocalError::new(SETTING, words));
    let url = Url::parse(text).map_err(|error| LocalError::new(SETTING, error.to_string()))?;
    if !matches!(url.scheme(), "http" | "https") {
        return bad("must begin with http:// or https://");
    }
    if !url.username().is_empty() || url.password().is_some() {
        return bad("must not hold credentials: http.auth keeps them out of logs");
    }
    if url.query().is_some() || url.fragment().is_some() {
        return bad("must be a root, without a query or a fragment");
    }
    Ok(url)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(url: &str, expected: Result<(), &str>) {
        let words =
            root(url).map(drop).map_err(|error| crate::values::config::ConfigError::from(error).to_string());
        match (words, expected) {
            (Ok(()), Ok(())) => {}
            (Err(words), Err(part)) => assert!(words.contains(part), "{words}"),
            (found, expected) => panic!("{url}: {found:?}, expected {expected:?}"),
        }
    }

    #[test]
    fn a_root_is_a_root() {
        check("http://localhost:8086", Ok(()));
        check("https://[::1]/influx/", Ok(()));
        check("no url", Err("relative URL"));
        check("mailto:a@b", Err("http://"));
        check("http://u:p@localhost", Err("http.auth"));
        check("http://localhost/?db=x", Err("query"));
        check("http://", Err("host"));
    }

    #[test]
    fn of_many_failures_at_one_root_one_moves_on() {
        let mut config = HttpConfig::new("http://a");
        config.fallback_urls = vec!["http://b".into(), "http://c".into()];
        let endpoints = Endpoints::new(&config).unwrap_or_else(|_| unreachable!());
        let (first, _) = endpoints.current();
        endpoints.leave(first);
        endpoints.leave(first);
        assert_eq!(endpoints.current().1.as_str(), "http://b/");
        endpoints.leave(1);
        endpoints.leave(2);
        assert_eq!(endpoints.current().0, 0);
    }
}
