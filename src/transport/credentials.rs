//! Who we are to the server, put into each request.

use reqwest::header::{AUTHORIZATION, HeaderValue};
use reqwest::{RequestBuilder, Url};

use super::file::LocalError;
use super::secret::CurrentSecret;
use crate::values::config::{Auth, Secret};

/// Credentials with their secret as it is now.
pub(super) enum Credentials {
    None,
    Basic { username: String, password: CurrentSecret },
    Query { username: String, password: CurrentSecret },
    Header { scheme: &'static str, token: CurrentSecret },
}

impl Credentials {
    pub(super) fn new(auth: &Auth) -> Self {
        let current = |secret: &Secret| CurrentSecret::new(secret.clone());
        match auth {
            Auth::None => Self::None,
            Auth::Basic { username, password } => {
                Self::Basic { username: username.clone(), password: current(password) }
            }
            Auth::Query { username, password } => {
                Self::Query { username: username.clone(), password: current(password) }
            }
            Auth::Token { token } => Self::Header { scheme: "Token", token: current(token) },
            Auth::Bearer { token } => Self::Header { scheme: "Bearer", token: current(token) },
        }
    }

    /// Checks secrets that stand in the configuration. One in a file may yet change, or appear: it is waited for.
    ///
    /// # Errors
    /// The token cannot stand in a header.
    pub(super) fn check(auth: &Auth) -> Result<(), LocalError> {
        match auth {
            Auth::Token { token: Secret::Text(token) } | Auth::Bearer { token: Secret::Text(token) } => {
                header("Token", token).map(drop)
            }
            _ => Ok(()),
        }
    }

    /// What the URL has to carry.
    pub(super) fn add_to_url(&self, url: &mut Url) -> Result<(), LocalError> {
        if let Self::Query { username, password } = self {
            url.query_pairs_mut().append_pair("u", username).append_pair("p", &password.text()?);
        }
        Ok(())
    }

    /// What the headers have to carry.
    pub(super) fn add_to_headers(&self, request: RequestBuilder) -> Result<RequestBuilder, LocalError> {
        Ok(match self {
            Self::None | Self::Query { .. } => request,
            Self::Basic { username, password } => request.basic_auth(username, Some(password.text()?)),
            Self::Header { scheme, token } => request.header(AUTHORIZATION, header(scheme, &token.text()?)?),
        })
    }

    /// Has the secret's file read again: the server does not accept what it held.
    pub(super) fn distrust(&self) {
        match self {
            Self::None => {}
            Self::Basic { password: secret, .. }
            | Self::Query { password: secret, .. }
            | Self::Header { token: secret, .. } => secret.distrust(),
        }
    }
}

fn header(scheme: &str, token: &str) -> Result<HeaderValue, LocalError> {
    let mut value = HeaderValue::from_str(&format!("{scheme} {token}"))
        .map_err(|_| LocalError::new("http.auth", "the token holds what no header can carry"))?;
    value.set_sensitive(true);
    Ok(value)
}
