//! Annotated CSV, the form of Flux's answers, decoded as it comes.
//!
//! Tables of one form follow a block of annotations and a header; a block of another form, or of an error, begins with
//! annotations anew. Format: "Annotated CSV" of the documentation of InfluxDB 2.x, and the decoder of Flux.
//!
//! ```text
//! #datatype,string,long,dateTime:RFC3339,double,string
//! #group,false,false,false,false,true
//! #default,_result,,,,
//! ,result,table,_time,_value,host
//! ,,0,2026-11-22T10:00:00Z,0.5,a
//! ```

use std::mem;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use csv_core::{ReadRecordResult, Reader};

use super::error::QueryError;
use super::flux_types::{FluxColumn, FluxType, duration};
use super::rfc3339;
use super::row::Row;
use super::value::Value;

/// Room for a record to begin with; it grows with what comes.
const RECORD_BYTES: usize = 1 << 10;
const RECORD_CELLS: usize = 32;

/// A record with more cells is none of Flux's: what it would cost in memory is not in proportion to its bytes.
const RECORD_CELLS_MAX: usize = 1 << 16;

/// The decoder. It takes bytes as they come and gives rows as they are complete.
#[derive(Debug)]
pub(super) struct Decoder {
    reader: Reader,
    /// The cells of the record being read, end to end, and where each ends.
    cells: Vec<u8>,
    ends: Vec<usize>,
    filled: usize,
    ended: usize,
    limit: usize,
    block: Block,
}

/// What is known of the tables being read.
#[derive(Debug, Default)]
struct Block {
    annotations: Annotations,
    /// `None` until the header has come.
    table: Option<Table>,
}

#[derive(Debug, Default)]
struct Annotations {
    datatype: Vec<String>,
    group: Vec<String>,
    default: Vec<String>,
}

#[derive(Debug)]
enum Table {
    Rows(Form),
    /// What the server says when it gives up.
    Errors,
}

/// The columns of a table.
#[derive(Clone, Debug)]
pub(super) struct Form {
    pub(super) columns: Arc<[FluxColumn]>,
    names: Arc<[String]>,
}

impl Decoder {
    /// `limit`: bytes that a record may have.
    pub(super) fn new(limit: usize) -> Self {
        Self {
            reader: Reader::new(),
            cells: vec![0; RECORD_BYTES],
            ends: vec![0; RECORD_CELLS],
            filled: 0,
            ended: 0,
            limit,
            block: Block::default(),
        }
    }

    /// Reads on, up to the end of a row: how many bytes were taken, and the row. An empty input says that there is no more.
    ///
    /// # Errors
    /// The server gave up, or it is not annotated CSV. Not to be called again then.
    pub(super) fn read(&mut self, input: &[u8]) -> Result<(usize, Option<Row>), QueryError> {
        let mut taken = 0;
        loop {
            let (result, read, written, ends) = self.reader.read_record(
                &input[taken..],
                &mut self.cells[self.filled..],
                &mut self.ends[self.ended..],
            );
            taken += read;
            self.filled += written;
            self.ended += ends;
            match result {
                ReadRecordResult::InputEmpty | ReadRecordResult::End => return Ok((taken, None)),
                ReadRecordResult::OutputFull if self.cells.len() >= self.limit => {
                    return Err(QueryError::TooLarge { limit: self.limit });
                }
                ReadRecordResult::OutputFull => self.cells.resize(self.cells.len() * 2, 0),
                ReadRecordResult::OutputEndsFull if self.ends.len() >= RECORD_CELLS_MAX => {
                    return Err(QueryError::TooLarge { limit: self.limit });
                }
                ReadRecordResult::OutputEndsFull => self.ends.resize(self.ends.len() * 2, 0),
                ReadRecordResult::Record => {
                    let record = Record { cells: &self.cells[..self.filled], ends: &self.ends[..self.ended] };
                    let row = self.block.take(&record)?;
                    (self.filled, self.ended) = (0, 0);
                    if row.is_some() {
                        return Ok((taken, row));
                    }
                }
            }
        }
    }

    /// The columns of the row that was read last.
    pub(super) fn form(&self) -> Option<&Form> {
        match &self.block.table {
            Some(Table::Rows(form)) => Some(form),
            _ => None,
        }
    }
}

impl Block {
    fn take(&mut self, record: &Record<'_>) -> Result<Option<Row>, QueryError> {
        let first = record.cells().next().unwrap_or_default();
        if let Some(name) = first.strip_prefix(b"#") {
            self.annotate(name, record);
            return Ok(None);
        }
        match &self.table {
            // An error at the beginning of an answer may come without annotations.
            _ if record.is_header_of_errors() => self.table = Some(Table::Errors),
            None => self.table = Some(Table::Rows(self.annotations.form(record)?)),
            Some(Table::Errors) => return Err(record.error()),
            Some(Table::Rows(form)) => return form.row(record).map(Some),
        }
        Ok(None)
    }

