//! Which settings may change while a database runs.

use super::shared::Shared;
use crate::transport::HttpClient;
use crate::values::config::{Config, ConfigError};

/// Takes a new configuration at once.
pub(crate) fn apply(shared: &Shared, config: Config) -> Result<(), ConfigError> {
    check_change(&shared.config(), &config)?;
    shared.set_config(config);
    Ok(())
}

/// Checks a new configuration, by itself and against the one it replaces.
fn check_change(old: &Config, new: &Config) -> Result<(), ConfigError> {
    new.check()?;
    HttpClient::check(&new.http)?;
    let fixed = |setting, same: bool| {
        let reason = "cannot change while the database runs";
        if same { Ok(()) } else { Err(ConfigError::new(setting, reason)) }
    };
    fixed("name", old.name == new.name)?;
    fixed("database", old.destination() == new.destination())?;
    fixed("lines", old.lines == new.lines)?;
    fixed("missing_timestamp", old.missing_timestamp == new.missing_timestamp)?;
    fixed("spool", old.spool == new.spool)?;
    let udp_senders = |config: &Config| config.udp.as_ref().map(|udp| udp.senders);
    fixed("udp", udp_senders(old) == udp_senders(new))?;
    fixed("http.in_flight", old.http.in_flight == new.http.in_flight)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_file_or_the_tree_depends_on_is_fixed() {
        let old = Config::new("plant", "http://localhost:8086");
        let mut new = old.clone();
        new.http.url = "http://elsewhere:8086".into();
        new.batch.compression = crate::Compression::None;
        assert_eq!(check_change(&old, &new), Ok(()));
        new.name = "other".into();
        assert_eq!(check_change(&old, &new).unwrap_err().setting(), "name");
        let mut new = old.clone();
        new.precision = crate::Precision::Seconds;
        new.missing_timestamp = crate::MissingTimestamp::Refuse;
        assert_eq!(check_change(&old, &new).unwrap_err().setting(), "database");
    }
}
