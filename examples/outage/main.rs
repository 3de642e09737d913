//! The main job, to watch: an actix application pushes a steady stream, its InfluxDB dies and comes back, actors panic
//! on the way, and at the end every point is accounted for by the one who received them.
//!
//! `cargo run --release --example outage`: some fifteen seconds. With an `influxd` 1.x on the path it is that one
//! which is killed and restarted, otherwise a small server of the example's own. Exit code 1 if a point is missing.

mod press;
mod screen;
mod server;

use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use influx_spool::{ChildSpec, Database, DatabaseHandle, Event, Stats, Supervisor, SupervisorEvent, Told};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep_until};

use press::{Misfire, Press, Switch};
use screen::{Screen, grouped};
use server::Server;

/// What happens, and when: seconds from the start.
const SCRIPT: [(f32, Act); 7] = [
    (3.0, Act::KillServer),
    (4.5, Act::Panic("store")),
    (6.0, Act::PanicPress),
    (7.5, Act::Panic("batcher")),
    (9.0, Act::StartServer),
    (9.6, Act::Panic("http-0")),
    (13.0, Act::StopPress),
];

/// The longest pause between two attempts to reach the server. The default, a minute, is right for a fleet and too long
/// to watch.
const BACKOFF_MAX: Duration = Duration::from_secs(1);

/// How long the rest may take to arrive once nothing more is pushed.
const DRAINED_WITHIN: Duration = Duration::from_secs(120);

/// How often the bar is drawn.
const FRAME: Duration = Duration::from_millis(100);

#[derive(Clone, Copy)]
enum Act {
    KillServer,
    StartServer,
    Panic(&'static str),
    PanicPress,
    StopPress,
}

#[actix_rt::main]
async fn main() -> Result<ExitCode> {
    let folder = tempfile::tempdir().context("make a temporary folder")?;
    let mut server = Server::start();
    let plant = Database::builder("plant")
        .http(server.url())
        .spool(folder.path().join("plant.db"))
        .configure(|config| config.http.backoff_max = BACKOFF_MAX)
        .start()?;
    let mut screen = Screen::new();
    screen.title(&server, press::POINTS_PER_SECOND);

    // The application's own actor has a supervisor of the same kind as the database's.
    let switch = Arc::new(Switch::default());
    let (tells, mut hall_events) = tokio::sync::mpsc::unbounded_channel();
    let mut hall = Supervisor::builder("hall").on_event(move |event| _ = tells.send(event.clone()));
    let (database, shared) = (plant.clone(), Arc::clone(&switch));
    let press =
        hall.child(ChildSpec::new("press", move |_| Press::new(database.clone(), Arc::clone(&shared))));
    let hall = hall.start();

    let mut events = plant.subscribe();
    let started = Instant::now();
    let mut frames = interval(FRAME);
    frames.set_missed_tick_behavior(MissedTickBehavior::Skip);
    for (second, act) in SCRIPT {
        let due = sleep_until(started + Duration::from_secs_f32(second));
        tokio::pin!(due);
        loop {
            tokio::select! {
                () = &mut due => break,
                Some(told) = events.next() => tell(&mut screen, &told),
                Some(event) = hall_events.recv() => tell_of_hall(&mut screen, &event),
                _ = frames.tick() => screen.draw(&plant.stats(), server.is_up()),
            }
        }
        match act {
            Act::KillServer => {
                screen.say(&format!("{} is killed", server.name()));
                server.kill();
            }
            Act::StartServer => {
                server.start_again();
                screen.say(&format!("{} is started again", server.name()));
            }
            Act::Panic(actor) => {
                screen.say(&format!("the database's {actor} is made to panic"));
                ensure!(plant.drill(actor), "there is no actor {actor}");
            }
            Act::PanicPress => {
                screen.say("the application's own actor is made to panic");
                press.do_send(Misfire);
            }
            Act::StopPress => {
                screen.say("nothing more is pushed; the rest is delivered");
                hall.stop(Duration::from_secs(1)).await;
            }
        }
    }
    let flushed = watch_the_rest(&plant, &server, &mut screen).await?;
    let report = plant.stop(Duration::from_secs(5)).await?;
    let pushed = switch.accepted.load(Ordering::Relaxed);
    Ok(account(&screen, &server, pushed, flushed && report.closed, &report.stats))
}

/// Draws until everything has its fate.
async fn watch_the_rest(plant: &DatabaseHandle, server: &Server, screen: &mut Screen) -> Result<bool> {
    let flush = plant.flush(DRAINED_WITHIN);
    tokio::pin!(flush);
    let mut frames = interval(FRAME);
    loop {
        tokio::select! {
            report = &mut flush => {
                screen.draw(&plant.stats(), server.is_up());
                return Ok(report?.complete);
            }
            _ = frames.tick() => screen.draw(&plant.stats(), server.is_up()),
        }
    }
}

/// What the database itself says.
fn tell(screen: &mut Screen, told: &Told) {
    let Told::Event(event) = told else { return };
    match event {
        Event::LinkDown { kind, .. } => {
            screen.hear("plant", &format!("the server takes no points ({kind:?})"))
        }
        Event::LinkUp { after, failures } => screen.hear(
            "plant",
            &format!(
                "the server takes points again, after {:.1} s and {failures} attempts",
                after.as_secs_f32()
            ),
        ),
        Event::Restarted { actor, exit } => screen.hear("plant", &format!("{actor} restarted: {exit}")),
        other => screen.hear("plant", &format!("{other:?}")),
    }
}

/// What the application's supervisor says.
fn tell_of_hall(screen: &mut Screen, event: &SupervisorEvent) {
    if let SupervisorEvent::ChildExited { child, exit, delay: Some(delay) } = event {
        screen.hear("hall", &format!("{child} {exit}, restarts in {} ms", delay.as_millis()));
    }
}

/// The reckoning: what was pushed against what the server has.
fn account(screen: &Screen, server: &Server, pushed: u64, ended_well: bool, stats: &Stats) -> ExitCode {
    let received = server.count();
    let lost = pushed.saturating_sub(received.points);
    let right = received == press::expected(pushed);
    screen.end();
    println!("  pushed by the application   {:>9}", grouped(pushed));
    println!("  counted by the receiver     {:>9}   sum of their numbers {}", grouped(received.points), {
        if right { "right" } else { "WRONG" }
    });
    println!("  lost                        {:>9}", grouped(lost));
    println!();
    println!(
        "  the database's own ledger: {} accepted, {} delivered, {} pending, {} refused",
        grouped(stats.ledger.accepted().points),
        grouped(stats.ledger.of(influx_spool::Fate::Delivered).points),
        grouped(stats.pending.points),
        grouped(stats.refused_total),
    );
    println!(
        "  {} restarts of actors, {} of {} requests failed, {} batches went through the spool",
        stats.restarts_total,
        stats.failures_total,
        grouped(stats.requests_total),
        grouped(stats.rows_stored_total),
    );
    if right && ended_well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
