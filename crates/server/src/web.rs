//! What the pages need beside the store: bounded, and gone with the process.

use suture_store::AccountId;

use crate::client_address::ClientAddress;
use crate::guesses::Guesses;
use crate::password::Passwords;
use crate::post::Post;
use crate::session::CookiePolicy;
use crate::streams::Streams;
use crate::{ServerConfig, Tls};

/// Tries in a quarter of an hour.
const WRONG_BY_ADDRESS: u32 = 10;
const WRONG_BY_ACCOUNT: u32 = 30;
const MAILS_BY_ADDRESS: u32 = 10;
const CEREMONIES_BY_ADDRESS: u32 = 60;

pub struct Web {
    /// Wrong keys and passwords by address. A key has 256 random bits, so for keys this keeps
    /// logs and the database quiet; for passwords it is what makes guessing hopeless.
    pub guesses: Guesses<ClientAddress>,
    /// Wrong passwords by account, from anywhere. Beyond its number the owner signs in by a link
    /// in an e-mail, so nobody can lock them out.
    pub wrong_passwords: Guesses<AccountId>,
    /// E-mails that an address has caused.
    pub mails: Guesses<ClientAddress>,
    /// What an address has begun at a provider or an authenticator: each is a row for minutes.
    pub ceremonies: Guesses<ClientAddress>,
    pub passwords: Passwords,
    /// None: nobody can register here.
    pub post: Option<Post>,
    pub streams: Streams,
    pub cookies: CookiePolicy,
    /// Only a proxy reaches the listener; what it says of its clients is taken.
    pub behind_proxy: bool,
}

impl Web {
    pub fn new(config: &ServerConfig, post: Option<Post>) -> Self {
        let plain = config.tls == Tls::Plain;
        Self {
            guesses: Guesses::new(WRONG_BY_ADDRESS),
            wrong_passwords: Guesses::new(WRONG_BY_ACCOUNT),
            mails: Guesses::new(MAILS_BY_ADDRESS),
            ceremonies: Guesses::new(CEREMONIES_BY_ADDRESS),
            passwords: Passwords::default(),
            post,
            streams: Streams::default(),
            cookies: CookiePolicy {
                always_secure: !(plain && config.listen.ip().is_loopback()),
            },
            behind_proxy: plain,
        }
    }
}
