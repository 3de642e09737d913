//! Crate `questdb-rs`: its `Sender` over HTTP.
//!
//! Protocol version 1, whose lines InfluxDB understands (version 2 writes floats in binary), and which saves it asking the server
//! for its version. It has no gzip, and no buffer beside the one it writes: a producer waits while its batch is sent.

use anyhow::Result;
use questdb::ingress::{Buffer, ColumnName, ProtocolVersion, Sender, TableName, TimestampNanos};
use serde::{Deserialize, Serialize};

use super::{Load, batches};
use crate::figures::{Figures, measured};
use crate::lines::{Shape, Values, timestamp, values};
use crate::sink::Sink;

#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Run {
    pub load: Load,
    pub batch_points: u64,
}

/// Names that were checked once, as its documentation advises for speed.
pub struct Row<'a> {
    shape: &'a Shape,
    table: TableName<'a>,
    symbols: [ColumnName<'a>; 4],
    columns: [ColumnName<'a>; 4],
}

impl Run {
    pub fn run(&self, sink: &Sink) -> Result<Figures> {
        measured(self.load.points, || {
            self.load.produce(|share| {
                let shapes = self.load.mix.shapes();
                let rows = shapes.iter().map(Row::new).collect::<Result<Vec<_>>>()?;
                let mut sender =
                    Sender::from_conf(format!("http::addr={};protocol_version=1;", sink.address()))?;
                let mut buffer = Buffer::new(ProtocolVersion::V1);
                for batch in batches(share, self.batch_points) {
                    for n in batch {
                        let row = &rows[n as usize % rows.len()];
                        row.write(&mut buffer, values(self.load.mix, row.shape, n), timestamp(n))?;
                    }
                    sender.flush(&mut buffer)?;
                }
                Ok(())
            })
        })
    }
}

impl<'a> Row<'a> {
    pub fn new(shape: &'a Shape) -> Result<Self> {
        let [a, b, c, d] = &shape.tags;
        let column = |name| ColumnName::new(name);
        let [e, f, g, h] = shape.fields;
        Ok(Self {
            shape,
            table: TableName::new(shape.measurement)?,
            symbols: [column(a.0)?, column(b.0)?, column(c.0)?, column(d.0)?],
            columns: [column(e)?, column(f)?, column(g)?, column(h)?],
        })
    }

    pub fn write(&self, buffer: &mut Buffer, values: Values, time: i64) -> Result<()> {
        let (float, integer, boolean, text) = values;
        buffer.table(self.table)?;
        for (name, (_, value)) in self.symbols.iter().zip(&self.shape.tags) {
            buffer.symbol(*name, value)?;
        }
        let [a, b, c, d] = self.columns;
        buffer
            .column_f64(a, float)?
            .column_i64(b, integer)?
            .column_bool(c, boolean)?
            .column_str(d, text)?
            .at(TimestampNanos::new(time))?;
        Ok(())
    }
}
