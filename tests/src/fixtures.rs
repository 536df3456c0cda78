//! Manifests of the suites, with names that differ from those of kinds and products.

/// A minimal app: image and one port.
#[must_use]
pub fn minimal(namespace: &str, name: &str, image: &str) -> String {
    format!(
        "
apiVersion: signalbox.dev/v1alpha1
kind: PortfolioApp
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  image: {image}
  ports: [{{ name: http, port: 8080 }}]
"
    )
}

/// A minimal app with more lines in its spec (each indented by two blanks).
#[must_use]
pub fn app(namespace: &str, name: &str, image: &str, lines: &str) -> String {
    format!("{}{lines}\n", minimal(namespace, name, image))
}

/// The Secret `ledger-db` with the URL of a database.
#[must_use]
pub fn database_secret(namespace: &str, url: &str) -> String {
    format!(
        "
apiVersion: v1
kind: Secret
metadata: {{ name: ledger-db, namespace: {namespace} }}
stringData: {{ url: \"{url}\" }}
"
    )
}

/// A migration of the database in `ledger-db`, with `files` as YAML list items indented by two blanks.
#[must_use]
pub fn migration(namespace: &str, name: &str, app: Option<&str>, files: &str) -> String {
    let app = app.map_or_else(String::new, |app| format!("  app: {app}\n"));
    format!(
        "
apiVersion: signalbox.dev/v1alpha1
kind: DatabaseMigration
metadata: {{ name: {name}, namespace: {namespace} }}
spec:
  target: {{ urlFrom: {{ name: ledger-db, key: url }} }}
{app}  files:
{files}
"
    )
}
