//! The flows whose every effect is a crash point: a state to begin with, a change, and what is then there.

use kube::api::{Patch, PatchParams};
use serde_json::{Value, json};

use super::lane::Run;
use crate::fixtures::{app, database_secret, migration};
use crate::objects::ready;

/// A flow.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flow {
    /// An app with configuration and a volume appears.
    Create,
    /// A new image takes over by a canary of two steps.
    Update,
    /// A new image never gets ready and is rolled back.
    Rollback,
    /// More pods.
    Scale,
    /// An app with a finalizer and a volume that goes with it is deleted.
    Delete,
    /// Five files of SQL are applied.
    Migrate,
}

/// All flows.
pub const ALL: [Flow; 6] = [
    Flow::Create,
    Flow::Update,
    Flow::Rollback,
    Flow::Scale,
    Flow::Delete,
    Flow::Migrate,
];

const VOLUME: &str = "  replicas: 2
  config: { LEVEL: info }
  storage: { size: 1Gi, mountPath: /data, accessMode: ReadWriteMany }
  deletion: { storage: Delete }
  rollout: { drainSeconds: 0 }";
const CANARY: &str = "  replicas: 2
  config: { LEVEL: info }
  rollout: { steps: [{ weight: 50 }, { weight: 100 }], drainSeconds: 0 }";

impl Flow {
    /// Its word in reports and plans.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Rollback => "rollback",
            Self::Scale => "scale",
            Self::Delete => "delete",
            Self::Migrate => "migrate",
        }
    }

    /// The flow of a word.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        ALL.into_iter().find(|flow| flow.word() == word)
    }

    /// The kind of its object.
    #[must_use]
    pub const fn kind(self) -> &'static str {
        match self {
            Self::Migrate => "dbm",
            Self::Create | Self::Update | Self::Rollback | Self::Scale | Self::Delete => "papp",
        }
    }

    /// Lines of the app that is there before; none: nothing is.
    const fn before(self) -> Option<&'static str> {
        match self {
            Self::Create | Self::Migrate => None,
            Self::Update | Self::Rollback | Self::Scale => Some(CANARY),
            Self::Delete => Some(VOLUME),
        }
    }

    /// Makes the state to begin with.
    pub(super) async fn prepare(self, run: &Run<'_>) {
        if self == Self::Migrate {
            let secret = database_secret(run.namespace(), &run.database_url().await);
            run.world().apply(&secret).await;
        }
        if let Some(lines) = self.before() {
            let document = app(run.namespace(), run.name(), "example/orders:1", lines);
            run.world().apply(&document).await;
        }
    }

    /// Whether the object is as it should be before the change.
    pub(super) fn is_prepared(self, object: Option<&Value>) -> bool {
        match self.before() {
            None => object.is_none(),
            Some(_) => object.is_some_and(|object| ready(object).is_ok()),
        }
    }

    /// Makes the change.
    pub(super) async fn act(self, run: &Run<'_>) {
        let (objects, name) = (run.objects(), run.name());
        match self {
            Self::Create => {
                let document = app(run.namespace(), name, "example/orders:1", VOLUME);
                run.world().apply(&document).await;
            }
            Self::Update => {
                let patch = json!({"spec": {"image": "example/orders:2"}});
                objects.patch("papp", name, patch).await;
            }
            Self::Rollback => {
                // Longer than the first wait behind a refusal, which would else be the end of the revision.
                let deadline = json!({"progressDeadlineSeconds": 7});
                let patch = json!({"spec": {"image": "example/bad:2", "rollout": deadline}});
                objects.patch("papp", name, patch).await;
            }
            Self::Scale => {
                let patch = json!({"spec": {"replicas": 4}});
                objects.patch("papp", name, patch).await;
            }
            Self::Delete => objects.delete("papp", name).await,
            Self::Migrate => {
                let document = migration(run.namespace(), name, None, &files());
                run.world().apply(&document).await;
            }
        }
    }

    /// A change that leaves nothing behind, as a person makes one to have it tried again.
    pub(super) async fn touch(self, run: &Run<'_>) {
        let api = run.objects().api(self.kind());
        for note in [json!("again"), Value::Null] {
            let patch =
                Patch::Merge(json!({"metadata": {"annotations": {"example.com/note": note}}}));
            // It may be gone by now.
            drop(api.patch(run.name(), &PatchParams::default(), &patch).await);
        }
    }

    /// Whether the object is as it should be in the end.
    pub(super) fn is_done(self, object: Option<&Value>) -> bool {
        let Some(object) = object else {
            return self == Self::Delete;
        };
        match self {
            Self::Create | Self::Migrate => ready(object).is_ok(),
            Self::Scale => ready(object).is_ok() && object["status"]["readyReplicas"] == 4,
            Self::Update => {
                ready(object).is_ok() && object["status"]["rollout"]["base"].is_string()
            }
            Self::Rollback => object["status"]["phase"] == "RolledBack",
            Self::Delete => false,
        }
    }
}

/// Five files; each leaves a row of its own, so that a second application shows.
fn files() -> String {
    let file = |number: u32| {
        let statement = match number {
            1 => "CREATE TABLE effects (file int)".to_owned(),
            2 => "CREATE TABLE accounts (id int PRIMARY KEY)".to_owned(),
            number => format!("ALTER TABLE accounts ADD COLUMN c{number} text"),
        };
        format!(
            "  - name: V{number}__step.sql\n    sql: |\n      {statement};\n      \
             INSERT INTO effects VALUES ({number});\n"
        )
    };
    (1..=5).map(file).collect()
}
