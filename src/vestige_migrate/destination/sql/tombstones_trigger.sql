-- With its owner's rights, so that whoever may delete a memory needs no right on the table of tombstones. Nobody else may
-- call it: as the trigger of another table, in another schema, it would write there with these rights.
CREATE OR REPLACE FUNCTION {function} () RETURNS trigger
    LANGUAGE plpgsql SECURITY DEFINER
    SET search_path = pg_catalog, pg_temp
    AS {body};
REVOKE ALL ON FUNCTION {function} () FROM PUBLIC;
CREATE TRIGGER {trigger} AFTER DELETE ON {memories}
    REFERENCING OLD TABLE AS vestige_deleted FOR EACH STATEMENT EXECUTE FUNCTION {function} ();
