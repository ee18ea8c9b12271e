//! Reviews as traces: one span for each review, below it what took time. Where no collector is named nothing of it exists.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use hyper::HeaderMap;
use moka::sync::Cache;
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{FutureExt as _, SpanBuilder, SpanContext, SpanKind, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_http::HeaderExtractor;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::propagation::TraceContextPropagator;
use opentelemetry_sdk::trace::{SdkTracer, Span, SpanData, SpanProcessor};

use super::queue::Queue;
use super::{MOST_WAITING, SPAN_BYTES};

/// How long a record may take to go out as a log that still names its trace.
const REMEMBERED_FOR: Duration = Duration::from_secs(60);

/// What makes spans; by default none.
#[derive(Clone, Default)]
pub struct Traces(Option<Arc<On>>);

struct On {
    tracer: SdkTracer,
    /// The review's span of each decision whose record is yet to go out.
    reviews: Cache<String, SpanContext>,
}

impl fmt::Debug for Traces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(if self.0.is_some() { "Traces(on)" } else { "Traces(off)" })
    }
}

impl Traces {
    pub(super) fn to(tracer: SdkTracer) -> Self {
        let reviews = Cache::builder().max_capacity(MOST_WAITING as u64).time_to_live(REMEMBERED_FOR).build();
        Self(Some(Arc::new(On { tracer, reviews })))
    }

    /// Answers a review within a span of its own, below the caller's as far as W3C's headers name one; whether it is
    /// sampled is then the caller's word.
    pub async fn review<T, F: Future<Output = T>>(&self, headers: &HeaderMap, answer: impl FnOnce() -> F) -> T {
        match &self.0 {
            None => answer().await,
            Some(on) => {
                let caller =
                    TraceContextPropagator::new().extract_with_context(&Context::new(), &HeaderExtractor(headers));
                let span = SpanBuilder::from_name("review").with_kind(SpanKind::Server);
                on.within(span, &caller, Box::pin(answer())).await
            }
        }
    }

    /// Does a part of a review within a span below the present one.
    pub async fn step<T, F: Future<Output = T>>(&self, name: &'static str, work: impl FnOnce() -> F) -> T {
        match &self.0 {
            None => work().await,
            Some(on) => on.within(SpanBuilder::from_name(name), &Context::current(), Box::pin(work())).await,
        }
    }

    /// Adds to what the present span says. The attributes are made only where somebody wants them.
    pub fn describe(&self, attributes: impl FnOnce() -> Vec<KeyValue>) {
        if self.0.is_some() {
            let context = Context::current();
            if context.span().is_recording() {
                context.span().set_attributes(attributes());
            }
        }
    }

    /// Remembers which review a decision is of, until its record goes out as a log.
    pub fn remember(&self, decision_id: &str) {
        if let Some(on) = &self.0 {
            let context = Context::current();
            let review = context.span().span_context().clone();
            if review.is_valid() {
                on.reviews.insert(decision_id.to_owned(), review);
            }
        }
    }

    /// The review that a decision is of.
    pub(super) fn review_of(&self, decision_id: &str) -> Option<SpanContext> {
        self.0.as_ref()?.reviews.remove(decision_id)
    }
}

impl On {
    /// In a box: a future within a future would be held twice, also where no span is made.
    async fn within<F: Future>(&self, span: SpanBuilder, parent: &Context, work: Pin<Box<F>>) -> F::Output {
        let context = parent.with_span(span.start_with_context(&self.tracer, parent));
        let done = work.with_context(context.clone()).await;
        context.span().end();
        done
    }
}

/// Puts finished spans into the queue.
#[derive(Debug)]
pub(super) struct QueuedSpans(pub(super) Queue<SpanData>);

impl SpanProcessor for QueuedSpans {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if span.span_context.is_sampled() {
            self.0.push(span, SPAN_BYTES);
        }
    }

    /// The queue is emptied by its own task.
    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}
