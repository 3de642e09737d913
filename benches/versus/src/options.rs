//! What the caller asks for.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail};

use crate::contestants::Size;

#[derive(Clone, Debug)]
pub struct Options {
    pub size: Size,
    pub rounds: usize,
    /// Rows and contestants whose name has none of this are left out.
    only: String,
    /// Whether the results go into the project's documents.
    pub write: bool,
    /// Where spools lie while they are measured: on a disk, so not in a folder for temporary files, which may be memory.
    pub dir: PathBuf,
}

const USAGE: &str = "\
versus [--rounds=7] [--only=WORD] [--short | --long] [--write] [--dir=FOLDER]
  --only   only rows and writers whose name has this word
  --short  one round of a tenth of the points: does it work?
  --long   starts with a spool of 10 GB, not 1
  --write  put the results into benches/results.md and benches/results.svg
  --dir    where spools lie while they are measured; default: beside the program";

impl Options {
    pub fn parse(arguments: &[String]) -> Result<Self> {
        let beside = std::env::current_exe()?.parent().context("find the program's folder")?.to_owned();
        let mut options =
            Self { size: Size::Full, rounds: 7, only: String::new(), write: false, dir: beside };
        for argument in arguments {
            match argument.split_once('=').unwrap_or((argument, "")) {
                ("--short", "") => (options.size, options.rounds) = (Size::Short, 1),
                ("--long", "") => options.size = Size::Long,
                ("--rounds", rounds) => options.rounds = rounds.parse().context("read --rounds")?,
                ("--only", word) => options.only = word.to_owned(),
                ("--write", "") => options.write = true,
                ("--dir", dir) => options.dir = dir.into(),
                _ => bail!("{USAGE}"),
            }
        }
        Ok(options)
    }

    pub fn selects(&self, name: &str) -> bool {
        name.contains(&self.only)
    }
}
