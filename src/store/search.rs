//! Search by name, specialty and address, in folded texts.

use rooms::id::PharmacyId;
use rooms::party::Pharmacy;
use rooms::role::Role;
use uuid::Uuid;

use super::columns::text;
use super::folding::fold;
use super::page::{Page, PageRequest};
use super::users::{User, UserRow};
use super::{Store, StoreError, read, write_one};

/// Rows that [`Store::fill_search_columns`] folds per query.
const FILL_BATCH_ROWS: i64 = 500;

/// Makes a `like` pattern that matches the folded text anywhere in a column. Wildcards in the text are removed.
fn pattern(text: &str) -> String {
    let plain: String = fold(text.trim()).chars().filter(|c| !matches!(c, '%' | '_' | '\\' | '\0')).collect();
    format!("%{plain}%")
}

impl Store {
    /// Searches the active accounts of a role, by id. `query` matches name and specialty, `specialty` the specialty only.
    pub async fn search_users(
        &self,
        role: Role,
        query: &str,
        specialty: &str,
        request: PageRequest,
    ) -> Result<Page<User>, StoreError> {
        // A node of the previous release writes no folded columns; until they are filled, the name itself is searched.
        let sql = "select * from users where role = $1 and status = 'active' and id > $2 \
            and (coalesce(name_search, lower(name)) like $3 \
                or coalesce(specialty_search, lower(specialty), '') like $3) \
            and coalesce(specialty_search, lower(specialty), '') like $5 order by id limit $4";
        let rows: Vec<UserRow> = read!(self, db => sqlx::query_as(sql)
            .bind(role.as_str()).bind(request.above()).bind(pattern(query)).bind(request.rows())
            .bind(pattern(specialty)).fetch_all(db).await)?;
        let users =
            rows.into_iter().map(|row| Ok((row.id, User::try_from(row)?))).collect::<Result<Vec<_>, StoreError>>()?;
        Ok(request.page(users, |user| user))
    }

    /// Searches pharmacies, by id. `query` matches name and address.
    pub async fn pharmacies(&self, query: &str, request: PageRequest) -> Result<Page<Pharmacy>, StoreError> {
        let sql = "select id, name, address from pharmacies where id > $1 \
            and (coalesce(name_search, lower(name)) like $2 or coalesce(address_search, lower(address)) like $2) \
            order by id limit $3";
        let rows: Vec<(Uuid, String, String)> = read!(self, db => sqlx::query_as(sql)
            .bind(request.above()).bind(pattern(query)).bind(request.rows()).fetch_all(db).await)?;
        let found = rows
            .into_iter()
            .map(|(id, name, address)| {
                Ok((id, Pharmacy { id: PharmacyId(id), name: text(&name)?, address: text(&address)? }))
            })
            .collect::<Result<Vec<_>, StoreError>>()?;
        Ok(request.page(found, |pharmacy| pharmacy))
    }

    /// Folds the texts of rows that an earlier release wrote.
    pub async fn fill_search_columns(&self) -> Result<(), StoreError> {
        loop {
            let sql = "select id, name, specialty from users where name_search is null limit $1";
            let users: Vec<(Uuid, String, Option<String>)> =
                read!(self, db => sqlx::query_as(sql).bind(FILL_BATCH_ROWS).fetch_all(db).await)?;
            let sql = "select id, name, address from pharmacies where name_search is null limit $1";
            let pharmacies: Vec<(Uuid, String, String)> =
                read!(self, db => sqlx::query_as(sql).bind(FILL_BATCH_ROWS).fetch_all(db).await)?;
            if users.is_empty() && pharmacies.is_empty() {
                return Ok(());
            }
            for (id, name, specialty) in users {
                let sql = "update users set name_search = $2, specialty_search = $3 where id = $1";
                write_one!(self, db => sqlx::query(sql)
                    .bind(id).bind(fold(&name)).bind(specialty.as_deref().map(fold)).execute(db).await.map(drop))?;
            }
            for (id, name, address) in pharmacies {
                let sql = "update pharmacies set name_search = $2, address_search = $3 where id = $1";
                write_one!(self, db => sqlx::query(sql)
                    .bind(id).bind(fold(&name)).bind(fold(&address)).execute(db).await.map(drop))?;
            }
        }
    }
}
