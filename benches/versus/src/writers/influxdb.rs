//! Crate `influxdb`: points are built as queries, and posted many at a time.
//!
//! Several tasks build and post at once, so that a core is never idle. It has no buffer, no retries and no gzip for what
//! it sends.
//!
//! It shares reqwest with influx-spool, which has it built for TLS without a cryptographic provider of its own. reqwest then makes no
//! client, not even for plain HTTP, before the process has one.

use std::ops::Range;
use std::sync::Arc;

use anyhow::{Result, anyhow};
use influxdb::{Client, Timestamp, WriteQuery};
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
        // Fails where one is installed already, which is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        measured(self.load.points, || {
            let client = Client::new(sink.url(), "versus");
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
    for batch in batches(share, points) {
        let batch: Vec<WriteQuery> =
            batch.map(|n| point(&shapes[n as usize % shapes.len()], mix, n)).collect();
        client.query(batch).await.map_err(|error| anyhow!("write: {error}"))?;
    }
    Ok(())
}

fn point(shape: &Shape, mix: Mix, n: u64) -> WriteQuery {
    let (float, integer, boolean, text) = values(mix, shape, n);
    let [a, b, c, d] = shape.fields;
    let point = WriteQuery::new(Timestamp::Nanoseconds(timestamp(n) as u128), shape.measurement);
    let point = shape.tags.iter().fold(point, |point, (key, value)| point.add_tag(*key, value.as_str()));
    point.add_field(a, float).add_field(b, integer).add_field(c, boolean).add_field(d, text)
}
