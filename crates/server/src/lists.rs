//! Pieces of the store's lists, for pages, the API and the vendor's command line.

use jiff::Timestamp;
use jiff::civil::Date;
use suture_store::{AccountId, AccountQuery, InvalidText, MachineQuery, Store, StoreError};

use crate::view::{AccountPage, AccountSummary, AuditLine, AuditPage, MachinePage, MachineRow};

/// Machines, at most as many as the query's limit.
pub async fn machines(store: &dyn Store, query: &MachineQuery) -> Result<MachinePage, StoreError> {
    let wanted = query.limit;
    let limit = beyond(wanted);
    let query = MachineQuery {
        limit,
        ..query.clone()
    };
    let found = store.find_machines(&query).await?;
    let (machines, more) = piece::<_, MachineRow>(&found, wanted);
    let next = machines.last().map(MachineRow::place);
    Ok(MachinePage {
        next: next.filter(|_| more),
        machines,
    })
}

/// Accounts, at most as many as the query's limit.
pub async fn accounts(store: &dyn Store, query: &AccountQuery) -> Result<AccountPage, StoreError> {
    let wanted = query.limit;
    let limit = beyond(wanted);
    let query = AccountQuery {
        limit,
        ..query.clone()
    };
    let found = store.find_accounts(&query).await?;
    let (accounts, more) = piece::<_, AccountSummary>(&found, wanted);
    let next = accounts.last().map(|account| account.id.clone());
    Ok(AccountPage {
        next: next.filter(|_| more),
        accounts,
    })
}

/// Lines of the audit log before the one with this number; of one account or of all.
pub async fn audit(
    store: &dyn Store,
    before: Option<u64>,
    account: Option<AccountId>,
    wanted: u32,
) -> Result<AuditPage, StoreError> {
    let found = store.audit_before(before, account, beyond(wanted)).await?;
    let (lines, more) = piece::<_, AuditLine>(&found, wanted);
    let next = lines.last().map(|line| line.number);
    Ok(AuditPage {
        next: next.filter(|_| more),
        lines,
    })
}

/// An account with the number of its machines.
pub async fn account(store: &dyn Store, id: AccountId) -> Result<AccountSummary, StoreError> {
    let account = store.account(id).await?;
    let machines = store.machines(id).await?.len();
    Ok(AccountSummary::new(&account, machines as u64))
}

/// One more than is wanted tells whether others follow.
fn beyond(wanted: u32) -> u32 {
    wanted.saturating_add(1)
}

/// What is wanted of what was found, and whether more follows.
fn piece<'found, T, Row: From<&'found T>>(found: &'found [T], wanted: u32) -> (Vec<Row>, bool) {
    let wanted = wanted as usize;
    let rows = found.iter().take(wanted).map(Row::from).collect();
    (rows, found.len() > wanted)
}

/// The last moment of a day (UTC).
pub fn end_of(day: Date) -> Result<Timestamp, InvalidText> {
    let last = format!("{day}T23:59:59.999Z").parse();
    last.map_err(|_| InvalidText {
        what: "cut-off",
        expected: "a day of this age",
    })
}
