//! Ten lines: `cargo run --release --example quickstart`, with an InfluxDB 1.x on localhost.

use std::time::Duration;

use influx_spool::{Database, Point};

#[actix_rt::main]
async fn main() -> anyhow::Result<()> {
    let url = std::env::args().nth(1).unwrap_or_else(|| "http://localhost:8086".into());
    let plant = Database::builder("plant").http(url).spool("plant.db").start()?;
    let seq = plant.push(Point::new("cpu").tag("host", "a").field("usage", 0.5))?;
    println!("point {seq}: {:?}", plant.delivered(seq).await?);
    let report = plant.stop(Duration::from_secs(5)).await?;
    println!("delivered {}", report.stats.ledger.of(influx_spool::Fate::Delivered).points);
    Ok(())
}
