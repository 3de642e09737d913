//! Flux: the query language of 2.x.

use bytes::{Buf, Bytes};
use serde::Serialize;
use serde::de::DeserializeOwned;

use super::annotated_csv::{Decoder, Form};
use super::client::Client;
use super::error::QueryError;
use super::exchange::{Form as _, Pieces};
use super::flux_types::FluxColumn;
use super::row::Row;
use crate::transport::Request;

/// A table that Flux answered: rows with the same columns and the same group key.
#[derive(Clone, Debug, PartialEq)]
#[non_exhaustive]
pub struct FluxTable {
    /// Its columns, `result` and `table` among them.
    pub columns: Vec<FluxColumn>,
    /// Its rows.
    pub rows: Vec<Row>,
}

impl FluxTable {
    /// Every row as a value of a type of your own: see [`Row::to`].
    pub fn rows<T: DeserializeOwned>(&self) -> impl Iterator<Item = Result<T, QueryError>> {
        self.rows.iter().map(Row::to)
    }
}

impl Client {
    /// Asks in Flux (`POST /api/v2/query`), and brings the whole answer.
    ///
    /// Needs the organization, [`with_org`](Self::with_org) or [`with_org_id`](Self::with_org_id).
    ///
    /// # Errors
    /// As [`QueryError`] says. An error that Flux reports after it began to answer is [`QueryError::Statement`].
    pub async fn flux(&self, script: impl Into<String>) -> Result<Vec<FluxTable>, QueryError> {
        let answer = self.ask(self.flux_request(script.into())?).await?;
        let mut decoder = Decoder::new(self.answer_bytes_max);
        let mut tables = Tables::default();
        let mut rest = answer.body;
        loop {
            match read_row(&mut decoder, &mut rest)? {
                Some(row) => tables.add(&decoder, row),
                None if rest.is_empty() => break,
                None => {}
            }
        }
        // The end of the answer completes a row without a newline.
        if let Some(row) = read_row(&mut decoder, &mut rest)? {
            tables.add(&decoder, row);
        }
        Ok(tables.tables)
    }

    /// As [`flux`](Self::flux), row by row: however large the answer, a few pieces of it are in memory.
    ///
    /// # Errors
    /// As for [`flux`](Self::flux), for what is known when the answer begins.
    pub async fn flux_rows(&self, script: impl Into<String>) -> Result<FluxRows, QueryError> {
        let pieces = self.stream(self.flux_request(script.into())?).await?;
        let decoder = Decoder::new(self.answer_bytes_max);
        Ok(FluxRows { pieces: Some(pieces), piece: Bytes::new(), decoder })
    }

