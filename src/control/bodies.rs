//! Bodies of requests to the administration server: their total memory is
//! bounded, and each has a deadline.

use super::fault::Fault;
use axum::body::{Body, HttpBody};
use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use std::future::poll_fn;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Semaphore;

/// How long a body may take to arrive.
const PATIENCE: Duration = Duration::from_secs(30);
/// Bytes that all bodies may hold in addition to one of maximum length.
const BESIDE_BYTES: usize = 32 << 20;
/// The unit in which bodies are counted, in bytes.
const UNIT_BYTES: usize = 1 << 10;

/// The memory for bodies.
#[derive(Clone)]
pub struct Bodies {
    /// The free memory, in units.
    room: Arc<Semaphore>,
    bytes_max: usize,
}

impl Bodies {
    /// Memory for bodies of at most `bytes_max` bytes each.
    pub fn new(bytes_max: usize) -> Bodies {
        let units = bytes_max.saturating_add(BESIDE_BYTES) / UNIT_BYTES;
        let room = Arc::new(Semaphore::new(units.min(Semaphore::MAX_PERMITS)));
        Bodies { room, bytes_max }
    }

    /// Collects a body as it arrives.
    async fn collect(&self, mut body: Body) -> Result<Held<'_>, Fault> {
        // The declared length does not count: a client that is cut while it sends sees no answer.
        let too_long = || Fault(StatusCode::PAYLOAD_TOO_LARGE, "the body is too long".into());
        let mut held = Held { bytes: Vec::new(), units: 0, room: &self.room };
        while let Some(frame) = poll_fn(|context| Pin::new(&mut body).poll_frame(context)).await {
            let broken = |_| Fault(StatusCode::BAD_REQUEST, "the body is incomplete".into());
            let Ok(data) = frame.map_err(broken)?.into_data() else { continue };
            let bytes = held.bytes.len() + data.len();
            if bytes > self.bytes_max {
                return Err(too_long());
            }
            held.take_room(bytes)?;
            held.bytes.extend_from_slice(&data);
        }
        Ok(held)
    }
}

/// A body and its share of the memory, which is released when it is dropped.
struct Held<'a> {
    bytes: Vec<u8>,
    units: usize,
    room: &'a Semaphore,
}

impl Held<'_> {
    fn take_room(&mut self, bytes: usize) -> Result<(), Fault> {
        let more = bytes.div_ceil(UNIT_BYTES).saturating_sub(self.units);
        let permit = self.room.try_acquire_many(more as u32).map_err(|_| {
            let why = "the bodies of other requests use all memory for bodies: try again";
            Fault(StatusCode::SERVICE_UNAVAILABLE, why.into())
        })?;
        permit.forget();
        self.units += more;
        Ok(())
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        self.room.add_permits(self.units);
    }
}

/// Runs a request once its body has arrived.
pub async fn collect(State(bodies): State<Bodies>, request: Request, next: Next) -> Response {
    let (parts, body) = request.into_parts();
    let late = || Fault(StatusCode::REQUEST_TIMEOUT, "the body took too long".into());
    let held = tokio::time::timeout(PATIENCE, bodies.collect(body)).await;
    match held.unwrap_or_else(|_| Err(late())) {
        Ok(mut held) => {
            let body = Body::from(std::mem::take(&mut held.bytes));
            // The memory is held until the request is answered.
            next.run(Request::from_parts(parts, body)).await
        }
        Err(fault) => fault.into_response(),
    }
}
