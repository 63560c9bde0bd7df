//! Passkeys: what an authenticator says, and whether it said so (source: Web Authentication Level
//! 3, 7.1 and 7.2).
//!
//! No attestation is asked for: who made an authenticator decides nothing here. So the public key
//! is taken in the form in which browsers give it to those who need none (5.2.1.1), and no CBOR is
//! read. What is checked by a signature is checked by the cryptographic library.

use aws_lc_rs::digest;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256,
    VerificationAlgorithm,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::Deserialize;
use suture_store::{
    AccountId, CeremonySecret, CredentialId, NewPasskey, PasskeyAlgorithm, PasskeyLabel,
};
use thiserror::Error;
use url::{Host, Url};

use crate::outgoing;

/// Bytes of any part of what an authenticator says.
const MAX_PART: usize = 8 * 1024;

/// Flags of authenticator data (source: Web Authentication Level 3, 6.1).
const USER_PRESENT: u8 = 1;
const USER_VERIFIED: u8 = 1 << 2;
const BACKUP_ELIGIBLE: u8 = 1 << 3;
const BACKED_UP: u8 = 1 << 4;
const HAS_CREDENTIAL: u8 = 1 << 6;

/// Why what came from an authenticator is not taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the passkey's answer is not taken: {why}")]
pub struct InvalidPasskey {
    why: &'static str,
}

impl InvalidPasskey {
    pub const UNREADABLE: Self = Self {
        why: "it cannot be read",
    };
}

fn invalid<T>(why: &'static str) -> Result<T, InvalidPasskey> {
    Err(InvalidPasskey { why })
}

/// Bytes as they come in a form: base64url.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
pub struct Part(Vec<u8>);

impl TryFrom<String> for Part {
    type Error = InvalidPasskey;

    fn try_from(text: String) -> Result<Self, InvalidPasskey> {
        let fits = text.len() <= MAX_PART / 3 * 4;
        let bytes = fits.then(|| URL_SAFE_NO_PAD.decode(text).ok()).flatten();
        bytes.map(Self).ok_or(InvalidPasskey::UNREADABLE)
    }
}

/// What an authenticator made.
#[derive(Debug, Deserialize)]
pub struct Registration {
    pub client_data: Part,
    pub authenticator_data: Part,
    pub credential: Part,
    pub algorithm: i64,
    pub public_key: Part,
}

/// What an authenticator signed.
#[derive(Debug, Deserialize)]
pub struct Assertion {
    pub client_data: Part,
    pub authenticator_data: Part,
    pub credential: Part,
    pub signature: Part,
    /// The account's id, which the authenticator was given with the wish.
    pub user_handle: Part,
}

impl Assertion {
    pub fn credential(&self) -> Option<CredentialId> {
        CredentialId::new(self.credential.0.clone())
    }

    /// Whether the authenticator made the passkey for this account.
    pub fn is_for(&self, account: AccountId) -> bool {
        self.user_handle.0 == user_handle(account)
    }
}

/// What an authenticator keeps beside a passkey, to say whose it is.
pub fn user_handle(account: AccountId) -> Vec<u8> {
    account.to_string().into_bytes()
}

/// What a browser says of the page that asked (source: Web Authentication Level 3, 5.8.1).
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct ClientData {
    #[serde(rename = "type")]
    kind: String,
    challenge: Part,
    origin: String,
    #[serde(default)]
    cross_origin: bool,
}

/// This service as authenticators know it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelyingParty {
    id: String,
    origin: String,
}

impl RelyingParty {
    /// By the service's public address; none where browsers offer no passkeys: without TLS, but
    /// on this very machine, and without a name.
    pub fn of(public_url: &str) -> Option<Self> {
        let url: Url = public_url.parse().ok()?;
        match url.host()? {
            Host::Domain(name) if outgoing::is_protected(&url) => Some(Self {
                id: name.to_owned(),
                origin: url.origin().ascii_serialization(),
            }),
            _ => None,
        }
    }

    pub fn id(&self) -> &str {
        &self.id
    }

    /// What was begun, if it was to make a passkey on a page of ours.
    pub fn made(&self, sent: &Registration) -> Result<CeremonySecret, InvalidPasskey> {
        self.begun(&sent.client_data, "webauthn.create")
    }

    /// What was begun, if it was to sign in on a page of ours.
    pub fn signed(&self, sent: &Assertion) -> Result<CeremonySecret, InvalidPasskey> {
        self.begun(&sent.client_data, "webauthn.get")
    }

