//! Named places in the databases where something goes off once when it is armed.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::Counts;

/// Where: on the arbiters, ...
const ON_ACTORS: [&str; 20] = [
    "batcher::drained",
    "batcher::started",
    "batcher::stopping",
    "database::started",
    "database::starting_children",
    "sender::acked",
    "sender::answered",
    "sender::leased",
    "sender::started",
    "sender::stopping",
    "store::came_home",
    "store::started",
    "store::stopping",
    "supervision::turn",
    "udp_sender::leased",
    "udp_sender::sent",
    "udp_sender::started",
    "udp_sender::stopping",
    "http-1::started",
    "udp-0::started",
];

/// ... and on the lanes of workers.
const ON_LANES: [&str; 10] = [
    "batcher::seal",
    "batcher::sealed",
    "store::after_commit",
    "store::before_commit",
    "store::before_read",
    "store::before_tidying",
    "store::reopened",
    "store::reopening",
    "stop::closing",
    "stop::stored",
];

#[derive(Clone, Copy, Debug)]
enum Charge {
    Panic,
    Hang(Duration),
    /// A panic every time, until it is taken away.
    Always,
}

struct Mine {
    name: &'static str,
    place: String,
    on_lane: bool,
    charge: Arc<Mutex<Option<Charge>>>,
}

/// All mines of one database.
pub(crate) struct Field(Vec<Mine>);

impl Field {
    pub(crate) fn lay(database: &str, counts: &Counts) -> Self {
        let on_actors = ON_ACTORS.map(|name| (database.to_owned(), name, false));
        let on_lanes = ON_LANES.map(|name| (database.to_owned(), name, true));
        let in_file = (format!("{database}.db"), "spool::in_transaction", true);
        let lay = |(owner, name, on_lane): (String, &'static str, bool)| {
            let place = format!("{owner}/{name}");
            let charge = Arc::<Mutex<Option<Charge>>>::default();
            let (armed, counts) = (Arc::clone(&charge), counts.clone());
            fail::cfg_callback(place.clone(), move || go_off(&armed, name, &counts)).unwrap();
            Mine { name, place, on_lane, charge }
        };
        Self(on_actors.into_iter().chain(on_lanes).chain([in_file]).map(lay).collect())
    }

    /// Arms one of them, for a panic or for a hang.
    pub(crate) fn arm_any(&self, random: &mut fastrand::Rng) {
        let mine = &self.0[random.usize(..self.0.len())];
        // An arbiter is shared with the bystander: what blocks it is short.
        let hang_max = if mine.on_lane { 50 } else { 10 };
        let is_hang = random.u8(..4) == 0;
        let hang = Charge::Hang(Duration::from_millis(random.u64(1..=hang_max)));
        *mine.charge.lock().unwrap() = Some(if is_hang { hang } else { Charge::Panic });
    }

    /// From now on nothing of this name starts.
    pub(crate) fn forbid(&self, name: &str) {
        let mine = self.0.iter().find(|mine| mine.name == name).unwrap();
        *mine.charge.lock().unwrap() = Some(Charge::Always);
    }

    pub(crate) fn disarm(&self) {
        self.0.iter().for_each(|mine| *mine.charge.lock().unwrap() = None);
    }
}

impl Drop for Field {
    fn drop(&mut self) {
        self.0.iter().for_each(|mine| fail::remove(&mine.place));
    }
}

fn go_off(charge: &Mutex<Option<Charge>>, name: &str, counts: &Counts) {
    let charge = {
        let mut armed = charge.lock().unwrap();
        match *armed {
            Some(Charge::Always) => *armed,
            _ => armed.take(),
        }
    };
    match charge {
        Some(Charge::Hang(time)) => {
            counts.add(format!("hang at {name}"));
            std::thread::sleep(time);
        }
        Some(charge) => {
            // A storm is one event, however many die in it.
            if matches!(charge, Charge::Panic) {
                counts.add(format!("panic at {name}"));
            }
            std::panic::resume_unwind(Box::new("a mine"));
        }
        None => {}
    }
}
