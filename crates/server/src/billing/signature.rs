//! That a notification is Stripe's own (source: Stripe, "Verify webhook signatures manually").

use aws_lc_rs::{constant_time, hmac};
use jiff::Timestamp;
use thiserror::Error;

use crate::config::Secret as ConfiguredSecret;

/// Seconds by which Stripe's clock and ours may differ, the way there included: an old
/// notification that somebody kept is not taken.
const TOLERANCE_SECS: i64 = 300;

/// Characters of the header that are looked at; Stripe sends some two hundred.
const MAX_HEADER: usize = 4096;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum InvalidSignature {
    #[error("the header `stripe-signature` cannot be read")]
    Unreadable,
    #[error("the notification was signed at another time than now")]
    Old,
    #[error("the signature is not Stripe's for this endpoint")]
    Wrong,
}

/// What Stripe signs notifications with.
pub struct Secret(hmac::Key);

impl Secret {
    pub fn new(secret: &ConfiguredSecret) -> Result<Self, String> {
        let text = secret.expose();
        if text.len() < 16 {
            return Err(
                "the secret of the webhook is too short: expected `whsec_…` as Stripe \
                        shows it"
                    .to_owned(),
            );
        }
        Ok(Self(hmac::Key::new(hmac::HMAC_SHA256, text.as_bytes())))
    }

    /// Checks the header `stripe-signature` of a body.
    pub fn check(&self, body: &[u8], header: &str, now: Timestamp) -> Result<(), InvalidSignature> {
        let (at, signatures) = parts(header).ok_or(InvalidSignature::Unreadable)?;
        let mut context = hmac::Context::with_key(&self.0);
        context.update(at.as_bytes());
        context.update(b".");
        context.update(body);
        let expected = context.sign();
        let is_ours = |signature: &Vec<u8>| {
            constant_time::verify_slices_are_equal(expected.as_ref(), signature).is_ok()
        };
        if !signatures.iter().any(is_ours) {
            return Err(InvalidSignature::Wrong);
        }
        let at: i64 = at.parse().map_err(|_| InvalidSignature::Unreadable)?;
        if now.as_second().abs_diff(at) > TOLERANCE_SECS.unsigned_abs() {
            return Err(InvalidSignature::Old);
        }
        Ok(())
    }
}

/// The time as it was signed, and the signatures of the scheme `v1`; there are two while a secret
/// is replaced.
fn parts(header: &str) -> Option<(&str, Vec<Vec<u8>>)> {
    if header.len() > MAX_HEADER {
        return None;
    }
    let mut at = None;
    let mut signatures = Vec::new();
    for part in header.split(',') {
        match part.trim().split_once('=')? {
            ("t", value) => at = Some(value),
            ("v1", value) => signatures.push(hex::decode(value).ok()?),
            _ => {}
        }
    }
    Some((at?, signatures))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn secret() -> Secret {
        Secret::new(&"whsec_0123456789abcdef".to_owned().into()).unwrap()
    }

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn signed(time: &str, body: &str) -> String {
        let key = hmac::Key::new(hmac::HMAC_SHA256, b"whsec_0123456789abcdef");
        let signature = hmac::sign(&key, format!("{time}.{body}").as_bytes());
        hex::encode(signature.as_ref())
    }

    #[test]
    fn a_signature_holds_for_its_body_its_time_and_its_secret() {
        let signature = signed("1800000000", "{}");
        let header = format!("t=1800000000,v1={signature},v0=00");
        let now = at(1_800_000_100);
        assert_eq!(secret().check(b"{}", &header, now), Ok(()));
        let wrong = Err(InvalidSignature::Wrong);
        assert_eq!(secret().check(b"{ }", &header, now), wrong);
        let other_time = format!("t=1800000001,v1={signature}");
        assert_eq!(secret().check(b"{}", &other_time, now), wrong);
        let late = at(1_800_000_301);
        assert_eq!(
            secret().check(b"{}", &header, late),
            Err(InvalidSignature::Old)
        );
        assert_eq!(secret().check(b"{}", "t=1800000000", now), wrong);
    }

    #[test]
    fn one_good_signature_of_several_is_enough() {
        let good = signed("1800000000", "{}");
        let header = format!("t=1800000000, v1={}, v1={good}", "00".repeat(32));
        assert_eq!(secret().check(b"{}", &header, at(1_800_000_000)), Ok(()));
    }

    #[test]
    fn headers_that_cannot_be_read_are_refused() {
        for header in ["", "t", "v1=00", "t=1,v1=zz", &"t=1,".repeat(2000)] {
            let checked = secret().check(b"{}", header, at(1));
            assert_eq!(checked, Err(InvalidSignature::Unreadable), "{header:.20}");
        }
    }
}
