//! The board: the page that a person opens first, with no other tool at all.
//!
//! It is the first consumer of our own output. While somebody looks it follows `cx.aggregates` from a day ago on, read
//! committed, all partitions, so that every process shows the whole picture whatever it owns itself; the state of the
//! sources, and why events were rejected, is what this process sees. Pages are rendered here, once a second at most however many look, and
//! work without script; with it they renew themselves. Nothing is asked of another host, and nothing that is served changes anything.

mod chart;
mod feed;
mod figures;
mod numbers;
mod picture;
mod view;
mod words;

pub use feed::{Feed, Following, OpenFollower};
pub use picture::{Figure, Picture, Place};

use crate::export::Exporter;
use askama::Template;
use axum::Router;
use axum::extract::{Query, State};
use axum::http::{HeaderMap, HeaderName, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use feed::Shared;
use futures_util::stream;
use std::collections::HashMap;
use std::convert::Infallible;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use view::{Page, Window};
use words::Language;

/// Between two renewals of an open page.
const RENEWED_EVERY: Duration = Duration::from_secs(2);

/// How long a rendered page is good for whoever asks next.
const GOOD_FOR: Duration = Duration::from_millis(500);

/// How long the first page waits for what was published before it was asked for.
const FIRST_LOOK: Duration = Duration::from_secs(3);

/// How many rendered pages are kept.
const KEPT_MAX: usize = 64;

/// How long one stream of renewals lives; a browser opens the next one by itself, on a connection of its own: one that has
/// been open for long is closed whatever it carries.
const STREAM_LIVES: Duration = Duration::from_secs(20);

/// Only what comes from here is loaded, nothing is run that stands in the page, nobody may frame it.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; \
                      base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What the pages are made from.
#[derive(Clone)]
pub struct Board {
    shared: Arc<Shared>,
    exporter: Exporter,
    rendered: Arc<Mutex<HashMap<Asked, Rendered>>>,
}

/// When it was made, and the content of a page.
type Rendered = (Instant, Arc<str>);

/// What somebody wants to see.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Asked {
    page: Page,
    window: Window,
    language: Language,
}

/// The part of an address after the question mark.
#[derive(Debug, Default, serde::Deserialize)]
struct Parameters {
    window: Option<String>,
    lang: Option<String>,
    channel: Option<String>,
    queue: Option<String>,
    /// Of a stream: which page it renews.
    page: Option<String>,
}

impl Board {
    /// The board of what a feed has read.
    pub fn new(feed: &Feed, exporter: Exporter) -> Board {
        Board { shared: Arc::clone(&feed.shared), exporter, rendered: Arc::default() }
    }

    /// Its routes.
    pub fn routes(self) -> Router {
        Router::new()
            .route("/", get(overview))
            .route("/queue", get(queue))
            .route("/quality", get(quality))
            .route("/live", get(live))
            .route("/board.css", get(|| asset("text/css; charset=utf-8", include_str!("board.css"))))
            .route("/board.svg", get(|| asset("image/svg+xml", include_str!("board.svg"))))
            .route("/board.js", get(|| asset("text/javascript; charset=utf-8", include_str!("board.js"))))
            .with_state(self)
    }

    /// The renewed part of a page.
    fn content(&self, asked: &Asked) -> Arc<str> {
        let mut rendered = self.rendered.lock().unwrap_or_else(|poisoned| poisoned.into_inner());
        if let Some((_, content)) = rendered.get(asked).filter(|(made, _)| made.elapsed() < GOOD_FOR) {
            return Arc::clone(content);
        }
        let content = self
            .shared
            .look(|picture| view::content(picture, &self.exporter, &asked.page, asked.window, asked.language));
        let content: Arc<str> = content.into();
        if rendered.len() >= KEPT_MAX {
            rendered.clear();
        }
        rendered.insert(asked.clone(), (Instant::now(), Arc::clone(&content)));
        content
    }

    async fn page(&self, asked: &Asked) -> Response {
        let patience = Instant::now() + FIRST_LOOK;
        while !self.shared.is_caught_up() && Instant::now() < patience {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        let content = self.content(asked);
        let words = asked.language.words();
        let page = view::Document {
            words,
            lang: asked.language.code(),
            page: &asked.page,
            window: asked.window,
            content: &content,
        };
        match page.render() {
            Ok(page) => (headers(), Html(page)).into_response(),
            Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
        }
    }
}

/// A connection that has been open for long is closed whatever it carries: none is left over for a stream to begin on.
const ONE_ANSWER: (HeaderName, &str) = (header::CONNECTION, "close");

fn headers() -> [(HeaderName, &'static str); 5] {
    [
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CACHE_CONTROL, "no-store"),
        ONE_ANSWER,
    ]
}

async fn asset(kind: &'static str, text: &'static str) -> Response {
    let sniffed = (header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    ([(header::CONTENT_TYPE, kind), sniffed, (header::CACHE_CONTROL, "no-cache"), ONE_ANSWER], text).into_response()
}

fn asked(parameters: &Parameters, headers: &HeaderMap, page: Page) -> Asked {
    let accepted = headers.get(header::ACCEPT_LANGUAGE).and_then(|value| value.to_str().ok());
    let language = Language::choose(parameters.lang.as_deref(), accepted);
    Asked { page, window: Window::parse(parameters.window.as_deref()), language }
}

fn queue_of(parameters: &Parameters) -> Page {
    let value = |value: &Option<String>| value.clone().unwrap_or_default();
    Page::Queue { channel: value(&parameters.channel), queue: value(&parameters.queue) }
}

async fn overview(State(board): State<Board>, Query(parameters): Query<Parameters>, headers: HeaderMap) -> Response {
    board.page(&asked(&parameters, &headers, Page::Overview)).await
}

async fn queue(State(board): State<Board>, Query(parameters): Query<Parameters>, headers: HeaderMap) -> Response {
    board.page(&asked(&parameters, &headers, queue_of(&parameters))).await
}

async fn quality(State(board): State<Board>, Query(parameters): Query<Parameters>, headers: HeaderMap) -> Response {
    board.page(&asked(&parameters, &headers, Page::Quality)).await
}

/// The stream that renews an open page: its content whenever that has changed, else a sign of life.
async fn live(State(board): State<Board>, Query(parameters): Query<Parameters>, headers: HeaderMap) -> Response {
    let page = match parameters.page.as_deref() {
        Some("queue") => queue_of(&parameters),
        Some("quality") => Page::Quality,
        _ => Page::Overview,
    };
    let asked = asked(&parameters, &headers, page);
    let started = Instant::now();
    let renewals = stream::unfold((board, asked, None::<Arc<str>>), move |(board, asked, before)| async move {
        if started.elapsed() >= STREAM_LIVES {
            return None;
        }
        if before.is_some() {
            tokio::time::sleep(RENEWED_EVERY).await;
        }
        let content = board.content(&asked);
        let event = if before.as_ref() == Some(&content) {
            Event::default().event("alive").data("")
        } else {
            Event::default().event("content").data(&*content)
        };
        let event = event.retry(Duration::from_secs(1));
        Some((Ok::<Event, Infallible>(event), (board, asked, Some(content))))
    });
    let unbuffered = (HeaderName::from_static("x-accel-buffering"), "no");
    ([(header::CACHE_CONTROL, "no-store"), ONE_ANSWER, unbuffered], Sse::new(renewals)).into_response()
}
