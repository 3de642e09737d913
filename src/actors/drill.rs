//! Fire drills: an actor of a running database panics because somebody asked for it.

use super::database::{sender_name, udp_sender_name};
use super::shared::{Shared, Wake};

impl Wake {
    /// Panics if that is what it says. Called first by whoever handles a wake.
    pub(super) fn heed(self) {
        if matches!(self, Self::Drill) {
            // Without the panic hook: its page on standard error is for panics that nobody asked for.
            std::panic::resume_unwind(Box::new("a drill"));
        }
    }
}

impl Shared {
    /// Has this actor panic at the next message it handles; `false` if there is no such actor.
    pub(crate) fn drill(&self, actor: &str) -> bool {
        match actor {
            "database" => self.database.drill(),
            "store" => self.store.drill(),
            "batcher" => self.batcher.drill(),
            _ => {
                let http = self.senders.iter().enumerate().map(|(n, bell)| (sender_name(n), bell));
                let udp = self.udp_senders.iter().enumerate().map(|(n, bell)| (udp_sender_name(n), bell));
                let found = http.chain(udp).find(|(name, _)| name == actor);
                found.is_some_and(|(_, bell)| bell.drill())
            }
        }
    }
}
