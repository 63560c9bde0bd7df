//! Where a repository lies.

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;

use thiserror::Error;
use url::Url;

/// The place of a repository: of what holds its folders `metadata` and `targets`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// `s3://BUCKET/FOLDER`: a folder of an S3-compatible bucket, or a whole bucket.
    Bucket { bucket: String, folder: String },
    /// `https://…`: a folder of a site, for reading only.
    Site(Url),
    /// A folder here.
    Folder(PathBuf),
}

/// A text that is no address.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum InvalidAddress {
    #[error("`{text}` is neither `s3://BUCKET/FOLDER` nor `https://HOST/PATH` nor a folder")]
    Scheme { text: String },
    #[error("`{text}` names no bucket; write `s3://BUCKET/FOLDER`")]
    NoBucket { text: String },
    #[error(
        "an address holds no user, password, query or fragment; a bucket's keys come from the \
         environment (AWS_ACCESS_KEY_ID and the like)"
    )]
    MoreThanAPlace,
}

impl FromStr for Address {
    type Err = InvalidAddress;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let scheme = || InvalidAddress::Scheme {
            text: text.to_owned(),
        };
        if !text.contains("://") {
            return match text {
                "" => Err(scheme()),
                _ => Ok(Self::Folder(text.into())),
            };
        }
        let url: Url = text.parse().map_err(|_| scheme())?;
        let user = !url.username().is_empty() || url.password().is_some();
        if user || url.query().is_some() || url.fragment().is_some() {
            return Err(InvalidAddress::MoreThanAPlace);
        }
        match url.scheme() {
            "s3" => {
                let bucket = url.host_str().filter(|host| !host.is_empty());
                let no_bucket = || InvalidAddress::NoBucket {
                    text: text.to_owned(),
                };
                Ok(Self::Bucket {
                    bucket: bucket.ok_or_else(no_bucket)?.to_owned(),
                    folder: url.path().trim_matches('/').to_owned(),
                })
            }
            "http" | "https" if url.has_host() => Ok(Self::Site(url)),
            _ => Err(scheme()),
        }
    }
}

impl fmt::Display for Address {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Bucket { bucket, folder } if folder.is_empty() => {
                write!(formatter, "s3://{bucket}")
            }
            Self::Bucket { bucket, folder } => write!(formatter, "s3://{bucket}/{folder}"),
            Self::Site(url) => url.fmt(formatter),
            Self::Folder(path) => path.display().fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_a_bucket_a_site_or_a_folder() {
        let read = |text: &str| text.parse::<Address>().unwrap();
        for (text, bucket, folder) in [
            ("s3://patches", "patches", ""),
            ("s3://patches/debian/12/", "patches", "debian/12"),
        ] {
            let expected = Address::Bucket {
                bucket: bucket.to_owned(),
                folder: folder.to_owned(),
            };
            assert_eq!(read(text), expected, "{text}");
        }
        assert!(matches!(
            read("https://cdn.debian.net/suture"),
            Address::Site(_)
        ));
        assert_eq!(read("a folder/x"), Address::Folder("a folder/x".into()));
    }

    #[test]
    fn what_is_no_place_is_refused() {
        for bad in [
            "",
            "s3:///folder",
            "ftp://ftp.debian.org/x",
            "https://user:secret@debian.org/",
            "s3://key:secret@patches",
            "https://debian.org/?token=x",
        ] {
            let error = bad.parse::<Address>().unwrap_err();
            assert!(!error.to_string().contains("secret"), "{error}");
        }
    }
}
