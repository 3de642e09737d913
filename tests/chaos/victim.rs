//! A database to which everything happens, over many lives of one spool.

use std::collections::BTreeMap;
use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use influx_spool::{
    Config, Database, DatabaseHandle, Event, Fate, Standing, StartError, Stats, StopReport, SyncMode, Told,
    WhenFull,
};

use super::calls::{Calls, Receipt};
use super::load::Load;
use super::mines::Field;
use super::support::ear::Ear;
use super::support::receiver::{Manner, Receiver};
use super::{Counts, LONG, TICK};

/// Senders by HTTP, and by UDP where there are any.
const SENDERS: usize = 2;

/// A stop answers within its deadline, and this is for a busy machine.
const STOP_OVER_MAX: Duration = Duration::from_secs(10);

/// A storm that has not degraded the database by then does not: its life bears more.
const STORM_MAX: Duration = Duration::from_millis(500);

/// Restarts a second that are borne: all there are, or so few that deaths escalate.
const BORNE: [u32; 2] = [1_000_000, 3];

/// How a drill ends an actor.
const WAYS: [&str; 4] = ["panic", "stop", "stick", "kill"];

#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Wire {
    Http,
    Udp,
}

pub(crate) struct Victim {
    name: &'static str,
    wire: Wire,
    file: PathBuf,
    receiver: Receiver,
    ear: Option<Ear>,
    db: DatabaseHandle,
    load: Load,
    field: Field,
    calls: Calls,
    counts: Counts,
    /// What subscribers heard.
    heard: Counts,
    /// The way of the last drill.
    way: Arc<Mutex<&'static str>>,
    sums: Sums,
}

/// Over all lives.
#[derive(Default)]
struct Sums {
    lives: u64,
    restarts: u64,
    failures: u64,
    replayed: u64,
    receipts: u64,
    stop_over: Duration,
    until_well: Duration,
}

impl Victim {
    pub(crate) async fn start(
        name: &'static str,
        wire: Wire,
        folder: &Path,
        counts: Counts,
        random: &mut fastrand::Rng,
    ) -> Self {
        let field = Field::lay(name, &counts);
        let way = Arc::new(Mutex::new(WAYS[0]));
        let (played, count) = (Arc::clone(&way), counts.clone());
        let count_drill = move || count.add(format!("drill: {}", played.lock().unwrap()));
        fail::cfg_callback(format!("{name}/drill::played"), count_drill).unwrap();
        let receiver = Receiver::start();
        let ear = (wire == Wire::Udp).then(Ear::open);
        let file = folder.join(format!("{name}.db"));
        let heard = Counts::default();
        let db = start(name, &file, &receiver, ear.as_ref(), &heard, random).await;
        let load = Load::start(db.clone());
        let (calls, sums) = (Calls::default(), Sums { lives: 1, ..Sums::default() });
        Self { name, wire, file, receiver, ear, db, load, field, calls, counts, heard, way, sums }
    }

    /// One thing more goes wrong, or is asked for.
    pub(crate) async fn suffer(&mut self, random: &mut fastrand::Rng) {
        match random.u8(..100) {
            0..35 => self.field.arm_any(random),
            35..55 => self.drill(random),
            55..80 => {
                let point = self.load.recent(random);
                self.calls.make_any(&self.db, point, &self.counts, random);
            }
            80..87 => self.change_server(random),
            87..93 => self.reconfigure(random).await,
            93..94 => self.storm().await,
            94..96 => self.stop_and_start(random).await,
            _ => {}
        }
    }

    fn drill(&self, random: &mut fastrand::Rng) {
        let wire = if self.wire == Wire::Http { "http" } else { "udp" };
        let actor = match random.u8(..8) {
            0 => "database".to_owned(),
            1 | 2 => "store".to_owned(),
            3 | 4 => "batcher".to_owned(),
            5 => "http-0".to_owned(),
            _ => format!("{wire}-{}", random.usize(..SENDERS)),
        };
        let way = WAYS[random.usize(..WAYS.len())];
        *self.way.lock().unwrap() = way;
        let action = if way == "panic" { "off".to_owned() } else { format!("1*return({way})") };
        fail::cfg(format!("{}/{actor}::drill", self.name), &action).unwrap();
        // There is none while the database is being rebuilt.
        let _ = self.db.drill(&actor);
    }

