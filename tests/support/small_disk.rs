//! A small disk in memory.

use std::fs::File;
use std::io::Write;
use std::path::Path;
use std::process::Command;

/// A tmpfs, unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// Mounts one of 16 MiB, or prints `skipped: …`: that takes root, and leave to mount, which a container may not have.
    pub fn mount() -> Option<Self> {
        Self::of(16)
    }

    pub fn of(mebibytes: u64) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let mounted = mount(&["-t", "tmpfs", "-o", &format!("size={mebibytes}m"), "tmpfs"], folder.path());
        if !mounted {
            let is_root = Command::new("id").arg("-u").output().is_ok_and(|output| output.stdout == b"0\n");
            let must = is_root && std::env::var("CI").as_deref() == Ok("true");
            assert!(!must, "root must be able to mount a small disk where CI=true");
            println!("skipped: a small disk can be mounted by root only");
        }
        mounted.then_some(Self(folder))
    }

    pub fn folder(&self) -> &Path {
        self.0.path()
    }

    /// Fills it by a file of others, until so many bytes are free.
    pub fn fill_but(&self, bytes: u64) -> File {
        let mut ballast = File::create(self.folder().join("ballast")).unwrap();
        while ballast.write_all(&[0; 4_096]).is_ok() {}
        let full = ballast.metadata().unwrap().len();
        ballast.set_len(full.saturating_sub(bytes)).unwrap();
        ballast
    }

    /// Bytes free on it.
    pub fn free(&self) -> u64 {
        fs4::available_space(self.folder()).unwrap()
    }

    /// Makes it read-only, or writable again; `false` while a file is open to be written.
    pub fn set_read_only(&self, is_read_only: bool) -> bool {
        mount(&["-o", if is_read_only { "remount,ro" } else { "remount,rw" }], self.folder())
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _unmounted = Command::new("umount").arg("-l").arg(self.folder()).output();
    }
}

fn mount(args: &[&str], folder: &Path) -> bool {
    let output = Command::new("mount").args(args).arg(folder).output();
    output.is_ok_and(|output| output.status.success())
}
