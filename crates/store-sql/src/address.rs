//! Where a database is.

use std::ffi::OsStr;
use std::fmt;
use std::path::PathBuf;
use std::str::FromStr as _;

use sqlx::postgres::{PgConnectOptions, PgSslMode};
use thiserror::Error;
use url::{Host, Url};

/// Why an address was refused. The address may hold a password and is not repeated.
#[derive(Debug, Error)]
pub enum AddressError {
    #[error("the database's address is not text")]
    NotText,
    #[error("the database's address is not like `postgres://user@host:5432/name`")]
    NotAnAddress,
}

/// A file, or a server that speaks PostgreSQL's protocol.
#[derive(Clone)]
pub enum DatabaseAddress {
    /// An SQLite file.
    File(PathBuf),
    /// May hold a password.
    Postgres(Box<PgConnectOptions>),
}

impl DatabaseAddress {
    /// `postgres://user@host:5432/name`, or else the path of a file.
    ///
    /// What an address leaves out is taken from the environment, as libpq does (`PGHOST`,
    /// `PGPASSWORD`, `PGPASSFILE`, `PGSSLMODE`, `PGSSLROOTCERT` and others). A server on another
    /// machine has to prove its name by a certificate (`verify-full`), unless `sslmode` says
    /// otherwise.
    pub fn parse(text: &OsStr) -> Result<Self, AddressError> {
        if !is_url(text) {
            return Ok(Self::File(text.into()));
        }
        let text = text.to_str().ok_or(AddressError::NotText)?;
        let url = Url::parse(text).map_err(|_| AddressError::NotAnAddress)?;
        let options = PgConnectOptions::from_str(text).map_err(|_| AddressError::NotAnAddress)?;
        let says_mode = ["sslmode", "ssl-mode"];
        let chosen = url.query_pairs().any(|(key, _)| says_mode.contains(&&*key))
            || std::env::var_os("PGSSLMODE").is_some();
        let options = if chosen || is_here(&url, &options) {
            options
        } else {
            options.ssl_mode(PgSslMode::VerifyFull)
        };
        Ok(Self::Postgres(Box::new(options.application_name("suture"))))
    }
}

fn is_url(text: &OsStr) -> bool {
    let bytes = text.as_encoded_bytes();
    [&b"postgres://"[..], b"postgresql://"]
        .iter()
        .any(|scheme| bytes.starts_with(scheme))
}

/// Whether an address carries a password, which every user of the machine could see among a
/// program's arguments.
pub fn has_password(text: &OsStr) -> bool {
    let url = text.to_str().filter(|_| is_url(text)).map(Url::parse);
    url.and_then(Result::ok).is_some_and(|url| {
        url.password().is_some() || url.query_pairs().any(|(key, _)| key == "password")
    })
}

/// Whether nothing leaves this machine.
fn is_here(url: &Url, options: &PgConnectOptions) -> bool {
    let host = options.get_host();
    let socket = options.get_socket().is_some() || host.starts_with('/');
    let loopback = match Host::parse(host) {
        Ok(Host::Domain(name)) => name == "localhost",
        Ok(Host::Ipv4(address)) => address.is_loopback(),
        Ok(Host::Ipv6(address)) => address.is_loopback(),
        Err(_) => host
            .parse::<std::net::IpAddr>()
            .is_ok_and(|address| address.is_loopback()),
    };
    socket || loopback || url.host_str().is_some_and(|host| host.starts_with("%2F"))
}

/// Database and place, without the password.
impl fmt::Display for DatabaseAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(path) => write!(formatter, "database `{}`", path.display()),
            Self::Postgres(options) => formatter.write_str(&name(options)),
        }
    }
}

/// As [`fmt::Display`] writes it.
impl fmt::Debug for DatabaseAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

/// Database and place, without the password.
pub fn name(options: &PgConnectOptions) -> String {
    let database = options
        .get_database()
        .unwrap_or_else(|| options.get_username());
    let port = options.get_port();
    match options.get_socket() {
        Some(socket) => format!("database `{database}` at `{}`", socket.display()),
        None => format!("database `{database}` on `{}:{port}`", options.get_host()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_server_elsewhere_proves_its_name_unless_the_address_says_otherwise() {
        let mode = |text: &str| match DatabaseAddress::parse(text.as_ref()).unwrap() {
            DatabaseAddress::Postgres(options) => format!("{:?}", options.get_ssl_mode()),
            DatabaseAddress::File(path) => panic!("a file: {}", path.display()),
        };
        for elsewhere in [
            "postgres://suture@db.example.org/fleet",
            "postgresql://192.0.2.7:5433/fleet",
            "postgres://suture@[2001:db8::1]/fleet",
        ] {
            assert_eq!(mode(elsewhere), "VerifyFull", "{elsewhere}");
            assert_eq!(mode(&format!("{elsewhere}?sslmode=disable")), "Disable");
        }
        for here in [
            "postgres://localhost/fleet",
            "postgres://127.0.0.1/fleet",
            "postgres://[::1]/fleet",
            "postgres://%2Frun%2Fpostgresql/fleet",
            "postgres:///fleet?host=/run/postgresql",
        ] {
            assert_eq!(mode(here), "Prefer", "{here}");
        }
    }

    #[test]
    fn what_is_no_address_is_refused_without_repeating_it() {
        let refused = DatabaseAddress::parse("postgres://suture:hunter2@[::1/fleet".as_ref());
        let error = refused.unwrap_err().to_string();
        assert!(!error.contains("hunter2"), "{error}");
    }
}
