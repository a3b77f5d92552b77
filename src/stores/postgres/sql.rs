//! What the server is told.

use std::time::Duration;

/// How many neighbours are fetched. Each comes with its answer.
const A_HANDFUL: usize = 4;

/// How many the HNSW index is asked for: half precision ranks those that are very near roughly.
const RANKED: usize = 16;

/// How many rows are deleted at once, so that none are locked for long.
pub(super) const BATCH: u64 = 500;

/// How many an insertion deletes to make room. Instances that insert at once exceed the bound by
/// fewer, so it is come back to.
const MAKES_ROOM: usize = 8;

/// Deleting many rows may take so much longer than the other statements.
const PATIENCE_FOR_BATCHES: u32 = 10;

/// More dimensions pgvector cannot index, in half precision.
const MOST_INDEXED: usize = 4_000;

/// The table and what is done with it.
#[derive(Debug, Clone)]
pub(super) struct Shape {
    /// Of plain letters: what is made of it and more is no keyword and needs no quotes.
    pub(super) table: String,
    pub(super) dimensions: Option<usize>,
    pub(super) exact_up_to: usize,
    pub(super) most_per_partition: Option<usize>,
    pub(super) statement_timeout: Duration,
}

impl Default for Shape {
    fn default() -> Self {
        Self {
            table: "evenkeel_answers".to_owned(),
            dimensions: None,
            exact_up_to: 2_000,
            most_per_partition: None,
            statement_timeout: Duration::from_millis(100),
        }
    }
}

impl Shape {
    /// How many dimensions there is an HNSW index for, if the server can have one.
    pub(super) fn indexed(&self, iterative: bool) -> Option<usize> {
        self.dimensions.filter(|dimensions| iterative && *dimensions <= MOST_INDEXED)
    }

    pub(super) fn patience_for_batches(&self) -> Duration {
        self.statement_timeout.saturating_mul(PATIENCE_FOR_BATCHES)
    }

    /// What begins a search. The settings end with its transaction, so they hold behind a pooler too.
    ///
    /// Plans are made for the partition at hand: a general one would not know how large it is.
    pub(super) fn begin_search(&self, iterative: bool) -> String {
        // As many rows as the time allows: at the usual 20,000 a small part of a large table is not found.
        let scans = match iterative {
            true => {
                "SET LOCAL hnsw.iterative_scan = strict_order; \
                     SET LOCAL hnsw.max_scan_tuples = 1000000;"
            }
            false => "",
        };
        let begin = begin(self.statement_timeout);
        format!("{begin} SET LOCAL plan_cache_mode = force_custom_plan; {scans}")
    }

    pub(super) fn begin_change(&self) -> String {
        begin(self.statement_timeout)
    }

    pub(super) fn begin_batch(&self) -> String {
        begin(self.patience_for_batches())
    }

    /// Partition, vector, greatest distance, dimensions: exact, among as many rows as are read at the
    /// most, those that expire last.
    pub(super) fn nearest_of_the_last(&self) -> String {
        let (table, exact_up_to) = (self.quoted(), self.exact_up_to);
        let rows = format!(
            "SELECT exact, embedding, body, expires_at, embedding <=> $2::real[]::vector AS distance
             FROM (SELECT * FROM {table} WHERE partition = $1 AND expires_at > now()
                   ORDER BY expires_at DESC LIMIT {exact_up_to}) AS last
             WHERE vector_dims(embedding) = $4
             ORDER BY distance LIMIT {A_HANDFUL}"
        );
        neighbours(&rows)
    }

