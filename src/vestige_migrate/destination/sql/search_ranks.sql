WITH by_words AS (
    SELECT n.id, row_number() OVER (ORDER BY ts_rank_cd(n.search_vec, words) DESC, n.id) AS place
        FROM {memories} AS n WHERE numnode(words) > 0 AND n.search_vec @@ words ORDER BY place LIMIT depth
), near AS MATERIALIZED (
    {nearest}
), by_nearness AS (
    SELECT near.id, row_number() OVER (ORDER BY near.distance, near.id) AS place
        FROM near WHERE near.distance <> 'NaN' ORDER BY place LIMIT depth
)
SELECT id, coalesce(1::double precision / (60 + w.place), 0) + coalesce(1::double precision / (60 + v.place), 0),
        w.place::integer, v.place::integer
    FROM by_words AS w FULL JOIN by_nearness AS v USING (id) ORDER BY 2 DESC, id LIMIT wanted;
