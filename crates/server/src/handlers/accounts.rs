//! Accounts and their tokens as JSON, for operators.

use axum::Json;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use serde::{Deserialize, Deserializer, Serialize};
use suture_protocol::Problem;
use suture_rollout::EarlyPreference;
use suture_store::{AccountId, AccountQuery, InvalidText, NewAccount, Plan, TokenId, TokenLabel};
use utoipa::{IntoParams, ToSchema};

use super::fleet::short_text;
use crate::lists;
use crate::operator::{Operator, OperatorRefusals};
use crate::problem::{ApiError, ApiResult};
use crate::state::AppState;
use crate::view::{AccountPage, AccountSummary, TokenSummary};

/// Accounts in a piece of the list, at most.
pub(super) const MAX_ACCOUNTS: u32 = 200;

/// What to look for among accounts.
#[derive(Debug, Default, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub struct AccountSearch {
    /// A part of the e-mail address.
    #[serde(default)]
    pub text: String,
    /// What the piece before gave as `next`.
    #[serde(default)]
    pub after: String,
    /// Accounts wanted (default and most: 200).
    pub limit: Option<u32>,
}

impl AccountSearch {
    pub(super) fn query(&self, limit: u32) -> Result<AccountQuery, InvalidText> {
        let after = match self.after.as_str() {
            "" => None,
            text => Some(text.parse().map_err(|_| InvalidText {
                what: "place in the list",
                expected: "what the piece before gave as `next`",
            })?),
        };
        Ok(AccountQuery {
            text: short_text(&self.text)?,
            after,
            limit: limit.clamp(1, MAX_ACCOUNTS),
        })
    }
}

/// All accounts, in pieces.
#[utoipa::path(
    get,
    path = "/v1/accounts",
    tag = "accounts",
    security(("operator_key" = [])),
    params(AccountSearch),
    responses(
        (status = OK, description = "the accounts", body = AccountPage),
        OperatorRefusals,
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn list(
    State(app): State<AppState>,
    _operator: Operator,
    Query(search): Query<AccountSearch>,
) -> ApiResult<Json<AccountPage>> {
    let query = search.query(search.limit.unwrap_or(MAX_ACCOUNTS))?;
    Ok(Json(lists::accounts(app.store.as_ref(), &query).await?))
}

/// What an account is made from.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct AccountRequest {
    pub email: String,
    /// `free` or `subscription`.
    pub plan: String,
}

