//! From where a request came, for limits alone; it is never logged or kept for longer.

use std::convert::Infallible;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use axum::extract::{ConnectInfo, FromRequestParts};
use axum::http::HeaderMap;
use axum::http::request::Parts;

use crate::state::AppState;

/// An IPv4 address, or the first 64 bits of an IPv6 address: one customer has as many of the
/// latter as they like, but seldom more than one such network.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientAddress(IpAddr);

impl ClientAddress {
    pub fn new(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(v6) => Self(IpAddr::V6(Ipv6Addr::from_bits(v6.to_bits() >> 64 << 64))),
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

impl FromRequestParts<AppState> for ClientAddress {
    type Rejection = Infallible;

    async fn from_request_parts(parts: &mut Parts, app: &AppState) -> Result<Self, Infallible> {
        let forwarded = app.web.behind_proxy.then(|| forwarded_for(&parts.headers));
        let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>();
        let address = forwarded.flatten().or(peer.map(|peer| peer.0.ip()));
        Ok(Self::new(address.unwrap_or(Ipv4Addr::UNSPECIFIED.into())))
    }
}

/// The last entry of `x-forwarded-for`: the proxy's own, while the client may have made up those
/// before it.
fn forwarded_for(headers: &HeaderMap) -> Option<IpAddr> {
    let value = headers.get_all("x-forwarded-for").iter().next_back()?;
    value.to_str().ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn neighbours_in_one_network_count_as_one() {
        let at = |text: &str| ClientAddress::new(text.parse().unwrap());
        assert_eq!(at("2001:db8::1"), at("2001:db8::ffff:0:0:2"));
        assert_ne!(at("2001:db8::1"), at("2001:db8:0:1::1"));
        assert_eq!(at("::ffff:192.0.2.1"), at("192.0.2.1"));
        assert_ne!(at("192.0.2.1"), at("192.0.2.2"));
    }

    #[test]
    fn only_what_the_proxy_added_is_believed() {
        let headers = HeaderMap::from_iter([(
            "x-forwarded-for".parse().unwrap(),
            "203.0.113.9, 192.0.2.1".parse().unwrap(),
        )]);
        assert_eq!(forwarded_for(&headers), Some("192.0.2.1".parse().unwrap()));
        assert_eq!(forwarded_for(&HeaderMap::new()), None);
    }
}
