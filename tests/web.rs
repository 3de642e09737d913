//! The ready-made routes, through an actix-web application.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use actix_web::http::StatusCode;
use actix_web::{App, test, web};
use influx_spool::{Database, DatabaseHandle, Point, Standing};
use serde_json::Value;
use support::receiver::Receiver;

const LONG: Duration = Duration::from_secs(30);

fn start(name: &str, receiver: &Receiver) -> DatabaseHandle {
    Database::builder(name)
        .http(receiver.url())
        .configure(|config| config.http.backoff_max = Duration::from_millis(200))
        .start()
        .unwrap()
}

/// Asks an application that has the routes of this database, once at its root and once in a scope.
async fn ask(plant: &DatabaseHandle, path: &str) -> (StatusCode, Value) {
    let scope = web::scope("/plant").configure(influx_spool::web::routes(plant));
    let app = App::new().service(scope).configure(influx_spool::web::routes(plant));
    let app = test::init_service(app).await;
    let response = test::call_service(&app, test::TestRequest::get().uri(path).to_request()).await;
    let status = response.status();
    (status, test::read_body_json(response).await)
}

#[actix_web::test]
async fn stats_are_served_and_add_up() {
    let receiver = Receiver::start();
    let plant = start("web-stats", &receiver);
    let seq = plant.push(Point::new("m").field("n", 1)).unwrap();
    assert!(matches!(plant.delivered(seq).await, Ok(Standing::Settled(_))));
    let (status, stats) = ask(&plant, "/stats").await;
    assert_eq!(status, StatusCode::OK);
    assert_eq!(stats["ledger"]["accepted"]["points"], 1);
    assert_eq!(stats["ledger"]["delivered"]["points"], 1);
    assert_eq!(stats["pending"]["points"], 0);
    plant.stop(LONG).await.unwrap();
}

#[actix_web::test]
async fn health_is_503_in_an_outage_and_200_after_it() {
    let receiver = Receiver::start_down();
    let plant = start("web-health", &receiver);
    let mut events = plant.subscribe();
    let (status, health) = ask(&plant, "/plant/health").await;
    assert_eq!((status, &health["ok"]), (StatusCode::OK, &Value::Bool(true)), "nothing was tried yet");

    plant.push(Point::new("m").field("n", 1)).unwrap();
    events.next().await.expect("the link goes down");
    let (status, health) = ask(&plant, "/plant/health").await;
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    assert_eq!(health["link"][0], "unreachable");

    receiver.come_up();
    assert!(plant.flush(LONG).await.unwrap().complete);
    assert_eq!(ask(&plant, "/plant/health").await.0, StatusCode::OK);
    plant.stop(LONG).await.unwrap();
}

#[actix_web::test]
async fn a_stopped_database_still_answers() {
    let receiver = Receiver::start();
    let plant = start("web-stopped", &receiver);
    plant.stop(LONG).await.unwrap();
    let (status, health) = ask(&plant, "/health").await;
    assert_eq!((status, &health["stopped"]), (StatusCode::SERVICE_UNAVAILABLE, &Value::Bool(true)));
    assert_eq!(ask(&plant, "/stats").await.0, StatusCode::OK);
}
