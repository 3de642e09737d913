//! Saying what happened: to the log, one line a change, and to subscribers.

use std::sync::{Mutex, PoisonError};
use std::time::Instant;

use super::shared::Shared;
use crate::log;
use crate::machines::link::LinkNews;
use crate::machines::transit::{News, Outbox};
use crate::values::health::Event;

/// Says something at most once a minute, and how often it was not said.
#[derive(Debug, Default)]
pub(super) struct OncePerMinute(Mutex<(Option<Instant>, u64)>);

impl OncePerMinute {
    /// How often it was held back since it was last said, if it is to be said now.
    fn tell(&self, now: Instant) -> Option<u64> {
        let mut told = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if told.0.is_some_and(|at| now.saturating_duration_since(at) < std::time::Duration::from_secs(60)) {
            told.1 += 1;
            return None;
        }
        told.0 = Some(now);
        Some(std::mem::take(&mut told.1))
    }
}

impl Shared {
    /// Says what happened: to the log, one line a change, and to subscribers.
    pub(super) fn dispatch(&self, outbox: Outbox) {
        for news in outbox.news {
            self.announce(news);
        }
        outbox.answers.send();
    }

    fn announce(&self, news: News) {
        let database = &*self.name;
        match news {
            News::Link(wire, LinkNews::Down { kind, words }) => {
                log::warn!(database, ?wire, ?kind, error = words, "the server takes no points, will retry");
                self.tell(Event::LinkDown { kind, words });
            }
            News::Link(wire, LinkNews::StillDown { kind, words, failures, for_ }) => {
                let seconds = for_.as_secs();
                log::warn!(
                    database,
                    ?wire,
                    ?kind,
                    error = words,
                    failures,
                    seconds,
                    "the server still takes no points"
                );
            }
            News::Link(wire, LinkNews::Up { failures, after }) => {
                log::info!(
                    database,
                    ?wire,
                    failures,
                    seconds = after.as_secs_f32(),
                    "the server takes points again"
                );
                self.tell(Event::LinkUp { failures, after });
            }
            News::Quarantined { seqs, reason, status, words } => {
                let (first, points) = (seqs.first, seqs.points());
                if let Some(held_back) = self.set_aside.tell(Instant::now()) {
                    log::error!(
                        database,
                        first,
                        points,
                        ?reason,
                        status,
                        error = words,
                        held_back,
                        "batch set aside"
                    );
                }
                self.tell(Event::Quarantined { seqs, reason, status, words });
            }
            News::Losing => self.database.ring(),
            News::SpoolRoom(withheld) => {
                let health = self.spool_health(withheld);
                match withheld {
                    Some(_) => log::error!(database, state = ?health, "the spool takes no more"),
                    None => log::info!(database, "the spool takes batches again"),
                }
                self.tell(Event::Spool(health));
            }
        }
    }
}
