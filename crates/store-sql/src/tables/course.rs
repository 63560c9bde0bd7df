//! Rollouts as a check-in needs them.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use jiff::Timestamp;
use sqlx::FromRow;
use suture_rollout::{Course, Phase, RolloutId};
use suture_store::{InconsistentRow, StoreError};

use super::dialect::Connection;
use super::rollout::{ScopeColumns, TABLE};
use crate::column::{count, database, json, parse, time};

/// A rollout in the transaction of a check-in.
#[derive(Debug, Clone)]
pub struct KnownCourse {
    pub course: Course,
    /// The latest look, or when it was made.
    pub looked: Timestamp,
    /// Since when the service has not been away.
    pub back: Timestamp,
}

impl KnownCourse {
    pub fn is_running(&self) -> bool {
        matches!(self.course.phase, Phase::Running { .. })
    }
}

/// Courses that were read before, each with its revision. What is in them changes with the
/// revision alone; the count of exposed machines is read each time.
#[derive(Debug, Default)]
pub struct Courses {
    read: Mutex<HashMap<RolloutId, (i64, Course)>>,
}

#[derive(FromRow)]
struct SmallRow {
    id: String,
    revision: i64,
    exposed: i64,
    created_ms: i64,
    looked_ms: Option<i64>,
    back_ms: i64,
}

#[derive(FromRow)]
struct CourseRow {
    #[sqlx(flatten)]
    scope: ScopeColumns,
    phase: String,
    seed: String,
    draw: String,
    plan: String,
    cap: String,
}

impl Courses {
    /// All rollouts, the oldest first.
    pub async fn load(&self, connection: &mut Connection) -> Result<Vec<KnownCourse>, StoreError> {
        let rows: Vec<SmallRow> = sqlx::query_as(
            "SELECT id, revision, exposed, created_ms, looked_ms, back_ms FROM rollout
             ORDER BY number",
        )
        .fetch_all(&mut *connection)
        .await
        .map_err(database("list rollouts"))?;
        let mut all = Vec::with_capacity(rows.len());
        for row in rows {
            let id = parse(TABLE, "id", &row.id)?;
            let course = match self.known(id, row.revision) {
                Some(course) => course,
                None => self.read(&mut *connection, id, row.revision).await?,
            };
            all.push(known(course, &row)?);
        }
        Ok(all)
    }

    fn known(&self, id: RolloutId, revision: i64) -> Option<Course> {
        // Nothing panics while it is held; and a course that is there is whole.
        let read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        let (known, course) = read.get(&id)?;
        (*known == revision).then(|| course.clone())
    }

    async fn read(
        &self,
        connection: &mut Connection,
        id: RolloutId,
        revision: i64,
    ) -> Result<Course, StoreError> {
        let row: CourseRow = sqlx::query_as(
            "SELECT version, release, architecture, build_id, phase, seed, draw, plan, cap
             FROM rollout WHERE id = $1",
        )
        .bind(id.to_string())
        .fetch_one(connection)
        .await
        .map_err(database("read a rollout"))?;
        let course = Course {
            id,
            scope: row.scope.try_into()?,
            plan: json(TABLE, "plan", &row.plan)?,
            phase: json(TABLE, "phase", &row.phase)?,
            seed: parse(TABLE, "seed", &row.seed)?,
            draw: json(TABLE, "draw", &row.draw)?,
            cap: parse(TABLE, "cap", &row.cap)?,
            exposed: 0,
        };
        let mut read = self.read.lock().unwrap_or_else(PoisonError::into_inner);
        read.insert(id, (revision, course.clone()));
        Ok(course)
    }
}

fn known(course: Course, row: &SmallRow) -> Result<KnownCourse, InconsistentRow> {
    Ok(KnownCourse {
        course: Course {
            exposed: count(TABLE, "exposed", row.exposed)?,
            ..course
        },
        looked: time(TABLE, "looked_ms", row.looked_ms.unwrap_or(row.created_ms))?,
        back: time(TABLE, "back_ms", row.back_ms)?,
    })
}
