//! The same on PostgreSQL, and what several servers on one database have to do together.

#[path = "api/billing.rs"]
mod billing;
#[path = "api/channels.rs"]
mod channels;
#[path = "api/dashboard.rs"]
mod dashboard;
#[path = "api/database.rs"]
mod database;
#[path = "api/fleet.rs"]
mod fleet;
#[path = "api/hooks.rs"]
mod hooks;
#[path = "api/log.rs"]
mod log;
#[path = "api/machines.rs"]
mod machines;
#[path = "api/mirror.rs"]
mod mirror;
#[path = "api/openid.rs"]
mod openid;
#[path = "api/passkeys.rs"]
mod passkeys;
#[path = "api/patches.rs"]
mod patches;
#[path = "api/provider.rs"]
mod provider;
#[path = "api/readiness.rs"]
mod readiness;
#[path = "api/receiver.rs"]
mod receiver;
#[path = "api/repository.rs"]
mod repository;
#[path = "api/rollouts.rs"]
mod rollouts;
#[path = "api/servers.rs"]
mod servers;
#[path = "api/service.rs"]
mod service;
#[path = "api/sign_up.rs"]
mod sign_up;
#[path = "api/staged.rs"]
mod staged;
#[path = "api/stand_in.rs"]
mod stand_in;
#[path = "api/stripe.rs"]
mod stripe;
#[path = "api/takeover.rs"]
mod takeover;
#[path = "api/world.rs"]
mod world;

const ON_POSTGRES: bool = true;
