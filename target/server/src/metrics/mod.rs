//! The same numbers for Prometheus and whatever else reads OpenMetrics, over HTTP.
//!
//! [`page`] says what there is; this file listens. A peer can do no more than ask: few connections at a time, one request
//! each, and little time for it.

mod page;

use std::convert::Infallible;
use std::net::{Ipv4Addr, SocketAddr, TcpListener as StdListener};
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::header::{ACCEPT, ALLOW, CONTENT_TYPE, HeaderMap, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::node::Node;
use page::{Format, Page};

/// Connections at a time; who comes then is turned away.
const CONNECTIONS: usize = 16;

/// How long a peer has for its request, and for all of it.
const REQUEST_LIMIT: Duration = Duration::from_secs(5);
const LIMIT: Duration = Duration::from_secs(30);

/// Bytes of a request's head.
const HEAD: usize = 16 << 10;

/// The command line's part.
#[derive(Debug, Clone, Default, clap::Args)]
pub struct MetricsOptions {
    /// Serve metrics for Prometheus (OpenMetrics) by HTTP on this address, at /metrics: ADDR:PORT, or a port of
    /// 127.0.0.1 alone; port 0 takes a free one.
    #[arg(id = "metrics", long = "metrics", value_name = "ADDR", value_parser = Listen::from_str)]
    pub listen: Option<Listen>,
}

/// Where metrics are served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listen(pub SocketAddr);

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if let Ok(port) = text.strip_prefix(':').unwrap_or(text).parse() {
            return Ok(Self((Ipv4Addr::LOCALHOST, port).into()));
        }
        text.parse().map(Self).map_err(|_| "give an address and a port, as in 127.0.0.1:9260 or [::1]:9260")
    }
}

/// A server that has its socket.
#[derive(Debug)]
pub struct Server {
    listener: StdListener,
    address: SocketAddr,
}

impl Server {
    /// Takes the socket.
    ///
    /// # Errors
    /// Why it cannot be had, and what to do.
    pub fn bind(Listen(address): Listen) -> Result<Self, Failure> {
        let bound = StdListener::bind(address).and_then(|listener| {
            listener.set_nonblocking(true)?;
            Ok((listener.local_addr()?, listener))
        });
        let (address, listener) =
            bound.map_err(|error| Failure::not_bound("serve metrics", address, &error, "--metrics", "--metrics"))?;
        Ok(Self { listener, address })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// Answers until the task is aborted.
    ///
    /// # Errors
    /// Where the socket cannot be used.
    pub async fn serve(self, node: Arc<Node>) -> std::io::Result<()> {
        let listener = TcpListener::from_std(self.listener)?;
        let page = Arc::new(Page::new(node));
        let places = Arc::new(Semaphore::new(CONNECTIONS));
        loop {
            let (stream, peer) = match listener.accept().await {
                Ok(accepted) => accepted,
                Err(error) => {
                    // Out of descriptors, say: others may be given back meanwhile.
                    tracing::debug!(%error, "a connection for metrics could not be accepted");
                    tokio::time::sleep(Duration::from_millis(100)).await;
                    continue;
                }
            };
            let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
                tracing::debug!(%peer, "{CONNECTIONS} connections for metrics are the most");
                continue;
            };
            let page = Arc::clone(&page);
            tokio::spawn(async move {
                if timeout(LIMIT, answer(stream, page)).await.is_err() {
                    tracing::debug!(%peer, "a peer took too long for its metrics");
                }
                drop(place);
            });
        }
    }
}

/// One request.
async fn answer(stream: TcpStream, page: Arc<Page>) {
    let service = service_fn(|request| respond(request, Arc::clone(&page)));
    let mut server = http1::Builder::new();
    server.keep_alive(false).timer(TokioTimer::new()).header_read_timeout(REQUEST_LIMIT).max_buf_size(HEAD);
    // A peer that breaks the protocol was told so.
    let _ = server.serve_connection(TokioIo::new(stream), service).await;
}

async fn respond(request: Request<Incoming>, page: Arc<Page>) -> Result<Response<Full<Bytes>>, Infallible> {
    let text = |status, text: &'static str| {
        let mut response = Response::new(Full::from(text));
        *response.status_mut() = status;
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
        response
    };
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "GET it\n");
        response.headers_mut().insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
        return Ok(response);
    }
    match request.uri().path() {
        "/metrics" => {}
        "/" => return Ok(text(StatusCode::OK, "iesp: the metrics are at /metrics\n")),
        _ => return Ok(text(StatusCode::NOT_FOUND, "the metrics are at /metrics\n")),
    }
    let format = if wants_openmetrics(request.headers()) { Format::OpenMetrics } else { Format::Prometheus };
    // With many disks there is much to write: nobody has to wait for that.
    let written = tokio::task::spawn_blocking(move || page.write(format)).await;
    let Ok(Ok(written)) = written else {
        return Ok(text(StatusCode::INTERNAL_SERVER_ERROR, "the metrics could not be written\n"));
    };
    let mut response = Response::new(Full::from(written));
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(format.content_type()));
    Ok(response)
}

/// Whether a peer names OpenMetrics among what it takes; who names nothing gets Prometheus' own format.
fn wants_openmetrics(headers: &HeaderMap) -> bool {
    headers.get_all(ACCEPT).iter().filter_map(|value| value.to_str().ok()).flat_map(|value| value.split(',')).any(
        |range| {
            let mut parts = range.split(';').map(str::trim);
            let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("application/openmetrics-text"));
            let refused = |part: &str| part.strip_prefix("q=").is_some_and(|weight| weight.parse() == Ok(0.0));
            named && !parts.any(refused)
        },
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let listen = |text: &str| text.parse::<Listen>().map(|Listen(address)| address.to_string());
        assert_eq!(listen("9260").as_deref(), Ok("127.0.0.1:9260"));
        assert_eq!(listen(":9260").as_deref(), Ok("127.0.0.1:9260"));
        assert_eq!(listen("0.0.0.0:1").as_deref(), Ok("0.0.0.0:1"));
        assert_eq!(listen("[::1]:1").as_deref(), Ok("[::1]:1"));
        for wrong in ["", "127.0.0.1", "host:1", "70000", "::1"] {
            assert!(listen(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn formats() {
        let wants = |accept: &'static str| {
            wants_openmetrics(&[(ACCEPT, HeaderValue::from_static(accept))].into_iter().collect())
        };
        assert!(wants("application/openmetrics-text;version=1.0.0,text/plain;q=0.5,*/*;q=0.1"));
        assert!(wants("text/plain, application/openmetrics-text; version=1.0.0"));
        assert!(!wants("*/*") && !wants("text/plain") && !wants("application/openmetrics-text;q=0"));
        assert!(!wants_openmetrics(&HeaderMap::new()));
    }
}
