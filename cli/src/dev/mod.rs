//! Everything in one terminal: the local control plane, the bus, all parts, the example.
//!
//! Decides the order of starts and ends. Whatever happens, everything that was started is stopped.

mod checks;
mod demo;
mod example;
mod keys;
mod narrate;
mod parts;
mod setup;
mod voice;

use std::path::PathBuf;

use signalbox_common::shutdown;

use crate::error::CliError;
use setup::Setup;
pub use voice::Voice;

/// Runs the demo, or stays up until interrupted.
pub async fn run(demo: bool, root: Option<PathBuf>, voice: &Voice) -> Result<(), CliError> {
    let stop = shutdown::token();
    let started = tokio::select! {
        started = Setup::start(root, voice) => started?,
        () = stop.cancelled() => return interrupted(demo),
    };
    let Setup {
        mut parts,
        world,
        keeper,
        ..
    } = started;
    let teller = tokio::spawn(narrate::narrate(
        world.target.cluster.client.clone(),
        example::NAMESPACE,
        voice.clone(),
    ));
    let work = async {
        if demo {
            demo::run(&world, voice).await
        } else {
            stay(&world, voice).await
        }
    };
    let result = tokio::select! {
        result = work => result,
        ended = parts.ended() => Err(ended),
        () = stop.cancelled() => interrupted(demo),
    };
    teller.abort();
    if result.is_err() {
        voice.show(&world.complaints());
    }
    let parts_stopped = parts.stop().await;
    keeper.abort();
    world.cluster.stop().await?;
    voice.good("everything is stopped");
    result.and(parts_stopped)
}

/// An end that a person asked for is no failure, unless checks are left.
fn interrupted(demo: bool) -> Result<(), CliError> {
    if demo {
        let step = "interrupted".to_owned();
        return Err(CliError::Check {
            step,
            found: "the demo was not finished".to_owned(),
        });
    }
    Ok(())
}

async fn stay(world: &setup::World, voice: &Voice) -> Result<(), CliError> {
    example::apply(world).await?;
    voice.chapter("the example is applied; in another terminal:");
    voice.show(&world.hints()?);
    std::future::pending().await
}
