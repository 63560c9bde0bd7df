//! Runs the service until it is told to stop.

use std::future::Future;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum_server::Handle;
use axum_server::tls_rustls::RustlsAcceptor;
use suture_store::{Clock, Store};
use tokio::sync::oneshot;
use tracing::info;

use crate::patches::Patches;
use crate::state::AppState;
use crate::{ServerConfig, ServerError, Tls, router, tls};

/// How long open requests may take to finish after the call to stop.
const SHUTDOWN_GRACE: Duration = Duration::from_secs(30);

/// How long a client may take to send a request's head.
const HEAD_TIMEOUT: Duration = Duration::from_secs(15);

/// Serves until `shutdown` completes, then finishes the open requests.
///
/// `ready` gets the address once connections are accepted. Nothing is sent if the start fails;
/// the error then says why.
pub async fn serve(
    config: ServerConfig,
    store: Arc<dyn Store>,
    clock: Arc<dyn Clock>,
    ready: oneshot::Sender<SocketAddr>,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> Result<(), ServerError> {
    store
        .ping()
        .await
        .map_err(|source| ServerError::Store { source })?;
    let patches = Arc::new(Patches::load(&config.repository).await?);
    let check_in_interval_secs = config.check_in_interval_secs;
    let app = router::router(AppState {
        store,
        clock,
        patches,
        check_in_interval_secs,
    });

    let listen = config.listen;
    let cannot_listen = |source| ServerError::Listen { listen, source };
    let acceptor = match &config.tls {
        Tls::Pem { cert, key } => Some(RustlsAcceptor::new(tls::config(cert, key).await?)),
        Tls::Plain => None,
    };
    let listener = TcpListener::bind(listen).map_err(cannot_listen)?;
    listener.set_nonblocking(true).map_err(cannot_listen)?;
    let address = listener.local_addr().map_err(cannot_listen)?;
    let handle = Handle::new();
    let mut server = axum_server::from_tcp(listener)
        .map_err(cannot_listen)?
        .handle(handle.clone())
        .first_request_timeout(HEAD_TIMEOUT);
    server
        .http_builder()
        .http1()
        .header_read_timeout(HEAD_TIMEOUT);

    let stopper = tokio::spawn(async move {
        shutdown.await;
        info!("finishing the open requests");
        handle.graceful_shutdown(Some(SHUTDOWN_GRACE));
    });
    info!(listen.address = %address, tls = acceptor.is_some(), "listening on {address}");
    // The kernel queues connections from now on. Nobody need wait for the answer.
    let _ = ready.send(address);
    let service = app.into_make_service();
    let served = match acceptor {
        Some(acceptor) => server.acceptor(acceptor).serve(service).await,
        None => server.serve(service).await,
    };
    stopper.abort();
    served.map_err(|source| ServerError::Serve { listen, source })
}
