-- V9: emotional value, and summaries of summaries.
ALTER TABLE knowledge_nodes ADD COLUMN emotional_valence REAL DEFAULT 0.0;
ALTER TABLE knowledge_nodes ADD COLUMN flashbulb BOOLEAN DEFAULT FALSE;
CREATE INDEX idx_nodes_flashbulb ON knowledge_nodes(flashbulb);

ALTER TABLE knowledge_nodes ADD COLUMN temporal_level TEXT;
ALTER TABLE knowledge_nodes ADD COLUMN summary_parent_id TEXT;
CREATE INDEX idx_nodes_temporal_level ON knowledge_nodes(temporal_level);
CREATE INDEX idx_nodes_summary_parent ON knowledge_nodes(summary_parent_id);

ALTER TABLE dream_history ADD COLUMN phase_nrem1_ms INTEGER DEFAULT 0;
ALTER TABLE dream_history ADD COLUMN phase_nrem3_ms INTEGER DEFAULT 0;
ALTER TABLE dream_history ADD COLUMN phase_rem_ms INTEGER DEFAULT 0;
ALTER TABLE dream_history ADD COLUMN phase_integration_ms INTEGER DEFAULT 0;
ALTER TABLE dream_history ADD COLUMN summaries_generated INTEGER DEFAULT 0;
ALTER TABLE dream_history ADD COLUMN emotional_memories_processed INTEGER DEFAULT 0;
ALTER TABLE dream_history ADD COLUMN creative_connections_found INTEGER DEFAULT 0;