    fn flux_request(&self, script: String) -> Result<Request, QueryError> {
        let request = Request::post(&["api", "v2", "query"]);
        let request = match (&self.target.org, &self.target.org_id) {
            (Some(org), _) => request.query("org", org),
            (None, Some(id)) => request.query("orgID", id),
            (None, None) => return Err(QueryError::Incomplete("flux needs an organization")),
        };
        request.accept("application/csv").json(&Script { query: script, r#type: "flux", dialect: DIALECT })
    }
}

/// An answer in Flux on its way, made by [`Client::flux_rows`]. Dropping it ends the request.
#[derive(Debug)]
pub struct FluxRows {
    /// `None` after the end or an error.
    pieces: Option<Pieces>,
    piece: Bytes,
    decoder: Decoder,
}

impl FluxRows {
    /// The next row; `None` at the end.
    ///
    /// # Errors
    /// Flux gave up, the answer broke off or cannot be read. Nothing comes after an error.
    ///
    /// # Cancel safety
    /// Dropping the future loses nothing.
    pub async fn next(&mut self) -> Option<Result<Row, QueryError>> {
        loop {
            let pieces = self.pieces.as_mut()?;
            let row = if self.piece.is_empty() {
                match pieces.next().await {
                    Some(Ok(piece)) => {
                        self.piece = piece;
                        continue;
                    }
                    Some(Err(error)) => Err(error),
                    None => self.last_row().transpose()?,
                }
            } else {
                match read_row(&mut self.decoder, &mut self.piece) {
                    Ok(None) => continue,
                    Ok(Some(row)) => Ok(row),
                    Err(error) => Err(error),
                }
            };
            if row.is_err() {
                self.pieces = None;
            }
            return Some(row);
        }
    }

    /// The columns of the row that came last.
    #[must_use]
    pub fn columns(&self) -> &[FluxColumn] {
        self.decoder.form().map_or(&[], |form| &form.columns)
    }

    /// What the end of the answer completes.
    fn last_row(&mut self) -> Result<Option<Row>, QueryError> {
        self.pieces = None;
        self.decoder.read(&[]).map(|(_, row)| row)
    }
}

/// Reads on in a piece, up to a row or its end. With an empty piece, the end of the answer.
fn read_row(decoder: &mut Decoder, piece: &mut Bytes) -> Result<Option<Row>, QueryError> {
    let (taken, row) = decoder.read(piece)?;
    piece.advance(taken);
    Ok(row)
}

/// Rows on their way into tables.
#[derive(Default)]
struct Tables {
    tables: Vec<FluxTable>,
    last: Option<Form>,
}

impl Tables {
    /// A table ends where the columns change, or the number of the table, or the name of the result.
    fn add(&mut self, decoder: &Decoder, row: Row) {
        let Some(form) = decoder.form() else { return };
        let key = |row: &Row| (row.get("result").cloned(), row.get("table").cloned());
        let is_same_form = self.last.as_ref().is_some_and(|last| last.is_same(form));
        match self.tables.last_mut() {
            Some(table) if is_same_form && table.rows.last().map(key) == Some(key(&row)) => {
                table.rows.push(row)
            }
            _ => {
                self.last = Some(form.clone());
                self.tables.push(FluxTable { columns: form.columns.to_vec(), rows: vec![row] });
            }
        }
    }
}

#[derive(Serialize)]
struct Script {
    query: String,
    r#type: &'static str,
    dialect: Dialect,
}

/// How the answer is to be written: with every annotation, since types come from one of them.
#[derive(Serialize)]
struct Dialect {
    annotations: [&'static str; 3],
    delimiter: &'static str,
    header: bool,
}

const DIALECT: Dialect =
    Dialect { annotations: ["datatype", "group", "default"], delimiter: ",", header: true };

#[cfg(test)]
mod tests {
    use super::*;

    const ANSWER: &str = "\
#datatype,string,long,double
#group,false,false,false
#default,_result,,
,result,table,_value
,,0,1
,,0,2
,,1,3

#datatype,string,long,double
#group,false,false,false
#default,_result,,
,result,table,_value
,,1,4
";

    #[test]
    fn tables_end_where_their_number_or_form_changes() {
        let mut decoder = Decoder::new(1 << 10);
        let mut tables = Tables::default();
        let mut rest = Bytes::from_static(ANSWER.as_bytes());
        while !rest.is_empty() {
            if let Some(row) = read_row(&mut decoder, &mut rest).unwrap() {
                tables.add(&decoder, row);
            }
        }
        let values = |table: &FluxTable| {
            table.rows::<(String, i64, f64)>().map(|row| row.unwrap().2).collect::<Vec<_>>()
        };
        assert_eq!(
            tables.tables.iter().map(values).collect::<Vec<_>>(),
            [vec![1.0, 2.0], vec![3.0], vec![4.0]]
        );
    }

    #[tokio::test]
    async fn rows_come_without_a_newline_at_the_end_too() {
        let pieces = [&ANSWER[..30], &ANSWER[30..150], &ANSWER[150..ANSWER.len() - 1]];
        let pieces = Some(Pieces::of(&pieces));
        let mut rows = FluxRows { pieces, piece: Bytes::new(), decoder: Decoder::new(1 << 10) };
        assert!(rows.columns().is_empty());
        let mut values = Vec::new();
        while let Some(row) = rows.next().await {
            values.push(row.unwrap().get("_value").unwrap().as_f64().unwrap());
            assert_eq!(rows.columns()[2].name, "_value");
        }
        assert_eq!(values, [1.0, 2.0, 3.0, 4.0]);
    }
}
