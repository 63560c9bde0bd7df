//! All routes, and what lies around them.

use std::convert::Infallible;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use axum::body::{Body, Bytes, HttpBody};
use axum::extract::DefaultBodyLimit;
use axum::http::header::{
    CONTENT_LENGTH, CONTENT_SECURITY_POLICY, REFERRER_POLICY, X_CONTENT_TYPE_OPTIONS,
};
use axum::http::{HeaderValue, Method, Request, StatusCode};
use axum::response::{IntoResponse as _, Response};
use axum::{BoxError, Router};
use futures_util::future::BoxFuture;
use tokio::time::timeout;
use tower_service::Service as _;
use tracing::Instrument as _;
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::openapi::{Info, OpenApi, OpenApiBuilder};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::conditional::Condition;
use crate::handlers::{
    account, account_page, accounts, audit, calendar, channels, channels_page, check_in, feeds,
    fleet, fleet_page, groups, groups_page, health, hooks, index, machines, metrics,
    openapi as openapi_page, openid, operator_keys, passkeys, patches, patches_page, register,
    repository, reset, rollouts, rollouts_change, rollouts_page, rollouts_stream, settings_page,
    sign_in, subscription, ticks, ways_in,
};
use crate::problem;
use crate::request_log::RequestLog;
use crate::state::{AppState, Service};

/// Bytes of a request's body. The largest is a check-in with 32 events whose texts have 1,000
/// characters, some of which take four bytes or are escaped.
pub const MAX_BODY_BYTES: usize = 256 * 1024;

/// From the whole head of a request to the head of its answer.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(20);

/// Pages load our own style sheet and one small script, which talks to this service alone.
const CONTENT_POLICY: &str = "default-src 'none'; style-src 'self'; script-src 'self'; \
    connect-src 'self'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// Every route is added here and by `routes!`, so that the description can't miss one.
fn routes() -> OpenApiRouter<AppState> {
    OpenApiRouter::with_openapi(description())
        .routes(routes!(index::index))
        .routes(routes!(index::style))
        .routes(routes!(index::script))
        .routes(routes!(patches_page::list))
        .routes(routes!(patches_page::show))
        .routes(routes!(patches_page::kernels))
        .routes(routes!(feeds::atom))
        .routes(routes!(feeds::json))
        .routes(routes!(calendar::page))
        .routes(routes!(calendar::ics))
        .routes(routes!(fleet_page::overview))
        .routes(routes!(fleet_page::machines))
        .routes(routes!(fleet_page::accounts))
        .routes(routes!(fleet_page::account))
        .routes(routes!(fleet_page::change))
        .routes(routes!(fleet_page::audit))
        .routes(routes!(groups_page::show, groups_page::set))
        .routes(routes!(channels_page::show, channels_page::change))
        .routes(routes!(settings_page::show))
        .routes(routes!(settings_page::test_hook))
        .routes(routes!(ticks::follow))
        .routes(routes!(rollouts_page::list))
        .routes(routes!(rollouts_stream::all))
        .routes(routes!(rollouts_page::show))
        .routes(routes!(rollouts_stream::one))
        .routes(routes!(rollouts_change::ask, rollouts_change::act))
        .routes(routes!(account_page::machines))
        .routes(routes!(account_page::early))
        .routes(routes!(account::release_machine))
        .routes(routes!(account::show))
        .routes(routes!(account::make_token))
        .routes(routes!(account::revoke_token))
        .routes(routes!(account::letters))
        .routes(routes!(account::sign_out_everywhere))
        .routes(routes!(account::ask_delete, account::delete))
        .routes(routes!(subscription::show))
        .routes(routes!(subscription::checkout))
        .routes(routes!(subscription::portal))
        .routes(routes!(subscription::come_back))
        .routes(routes!(subscription::notified))
        .routes(routes!(register::form, register::register))
        .routes(routes!(register::confirm_form, register::confirm))
        .routes(routes!(reset::form, reset::ask))
        .routes(routes!(reset::choose_form, reset::choose))
        .routes(routes!(sign_in::form, sign_in::sign_in))
        .routes(routes!(sign_in::sign_out))
        .routes(routes!(openid::sign_in))
        .routes(routes!(openid::come_back))
        .routes(routes!(openid::add))
        .routes(routes!(ways_in::remove_identity))
        .routes(routes!(passkeys::script))
        .routes(routes!(passkeys::begin_sign_in))
        .routes(routes!(passkeys::sign_in))
        .routes(routes!(passkeys::begin_adding))
        .routes(routes!(passkeys::add))
        .routes(routes!(passkeys::remove))
        .routes(routes!(patches::list))
        .routes(routes!(patches::show))
        .routes(routes!(patches::kernels))
        .routes(routes!(rollouts::list))
        .routes(routes!(rollouts::show))
        .routes(routes!(rollouts::draw))
        .routes(routes!(rollouts::events))
        .routes(routes!(rollouts::change))
        .routes(routes!(fleet::show))
        .routes(routes!(fleet::machines))
        .routes(routes!(fleet::release))
        .routes(routes!(fleet::set_group))
        .routes(routes!(groups::list))
        .routes(routes!(groups::set_policy))
        .routes(routes!(channels::list))
        .routes(routes!(channels::promote, channels::demote))
        .routes(routes!(accounts::list, accounts::create))
        .routes(routes!(accounts::show, accounts::change))
        .routes(routes!(accounts::tokens, accounts::make_token))
        .routes(routes!(accounts::revoke_token))
        .routes(routes!(operator_keys::list, operator_keys::create))
        .routes(routes!(operator_keys::revoke))
        .routes(routes!(audit::list))
        .routes(routes!(hooks::list))
        .routes(routes!(hooks::test))
        .routes(routes!(machines::enrol))
        .routes(routes!(machines::split))
        .routes(routes!(machines::release_self))
        .routes(routes!(check_in::check_in))
        .routes(routes!(repository::metadata))
        .routes(routes!(repository::target))
        .routes(routes!(health::healthz))
        .routes(routes!(health::livez))
        .routes(routes!(health::readyz))
        .routes(routes!(metrics::metrics))
        .routes(routes!(openapi_page::openapi_json))
}

