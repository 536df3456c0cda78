//! One change on an idle system: from just before it is sent until its child's event arrives.
//!
//! Each change is of another app, and the next one comes when nothing is under way. The two sides take
//! turns, each on servers of its own, so that both meet the same noise of the machine.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use serde_json::json;

use crate::eye::Eye;
use crate::field::{Field, Side, done, name};
use crate::figures::{ms, percentile};
use crate::needed::{Needed, REPLICAS, Stored};
use crate::report::Report;

/// Changes of each side; the first ones, which warm connections up, are not counted.
const CHANGES: usize = 220;
const WARM_UP: usize = 20;

/// One side, its times in milliseconds.
struct Contender {
    field: Field,
    apps: Eye,
    children: Eye,
    /// Deployments by app, where the load generator makes them.
    deployments: HashMap<String, Stored>,
    mark: usize,
    child: Vec<f64>,
    status: Vec<f64>,
}

pub(crate) async fn run(needed: &Needed, report: &mut Report) {
    let mut raw = Contender::start(needed, Side::Raw).await;
    let mut ours = Contender::start(needed, Side::Signalbox).await;
    let mut before = ours.field.usage();
    for number in 0..CHANGES {
        if number == WARM_UP {
            raw.forget();
            ours.forget();
            before = ours.field.usage();
        }
        raw.change(needed, &name(number)).await;
        ours.change(needed, &name(number)).await;
    }
    let others = ours.field.usage().others_since(&before);
    ours.field.quiet().await;
    let writes = done(&ours.field.writes_since(ours.mark)) as f64;

    let of = |times: &Vec<f64>, percent| percentile(times, percent).expect("there are samples");
    for (percent, expected) in [(50, "+ 3 ms"), (95, "+ 10 ms")] {
        let pair = (Some(of(&raw.child, percent)), of(&ours.child, percent));
        let what = format!("change → child, p{percent}");
        report.row("idle", what, "ms", pair, expected);
    }
    for percent in [50, 95] {
        let pair = (Some(of(&raw.status, percent)), of(&ours.status, percent));
        let what = format!("change → status, p{percent}");
        report.row("idle", what, "ms", pair, "");
    }
    let (raw_gaps, our_gaps) = (raw.gaps(), ours.gaps());
    for percent in [50, 95] {
        let pair = (Some(of(&raw_gaps, percent)), of(&our_gaps, percent));
        let what = format!("answer to the change → child's request, p{percent}");
        report.row("idle", what, "ms", pair, "");
    }
    let per_change = writes / (CHANGES - WARM_UP) as f64;
    report.row(
        "idle",
        "writes per change",
        "",
        (Some(2.0), per_change),
        "2.00",
    );
    report.detail(
        "idle",
        json!({
            "raw": { "child": raw.child, "status": raw.status },
            "signalbox": { "child": ours.child, "status": ours.status },
            // The servers of the other side are among them.
            "othersCpu": others,
        }),
    );
}

impl Contender {
    /// Fresh servers with all apps served.
    async fn start(needed: &Needed, side: Side) -> Self {
        let field = Field::start("idle", side).await;
        let client = field.client();
        let mut apps = field.eye("papp").await;
        let mut deployments = HashMap::new();
        for number in 0..CHANGES {
            let name = name(number);
            let app = field.create(&name).await;
            if side == Side::Raw {
                let made = needed.serve_new(&client, &name, &Stored::of(&app)).await;
                deployments.insert(name, made);
            }
        }
        let all = (0..CHANGES).map(|number| (name(number), 1)).collect();
        apps.until_observed(all).await;
        field.quiet().await;
        Self {
            children: field.eye("deployment").await,
            mark: field.audit.mark(),
            field,
            apps,
            deployments,
            child: Vec::new(),
            status: Vec::new(),
        }
    }

    /// What was measured so far does not count.
    fn forget(&mut self) {
        self.child.clear();
        self.status.clear();
        self.mark = self.field.audit.mark();
    }

    /// By the API server's clock, from its answer to each change until the request for the child came in: what
    /// lies between its own work on the two.
    fn gaps(&self) -> Vec<f64> {
        let mut answered = HashMap::<String, Timestamp>::new();
        let mut gaps = Vec::new();
        for entry in self.field.entries_since(self.mark) {
            let time = |field: &str| entry[field].as_str().and_then(|text| text.parse().ok());
            let about = &entry["objectRef"];
            let object = about["name"].as_str().unwrap_or_default();
            // The Deployment's name is the app's and its revision.
            let app = object.get(..name(0).len()).unwrap_or(object).to_owned();
            if about["subresource"] == "scale" {
                let received: Option<Timestamp> = time("requestReceivedTimestamp");
                if let (Some(answered), Some(received)) = (answered.get(&app), received) {
                    let gap = received.duration_since(*answered).as_secs_f64();
                    gaps.push(gap * 1000.0);
                }
            } else if about["resource"] == "portfolioapps"
                && about["subresource"].is_null()
                && entry["verb"] == "patch"
                && let Some(time) = time("stageTimestamp")
            {
                answered.insert(app, time);
            }
        }
        gaps
    }

    /// Changes an app and sees it to its end.
    async fn change(&mut self, needed: &Needed, name: &str) {
        let started = Instant::now();
        let app = self
            .field
            .change(name, json!({ "replicas": REPLICAS }))
            .await;
        if self.field.side == Side::Raw {
            let client = self.field.client();
            let stored = Stored::of(&app);
            let about = (name, &stored);
            let deployment = self.deployments.get(name);
            needed.send(&client, &needed.scale, about, deployment).await;
            needed
                .send(&client, &needed.scaled_status, about, Some(&stored))
                .await;
        }
        let child = self
            .children
            .until(|seen| seen.name.starts_with(name) && seen.replicas == REPLICAS)
            .await;
        let status = self
            .apps
            .until(|seen| seen.name == name && seen.observed == seen.generation)
            .await;
        self.child.push(ms(child.at - started));
        self.status.push(ms(status.at - started));
        while self.field.bus.open().await > 0 {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}
