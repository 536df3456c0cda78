//! A file against a real PostgreSQL: applied once, or not at all, whatever happens to the connection.
#![expect(clippy::unwrap_used, reason = "a failed step ends the test")]

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use signalbox_common::class::{Classify as _, ErrorClass};
use signalbox_common::digest::sha256_hex;
use signalbox_common::id::{ReconcileId, StepId};
use signalbox_devcluster::{ClusterOptions, DevCluster};
use signalbox_executor::sql::{self, AppliedFile, Author, ConnectionUrl, Job, Limits, SqlError};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_postgres::{Client, NoTls};
use tokio_util::sync::CancellationToken;

const LIMITS: Limits = Limits {
    lock: Duration::from_secs(1),
    statement: Duration::from_secs(20),
    history_lock: Duration::from_secs(10),
};

fn job(url: &str, version: &str, sql: &str) -> Job {
    Job {
        url: ConnectionUrl::parse(url).unwrap(),
        history_schema: "signalbox".to_owned(),
        file: format!("V{version}__test.sql"),
        version: version.to_owned(),
        sha256: sha256_hex(sql.as_bytes()),
        sql: sql.to_owned(),
        limits: LIMITS,
        author: Author {
            executor: "executor-1".to_owned(),
            namespace: "team-a".to_owned(),
            name: "web".to_owned(),
            uid: "6c1f9c40-0000-4000-8000-000000000001".to_owned(),
            step_id: StepId::new("uid", version, sql),
            attempt: 1,
            reconcile_id: ReconcileId(uuid::Uuid::from_u128(7)),
        },
    }
}

async fn apply(job: &Job) -> Result<AppliedFile, SqlError> {
    sql::apply(job, &CancellationToken::new()).await
}

async fn client(url: &str) -> Client {
    let (client, connection) = tokio_postgres::connect(url, NoTls).await.unwrap();
    tokio::spawn(connection);
    client
}

async fn number(client: &Client, sql: &str) -> i64 {
    client.query_one(sql, &[]).await.unwrap().get(0)
}

const ROWS: &str = "select count(*) from signalbox.history where state = 'applied'";

/// Waits until `condition` holds; a condition that never holds fails the test.
async fn until(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let begun = Instant::now();
    while !condition().await {
        assert!(begun.elapsed() < Duration::from_secs(20), "never: {what}");
        tokio::task::yield_now().await;
    }
}

/// All tests share one server, each has its own database.
#[tokio::test(flavor = "multi_thread")]
async fn files_are_applied_exactly_once() {
    let options = ClusterOptions {
        postgres: true,
        ..ClusterOptions::bare("sql")
    };
    let cluster = DevCluster::start(options).await.unwrap();
    let database = async |name: &str| cluster.create_database(name).await.unwrap();
    once_on_repeat(&database("repeat").await).await;
    other_content_is_refused(&database("checksum").await).await;
    a_failed_statement_leaves_nothing(&database("failure").await).await;
    two_at_once_apply_once(&database("race").await).await;
    a_held_lock_is_told(&database("held").await).await;
    a_lock_in_the_way_passes(&database("blocked").await).await;
    a_deferred_failure_at_commit_is_told(&database("deferred").await).await;
    a_lost_session_leaves_nothing(&database("killed").await).await;
    a_lost_answer_to_commit_is_looked_up(&database("lost").await).await;
    a_commit_that_never_arrived_is_told(&database("unsent").await).await;
    a_statement_that_never_arrived_is_noticed(&database("swallowed").await).await;
    a_cancelled_file_leaves_nothing(&database("cancelled").await).await;
    a_file_that_changes_its_role_is_recorded(&database("role").await).await;
    the_password_is_never_told(&database("secret").await).await;
    cluster.stop().await.unwrap();
}

