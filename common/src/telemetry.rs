//! Logs, spans and trace context.
//!
//! Logs go to stderr; spans go to an OTLP collector only if `OTEL_EXPORTER_OTLP_ENDPOINT` names one.
//! Never logs a message's body.

use std::collections::BTreeMap;

use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry::{Context, KeyValue};
use opentelemetry_otlp::{ExporterBuildError, SpanExporter};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, SdkTracerProvider};
use tracing::Span;
use tracing_opentelemetry::OpenTelemetrySpanExt as _;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::util::{SubscriberInitExt as _, TryInitError};
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::class::{Classify, ErrorClass};
use crate::config::CommonArgs;

/// Filter of logs, such as `info,signalbox_watcher=debug`.
pub const FILTER: &str = "SIGNALBOX_LOG";
/// `text` for people; anything else is JSON.
pub const FORMAT: &str = "SIGNALBOX_LOG_FORMAT";
const ENDPOINT: &str = "OTEL_EXPORTER_OTLP_ENDPOINT";

/// Keeps the export of spans alive; dropping it sends what is left.
#[derive(Debug)]
pub struct Telemetry {
    provider: Option<SdkTracerProvider>,
}

impl Drop for Telemetry {
    fn drop(&mut self) {
        if let Some(provider) = &self.provider
            && let Err(error) = provider.shutdown()
        {
            tracing::warn!(%error, "failed to send the last spans");
        }
    }
}

/// Logs or spans can't be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter can't be read.
    #[error("failed to read {FILTER}: {0}")]
    Filter(#[from] tracing_subscriber::filter::ParseError),
    /// The exporter can't be made.
    #[error("failed to prepare the export of spans: {0}")]
    Exporter(#[from] ExporterBuildError),
    /// Somebody else has set up logging in this process.
    #[error("failed to set up logging: {0}")]
    Taken(#[from] TryInitError),
}

impl Classify for TelemetryError {
    fn class(&self) -> ErrorClass {
        ErrorClass::Invalid
    }
}

/// Sets up logs and spans of `part` for this process, and the source of its records.
pub fn init(part: &'static str, args: &CommonArgs) -> Result<Telemetry, TelemetryError> {
    crate::record::set_source(part, &args.instance);
    let filter = std::env::var(FILTER).unwrap_or_else(|_| "info".to_owned());
    let filter = EnvFilter::try_new(filter)?;
    let provider = match std::env::var_os(ENDPOINT) {
        Some(endpoint) if !endpoint.is_empty() => Some(provider(part, args)?),
        Some(_) | None => None,
    };
    let spans = provider.as_ref().map(|provider| {
        let tracer: SdkTracer = provider.tracer("signalbox");
        tracing_opentelemetry::layer().with_tracer(tracer)
    });
    Registry::default()
        .with(filter)
        .with(logs())
        .with(spans)
        .try_init()?;
    tracing::info!(
        part,
        instance = args.instance,
        version = env!("CARGO_PKG_VERSION"),
        "starting"
    );
    Ok(Telemetry { provider })
}

fn logs() -> Box<dyn Layer<tracing_subscriber::layer::Layered<EnvFilter, Registry>> + Send + Sync> {
    let lines = tracing_subscriber::fmt::layer().with_writer(std::io::stderr);
    if std::env::var(FORMAT).is_ok_and(|format| format == "text") {
        lines.with_ansi(false).boxed()
    } else {
        lines
            .json()
            .flatten_event(true)
            .with_current_span(true)
            .with_span_list(false)
            .boxed()
    }
}

fn provider(part: &'static str, args: &CommonArgs) -> Result<SdkTracerProvider, TelemetryError> {
    let resource = Resource::builder()
        .with_service_name(format!("signalbox-{part}"))
        .with_attributes([
            KeyValue::new("service.instance.id", args.instance.clone()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
            KeyValue::new("k8s.cluster.name", args.cluster.clone()),
        ])
        .build();
    let exporter = SpanExporter::builder().with_http().build()?;
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}

/// Adds the trace context of the current span (`traceparent`, `tracestate`) to headers.
pub fn inject(headers: &mut BTreeMap<String, String>) {
    let mut carrier = std::collections::HashMap::new();
    TraceContextPropagator::new().inject_context(&Span::current().context(), &mut carrier);
    headers.extend(
        carrier
            .into_iter()
            .filter(|(_, value): &(String, String)| !value.is_empty()),
    );
}

/// The trace context of a message's headers, to be the parent of a span.
#[must_use]
pub fn extract(headers: &BTreeMap<String, String>) -> Context {
    let carrier: std::collections::HashMap<String, String> = headers
        .iter()
        .map(|(name, value)| (name.to_lowercase(), value.clone()))
        .collect();
    TraceContextPropagator::new().extract(&carrier)
}

/// Makes the sender's span the parent of `span`.
pub fn continue_trace(span: &Span, headers: &BTreeMap<String, String>) {
    if headers.contains_key("traceparent") {
        // Without an exporter there is no layer that could take it.
        let _ = span.set_parent(extract(headers));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry::trace::TraceContextExt as _;

    const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

    #[test]
    fn trace_context_crosses_a_message() {
        let provider = SdkTracerProvider::builder().build();
        let layer = tracing_opentelemetry::layer().with_tracer(provider.tracer("test"));
        let headers = BTreeMap::from([("traceparent".to_owned(), PARENT.to_owned())]);
        let trace = extract(&headers)
            .span()
            .span_context()
            .trace_id()
            .to_string();
        assert_eq!(trace, "0af7651916cd43dd8448eb211c80319c");
        tracing::subscriber::with_default(Registry::default().with(layer), || {
            let span = tracing::info_span!("received");
            continue_trace(&span, &headers);
            let mut next = BTreeMap::new();
            span.in_scope(|| inject(&mut next));
            assert!(
                next.get("traceparent")
                    .is_some_and(|parent| parent.contains(&trace)),
                "{next:?}"
            );
        });
    }

    #[test]
    fn without_a_trace_nothing_is_added() {
        let mut headers = BTreeMap::new();
        inject(&mut headers);
        assert_eq!(headers, BTreeMap::new());
    }
}