    fn annotate(&mut self, name: &[u8], record: &Record<'_>) {
        if self.table.is_some() {
            *self = Self::default();
        }
        let cells = || record.cells().skip(1).map(text_of).collect();
        match name {
            b"datatype" => self.annotations.datatype = cells(),
            b"group" => self.annotations.group = cells(),
            b"default" => self.annotations.default = cells(),
            // Those of a newer server are not for us.
            _ => {}
        }
    }
}

impl Annotations {
    /// The columns, by a header. Only the data types are indispensable.
    fn form(&mut self, header: &Record<'_>) -> Result<Form, QueryError> {
        let annotations = mem::take(self);
        let mut datatypes = annotations.datatype.into_iter();
        let mut groups = annotations.group.into_iter();
        let mut defaults = annotations.default.into_iter();
        let column = |name: &[u8]| {
            let name = text_of(name);
            let datatype = datatypes.next().ok_or_else(|| {
                QueryError::Unreadable(format!("column {name:?} comes without a data type"))
            })?;
            let datatype = FluxType::parse(&datatype).ok_or_else(|| {
                QueryError::Unreadable(format!("column {name:?} has the unknown data type {datatype:?}"))
            })?;
            let is_group = groups.next().is_some_and(|word| word == "true");
            Ok(FluxColumn { name, datatype, is_group, default: defaults.next().unwrap_or_default() })
        };
        let columns: Arc<[FluxColumn]> =
            header.cells().skip(1).map(column).collect::<Result<_, QueryError>>()?;
        let names = columns.iter().map(|column| column.name.clone()).collect();
        Ok(Form { columns, names })
    }
}

impl Form {
    fn row(&self, record: &Record<'_>) -> Result<Row, QueryError> {
        let count = record.ends.len().saturating_sub(1);
        if count != self.columns.len() {
            let words = format!("a row of {count} cells in a table of {} columns", self.columns.len());
            return Err(QueryError::Unreadable(words));
        }
        let cells = self.columns.iter().zip(record.cells().skip(1));
        let values = cells.map(|(column, cell)| column.value(&text_of(cell))).collect::<Result<_, _>>()?;
        Ok(Row::of(Arc::clone(&self.names), values))
    }

    /// Whether both are the columns of one block.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.columns, &other.columns)
    }
}

impl FluxColumn {
    /// The value of a cell. An empty one is the column's default, or nothing.
    fn value(&self, cell: &str) -> Result<Value, QueryError> {
        let text = if cell.is_empty() { &self.default } else { cell };
        if text.is_empty() {
            return Ok(Value::Null);
        }
        let value = match self.datatype {
            FluxType::String => Some(Value::String(text.to_owned())),
            FluxType::Double => number(text).map(Value::Float),
            FluxType::Long => text.parse().ok().map(Value::Integer),
            FluxType::UnsignedLong => text.parse().ok().map(Value::Unsigned),
            FluxType::Boolean => text.parse().ok().map(Value::Boolean),
            FluxType::Time => rfc3339::parse(text).map(Value::Time),
            FluxType::Duration => Some(duration(text).map_or_else(|| text.into(), Value::Duration)),
            FluxType::Base64Binary => STANDARD.decode(text).ok().map(Value::Bytes),
        };
        value.ok_or_else(|| {
            let Self { name, datatype, .. } = self;
            QueryError::Unreadable(format!("column {name:?} of type {datatype} holds {text:?}"))
        })
    }
}

/// `NaN`, `+Inf` and `-Inf`, in Go's spelling, are taken by Rust as well.
fn number(text: &str) -> Option<f64> {
    text.parse().ok()
}

/// One record of the text.
struct Record<'a> {
    cells: &'a [u8],
    ends: &'a [usize],
}

impl<'a> Record<'a> {
    fn cells(&self) -> impl Iterator<Item = &'a [u8]> {
        let begins = std::iter::once(0).chain(self.ends.iter().copied());
        begins.zip(self.ends).map(|(begin, end)| &self.cells[begin..*end])
    }

    /// `error,reference`, after the empty cell that stands for annotations or without one.
    fn is_header_of_errors(&self) -> bool {
        let header: [&[u8]; 2] = [b"error", b"reference"];
        self.cells().skip_while(|cell| cell.is_empty()).eq(header)
    }

    /// The error that a row of such a table tells.
    fn error(&self) -> QueryError {
        let mut told = self.cells().map(text_of).filter(|text| !text.is_empty());
        let words = match (told.next(), told.next()) {
            (Some(words), Some(reference)) => format!("{words} (reference {reference})"),
            (Some(words), None) => words,
            (None, _) => "(no words)".into(),
        };
        QueryError::Statement { statement: 0, words }
    }
}

