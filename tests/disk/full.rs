//! A disk that another program fills to its last page.

use std::time::Duration;

use influx_spool::{Database, DatabaseHandle, Fate, SpoolErrorKind, StartError};

use super::support::receiver::Receiver;
use super::support::small_disk::SmallDisk;
use super::{LONG, builder, check_arrived_once, push_numbers, run};

/// A database on a small disk that others leave nothing of.
fn start(disk: &SmallDisk, receiver: &Receiver) -> DatabaseHandle {
    let db = builder(disk, receiver)
        .configure(|config| config.spool.as_mut().unwrap().free_reserve_bytes = 2 << 20)
        .configure(|config| config.batch.points_max = 500.try_into().unwrap());
    db.start().unwrap()
}

/// What a spool keeps at the most of a disk of 24 MiB with nothing in it: an eighth for the next batches, a slice of 4 MiB that is not
/// worth a copy of the log, and the ballast.
const KEPT_BYTES: u64 = 8 << 20;

/// What the spool takes up, ballast and all.
fn bytes(disk: &SmallDisk) -> u64 {
    let part = |part: &str| std::fs::metadata(disk.folder().join(format!("disk.db{part}")));
    ["", "-wal", ".ballast"].map(|name| part(name).map_or(0, |metadata| metadata.len())).iter().sum()
}

#[test]
fn what_is_delivered_on_a_disk_that_others_filled_is_not_sent_again() {
    for left in [0, 24 << 10] {
        let Some(disk) = SmallDisk::of(24) else { return };
        run(async {
            let receiver = Receiver::start_down();
            let db = start(&disk, &receiver);
            push_numbers(&db, 0..6_000);
            db.commit(LONG).await.unwrap();
            let others = disk.fill_but(left);

            receiver.come_up();
            assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
            push_numbers(&db, 6_000..6_100);
            assert!(db.flush(LONG).await.unwrap().complete);
            let report = db.stop(LONG).await.unwrap();
            assert!(report.closed && report.drained, "{report:?}");
            assert_eq!((report.unsaved, report.unrecorded), (0, 0), "{:?}", report.stats);

            let db = start(&disk, &receiver);
            let stats = db.stats();
            assert_eq!((stats.pending.points, stats.unclean_ends_total), (0, 0));
            assert_eq!(stats.ledger.of(Fate::Delivered).points, 6_100);
            push_numbers(&db, 6_100..6_200);
            assert!(db.flush(LONG).await.unwrap().complete);
            let report = db.stop(LONG).await.unwrap();
            assert!(report.closed && report.unrecorded == 0, "{report:?}");
            check_arrived_once(&receiver, 6_200);
            assert!(bytes(&disk) <= KEPT_BYTES, "{} bytes", bytes(&disk));
            println!(
                "{left} bytes left: {} bytes of {} were others'",
                others.metadata().unwrap().len(),
                24 << 20
            );
        });
    }
}

/// There is no later at a stop: the server is all that can keep it.
#[test]
fn what_is_to_be_stored_first_and_finds_no_room_is_sent_at_a_stop() {
    let Some(disk) = SmallDisk::of(24) else { return };
    run(async {
        let receiver = Receiver::start();
        let durable = || {
            builder(&disk, &receiver)
                .configure(|config| config.spool.as_mut().unwrap().free_reserve_bytes = 2 << 20)
                .loss_window(Duration::ZERO)
        };
        let db = durable().start().unwrap();
        push_numbers(&db, 0..1_000);
        assert!(db.flush(LONG).await.unwrap().complete);
        let _others = disk.fill_but(0);
        push_numbers(&db, 1_000..3_000);
        let report = db.stop(LONG).await.unwrap();
        assert!(report.drained && report.closed, "{report:?}");
        assert_eq!((report.unsaved, report.unrecorded), (0, 0), "{report:?}");
        let stats = durable().start().unwrap().stats();
        assert_eq!(stats.ledger.of(Fate::Delivered).points, 3_000);
        assert_eq!((stats.pending.points, stats.unclean_ends_total), (0, 0));
        check_arrived_once(&receiver, 3_000);
    });
}

#[test]
fn what_lies_on_a_full_disk_is_sent_once_though_the_process_is_stopped_again_and_again() {
    let Some(disk) = SmallDisk::of(24) else { return };
    run(async {
        let receiver = Receiver::start_down();
        let db = start(&disk, &receiver);
        push_numbers(&db, 0..6_000);
        db.stop(Duration::from_millis(100)).await.unwrap();
        let _others = disk.fill_but(0);
        for life in 0..6 {
            let db = start(&disk, &receiver);
            if life == 3 {
                receiver.come_up();
            }
            let _complete = db.flush(Duration::from_millis(20)).await.unwrap();
            let report = db.stop(LONG / 20).await.unwrap();
            assert!(report.closed && report.unrecorded == 0, "life {life}: {report:?}");
        }
        let db = start(&disk, &receiver);
        assert!(db.flush(LONG).await.unwrap().complete);
        let stats = db.stop(LONG).await.unwrap().stats;
        assert_eq!(stats.ledger.of(Fate::Delivered).points, 6_000);
        check_arrived_once(&receiver, 6_000);
    });
}

#[test]
fn a_start_on_a_full_disk_says_where_there_is_how_much_room() {
    let Some(disk) = SmallDisk::mount() else { return };
    run(async {
        let receiver = Receiver::start();
        let others = disk.fill_but(8_192);
        let error = builder(&disk, &receiver).start().unwrap_err();
        let told = error.to_string();
        assert!(told.contains(&format!(" bytes are free in {}", disk.folder().display())), "{told}");
        assert!(
            matches!(&error, StartError::Spool(error) if error.kind() == SpoolErrorKind::DiskFull),
            "{told}"
        );
        println!("{told}");
        others.set_len(0).unwrap();
        builder(&disk, &receiver).start().unwrap().stop(LONG).await.unwrap();
    });
}

/// What a stop would lose it stores in the reserve, too, but for what the next opening needs.
#[test]
fn stops_use_up_a_disk_but_for_what_the_next_opening_needs() {
    let Some(disk) = SmallDisk::of(12) else { return };
    run(async {
        let receiver = Receiver::start_down();
        for life in 0..12 {
            let db = Database::builder("disk").http(receiver.url()).spool(disk.folder().join("disk.db"));
            let db = db.gzip(false).loss_window(Duration::ZERO).configure(|config| {
                config.spool.as_mut().unwrap().free_reserve_bytes = 500_000;
                config.batch.points_max = 100.try_into().unwrap();
                config.queue.bytes_max = (4 << 20).try_into().unwrap();
            });
            let db = db.start().unwrap();
            push_numbers(&db, 0..1_500);
            let _stored = db.commit(Duration::from_millis(100)).await;
            let report = db.stop(Duration::from_secs(1)).await.unwrap();
            // Some of them do not come to their end by the deadline.
            db.closed(LONG).await.unwrap();
            println!("life {life}: {} bytes free, {} points not stored", disk.free(), report.unsaved);
            assert!(disk.free() >= 512 << 10, "life {life}");
        }
        let _others = disk.fill_but(0);
        receiver.come_up();
        let db = start(&disk, &receiver);
        assert!(db.flush(LONG).await.unwrap().complete, "{:?}", db.health());
        let report = db.stop(LONG).await.unwrap();
        assert!(report.closed && report.unrecorded == 0, "{report:?}");
        assert!(bytes(&disk) <= KEPT_BYTES, "{} bytes", bytes(&disk));
    });
}
