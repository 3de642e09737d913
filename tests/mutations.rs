//! The bugs that `tests/mutations/run` puts in still find the place where they belong, and the table of who catches them has
//! a row for each.

#![allow(clippy::unwrap_used)]

use std::path::Path;

#[test]
fn each_mutation_finds_its_text_once_and_has_a_row_in_the_table() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mutations: toml::Table = toml::from_str(include_str!("mutations/mutations.toml")).unwrap();
    let table = include_str!("mutations/README.md");
    for mutation in mutations["mutation"].as_array().unwrap() {
        let text = |key: &str| mutation[key].as_str().unwrap();
        let source = std::fs::read_to_string(root.join(text("file"))).unwrap();
        assert_eq!(source.matches(text("from")).count(), 1, "{}: in {}", text("name"), text("file"));
        assert_ne!(text("from"), text("to"));
        assert!(table.contains(&format!("\n| {} | ", text("name"))), "{} has no row", text("name"));
    }
}