async fn once_on_repeat(url: &str) {
    let job = job(
        url,
        "1",
        "create table a (x int); insert into a values (1); -- done",
    );
    let first = apply(&job).await.unwrap();
    let second = apply(&job).await.unwrap();
    assert!(!first.found_done && second.found_done);
    let client = client(url).await;
    assert_eq!(number(&client, "select count(*) from a").await, 1);
    assert_eq!(number(&client, ROWS).await, 1);
    assert_eq!(
        number(&client, "select epoch from signalbox.lease").await,
        2
    );
    let row = "select executor_id || ' ' || stmt_total || ' ' || action_id from signalbox.history";
    let told: String = client.query_one(row, &[]).await.unwrap().get(0);
    assert_eq!(told, format!("executor-1 2 {}", job.author.step_id));
}

async fn other_content_is_refused(url: &str) {
    apply(&job(url, "1", "create table a (x int)"))
        .await
        .unwrap();
    let err = apply(&job(url, "1", "create table b (x int)"))
        .await
        .unwrap_err();
    assert!(matches!(err, SqlError::ChecksumMismatch { .. }), "{err}");
    assert_eq!(err.class(), ErrorClass::Invalid);
    assert_eq!(number(&client(url).await, ROWS).await, 1);
}

async fn a_failed_statement_leaves_nothing(url: &str) {
    let broken = job(
        url,
        "1",
        "create table a (x int);\ncreate table b (x int) nonsense;",
    );
    let err = apply(&broken).await.unwrap_err();
    assert_eq!(err.class(), ErrorClass::Invalid);
    assert_eq!(
        err.to_string(),
        "V1__test.sql, statement 2 (line 2): syntax error at or near \"nonsense\" (SQLSTATE 42601)"
    );
    let client = client(url).await;
    assert_eq!(
        number(
            &client,
            "select count(*) from pg_tables where tablename = 'a'"
        )
        .await,
        0
    );
    assert_eq!(
        number(&client, "select count(*) from signalbox.history").await,
        0
    );
    let noted =
        "select count(*) from signalbox.attempts where error_sqlstate = '42601' and error_stmt = 2";
    assert_eq!(number(&client, noted).await, 1);
    let refused = apply(&job(url, "1", "select 1; commit")).await.unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Invalid, "{refused}");
    apply(&job(url, "1", "create table a (x int)"))
        .await
        .unwrap();
}

async fn two_at_once_apply_once(url: &str) {
    let job = job(
        url,
        "1",
        "create table a (x int); insert into a values (1); select pg_sleep(0.3)",
    );
    let all = futures::future::join_all((0..4).map(|_| apply(&job))).await;
    let found: Vec<bool> = all
        .into_iter()
        .map(|done| done.unwrap().found_done)
        .collect();
    assert_eq!(
        found.iter().filter(|found| !**found).count(),
        1,
        "{found:?}"
    );
    let client = client(url).await;
    assert_eq!(number(&client, "select count(*) from a").await, 1);
    assert_eq!(number(&client, ROWS).await, 1);
}

async fn a_held_lock_is_told(url: &str) {
    let mut first = job(url, "1", "create table a (x int); select pg_sleep(3)");
    "executor-2".clone_into(&mut first.author.executor);
    let cancel = CancellationToken::new();
    let running = tokio::spawn({
        let cancel = cancel.clone();
        async move { sql::apply(&first, &cancel).await }
    });
    let watcher = client(url).await;
    let sleeping = "select count(*) from pg_stat_activity where query like '%pg_sleep(3)%' and pid <> pg_backend_pid()";
    until("the first sleeps", async || {
        number(&watcher, sleeping).await > 0
    })
    .await;
    let mut second = job(url, "2", "create table b (x int)");
    second.limits.history_lock = Duration::from_millis(600);
    let err = apply(&second).await.unwrap_err();
    assert_eq!(err.class(), ErrorClass::Transient, "{err}");
    let text = err.to_string();
    assert!(
        text.contains("signalbox/executor-2/team-a/web") && text.contains("pid "),
        "{text}"
    );
    cancel.cancel();
    assert_eq!(running.await.unwrap(), Err(SqlError::Cancelled));
}

