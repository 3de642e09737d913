//! A disk that hangs under the program: it ends in its time all the same.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use super::support::program::Program;
use super::{Bench, check_sums, numbers};

/// Syncs that wait as long as a file lies there, as those of a network file system do whose server is gone: a process that
/// waits so can be ended.
const HANGING_SYNCS: &str = r#"
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>

static void hang(void) {
    const char *gate = getenv("HANGS_WHILE_THERE_IS");
    while (gate && access(gate, F_OK) == 0) usleep(10000);
}

int fsync(int file) { hang(); return syscall(SYS_fsync, file); }
int fdatasync(int file) { hang(); return syscall(SYS_fdatasync, file); }
"#;

/// Of the program's deadline.
const DEADLINE: Duration = Duration::from_secs(1);

/// What its help says that storing may take, whatever is left of the deadline.
const STORE_WITHIN: Duration = Duration::from_secs(2);

/// For starting, ending, and a machine busy with other tests. A program that waits for the disk takes for ever.
const BUSY: Duration = Duration::from_secs(20);

/// A library to be loaded before the system's; none, and a word, where there is no compiler.
fn hanging_syncs(folder: &Path) -> Option<PathBuf> {
    let (source, library) = (folder.join("hanging.c"), folder.join("hanging.so"));
    std::fs::write(&source, HANGING_SYNCS).unwrap();
    let compiled =
        Command::new("cc").args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).output().ok()?;
    if !compiled.status.success() || !cfg!(target_os = "linux") {
        println!("skipped: there is nothing to build a library that hangs with");
        return None;
    }
    Some(library)
}

#[test]
fn the_deadline_holds_while_the_disk_hangs() {
    let bench = Bench::down();
    let Some(library) = hanging_syncs(bench.folder.path()) else { return };
    let gate = bench.folder.path().join("gate");
    let environment = [("LD_PRELOAD", library.as_path()), ("HANGS_WHILE_THERE_IS", gate.as_path())];
    let spool = bench.spool();
    let deadline = format!("{}s", DEADLINE.as_secs());
    let args = ["write", "--url", &bench.url, "--database", "plant", "--json", "--deadline", &deadline];
    let args = [&args[..], &["--spool", spool.to_str().unwrap()]].concat();
    let mut program = Program::start_in(&args, &environment);
    program.feed(numbers(0..1_000));
    bench.wait_for_backlog(1_000);

    std::fs::write(&gate, "").unwrap();
    program.feed(numbers(1_000..3_000));
    let begin = Instant::now();
    let ended = program.end();
    let took = begin.elapsed();
    let summary = ended.check_code(2).json();
    check_sums(&summary);
    assert_eq!((&summary["accepted"], &summary["complete"]), (&3_000.into(), &false.into()));
    assert_eq!(
        (&summary["unsaved"], &summary["closed"]),
        (&2_000.into(), &false.into()),
        "as far as is known"
    );
    assert!(took < DEADLINE + STORE_WITHIN + BUSY, "{took:?}");
    println!("a deadline of {DEADLINE:?} beside a disk that hangs: {took:?}");

    // What was stored before is there, and goes on its way.
    std::fs::remove_file(&gate).unwrap();
    bench.receiver.come_up();
    let summary = bench.run(&[], "").check_code(0).json();
    let before = summary["backlog_before"].as_u64().unwrap();
    assert!((1_000..=3_000).contains(&before), "{summary}");
    assert_eq!(bench.receiver.lines().len() as u64, before);
}
