//! The program `influx-spool`.

fn main() {}
