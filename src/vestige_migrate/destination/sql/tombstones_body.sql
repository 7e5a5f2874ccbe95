-- Made by vestige-migrate (docs/changed-rows.md): which memories were deleted here, so that no copy brings them back.
BEGIN
    IF current_setting('vestige_migrate.deletes', true) IS NOT DISTINCT FROM 'on' -- deleted because the source has
        OR to_regclass(format('%I.deletion_tombstones', TG_TABLE_SCHEMA)) IS NULL THEN
        RETURN NULL;
    END IF;
    EXECUTE format(
        'INSERT INTO %I.deletion_tombstones (memory_id, deleted_at) SELECT id, clock_timestamp() FROM vestige_deleted'
        ' ON CONFLICT (memory_id) DO UPDATE SET deleted_at = excluded.deleted_at', TG_TABLE_SCHEMA);
    RETURN NULL;
END
