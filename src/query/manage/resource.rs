//! What the things of 2.x have in common: JSON at a path, listed by the page.

use reqwest::Method;
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::super::client::Client;
use super::super::error::QueryError;
use super::super::exchange::Form;
use crate::transport::Request;

/// The largest page that 2.x gives.
const PAGE: usize = 100;

impl Client {
    pub(super) async fn get_json<T: DeserializeOwned>(
        &self,
        path: &[&str],
        query: &[(&'static str, &str)],
    ) -> Result<T, QueryError> {
        self.ask(with_query(Request::get(&v2(path)), query)).await?.json()
    }

    pub(super) async fn send_json<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &[&str],
        body: &impl Serialize,
    ) -> Result<T, QueryError> {
        self.change(Request::new(method, &v2(path)).json(body)?).await?.json()
    }

    pub(super) async fn delete(&self, path: &[&str]) -> Result<(), QueryError> {
        self.change(Request::new(Method::DELETE, &v2(path))).await.map(drop)
    }

    /// Everything of a list, page by page. `items` takes them out of an answer.
    pub(super) async fn list<L: DeserializeOwned, T>(
        &self,
        path: &[&str],
        query: &[(&'static str, &str)],
        items: impl Fn(L) -> Vec<T>,
    ) -> Result<Vec<T>, QueryError> {
        let (mut all, mut bytes) = (Vec::new(), 0);
        loop {
            let page = with_query(Request::get(&v2(path)), query);
            let page = page.query("limit", PAGE.to_string()).query("offset", all.len().to_string());
            let answer = self.ask(page).await?;
            bytes += answer.body.len();
            if bytes > self.answer_bytes_max {
                return Err(QueryError::TooLarge { limit: self.answer_bytes_max });
            }
            let found = items(answer.json()?);
            let is_last = found.len() < PAGE;
            all.extend(found);
            if is_last {
                return Ok(all);
            }
        }
    }
}

/// What was looked for, or nothing where 2.x says that there is none. A 404 of somebody else's remains an error.
pub(super) fn found<T>(answer: Result<T, QueryError>) -> Result<Option<T>, QueryError> {
    match answer {
        Err(QueryError::Refused { status: 404, code: Some(code), .. }) if code == "not found" => Ok(None),
        answer => answer.map(Some),
    }
}

fn v2<'a>(path: &[&'a str]) -> Vec<&'a str> {
    ["api", "v2"].iter().chain(path).copied().collect()
}

fn with_query(request: Request, query: &[(&'static str, &str)]) -> Request {
    query.iter().fold(request, |request, (name, value)| request.query(name, *value))
}
