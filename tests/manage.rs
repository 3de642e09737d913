//! Asking and managing InfluxDB 2.x and 3.x: what is sent to them, and what is made of their answers.
//!
//! No such server can be had here. Answers are in the forms of the documentation: of 2.x the API's description
//! (influxdata/openapi, `contracts/oss.yml`, with its examples) and the tests of the Go client
//! (influxdata/influxdb-client-go, `api/*_test.go`); of 3.x the documentation of its HTTP API
//! (docs.influxdata.com/influxdb3/core/api) and, for `/ping`, `/health` and errors, what 3.6.0 was seen to answer.

#![allow(clippy::unwrap_used)]

mod support;

use std::time::Duration;

use influx_spool::query::{
    AuthorizationFilter, HealthStatus, NewBucket, Onboarding, Permission, RetentionRule, V3Query, Value,
};
use influx_spool::{Auth, Client, HttpConfig, QueryError, Secret, Timestamp};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use support::scripted::{Script, Scripted};

/// A server that gives these answers one after another, and a client of it.
struct Rig {
    server: Scripted,
    client: Client,
}

impl Rig {
    fn new(answers: &[(u16, &str)]) -> Self {
        let scripts: Vec<_> =
            answers.iter().map(|(status, body)| Script::status(*status, "", body)).collect();
        let server = Scripted::playing(scripts);
        let mut config = HttpConfig::new(server.url());
        config.auth = Auth::Token { token: "t0ken".into() };
        let client = Client::new(&config).unwrap().with_database("plant").with_org("my org");
        Self { server, client }
    }

    /// The last request: its method and target, and its body as JSON, or null.
    fn asked(&self) -> (String, Json) {
        let seen = self.server.seen().pop().unwrap();
        assert_eq!(seen.header("authorization"), Some("Token t0ken"));
        let body = if seen.body.is_empty() { Json::Null } else { serde_json::from_str(seen.text()).unwrap() };
        (format!("{} {}", seen.method, seen.target), body)
    }

    #[track_caller]
    fn check_asked(&self, request: &str, body: Json) {
        assert_eq!(self.asked(), (request.to_owned(), body));
    }
}

const ORG: &str = r#"{"links":{"self":"/api/v2/orgs/0a1b"},"id":"0a1b","name":"my org","description":"","createdAt":"2026-01-01T00:00:00.1Z","updatedAt":"2026-01-01T00:00:00.1Z"}"#;

const BUCKET: &str = r#"{"id":"b1","orgID":"0a1b","type":"user","name":"plant","retentionRules":[{"type":"expire","everySeconds":3600,"shardGroupDurationSeconds":3600}],"createdAt":"2026-01-01T00:00:00.1Z","updatedAt":"2026-01-01T00:00:00.1Z","links":{},"labels":[]}"#;

const AUTHORIZATION: &str = r#"{"id":"a1","token":"s3cret==","status":"active","description":"writer","orgID":"0a1b","org":"my org","userID":"u1","user":"me","permissions":[{"action":"write","resource":{"type":"buckets","id":"b1","orgID":"0a1b","name":"plant"}}]}"#;

const NOT_FOUND: &str = r#"{"code":"not found","message":"bucket \"plant\" not found"}"#;

