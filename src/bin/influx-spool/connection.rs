//! Where the server is, how it is spoken to, and who we are to it.

use std::path::PathBuf;

use anyhow::bail;
use clap::{Args, ValueEnum};
use influx_spool::{Api, Auth, Client, HttpConfig, Secret};

/// The environment variables that secrets are taken from, so that they need not stand in a list of processes.
const PASSWORD_VARIABLE: &str = "INFLUX_PASSWORD";
const TOKEN_VARIABLE: &str = "INFLUX_TOKEN";

/// What every command needs that speaks to a server.
#[derive(Debug, Args)]
#[command(next_help_heading = "Server")]
pub(crate) struct ConnectionArgs {
    /// The root of the server: http://host:8086.
    #[arg(long)]
    pub(crate) url: String,
    /// The interface of the server.
    #[arg(long, value_enum, default_value_t = ApiName::V1)]
    pub(crate) api: ApiName,
    /// The database (v1, v3) or the bucket (v2).
    #[arg(long, visible_alias = "bucket", value_name = "NAME")]
    pub(crate) database: Option<String>,
    /// The organization (v2).
    #[arg(long, value_name = "NAME")]
    pub(crate) org: Option<String>,
    /// The user, for basic authentication.
    #[arg(long, conflicts_with_all = ["token", "token_file"])]
    pub(crate) username: Option<String>,
    /// The user's password [default: the environment variable INFLUX_PASSWORD].
    #[arg(long, requires = "username")]
    pub(crate) password: Option<String>,
    /// The token [default: with v2 and v3 the environment variable INFLUX_TOKEN].
    #[arg(long, conflicts_with = "token_file")]
    pub(crate) token: Option<String>,
    /// The file that holds the token. It is read again when it changes.
    #[arg(long, value_name = "FILE")]
    pub(crate) token_file: Option<PathBuf>,
    /// Certificate authorities to trust beside the system's, as PEM.
    #[arg(long, value_name = "FILE")]
    pub(crate) ca: Option<PathBuf>,
    /// Our own certificate, as PEM.
    #[arg(long, value_name = "FILE", requires = "key")]
    pub(crate) cert: Option<PathBuf>,
    /// Its private key, as PEM.
    #[arg(long, value_name = "FILE", requires = "cert")]
    pub(crate) key: Option<PathBuf>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum ApiName {
    V1,
    V2,
    V3,
}

impl ConnectionArgs {
    /// The connection that the arguments describe.
    pub(crate) fn http(&self) -> HttpConfig {
        let mut http = HttpConfig::new(&self.url);
        self.configure(&mut http);
        http
    }

    /// Sets what the arguments say of a connection, beside its address.
    pub(crate) fn configure(&self, http: &mut HttpConfig) {
        http.auth = self.auth();
        http.tls.ca_file.clone_from(&self.ca);
        http.tls.cert_file.clone_from(&self.cert);
        http.tls.key_file.clone_from(&self.key);
    }

    /// The database, which the command cannot do without.
    ///
    /// # Errors
    /// There is none.
    pub(crate) fn database(&self) -> anyhow::Result<&str> {
        match &self.database {
            Some(database) => Ok(database),
            None => bail!("--database (or --bucket) is needed"),
        }
    }

    /// A client that asks about what the arguments name.
    ///
    /// # Errors
    /// They do not fit together.
    pub(crate) fn client(&self) -> anyhow::Result<Client> {
        let mut client = Client::new(&self.http())?;
        if let Some(database) = &self.database {
            client = client.with_database(database);
        }
        if let Some(org) = &self.org {
            client = client.with_org(org);
        }
        Ok(client)
    }

    fn auth(&self) -> Auth {
        let from = |variable| std::env::var(variable).ok().filter(|secret| !secret.is_empty());
        if let Some(username) = self.username.clone() {
            let password = self.password.clone().or_else(|| from(PASSWORD_VARIABLE)).unwrap_or_default();
            return Auth::Basic { username, password: password.into() };
        }
        let file = self.token_file.as_ref().map(Secret::file);
        // 1.x knows no tokens, so one that lies about in the environment is not meant for it.
        let usual = || from(TOKEN_VARIABLE).filter(|_| self.api != ApiName::V1);
        let token = file.or_else(|| self.token.clone().or_else(usual).map(Secret::from));
        match (token, self.api) {
            (None, _) => Auth::None,
            (Some(token), ApiName::V3) => Auth::Bearer { token },
            (Some(token), _) => Auth::Token { token },
        }
    }
}

impl From<ApiName> for Api {
    fn from(name: ApiName) -> Self {
        match name {
            ApiName::V1 => Self::V1,
            ApiName::V2 => Self::V2,
            ApiName::V3 => Self::V3,
        }
    }
}
