//! What the machine itself needs for the same lines: to copy them, to compress them, to write them to disk.
//!
//! All on one thread, in bodies of as many points as the writers make. The lines are made before, and not measured.

use std::fs::File;
use std::hint::black_box;
use std::io::Write;
use std::path::Path;

use anyhow::{Context as _, Result};
use libdeflater::{CompressionLvl, Compressor};
use serde::{Deserialize, Serialize};

use crate::figures::{Figure, Figures, measured};
use crate::lines::{self, Mix};

/// Points of a body, as influx-spool gathers them by default.
pub const BODY_POINTS: u64 = 5_000;

/// More than any processor's cache holds.
const BEYOND_CACHE_BYTES: usize = 256 << 20;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub yardstick: Yardstick,
    pub mix: Mix,
    pub points: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Yardstick {
    /// Copies line by line, from a body to a buffer, both in the cache.
    CopyWarm,
    /// Copies line by line, from and to memory that is not in the cache.
    CopyCold,
    /// libdeflate, level 1, gzip, as influx-spool compresses.
    Deflate,
    /// Appends each body to a file, and waits for the disk.
    WritePlain,
    /// The same with bodies that are compressed already.
    WriteGzip,
}

impl Run {
    pub fn run(&self, dir: &Path) -> Result<Figures> {
        match self.yardstick {
            Yardstick::CopyWarm => self.copy(BODY_POINTS, 0),
            Yardstick::CopyCold => self.copy(self.points, BEYOND_CACHE_BYTES),
            Yardstick::Deflate => {
                let bodies = self.bodies()?;
                let mut packer = Packer::new()?;
                measured(self.points, || {
                    bodies.iter().try_for_each(|body| packer.pack(black_box(body)).map(|_| ()))
                })
            }
            Yardstick::WritePlain => self.write(dir, &self.bodies()?),
            Yardstick::WriteGzip => {
                let mut packer = Packer::new()?;
                let pack = |body: Vec<u8>| packer.pack(&body).map(<[u8]>::to_vec);
                self.write(dir, &self.bodies()?.into_iter().map(pack).collect::<Result<Vec<_>>>()?)
            }
        }
    }

    /// Copies the lines of `source_points` points again and again into `target_bytes` or, where that is more, into as much as a
    /// body takes.
    fn copy(&self, source_points: u64, target_bytes: usize) -> Result<Figures> {
        let (lines, ends) = lines::text(self.mix, 0, source_points)?;
        let mut target = vec![0_u8; target_bytes.max(lines.len() + 1)];
        let mut figures = measured(self.points, || {
            let (mut at, mut start, mut place) = (0, 0, 0);
            for _ in 0..self.points {
                if place == ends.len() {
                    (place, start) = (0, 0);
                }
                let line = black_box(&lines[start..ends[place]]);
                if at + line.len() > target.len() {
                    at = 0;
                }
                target[at..at + line.len()].copy_from_slice(line);
                at += line.len();
                start = ends[place];
                place += 1;
            }
            black_box(&target);
            Ok(())
        })?;
        per_operation(&mut figures);
        Ok(figures)
    }

    fn write(&self, dir: &Path, bodies: &[Vec<u8>]) -> Result<Figures> {
        let mut file = File::create(dir.join("yardstick")).context("make a file")?;
        measured(self.points, || {
            for body in bodies {
                file.write_all(body)?;
                file.sync_data()?;
            }
            Ok(())
        })
    }

    fn bodies(&self) -> Result<Vec<Vec<u8>>> {
        let starts = (0..self.points).step_by(BODY_POINTS as usize);
        let body = |start| {
            lines::text(self.mix, start, self.points.min(start + BODY_POINTS)).map(|(lines, _)| lines)
        };
        starts.map(body).collect()
    }
}

/// Says how many nanoseconds of CPU time one of the points took.
pub fn per_operation(figures: &mut Figures) {
    let nanoseconds = figures.get(&Figure::CpuSeconds).map(|seconds| seconds * 1e3);
    figures.extend(nanoseconds.map(|nanoseconds| (Figure::Nanoseconds, nanoseconds)));
}

struct Packer {
    compressor: Compressor,
    packed: Vec<u8>,
}

impl Packer {
    fn new() -> Result<Self> {
        let level = CompressionLvl::new(1).map_err(|_| anyhow::anyhow!("libdeflate has no level 1"))?;
        Ok(Self { compressor: Compressor::new(level), packed: Vec::new() })
    }

    fn pack(&mut self, body: &[u8]) -> Result<&[u8]> {
        self.packed.resize(self.compressor.gzip_compress_bound(body.len()), 0);
        let length = self.compressor.gzip_compress(body, &mut self.packed)?;
        Ok(&self.packed[..length])
    }
}
