//! The PKCS#7 message of a module signature, as `scripts/sign-file` of the kernel writes it:
//! SignedData without content, certificates or attributes (RFC 5652, 5.1).

use cms::cert::IssuerAndSerialNumber;
use cms::content_info::{CmsVersion, ContentInfo};
use cms::signed_data::{
    EncapsulatedContentInfo, SignedData, SignerIdentifier, SignerInfo, SignerInfos,
};
use der::asn1::{AnyRef, Null, ObjectIdentifier, OctetString, SetOfVec};
use der::{Any, Decode, Encode, Reader as _, SliceReader, Tagged as _};
use x509_cert::Certificate;
use x509_cert::spki::AlgorithmIdentifierOwned;

const ID_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.1");
const ID_SIGNED_DATA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.7.2");
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
pub(super) const SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.1");
pub(super) const SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.2");
pub(super) const SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.16.840.1.101.3.4.2.3");

/// What a message must be for the kernel to accept it with a module.
pub(super) enum Malformed {
    Der(der::Error),
    Unexpected(&'static str),
}

impl From<der::Error> for Malformed {
    fn from(error: der::Error) -> Self {
        Self::Der(error)
    }
}

/// The message for a finished RSA signature with SHA-512.
pub(super) fn encode(certificate: &Certificate, signature: Vec<u8>) -> der::Result<Vec<u8>> {
    let sha512 = AlgorithmIdentifierOwned {
        oid: SHA512,
        parameters: None,
    };
    let signer = SignerInfo {
        version: CmsVersion::V1,
        sid: SignerIdentifier::IssuerAndSerialNumber(IssuerAndSerialNumber {
            issuer: certificate.tbs_certificate.issuer.clone(),
            serial_number: certificate.tbs_certificate.serial_number.clone(),
        }),
        digest_alg: sha512.clone(),
        signed_attrs: None,
        signature_algorithm: AlgorithmIdentifierOwned {
            oid: RSA_ENCRYPTION,
            parameters: Some(Any::encode_from(&Null)?),
        },
        signature: OctetString::new(signature)?,
        unsigned_attrs: None,
    };
    let signed_data = SignedData {
        version: CmsVersion::V1,
        digest_algorithms: SetOfVec::try_from(vec![sha512])?,
        encap_content_info: EncapsulatedContentInfo {
            econtent_type: ID_DATA,
            econtent: None,
        },
        certificates: None,
        crls: None,
        signer_infos: SignerInfos(SetOfVec::try_from(vec![signer])?),
    };
    let content = Any::encode_from(&signed_data)?;
    ContentInfo {
        content_type: ID_SIGNED_DATA,
        content,
    }
    .to_der()
}

/// Deepest nesting of values: a distinguished name in a signer's identifier is at 9.
const DEPTH_LIMIT: usize = 16;

/// Whether every value ends inside the one that it is part of; not, if they are nested deeper
/// than any message is. The decoder takes memory for a value before it sees that the message ends
/// before.
fn lengths_fit(message: &[u8], depth: usize) -> der::Result<bool> {
    if depth > DEPTH_LIMIT {
        return Ok(false);
    }
    let mut reader = SliceReader::new(message)?;
    while !reader.is_finished() {
        let value = AnyRef::decode(&mut reader)?;
        if value.tag().is_constructed() && !lengths_fit(value.value(), depth + 1)? {
            return Ok(false);
        }
    }
    Ok(true)
}

/// The one signer of a message.
pub(super) fn signer(message: &[u8]) -> Result<SignerInfo, Malformed> {
    if !lengths_fit(message, 0)? {
        return Err(Malformed::Unexpected("values that are nested too deep"));
    }
    let info = ContentInfo::from_der(message)?;
    if info.content_type != ID_SIGNED_DATA {
        return Err(Malformed::Unexpected("no SignedData"));
    }
    let signed: SignedData = info.content.decode_as()?;
    if signed.encap_content_info.econtent_type != ID_DATA {
        return Err(Malformed::Unexpected("another content type than data"));
    }
    if signed.encap_content_info.econtent.is_some() {
        return Err(Malformed::Unexpected("a content of its own"));
    }
    let [signer] = signed.signer_infos.0.as_slice() else {
        return Err(Malformed::Unexpected("not exactly one signer"));
    };
    if signer.signed_attrs.is_some() {
        return Err(Malformed::Unexpected("signed attributes"));
    }
    if signer.signature_algorithm.oid != RSA_ENCRYPTION {
        return Err(Malformed::Unexpected(
            "a signature algorithm other than RSA",
        ));
    }
    Ok(signer.clone())
}
