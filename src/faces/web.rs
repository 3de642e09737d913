//! Ready-made actix-web routes: how a database is doing, and what it counts. With the feature `web`.

use actix_web::http::StatusCode;
use actix_web::web::{ServiceConfig, get};
use actix_web::{HttpResponse, HttpResponseBuilder};

use super::handle::DatabaseHandle;

/// `GET /health` and `GET /stats` for one database, to be put into an `App` or one of its scopes.
///
/// | route | status | JSON |
/// |---|---|---|
/// | `/health` | 200 while [`Health::ok`](crate::Health::ok), else 503 | [`Health`](crate::Health) |
/// | `/stats` | 200 | [`Stats`](crate::Stats) |
///
/// Both answer at once, from counters, whatever the database is doing; also when it is stopped. A 503 calls for a
/// person, not for a restart: an outage of the server is one, and points are kept through it. So these are routes for
/// what watches, not for what restarts.
///
/// ```
/// use actix_web::{App, test, web};
/// use influx_spool::Database;
/// # actix_rt::System::new().block_on(async {
/// let plant = Database::builder("web-example").start()?;
/// let app = App::new().service(web::scope("/plant").configure(influx_spool::web::routes(&plant)));
/// let app = test::init_service(app).await;
/// let request = test::TestRequest::get().uri("/plant/stats").to_request();
/// let stats: serde_json::Value = test::call_and_read_body_json(&app, request).await;
/// assert_eq!(stats["pending"]["points"], 0);
/// # Ok::<(), influx_spool::StartError>(())
/// # }).unwrap();
/// ```
pub fn routes(database: &DatabaseHandle) -> impl FnOnce(&mut ServiceConfig) + use<> {
    let (health, stats) = (database.clone(), database.clone());
    move |config| {
        config
            .route("/health", get().to(move || std::future::ready(health_of(&health))))
            .route("/stats", get().to(move || std::future::ready(HttpResponse::Ok().json(stats.stats()))));
    }
}

fn health_of(database: &DatabaseHandle) -> HttpResponse {
    let health = database.health();
    let status = if health.ok { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
    HttpResponseBuilder::new(status).json(health)
}
