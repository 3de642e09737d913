//! The server that dies and comes back: a real influxd, or the receiver of this crate's tests.

#[allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]
#[path = "../../tests/support/http.rs"]
mod http;
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]
#[path = "../../tests/support/influxd.rs"]
mod influxd;
#[allow(dead_code, unreachable_pub, clippy::unwrap_used, clippy::panic)]
#[path = "../../tests/support/receiver.rs"]
mod receiver;

use std::collections::HashSet;

use influxd::Influxd;
use receiver::Receiver;

/// What arrived: distinct points, and the sum of the numbers they carry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Received {
    pub points: u64,
    pub sum: u64,
}

pub(crate) struct Server {
    kind: Kind,
    up: bool,
}

enum Kind {
    Influxd(Box<Influxd>),
    Receiver(Receiver),
}

const DATABASE: &str = "plant";

impl Server {
    /// A running server that has the database `plant`.
    pub(crate) fn start() -> Self {
        let kind = match Influxd::is_installed().then(Influxd::start).flatten() {
            Some(influxd) => {
                influxd.create_database(DATABASE);
                Kind::Influxd(Box::new(influxd))
            }
            None => Kind::Receiver(Receiver::start()),
        };
        Self { kind, up: true }
    }

    pub(crate) fn name(&self) -> &'static str {
        match self.kind {
            Kind::Influxd(_) => "influxd",
            Kind::Receiver(_) => "the embedded receiver",
        }
    }

    pub(crate) fn url(&self) -> String {
        match &self.kind {
            Kind::Influxd(influxd) => influxd.url(),
            Kind::Receiver(receiver) => receiver.url(),
        }
    }

    pub(crate) fn is_up(&self) -> bool {
        self.up
    }

    /// Ends it at once, requests under way and all: influxd by SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.up = false;
        match &mut self.kind {
            Kind::Influxd(influxd) => influxd.kill(),
            Kind::Receiver(receiver) => receiver.go_down(),
        }
    }

    /// Starts it again, with what it had.
    pub(crate) fn start_again(&mut self) {
        match &mut self.kind {
            Kind::Influxd(influxd) => influxd.restart(),
            Kind::Receiver(receiver) => receiver.come_up(),
        }
        self.up = true;
    }

    /// What it has, by its own count.
    pub(crate) fn count(&self) -> Received {
        match &self.kind {
            Kind::Influxd(influxd) => count_by_query(influxd),
            Kind::Receiver(receiver) => count_lines(&receiver.lines()),
        }
    }
}

fn count_by_query(influxd: &Influxd) -> Received {
    let answer = influxd.query(DATABASE, "SELECT count(n), sum(n) FROM stroke");
    let row = &answer["results"][0]["series"][0]["values"][0];
    Received { points: row[1].as_u64().unwrap_or(0), sum: row[2].as_u64().unwrap_or(0) }
}

/// Counts each number once, since a batch whose answer got lost is sent again, and influxd, too, keeps it once.
fn count_lines(lines: &[String]) -> Received {
    let number = |line: &String| line.split("n=").nth(1)?.split('i').next()?.parse::<u64>().ok();
    let numbers: HashSet<u64> = lines.iter().filter_map(number).collect();
    Received { points: numbers.len() as u64, sum: numbers.iter().sum() }
}