    fn change_server(&self, random: &mut fastrand::Rng) {
        let what = match random.u8(..8) {
            0 => {
                self.receiver.go_down();
                "down"
            }
            1 => {
                self.receiver.set_manner(Manner::Answer(503, "busy".into()));
                "503"
            }
            2 => {
                self.receiver.set_manner(Manner::HangUp);
                "hangs up"
            }
            3 => {
                self.receiver.set_manner(Manner::AcceptAndHangUp);
                "keeps and hangs up"
            }
            4 => {
                self.receiver.set_manner(Manner::Silence);
                "silent"
            }
            _ => {
                self.make_server_well();
                "well"
            }
        };
        self.counts.add(format!("server {what}"));
    }

    fn make_server_well(&self) {
        self.receiver.set_manner(Manner::Accept);
        self.receiver.come_up_if_down();
    }

    async fn reconfigure(&self, random: &mut fastrand::Rng) {
        let mut config = self.db.config();
        config.batch.points_max = NonZeroUsize::new(random.usize(10..100)).unwrap();
        config.batch.linger = Duration::from_millis(random.u64(0..20));
        config.loss_window = Some(Duration::from_millis(*random.choice([&0, &50, &1_000]).unwrap()));
        self.db.reconfigure(config).await.unwrap();
        self.counts.add("reconfigure");
    }

    /// Nothing starts for a while: that escalates, and degrades the database, if its life does not bear so many deaths.
    /// It accepts points all the time.
    async fn storm(&self) {
        let (begin, pushed) = (Instant::now(), self.load.pushed());
        self.field.forbid("batcher::started");
        *self.way.lock().unwrap() = "panic";
        fail::cfg(format!("{}/batcher::drill", self.name), "off").unwrap();
        let _ = self.db.drill("batcher");
        let mut tick = tokio::time::interval(TICK);
        while !self.db.health().degraded && begin.elapsed() < STORM_MAX {
            tick.tick().await;
        }
        if self.db.health().degraded {
            while self.load.pushed() == pushed && !self.is_full() {
                assert!(begin.elapsed() < LONG, "a degraded database accepts points");
                tick.tick().await;
            }
            self.counts.add("storm until degraded");
        } else {
            self.counts.add("storm borne");
        }
        self.field.disarm();
    }

    fn is_full(&self) -> bool {
        let pending = self.db.stats().pending;
        pending.queued.points + pending.sealed.points + SENDERS as u64 * 100 >= QUEUE_POINTS_MAX as u64
    }

    async fn stop_and_start(&mut self, random: &mut fastrand::Rng) {
        let deadline = Duration::from_millis(*random.choice([&0, &20, &200, &1_000]).unwrap());
        self.stop(deadline).await;
        self.counts.add("stop");
        // What the deadline left undone goes on behind the report.
        assert!(self.db.closed(LONG).await.unwrap(), "{}: everything is stored in the end", self.name);
        self.db = start(self.name, &self.file, &self.receiver, self.ear.as_ref(), &self.heard, random).await;
        self.load.turn_to(self.db.clone());
        self.sums.lives += 1;
        self.counts.add("start");
    }

    async fn stop(&mut self, deadline: Duration) -> StopReport {
        let begin = Instant::now();
        let stopped = tokio::time::timeout(LONG, self.db.stop(deadline)).await;
        let report = stopped.expect("a stop hangs").unwrap();
        if !report.closed && !deadline.is_zero() {
            println!("{}: stop({deadline:?}) left {} unsaved when it answered", self.name, report.unsaved);
        }
        let over = begin.elapsed().saturating_sub(deadline);
        assert!(over < STOP_OVER_MAX, "{}: stop({deadline:?}) took {over:?} more", self.name);
        self.sums.stop_over = self.sums.stop_over.max(over);
        self.sums.failures += report.stats.failures_total;
        self.sums.restarts += report.stats.restarts_total;
        report
    }

