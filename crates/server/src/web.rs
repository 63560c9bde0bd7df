//! What the pages need beside the store: bounded, and gone with the process.

use crate::guesses::Guesses;
use crate::session::CookiePolicy;
use crate::streams::Streams;
use crate::{ServerConfig, Tls};

pub struct Web {
    pub guesses: Guesses,
    pub streams: Streams,
    pub cookies: CookiePolicy,
    /// Only a proxy reaches the listener; what it says of its clients is taken.
    pub behind_proxy: bool,
}

impl Web {
    pub fn new(config: &ServerConfig) -> Self {
        let plain = config.tls == Tls::Plain;
        Self {
            guesses: Guesses::default(),
            streams: Streams::default(),
            cookies: CookiePolicy {
                always_secure: !(plain && config.listen.ip().is_loopback()),
            },
            behind_proxy: plain,
        }
    }
}