fn text_of(cell: &[u8]) -> String {
    String::from_utf8_lossy(cell).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::values::precision::Timestamp;

    /// Every row, fed in pieces of this size.
    fn decode_by(size: usize, text: &str) -> Result<Vec<Row>, QueryError> {
        let mut decoder = Decoder::new(1 << 16);
        let mut rows = Vec::new();
        for piece in text.as_bytes().chunks(size).chain([b"".as_slice()]) {
            let mut rest = piece;
            loop {
                let (taken, row) = decoder.read(rest)?;
                rest = &rest[taken..];
                match row {
                    Some(row) => rows.push(row),
                    None => break,
                }
            }
        }
        Ok(rows)
    }

    /// Decodes it whole and byte by byte, which must not differ.
    #[track_caller]
    fn decode(text: &str) -> Result<Vec<Row>, QueryError> {
        let text = text.trim_start();
        let rows = decode_by(usize::MAX, text);
        for size in [1, 7] {
            // As text: NaN is not equal to itself.
            assert_eq!(format!("{:?}", decode_by(size, text)), format!("{rows:?}"));
        }
        rows
    }

    fn words(text: &str) -> String {
        decode(text).unwrap_err().to_string()
    }

    const EVERY_TYPE: &str = "\
#datatype,string,long,dateTime:RFC3339,dateTime:RFC3339Nano,double,unsignedLong,boolean,duration,base64Binary\r
#group,false,false,true,false,false,false,false,false,false\r
#default,_result,,,,,,,,\r
,result,table,_start,_time,_value,u,b,d,y\r
,,0,2026-01-01T00:00:00Z,1970-01-01T00:00:00.000000001Z,-5e-324,18446744073709551615,true,1h1.5s,AP8=\r
,other,-1,,,NaN,,false,-1us,\r
\r
";

    #[test]
    fn every_type_is_read() {
        let rows = decode(EVERY_TYPE).unwrap();
        let expected = [
            "_result".into(),
            0.into(),
            Value::Time(Timestamp::from_nanos(1_767_225_600_000_000_000)),
            Value::Time(Timestamp::from_nanos(1)),
            Value::Float(-5e-324),
            Value::Unsigned(u64::MAX),
            true.into(),
            Value::Duration(3_601_500_000_000),
            Value::Bytes(vec![0, 255]),
        ];
        assert_eq!(rows[0].values(), expected);
        assert_eq!(rows[1].get("result"), Some(&"other".into()));
        assert_eq!(rows[1].get("y"), Some(&Value::Null));
        assert_eq!(rows[1].get("d"), Some(&Value::Duration(-1_000)));
        assert!(rows[1].get("_value").unwrap().as_f64().unwrap().is_nan());
    }

    #[test]
    fn cells_may_hold_anything() {
        let rows = decode(
            "#datatype,string,string\n#group,false,false\n#default,,\n,a,b\n,\"one\r\ntwo, \"\"three\"\"\",ü\n",
        );
        assert_eq!(rows.unwrap()[0].values(), ["one\r\ntwo, \"three\"".into(), "ü".into()]);
    }

    #[test]
    fn tables_of_another_form_follow() {
        let rows = decode(
            "
#datatype,string,long,double
#group,false,false,false
#default,_result,,
,result,table,_value
,,0,1.5
,,1,2

#group,false,false,true
#default,_result,,
#datatype,string,long,string
,result,table,host
,,2,a
",
        )
        .unwrap();
        let columns: Vec<_> = rows.iter().map(|row| row.columns()[2].as_str()).collect();
        assert_eq!(columns, ["_value", "_value", "host"]);
        assert_eq!(rows[2].values(), ["_result".into(), 2.into(), "a".into()]);
    }

    /// The forms of an error that the Go client's tests know (influxdata/influxdb-client-go, api/query_test.go).
    #[test]
    fn an_error_in_a_table_is_an_error() {
        let table = "#datatype,string,string\n#group,true,true\n#default,,\n,error,reference\n";
        let told = |row: &str| words(&format!("{table}{row}\n"));
        assert_eq!(
            told(",bounds contain zero time,897"),
            "statement 0: bounds contain zero time (reference 897)"
        );
        assert_eq!(told(",bounds contain zero time,"), "statement 0: bounds contain zero time");
        assert_eq!(told(",,"), "statement 0: (no words)");
        assert_eq!(words("error,reference\nsyntax,1\n"), "statement 0: syntax (reference 1)");
        let late = format!("{}{table},gave up,\n", EVERY_TYPE);
        assert_eq!(words(&late), "statement 0: gave up");
    }

    #[test]
    fn what_is_not_annotated_csv_is_said() {
        assert_eq!(words(",a\n,1\n"), "read the answer: column \"a\" comes without a data type");
        assert_eq!(
            words("#datatype,int\n,a\n,1\n"),
            "read the answer: column \"a\" has the unknown data type \"int\""
        );
        assert_eq!(
            words("#datatype,long\n,a\n,x\n"),
            "read the answer: column \"a\" of type long holds \"x\""
        );
        assert_eq!(
            words("#datatype,long\n,a\n,1,2\n"),
            "read the answer: a row of 2 cells in a table of 1 columns"
        );
    }

    #[test]
    fn an_endless_record_is_an_error() {
        let mut decoder = Decoder::new(4 << 10);
        let result = decoder.read("x".repeat(1 << 20).as_bytes());
        assert_eq!(result.unwrap_err(), QueryError::TooLarge { limit: 4 << 10 });
        let mut decoder = Decoder::new(4 << 10);
        assert!(decoder.read(",".repeat(1 << 20).as_bytes()).is_err());
    }
}
