//! The table of verdicts: the first row that fits decides.
//!
//! Origins of the phrases: measured on InfluxDB 1.6.7, InfluxDB 3 Core 3.6.0, VictoriaMetrics 1.79.5 and vmauth, Telegraf 1.38.0,
//! nginx 1.22.1; read in the sources of InfluxDB 1.8 and 2.7 (`services/httpd/handler.go`, `http/write_handler.go`,
//! `http/points/points_parser.go`, `kit/platform/errors/errors.go`), of 3.x (`influxdb3_server/src/http.rs`), and in
//! InfluxData's documents for Cloud. Each fixture names its own.

use self::Phrase::{Begins, BeginsAndHolds, Is, NamesLines};
use super::Cause::{self, Malformed, Other, TooLarge, TooOld, TypeConflict};
use super::TransportErrorKind as Failure;
use super::said::{Said, Speaker};
use crate::values::batch::Api;
use crate::values::trouble::TroubleKind::{
    self, Misconfigured, NoSuchDatabase, Timeout, Unauthorized, Unavailable, Unreachable, WrongEndpoint,
};

/// What one kind of answer means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Row {
    /// Its name: in the fixtures, and in the table that users read.
    #[cfg_attr(
        not(test),
        expect(dead_code, reason = "the tests and the page of the table have it from here")
    )]
    pub(super) name: &'static str,
    /// Why it means that, for users.
    #[cfg_attr(not(test), expect(dead_code, reason = "the page of the table has it from here"))]
    pub(super) why: &'static str,
    /// The ways a request fails that this row is for. If there are any, it is for no response.
    pub(super) failures: &'static [Failure],
    /// On which interfaces; every one if none is named.
    pub(super) apis: &'static [Api],
    pub(super) statuses: Statuses,
    /// Who has to speak, at least.
    pub(super) by: Speaker,
    /// What he says: one of these; whatever it is, if there is none.
    pub(super) phrases: &'static [Phrase],
    pub(super) means: Means,
}

#[derive(Clone, Copy, Debug)]
pub(super) enum Statuses {
    These(&'static [u16]),
    /// Hundreds: 3 for 300 to 399.
    Class(u16),
    Any,
}

/// How a message begins, behind the phrases it is wrapped in. Never what stands somewhere in it: that may be a line's text.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phrase {
    Is(&'static str),
    Begins(&'static str),
    /// Begins with the one, and holds the other.
    BeginsAndHolds(&'static str, &'static str),
    /// It names lines.
    NamesLines,
}

/// What is to become of the batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Means {
    Delivered,
    Hold { kind: TroubleKind, may_be_data: bool },
    Refused { cause: Cause, points: Points },
}

/// How it is known which points are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Points {
    /// They are named.
    Named,
    /// All, if the server counts as many as there were; else some.
    Counted,
    /// Some.
    Some,
    /// None by itself: they are too many at once.
    TooMany,
}

/// The row for an answer.
pub(super) fn row_of_response(api: Api, status: u16, said: &Said) -> &'static Row {
    let row = TABLE.iter().find(|row| row.failures.is_empty() && row.fits(api, status, said));
    row.unwrap_or(&STRANGE)
}

/// The row for a request without an answer.
pub(super) fn row_of_failure(kind: Failure) -> &'static Row {
    TABLE.iter().find(|row| row.failures.contains(&kind)).unwrap_or(&BROKEN)
}

impl Row {
    fn fits(&self, api: Api, status: u16, said: &Said) -> bool {
        let is_status = match self.statuses {
            Statuses::These(these) => these.contains(&status),
            Statuses::Class(hundreds) => status / 100 == hundreds,
            Statuses::Any => true,
        };
        let is_api = self.apis.is_empty() || self.apis.contains(&api);
        let is_said = || self.phrases.is_empty() || self.phrases.iter().any(|phrase| phrase.is_said(said));
        is_status && is_api && said.speaker >= self.by && is_said()
    }
}

