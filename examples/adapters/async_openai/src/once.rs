//! The service that sends a request, once.

use std::pin::Pin;
use std::task::{Context, Poll};

use async_openai::error::OpenAIError;
use async_openai::middleware::{HttpRequestFactory, ReqwestService};
use evenkeel::ProviderError;
use reqwest::Response;
use tower::Service;

use crate::classify;

/// How much of an error's body is read.
const MOST_ERROR_BYTES: usize = 64 << 10;

/// Sends once, and makes an error of a response that is one while its headers are at hand.
#[derive(Clone)]
pub(crate) struct Once(ReqwestService);

impl Once {
    pub(crate) fn new(http: reqwest::Client) -> Self {
        Self(ReqwestService::new(http))
    }
}

impl Service<HttpRequestFactory> for Once {
    type Response = Response;
    type Error = OpenAIError;
    type Future = Pin<Box<dyn Future<Output = Result<Response, OpenAIError>> + Send>>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), OpenAIError>> {
        self.0.poll_ready(cx)
    }

    fn call(&mut self, request: HttpRequestFactory) -> Self::Future {
        let sent = self.0.call(request);
        Box::pin(async move {
            let response = sent.await?;
            if response.status().is_success() {
                return Ok(response);
            }
            Err(OpenAIError::Boxed(Box::new(refusal(response).await)))
        })
    }
}

async fn refusal(mut response: Response) -> ProviderError {
    let mut body = Vec::new();
    // A body that breaks off says what it has said.
    while let Ok(Some(piece)) = response.chunk().await {
        let room = MOST_ERROR_BYTES.saturating_sub(body.len());
        body.extend_from_slice(&piece[..piece.len().min(room)]);
        if room <= piece.len() {
            break;
        }
    }
    let header = |name: &str| {
        response.headers().get(name).and_then(|value| value.to_str().ok()).map(str::to_owned)
    };
    let status = response.status().as_u16();
    classify::failure(Some(status), &String::from_utf8_lossy(&body), header)
}
