//! Forms for people who have not signed in: a cookie joins each with the browser that was given
//! it, so that no other site can send it in somebody's name.

use axum::http::header::SET_COOKIE;
use axum::http::{HeaderMap, HeaderValue};
use axum::response::Response;

use crate::problem::{ApiError, ApiResult};
use crate::session::{check_form_token, cookie, form_token};
use crate::state::AppState;

/// Seconds in which a form has to be sent: an hour.
const FORM_SECS: i64 = 3600;

/// A form that is about to be shown.
pub struct OpenForm {
    /// For the hidden field `token`.
    pub token: String,
    value: String,
    set_cookie: String,
}

impl OpenForm {
    /// For a form that goes to `action`.
    pub fn new(app: &AppState, headers: &HeaderMap, action: &str) -> ApiResult<Self> {
        let cookies = app.web.cookies.at(headers);
        // A second tab's form must not spoil the first one's.
        let known = cookie(headers, cookies.form()).filter(|value| value.len() == 64);
        let value = match known {
            Some(value) => value.to_owned(),
            None => random_value()?,
        };
        Ok(Self {
            token: form_token(&value, action),
            set_cookie: cookies.set(cookies.form(), &value, FORM_SECS),
            value,
        })
    }

    /// For the hidden field of another form of the same page.
    pub fn token_for(&self, action: &str) -> String {
        form_token(&self.value, action)
    }

    /// The page with the form in it, and its cookie.
    pub fn on(self, mut page: Response) -> Response {
        if let Ok(set) = HeaderValue::try_from(self.set_cookie) {
            page.headers_mut().insert(SET_COOKIE, set);
        }
        page
    }
}

/// Refuses a form that was not made for this browser and this address.
pub fn check(app: &AppState, headers: &HeaderMap, action: &str, token: &str) -> ApiResult<()> {
    let cookies = app.web.cookies.at(headers);
    let given = cookie(headers, cookies.form()).ok_or(ApiError::ForeignForm)?;
    check_form_token(given, action, token)
}

fn random_value() -> ApiResult<String> {
    let mut bytes = [0; 32];
    aws_lc_rs::rand::fill(&mut bytes).map_err(|source| ApiError::Internal {
        doing: "make a form",
        source: source.into(),
    })?;
    Ok(hex::encode(bytes))
}
