//! Repositories that travel: through a bucket, from a site, as one file.

mod archive;
mod bucket;
mod s3;
mod shop;
mod site;