    /// Everything is left alone: the database gets well by itself, and all is compared.
    pub(crate) async fn calm(&mut self, random: &mut fastrand::Rng) {
        self.field.disarm();
        self.make_server_well();
        // Points go on coming, also some by HTTP: whether a server is well is known by sending to it.
        let begin = Instant::now();
        let mut tick = tokio::time::interval(TICK);
        while self.wire == Wire::Udp && !self.load.push_by_http() {
            assert!(begin.elapsed() < LONG, "{}: no room: {:?}", self.name, self.db.health());
            tick.tick().await;
        }
        while !self.db.health().ok {
            assert!(begin.elapsed() < LONG, "{}: not well again: {:?}", self.name, self.db.health());
            tick.tick().await;
        }
        self.sums.until_well = self.sums.until_well.max(begin.elapsed());
        let pushed = self.load.pause();
        let stats = self.drain().await;
        self.calls.finish().await;

        assert_eq!(stats.ledger.accepted().points, pushed, "{}: accepted", self.name);
        assert_eq!(went(&stats), pushed, "{}: {:?}", self.name, stats.ledger);
        assert_eq!(stats.ledger.settled_points(), pushed, "{}", self.name);
        let arrivals = self.arrivals();
        let expected = arrivals.first.keys().copied().eq(0..pushed);
        assert!(expected, "{}: {} of {pushed} arrived", self.name, arrivals.first.len());
        for receipt in self.calls.take_receipts() {
            self.sums.receipts += 1;
            check_receipt(receipt, &arrivals.first);
        }
        for _ in 0..20 {
            let Some((number, seq)) = self.load.recent(random) else { break };
            let standing = self.db.persisted(seq).await.unwrap();
            assert!(has_gone(standing), "{}: {number} is {standing:?}", self.name);
        }
        self.load.go_on();
    }

    /// Has everything delivered, what was set aside included: a batch that was in work during two panics.
    async fn drain(&mut self) -> Stats {
        loop {
            let flushed = self.db.flush(LONG).await.unwrap();
            assert!(flushed.complete, "{}: {flushed:?}, {:?}", self.name, self.db.health());
            let stats = self.db.stats();
            if stats.ledger.settled_points() == went(&stats) {
                return stats;
            }
            let replayed = self.db.replay(None, LONG).await.unwrap();
            assert_eq!(replayed.damaged_points, 0, "{}", self.name);
            self.sums.replayed += replayed.batches;
        }
    }

    fn arrivals(&self) -> Arrivals {
        let mut arrivals = Arrivals::default();
        for body in self.receiver.accepted() {
            arrivals.add(&body.text, body.at);
        }
        for (at, datagram) in self.ear.as_ref().map(Ear::heard).unwrap_or_default() {
            arrivals.add(&datagram, at);
        }
        arrivals
    }

    /// The last calm, a clean end, and a look at what the file says.
    pub(crate) async fn end(mut self, random: &mut fastrand::Rng) {
        self.calm(random).await;
        let pushed = self.load.pause();
        let stats = self.drain().await;
        assert_eq!(went(&stats), pushed);
        let report = self.stop(LONG).await;
        assert!(report.drained && report.closed && report.unsaved == 0, "{report:?}");
        let again =
            start(self.name, &self.file, &self.receiver, self.ear.as_ref(), &self.heard, random).await;
        assert_eq!(again.stats().ledger, report.stats.ledger);
        again.stop(LONG).await.unwrap();

        let Arrivals { again, lines_again, .. } = self.arrivals();
        let sums = &self.sums;
        println!(
            "{}: {pushed} points, {} lives, {} restarts, {} requests failed, {} batches replayed, {} receipts true; slowest \
             push {:?}, calls at most {:?} and stops {:?} beyond their deadlines, well again within {:?}; {again} requests \
             sent again, {lines_again} lines",
            self.name,
            sums.lives,
            sums.restarts,
            sums.failures,
            sums.replayed,
            sums.receipts,
            self.load.slowest(),
            self.calls.over(),
            sums.stop_over,
            sums.until_well,
        );
        println!("{}: subscribers heard {:?}", self.name, self.heard.0.lock().unwrap());
        // Each of these may have had a request under way whose answer was never heard.
        let explained = sums.failures + SENDERS as u64 * 2 * (sums.restarts + sums.lives) + sums.replayed;
        if self.wire == Wire::Http {
            assert!(again <= explained, "{again} requests again, {explained} explained");
        }
    }
}

