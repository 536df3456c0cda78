//! The command line: `signalbox`, also `kubectl signalbox`.
//!
//! Reads the cluster and the record, makes the bus, and runs everything in one terminal. Apart from
//! `bus ensure` and `dev` no command writes anything.

pub mod cli;
pub mod cmd;
pub mod connect;
pub mod dev;
pub mod error;
pub mod ledger;
pub mod live;
pub mod paint;
pub mod replay;
pub mod timeline;
pub mod tree;

pub use error::CliError;
