//! One file for each resource.

pub mod account;
pub mod account_page;
pub mod accounts;
pub mod audit;
pub mod calendar;
pub mod check_in;
pub mod feeds;
pub mod fleet;
pub mod fleet_page;
pub mod health;
pub mod index;
pub mod machines;
pub mod metrics;
pub mod openapi;
pub mod operator_keys;
pub mod patches;
pub mod patches_page;
pub mod register;
pub mod repository;
pub mod reset;
pub mod rollouts;
pub mod rollouts_change;
pub mod rollouts_page;
pub mod rollouts_stream;
pub mod sign_in;
pub mod ticks;