/// Makes an account without a password: its owner chooses one by the page for new passwords.
#[utoipa::path(
    post,
    path = "/v1/accounts",
    tag = "accounts",
    security(("operator_key" = [])),
    request_body = AccountRequest,
    responses(
        (status = CREATED, description = "the account", body = AccountSummary),
        OperatorRefusals,
        (status = CONFLICT, description = "the address has an account", body = Problem,
            content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn create(
    State(app): State<AppState>,
    operator: Operator,
    Json(request): Json<AccountRequest>,
) -> ApiResult<(StatusCode, Json<AccountSummary>)> {
    let new = NewAccount {
        email: request.email.parse()?,
        plan: plan(&request.plan)?,
    };
    let made = app
        .store
        .create_account(&new, &operator.actor(), app.clock.now())
        .await;
    let account = made.map_err(ApiError::of_operator)?;
    Ok((StatusCode::CREATED, Json(AccountSummary::new(&account, 0))))
}

/// An account.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}",
    tag = "accounts",
    security(("operator_key" = [])),
    params(("id" = String, Path, description = "the account's id, or its e-mail address")),
    responses(
        (status = OK, description = "the account", body = AccountSummary),
        OperatorRefusals,
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn show(
    State(app): State<AppState>,
    Path(id): Path<String>,
    _operator: Operator,
) -> ApiResult<Json<AccountSummary>> {
    let account = match id.contains('@') {
        true => app.store.account_by_email(&id.parse()?).await,
        false => app.store.account(account_id(&id)?).await,
    };
    let account = account.map_err(ApiError::of_operator)?;
    Ok(Json(summary(&app, account.id).await?))
}

/// What is to be changed; what is left out stays.
#[derive(Debug, Default, Serialize, Deserialize, ToSchema)]
pub struct AccountChange {
    /// `free` or `subscription`. A smaller plan releases no machine; those that came last and
    /// exceed it get nothing new.
    pub plan: Option<String>,
    /// The most machines, whatever the plan says; null: what the plan says.
    #[serde(
        default,
        deserialize_with = "said",
        skip_serializing_if = "Option::is_none"
    )]
    #[schema(value_type = Option<u32>)]
    pub limit: Option<Option<u32>>,
    /// `drawn`, `always` or `never`: whether its machines go first.
    #[schema(value_type = Option<String>)]
    pub early: Option<EarlyPreference>,
}

/// Tells what is null from what is left out.
fn said<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<u32>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Changes an account.
#[utoipa::path(
    patch,
    path = "/v1/accounts/{id}",
    tag = "accounts",
    security(("operator_key" = [])),
    params(("id" = String, Path, description = "the account's id")),
    request_body = AccountChange,
    responses(
        (status = OK, description = "the account from now on", body = AccountSummary),
        OperatorRefusals,
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn change(
    State(app): State<AppState>,
    Path(id): Path<String>,
    operator: Operator,
    Json(change): Json<AccountChange>,
) -> ApiResult<Json<AccountSummary>> {
    let (id, by, now) = (account_id(&id)?, operator.actor(), app.clock.now());
    let plan = change.plan.as_deref().map(plan).transpose()?;
    if let Some(plan) = plan {
        let changed = app.store.set_plan(id, plan, &by, now).await;
        changed.map_err(ApiError::of_operator)?;
    }
    if let Some(limit) = change.limit {
        let changed = app.store.set_machine_limit(id, limit, &by, now).await;
        changed.map_err(ApiError::of_operator)?;
    }
    if let Some(early) = change.early {
        let changed = app.store.set_early_preference(id, early, &by, now).await;
        changed.map_err(ApiError::of_operator)?;
    }
    Ok(Json(summary(&app, id).await?))
}

/// An account's tokens, oldest first, revoked ones included.
#[utoipa::path(
    get,
    path = "/v1/accounts/{id}/tokens",
    tag = "accounts",
    security(("operator_key" = [])),
    params(("id" = String, Path, description = "the account's id")),
    responses(
        (status = OK, description = "the tokens", body = Vec<TokenSummary>),
        OperatorRefusals,
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn tokens(
    State(app): State<AppState>,
    Path(id): Path<String>,
    _operator: Operator,
) -> ApiResult<Json<Vec<TokenSummary>>> {
    let tokens = app.store.tokens(account_id(&id)?).await;
    let tokens = tokens.map_err(ApiError::of_operator)?;
    Ok(Json(tokens.iter().map(TokenSummary::from).collect()))
}

/// What a token is made from.
#[derive(Debug, Serialize, Deserialize, ToSchema)]
pub struct TokenRequest {
    /// What it is for.
    pub label: String,
}

/// A new token. Its secret is told now and never again.
#[derive(Serialize, Deserialize, ToSchema)]
pub struct NewToken {
    pub id: String,
    #[schema(example = "suture_t_…")]
    pub secret: String,
}

/// Makes a token, by which machines are enrolled.
#[utoipa::path(
    post,
    path = "/v1/accounts/{id}/tokens",
    tag = "accounts",
    security(("operator_key" = [])),
    params(("id" = String, Path, description = "the account's id")),
    request_body = TokenRequest,
    responses(
        (status = CREATED, description = "the token", body = NewToken),
        OperatorRefusals,
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
        (status = UNPROCESSABLE_ENTITY, description = "bad-request", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn make_token(
    State(app): State<AppState>,
    Path(id): Path<String>,
    operator: Operator,
    Json(request): Json<TokenRequest>,
) -> ApiResult<(StatusCode, Json<NewToken>)> {
    let (id, label): (_, TokenLabel) = (account_id(&id)?, request.label.parse()?);
    let made = app
        .store
        .create_token(id, &label, &operator.actor(), app.clock.now())
        .await;
    let issued = made.map_err(ApiError::of_operator)?;
    let token = NewToken {
        id: issued.token.id.to_string(),
        secret: issued.secret.expose().to_owned(),
    };
    Ok((StatusCode::CREATED, Json(token)))
}

/// Revokes a token. Machines that it enrolled stay so.
#[utoipa::path(
    delete,
    path = "/v1/tokens/{id}",
    tag = "accounts",
    security(("operator_key" = [])),
    params(("id" = String, Path, description = "the token's id")),
    responses(
        (status = OK, description = "the token from now on", body = TokenSummary),
        OperatorRefusals,
        (status = NOT_FOUND, description = "not-found", body = Problem,
            content_type = "application/problem+json"),
    ),
)]
pub async fn revoke_token(
    State(app): State<AppState>,
    Path(id): Path<String>,
    operator: Operator,
) -> ApiResult<Json<TokenSummary>> {
    let id: TokenId = id.parse().map_err(|_| ApiError::NoSuchToken)?;
    let revoked = app
        .store
        .revoke_token(id, &operator.actor(), app.clock.now())
        .await;
    let token = revoked.map_err(ApiError::of_operator)?;
    Ok(Json(TokenSummary::from(&token)))
}

pub(super) fn account_id(text: &str) -> ApiResult<AccountId> {
    text.parse().map_err(|_| ApiError::NoSuchAccount)
}

pub(super) fn plan(text: &str) -> Result<Plan, InvalidText> {
    text.parse().map_err(|_| InvalidText {
        what: "plan",
        expected: "`free` or `subscription`",
    })
}

pub(super) async fn summary(app: &AppState, id: AccountId) -> ApiResult<AccountSummary> {
    let account = lists::account(app.store.as_ref(), id).await;
    account.map_err(ApiError::of_operator)
}
