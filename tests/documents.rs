//! What README.md says of settings is what they are.

#![allow(clippy::unwrap_used)]

use influx_spool::{Config, SpoolConfig};

/// The text of the first code block of this language.
fn block<'a>(text: &'a str, language: &str) -> &'a str {
    let (_, rest) = text.split_once(&format!("```{language}\n")).expect("there is such a block");
    rest.split_once("```").expect("it ends").0
}

#[test]
fn the_readme_lists_every_setting_with_its_default() {
    let readme = include_str!("../README.md");
    let section = block(readme, "toml");
    let documented: Config = toml::from_str(section).unwrap();
    let mut default = Config::new("plant", "http://localhost:8086");
    default.spool = Some(SpoolConfig::new("plant.db"));
    assert_eq!(documented, default, "the defaults are those");

    // What has no default to show stands there as a comment.
    let uncommented: String = section
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.contains(" = ") || rest.starts_with('['))
                .unwrap_or(line)
        })
        .map(|line| format!("{line}\n"))
        .collect();
    let mut all: toml::Table = toml::from_str(&uncommented).unwrap();
    let shown = default_with_every_option();
    for (section, settings) in &shown {
        let documented = all.remove(section).unwrap_or_else(|| panic!("{section} is not in the README"));
        for setting in settings.as_table().into_iter().flat_map(toml::Table::keys) {
            assert!(documented.get(setting).is_some(), "{section}.{setting} is not in the README");
        }
    }
    assert!(all.is_empty(), "nothing else is documented: {all:?}");
}

/// A configuration whose every setting is written when it is serialised.
fn default_with_every_option() -> toml::Table {
    let mut config = Config::new("plant", "http://localhost:8086");
    let mut spool = SpoolConfig::new("plant.db");
    spool.age_max = Some(std::time::Duration::from_secs(1));
    config.spool = Some(spool);
    config.udp = Some(influx_spool::UdpConfig::new("localhost:8089"));
    config.org = Some("works".into());
    config.org_id = Some("0123456789abcdef".into());
    config.loss_window = Some(std::time::Duration::from_secs(1));
    config.http.fallback_urls = vec!["http://other:8086".into()];
    config.http.headers.insert("X-Scope-OrgID".into(), "plant".into());
    config.database = Some("plant".into());
    config.retention_policy = Some("autogen".into());
    config.consistency = Some(influx_spool::Consistency::One);
    toml::Table::try_from(config).unwrap()
}

#[test]
fn the_least_a_section_needs_is_a_name_and_a_url() {
    let config: Config = toml::from_str("name = 'plant'\nhttp.url = 'http://localhost:8086'").unwrap();
    assert_eq!(config, Config::new("plant", "http://localhost:8086"));
    let with_spool: Config =
        toml::from_str("name = 'plant'\nhttp.url = 'http://localhost:8086'\nspool.path = 'plant.db'")
            .unwrap();
    assert_eq!(with_spool.spool, Some(SpoolConfig::new("plant.db")));
}

#[test]
fn a_word_that_is_no_setting_is_an_error() {
    let error = toml::from_str::<Config>("name = 'plant'\nhttp.url = 'x'\nloss_windwo = '1s'").unwrap_err();
    assert!(error.to_string().contains("loss_windwo"), "{error}");
}

#[test]
fn a_configuration_reads_back_what_it_writes() {
    let written = toml::to_string(&default_with_every_option()).unwrap();
    let read: Config = toml::from_str(&written).unwrap();
    assert_eq!(toml::Table::try_from(read).unwrap(), default_with_every_option());
}

#[test]
fn values_are_checked_with_the_name_of_the_setting() {
    let refused = |change: fn(&mut Config)| {
        let mut config = Config::new("plant", "http://localhost:8086");
        change(&mut config);
        config.check().unwrap_err().setting()
    };
    assert_eq!(refused(|config| config.name.clear()), "name");
    assert_eq!(refused(|config| config.http.url = "localhost:8086".into()), "http.url");
    assert_eq!(refused(|config| config.precision = influx_spool::Precision::Seconds), "missing_timestamp");
    assert_eq!(refused(|config| config.queue.bytes_max = 1.try_into().unwrap()), "queue.bytes_max");
    assert_eq!(refused(|config| config.http.timeout = std::time::Duration::ZERO), "http.timeout");
    assert_eq!(refused(|config| config.http.backoff_min = std::time::Duration::ZERO), "http.backoff_min");
}
