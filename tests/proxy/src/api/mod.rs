//! HTTP/1.1 before the API server: plain on this side, TLS on the other, the part's token on both.
//!
//! Decides how a fault looks over HTTP. Never changes a request or an answer that no rule names,
//! but for the namespace that a part may be confined to.

mod answer;
mod request;
mod seen;
mod watch;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_LENGTH, HOST, TRANSFER_ENCODING};
use hyper::service::service_fn;
use hyper::{Request, Response, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio::sync::mpsc;

use self::answer::{Answer, refusal};
use self::request::About;
use self::seen::Seen;
use self::watch::Watch;
use crate::director::{Cut, Director, Step};
use crate::fault::{Fault, Loss, Place};
use crate::proxy::Servers;
use crate::valve::{Direction, Valve};

/// What all connections of one part share.
pub(crate) struct Gate {
    client: Client<HttpsConnector<HttpConnector>, Full<Bytes>>,
    upstream: String,
    namespace: Option<String>,
    director: Arc<Director>,
    valve: Arc<Valve>,
    seen: Arc<Seen>,
}

/// A whole request, so that it can be sent more than once.
type Whole = Request<Bytes>;

impl Gate {
    pub(crate) fn new(
        servers: &Servers,
        director: Arc<Director>,
        valve: Arc<Valve>,
    ) -> std::io::Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificates = CertificateDer::pem_file_iter(&servers.api_ca)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(std::io::Error::other)?;
        roots.add_parsable_certificates(certificates);
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(std::io::Error::other)?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        Ok(Self {
            client: Client::builder(TokioExecutor::new()).build(connector),
            upstream: servers.api_url.clone(),
            namespace: servers.namespace.clone(),
            director,
            valve,
            seen: Arc::default(),
        })
    }

    async fn handle(self: Arc<Self>, request: Request<Incoming>) -> Result<Response<Answer>, Cut> {
        let (head, body) = request.into_parts();
        let body = body.collect().await.map_err(|_| Cut)?.to_bytes();
        let (path, query) = (head.uri.path(), head.uri.query());
        let about = About::read(&head.method, path, query, &head.headers, &body);
        let mut whole = Request::from_parts(head, body);
        self.valve.pass(Direction::ToServer).await;
        let Some(about) = about else {
            self.director.alive()?;
            let response = self.send(&whole).await?;
            return self.hand_over(response, None).await;
        };
        let step = self.director.arrive(&about.step(), about.writes())?;
        let views = &self.director.views;
        if about.verb == "watch" {
            return self.watch(whole, about, step).await;
        }
        if about.verb == "list"
            && let Some(version) = views.version_of(&about.resource)
            && let Some(uri) = request::at_version(whole.uri(), &version)
        {
            *whole.uri_mut() = uri;
        }
        self.once(&whole, step).await
    }

    async fn once(&self, whole: &Whole, step: Step) -> Result<Response<Answer>, Cut> {
        match step.fault {
            None
            | Some(
                Fault::Hold { .. }
                | Fault::Past(_)
                | Fault::Gone
                | Fault::Reject(_)
                | Fault::Raise(_),
            ) => {
                let response = self.send(whole).await?;
                self.hand_over(response, None).await
            }
            // The director has killed already for `Before`.
            Some(Fault::Kill(Place::Before | Place::Answer)) => {
                self.effect(whole).await?;
                self.director.kill();
                Err(Cut)
            }
            Some(Fault::Kill(Place::After)) => {
                let response = self.send(whole).await?;
                self.hand_over(response, Some(self.director.clone())).await
            }
            Some(Fault::Lose(Loss::Reset)) => {
                self.effect(whole).await?;
                Err(Cut)
            }
            Some(Fault::Lose(Loss::Timeout)) => {
                self.effect(whole).await?;
                Ok(refusal(504, None))
            }
            Some(Fault::Refuse { code, retry_after }) => Ok(refusal(code, retry_after)),
            Some(Fault::Delay { ms }) => {
                tokio::time::sleep(Duration::from_millis(ms)).await;
                let response = self.send(whole).await?;
                self.hand_over(response, None).await
            }
            Some(Fault::Drop) => std::future::pending().await,
            Some(Fault::Duplicate) => {
                let response = self.send(whole).await?;
                let first = self.hand_over(response, None).await;
                self.effect(whole).await?;
                first
            }
            Some(Fault::Cut) => Err(Cut),
            Some(Fault::Pause) => {
                self.director.pause().await;
                // Sent while the part holds still: awake, it might take the request back.
                let sent = self.send(whole).await;
                self.director.go_on();
                self.hand_over(sent?, None).await
            }
        }
    }

    /// The request is done; nobody hears of it.
    async fn effect(&self, whole: &Whole) -> Result<(), Cut> {
        let response = self.send(whole).await?;
        response.into_body().collect().await.map_err(|_| Cut)?;
        Ok(())
    }

    async fn watch(
        self: Arc<Self>,
        whole: Whole,
        about: About,
        step: Step,
    ) -> Result<Response<Answer>, Cut> {
        match step.fault {
            Some(Fault::Refuse { code, retry_after }) => return Ok(refusal(code, retry_after)),
            Some(Fault::Gone) => return Ok(refusal(410, None)),
            Some(Fault::Cut | Fault::Lose(_)) => return Err(Cut),
            Some(Fault::Drop) => std::future::pending().await,
            Some(Fault::Delay { ms }) => tokio::time::sleep(Duration::from_millis(ms)).await,
            Some(Fault::Kill(_)) => {
                self.director.kill();
                return Err(Cut);
            }
            Some(Fault::Pause) => {
                self.director.pause().await;
                self.director.go_on();
            }
            None
            | Some(
                Fault::Hold { .. }
                | Fault::Past(_)
                | Fault::Duplicate
                | Fault::Reject(_)
                | Fault::Raise(_),
            ) => {}
        }
        let (sender, pieces) = mpsc::unbounded_channel();
        let mut watch = Watch::new(
            about.resource,
            self.director.clone(),
            self.valve.clone(),
            self.seen.clone(),
        );
        if let Some(by) = self.director.views.past_of(&watch.resource) {
            tokio::spawn(async move {
                if !watch.in_the_past(by, &sender).await {
                    return;
                }
                // It goes on from the version that its list was of.
                if let Ok(response) = self.send(&whole).await {
                    watch.run(response.into_body(), sender).await;
                }
            });
            return Ok(Response::new(Answer::Pieces(pieces)));
        }
        let (mut head, body) = self.send(&whole).await?.into_parts();
        head.headers.remove(TRANSFER_ENCODING);
        tokio::spawn(watch.run(body, sender));
        Ok(Response::from_parts(head, Answer::Pieces(pieces)))
    }

    async fn send(&self, whole: &Whole) -> Result<Response<Incoming>, Cut> {
        let path = whole.uri().path();
        let confined = self
            .namespace
            .as_deref()
            .and_then(|namespace| request::confined(path, namespace));
        let path = confined.as_deref().unwrap_or(path);
        let query = whole
            .uri()
            .query()
            .map_or_else(String::new, |query| format!("?{query}"));
        let uri: Uri = format!("{}{path}{query}", self.upstream)
            .parse()
            .map_err(|_| Cut)?;
        let mut request = Request::new(Full::new(whole.body().clone()));
        *request.method_mut() = whole.method().clone();
        *request.uri_mut() = uri;
        *request.headers_mut() = whole.headers().clone();
        for header in [HOST, CONTENT_LENGTH, TRANSFER_ENCODING] {
            request.headers_mut().remove(header);
        }
        self.client.request(request).await.map_err(|_| Cut)
    }

    async fn hand_over(
        &self,
        response: Response<Incoming>,
        doomed: Option<Arc<Director>>,
    ) -> Result<Response<Answer>, Cut> {
        let (mut head, body) = response.into_parts();
        let bytes = body.collect().await.map_err(|_| Cut)?.to_bytes();
        self.valve.pass(Direction::ToPart).await;
        head.headers.remove(TRANSFER_ENCODING);
        head.headers.remove(CONTENT_LENGTH);
        Ok(Response::from_parts(
            head,
            Answer::Whole(Some(bytes), doomed),
        ))
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve(stream: TcpStream, gate: Arc<Gate>) {
    let service = service_fn(move |request| {
        let gate = gate.clone();
        async move { gate.handle(request).await }
    });
    // A connection that ends in the middle is what some plans ask for.
    let _ = hyper::server::conn::http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await;
}
