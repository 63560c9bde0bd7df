//! Runs the service until it is told to stop.

use std::future::Future;
use std::io;
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use axum::ServiceExt;
use axum::extract::Request;
use axum_server::tls_rustls::RustlsAcceptor;
use axum_server::{Handle, Server};
use suture_store::{Clock, Store};
use tokio::sync::{Notify, oneshot};
use tracing::info;

use crate::billing::Billing;
use crate::hooks::Hooks;
use crate::notices::Notices;
use crate::openid::OpenId;
use crate::post::Post;
use crate::rollouts::Executor;
use crate::router::Around;
use crate::state::Service;
use crate::tls::CertificateFiles;
use crate::web::Web;
use crate::webauthn::RelyingParty;
use crate::{ServerConfig, ServerError, Tls, attention, fleet, retention, router};

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
    if let Some(plan) = &config.default_plan {
        plan.check_for(config.check_in_interval_secs)
            .map_err(|source| ServerError::Plan { source })?;
    }
    let config = Arc::new(config);
    store
        .ping()
        .await
        .map_err(|source| ServerError::Store { source })?;
    let executor = Executor::open(&config, Arc::clone(&store), Arc::clone(&clock)).await?;
    let post = config.mail.as_ref().map(Post::open).transpose()?;
    let (letters, mail) = (post.clone(), post.clone());
    let web = Arc::new(Web::new(&config, post));
    let billing = config.stripe.as_ref().map(Billing::open).transpose()?;
    let billing = billing.map(Arc::new);
    let openid = config.openid.as_ref();
    let openid = openid
        .map(|openid| OpenId::open(openid, config.public_url.as_deref()))
        .transpose()?;
    let streams = web.streams.clone();
    let listen = config.listen;
    let handle = Handle::new();
    let bound = bind(listen, handle.clone());
    let (server, address) = bound.map_err(|source| ServerError::Listen { listen, source })?;
    let notices = Notices::open(config.notices.as_deref())
        .map_err(|source| ServerError::Notices { source })?;
    let public_url = public_url(&config, address);
    let hooks = Hooks::open(config.hooks.as_deref(), mail, &public_url)
        .map_err(|source| ServerError::Hooks { source })?;
    let hooks = Arc::new(hooks);
    let silent_days = config.release_silent_days;
    let caring = fleet::look_after(Arc::clone(&store), Arc::clone(&clock), silent_days);
    let caring = tokio::spawn(caring);
    let asking = billing.as_ref().map(|billing| {
        let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
        tokio::spawn(Arc::clone(billing).run(store, clock))
    });
    let forgetting = retention::run(Arc::clone(&store), Arc::clone(&clock), config.keep);
    let forgetting = tokio::spawn(forgetting);
    let attention = Arc::new(Notify::new());
    let telling = Arc::clone(&hooks).run(Arc::clone(&store), Arc::clone(&clock));
    let telling = tokio::spawn(telling);
    let writing = letters.map(|post| {
        let (store, clock) = (Arc::clone(&store), Arc::clone(&clock));
        let page = format!("{public_url}/machines");
        let calls = Arc::clone(&attention);
        tokio::spawn(attention::run(store, clock, post, page, calls))
    });
    let app = router::router(Service {
        billing,
        openid: openid.map(Arc::new),
        passkeys: RelyingParty::of(&public_url).map(Arc::new),
        attention,
        notices: Arc::new(notices),
        fleet: Arc::default(),
        hooks,
        store,
        clock,
        patches: Arc::clone(executor.patches()),
        changes: executor.changes().clone(),
        executor: Arc::clone(&executor),
        web,
        public_url: public_url.into(),
        config: Arc::clone(&config),
    });

    let certificate = match &config.tls {
        Tls::Pem { cert, key } => Some(CertificateFiles::load(cert, key).await?),
        Tls::Plain => None,
    };
    // Before the first check-in: that the service was away must be known when machines come back.
    executor.look_now().await;
    let looking = tokio::spawn(Arc::clone(&executor).run());
    let stopper = tokio::spawn(async move {
        shutdown.await;
        info!("finishing the open requests");
        // Followed pages would keep their connections open until the grace is over.
        streams.close();
        handle.graceful_shutdown(Some(SHUTDOWN_GRACE));
    });
    info!(listen.address = %address, tls = certificate.is_some(), "listening on {address}");
    // The kernel queues connections from now on. Nobody need wait for the answer.
    let _ = ready.send(address);
    let served = run(server, certificate, app).await;
    stopper.abort();
    looking.abort();
    caring.abort();
    forgetting.abort();
    telling.abort();
    for job in [asking, writing].into_iter().flatten() {
        job.abort();
    }
    executor.give_up().await;
    served.map_err(|source| ServerError::Serve { listen, source })
}

/// Without a slash at the end. What a client says in `host` is not asked.
fn public_url(config: &ServerConfig, address: SocketAddr) -> String {
    let scheme = if config.tls == Tls::Plain {
        "http"
    } else {
        "https"
    };
    let listening = || format!("{scheme}://{address}");
    let url = config.public_url.clone().unwrap_or_else(listening);
    url.trim_end_matches('/').to_owned()
}

fn bind(
    listen: SocketAddr,
    handle: Handle<SocketAddr>,
) -> io::Result<(Server<SocketAddr>, SocketAddr)> {
    let listener = listener(listen)?;
    let address = listener.local_addr()?;
    let mut server = axum_server::from_tcp(listener)?.handle(handle);
    server
        .http_builder()
        .http1()
        .header_read_timeout(HEAD_TIMEOUT);
    Ok((server.first_request_timeout(HEAD_TIMEOUT), address))
}

/// With room for as many that wait as the kernel grants (`net.core.somaxconn`, 4096 by default);
/// the standard library asks for 128. Whoever finds no room tries again a second later, and a
/// fleet comes back all at once.
fn listener(listen: SocketAddr) -> io::Result<TcpListener> {
    let listener = TcpListener::bind(listen)?;
    // Called again it changes the room alone (source: Linux, inet_listen).
    rustix::net::listen(&listener, i32::MAX)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves until the server's handle says stop.
async fn run(
    server: Server<SocketAddr>,
    certificate: Option<CertificateFiles>,
    app: Around,
) -> io::Result<()> {
    let service = ServiceExt::<Request>::into_make_service_with_connect_info::<SocketAddr>(app);
    let Some(files) = certificate else {
        return server.serve(service).await;
    };
    let acceptor = RustlsAcceptor::new(files.config());
    let watcher = tokio::spawn(files.watch());
    let served = server.acceptor(acceptor).serve(service).await;
    watcher.abort();
    served
}

#[cfg(test)]
mod tests {
    use std::net::TcpStream;
    use std::time::Duration;

    use super::*;

    /// Nobody is accepted: all wait in the kernel's queue, and none has to try again.
    #[test]
    fn a_fleet_that_comes_back_at_once_finds_room() {
        let listener = listener("127.0.0.1:0".parse().unwrap()).unwrap();
        let address = listener.local_addr().unwrap();
        let connect = |_| TcpStream::connect_timeout(&address, Duration::from_secs(10));
        let waiting = (0..300).map_while(|number| connect(number).ok());
        assert_eq!(waiting.collect::<Vec<_>>().len(), 300);
    }
}
