//! What a C compiler sees of a unit, and how much of that has an effect.
//!
//! A preprocessor for the C of kernels, made to run over thousands of units with the same headers:
//! each file is read and taken apart once. It is not to replace the compiler's own but to give the
//! same tokens faster, so it knows less and says so: whatever it does not handle exactly is an
//! [`Unsupported`], and the caller asks the compiler instead.
//!
//! What `__COUNTER__` gives is kept apart from other numbers. A fix that uses it once more moves
//! all later ones, and the names made with them change in every unit, but no code does.

mod definition;
mod effective;
mod expression;
mod lexer;
mod macros;
mod names;
mod redefined;
mod source;
mod unit;

pub use definition::Untold;
pub use effective::{declared_otherwise, effective};
pub use lexer::{Token, lex, same};
pub use names::{Name, Names};
pub use redefined::{Edit, Harmless, Redefinition, Restored, Touched, redefined};
pub use source::SourceFile;
pub use unit::{Invocation, Sources, Unsupported, preprocess};
