//! The HTTP server: four pages and the board, read only, on a thread of its own.

use super::Exporter;
use super::listener::Door;
use crate::engine::time::rfc3339;
use crate::pipeline::board::Condition;
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::thread;

/// The content type of Prometheus' text format.
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// A server that has its port.
pub struct Server {
    /// Where it listens: the port that was given when 0 was asked for.
    pub address: SocketAddr,
}

/// Listens on `address` and serves these pages and `more` until the process ends.
///
/// # Errors
/// The address cannot be listened on: the message names it and what to do.
pub fn serve(address: SocketAddr, exporter: Exporter, more: Option<Router>) -> anyhow::Result<Server> {
    let listener = std::net::TcpListener::bind(address).map_err(|error| {
        anyhow::anyhow!("cannot listen on {address}: {error}; set export.listen to a free address, port 0 takes any")
    })?;
    listener.set_nonblocking(true)?;
    let address = listener.local_addr()?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().enable_time().build()?;
    let pages = Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .route("/debug", get(debug))
        .with_state(exporter)
        .merge(more.unwrap_or_default());
    thread::Builder::new().name("http".into()).spawn(move || {
        runtime.block_on(async move {
            match tokio::net::TcpListener::from_std(listener) {
                Ok(listener) => {
                    if let Err(error) = axum::serve(Door::new(listener), pages).await {
                        tracing::error!(%error, "the HTTP server ended");
                    }
                }
                Err(error) => tracing::error!(%error, "the HTTP server cannot start"),
            }
        });
    })?;
    Ok(Server { address })
}

async fn metrics(State(exporter): State<Exporter>) -> Response {
    ([(header::CONTENT_TYPE, TEXT_FORMAT)], exporter.metrics()).into_response()
}

async fn healthz(State(exporter): State<Exporter>) -> Response {
    answer(exporter.unhealthy(), "healthy")
}

async fn readyz(State(exporter): State<Exporter>) -> Response {
    answer(exporter.unready(), "ready")
}

fn answer(trouble: Option<String>, fine: &str) -> Response {
    match trouble {
        None => (StatusCode::OK, format!("{fine}\n")).into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

async fn debug(State(exporter): State<Exporter>) -> Response {
    let page = serde_json::to_string_pretty(&state(&exporter)).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], page + "\n").into_response()
}

/// What this instance owns and where it stands.
fn state(exporter: &Exporter) -> Value {
    let posted = exporter.look();
    let condition = |condition: &Condition| match condition {
        Condition::Live => json!("live"),
        Condition::Restoring(left) => json!({ "restoring": left }),
        Condition::Halted(halt) => json!({ "halted": { "reason": halt.code.name(), "detail": halt.detail } }),
    };
    let sources: Vec<Value> = posted
        .sources
        .iter()
        .map(|((input, partition), status)| {
            json!({
                "input": exporter.plan.inputs.get(*input).map(|input| input.name.to_string()),
                "partition": partition,
                "condition": condition(&status.condition),
                "phase": status.phase.name(),
                "held": status.held,
                "offset": status.offset,
                "lag": status.lag,
                "watermark": status.watermark.map(rfc3339),
                "accepted": status.totals.accepted,
                "consumed": status.totals.consumed(),
                "ids": status.ids.0,
            })
        })
        .collect();
    let merges: Vec<Value> = posted
        .merges
        .iter()
        .map(|(partition, status)| {
            let times = status.times.iter().map(|(set, time)| {
                json!({
                    "metric_set": exporter.plan.sets[*set].set.name(),
                    "watermark": time.watermark.map(rfc3339),
                    "final_until": time.final_until.map(rfc3339),
                })
            });
            let owns = status.sizes.iter().map(|(set, by, slices, panes, _)| {
                let plan = &exporter.plan.sets[*set];
                json!({ "metric_set": plan.set.name(), "slice": plan.group_bys[*by].name, "slices": slices, "panes": panes })
            });
            json!({
                "partition": partition,
                "condition": condition(&status.condition),
                "offset": status.offset,
                "times": times.collect::<Vec<_>>(),
                "owns": owns.collect::<Vec<_>>(),
            })
        })
        .collect();
    let workers: Vec<Value> = posted
        .workers
        .iter()
        .map(|(name, status)| {
            json!({
                "worker": name,
                "joined": status.joined,
                "commits": status.commits.1,
                "failed_commits": status.failed_commits,
                "unavailable": status.unavailable,
            })
        })
        .collect();
    json!({ "version": env!("CARGO_PKG_VERSION"), "workers": workers, "sources": sources, "merges": merges })
}