async fn a_lock_in_the_way_passes(url: &str) {
    let holder = client(&format!("{url}?application_name=report")).await;
    holder
        .batch_execute("create table a (x int)")
        .await
        .unwrap();
    holder
        .batch_execute("begin; select * from a")
        .await
        .unwrap();
    let job = job(url, "1", "alter table a add column y int");
    let err = apply(&job).await.unwrap_err();
    assert_eq!(err.class(), ErrorClass::Transient, "{err}");
    let text = err.to_string();
    assert!(
        text.contains("55P03") && text.contains("(report)"),
        "{text}"
    );
    holder.batch_execute("commit").await.unwrap();
    apply(&job).await.unwrap();
}

async fn a_deferred_failure_at_commit_is_told(url: &str) {
    let sql = "create table a (x int primary key); create table b (x int references a initially deferred); \
               insert into b values (1)";
    let err = apply(&job(url, "1", sql)).await.unwrap_err();
    assert!(matches!(err, SqlError::Commit { .. }), "{err}");
    assert_eq!(err.class(), ErrorClass::Invalid);
    assert_eq!(
        number(&client(url).await, "select count(*) from signalbox.history").await,
        0
    );
}

async fn a_lost_session_leaves_nothing(url: &str) {
    let lost = job(
        url,
        "1",
        "create table a (x int); select pg_terminate_backend(pg_backend_pid())",
    );
    let err = apply(&lost).await.unwrap_err();
    assert_eq!(err.class(), ErrorClass::Transient, "{err}");
    let client = client(url).await;
    assert_eq!(
        number(
            &client,
            "select count(*) from pg_tables where tablename = 'a'"
        )
        .await,
        0
    );
    assert_eq!(
        number(&client, "select count(*) from signalbox.history").await,
        0
    );
    apply(&job(url, "1", "create table a (x int)"))
        .await
        .unwrap();
}

/// What the proxy loses, once.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Loss {
    /// The answer to a COMMIT, with the connection.
    Answer,
    /// A COMMIT, with the connection.
    Commit,
    /// A statement that creates the table `a`; the connection stays.
    Statement,
}

impl Loss {
    const fn mark(self) -> &'static [u8] {
        match self {
            Self::Answer | Self::Commit => b"COMMIT\0",
            Self::Statement => b"create table a ",
        }
    }
}

/// A proxy before the server, which loses something. Returns the URL through it.
async fn proxy(url: &str, loss: Loss) -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let own = listener.local_addr().unwrap().to_string();
    let server = url
        .split('@')
        .nth(1)
        .unwrap()
        .split('/')
        .next()
        .unwrap()
        .to_owned();
    let through = url.replace(&server, &own);
    let broken = Arc::new(AtomicBool::new(false));
    tokio::spawn(async move {
        while let Ok((client, _)) = listener.accept().await {
            let upstream = TcpStream::connect(&server).await.unwrap();
            tokio::spawn(pass(client, upstream, Arc::clone(&broken), loss));
        }
    });
    through
}

async fn pass(mut client: TcpStream, mut server: TcpStream, broken: Arc<AtomicBool>, loss: Loss) {
    let (mut from_client, mut from_server) = ([0; 8192], [0; 8192]);
    loop {
        tokio::select! {
            read = client.read(&mut from_client) => {
                let Ok(count @ 1..) = read else { return };
                let text = from_client.get(..count).unwrap();
                let mark = loss.mark();
                if text.windows(mark.len()).any(|window| window == mark) && !broken.swap(true, Ordering::SeqCst) {
                    match loss {
                        Loss::Answer => {
                            server.write_all(text).await.unwrap();
                            assert!(server.read(&mut from_server).await.unwrap() > 0);
                            return;
                        }
                        Loss::Commit => return,
                        Loss::Statement => continue,
                    }
                }
                if server.write_all(text).await.is_err() { return }
            }
            read = server.read(&mut from_server) => {
                let Ok(count @ 1..) = read else { return };
                if client.write_all(from_server.get(..count).unwrap()).await.is_err() { return }
            }
        }
    }
}

async fn a_lost_answer_to_commit_is_looked_up(url: &str) {
    let through = proxy(url, Loss::Answer).await;
    let done = apply(&job(&through, "1", "create table a (x int)"))
        .await
        .unwrap();
    assert!(!done.found_done);
    let client = client(url).await;
    assert_eq!(number(&client, ROWS).await, 1);
    assert_eq!(
        number(&client, "select epoch from signalbox.lease").await,
        1,
        "it ran once"
    );
}

