-- V35: what a suppression did to the neighbours.
CREATE TABLE suppression_cascade_effects (
    operation_sequence INTEGER NOT NULL REFERENCES suppression_operations(sequence) ON DELETE CASCADE,
    neighbor_id TEXT NOT NULL REFERENCES knowledge_nodes(id) ON DELETE CASCADE,
    before_state TEXT NOT NULL,
    after_state TEXT NOT NULL,
    reverted_at TEXT,
    PRIMARY KEY (operation_sequence, neighbor_id)
);
