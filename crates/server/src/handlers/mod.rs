//! One file for each resource.

pub mod check_in;
pub mod health;
pub mod index;
pub mod machines;
pub mod openapi;
pub mod repository;