async fn a_commit_that_never_arrived_is_told(url: &str) {
    let through = proxy(url, Loss::Commit).await;
    let job = job(&through, "1", "create table a (x int)");
    let err = apply(&job).await.unwrap_err();
    assert!(matches!(err, SqlError::NotCommitted { .. }), "{err}");
    assert_eq!(err.class(), ErrorClass::Transient, "{err}");
    assert!(!apply(&job).await.unwrap().found_done);
}

/// The executor waited for the answer to a statement that the server never got, without end.
async fn a_statement_that_never_arrived_is_noticed(url: &str) {
    let through = proxy(url, Loss::Statement).await;
    let job = job(&through, "1", "create table a (x int)");
    let limit = Duration::from_mins(1);
    let err = tokio::time::timeout(limit, apply(&job)).await.unwrap();
    let err = err.unwrap_err();
    assert_eq!(err.class(), ErrorClass::Transient, "{err}");
    assert!(!apply(&job).await.unwrap().found_done);
}

async fn a_cancelled_file_leaves_nothing(url: &str) {
    let job = job(url, "1", "create table a (x int); select pg_sleep(60)");
    let cancel = CancellationToken::new();
    let running = tokio::spawn({
        let (job, cancel) = (job.clone(), cancel.clone());
        async move { sql::apply(&job, &cancel).await }
    });
    let watcher = client(url).await;
    let sessions =
        "select count(*) from pg_stat_activity where application_name like 'signalbox/%'";
    let sleeping = "select count(*) from pg_stat_activity where query = 'select pg_sleep(60)'";
    until("it sleeps", async || number(&watcher, sleeping).await > 0).await;
    cancel.cancel();
    assert_eq!(running.await.unwrap(), Err(SqlError::Cancelled));
    until("its session ends", async || {
        number(&watcher, sessions).await == 0
    })
    .await;
    assert_eq!(
        number(
            &watcher,
            "select count(*) from pg_tables where tablename = 'a'"
        )
        .await,
        0
    );
    assert_eq!(
        number(&watcher, "select count(*) from signalbox.history").await,
        0
    );
}

async fn a_file_that_changes_its_role_is_recorded(url: &str) {
    let sql = "create role nobody_special; set role nobody_special; set search_path = nowhere";
    apply(&job(url, "1", sql)).await.unwrap();
    assert_eq!(number(&client(url).await, ROWS).await, 1);
}

async fn the_password_is_never_told(url: &str) {
    let right = url
        .split(':')
        .nth(2)
        .unwrap()
        .split('@')
        .next()
        .unwrap()
        .to_owned();
    let wrong = url.replace(&right, "hunter2-secret");
    let refused = apply(&job(&wrong, "1", "select 1")).await.unwrap_err();
    assert_eq!(refused.class(), ErrorClass::Forbidden, "{refused}");
    let leaking = job(
        url,
        "1",
        &format!("do $$ begin raise exception 'it is {right}'; end $$"),
    );
    let raised = apply(&leaking).await.unwrap_err();
    let closed = TcpListener::bind("127.0.0.1:0")
        .await
        .unwrap()
        .local_addr()
        .unwrap()
        .port();
    let unreachable = format!("postgres://postgres:{right}@127.0.0.1:{closed}/x");
    let unreachable = apply(&job(&unreachable, "1", "select 1"))
        .await
        .unwrap_err();
    assert_eq!(unreachable.class(), ErrorClass::Transient, "{unreachable}");
    for err in [&refused, &raised, &unreachable] {
        let told = format!("{err} {err:?}");
        assert!(
            !told.contains(&right) && !told.contains("hunter2"),
            "{told}"
        );
        assert!(!told.contains("postgres://"), "{told}");
    }
    assert!(!format!("{leaking:?}").contains(&wrong));
    let noted =
        format!("select count(*) from signalbox.attempts where error_message like '%{right}%'");
    assert_eq!(number(&client(url).await, &noted).await, 0);
}
