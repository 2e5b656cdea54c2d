//! A proxy between the operator and the API server. It can fail, delay, cut off or kill at the n-th
//! call, as the AWS endpoint does on the other side.

use std::collections::{BTreeSet, HashMap};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use aws_standin::fault::{Effect, Faults, kill};
use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full};
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Uri};
use hyper_rustls::{HttpsConnector, HttpsConnectorBuilder};
use hyper_util::client::legacy::Client;
use hyper_util::client::legacy::connect::HttpConnector;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpListener;
use tokio::sync::watch;

use crate::Result;

type Body = BoxBody<Bytes, hyper::Error>;
type Cut = Box<dyn std::error::Error + Send + Sync>;

/// The proxy of one operator. Its faults go by the name `api`.
pub struct ApiProxy {
    /// A kubeconfig that leads through the proxy.
    pub kubeconfig: PathBuf,
    /// Faults of operations such as `PUT repofanouts/status`.
    pub faults: Arc<Faults>,
    past: Arc<Past>,
    refused: Arc<Mutex<BTreeSet<String>>>,
    cut: watch::Sender<()>,
}

/// Earlier answers to lists, which an API server that lags behind would give again.
#[derive(Default)]
struct Past {
    lists: Mutex<HashMap<String, Bytes>>,
    replays: AtomicBool,
}

impl ApiProxy {
    /// Cuts all open connections, watches among them.
    pub fn cut(&self) {
        self.cut.send_replace(());
    }

    /// The permissions that RBAC refused so far, such as `watch repofanouts`.
    pub fn refused(&self) -> BTreeSet<String> {
        self.refused.lock().expect("no panic while held").clone()
    }

    /// Answers the next list of each kind as it was answered last.
    pub fn answer_from_the_past(&self) {
        self.past.replays.store(true, Ordering::SeqCst);
    }
}

/// The account name under which the proxy's faults are kept.
pub const API: &str = "api";

struct Shared {
    upstream: String,
    client: Client<HttpsConnector<HttpConnector>, Incoming>,
    faults: Arc<Faults>,
    past: Arc<Past>,
    refused: Arc<Mutex<BTreeSet<String>>>,
}

impl ApiProxy {
    /// Starts the proxy on a free port, for as long as the runtime lives.
    ///
    /// # Errors
    /// The CA cannot be read, or no port is free.
    pub async fn start(
        upstream: &str,
        ca: &Path,
        token: &str,
        user: Option<&str>,
        kubeconfig: PathBuf,
    ) -> Result<Self> {
        let mut roots = RootCertStore::empty();
        let certificate =
            CertificateDer::from_pem_file(ca).map_err(|e| format!("{}: {e}", ca.display()))?;
        roots
            .add(certificate)
            .map_err(|e| format!("{}: {e}", ca.display()))?;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let tls = ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .map_err(|e| e.to_string())?
            .with_root_certificates(roots)
            .with_no_client_auth();
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls)
            .https_only()
            .enable_http1()
            .build();
        let (faults, past) = (Arc::<Faults>::default(), Arc::<Past>::default());
        let refused = Arc::<Mutex<BTreeSet<String>>>::default();
        let shared = Arc::new(Shared {
            upstream: upstream.to_owned(),
            client: Client::builder(TokioExecutor::new()).build(connector),
            faults: Arc::clone(&faults),
            past: Arc::clone(&past),
            refused: Arc::clone(&refused),
        });
        let listener = TcpListener::bind(("127.0.0.1", 0))
            .await
            .map_err(|e| format!("no port: {e}"))?;
        let address = listener.local_addr().map_err(|e| e.to_string())?;
        let (cut, cuts) = watch::channel(());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (shared, mut cuts) = (Arc::clone(&shared), cuts.clone());
                cuts.mark_unchanged();
                tokio::spawn(async move {
                    let service = service_fn(move |request| serve(Arc::clone(&shared), request));
                    tokio::select! {
                        _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service) => {}
                        Ok(()) = cuts.changed() => {}
                    }
                });
            }
        });
        let text = crate::cluster::kubeconfig(&format!("http://{address}"), None, token, user);
        std::fs::write(&kubeconfig, text).map_err(|e| format!("{}: {e}", kubeconfig.display()))?;
        Ok(Self {
            kubeconfig,
            faults,
            past,
            refused,
            cut,
        })
    }
}