impl Phrase {
    fn is_said(self, said: &Said) -> bool {
        let gist = said.gist();
        match self {
            Self::Is(text) => gist == text,
            Self::Begins(text) => gist.starts_with(text),
            Self::BeginsAndHolds(begin, text) => gist.starts_with(begin) && gist.contains(text),
            Self::NamesLines => !said.lines.is_empty(),
        }
    }
}

/// Statuses under which servers complain of data. 500: some versions of 1.x, and 3.6 of what it cannot read.
const OF_DATA: &[u16] = &[400, 422, 500];

/// Statuses under which servers complain of a request.
const OF_REQUEST: &[u16] = &[400, 404, 415, 422, 500];

/// See the [module's documentation](self).
pub(super) const TABLE: &[Row] = &[
    row("written", "Nothing else ever means delivered.").on(&[204]).delivered(),
    // What an InfluxDB, or something compatible, says of the data.
    row("written in part", "Cloud, in some versions. The lines named are bad, the rest is sent again.")
        .only(&[Api::V2, Api::V3])
        .on(&[201])
        .says(&[NamesLines])
        .refused(Malformed, Points::Named),
    row("lines named", "They are bad. The rest is sent again: not all are named.")
        .on(&[400, 422])
        .says(&[NamesLines])
        .refused(Malformed, Points::Named),
    row("type conflict", "A field, a tag or a column of the name exists with another type.")
        .on(OF_DATA)
        .says(&[Begins("field type conflict"), Begins("invalid column type")])
        .refused(TypeConflict, Points::Counted),
    row("too old", "Older than the retention policy keeps: not sent again.")
        .on(OF_DATA)
        .says(&[
            Begins("points beyond retention policy"),
            BeginsAndHolds("dropped ", "points outside retention policy"),
        ])
        .refused(TooOld, Points::Counted),
    row("reserved name", "A tag or the only field is called `time`.")
        .on(OF_DATA)
        .says(&[
            Begins("invalid tag key"),
            Begins("invalid field name"),
            Begins("'time' is a reserved column"),
        ])
        .refused(Malformed, Points::Counted),
    row("limit of series", "1.x counts lines, not series: smaller parts may be taken.")
        .on(OF_DATA)
        .says(&[Begins("max-series-per-database limit exceeded")])
        .refused(Other, Points::Some),
    row("limit of tag values", "Points whose tags have known values are written.")
        .on(OF_DATA)
        .says(&[Begins("max-values-per-tag limit exceeded")])
        .refused(Other, Points::Counted),
    row("limit of tables or columns", "Points that need no new one are written.")
        .on(OF_DATA)
        .says(&[Begins("Update to schema would exceed number of")])
        .refused(Other, Points::Some),
    row("not UTF-8", "InfluxDB 3.6 answers 500 to it.")
        .on(OF_DATA)
        .says(&[Begins("body content is not valid utf8")])
        .refused(Malformed, Points::Some),
    row("bad lines, not named", "InfluxDB 3 on the interfaces of 1.x and 2.x takes none of the batch.")
        .on(OF_DATA)
        .says(&[
            Begins("parsing for line protocol failed"),
            Begins("parsing failed for write_lp endpoint"),
            Begins("partial write of line protocol occurred"),
        ])
        .refused(Other, Points::Some),
    // What is too large.
    row("too large", "The size is remembered. A single line that is too large is set aside.")
        .on(&[413])
        .refused(TooLarge, Points::TooMany),
    row("too large, in words", "InfluxDB 3.6 answers 500 where others answer 413.")
        .on(OF_DATA)
        .says(&[
            Begins("max request size ("),
            Begins("points batch is too large"),
            Begins("http: request body too large"),
        ])
        .refused(TooLarge, Points::TooMany),
    row("line too long", "VictoriaMetrics does not say which.")
        .on(&[400])
        .says(&[BeginsAndHolds("cannot read", "too long line")])
        .refused(TooLarge, Points::Some),
    // What they say of the request: nothing of the data.
    row("credentials not understood", "InfluxDB 3, to an unknown scheme or an empty token.")
        .on(&[400])
        .says(&[Begins("Authorization header was malformed")])
        .holds(Unauthorized),
    row("token unknown to a proxy", "vmauth answers 400 to it.")
        .on(&[400])
        .anyone_says(&[Begins("cannot find the provided auth token")])
        .holds(Unauthorized),
    row("no such database", "Created if so configured (v1), or waited for.")
        .on(OF_REQUEST)
        .says(&[
            Begins("database not found"),
            Begins("retention policy not found"),
            Begins("no dbrp mapping found"),
            Is("bucket not found"),
            BeginsAndHolds("bucket ", "not found"),
            BeginsAndHolds("organization ", "not found"),
        ])
        .holds(NoSuchDatabase),
    row("no room for a new database", "InfluxDB 3 creates one with its first point, up to a limit.")
        .on(OF_REQUEST)
        .says(&[Begins("Adding a new database would exceed limit")])
        .holds(NoSuchDatabase),
    row("database not told", "A proxy that drops parameters, or an empty name.")
        .on(OF_REQUEST)
        .says(&[
            Is("database is required"),
            Is("missing db"),
            Begins("missing query parameter 'db'"),
            Begins("serde error: missing field `db`"),
            Begins("missing bucket value"),
            Begins("no org/bucket destination provided"),
        ])
        .holds(Misconfigured),
    row("database name not allowed", "InfluxDB 3 takes letters, digits, underscores and hyphens.")
        .on(OF_REQUEST)
        .says(&[Begins("invalid character in database or rp name")])
        .holds(Misconfigured),
    row("parameter not understood", "A precision, say, that this version does not know.")
        .on(OF_REQUEST)
        .says(&[Begins("invalid precision"), Begins("serde error"), Begins("failed to deserialize")])
        .holds(Misconfigured),
    row("encoding not understood", "Set `compression` to none.")
        .on(OF_REQUEST)
        .says(&[Begins("unacceptable content-encoding")])
        .holds(Misconfigured),
    row("body damaged on its way", "It was cut off, or its encoding was changed: by a proxy, as a rule.")
        .on(OF_REQUEST)
        .says(&[
            Is("unexpected EOF"),
            Is("EOF"),
            Begins("gzip: "),
            Begins("error decoding gzip"),
            BeginsAndHolds("cannot read", "gzip"),
            Begins("incoming write was empty"),
        ])
        .suspects(Misconfigured),
    // What they say of themselves.
    row("write queue not empty", "Of a cluster. Official clients call that written; here it is sent again.")
        .on(OF_DATA)
        .says(&[Begins("hinted handoff queue not empty")])
        .holds(Unavailable),
    row("no room", "The server's disk or its cache is full.")
        .on(&[500])
        .says(&[
            Begins("engine: cache-max-memory-size exceeded"),
            BeginsAndHolds("engine: ", "no space left on device"),
            BeginsAndHolds("error from wal", "No space left on device"),
        ])
        .holds(Unavailable),
    row("data of the server damaged", "A name that is not UTF-8, from another client, breaks 1.6.")
        .on(&[500])
        .says(&[BeginsAndHolds("proto: field", "invalid UTF-8")])
        .suspects(Unavailable),
    // What the status says, whoever says it.
    row("unauthorized", "Never dropped: somebody puts a token right. Files with secrets are read again.")
        .on(&[401, 403, 407])
        .holds(Unauthorized),
    row("told to wait", "`Retry-After` is heeded, up to ten minutes. Limits of a plan look like this, too.")
        .on(&[425, 429, 503, 507])
        .holds(Unavailable),
    row("request timed out", "The server may have written the points all the same.")
        .on(&[408, 499, 504])
        .suspects(Unavailable),
    row("refused", "For a reason that is not in this table. Which points are meant is found out.")
        .on(&[400, 422])
        .by(Speaker::InfluxDb)
        .refused(Other, Points::Counted),
    row("refused by a stranger", "A proxy, or a server that does not know the interface.")
        .on(&[400, 422])
        .suspects(WrongEndpoint),
    row("server in trouble", "Its own trouble, as a rule; or a batch that it breaks on.")
        .class(5)
        .suspects(Unavailable),
    row("redirected", "Not followed: where points go is not for a server to say.")
        .class(3)
        .holds(WrongEndpoint),
    row(
        "success of another kind",
        "Not the answer of an InfluxDB to a write: a captive portal, a page of health.",
    )
    .class(2)
    .holds(WrongEndpoint),
    row("nothing there", "Another service, another version, or a wrong path.")
        .on(&[404, 405])
        .holds(WrongEndpoint),
    row("encoding refused", "Set `compression` to none.").on(&[415]).holds(Misconfigured),
    row("another fault of the request", "Nothing that an InfluxDB is known to answer to a write.")
        .class(4)
        .holds(WrongEndpoint),
    STRANGE,
    // No answer.
    row("no credentials", "A file with a secret or a certificate cannot be read. Nothing was sent.")
        .failed(&[Failure::Local])
        .holds(Misconfigured),
    row("no connection", "Refused, unreachable, or no such name.")
        .failed(&[Failure::Connect])
        .holds(Unreachable),
    row("no secure connection", "A certificate, as a rule. Files with certificates are read again.")
        .failed(&[Failure::Tls])
        .holds(Unreachable),
    row("no answer in time", "The server may have written the points all the same.")
        .failed(&[Failure::Timeout])
        .suspects(Timeout),
    row("no HTTP", "1.x copies control bytes of a bad line into a header.")
        .failed(&[Failure::Garbled])
        .suspects(Unreachable),
    BROKEN,
];

