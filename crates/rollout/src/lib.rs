//! Which version a machine is to go to. Pure: facts in, a decision out.

mod offer;

pub use offer::{Offer, Published, choose};