#[tokio::test]
async fn a_new_server_is_set_up() {
    let answer = format!(
        r#"{{"user":{{"id":"u1","name":"me","status":"active"}},"bucket":{BUCKET},"org":{ORG},"auth":{AUTHORIZATION}}}"#
    );
    let rig = Rig::new(&[
        (200, r#"{"allowed":true}"#),
        (201, &answer),
        (422, r#"{"code":"conflict","message":"onboarding has already been completed"}"#),
    ]);
    assert!(!rig.client.is_setup().await.unwrap());
    rig.check_asked("GET /api/v2/setup", Json::Null);
    let onboarding = Onboarding::new("me", "my org", "plant").password("s3cret pw").retention_seconds(3_600);
    assert!(!format!("{onboarding:?}").contains("s3cret"));
    let onboarded = rig.client.setup(&onboarding).await.unwrap();
    rig.check_asked(
        "POST /api/v2/setup",
        json!({"username": "me", "password": "s3cret pw", "org": "my org", "bucket": "plant", "retentionPeriodSeconds": 3600}),
    );
    assert_eq!((onboarded.user.id.as_str(), onboarded.org.id.as_str()), ("u1", "0a1b"));
    assert!(!format!("{onboarded:?}").contains("s3cret"), "{onboarded:?}");
    assert_eq!(onboarded.auth.token, Some(Secret::from("s3cret==")));
    let again = rig.client.setup(&onboarding).await.unwrap_err();
    let words = "onboarding has already been completed".to_owned();
    assert_eq!(again, QueryError::Refused { status: 422, code: Some("conflict".into()), words });
}

#[tokio::test]
async fn organizations_are_managed() {
    let listed = format!(r#"{{"orgs":[{ORG}]}}"#);
    let member = r#"{"role":"member","links":{},"id":"u1","name":"me"}"#;
    let rig = Rig::new(&[
        (200, &listed),
        (200, &listed),
        (404, r#"{"code":"not found","message":"organization name \"none\" not found"}"#),
        (201, ORG),
        (200, ORG),
        (201, member),
        (200, &format!(r#"{{"users":[{member}]}}"#)),
        (204, ""),
        (204, ""),
    ]);
    let orgs = rig.client.organizations();
    assert_eq!(orgs.list().await.unwrap().len(), 1);
    rig.check_asked("GET /api/v2/orgs?limit=100&offset=0", Json::Null);
    let mut org = orgs.find("my org").await.unwrap().unwrap();
    rig.check_asked("GET /api/v2/orgs?org=my+org", Json::Null);
    assert_eq!(orgs.find("none").await, Ok(None));
    orgs.create("new").await.unwrap();
    rig.check_asked("POST /api/v2/orgs", json!({"name": "new"}));
    org.description = Some("ours".into());
    orgs.update(&org).await.unwrap();
    rig.check_asked("PATCH /api/v2/orgs/0a1b", json!({"name": "my org", "description": "ours"}));
    assert_eq!(orgs.members("0a1b").add("u1").await.unwrap().role, "member");
    rig.check_asked("POST /api/v2/orgs/0a1b/members", json!({"id": "u1"}));
    assert_eq!(orgs.owners("0a1b").list().await.unwrap()[0].name, "me");
    rig.check_asked("GET /api/v2/orgs/0a1b/owners", Json::Null);
    orgs.members("0a1b").remove("u1").await.unwrap();
    rig.check_asked("DELETE /api/v2/orgs/0a1b/members/u1", Json::Null);
    orgs.delete("0a1b").await.unwrap();
    rig.check_asked("DELETE /api/v2/orgs/0a1b", Json::Null);
}

#[tokio::test]
async fn buckets_are_managed() {
    let listed = format!(r#"{{"links":{{}},"buckets":[{BUCKET}]}}"#);
    let rig = Rig::new(&[
        (200, &listed),
        (404, NOT_FOUND),
        (200, &format!(r#"{{"orgs":[{ORG}]}}"#)),
        (201, BUCKET),
        (200, BUCKET),
        (204, ""),
        (404, NOT_FOUND),
    ]);
    let buckets = rig.client.buckets();
    let mut bucket = buckets.find("plant").await.unwrap().unwrap();
    rig.check_asked("GET /api/v2/buckets?org=my+org&name=plant", Json::Null);
    assert_eq!(bucket.retention_rules[0].every_seconds, 3_600);
    assert_eq!(buckets.find("plant").await, Ok(None));
    let hour = RetentionRule::expire_after(Duration::from_secs(3_600));
    buckets.create(NewBucket::new("plant").description("ours").retention(hour)).await.unwrap();
    let rules = json!([{"type": "expire", "everySeconds": 3600}]);
    rig.check_asked(
        "POST /api/v2/buckets",
        json!({"name": "plant", "orgID": "0a1b", "description": "ours", "retentionRules": rules}),
    );
    bucket.retention_rules.clear();
    buckets.update(&bucket).await.unwrap();
    rig.check_asked("PATCH /api/v2/buckets/b1", json!({"name": "plant", "retentionRules": []}));
    buckets.delete("b1").await.unwrap();
    rig.check_asked("DELETE /api/v2/buckets/b1", Json::Null);
    let gone = buckets.delete("b1").await.unwrap_err();
    assert_eq!(gone.server_words(), Some("bucket \"plant\" not found"));
}

#[tokio::test]
async fn lists_are_read_page_by_page() {
    let page = |from: usize, count: usize| {
        let user = |n: usize| format!(r#"{{"id":"{n}","name":"user {n}"}}"#);
        let users: Vec<_> = (from..from + count).map(user).collect();
        format!(r#"{{"users":[{}]}}"#, users.join(","))
    };
    let rig = Rig::new(&[(200, &page(0, 100)), (200, &page(100, 100)), (200, &page(200, 1))]);
    let users = rig.client.users().list().await.unwrap();
    assert_eq!(users.len(), 201);
    assert_eq!(users[200].name, "user 200");
    rig.check_asked("GET /api/v2/users?limit=100&offset=200", Json::Null);
    let endless = Rig::new(&[(200, &page(0, 100))]);
    let client = endless.client.clone().with_answer_bytes_max(100_000);
    assert_eq!(client.users().list().await, Err(QueryError::TooLarge { limit: 100_000 }));
}

#[tokio::test]
async fn tokens_are_managed() {
    let listed = format!(r#"{{"authorizations":[{AUTHORIZATION}]}}"#);
    let rig = Rig::new(&[
        (200, &listed),
        (200, &format!(r#"{{"orgs":[{ORG}]}}"#)),
        (201, AUTHORIZATION),
        (200, AUTHORIZATION),
        (204, ""),
    ]);
    let tokens = rig.client.authorizations();
    let found = tokens.list(AuthorizationFilter::User("me")).await.unwrap();
    rig.check_asked("GET /api/v2/authorizations?user=me", Json::Null);
    assert_eq!(found[0].permissions[0].resource.name.as_deref(), Some("plant"));
    assert!(!format!("{found:?}").contains("s3cret"), "{found:?}");
    tokens.create("writer", vec![Permission::write("buckets", "0a1b").only("b1")]).await.unwrap();
    let permission = json!({"action": "write", "resource": {"type": "buckets", "id": "b1", "orgID": "0a1b"}});
    rig.check_asked(
        "POST /api/v2/authorizations",
        json!({"status": "active", "description": "writer", "orgID": "0a1b", "permissions": [permission]}),
    );
    tokens.set_active("a1", false).await.unwrap();
    rig.check_asked("PATCH /api/v2/authorizations/a1", json!({"status": "inactive"}));
    tokens.delete("a1").await.unwrap();
    rig.check_asked("DELETE /api/v2/authorizations/a1", Json::Null);
}

#[tokio::test]
async fn users_are_managed() {
    let user = r#"{"links":{},"id":"u1","name":"me","status":"active"}"#;
    let rig = Rig::new(&[(200, user), (201, user), (200, user), (204, ""), (204, "")]);
    let users = rig.client.users();
    let me = users.me().await.unwrap();
    rig.check_asked("GET /api/v2/me", Json::Null);
    users.create("other").await.unwrap();
    rig.check_asked("POST /api/v2/users", json!({"name": "other"}));
    users.update(&me).await.unwrap();
    rig.check_asked("PATCH /api/v2/users/u1", json!({"name": "me", "status": "active"}));
    users.set_password("u1", "new pw").await.unwrap();
    rig.check_asked("POST /api/v2/users/u1/password", json!({"password": "new pw"}));
    users.delete("u1").await.unwrap();
    rig.check_asked("DELETE /api/v2/users/u1", Json::Null);
}

#[tokio::test]
async fn a_page_of_somebody_elses_is_no_missing_bucket() {
    let rig = Rig::new(&[(404, "<html>404 Not Found</html>")]);
    assert_eq!(rig.client.buckets().find("plant").await.unwrap_err().status(), Some(404));
}

#[derive(Debug, PartialEq, Deserialize)]
struct Usage {
    _time: Timestamp,
    _value: f64,
    host: String,
    note: Option<String>,
}

const FLUX: &str = "#datatype,string,long,dateTime:RFC3339,double,string,string\r\n#group,false,false,false,false,true,false\r\n#default,_result,,,,,\r\n,result,table,_time,_value,host,note\r\n,,0,1970-01-01T00:00:00.000000001Z,1,a,\"x,\r\ny\"\r\n,,1,1970-01-01T00:00:01Z,0.5,b,\r\n\r\n";

#[tokio::test]
async fn flux_answers_with_typed_rows() {
    let rig = Rig::new(&[(200, FLUX)]);
    let script = r#"from(bucket: "plant") |> range(start: -1h)"#;
    let tables = rig.client.flux(script).await.unwrap();
    let dialect = json!({"annotations": ["datatype", "group", "default"], "delimiter": ",", "header": true});
    rig.check_asked(
        "POST /api/v2/query?org=my+org",
        json!({"query": script, "type": "flux", "dialect": dialect}),
    );
    assert_eq!(tables.len(), 2);
    assert!(tables[0].columns[4].is_group);
    let rows: Vec<Usage> = tables.iter().flat_map(|table| table.rows()).map(Result::unwrap).collect();
    let usage = |nanos, value, host: &str, note: Option<&str>| Usage {
        _time: Timestamp::from_nanos(nanos),
        _value: value,
        host: host.into(),
        note: note.map(str::to_owned),
    };
    assert_eq!(rows, [usage(1, 1.0, "a", Some("x,\r\ny")), usage(1_000_000_000, 0.5, "b", None)]);
}

#[tokio::test]
async fn flux_says_what_is_wrong() {
    let bad = r#"{"code":"invalid","message":"compilation failed: error @1:1-1:2: undefined identifier x"}"#;
    let table = "#datatype,string,string\r\n#group,true,true\r\n#default,,\r\n,error,reference\r\n,bounds contain zero time,897\r\n";
    let rig = Rig::new(&[
        (400, bad),
        (200, table),
        (401, r#"{"code":"unauthorized","message":"unauthorized access"}"#),
    ]);
    let refused = rig.client.flux("x").await.unwrap_err();
    assert_eq!(refused.to_string(), "status 400: compilation failed: error @1:1-1:2: undefined identifier x");
    let mut rows = rig.client.flux_rows("x").await.unwrap();
    let gave_up = rows.next().await.unwrap().unwrap_err();
    assert_eq!(gave_up.server_words(), Some("bounds contain zero time (reference 897)"));
    assert!(rows.next().await.is_none());
    assert_eq!(rig.client.flux_rows("x").await.unwrap_err().status(), Some(401));
    let nowhere = Client::new(&HttpConfig::new(rig.server.url())).unwrap().flux("x").await;
    assert_eq!(nowhere, Err(QueryError::Incomplete("flux needs an organization")));
}

#[tokio::test]
async fn a_2x_server_tells_how_it_is() {
    let pass = r#"{"name":"influxdb","message":"ready for queries and writes","status":"pass","checks":[],"version":"v2.7.11","commit":"fbf5d4ab5e"}"#;
    let fail = r#"{"name":"influxdb","message":"no disk","status":"fail","checks":[],"version":"v2.7.11","commit":"fbf5d4ab5e"}"#;
    let ready = r#"{"status":"ready","started":"2026-01-01T00:00:00.1Z","up":"1h2m3.5s"}"#;
    let rig = Rig::new(&[(200, pass), (503, fail), (200, ready), (503, "<html>")]);
    let health = rig.client.health().await.unwrap();
    assert_eq!((health.status, health.version.as_deref()), (HealthStatus::Pass, Some("v2.7.11")));
    let health = rig.client.health().await.unwrap();
    assert_eq!((health.status, health.message.as_deref()), (HealthStatus::Fail, Some("no disk")));
    assert_eq!(rig.client.ready().await.unwrap().up.as_deref(), Some("1h2m3.5s"));
    assert_eq!(rig.client.health().await.unwrap_err().status(), Some(503));
}

#[tokio::test]
async fn a_3x_server_tells_how_it_is() {
    let ping =
        r#"{"version":"3.6.0","revision":"7e07b134f4","process_id":"84b2d5a1-0000-0000-0000-000000000000"}"#;
    let rig = Rig::new(&[(200, ping), (200, "OK"), (404, ""), (200, ping)]);
    assert_eq!(rig.client.ping().await.unwrap().version.as_deref(), Some("3.6.0"));
    assert_eq!(rig.client.health().await.unwrap().status, HealthStatus::Pass);
    assert_eq!(rig.client.ready().await.unwrap().status.as_deref(), Some("ready"));
}

#[tokio::test]
async fn sql_answers_with_typed_rows() {
    let jsonl = "{\"host\":\"a\",\"n\":9223372036854775807,\"time\":\"2026-01-01T00:00:00.000000001\"}\n{\"host\":\"b\",\"time\":\"2026-01-01T00:00:01\"}\n";
    let rig = Rig::new(&[(200, jsonl), (200, jsonl), (200, "")]);
    let question = V3Query::sql("SELECT * FROM m WHERE host != $host").bind("host", "c");
    let rows = rig.client.sql(question).await.unwrap();
    let sent = json!({"db": "plant", "q": "SELECT * FROM m WHERE host != $host", "format": "jsonl", "params": {"host": "c"}});
    rig.check_asked("POST /api/v3/query_sql", sent);
    assert_eq!(rows[0].columns(), ["host", "n", "time"]);
    assert_eq!(rows[0].get("n"), Some(&Value::Integer(i64::MAX)));
    assert_eq!(rows[1].get("n"), None);
    let mut rows = rig.client.sql_rows(V3Query::influxql("SELECT * FROM m")).await.unwrap();
    rig.check_asked(
        "POST /api/v3/query_influxql",
        json!({"db": "plant", "q": "SELECT * FROM m", "format": "jsonl"}),
    );
    assert_eq!(rows.next().await.unwrap().unwrap().get("host"), Some(&"a".into()));
    assert_eq!(rig.client.sql("SELECT 1 WHERE false").await, Ok(Vec::new()));
}

#[tokio::test]
async fn databases_of_3x_come_and_go() {
    let rig = Rig::new(&[
        (200, r#"[{"iox::database":"_internal"},{"iox::database":"plant"}]"#),
        (200, r#"{"databases":["plant"]}"#),
        (200, ""),
        (200, ""),
        (404, r#"{"error":"the requested resource was not found"}"#),
    ]);
    let databases = rig.client.v3_databases();
    assert_eq!(databases.list().await.unwrap(), ["_internal", "plant"]);
    rig.check_asked("GET /api/v3/configure/database?format=json", Json::Null);
    assert_eq!(databases.list().await.unwrap(), ["plant"]);
    databases.create("new", Duration::from_secs(86_400)).await.unwrap();
    rig.check_asked("POST /api/v3/configure/database", json!({"db": "new", "retention_period": "86400s"}));
    databases.create("new", None).await.unwrap();
    rig.check_asked("POST /api/v3/configure/database", json!({"db": "new"}));
    let missing = databases.delete("a b").await.unwrap_err();
    rig.check_asked("DELETE /api/v3/configure/database?db=a+b", Json::Null);
    assert_eq!(missing.server_words(), Some("the requested resource was not found"));
}
