//! Repositories elsewhere: in an S3-compatible bucket, on a site, in an archive.
//!
//! A publisher signs in a folder and [`push`]es it to a bucket; services [`follow`] the bucket,
//! each into a folder of its own from which it serves, so any number of them can run and none
//! holds a key. A site that nobody reaches by network gets the repository as one file
//! ([`export`], [`import`]). Nothing of where it came from is trusted: each copy is proven from
//! the trusted root on.

mod address;
mod archive;
mod error;
mod follow;
mod place;
mod push;
mod transport;

pub use address::{Address, InvalidAddress};
pub use archive::{export, import};
pub use error::RemoteError;
pub use follow::{Source, follow};
pub use place::Place;
pub use push::push;
pub use transport::PlaceTransport;
