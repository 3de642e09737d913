//! The points that every writer is given.
//!
//! Both mixes have several measurements, four tags and four fields of mixed types: a float, an integer, a boolean and
//! a string. The integer is the point's own number, by which the receiver knows each point that arrived. Values are drawn
//! by a hash of it, so that bodies shrink no more than those of a real system would.

use anyhow::{Result, anyhow};
use influx_spool::{Encoder, FieldRef, LineRules, Precision, Series, SeriesBuilder};
use serde::{Deserialize, Serialize};

/// The field that is the point's number, in every measurement.
pub const NUMBER_FIELD: &str = "count";

/// Series of each measurement: so many that the last line of the same series is beyond the 32 KiB in which deflate finds
/// repetitions.
const HOSTS: usize = 100;

/// The time of the first point: a day in November 2026, in nanoseconds.
const START: i64 = 1_795_000_000_000_000_000;
/// Nanoseconds from one point to the next: a million points a second, not quite evenly.
const STEP: u64 = 1_000;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Mix {
    /// What monitoring sends: 150 to 180 bytes a line, floats with three decimals, nothing to escape but a space.
    Realistic,
    /// What is dear to write: floats with 16 and 17 digits, tags and strings to escape, strings of some 150 bytes.
    Hard,
}

/// The values of one point.
pub type Values = (f64, i64, bool, &'static str);

/// All of a point but its values and its time.
#[derive(Clone, Debug)]
pub struct Shape {
    pub measurement: &'static str,
    pub tags: [(&'static str, String); 4],
    /// In the order of [`Values`]. The second is [`NUMBER_FIELD`].
    pub fields: [&'static str; 4],
    texts: &'static [&'static str; 4],
}

impl Mix {
    /// The series, which points belong to in turn.
    pub fn shapes(self) -> Vec<Shape> {
        match self {
            Self::Realistic => (0..HOSTS).flat_map(realistic).collect(),
            Self::Hard => (0..HOSTS).flat_map(hard).collect(),
        }
    }

    fn float(self, noise: u64) -> f64 {
        match self {
            Self::Realistic => (noise % 100_000) as f64 / 1_000.0,
            // A fraction with all its bits, which takes 16 or 17 digits to tell apart from its neighbours.
            Self::Hard => noise as f64 / f64::from(u32::MAX) * 1e3,
        }
    }
}

/// The values of point `n`, one of `shape`'s.
pub fn values(mix: Mix, shape: &Shape, n: u64) -> Values {
    let noise = noise(n);
    (mix.float(noise), n as i64, noise & 0x30 != 0, shape.texts[(noise >> 8) as usize % 4])
}

/// The time of point `n`, in nanoseconds.
pub const fn timestamp(n: u64) -> i64 {
    START + (n * STEP + noise(n) % STEP) as i64
}

/// 32 bits that look drawn: a multiplication by the golden ratio of 2^64, then one of SplitMix64's rounds (Steele, Lea and
/// Flood, Fast Splittable Pseudorandom Number Generators, 2014).
const fn noise(n: u64) -> u64 {
    let spread = n.wrapping_mul(0x9E37_79B9_7F4A_7C15);
    (spread ^ (spread >> 29)).wrapping_mul(0xBF58_476D_1CE4_E5B9) >> 32
}

/// A point's tags as they are lent to whoever writes it.
pub type TagRefs<'a> = [(&'a str, &'a str); 4];

impl Shape {
    /// Its tags, borrowed.
    pub fn tag_refs(&self) -> TagRefs<'_> {
        self.tags.each_ref().map(|(key, value)| (*key, value.as_str()))
    }

    /// Its fields, of which the values are a point's.
    pub fn field_refs(
        &self,
        (float, integer, boolean, text): Values,
    ) -> [(&'static str, FieldRef<'static>); 4] {
        let [a, b, c, d] = self.fields;
        [
            (a, FieldRef::Float(float)),
            (b, FieldRef::Integer(integer)),
            (c, FieldRef::Boolean(boolean)),
            (d, FieldRef::String(text)),
        ]
    }

    /// As a series of influx-spool.
    pub fn series(&self) -> Series<(f64, i64, bool, &'static str)> {
        self.tags
            .iter()
            .fold(SeriesBuilder::new(self.measurement), |series, (key, value)| {
                series.tag(*key, value.clone())
            })
            .fields(self.fields)
    }
}

/// The finished lines of points `from..to`, and where each ends.
pub fn text(mix: Mix, from: u64, to: u64) -> Result<(Vec<u8>, Vec<usize>)> {
    let encoder = Encoder::new(Precision::Nanoseconds, &LineRules::default())?;
    let shapes = mix.shapes();
    let prepare = |shape: &Shape| encoder.prepare(&shape.series());
    let series = shapes.iter().map(prepare).collect::<Result<Vec<_>, _>>()?;
    let (mut lines, mut ends) = (Vec::new(), Vec::new());
    for n in from..to {
        let which = n as usize % shapes.len();
        series[which]
            .encode(values(mix, &shapes[which], n), None, || timestamp(n), &mut lines)
            .map_err(|error| anyhow!("encode point {n}: {error}"))?;
        ends.push(lines.len());
    }
    Ok((lines, ends))
}

fn realistic(host: usize) -> [Shape; 4] {
    let tag = |key, value: &str| (key, value.to_owned());
    [
        Shape {
            measurement: "cpu_usage",
            tags: [
                tag("datacenter", "eu-central-1"),
                tag("host", &format!("server-{host:04}")),
                tag("rack", &format!("r{}", host % 7)),
                tag("service", "ingest-gateway"),
            ],
            fields: ["usage_user", NUMBER_FIELD, "throttled", "state"],
            texts: &["running", "idle", "draining", "starting up"],
        },
        Shape {
            measurement: "machine_state",
            tags: [
                tag("hall", "north"),
                tag("line", &format!("packing-{}", host % 5)),
                tag("machine", &format!("press-{host:03}.plant.example")),
                tag("shift", "late"),
            ],
            fields: ["temperature", NUMBER_FIELD, "guard_closed", "program"],
            texts: &["carton A4", "carton A5", "cleaning", "none"],
        },
        Shape {
            measurement: "http_requests",
            tags: [
                tag("endpoint", "/api/v2/orders"),
                tag("instance", &format!("shop-{host:02}.example.com")),
                tag("method", "POST"),
                tag("status", "204"),
            ],
            fields: ["seconds", NUMBER_FIELD, "cached", "protocol"],
            texts: &["HTTP/1.1", "HTTP/2", "HTTP/3", "HTTP/1.0"],
        },
        Shape {
            measurement: "disk_io",
            tags: [
                tag("device", &format!("nvme{}n1", host % 4)),
                tag("filesystem", "ext4"),
                tag("host", &format!("server-{host:04}.example.com")),
                tag("mount", "/var/lib/influxdb"),
            ],
            fields: ["await_ms", NUMBER_FIELD, "read_only", "scheduler"],
            texts: &["none", "mq-deadline", "bfq", "kyber"],
        },
    ]
}

fn hard(host: usize) -> [Shape; 2] {
    let tag = |key, value: &str| (key, value.to_owned());
    [
        Shape {
            measurement: "alarm log",
            tags: [
                tag("area", "mixing, filling = west"),
                tag("host", &format!("Werk Süd, Linie {host}")),
                tag("operator name", "Zoë O'Brien, day shift"),
                tag("path", &format!("C:\\plant\\line {host}")),
            ],
            fields: ["deviation", NUMBER_FIELD, "acknowledged", "message"],
            texts: &MESSAGES,
        },
        Shape {
            measurement: "quality samples",
            tags: [
                tag("batch", &format!("2026-11 / {host:05}")),
                tag("lab", "Zürich (central)"),
                tag("method", "DIN EN ISO 6887-1"),
                tag("sample point", "after pasteur, before fill"),
            ],
            fields: ["value_si", NUMBER_FIELD, "within_limits", "remark"],
            texts: &MESSAGES,
        },
    ]
}

const MESSAGES: [&str; 4] = [
    "valve \"V-102\" did not report \"closed\" within 2.5 s; command repeated, position 14 %, supply pressure 5.8 bar, see C:\\logs\\valves\\V-102.log",
    "temperature of zone 4 (\"drying\") left its band of 82 to 86 °C for 37 s; heater power was raised, product since then is marked for inspection",
    "operator changed set point \"fill weight\" from 500 g to 502 g, reason: \"density of the new lot\"; approved by the shift leader at the panel",
    "no trouble; the message is long all the same, since the line control writes what it did, with which recipe, and how long each step of it took",
];

#[cfg(test)]
mod tests {
    use super::*;

    fn lengths(mix: Mix) -> Vec<usize> {
        let (_, ends) = text(mix, 0, 10_000).unwrap();
        let starts = std::iter::once(0).chain(ends.iter().copied());
        starts.zip(&ends).map(|(start, end)| end - start).collect()
    }

    #[test]
    fn realistic_lines_are_as_long_as_they_are_said_to_be() {
        let lengths = lengths(Mix::Realistic);
        let mean = lengths.iter().sum::<usize>() / lengths.len();
        assert!((150..=180).contains(&mean), "{mean}");
        assert!(
            lengths.iter().all(|length| (140..=185).contains(length)),
            "{:?}",
            (lengths.iter().min(), lengths.iter().max())
        );
    }

    #[test]
    fn hard_floats_have_all_their_digits() {
        let long = (0..1_000).filter(|n| {
            let (float, ..) = values(Mix::Hard, &Mix::Hard.shapes()[0], *n);
            float.to_string().len() >= 16
        });
        assert!(long.count() > 900);
    }
}
