//! The repository's story: made, published to, read, attacked, and its keys replaced.

mod attacks;
mod publishing;
mod python_tuf;
mod rotation;
mod shop;
