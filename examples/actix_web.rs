//! A web service whose handlers push: `cargo run --release --example actix_web --features web`.
//!
//! ```text
//! curl -d '{"usage": 0.5}' localhost:8080/machines/a     202, and the point is on its way
//! curl localhost:8080/health                             200, or 503 and what is amiss
//! curl localhost:8080/stats                              every counter
//! ```
//!
//! It starts, and answers, whether there is an InfluxDB or not; `INFLUXDB_URL` says where. On SIGINT or SIGTERM it
//! finishes its requests, then delivers what it can and leaves the rest in the spool for its next start.

use std::time::Duration;

use actix_web::web::{Data, Json, Path};
use actix_web::{App, HttpResponse, HttpServer, post};
use influx_spool::{Database, DatabaseHandle, Point, PushReason};
use serde::Deserialize;

/// How long the end may take: what is not delivered by then waits in the spool.
const STOP_WITHIN: Duration = Duration::from_secs(10);

#[derive(Deserialize)]
struct Reading {
    usage: f64,
}

/// Takes a reading. No handler waits for InfluxDB: pushing is a matter of microseconds.
#[post("/machines/{name}")]
async fn machine(name: Path<String>, reading: Json<Reading>, plant: Data<DatabaseHandle>) -> HttpResponse {
    let point = Point::new("cpu").tag("host", name.into_inner()).field("usage", reading.usage);
    match plant.push(point).map_err(|error| error.reason) {
        Ok(seq) => HttpResponse::Accepted().json(seq.number()),
        Err(reason @ PushReason::Unwritable(_)) => HttpResponse::BadRequest().body(reason.to_string()),
        Err(reason) => HttpResponse::ServiceUnavailable().body(reason.to_string()),
    }
}

#[actix_web::main]
async fn main() -> anyhow::Result<()> {
    tracing_subscriber::fmt().with_env_filter("info").init();
    let url = std::env::var("INFLUXDB_URL").unwrap_or_else(|_| "http://localhost:8086".into());
    let plant = Database::builder("plant").http(url).spool("plant.db").start()?;

    let served = plant.clone();
    let server = HttpServer::new(move || {
        App::new()
            .app_data(Data::new(served.clone()))
            .service(machine)
            .configure(influx_spool::web::routes(&served))
    });
    server.bind(("127.0.0.1", 8080))?.run().await?;

    // The last request has been answered: nothing is pushed any more.
    let report = plant.stop(STOP_WITHIN).await?;
    println!("{} points are left in the spool", report.stats.pending.points);
    Ok(())
}
