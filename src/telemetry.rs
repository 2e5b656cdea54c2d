//! Writes logs to standard error, and sends traces by OTLP if an endpoint is set.

use opentelemetry::trace::TracerProvider;
use opentelemetry_otlp::{Protocol, SpanExporter, WithExportConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::SdkTracerProvider;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::Layer;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;

use crate::cli::LogFormat;

/// Sends the remaining traces when the process ends.
pub struct Guard(Option<SdkTracerProvider>);

impl Drop for Guard {
    fn drop(&mut self) {
        if let Some(provider) = &self.0
            && let Err(error) = provider.shutdown()
        {
            eprintln!("repofanout: the remaining traces were not sent: {error}");
        }
    }
}

/// Writes logs to standard error, and sends spans to the endpoint. Must be called outside of a
/// runtime, because the exporter has a thread of its own.
///
/// # Errors
/// The error says which directive cannot be parsed, or what is wrong with the endpoint.
pub fn init(
    directives: &str,
    format: LogFormat,
    otlp_endpoint: Option<&str>,
) -> Result<Guard, String> {
    // kube's span of a reconcile has no more than ours, and would be written before each line.
    let filter = EnvFilter::try_new(format!("kube_runtime::controller=warn,{directives}"))
        .map_err(|e| format!("--log {directives}: {e}; write a level such as info"))?;
    let provider = otlp_endpoint.map(exporter).transpose()?;
    // Every reconcile and every call to AWS is traced, whatever the log level. Spans of other
    // crates are not.
    let traced =
        tracing_subscriber::filter::Targets::new().with_target("repofanout", LevelFilter::DEBUG);
    let traces = provider.as_ref().map(|p| {
        tracing_opentelemetry::layer()
            .with_tracer(p.tracer("repofanout"))
            .with_filter(traced)
    });
    let text = (format == LogFormat::Text).then(|| {
        tracing_subscriber::fmt::layer()
            .with_writer(std::io::stderr)
            .with_filter(filter.clone())
    });
    let json = (format == LogFormat::Json).then(|| {
        tracing_subscriber::fmt::layer()
            .json()
            .with_writer(std::io::stderr)
            .with_filter(filter)
    });
    tracing_subscriber::registry()
        .with(traces)
        .with(text)
        .with(json)
        .init();
    Ok(Guard(provider))
}

fn exporter(endpoint: &str) -> Result<SdkTracerProvider, String> {
    let url = format!("{}/v1/traces", endpoint.trim_end_matches('/'));
    let exporter = SpanExporter::builder()
        .with_http()
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(url)
        .build();
    let exporter = exporter.map_err(|e| {
        format!("--otlp-endpoint {endpoint}: {e}; write a URL such as http://otel-collector:4318")
    })?;
    let resource = Resource::builder().with_service_name("repofanout").build();
    Ok(SdkTracerProvider::builder()
        .with_batch_exporter(exporter)
        .with_resource(resource)
        .build())
}