    fn begun(&self, client_data: &Part, kind: &str) -> Result<CeremonySecret, InvalidPasskey> {
        let Ok(said) = serde_json::from_slice::<ClientData>(&client_data.0) else {
            return Err(InvalidPasskey::UNREADABLE);
        };
        if said.kind != kind {
            return invalid("it was asked for something else");
        }
        if said.origin != self.origin || said.cross_origin {
            return invalid("another site asked for it");
        }
        let challenge = String::from_utf8(said.challenge.0).ok();
        let secret = challenge.and_then(|challenge| challenge.parse().ok());
        secret.ok_or(InvalidPasskey::UNREADABLE)
    }

    /// The passkey that was made.
    pub fn passkey(
        &self,
        sent: Registration,
        label: PasskeyLabel,
    ) -> Result<NewPasskey, InvalidPasskey> {
        let data = self.authenticator_data(&sent.authenticator_data.0)?;
        if data.credential != Some(sent.credential.0.as_slice()) {
            return invalid("it is about another one");
        }
        let Some(algorithm) = PasskeyAlgorithm::from_number(sent.algorithm) else {
            return invalid("it signs in a way that this service does not know");
        };
        let public_key = sent.public_key.0;
        if ParsedPublicKey::new(verification(algorithm), &public_key).is_err() {
            return invalid("its public key cannot be read");
        }
        let counter = data.counter;
        let Some(credential) = CredentialId::new(sent.credential.0) else {
            return invalid("its name is too long");
        };
        Ok(NewPasskey {
            credential,
            algorithm,
            public_key,
            counter,
            label,
        })
    }

    /// How often the authenticator says that it signed, if this passkey signed this.
    pub fn verify(&self, passkey: &NewPasskey, sent: &Assertion) -> Result<u32, InvalidPasskey> {
        let data = self.authenticator_data(&sent.authenticator_data.0)?;
        let client_data = digest::digest(&digest::SHA256, &sent.client_data.0);
        let signed = [&sent.authenticator_data.0, client_data.as_ref()].concat();
        let algorithm = verification(passkey.algorithm);
        let key = ParsedPublicKey::new(algorithm, &passkey.public_key);
        match key.map(|key| key.verify_sig(&signed, &sent.signature.0)) {
            Ok(Ok(())) => Ok(data.counter),
            Ok(Err(_)) | Err(_) => invalid("its signature is not that of the passkey"),
        }
    }

    /// Reads authenticator data (source: Web Authentication Level 3, 6.1): made for this service,
    /// by somebody who was there and was recognised.
    ///
    /// ```text
    /// 0      SHA-256 of the service's id
    /// 32     flags
    /// 33     counter, big endian
    /// 37     if a flag says so: AAGUID (16), length of the credential's id (2), the id, its key
    /// ```
    fn authenticator_data<'data>(
        &self,
        data: &'data [u8],
    ) -> Result<AuthenticatorData<'data>, InvalidPasskey> {
        let parts = data.split_first_chunk::<32>();
        let parts = parts.and_then(|(id, rest)| Some((id, rest.split_first_chunk::<5>()?)));
        let Some((id, ([flags, counter @ ..], rest))) = parts else {
            return invalid("it is too short");
        };
        if id != digest::digest(&digest::SHA256, self.id.as_bytes()).as_ref() {
            return invalid("it is for another site");
        }
        if flags & USER_PRESENT == 0 || flags & USER_VERIFIED == 0 {
            return invalid("nobody was recognised by a finger, a face or a PIN");
        }
        if flags & BACKED_UP != 0 && flags & BACKUP_ELIGIBLE == 0 {
            return invalid("it contradicts itself");
        }
        Ok(AuthenticatorData {
            counter: u32::from_be_bytes(*counter),
            credential: (flags & HAS_CREDENTIAL != 0)
                .then(|| credential_in(rest))
                .flatten(),
        })
    }
}

/// What is used of authenticator data.
#[derive(Debug, PartialEq, Eq)]
struct AuthenticatorData<'data> {
    counter: u32,
    credential: Option<&'data [u8]>,
}

fn credential_in(attested: &[u8]) -> Option<&[u8]> {
    let (_aaguid, rest) = attested.split_first_chunk::<16>()?;
    let (length, rest) = rest.split_first_chunk::<2>()?;
    rest.get(..usize::from(u16::from_be_bytes(*length)))
}

