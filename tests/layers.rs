//! The house rule that modules import downwards only: values < machines < spool, transport < query < actors < faces.

#![allow(clippy::unwrap_used)]

use std::fs;
use std::path::{Path, PathBuf};

/// The layers, lowest first. Modules of one layer do not import each other.
const LAYERS: [&[&str]; 6] =
    [&["values"], &["machines"], &["spool", "transport"], &["query"], &["actors"], &["faces"]];

/// Which crates are whose business alone.
const OWNERS: [(&str, &[&str]); 9] = [
    ("rusqlite", &["spool"]),
    ("rusqlite_migration", &["spool"]),
    ("reqwest", &["transport", "query"]),
    ("hyper", &["transport"]),
    ("http_body", &["transport"]),
    ("rustls", &["transport"]),
    ("actix", &["actors", "faces"]),
    ("actix_rt", &["actors", "faces"]),
    ("actix_web", &["faces"]),
];

#[test]
fn modules_import_downwards_only() {
    let mut seen = 0;
    for file in sources() {
        let Some(layer) = layer_of(&file.module[0]) else { continue };
        for path in crate_paths(&file) {
            let Some(imported) = path.first().filter(|module| layer_of(module).is_some()) else { continue };
            seen += 1;
            let allowed = *imported == file.module[0] || layer_of(imported) < Some(layer);
            assert!(allowed, "{} imports {}", file.path.display(), path.join("::"));
        }
    }
    assert!(seen > 100, "only {seen} imports were found: this test has lost its sight");
}

#[test]
fn each_dependency_is_one_layers_business() {
    for file in sources().iter().filter(|file| file.module[0] != "bin") {
        for (name, owners) in OWNERS {
            let named = names(&file.code, name);
            assert!(!named || owners.contains(&&*file.module[0]), "{} names {name}", file.path.display());
        }
    }
    for (name, owners) in OWNERS {
        let is_owners = |file: &&Source| owners.contains(&&*file.module[0]);
        assert!(
            sources().iter().filter(is_owners).any(|file| names(&file.code, name)),
            "nobody names {name}"
        );
    }
}

#[test]
fn every_module_has_a_layer() {
    for file in sources() {
        let apart = ["lib", "bin", "failpoint", "log", "panics"];
        let known = apart.contains(&&*file.module[0]) || layer_of(&file.module[0]).is_some();
        assert!(known, "{} belongs to no layer", file.path.display());
    }
}

#[test]
fn paths_are_read_as_the_compiler_reads_them() {
    let file = |code: &str| Source {
        path: PathBuf::new(),
        module: vec!["machines".into(), "queue".into()],
        code: without_comments(code),
    };
    let paths = |code| crate_paths(&file(code)).iter().map(|path| path.join("::")).collect::<Vec<_>>();
    assert_eq!(paths("use crate::values::seq::Seq;"), ["values::seq::Seq"]);
    assert_eq!(paths("use crate::{actors::{a, b}, spool};"), ["actors", "spool"]);
    assert_eq!(paths("let x = crate::spool::open(); // crate::actors"), ["spool::open"]);
    assert_eq!(paths("use super::super::actors::x;"), ["actors::x"]);
    assert_eq!(paths("use super::plan::Plan;"), ["machines::plan::Plan"]);
    assert_eq!(paths("//! See [`crate::actors`].\n"), Vec::<String>::new());
    assert!(names("actix::Actor", "actix") && !names("actix_rt::spawn", "actix"));
}

struct Source {
    path: PathBuf,
    /// Its module's path in the crate, `machines::queue`.
    module: Vec<String>,
    /// Without comments.
    code: String,
}

fn layer_of(module: &str) -> Option<usize> {
    LAYERS.iter().position(|layer| layer.contains(&module))
}

fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut sources = Vec::new();
    let mut folders = vec![root.clone()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let module = module_of(path.strip_prefix(&root).unwrap());
                let code = without_comments(&fs::read_to_string(&path).unwrap());
                sources.push(Source { path, module, code });
            }
        }
    }
    sources
}

fn module_of(path: &Path) -> Vec<String> {
    let path = path.with_extension("");
    let mut module: Vec<String> =
        path.components().map(|part| part.as_os_str().to_str().unwrap().to_owned()).collect();
    if module.last().is_some_and(|last| last == "mod") {
        module.pop();
    }
    module
}

/// Good enough for this crate: no string in it holds two slashes and a module's path.
fn without_comments(code: &str) -> String {
    code.lines().map(|line| line.split("//").next().unwrap_or_default()).collect::<Vec<_>>().join("\n")
}

/// Every path that begins at the crate's root, or climbs with `super`, as seen from the root. A group of imports gives
/// the first module of each of its members.
fn crate_paths(file: &Source) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    for (at, _) in file.code.match_indices("crate::").filter(|(at, _)| starts_word(&file.code, *at)) {
        let rest = &file.code[at + "crate::".len()..];
        match rest.strip_prefix('{') {
            Some(group) => paths.extend(members(group).map(|member| segments(member)[..1].to_vec())),
            None => paths.push(segments(rest)),
        }
    }
    for (at, _) in file.code.match_indices("super::").filter(|(at, _)| starts_word(&file.code, *at)) {
        let path = segments(&file.code[at..]);
        let climbs = path.iter().take_while(|segment| *segment == "super").count();
        let Some(base) = file.module.len().checked_sub(climbs) else { continue };
        paths.push(file.module[..base].iter().cloned().chain(path[climbs..].iter().cloned()).collect());
    }
    paths
}

fn starts_word(code: &str, at: usize) -> bool {
    !code[..at].ends_with(|before: char| before.is_alphanumeric() || before == '_' || before == ':')
}

fn segments(path: &str) -> Vec<String> {
    let end = path.find(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')).unwrap_or(path.len());
    path[..end].split("::").filter(|segment| !segment.is_empty()).map(str::to_owned).collect()
}

/// The members of a group of imports, up to its closing brace.
fn members(group: &str) -> impl Iterator<Item = &str> {
    let mut depth = 0;
    let end = group.find(|c| {
        depth += i32::from(c == '{') - i32::from(c == '}');
        depth < 0
    });
    let mut depth = 0;
    group[..end.unwrap_or(group.len())]
        .split(move |c| {
            depth += i32::from(c == '{') - i32::from(c == '}');
            c == ',' && depth == 0
        })
        .map(str::trim)
        .filter(|member| !member.is_empty())
}

/// Whether the code names this crate as the root of a path, or imports it whole.
fn names(code: &str, name: &str) -> bool {
    code.match_indices(name).any(|(at, _)| {
        let after = &code[at + name.len()..];
        starts_word(code, at) && (after.starts_with("::") || after.starts_with(';'))
    })
}