/// What no other row is for.
const STRANGE: Row =
    row("no status of an answer", "Not below 200, and not from 600 on.").holds(WrongEndpoint);

const BROKEN: Row = row("connection broken", "The points may be written all the same; or a 413 was lost.")
    .failed(&[Failure::Reset, Failure::Broken])
    .suspects(Unreachable);

const fn row(name: &'static str, why: &'static str) -> Row {
    Row {
        name,
        why,
        failures: &[],
        apis: &[],
        statuses: Statuses::Any,
        by: Speaker::Stranger,
        phrases: &[],
        means: Means::Hold { kind: WrongEndpoint, may_be_data: false },
    }
}

impl Row {
    const fn failed(self, failures: &'static [Failure]) -> Self {
        Self { failures, ..self }
    }

    const fn only(self, apis: &'static [Api]) -> Self {
        Self { apis, ..self }
    }

    const fn on(self, statuses: &'static [u16]) -> Self {
        Self { statuses: Statuses::These(statuses), ..self }
    }

    const fn class(self, hundreds: u16) -> Self {
        Self { statuses: Statuses::Class(hundreds), ..self }
    }

    const fn by(self, by: Speaker) -> Self {
        Self { by, ..self }
    }

    /// Said by an InfluxDB, or by what looks like one: that it says what an InfluxDB says makes it believable.
    const fn says(self, phrases: &'static [Phrase]) -> Self {
        Self { by: Speaker::Kin, phrases, ..self }
    }

    const fn anyone_says(self, phrases: &'static [Phrase]) -> Self {
        Self { phrases, ..self }
    }

    const fn delivered(self) -> Self {
        Self { means: Means::Delivered, ..self }
    }

    const fn refused(self, cause: Cause, points: Points) -> Self {
        Self { means: Means::Refused { cause, points }, ..self }
    }

    /// Explains itself: the batch is not to blame, however often it comes.
    const fn holds(self, kind: TroubleKind) -> Self {
        Self { means: Means::Hold { kind, may_be_data: false }, ..self }
    }

    /// Says nothing of the data; but if it comes again and again to one batch only, that may be the cause.
    const fn suspects(self, kind: TroubleKind) -> Self {
        Self { means: Means::Hold { kind, may_be_data: true }, ..self }
    }
}