fn verification(algorithm: PasskeyAlgorithm) -> &'static dyn VerificationAlgorithm {
    match algorithm {
        PasskeyAlgorithm::Es256 => &ECDSA_P256_SHA256_ASN1,
        PasskeyAlgorithm::EdDsa => &ED25519,
        PasskeyAlgorithm::Rs256 => &RSA_PKCS1_2048_8192_SHA256,
    }
}

/// Bytes as scripts take them.
pub fn text(bytes: &[u8]) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

#[cfg(test)]
mod tests {
    use aws_lc_rs::encoding::{AsDer as _, PublicKeyX509Der};
    use aws_lc_rs::rand::SystemRandom;
    use aws_lc_rs::rsa::KeySize;
    use aws_lc_rs::signature::{
        ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, Ed25519KeyPair, KeyPair as _,
        RSA_PKCS1_SHA256, RsaKeyPair,
    };
    use serde_json::{Value, json};

    use super::*;

    const ID: &[u8] = b"a credential's name";

    fn party() -> RelyingParty {
        RelyingParty::of("https://patches.example.org/").unwrap()
    }

    fn part(bytes: &[u8]) -> Part {
        Part(bytes.to_vec())
    }

    fn client_data(kind: &str, secret: &CeremonySecret) -> Value {
        json!({ "type": kind, "challenge": text(secret.expose().as_bytes()),
            "origin": "https://patches.example.org", "crossOrigin": false })
    }

    fn authenticator_data(flags: u8, counter: u32) -> Vec<u8> {
        let id = digest::digest(&digest::SHA256, b"patches.example.org");
        [id.as_ref(), &[flags], &counter.to_be_bytes()].concat()
    }

    fn with_credential(flags: u8) -> Vec<u8> {
        let length = u16::try_from(ID.len()).unwrap().to_be_bytes();
        let data = authenticator_data(flags | HAS_CREDENTIAL, 1);
        [data.as_slice(), &[0; 16], &length, ID, b"its key"].concat()
    }

    fn key(algorithm: PasskeyAlgorithm, public_key: &[u8]) -> NewPasskey {
        NewPasskey {
            credential: CredentialId::new(ID.to_vec()).unwrap(),
            algorithm,
            public_key: public_key.to_vec(),
            counter: 0,
            label: "a phone".parse().unwrap(),
        }
    }

    /// What is signed, and all that a browser sends but the signature.
    fn unsigned(flags: u8, counter: u32) -> (Vec<u8>, Assertion) {
        let secret = CeremonySecret::generate().unwrap();
        let client_data = client_data("webauthn.get", &secret).to_string();
        let data = authenticator_data(flags, counter);
        let hash = digest::digest(&digest::SHA256, client_data.as_bytes());
        let assertion = Assertion {
            client_data: part(client_data.as_bytes()),
            authenticator_data: part(&data),
            credential: part(ID),
            signature: Part::default(),
            user_handle: Part::default(),
        };
        ([data.as_slice(), hash.as_ref()].concat(), assertion)
    }

    #[test]
    fn passkeys_are_for_a_name_that_browsers_protect() {
        let party = RelyingParty::of("https://patches.example.org:8443/suture").unwrap();
        assert_eq!(party.id, "patches.example.org");
        assert_eq!(party.origin, "https://patches.example.org:8443");
        assert!(RelyingParty::of("http://localhost:8080").is_some());
        for without in ["http://patches.example.org", "https://192.0.2.1", "x"] {
            assert_eq!(RelyingParty::of(without), None, "{without}");
        }
    }

