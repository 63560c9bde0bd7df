//! The repository's story: made, published to, read, attacked, and its keys replaced.

mod attacks;
mod mirror;
mod publishing;
mod python_tuf;
mod rotation;
mod shop;
