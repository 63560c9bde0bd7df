//! Tables `draw_list` and `drawn`: who could be drawn, and who was.

use jiff::Timestamp;
use sqlx::FromRow;
use suture_rollout::cohort::{Draw, Seed, UnitDigest};
use suture_rollout::{Plan, RolloutId, Unit, is_eligible};
use suture_store::{InconsistentRow, StoreError};

use super::dialect::Connection;
use crate::column::{database, parse};

/// An account or a machine that may be drawn.
#[derive(FromRow)]
struct UnitRow {
    account_id: String,
    /// Empty where accounts are drawn.
    machine_id: String,
    paid: bool,
    early: String,
}

/// A draw and what it was made from.
pub struct Drawn {
    pub draw: Draw,
    /// Sorted, without repetitions.
    list: Vec<UnitDigest>,
    units: Vec<UnitRow>,
}

/// Draws from all accounts or machines that are there now. Reads each row and makes two
/// digests of it: about a second for a million, once for a rollout.
pub async fn draw(
    connection: &mut Connection,
    rollout: RolloutId,
    plan: &Plan,
    seed: &Seed,
    now: Timestamp,
) -> Result<Drawn, StoreError> {
    let mut eligible = Vec::new();
    for row in units(connection, plan.early_group.unit).await? {
        if is_eligible(plan, row.paid, parse("account", "early", &row.early)?) {
            eligible.push((UnitDigest::new(rollout, &row.text()), row));
        }
    }
    let mut list: Vec<UnitDigest> = eligible.iter().map(|(digest, _)| *digest).collect();
    list.sort_unstable();
    list.dedup();
    let draw = Draw::new(seed, list.clone(), plan.early_group.share, now);
    let units = eligible
        .into_iter()
        .filter(|(digest, _)| draw.includes(seed.rank(*digest)))
        .map(|(_, row)| row)
        .collect();
    Ok(Drawn { draw, list, units })
}

async fn units(connection: &mut Connection, unit: Unit) -> Result<Vec<UnitRow>, StoreError> {
    let statement = match unit {
        Unit::Account => {
            "SELECT id AS account_id, '' AS machine_id, plan <> 'free' AS paid, early FROM account
             WHERE deleted_ms IS NULL"
        }
        Unit::Machine => {
            "SELECT m.account_id, m.machine_id, a.plan <> 'free' AS paid, a.early
             FROM machine m JOIN account a ON a.id = m.account_id"
        }
    };
    sqlx::query_as(statement)
        .fetch_all(connection)
        .await
        .map_err(database("list who may be drawn"))
}

impl UnitRow {
    /// As [`suture_rollout::Candidate::unit`] writes it.
    fn text(&self) -> String {
        if self.machine_id.is_empty() {
            self.account_id.clone()
        } else {
            format!("{}/{}", self.account_id, self.machine_id)
        }
    }
}

impl Drawn {
    /// Keeps the list, and who was drawn of it.
    pub async fn keep(
        &self,
        connection: &mut Connection,
        rollout: RolloutId,
    ) -> Result<(), StoreError> {
        let bytes: Vec<u8> = self
            .list
            .iter()
            .flat_map(UnitDigest::as_bytes)
            .copied()
            .collect();
        sqlx::query("INSERT INTO draw_list (rollout_id, units) VALUES ($1, $2)")
            .bind(rollout.to_string())
            .bind(bytes)
            .execute(&mut *connection)
            .await
            .map_err(database("keep the list of a draw"))?;
        for unit in &self.units {
            sqlx::query(
                "INSERT INTO drawn (rollout_id, account_id, machine_id) VALUES ($1, $2, $3)",
            )
            .bind(rollout.to_string())
            .bind(&unit.account_id)
            .bind(&unit.machine_id)
            .execute(&mut *connection)
            .await
            .map_err(database("keep the result of a draw"))?;
        }
        Ok(())
    }
}

/// The sorted list of a draw.
pub async fn list(
    connection: &mut Connection,
    rollout: RolloutId,
) -> Result<Vec<UnitDigest>, StoreError> {
    let bytes: Option<Vec<u8>> =
        sqlx::query_scalar("SELECT units FROM draw_list WHERE rollout_id = $1")
            .bind(rollout.to_string())
            .fetch_optional(connection)
            .await
            .map_err(database("read the list of a draw"))?;
    let bytes = bytes.ok_or(StoreError::UnknownRollout { id: rollout })?;
    let (digests, rest) = bytes.as_chunks::<{ UnitDigest::LEN }>();
    if !rest.is_empty() {
        let broken = InconsistentRow::new("draw_list", "units", "its length is no list's");
        return Err(broken.into());
    }
    Ok(digests
        .iter()
        .map(|digest| UnitDigest::from_bytes(*digest))
        .collect())
}
