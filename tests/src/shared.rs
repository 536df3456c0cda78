//! One world for the tests of a file that run side by side, ended with the last of them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use tokio::runtime::Runtime;

use crate::parts::PartProcess;
use crate::world::{World, WorldOptions};

/// A world with one of each part, shared by tests.
pub struct Shared {
    /// The world.
    pub world: World,
    /// The parts.
    pub parts: Vec<PartProcess>,
    /// The clients of the world live on it; it outlives the runtime of each test.
    runtime: Option<Runtime>,
}

impl Drop for Shared {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Where the tests of a file find their world.
pub struct Slot(Mutex<Weak<Shared>>);

impl Slot {
    /// No world yet.
    #[must_use]
    pub const fn new() -> Self {
        Self(Mutex::new(Weak::new()))
    }

    /// The world that runs, or a new one.
    ///
    /// # Panics
    /// If it can't be started.
    pub async fn world(&'static self, name: &'static str, options: WorldOptions) -> Arc<Shared> {
        // Held while a world starts: the other tests wait for it on threads of their own.
        let get = move || {
            let mut slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(running) = slot.upgrade() {
                return running;
            }
            let runtime = Runtime::new().expect("a runtime");
            let world = runtime.block_on(World::start(name, options));
            let parts = world.parts();
            let shared = Arc::new(Shared {
                world,
                parts,
                runtime: Some(runtime),
            });
            *slot = Arc::downgrade(&shared);
            shared
        };
        tokio::task::spawn_blocking(get)
            .await
            .expect("the world starts")
    }
}

impl Default for Slot {
    fn default() -> Self {
        Self::new()
    }
}
