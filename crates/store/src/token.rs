//! What an account enrols machines with.

use jiff::Timestamp;

use crate::random_id::random_id;
use crate::{Account, AccountId, AccountToken, TokenLabel};

random_id! {
    /// Identifies a token without being able to use it.
    TokenId
}

/// A token, without its secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    pub id: TokenId,
    pub account: AccountId,
    pub label: TokenLabel,
    pub created: Timestamp,
    /// From then on no machine enrols with it. Machines already enrolled have secrets of their
    /// own and stay.
    pub revoked: Option<Timestamp>,
}

/// A new token with its secret: the only moment at which it can be shown.
#[derive(Debug)]
pub struct IssuedToken {
    pub token: Token,
    pub secret: AccountToken,
}

/// A token that was presented and holds, with the account that it stands for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenGrant {
    pub token: Token,
    pub account: Account,
}