    #[test]
    fn every_kind_of_key_signs_and_no_other_does() {
        let random = SystemRandom::new();
        let (signed, sent) = unsigned(USER_PRESENT | USER_VERIFIED, 7);
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let der: PublicKeyX509Der<'_> = ec.public_key().as_der().unwrap();
        let es256 = key(PasskeyAlgorithm::Es256, der.as_ref());
        let by_ec = ec.sign(&random, &signed).unwrap().as_ref().to_vec();
        let ed = Ed25519KeyPair::generate().unwrap();
        let der: PublicKeyX509Der<'_> = ed.public_key().as_der().unwrap();
        let eddsa = key(PasskeyAlgorithm::EdDsa, der.as_ref());
        let by_ed = ed.sign(&signed).as_ref().to_vec();
        let rsa = RsaKeyPair::generate(KeySize::Rsa2048).unwrap();
        let der: PublicKeyX509Der<'_> = rsa.public_key().as_der().unwrap();
        let rs256 = key(PasskeyAlgorithm::Rs256, der.as_ref());
        let mut by_rsa = vec![0; rsa.public_modulus_len()];
        rsa.sign(&RSA_PKCS1_SHA256, &random, &signed, &mut by_rsa)
            .unwrap();

        let party = party();
        let signatures = [by_ec, by_ed, by_rsa];
        for (place, key) in [es256, eddsa, rs256].iter().enumerate() {
            for (number, signature) in signatures.iter().enumerate() {
                let (_, other) = unsigned(USER_PRESENT | USER_VERIFIED, 7);
                let with = |sent: &Assertion| Assertion {
                    client_data: sent.client_data.clone(),
                    authenticator_data: sent.authenticator_data.clone(),
                    credential: part(ID),
                    signature: part(signature),
                    user_handle: Part::default(),
                };
                let verified = party.verify(key, &with(&sent));
                let expected = (place == number).then_some(7);
                assert_eq!(verified.ok(), expected, "{place} {number}");
                assert!(party.verify(key, &with(&other)).is_err(), "another one");
            }
        }
    }

    #[test]
    fn what_another_site_asked_for_is_refused() {
        let secret = CeremonySecret::generate().unwrap();
        let party = party();
        let begun = |said: &Value| party.begun(&part(said.to_string().as_bytes()), "webauthn.get");
        let said = client_data("webauthn.get", &secret);
        assert_eq!(begun(&said), Ok(secret.clone()));
        for (name, value) in [
            ("type", json!("webauthn.create")),
            ("origin", json!("https://example.org")),
            ("origin", json!("https://patches.example.org:8443")),
            ("crossOrigin", json!(true)),
            ("challenge", json!("c3V0dXJl")),
            ("challenge", json!("!")),
        ] {
            let mut wrong = said.clone();
            wrong[name] = value;
            assert!(begun(&wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn nobody_is_signed_in_who_was_not_recognised() {
        let party = party();
        let both = USER_PRESENT | USER_VERIFIED;
        let counter = |data: &[u8]| party.authenticator_data(data).map(|data| data.counter);
        assert_eq!(counter(&authenticator_data(both, 9)), Ok(9));
        let synced = both | BACKUP_ELIGIBLE | BACKED_UP;
        assert_eq!(counter(&authenticator_data(synced, 0)), Ok(0));
        for flags in [0, USER_PRESENT, USER_VERIFIED, both | BACKED_UP] {
            assert!(counter(&authenticator_data(flags, 9)).is_err(), "{flags}");
        }
        assert!(counter(&authenticator_data(both, 9)[..36]).is_err());
        let mut elsewhere = authenticator_data(both, 9);
        elsewhere[0] ^= 1;
        assert!(counter(&elsewhere).is_err());
    }

    #[test]
    fn a_passkey_is_the_one_that_the_authenticator_made() {
        let ec = EcdsaKeyPair::generate(&ECDSA_P256_SHA256_ASN1_SIGNING).unwrap();
        let der: PublicKeyX509Der<'_> = ec.public_key().as_der().unwrap();
        let made = |data: &[u8], credential: &[u8], algorithm, public_key: &[u8]| {
            let secret = CeremonySecret::generate().unwrap();
            let said = client_data("webauthn.create", &secret).to_string();
            let sent = Registration {
                client_data: part(said.as_bytes()),
                authenticator_data: part(data),
                credential: part(credential),
                algorithm,
                public_key: part(public_key),
            };
            assert_eq!(party().made(&sent), Ok(secret));
            party().passkey(sent, "a phone".parse().unwrap())
        };
        let data = with_credential(USER_PRESENT | USER_VERIFIED);
        let passkey = made(&data, ID, -7, der.as_ref()).unwrap();
        assert_eq!((passkey.counter, passkey.credential.as_bytes()), (1, ID));
        assert!(made(&data, b"another", -7, der.as_ref()).is_err());
        assert!(made(&data, ID, -8, der.as_ref()).is_err(), "another kind");
        assert!(made(&data, ID, -65535, der.as_ref()).is_err(), "unknown");
        assert!(made(&data, ID, -7, b"no key").is_err());
        for length in [37, 52, 54, 60] {
            assert!(made(&data[..length], ID, -7, der.as_ref()).is_err());
        }
    }
}
