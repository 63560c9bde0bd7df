//! The service as its clients meet it: a real listener with TLS, a real database file, a real
//! signed repository.

mod billing;
mod channels;
mod dashboard;
mod database;
mod fleet;
mod hooks;
mod log;
mod machines;
mod mirror;
mod openid;
mod passkeys;
mod patches;
mod provider;
mod readiness;
mod receiver;
mod repository;
mod rollouts;
mod servers;
mod service;
mod sign_up;
mod staged;
mod stand_in;
mod stripe;
mod world;

const ON_POSTGRES: bool = false;