fn description() -> OpenApi {
    let mut info = Info::new("Suture", env!("CARGO_PKG_VERSION"));
    info.description = Some("Live patches for Linux kernels.".to_owned());
    let bearer = |what: &str| {
        let scheme = HttpBuilder::new()
            .scheme(HttpAuthScheme::Bearer)
            .description(Some(what));
        SecurityScheme::Http(scheme.build())
    };
    let components = utoipa::openapi::ComponentsBuilder::new()
        .security_scheme("account_token", bearer("An account's token, `suture_t_…`."))
        .security_scheme(
            "machine_secret",
            bearer("A machine's secret, `suture_m_…`."),
        )
        .security_scheme("operator_key", bearer("An operator's key, `suture_o_…`."))
        .build();
    OpenApiBuilder::new()
        .info(info)
        .components(Some(components))
        .build()
}

/// The description of the API (source: OpenAPI 3.1), made from the handlers.
pub fn openapi() -> OpenApi {
    routes().into_openapi()
}

/// The service without its listener.
pub fn router(service: Service) -> Around {
    let (router, description) = routes().split_for_parts();
    let mut patterns = matchit::Router::new();
    for path in description.paths.paths.into_keys() {
        let pattern = Arc::from(path.as_str());
        // The router above has taken all of them.
        let _ = patterns.insert(path, pattern);
    }
    Around {
        router: router.with_state(service.into()),
        patterns: Arc::new(patterns),
    }
}

/// All routes, and what is done for every request and its answer. It lies around the router as a
/// whole: a layer of the router costs each request several allocations, and check-ins are many.
#[derive(Clone)]
pub struct Around {
    router: Router,
    /// Names for the log.
    patterns: Arc<matchit::Router<Arc<str>>>,
}

impl<B> tower_service::Service<Request<B>> for Around
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    type Response = Response;
    type Error = Infallible;
    type Future = BoxFuture<'static, Result<Response, Infallible>>;

    fn poll_ready(&mut self, _context: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        // The router always is.
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, mut request: Request<B>) -> Self::Future {
        let pattern = self.patterns.at(request.uri().path()).ok();
        let log = RequestLog::begin(&request, pattern.map(|found| Arc::clone(found.value)));
        let span = log.span();
        // The head is to be the one of the answer to GET, with its tag and its length
        // (source: RFC 9110, 9.3.2).
        let is_head = request.method() == Method::HEAD;
        if is_head {
            *request.method_mut() = Method::GET;
        }
        let condition = Condition::of(&request);
        let answer = answer(request, &self.router);
        let answered = async move {
            let response = timeout(REQUEST_TIMEOUT, answer).await;
            let response = response.unwrap_or_else(|_| StatusCode::REQUEST_TIMEOUT.into_response());
            let response = condition.answer(response).await;
            let mut response = guarded(problem::in_one_form(response).await);
            if is_head {
                response = without_body(response);
            }
            Ok(log.end(response))
        };
        Box::pin(answered.instrument(span))
    }
}

/// A body that is too long by its own word is not waited for.
fn answer<B>(mut request: Request<B>, router: &Router) -> impl Future<Output = Response> + use<B>
where
    B: HttpBody<Data = Bytes, Error: Into<BoxError>> + Send + 'static,
{
    let length = request.headers().get(CONTENT_LENGTH);
    let length = length.and_then(|length| length.to_str().ok()?.parse::<usize>().ok());
    let too_long = length.is_some_and(|length| length > MAX_BODY_BYTES);
    let answer = (!too_long).then(|| {
        DefaultBodyLimit::max(MAX_BODY_BYTES).apply(&mut request);
        router.clone().call(request)
    });
    async move {
        match answer {
            Some(answer) => answer.await.into_response(),
            None => StatusCode::PAYLOAD_TOO_LARGE.into_response(),
        }
    }
}

fn without_body(response: Response) -> Response {
    let (mut parts, body) = response.into_parts();
    if let Some(length) = body.size_hint().exact() {
        let length = HeaderValue::from(length);
        parts.headers.entry(CONTENT_LENGTH).or_insert(length);
    }
    Response::from_parts(parts, Body::empty())
}

/// Tells browsers to take nothing for what it isn't.
fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    headers.insert(
        CONTENT_SECURITY_POLICY,
        HeaderValue::from_static(CONTENT_POLICY),
    );
    headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    // Not `no-referrer`: then browsers would hide the origin of our own forms from us.
    headers.insert(REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    response
}
