//! Rows of an answer as a table, as CSV or as JSON.

use std::io::{self, Write};

use influx_spool::query::{Row, Value};
use serde::Serialize;

use crate::args::RowFormat;

/// How many rows of a table are laid out together: columns are as wide as these need, and no more is held in memory.
const TABLE_ROWS: usize = 1_000;

/// A cell that nothing may be wider than: longer ones stick out.
const WIDTH_MAX: usize = 60;

/// Prints rows. What is not a table is printed as it comes.
pub(crate) struct Rows<W> {
    format: RowFormat,
    out: W,
    /// The name and columns that were printed last.
    heading: Option<(String, Vec<String>)>,
    /// Cells of a table that are not printed yet.
    waiting: Vec<Vec<String>>,
}

impl<W: Write> Rows<W> {
    pub(crate) const fn new(format: RowFormat, out: W) -> Self {
        Self { format, out, heading: None, waiting: Vec::new() }
    }

    pub(crate) const fn out(&self) -> &W {
        &self.out
    }

    /// Prints a row of this series; its name is empty if it has none.
    pub(crate) fn put(&mut self, name: &str, row: &Row) -> io::Result<()> {
        match self.format {
            RowFormat::Json => self.put_json(name, row),
            RowFormat::Csv => self.put_csv(name, row),
            RowFormat::Table => self.put_cells(name, row),
        }
    }

    /// Prints what is left.
    pub(crate) fn finish(&mut self) -> io::Result<()> {
        self.lay_out()?;
        self.out.flush()
    }

    fn put_json(&mut self, name: &str, row: &Row) -> io::Result<()> {
        let name = Some(name).filter(|name| !name.is_empty());
        serde_json::to_writer(&mut self.out, &Named { name, row })?;
        self.out.write_all(b"\n")
    }

    fn put_csv(&mut self, name: &str, row: &Row) -> io::Result<()> {
        if self.is_new_heading(name, row) {
            if self.heading.is_some() {
                self.out.write_all(b"\n")?;
            }
            self.heading = Some((name.to_owned(), row.columns().to_vec()));
            let first = Some("name").filter(|_| !name.is_empty());
            self.write_record(first.into_iter().chain(row.columns().iter().map(String::as_str)))?;
        }
        let cells: Vec<String> = row.values().iter().map(Value::to_string).collect();
        let first = Some(name).filter(|name| !name.is_empty());
        self.write_record(first.into_iter().chain(cells.iter().map(String::as_str)))
    }

    fn write_record<'a>(&mut self, cells: impl Iterator<Item = &'a str>) -> io::Result<()> {
        for (number, cell) in cells.enumerate() {
            if number > 0 {
                self.out.write_all(b",")?;
            }
            if cell.contains([',', '"', '\n', '\r']) {
                write!(self.out, "\"{}\"", cell.replace('"', "\"\""))?;
            } else {
                self.out.write_all(cell.as_bytes())?;
            }
        }
        self.out.write_all(b"\n")
    }

    fn put_cells(&mut self, name: &str, row: &Row) -> io::Result<()> {
        if self.is_new_heading(name, row) {
            self.lay_out()?;
            if self.heading.is_some() {
                self.out.write_all(b"\n")?;
            }
            if !name.is_empty() {
                writeln!(self.out, "{name}")?;
            }
            self.heading = Some((name.to_owned(), row.columns().to_vec()));
            self.waiting.push(row.columns().to_vec());
        }
        self.waiting.push(row.values().iter().map(|value| on_one_line(&value.to_string())).collect());
        if self.waiting.len() >= TABLE_ROWS { self.lay_out() } else { Ok(()) }
    }

    fn lay_out(&mut self) -> io::Result<()> {
        let columns = self.waiting.iter().map(Vec::len).max().unwrap_or_default();
        let width = |column: usize| {
            let cells = self.waiting.iter().filter_map(|cells| cells.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default().min(WIDTH_MAX)
        };
        let widths: Vec<usize> = (0..columns).map(width).collect();
        for cells in self.waiting.drain(..) {
            let padded = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            writeln!(self.out, "{}", padded.collect::<Vec<_>>().join("  ").trim_end())?;
        }
        Ok(())
    }

    fn is_new_heading(&self, name: &str, row: &Row) -> bool {
        self.heading.as_ref().is_none_or(|(last, columns)| last != name || columns != row.columns())
    }
}

/// A row with the name of its series, under the name that Flux gives it.
#[derive(Serialize)]
struct Named<'a> {
    #[serde(rename = "_measurement", skip_serializing_if = "Option::is_none")]
    name: Option<&'a str>,
    #[serde(flatten)]
    row: &'a Row,
}

/// Control characters, line breaks among them, would tear a table, or worse, command the terminal.
fn on_one_line(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { '\u{fffd}' } else { c }).collect()
}
