//! Pictures of rollouts and of the fleet as SVG. Pure: a view in, text out.
//!
//! Colours and fonts come from the style sheet by class, so that one picture serves light and
//! dark. Every picture has a title and a description; the page has a table beside it.

mod evidence;
mod layers;
pub mod number;
mod rates;
mod scale;
mod staircase;
mod svg;

pub use evidence::evidence;
pub use layers::{Layers, MAX_LAYERS, layers};
pub use rates::{PER_THOUSAND_A_DAY, rates};
pub use staircase::staircase;
