//! What is shown: a line each half second, drawn live where there is a terminal.

use std::io::{self, IsTerminal, Write};
use std::time::{Duration, Instant};

use influx_spool::{Fate, Stats};

use crate::server::Server;

/// A line is left standing this often; in between it is drawn over.
const LINE_EVERY: Duration = Duration::from_millis(500);

const BAR_WIDTH: u64 = 30;

/// The bar is full at this many points: the outage of the script, and some.
const BAR_POINTS: u64 = 220_000;

pub(crate) struct Screen {
    began: Instant,
    next_line: Instant,
    terminal: bool,
    half_drawn: bool,
}

impl Screen {
    pub(crate) fn new() -> Self {
        let now = Instant::now();
        Self {
            began: now,
            next_line: now + LINE_EVERY,
            terminal: io::stdout().is_terminal(),
            half_drawn: false,
        }
    }

    pub(crate) fn title(&self, server: &Server, rate: u64) {
        println!(
            "An application pushes {} points/s to {} at {}.",
            grouped(rate),
            server.name(),
            server.url()
        );
        println!();
        println!("     time  server     pushed  delivered  in memory  in the spool");
    }

    /// Draws how things stand.
    pub(crate) fn draw(&mut self, stats: &Stats, server_is_up: bool) {
        let now = Instant::now();
        let line_due = now >= self.next_line;
        if !line_due && !self.terminal {
            return;
        }
        let line = self.line(stats, server_is_up);
        if self.terminal {
            print!("\r\x1b[K{line}");
        } else {
            print!("{line}");
        }
        self.half_drawn = !line_due;
        if line_due {
            println!();
            self.next_line +=
                LINE_EVERY * (1 + ((now - self.next_line).as_millis() / LINE_EVERY.as_millis()) as u32);
        }
        let _ = io::stdout().flush();
    }

    /// Says what the example does.
    pub(crate) fn say(&mut self, text: &str) {
        self.interject("==", text, "1");
    }

    /// Says what a supervisor or the database tells.
    pub(crate) fn hear(&mut self, who: &str, text: &str) {
        self.interject("   ", &format!("{who}: {text}"), "36");
    }

    /// Ends the picture.
    pub(crate) fn end(&self) {
        if self.half_drawn {
            println!();
        }
        println!();
    }

    fn interject(&mut self, mark: &str, text: &str, style: &str) {
        let time = self.began.elapsed().as_secs_f32();
        if self.terminal {
            println!("\r\x1b[K{time:7.1} s  \x1b[{style}m{mark} {text}\x1b[0m");
        } else {
            println!("{time:7.1} s  {mark} {text}");
        }
        self.half_drawn = false;
    }

    fn line(&self, stats: &Stats, server_is_up: bool) -> String {
        let pending = &stats.pending;
        let waiting = (pending.points * BAR_WIDTH).div_ceil(BAR_POINTS).min(BAR_WIDTH) as usize;
        format!(
            "{:7.1} s  {:<6} {:>10} {:>10} {:>10} {:>13}  {}",
            self.began.elapsed().as_secs_f32(),
            if server_is_up { "up" } else { "DOWN" },
            grouped(stats.ledger.accepted().points),
            grouped(stats.ledger.of(Fate::Delivered).points),
            grouped(pending.queued.points + pending.sealed.points),
            grouped(pending.spooled.points),
            "█".repeat(waiting),
        )
    }
}

/// A number with commas.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() + digits.len() / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
