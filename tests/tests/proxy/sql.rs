//! Statements of the database.

use signalbox_proxy::{Fault, Loss, Place, Plan};
use tokio_postgres::NoTls;

use super::{Case, SILENCE, SOON};

/// What runs of a statement, whether its end is seen, whether the part died.
#[tokio::test(flavor = "multi_thread")]
async fn statements() {
    let mut case = Case::new("proxy-sql").await;
    let url = case.world.cluster.create_database("ledger").await.unwrap();
    let (direct, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    direct
        .batch_execute("CREATE TABLE t (n int)")
        .await
        .unwrap();
    let insert = "INSERT INTO t VALUES ($1::int4)";
    let cases = [
        (None, true, true, false),
        (Some(Fault::Cut), false, false, false),
        (Some(Fault::Delay { ms: 100 }), true, true, false),
        (Some(Fault::Lose(Loss::Reset)), false, true, false),
        (Some(Fault::Kill(Place::Before)), false, false, true),
        (Some(Fault::Kill(Place::Answer)), false, true, true),
        (Some(Fault::Kill(Place::After)), true, true, true),
    ];
    for (number, (fault, answered, effect, dies)) in cases.into_iter().enumerate() {
        let step = format!("sql ledger {insert}");
        let plan = fault.clone().map(|fault| Plan::once(&step, 1, fault));
        case.plan(plan.unwrap_or_default());
        let through = case.part.through(&url);
        let (client, connection) = tokio_postgres::connect(&through, NoTls).await.unwrap();
        tokio::spawn(connection);
        let n = i32::try_from(number).unwrap();
        // Prepared first, which is no step, then run.
        let ran = client.execute(insert, &[&n]).await;
        assert_eq!(ran.is_ok(), answered, "{fault:?}: {ran:?}");
        if dies {
            case.is_killed().await;
        }
        assert_eq!(case.lives(), !dies, "{fault:?}");
        let rows = direct
            .query("SELECT 1 FROM t WHERE n = $1", &[&n])
            .await
            .unwrap();
        assert_eq!(rows.len(), usize::from(effect), "{fault:?}");
        let steps: Vec<_> = case.part.proxy.director.trace();
        let steps: Vec<_> = steps.iter().map(|entry| entry.step.as_str()).collect();
        assert_eq!(steps, ["sql ledger CONNECT", step.as_str()]);
    }

    // A COMMIT whose end nobody saw is one all the same, and one that never arrived is none.
    for (fault, rows) in [(Place::Before, 0), (Place::Answer, 1)] {
        direct.batch_execute("TRUNCATE t").await.unwrap();
        case.plan(Plan::once("sql ledger COMMIT", 1, Fault::Kill(fault)));
        let through = case.part.through(&url);
        let (client, connection) = tokio_postgres::connect(&through, NoTls).await.unwrap();
        tokio::spawn(connection);
        client.batch_execute("BEGIN").await.unwrap();
        client
            .batch_execute("INSERT INTO t VALUES (7)")
            .await
            .unwrap();
        assert!(client.batch_execute("COMMIT").await.is_err());
        case.is_killed().await;
        let found = direct.query("SELECT 1 FROM t", &[]).await.unwrap();
        assert_eq!(found.len(), rows, "{fault:?}");
    }
}

/// The error that the client is answered in the place of a statement, and that nothing ran.
#[tokio::test(flavor = "multi_thread")]
async fn errors() {
    let mut case = Case::new("proxy-errors").await;
    let url = case.world.cluster.create_database("ledger").await.unwrap();
    let (direct, connection) = tokio_postgres::connect(&url, NoTls).await.unwrap();
    tokio::spawn(connection);
    direct
        .batch_execute("CREATE TABLE t (n int)")
        .await
        .unwrap();
    let through = case.part.through(&url);
    let code = |error: tokio_postgres::Error| error.code().map(|code| code.code().to_owned());
    for (state, ends) in [
        ("40001", false),
        ("55P03", false),
        ("42501", false),
        ("57P01", true),
    ] {
        let raise = Fault::Raise(state.to_owned());
        case.plan(Plan::once(
            "sql ledger INSERT INTO t VALUES ($1::int4)",
            1,
            raise,
        ));
        let (client, connection) = tokio_postgres::connect(&through, NoTls).await.unwrap();
        let connection = tokio::spawn(connection);
        client.batch_execute("BEGIN").await.unwrap();
        let error = client
            .execute("INSERT INTO t VALUES ($1::int4)", &[&1])
            .await;
        let error = error.unwrap_err();
        assert_eq!(code(error).as_deref(), Some(state));
        if ends {
            let ended = tokio::time::timeout(SOON, connection).await;
            assert!(ended.is_ok(), "the session ends");
        } else {
            // The transaction has failed as on a real error.
            let later = client.batch_execute("INSERT INTO t VALUES (2)").await;
            assert_eq!(code(later.unwrap_err()).as_deref(), Some("25P02"));
            client.batch_execute("ROLLBACK").await.unwrap();
            client.batch_execute("SELECT 1").await.unwrap();
        }
        assert_eq!(case.part.proxy.director.made().len(), 1);
    }
    let rows = direct.query("SELECT 1 FROM t", &[]).await.unwrap();
    assert!(rows.is_empty(), "nothing ran");

    for (fault, state) in [
        (Fault::Raise("53300".to_owned()), Some("53300")),
        (Fault::Cut, None),
    ] {
        case.plan(Plan::once("sql ledger CONNECT", 1, fault));
        let refused = tokio_postgres::connect(&through, NoTls).await;
        let error = refused.err().unwrap();
        assert_eq!(code(error).as_deref(), state);
        assert!(tokio_postgres::connect(&through, NoTls).await.is_ok());
    }

    // A statement that hangs.
    case.plan(Plan::once("sql ledger SELECT 7", 1, Fault::Drop));
    let (client, connection) = tokio_postgres::connect(&through, NoTls).await.unwrap();
    tokio::spawn(connection);
    let asked = tokio::time::timeout(SILENCE, client.batch_execute("SELECT 7")).await;
    assert!(asked.is_err());
}