async fn serve(
    shared: Arc<Shared>,
    request: Request<Incoming>,
) -> std::result::Result<Response<Body>, Cut> {
    let (mut parts, body) = request.into_parts();
    let path = parts
        .uri
        .path_and_query()
        .map_or("/", |p| p.as_str())
        .to_owned();
    let write = parts.method != Method::GET;
    let effect = shared
        .faults
        .effect(API, &operation(&parts.method, &path), write);
    match &effect {
        Some(Effect::Fail {
            status,
            code,
            message,
        }) => {
            let text = serde_json::json!({
                "kind": "Status", "apiVersion": "v1", "status": "Failure", "code": status, "reason": code, "message": message,
            });
            let body = Full::new(Bytes::from(text.to_string()))
                .map_err(|never| match never {})
                .boxed();
            return Ok(Response::builder()
                .status(*status)
                .header("content-type", "application/json")
                .body(body)?);
        }
        Some(Effect::Delay(time)) => tokio::time::sleep(*time).await,
        Some(Effect::CutBefore) => return Err("cut before".into()),
        Some(Effect::KillBefore(pid)) => {
            kill(*pid);
            return Err("killed before".into());
        }
        _ => {}
    }
    let list = parts.method == Method::GET
        && path.contains("/repofanouts?")
        && !path.contains("watch=true");
    if list && shared.past.replays.load(Ordering::SeqCst) {
        let answer = shared
            .past
            .lists
            .lock()
            .expect("no panic while held")
            .remove(&path);
        if let Some(body) = answer {
            let body = Full::new(body).map_err(|never| match never {}).boxed();
            return Ok(Response::builder()
                .header("content-type", "application/json")
                .body(body)?);
        }
    }
    parts.headers.remove("accept-encoding");
    parts.uri = format!("{}{path}", shared.upstream).parse::<Uri>()?;
    parts.headers.remove("host");
    let permission = permission(&parts.method, &path);
    let answer = shared
        .client
        .request(Request::from_parts(parts, body))
        .await?;
    if answer.status() == StatusCode::FORBIDDEN {
        shared
            .refused
            .lock()
            .expect("no panic while held")
            .insert(permission);
    }
    match effect {
        Some(Effect::CutAfter) => Err("cut after".into()),
        Some(Effect::KillAfter(pid)) => {
            kill(pid);
            Err("killed after".into())
        }
        _ if list => {
            let (head, body) = answer.into_parts();
            let body = body.collect().await?.to_bytes();
            shared
                .past
                .lists
                .lock()
                .expect("no panic while held")
                .insert(path, body.clone());
            Ok(Response::from_parts(
                head,
                Full::new(body).map_err(|never| match never {}).boxed(),
            ))
        }
        _ => Ok(answer.map(BodyExt::boxed)),
    }
}

/// The permission that RBAC checks for a request, such as `watch repofanouts`.
fn permission(method: &Method, path: &str) -> String {
    let (path, query) = path.split_once('?').unwrap_or((path, ""));
    let all: Vec<&str> = path
        .split('/')
        .skip_while(|p| *p != "apis" && *p != "api")
        .collect();
    let mut parts = &all[if all.first() == Some(&"api") { 2 } else { 3 }..];
    if parts.len() > 2 && parts[0] == "namespaces" {
        parts = &parts[2..];
    }
    let verb = match (method.as_str(), parts.len()) {
        ("GET", _) if query.contains("watch=true") => "watch",
        ("GET", 1) => "list",
        ("GET", _) => "get",
        ("POST", _) => "create",
        ("PUT", _) => "update",
        ("PATCH", _) => "patch",
        _ => "delete",
    };
    let sub = parts.get(2).map(|s| format!("/{s}")).unwrap_or_default();
    format!("{verb} {}{sub}", parts.first().copied().unwrap_or_default())
}

/// The operation of a request, such as `PUT repofanouts/status` for
/// `/apis/GROUP/VERSION/namespaces/NS/repofanouts/NAME/status`.
fn operation(method: &Method, path: &str) -> String {
    let parts: Vec<&str> = path
        .split('?')
        .next()
        .unwrap_or_default()
        .split('/')
        .collect();
    let at = parts
        .iter()
        .position(|p| *p == "namespaces")
        .map_or(4, |i| i + 2);
    let resource = parts.get(at).copied().unwrap_or_default();
    let sub = parts
        .get(at + 2)
        .map(|s| format!("/{s}"))
        .unwrap_or_default();
    format!("{method} {resource}{sub}")
}
