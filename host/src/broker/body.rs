//! The two bodies on their way: chunk by chunk, never held, trailers dropped.

use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};
use tokio::sync::OwnedSemaphorePermit;

use super::meter::Reading;
use super::refusal::Refusal;

/// Why an upload ended early, for the one who waits for the answer. The client that carries the
/// upload reports only that its body failed.
pub(super) type UploadFault = Arc<OnceLock<Refusal>>;

/// The upload ended early; the [`UploadFault`] says why.
#[derive(Debug, thiserror::Error)]
#[error("the upload ended early")]
pub(super) struct UploadEnded;

/// The agent's request, up to a limit.
pub(super) struct Upload {
    body: Incoming,
    room: u64,
    fault: UploadFault,
}

impl Upload {
    pub(super) fn new(body: Incoming, limit: u64) -> (Self, UploadFault) {
        let fault = UploadFault::default();
        let upload = Self {
            body,
            room: limit,
            fault: Arc::clone(&fault),
        };
        (upload, fault)
    }

    fn end(&self, refusal: Refusal) -> Poll<Option<Result<Frame<Bytes>, UploadEnded>>> {
        // Ends once only: nobody polls a body after its error.
        let _ = self.fault.set(refusal);
        Poll::Ready(Some(Err(UploadEnded)))
    }
}

impl Body for Upload {
    type Data = Bytes;
    type Error = UploadEnded;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, UploadEnded>>> {
        let this = self.get_mut();
        let Some(frame) = ready!(Pin::new(&mut this.body).poll_frame(context)) else {
            return Poll::Ready(None);
        };
        let Ok(frame) = frame else {
            return this.end(Refusal::Malformed);
        };
        let Ok(data) = frame.into_data() else {
            return Poll::Ready(None);
        };
        match this.room.checked_sub(length(&data)) {
            Some(room) => this.room = room,
            None => return this.end(Refusal::BodyTooLarge),
        }
        Poll::Ready(Some(Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

/// The upstream's answer; counted while it passes, and holding its place until it ends.
pub(super) struct Download {
    body: reqwest::Body,
    reading: Reading,
    _place: OwnedSemaphorePermit,
}

impl Download {
    pub(super) fn new(body: reqwest::Body, reading: Reading, place: OwnedSemaphorePermit) -> Self {
        Self {
            body,
            reading,
            _place: place,
        }
    }
}

impl Body for Download {
    type Data = Bytes;
    type Error = reqwest::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, reqwest::Error>>> {
        let this = self.get_mut();
        let frame = ready!(Pin::new(&mut this.body).poll_frame(context)).transpose()?;
        let data = frame.and_then(|frame| frame.into_data().ok());
        if let Some(data) = &data {
            this.reading.observe(data);
        }
        Poll::Ready(data.map(|data| Ok(Frame::data(data))))
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

fn length(data: &Bytes) -> u64 {
    u64::try_from(data.len()).unwrap_or(u64::MAX)
}
