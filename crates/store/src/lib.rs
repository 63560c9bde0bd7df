//! Accounts, their tokens and machines, and the audit log: what they are, and what a database
//! has to do for them.
//!
//! [`Store`] is the door; a database implements it in a crate of its own and runs the story of
//! the `story` feature, so that all databases keep the same promises.

mod account;
mod attention;
mod audit;
mod billing;
mod boots;
mod channel;
mod check_in;
mod clock;
mod error;
mod event;
mod fleet;
mod group;
mod hook;
mod lease;
mod machine;
mod operator;
mod random_id;
mod retention;
mod rollout;
mod secret;
mod sign_in;
mod sign_up;
mod store;
#[cfg(feature = "story")]
pub mod story;
mod text;
mod token;

pub use account::{Account, AccountId, NewAccount, Plan};
pub use attention::{AttentionStore, Concern, UntoldConcern};
pub use audit::{Action, Actor, AuditEntry, Subject};
pub use billing::{
    BillingStore, CustomerId, Subscription, SubscriptionId, SubscriptionState, SubscriptionStatus,
};
pub use boots::Boots;
pub use channel::{Channel, ChannelChange, ChannelStore, Promotion};
pub use check_in::{CheckIn, LastCheckIn, ReportedState};
pub use clock::{Clock, SystemClock};
pub use error::{BoxError, InconsistentRow, StoreError};
pub use event::{Sign, shortened, tells_harm};
pub use fleet::{
    AccountQuery, FleetGroup, FleetSample, FleetStore, Forget, HEARD_SECS, ListedAccount,
    ListedMachine, MachineQuery, NumberedEntry, hour_of,
};
pub use group::{Group, GroupStore};
pub use hook::{HookName, HookState, HookStore, HookTrouble};
pub use lease::{Job, LeaseState, LeaseStore, ServerId};
pub use machine::{Enrolment, Machine, NewMachine};
pub use operator::{OperatorKeyEntry, OperatorKeyId, OperatorStore, Visitor};
pub use retention::{ExposurePlace, HistoryBounds, KEPT_LOOKS, RetentionStore, Swept};
pub use rollout::{
    Answer, ExposedMachine, FleetSizes, HandChange, KeptEvent, Look, NewRollout, Observation,
    PastLook, Rollout, RolloutStore,
};
pub use secret::{
    AccountToken, CeremonySecret, InvalidSecret, LinkSecret, MachineSecret, OperatorKey,
    SecretHash, SessionSecret,
};
pub use sign_in::{
    Ceremony, CeremonyKind, CredentialId, Identity, IdentityId, NewCeremony, NewIdentity,
    NewPasskey, Passkey, PasskeyAlgorithm, PasskeyId, ProviderIdentity, SignInStore,
};
pub use sign_up::{Application, Credentials, OPEN_LINKS, PasswordHash, SignUpStore};
pub use store::Store;
pub use text::{
    AgentVersion, BootId, EmailAddress, FailureText, GroupName, Hostname, IdentityName,
    IdentitySubject, InvalidText, Issuer, OperatorName, PasskeyLabel, TokenLabel,
};
pub use token::{IssuedToken, Token, TokenGrant, TokenId};
