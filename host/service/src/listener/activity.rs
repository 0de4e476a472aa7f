//! What a connection is doing, told by what passes through it: the watch over slow and
//! silent peers looks here, and at nothing that a peer says of itself.

use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll, ready};
use std::time::Instant;

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use super::limits::Limits;

/// Of one connection.
#[derive(Debug, Clone)]
pub(super) struct Activity(Arc<Mutex<State>>);

#[derive(Debug)]
struct State {
    /// HTTP/1.1: bytes between two requests are the next one's head.
    http1: bool,
    /// Requests from their head to the end of their answer.
    under_way: usize,
    idle_since: Instant,
    head_since: Option<Instant>,
    blocked_since: Option<Instant>,
}

/// What the watch does about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Overdue {
    /// Say goodbye; nothing is under way.
    Idle,
    /// Cut: a head doesn't end.
    Head,
    /// Cut: an answer isn't taken.
    Write,
}

/// A stream that tells what passes through it.
#[derive(Debug)]
pub(super) struct Watched<T> {
    stream: T,
    activity: Activity,
}

/// A request under way, until it is dropped.
#[derive(Debug)]
pub(super) struct UnderWay(Activity);

/// An answer's body; its request is under way until it is sent.
#[derive(Debug)]
pub(super) struct Answer {
    body: Body,
    _under_way: UnderWay,
}

impl Activity {
    pub(super) fn new(http1: bool) -> Self {
        Self(Arc::new(Mutex::new(State {
            http1,
            under_way: 0,
            idle_since: Instant::now(),
            head_since: None,
            blocked_since: None,
        })))
    }

    pub(super) fn begin(&self) -> UnderWay {
        let mut state = self.state();
        state.under_way += 1;
        state.head_since = None;
        UnderWay(self.clone())
    }

    /// Whether no request is under way and no answer waits to be sent.
    pub(super) fn is_idle(&self) -> bool {
        let state = self.state();
        state.under_way == 0 && state.blocked_since.is_none()
    }

    pub(super) fn overdue(&self, limits: &Limits) -> Option<Overdue> {
        let state = self.state();
        if state
            .blocked_since
            .is_some_and(|since| since.elapsed() > limits.write_timeout)
        {
            return Some(Overdue::Write);
        }
        if state.under_way > 0 {
            return None;
        }
        if state
            .head_since
            .is_some_and(|since| since.elapsed() > limits.header_timeout)
        {
            return Some(Overdue::Head);
        }
        (state.idle_since.elapsed() > limits.idle_timeout).then_some(Overdue::Idle)
    }

    fn has_read(&self) {
        let mut state = self.state();
        if state.http1 && state.under_way == 0 && state.head_since.is_none() {
            state.head_since = Some(Instant::now());
        }
    }

    fn has_written<R>(&self, result: &Poll<R>) {
        let mut state = self.state();
        match result {
            Poll::Ready(_) => state.blocked_since = None,
            Poll::Pending if state.blocked_since.is_none() => {
                state.blocked_since = Some(Instant::now());
            }
            Poll::Pending => {}
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // No code panics while it holds this lock.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let mut state = self.0.state();
        state.under_way -= 1;
        state.idle_since = Instant::now();
    }
}

impl<T> Watched<T> {
    pub(super) fn new(stream: T, activity: Activity) -> Self {
        Self { stream, activity }
    }
}

impl<T: AsyncRead + Unpin> AsyncRead for Watched<T> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buf.filled().len();
        ready!(Pin::new(&mut self.stream).poll_read(cx, buf))?;
        if buf.filled().len() > before {
            self.activity.has_read();
        }
        Poll::Ready(Ok(()))
    }
}

impl<T: AsyncWrite + Unpin> AsyncWrite for Watched<T> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.activity.has_written(&result);
        result
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let result = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.activity.has_written(&result);
        result
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_flush(cx);
        self.activity.has_written(&result);
        result
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let result = Pin::new(&mut self.stream).poll_shutdown(cx);
        self.activity.has_written(&result);
        result
    }
}

impl Answer {
    pub(super) fn new(body: Body, under_way: UnderWay) -> Self {
        Self {
            body,
            _under_way: under_way,
        }
    }
}

impl HttpBody for Answer {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        Pin::new(&mut self.body).poll_frame(cx)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