const QUEUE_POINTS_MAX: usize = 20_000;

/// A new life; as soon as the one before has let go of the file.
async fn start(
    name: &str,
    file: &Path,
    receiver: &Receiver,
    ear: Option<&Ear>,
    heard: &Counts,
    random: &mut fastrand::Rng,
) -> DatabaseHandle {
    let borne = BORNE[random.usize(..BORNE.len())];
    fail::cfg("tree::restarts_a_second", &format!("return({borne})")).unwrap();
    let mut builder = Database::builder(name).http(receiver.url()).spool(file);
    builder = builder.sync(if random.bool() { SyncMode::Full } else { SyncMode::Normal });
    if let Some(ear) = ear {
        builder = builder.udp(ear.address());
    }
    let loss_window = Duration::from_millis(*random.choice([&0, &50, &1_000]).unwrap());
    builder = builder.loss_window(loss_window).linger(Duration::from_millis(2)).when_full(WhenFull::Refuse);
    let builder = builder.configure(|config: &mut Config| {
        config.queue.points_max = NonZeroUsize::new(QUEUE_POINTS_MAX).unwrap();
        config.batch.points_max = NonZeroUsize::new(50).unwrap();
        config.http.in_flight = NonZeroUsize::new(SENDERS).unwrap();
        config.http.timeout = Duration::from_millis(300);
        config.http.backoff_max = Duration::from_millis(200);
    });
    let begin = Instant::now();
    let db = loop {
        match builder.clone().start() {
            Ok(db) => break db,
            // The closing of the life before goes on behind its report.
            Err(StartError::Spool(error)) if begin.elapsed() < LONG => {
                assert!(error.to_string().contains("process"), "{error}");
                actix_rt::task::yield_now().await;
            }
            Err(error) => panic!("{error}"),
        }
    };
    let (mut events, heard) = (db.subscribe(), heard.clone());
    actix_rt::spawn(async move {
        while let Some(told) = events.next().await {
            match told {
                Told::Event(Event::Restarted { actor, .. }) => heard.add(format!("restarted {actor}")),
                Told::Event(Event::Degraded) => heard.add("degraded"),
                Told::Event(Event::Recovered) => heard.add("recovered"),
                Told::Event(Event::Quarantined { .. }) => heard.add("quarantined"),
                Told::Event(Event::Losing { .. }) => panic!("points are lost"),
                Told::Event(Event::Stopped) => return,
                Told::Missed(events) => heard.add_many("missed", events),
                _ => {}
            }
        }
    });
    db
}

/// What reached the other ends.
#[derive(Default)]
struct Arrivals {
    first: BTreeMap<u64, Instant>,
    /// Requests that held points which had arrived before, and such points.
    again: u64,
    lines_again: u64,
}

impl Arrivals {
    fn add(&mut self, text: &str, at: Instant) {
        let mut seen = 0_i64;
        for line in text.lines() {
            let number = line.split("n=").nth(1).and_then(|rest| rest.split('i').next()).unwrap();
            let first = self.first.entry(number.parse().unwrap()).or_insert_with(|| {
                seen -= 1;
                at
            });
            *first = at.min(*first);
            seen += 1;
        }
        self.again += u64::from(seen > 0);
        self.lines_again += seen.unsigned_abs();
    }
}

/// What was answered has to have been true when it was.
fn check_receipt(receipt: Receipt, arrivals: &BTreeMap<u64, Instant>) {
    match receipt.standing {
        // That they arrived in the end was looked at.
        // A datagram that was sent lies before its receiver until that one looks.
        Standing::Durable(_) | Standing::Settled(Fate::Quarantined(_) | Fate::Unconfirmed) => {}
        Standing::Settled(Fate::Delivered) => {
            assert!(arrivals[&receipt.number] <= receipt.at, "{receipt:?} before it arrived");
        }
        other => panic!("{} is {other:?}", receipt.number),
    }
}

fn has_gone(standing: Standing) -> bool {
    matches!(standing, Standing::Settled(Fate::Delivered | Fate::Unconfirmed))
}

/// Points that were delivered, or sent without an answer to be had.
fn went(stats: &Stats) -> u64 {
    stats.ledger.of(Fate::Delivered).points + stats.ledger.of(Fate::Unconfirmed).points
}
