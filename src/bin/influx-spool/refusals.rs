//! Lines that were not accepted, said without flooding whoever reads it.

use std::fmt::Display;
use std::time::{Duration, Instant};

use crate::progress::Screen;

/// So many are said one by one: enough to see what is wrong with the input.
const SAID_FIRST: u64 = 20;

/// Afterwards one in so long.
const SAID_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(crate) struct Refusals {
    screen: Screen,
    total: u64,
    said: u64,
    said_at: Option<Instant>,
}

impl Refusals {
    pub(crate) fn new(screen: Screen) -> Self {
        Self { screen, total: 0, said: 0, said_at: None }
    }

    pub(crate) fn total(&self) -> u64 {
        self.total
    }

    /// Counts a point, and says where it is and why it was refused, if it is time to say so.
    pub(crate) fn add(&mut self, reason: impl Display) {
        self.total += 1;
        let now = Instant::now();
        if self.total > SAID_FIRST && self.said_at.is_some_and(|at| now < at + SAID_EVERY) {
            return;
        }
        let unsaid = self.total - self.said - 1;
        let others = if unsaid > 0 { format!(" ({unsaid} others were not shown)") } else { String::new() };
        self.screen.say(&format!("refused: {reason}{others}"));
        self.said = self.total;
        self.said_at = Some(now);
    }
}
