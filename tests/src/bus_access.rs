//! Ways to the bus of a world: its streams made and kept, connections in any role, and in none that production has.
//!
//! Never decides who may do what: that stands in the table of rights, an administrator of the tests apart.

use std::ffi::OsString;

use signalbox_common::bus::ensure::{EnsureArgs, ensure};
use signalbox_common::bus::jetstream::JetStreamBus;
use signalbox_common::bus::rights::Role;
use signalbox_devcluster::Companion;

use crate::parts::program;
use crate::world::World;

impl World {
    /// Makes the streams, as `signalbox bus ensure` does.
    pub async fn ensure_bus(&self) {
        let bus = JetStreamBus::with_args(&self.common_args("ensure"), &Role::Ensure)
            .await
            .expect("the bus is there");
        ensure(&bus, &EnsureArgs::default())
            .await
            .expect("the streams are made");
    }

    /// Starts `signalbox bus ensure --keep` beside the parts, so that a wiped bus comes back.
    ///
    /// # Panics
    /// If it can't be started.
    #[must_use]
    pub fn keep_bus(&self) -> Companion {
        let arguments = ["bus", "ensure", "--keep"].map(OsString::from);
        let url = self.cluster.nats_url().expect("the world has a bus");
        let environment = vec![
            ("SIGNALBOX_NATS_URL", url.into()),
            ("SIGNALBOX_NKEY_FILE", self.seed("ensure").into_os_string()),
        ];
        self.cluster
            .start_beside("ensure", &program("signalbox"), &arguments, environment)
            .expect("the command line starts")
    }

    /// A connection to the bus that may do everything, streams deleted included.
    ///
    /// # Panics
    /// If the bus can't be reached.
    pub async fn bus_admin(&self) -> async_nats::Client {
        async_nats::ConnectOptions::with_nkey(self.bus_admin.clone())
            .connect(self.cluster.nats_url().expect("the world has a bus"))
            .await
            .expect("the bus is there")
    }

    /// A connection of its own to the bus, with the identity of `role`.
    ///
    /// # Panics
    /// If the bus can't be reached.
    pub async fn nats(&self, role: &Role) -> async_nats::Client {
        let seed = std::fs::read_to_string(self.seed(role.label())).expect("a seed");
        async_nats::ConnectOptions::with_nkey(seed.trim().to_owned())
            .custom_inbox_prefix(role.inbox())
            .connect(self.cluster.nats_url().expect("the world has a bus"))
            .await
            .expect("the bus is there")
    }
}

/// The rights of all roles, and somebody without limits.
pub(crate) fn with_admin(rights: &str, public: &str) -> String {
    let admin = format!("users = [\n    {{ nkey: {public} }}\n");
    let with = rights.replacen("users = [\n", &admin, 1);
    assert_ne!(with, rights, "there is a list of users");
    with
}
