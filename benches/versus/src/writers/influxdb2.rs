//! Crate `influxdb2`: points are built, written into a body, and posted.
//!
//! Its `write` takes a stream of points and sends each as a chunk of its own; a body written beforehand, for
//! `write_line_protocol`, costs it less. Several tasks build and post at once, so that a core is never idle. It has no buffer
//! and no retries. Its gzip, at the highest level always, would cost it several times as much again.

use std::ops::Range;
use std::sync::Arc;

use anyhow::Result;
use influxdb2::Client;
use influxdb2::models::{DataPoint, WriteDataPoint};
use serde::{Deserialize, Serialize};

use super::{Load, batches};
use crate::figures::{Figures, measured};
use crate::lines::{Mix, Shape, timestamp, values};
use crate::sink::Sink;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    /// Its producers are tasks.
    pub load: Load,
    pub batch_points: u64,
}

impl Run {
    pub fn run(&self, sink: &Sink) -> Result<Figures> {
        let shapes = Arc::new(self.load.mix.shapes());
        measured(self.load.points, || {
            let client = Client::new(sink.url(), "versus", "token");
            let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
            runtime.block_on(async {
                let (mix, points) = (self.load.mix, self.batch_points);
                let spawn =
                    |share| tokio::spawn(produce(client.clone(), Arc::clone(&shapes), mix, share, points));
                let tasks: Vec<_> = self.load.shares().map(spawn).collect();
                for task in tasks {
                    task.await??;
                }
                Ok(())
            })
        })
    }
}

async fn produce(
    client: Client,
    shapes: Arc<Vec<Shape>>,
    mix: Mix,
    share: Range<u64>,
    points: u64,
) -> Result<()> {
    let mut body = Vec::new();
    for batch in batches(share, points) {
        for n in batch {
            point(&shapes[n as usize % shapes.len()], mix, n)?.write_data_point_to(&mut body)?;
        }
        let capacity = body.len();
        client.write_line_protocol("versus", "versus", std::mem::take(&mut body)).await?;
        body.reserve(capacity);
    }
    Ok(())
}

fn point(shape: &Shape, mix: Mix, n: u64) -> Result<DataPoint> {
    let (float, integer, boolean, text) = values(mix, shape, n);
    let [a, b, c, d] = shape.fields;
    let point = DataPoint::builder(shape.measurement);
    let point = shape.tags.iter().fold(point, |point, (key, value)| point.tag(*key, value));
    let point = point.field(a, float).field(b, integer).field(c, boolean).field(d, text);
    Ok(point.timestamp(timestamp(n)).build()?)
}
