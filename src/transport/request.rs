//! What is asked of a server, before it is known which one.

use std::time::Duration;

use bytes::Bytes;
use reqwest::header::{HeaderMap, HeaderName, HeaderValue};
use reqwest::{Method, Url};

/// One request. It has no debug output: a statement may hold a password.
#[derive(Clone)]
pub(crate) struct Request {
    pub(super) method: Method,
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    pub(super) headers: HeaderMap,
    pub(super) body: Option<Bytes>,
    pub(super) holds_body: bool,
    pub(super) timeout: Option<Duration>,
}

impl Request {
    /// `path` are the segments below the server's root, each as it is: they are escaped here.
    pub(crate) fn new(method: Method, path: &[&str]) -> Self {
        let path = path.iter().map(|segment| (*segment).to_owned()).collect();
        Self {
            method,
            path,
            query: Vec::new(),
            headers: HeaderMap::new(),
            body: None,
            holds_body: false,
            timeout: None,
        }
    }

    pub(crate) fn get(path: &[&str]) -> Self {
        Self::new(Method::GET, path)
    }

    pub(crate) fn post(path: &[&str]) -> Self {
        Self::new(Method::POST, path)
    }

    /// Adds a parameter to the URL; several of one name are all kept.
    #[must_use]
    pub(crate) fn query(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.query.push((name, value.into()));
        self
    }

    #[must_use]
    pub(crate) fn header(mut self, name: HeaderName, value: HeaderValue) -> Self {
        self.headers.insert(name, value);
        self
    }

    #[must_use]
    pub(crate) fn body(mut self, body: impl Into<Bytes>) -> Self {
        self.body = Some(body.into());
        self
    }

    /// Sends the head, and the body only if the server has not refused the request within a second.
    #[must_use]
    pub(crate) const fn hold_body(mut self) -> Self {
        self.holds_body = true;
        self
    }

    /// How long the request may take, its answer's body included. Default: the configuration's `timeout`.
    #[must_use]
    pub(crate) fn timeout(mut self, timeout: Duration) -> Self {
        self.timeout = Some(timeout);
        self
    }

    /// Where it goes if the server is at `root`.
    pub(super) fn url_below(&self, root: &Url) -> Url {
        let mut url = root.clone();
        // There is a path to change: an http URL always has one.
        if let Ok(mut path) = url.path_segments_mut() {
            path.pop_if_empty().extend(&self.path);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(root: &str, request: &Request, expected: &str) {
        assert_eq!(request.url_below(&Url::parse(root).unwrap()).as_str(), expected);
    }

    #[test]
    fn a_path_goes_below_the_root() {
        check("http://h", &Request::get(&["ping"]), "http://h/ping");
        check("http://h/influx", &Request::get(&["api", "v2", "write"]), "http://h/influx/api/v2/write");
        check("http://h/influx/", &Request::get(&["ping"]), "http://h/influx/ping");
        check("http://h", &Request::get(&["a/b", "c d?"]), "http://h/a%2Fb/c%20d%3F");
    }

    #[test]
    fn parameters_are_escaped() {
        let request = Request::post(&["query"]).query("q", "SELECT \"ü\" & 1").query("db", "");
        check("http://h", &request, "http://h/query?q=SELECT+%22%C3%BC%22+%26+1&db=");
    }
}