    /// Partition, vector, greatest distance. One of two searches runs, as many rows as there are: what
    /// does not depend on a row is looked at once, before any is read. The first orders by what no index
    /// is about, so it reads the partition; the second orders by what the HNSW index is about.
    pub(super) fn nearest_by_size(&self, dimensions: usize) -> String {
        let (table, exact_up_to) = (self.quoted(), self.exact_up_to);
        let search = |size: &str, order: &str, most: usize| {
            format!(
                "(SELECT exact, embedding, body, expires_at,
                         embedding <=> $2::real[]::vector AS distance
                  FROM {table}
                  WHERE (SELECT count FROM size) {size} {exact_up_to} AND partition = $1
                    AND expires_at > now() AND vector_dims(embedding) = {dimensions}
                  ORDER BY {order} LIMIT {most})"
            )
        };
        let exact = search("<=", "embedding <=> $2::real[]::vector", A_HANDFUL);
        let by_index = search(">", &hnsw_order(dimensions), RANKED);
        let size = format!(
            "SELECT count(*) FROM (SELECT FROM {table} WHERE partition = $1
                                   LIMIT {exact_up_to} + 1) AS few"
        );
        let rows = format!("WITH size AS MATERIALIZED ({size}) {exact} UNION ALL {by_index}");
        neighbours(&rows)
    }

    /// Partition, question, vector, body, labels, microseconds to live.
    pub(super) fn insert(&self) -> String {
        let table = self.quoted();
        let room = self.most_per_partition.map(|most| self.make_room(most)).unwrap_or_default();
        format!(
            "{room}
             INSERT INTO {table} (partition, exact, embedding, body, labels, expires_at)
             VALUES ($1, $2, $3::real[]::vector, $4, $5, now() + $6 * interval '1 microsecond')
             ON CONFLICT (partition, exact) DO UPDATE
             SET (embedding, body, labels, expires_at, created_at)
               = (EXCLUDED.embedding, EXCLUDED.body, EXCLUDED.labels, EXCLUDED.expires_at, now())"
        )
    }

    /// Rows that others are deleting are left to them.
    fn make_room(&self, most: usize) -> String {
        let (table, kept) = (self.quoted(), most - 1);
        format!(
            "WITH beyond AS MATERIALIZED (
               SELECT exact FROM {table} WHERE partition = $1 AND exact <> $2
               ORDER BY expires_at DESC OFFSET {kept} LIMIT {MAKES_ROOM}),
             room AS (
               DELETE FROM {table} WHERE ctid = ANY (ARRAY(
                 SELECT ctid FROM {table}
                 WHERE partition = $1 AND exact IN (SELECT exact FROM beyond)
                 FOR UPDATE SKIP LOCKED)))"
        )
    }

    /// Partition, question.
    pub(super) fn remove(&self) -> String {
        format!("DELETE FROM {} WHERE partition = $1 AND exact = $2", self.quoted())
    }

    /// Rows that another instance is deleting are left to it.
    pub(super) fn clean_up(&self) -> String {
        let table = self.quoted();
        format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(
               SELECT ctid FROM {table} WHERE expires_at <= now()
               ORDER BY expires_at LIMIT {BATCH} FOR UPDATE SKIP LOCKED))"
        )
    }

    /// Label. In one order for all, so that two do not wait for each other.
    pub(super) fn invalidate(&self) -> String {
        let table = self.quoted();
        format!(
            "DELETE FROM {table} WHERE ctid = ANY (ARRAY(
               SELECT ctid FROM {table} WHERE labels @> ARRAY[$1::bytea]
               ORDER BY partition, exact LIMIT {BATCH} FOR UPDATE))"
        )
    }

    /// The table's name as it is written: it may be a keyword.
    fn quoted(&self) -> String {
        format!("\"{}\"", self.table)
    }

    /// The table of the versions of the table.
    pub(super) fn versions(&self) -> String {
        format!("{}_schema", self.table)
    }

    /// The versions of the table, each as what makes it from the one before. Only ever added to: what
    /// an older instance does must go on working.
    pub(super) fn migrations(&self) -> Vec<String> {
        vec![self.first_version()]
    }

    /// Vectors stay in the row where they fit a page, bodies leave it first: a search reads many vectors
    /// and few bodies. Bodies are encrypted, so that compressing them is in vain.
    fn first_version(&self) -> String {
        let (table, name) = (self.quoted(), &self.table);
        format!(
            "CREATE TABLE {table} (
               partition bytea NOT NULL,
               exact bytea NOT NULL,
               embedding vector NOT NULL,
               body bytea NOT NULL,
               labels bytea[] NOT NULL,
               created_at timestamptz NOT NULL DEFAULT now(),
               expires_at timestamptz NOT NULL,
               PRIMARY KEY (partition, exact));
             ALTER TABLE {table} ALTER embedding SET STORAGE MAIN, ALTER body SET STORAGE EXTERNAL;
             CREATE INDEX {name}_partition ON {table} (partition, expires_at);
             CREATE INDEX {name}_expires ON {table} (expires_at);
             CREATE INDEX {name}_labels ON {table} USING gin (labels);"
        )
    }

    /// The name of the HNSW index for so many dimensions.
    pub(super) fn hnsw(&self, dimensions: usize) -> String {
        format!("{}_near_{dimensions}", self.table)
    }

    /// Without blocking those who insert.
    pub(super) fn create_hnsw(&self, dimensions: usize) -> String {
        let (table, name) = (self.quoted(), self.hnsw(dimensions));
        format!(
            "CREATE INDEX CONCURRENTLY {name} ON {table}
             USING hnsw ((embedding::halfvec({dimensions})) halfvec_cosine_ops)
             WHERE vector_dims(embedding) = {dimensions}"
        )
    }
}

fn begin(patience: Duration) -> String {
    format!("BEGIN; SET LOCAL statement_timeout = {};", patience.as_millis())
}

fn hnsw_order(dimensions: usize) -> String {
    format!("embedding::halfvec({dimensions}) <=> $2::real[]::vector::halfvec({dimensions})")
}

/// What is fetched of `rows`: those that are near enough, nearest first, with the microseconds that are
/// left of each.
fn neighbours(rows: &str) -> String {
    format!(
        "WITH near AS MATERIALIZED ({rows})
         SELECT exact, embedding::real[], body,
                (extract(epoch FROM expires_at - now()) * 1000000)::bigint
         FROM near WHERE distance <= $3 ORDER BY distance LIMIT {A_HANDFUL}"
    )
}
