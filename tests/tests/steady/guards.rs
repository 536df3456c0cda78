//! Breakers and retry budgets, as /readyz and /metrics of the parts tell them: open while a server is away or ill,
//! closed again behind that.

use signalbox_common::breaker::RETRIES;
use signalbox_devcluster::Server;
use signalbox_proxy::{Fault, Masks, Plan};
use signalbox_tests::fixtures::{database_secret, migration};
use signalbox_tests::{Part, PartProcess, World, WorldOptions, eventually, fleet};

use crate::{PATIENCE, proxied};

/// Waits until /metrics says so of the breakers before a dependency, and /readyz has a line that begins and ends so.
async fn tells(part: &PartProcess, of: &str, open: f64, line: (&str, &str)) {
    let name = format!(
        "signalbox_{}_breaker_open{{dependency=\"{of}\"}}",
        part.part.name()
    );
    let what = format!("{}: {name} {open}, {line:?}", part.instance);
    eventually(&what, PATIENCE, || async {
        let (metric, (_, text)) = (part.metric(&name).await, part.answer("/readyz").await);
        let told = |text: &str| text.starts_with(line.0) && text.ends_with(line.1);
        if metric == Some(open) && text.lines().any(told) {
            Ok(())
        } else {
            Err(format!("{metric:?}\n{text}"))
        }
    })
    .await;
}

async fn left(part: &PartProcess, of: &str) -> f64 {
    let name = format!(
        "signalbox_{}_retries_left{{dependency=\"{of}\"}}",
        part.part.name()
    );
    part.metric(&name).await.expect("it has a budget")
}

fn refuse(step: &str, code: u16) -> Plan {
    let fault = Fault::Refuse {
        code,
        retry_after: None,
    };
    Plan::every(step, fault)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_before_the_bus_is_open_while_it_is_away() {
    let world = World::start("guards-bus", WorldOptions::BARE).await;
    let (parts, _keeper) = (world.parts(), world.keep_bus());
    for part in &parts {
        tells(
            part,
            "bus",
            0.0,
            ("bus: ok (breaker closed, ", "retries left)"),
        )
        .await;
        assert!((left(part, "bus").await - f64::from(RETRIES)).abs() < 1.0);
    }
    world.cluster.kill_server(Server::Nats).await.unwrap();
    for part in &parts {
        tells(part, "bus", 1.0, ("bus: ", "retries left)")).await;
        let (code, text) = part.answer("/readyz").await;
        assert!(code == 503 && text.contains("(breaker open, "), "{text}");
    }
    world.cluster.start_server(Server::Nats).await.unwrap();
    for part in &parts {
        tells(
            part,
            "bus",
            0.0,
            ("bus: ok (breaker closed, ", "retries left)"),
        )
        .await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn breaker_and_budget_before_the_api_server_show() {
    let world = World::start("guards-api", WorldOptions::BARE).await;
    let _others = [world.part(Part::Watcher), world.part(Part::Planner)];
    let mut executor = proxied(&world, Part::Executor).await;
    let director = executor.proxy.director.clone();
    let part = executor.process();
    let objects = world.namespace(&[]).await;
    fleet::create(&world, &objects, 30).await;
    fleet::settles(&world, &objects, PATIENCE).await;
    tells(
        part,
        "api",
        0.0,
        ("api: ok (breaker closed, ", "retries left)"),
    )
    .await;
    let full = left(part, "api").await;

    // What is refused although nothing that it rests on has changed is tried again, as long as the budget lasts.
    director.begin(Masks::none(), refuse("api patch *", 409));
    for number in 0..30 {
        fleet::update(&objects, number, "refused").await;
    }
    eventually("the budget is used", PATIENCE, || async {
        match left(part, "api").await {
            some if some < full / 2.0 => Ok(()),
            all => Err(format!("{all} of {full} left")),
        }
    })
    .await;

    // A server that is ill whatever it is asked is left alone.
    director.begin(Masks::none(), refuse("api *", 503));
    tells(
        part,
        "api",
        1.0,
        (
            "api: the API server failed too often (breaker open, ",
            "retries left)",
        ),
    )
    .await;
    assert_eq!(part.answer("/readyz").await.0, 503);
    assert_eq!(part.answer("/healthz").await.0, 200, "no restart heals it");

    director.begin(Masks::none(), Plan::default());
    tells(
        part,
        "api",
        0.0,
        ("api: ok (breaker closed, ", "retries left)"),
    )
    .await;
    fleet::settles(&world, &objects, PATIENCE).await;
    // Requests earn retries.
    for round in 0..2 {
        for number in 0..30 {
            fleet::update(&objects, number, &format!("earned-{round}")).await;
        }
        fleet::settles(&world, &objects, PATIENCE).await;
    }
    eventually("the budget is filled", PATIENCE, || async {
        match left(part, "api").await {
            some if some > full / 2.0 => Ok(()),
            few => Err(format!("{few} of {full} left")),
        }
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_breaker_before_a_database_holds_up_its_own_files_alone() {
    let options = WorldOptions {
        controllers: false,
        postgres: true,
    };
    let world = World::start("guards-database", options).await;
    let parts = world.parts();
    let executor = parts.iter().find(|p| p.part == Part::Executor).unwrap();
    let objects = world.namespace(&["ledger-db"]).await;
    let url = world.cluster.create_database("main").await.unwrap();
    let secret = database_secret(&objects.namespace, &url);
    world.apply(&secret).await;
    tells(executor, "database", 0.0, ("database: ok (0 ", "open)")).await;

    world.cluster.kill_server(Server::Postgres).await.unwrap();
    for number in 0..4 {
        let file = "  - name: V1__one.sql\n    sql: SELECT 1";
        let name = format!("schema-{number}");
        let document = migration(&objects.namespace, &name, None, file);
        let history = format!("url }}, historySchema: history_{number} }}");
        world
            .apply(&document.replacen("url } }", &history, 1))
            .await;
    }
    tells(executor, "database", 1.0, ("database: ok (1 ", "open)")).await;
    let (code, text) = executor.answer("/readyz").await;
    assert_eq!(code, 200, "plans of others are taken: {text}");

    world.cluster.start_server(Server::Postgres).await.unwrap();
    for number in 0..4 {
        objects.is_ready("dbm", &format!("schema-{number}")).await;
    }
    tells(executor, "database", 0.0, ("database: ok (0 ", "open)")).await;
}
