//! The same test on the model and on a real API server: whatever one of them answers, the other answers too.
//!
//! A difference is fixed in the model. Compared are status codes and the shape of what comes back; versions
//! only by whether they changed.

#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::print_stdout,
    clippy::too_many_lines,
    reason = "a failed step ends a suite; what both answered is worth reading; a conversation is told in one piece"
)]

mod applies;
mod customs;
mod deployments;
mod lists;
mod talk;

use jiff::Timestamp;
use kube::Client;
use signalbox_common::part::Part;
use signalbox_devcluster::{ClusterOptions, DevCluster};
use signalbox_simulation::api::Server;
use signalbox_simulation::net::Net;

use talk::Talk;

async fn everything(client: Client) -> Vec<String> {
    let mut talk = Talk::new(client);
    applies::applies(&mut talk).await;
    customs::customs(&mut talk).await;
    deployments::deployments(&mut talk).await;
    lists::lists_and_watches(&mut talk).await;
    talk.lines
}

async fn model() -> Vec<String> {
    let (died, _listens) = tokio::sync::mpsc::unbounded_channel();
    let net = Net::new(1, Timestamp::UNIX_EPOCH, died, false);
    let part = Part::new(
        "test",
        Timestamp::UNIX_EPOCH,
        tokio::time::Instant::now(),
        1,
    );
    everything(Server::new(1).client(&part, &net)).await
}

async fn real() -> Vec<String> {
    let cluster = DevCluster::start(ClusterOptions::bare("simulation-contract"))
        .await
        .unwrap();
    cluster
        .apply(&signalbox_crds::yaml().unwrap())
        .await
        .unwrap();
    let names = [
        "crd/portfolioapps.signalbox.dev",
        "crd/databasemigrations.signalbox.dev",
    ];
    let wait = ["wait", "--for=condition=Established", "--timeout=20s"];
    cluster
        .kubectl(&[&wait[..], &names[..]].concat())
        .await
        .unwrap();
    let kubeconfig =
        kube::config::Kubeconfig::read_from(cluster.kubeconfig("admin").unwrap()).unwrap();
    let options = kube::config::KubeConfigOptions::default();
    let config = kube::Config::from_custom_kubeconfig(kubeconfig, &options)
        .await
        .unwrap();
    everything(Client::try_from(config).unwrap()).await
}

#[tokio::test]
async fn the_model_answers_as_the_real_server() {
    let (model, real) = (model().await, real().await);
    let pairs = real
        .iter()
        .zip(&model)
        .filter(|(real, model)| real != model);
    let different: Vec<String> = pairs
        .map(|(real, model)| format!("real  {real}\nmodel {model}"))
        .collect();
    for line in &real {
        println!("{line}");
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
    assert_eq!(real.len(), model.len());
}
