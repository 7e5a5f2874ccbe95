-- V20: connectors start over.
DELETE FROM connector_cursors;
